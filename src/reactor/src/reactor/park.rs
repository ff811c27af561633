//! Waiting for work: not at all, spinning, or asleep.

use std::time::Duration;

use tidings_core::{Counter, Mono, Now, Verifier};
use tidings_log::prepare::READY_AIM;
use tidings_ring::Wait;

use super::Reactor;
use crate::config::{ROOM_FOR_INPUT, SLEEP_MAX_MS, SWEEP_MS};

/// How often an idle reactor goes on preparing segments.
const PREPARE_TICK_MS: u64 = 10;
/// How often the executor is let at its background tasks while there are any.
const BACKGROUND_TICK_NS: u64 = 200_000;
/// How often something that waits for another reactor, or that is overdue and could not be done, is looked at.
const STALLED_TICK_NS: u64 = 100_000;

impl<V: Verifier> Reactor<V> {
    /// Submits, and waits for work: not at all, spinning, or asleep.
    pub(super) fn wait(&mut self, busy: bool, now: Now) {
        let cap_ns = self.config.spin_us * 1000;
        if busy {
            self.spin_until = Mono(now.mono.0 + self.spin_ns);
            return self.ring.turn(Wait::Poll, &mut self.completions);
        }
        if now.mono < self.spin_until {
            std::hint::spin_loop();
            return self.ring.turn(Wait::Poll, &mut self.completions);
        }
        self.shared.peer(self.me).sleeper.announce();
        if self.has_lane_work() || !self.shared.peer(self.me).handovers.is_empty() {
            self.shared.peer(self.me).sleeper.awake();
            return self.ring.turn(Wait::Poll, &mut self.completions);
        }
        self.node.counters.count(Counter::Sleeps);
        let time = self.sleep_time(now);
        self.ring.turn(Wait::Upto(time), &mut self.completions);
        self.shared.peer(self.me).sleeper.awake();
        // Spin next time if work came so soon that spinning would have met it; if not, spin less.
        let slept_ns = self.clock.mono().since(now.mono);
        self.spin_ns =
            if slept_ns <= cap_ns { (self.spin_ns * 2).clamp(1000, cap_ns.max(1000)) } else { self.spin_ns / 2 };
        if cap_ns == 0 {
            self.spin_ns = 0;
        }
    }

    /// True if a lane holds something that could be taken now.
    fn has_lane_work(&mut self) -> bool {
        let room = self.io.log.log.room() >= ROOM_FOR_INPUT;
        let lanes = &mut self.io.lanes;
        if !lanes.is_down_idle() {
            return true;
        }
        room && (0..lanes.up_in.len()).any(|from| {
            let waiting = lanes.up_in[from].as_mut().is_some_and(|lane| !lane.is_empty());
            waiting && lanes.down_out[from].as_mut().is_some_and(|lane| lane.has_credit(1, 0))
        })
    }

    pub(super) fn sleep_time(&mut self, now: Now) -> Duration {
        let most = now.mono.plus_ms(SLEEP_MAX_MS);
        let sweep = (!self.io.connections.is_empty()).then(|| self.swept.plus_ms(SWEEP_MS));
        let prepare = match self.io.log.log.ready_segments() {
            0 => Some(now.mono.plus_ms(1)),
            ready => (ready < READY_AIM).then(|| now.mono.plus_ms(PREPARE_TICK_MS)),
        };
        let background = self.background.is_busy().then(|| Mono(now.mono.0 + BACKGROUND_TICK_NS));
        let due = [self.node.next_timeout(), self.io.log.tip_due(), sweep, prepare, background];
        let due = due.into_iter().flatten().min().unwrap_or(most).min(most);
        // A lane that gets room again wakes nobody, and what is overdue could not be done: both are looked at again soon.
        let stalled = self.applying.is_some() || self.node.waits_for_credit() || !self.io.lanes.is_up_idle();
        let least = if stalled || due <= now.mono { STALLED_TICK_NS } else { 1000 };
        let most = if stalled { STALLED_TICK_NS } else { u64::MAX };
        Duration::from_nanos(due.since(now.mono).clamp(least, most))
    }
}
