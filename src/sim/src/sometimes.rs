//! What must happen now and then: a world that never gets somewhere proves nothing of it. A thousand seeds of all profiles reach all of this.

use tidings_core::Counter;
use tidings_wire::ErrorCode;

use crate::{plan::Fault, stats::Stats};

/// Counters of what no simulated world has: a kernel, browsers, more than sixteen devices that come back in one turn, and a megabyte of answers that nobody reads.
const NOT_SIMULATED: [Counter; 4] =
    [Counter::RingCalls, Counter::PagesServed, Counter::ResumesHeld, Counter::SlowConsumers];
/// What a thousand seeds reach by luck only: a stranger's noise must begin as TLS or HTTP does.
const SELDOM: [Counter; 1] = [Counter::DoorRefused];

/// Refusals that the worlds must bring about. TOO_MANY is not among them: nobody writes at more than four messages at once, or forgets a thousand ranges.
const REFUSED: [ErrorCode; 23] = [
    ErrorCode::Busy,
    ErrorCode::Full,
    ErrorCode::NoRoom,
    ErrorCode::OutOfOrder,
    ErrorCode::Stale,
    ErrorCode::WindowExceeded,
    ErrorCode::RateLimited,
    ErrorCode::BudgetExceeded,
    ErrorCode::Overloaded,
    ErrorCode::StorageFull,
    ErrorCode::NotMember,
    ErrorCode::NotAllowed,
    ErrorCode::TooSlow,
    ErrorCode::Superseded,
    ErrorCode::DeviceRevoked,
    ErrorCode::FutureSeq,
    ErrorCode::HistoryUnavailable,
    ErrorCode::TargetInvalid,
    ErrorCode::TargetErased,
    ErrorCode::Checksum,
    ErrorCode::FrameTooLarge,
    ErrorCode::LastOwner,
    ErrorCode::Gone,
];

/// What never happened, in words.
pub fn never(stats: &Stats) -> Vec<String> {
    let faults = Fault::ALL.into_iter().map(Fault::name).filter(|name| !stats.faults.contains_key(name));
    let counters = Counter::ALL.iter().filter(|counter| !NOT_SIMULATED.contains(counter) && !SELDOM.contains(counter));
    let counters = counters.map(|counter| counter.name());
    let counters = counters.filter(|name| !stats.counters.contains_key(name));
    let refused = REFUSED.into_iter().filter(|code| !stats.counters.contains_key(code.name())).map(ErrorCode::name);
    let reached = stats.reached().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name);
    let all = [faults.collect::<Vec<_>>(), counters.collect(), refused.collect(), reached.collect()];
    let stages = (0..).zip(stats.stages).filter(|(_, turns)| *turns == 0);
    let stages = stages.map(|(stage, _): (u32, _)| format!("stage {stage} of shedding"));
    all.concat().into_iter().map(str::to_owned).chain(stages).collect()
}
