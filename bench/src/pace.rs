//! An open loop's clock, for workloads of their own: what is due when, when it is measured, and how long to wait.

use std::{
    iter::Peekable,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tidings_ring::Wait;

use crate::{
    arrivals::{Arrivals, Schedule},
    load::SPIN,
    offer::Phases,
};

/// A clock.
#[derive(Debug)]
pub struct Pace {
    begin: Instant,
    from: Instant,
    to: Instant,
    schedule: Peekable<Schedule>,
    /// How late the load came to what was due, microseconds.
    pub late_us: Histogram<u64>,
}

/// A histogram of microseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are valid")
}

impl Pace {
    /// `rate` a second from now on, each for one of `who`.
    pub fn new(rate: f64, who: usize, phases: Phases) -> Self {
        let begin = Instant::now();
        let from = begin + phases.warm_up;
        let schedule = Schedule::new(Arrivals::Poisson, rate, who, 1).peekable();
        Self { begin, from, to: from + phases.steady, schedule, late_us: histogram() }
    }

    /// What is due: when, and for whom.
    pub fn next(&mut self, now: Instant) -> Option<(Instant, usize)> {
        let begin = self.begin;
        let (due, who) = self.schedule.next_if(|(due, _)| begin + *due <= now.min(self.to))?;
        let due = begin + due;
        if self.counts(due) {
            self.late_us.saturating_record((now - due).as_micros() as u64);
        }
        Some((due, who))
    }

    /// Whether what was due then is measured.
    pub fn counts(&self, due: Instant) -> bool {
        self.from <= due && due < self.to
    }

    /// Whether the measured time has begun, and whether it is over.
    pub fn phase(&self, now: Instant) -> (bool, bool) {
        (now >= self.from, now >= self.to)
    }

    /// How to wait for what is next.
    pub fn wait(&mut self, now: Instant) -> Wait {
        let until = self.schedule.peek().map_or(self.to, |(due, _)| (self.begin + *due).min(self.to));
        let wait = until.saturating_duration_since(now).min(Duration::from_millis(10));
        if wait < SPIN { Wait::Poll } else { Wait::Upto(wait - SPIN / 2) }
    }
}
