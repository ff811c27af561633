//! TIMER: messages that are written from now on disappear after a while. The server holds back what has.

use tidings_wire::{ErrorCode, Seq, Timestamp, frames::Timer, frames::about::control, limits::TIMER_MAX_S};

use super::{Act, Allowed, Changes, Feature, Group, Seen, Situation};
use crate::conversation::view::View;

/// The feature.
#[derive(Debug)]
pub(super) struct ChangeTimer;

impl Feature for ChangeTimer {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, situation: &Situation) -> Result<Allowed, ErrorCode> {
        let timer = Timer::from_bytes(act.body).filter(|timer| timer.seconds <= TIMER_MAX_S);
        if timer.is_none() || act.target != Seq(0) || situation.payload_len > 0 {
            return Err(ErrorCode::BodyInvalid);
        }
        if seen.conversation().is_group() {
            Group::of(seen).ok_or(ErrorCode::NotMember)?.needs(seen, |settings| settings.edit)?;
        }
        Ok(Allowed::New)
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        // Whoever is blocked does nothing to what the other one writes.
        if seen.is_withheld() {
            return;
        }
        let timer = Timer::from_bytes(act.body).unwrap_or_default();
        // What is not kept is off.
        changes.keep(seen, if timer.seconds == 0 { &[] } else { act.body });
    }
}

/// Seconds after which what is written in a conversation disappears; 0: never.
pub(crate) fn of(view: &View<'_>) -> Timer {
    Timer::from_bytes(view.kept(control::TIMER)).unwrap_or_default()
}

/// The lesser of two times of which 0 is never.
pub(crate) fn earlier(one: Timestamp, other: Timestamp) -> Timestamp {
    match (one, other) {
        (Timestamp(0), time) | (time, Timestamp(0)) => time,
        _ => one.min(other),
    }
}

/// When something disappears that is written at `ts` and that its sender lets live until `asked` (0: for ever).
pub(crate) fn until(view: &View<'_>, ts: Timestamp, asked: Timestamp) -> Timestamp {
    if view.keeps_nothing() {
        return asked;
    }
    let Timer { seconds } = of(view);
    if seconds == 0 {
        return asked;
    }
    let timed = Timestamp(ts.0.saturating_add(u64::from(seconds) * 1_000_000));
    earlier(timed, asked)
}
