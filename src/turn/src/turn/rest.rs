//! Resting: announcing it, looking once more, and for how long at most.

use std::time::Duration;

use tidings_core::{Counter, Mono, Now, Verifier};
use tidings_log::prepare::READY_AIM;

use super::{Turn, stage::Stage};
use crate::{
    config::{GATHER_BATCH, SLEEP_MAX_MS, SWEEP_MS},
    machine::Machine,
};

/// How often an idle reactor goes on preparing segments.
const PREPARE_TICK_MS: u64 = 10;
/// How often something that waits for another reactor, or that is overdue and could not be done, is looked at.
const STALLED_TICK_NS: u64 = 100_000;

impl<M: Machine, V: Verifier> Turn<M, V> {
    /// How long input may gather: a batch of several messages is being written, and what comes now can only be written after
    /// it. Fewer, larger turns receive and send more with each call. Three quarters of the time that the write will probably still take, and then again of
    /// what is left: so its end is seen soon after it, whenever that is.
    pub fn gather_time(&mut self, now: Mono) -> Option<Duration> {
        let gather_ns = self.io.log.expected_ns(GATHER_BATCH, now) / 4 * 3;
        let may = gather_ns > 0
            && self.stage == Stage::Serving
            && self.has_read_all()
            && self.io.connections.is_flushed()
            && !self.node.is_busy()
            && !self.has_lane_work();
        self.io.log.write_time.set_gathering(may);
        may.then(|| Duration::from_nanos(gather_ns))
    }

    /// True while something is being written to the log.
    pub fn is_writing(&self) -> bool {
        self.io.log.is_writing()
    }

    /// Announces a rest to the other reactors. How long it may take at most, unless a completion or a wake-up ends it;
    /// `None` if there is work after all. [`Self::end_rest`] must follow a rest.
    pub fn begin_rest(&mut self, now: Now) -> Option<Duration> {
        self.shared.peer(self.me).sleeper.announce();
        if self.has_lane_work() || !self.shared.peer(self.me).handovers.is_empty() {
            self.end_rest();
            return None;
        }
        self.node.counters.count(Counter::Sleeps);
        Some(self.rest_time(now))
    }

    /// The rest is over.
    pub fn end_rest(&mut self) {
        self.shared.peer(self.me).sleeper.awake();
    }

    /// True if a lane holds something that could be taken now.
    fn has_lane_work(&mut self) -> bool {
        let room = self.io.log.takes_input();
        let lanes = &mut self.io.lanes;
        if !lanes.is_home_idle() || !lanes.is_ephemeral_idle() {
            return true;
        }
        room && (0..lanes.conversation_in.len()).any(|from| {
            let waiting = lanes.conversation_in[from].as_mut().is_some_and(|lane| !lane.is_empty());
            waiting && lanes.home_out[from].as_mut().is_some_and(|lane| lane.has_credit(1, 0))
        })
    }

    fn rest_time(&mut self, now: Now) -> Duration {
        let most = now.mono.plus_ms(SLEEP_MAX_MS);
        let sweep = (!self.io.connections.is_empty()).then(|| self.swept.plus_ms(SWEEP_MS).min(self.sweep.due()));
        let prepare = match self.io.log.log.ready_segments() {
            0 => Some(now.mono.plus_ms(1)),
            ready => (ready < READY_AIM).then(|| now.mono.plus_ms(PREPARE_TICK_MS)),
        };
        let later = self.io.connections.next_later();
        let due = [self.node.next_timeout(), self.io.log.tip_due(), sweep, prepare, later];
        let due = due.into_iter().flatten().min().unwrap_or(most).min(most);
        // A lane that gets room again wakes nobody, and what is overdue could not be done: both are looked at again soon.
        let stalled =
            self.node.waits_for_credit() || !self.io.parking.is_empty() || !self.io.lanes.is_conversation_idle();
        let least = if stalled || due <= now.mono { STALLED_TICK_NS } else { 1000 };
        let most = if stalled { STALLED_TICK_NS } else { u64::MAX };
        Duration::from_nanos(due.since(now.mono).clamp(least, most))
    }
}
