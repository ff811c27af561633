//! Waiting for work: not at all, spinning, or asleep.

use std::time::Duration;

use tidings_core::{Counter, Mono, Now, Verifier};
use tidings_log::prepare::READY_AIM;
use tidings_ring::Wait;

use super::Reactor;
use crate::config::{SLEEP_MAX_MS, SWEEP_MS};

/// How often an idle reactor goes on preparing segments.
const PREPARE_TICK_MS: u64 = 10;
/// How often the executor is let at its background tasks while there are any.
const BACKGROUND_TICK_NS: u64 = 200_000;

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
        let sleeper = &self.shared.peer(self.me).sleeper;
        sleeper.announce();
        if !self.io.lanes.is_idle() || !self.shared.peer(self.me).handovers.is_empty() {
            sleeper.awake();
            return self.ring.turn(Wait::Poll, &mut self.completions);
        }
        self.node.counters.count(Counter::Sleeps);
        self.ring.turn(Wait::Upto(self.sleep_time(now)), &mut self.completions);
        self.shared.peer(self.me).sleeper.awake();
        // Spin next time if work came so soon that spinning would have met it; if not, spin less.
        let slept_ns = self.clock.mono().since(now.mono);
        self.spin_ns =
            if slept_ns <= cap_ns { (self.spin_ns * 2).clamp(1000, cap_ns.max(1000)) } else { self.spin_ns / 2 };
        if cap_ns == 0 {
            self.spin_ns = 0;
        }
    }

    pub(super) fn sleep_time(&self, now: Now) -> Duration {
        let most = now.mono.plus_ms(SLEEP_MAX_MS);
        let sweep = (!self.io.connections.is_empty()).then(|| self.swept.plus_ms(SWEEP_MS));
        let prepare = match self.io.log.log.ready_segments() {
            0 => Some(now.mono.plus_ms(1)),
            ready => (ready < READY_AIM).then(|| now.mono.plus_ms(PREPARE_TICK_MS)),
        };
        let background = self.background.is_busy().then(|| Mono(now.mono.0 + BACKGROUND_TICK_NS));
        let due = [self.node.next_timeout(), self.io.log.tip_due(), sweep, prepare, background];
        let due = due.into_iter().flatten().min().unwrap_or(most).min(most);
        Duration::from_nanos(due.since(now.mono).max(1000))
    }
}
