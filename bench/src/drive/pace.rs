//! A run's clock: what is due when, when it is measured, and how long to wait for what is next.
//!
//! In an open loop messages are due on a schedule of their own. One that the server has no room for waits in the load, and its
//! time runs from when it was due: a server that stalls is measured as its users feel it (no coordinated omission; Tene, "How
//! NOT to measure latency").

use std::{
    iter::Peekable,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tidings_ring::Wait;

use super::{COOL_DOWN, Mark, Offer, Phases, arrivals::Schedule};

/// A schedule is not left to a timer when its next message is due this soon: timers of idle cores are late.
const SPIN: Duration = Duration::from_micros(100);
/// Longest that is waited for anything.
const LONGEST_WAIT: Duration = Duration::from_millis(10);

/// A clock.
#[derive(Debug)]
pub struct Pace {
    begin: Instant,
    from: Instant,
    to: Instant,
    /// None in a closed loop.
    schedule: Option<Peekable<Schedule>>,
    begun: Option<Instant>,
    ended: Option<Instant>,
    /// What was due in the measured time.
    pub due: u64,
    /// How late the load came to it, microseconds.
    pub late_us: Histogram<u64>,
}

/// A histogram of microseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are valid")
}

/// Records how long it is since `due`.
pub fn record(histogram: &mut Histogram<u64>, due: Instant, now: Instant) {
    histogram.saturating_record(now.saturating_duration_since(due).as_micros() as u64);
}

/// How to wait so long.
pub fn wait_for(left: Duration) -> Wait {
    if left < SPIN { Wait::Poll } else { Wait::Upto(left - SPIN / 2) }
}

impl Pace {
    /// From now on; what is due is each time for one of `who`.
    pub fn new(offer: Offer, who: usize, phases: Phases) -> Self {
        let begin = Instant::now();
        let from = begin + phases.warm_up;
        let schedule = match offer {
            Offer::Closed { .. } => None,
            Offer::Open { rate, arrivals } => Some(Schedule::new(arrivals, rate, who, 1).peekable()),
        };
        let (to, late_us) = (from + phases.steady, histogram());
        Self { begin, from, to, schedule, begun: None, ended: None, due: 0, late_us }
    }

    /// The measured time: from, and to.
    pub fn window(&self) -> (Instant, Instant) {
        (self.from, self.to)
    }

    /// What is due, also what the load did not come to in time: when, and for whom.
    pub fn next(&mut self, now: Instant) -> Option<(Instant, usize)> {
        let (begin, now_or_end) = (self.begin, now.min(self.to));
        let (due, who) = self.schedule.as_mut()?.next_if(|(due, _)| begin + *due <= now_or_end)?;
        let due = begin + due;
        if self.counts(due) {
            self.due += 1;
            record(&mut self.late_us, due, now);
        }
        Some((due, who))
    }

    /// Whether what was due then, or came then, is measured.
    pub fn counts(&self, at: Instant) -> bool {
        self.from <= at && at < self.to
    }

    /// Each mark once, in their order.
    pub fn mark(&mut self, now: Instant) -> Option<Mark> {
        if self.begun.is_none() && now >= self.from {
            self.begun = Some(now);
            return Some(Mark::Begin);
        }
        if self.ended.is_none() && now >= self.to {
            self.ended = Some(now);
            return Some(Mark::End);
        }
        None
    }

    /// Seconds from the first mark to the second.
    pub fn seconds(&self) -> f64 {
        let seconds = self.begun.zip(self.ended).map(|(begun, ended)| (ended - begun).as_secs_f64());
        seconds.unwrap_or(0.0)
    }

    /// True once the time is over and nothing is left, or it was waited for long enough.
    pub fn is_done(&self, left: impl FnOnce() -> u64) -> bool {
        self.ended.is_some_and(|ended| ended.elapsed() > COOL_DOWN || left() == 0)
    }

    /// How long until something is due, at most.
    pub fn left(&mut self, now: Instant) -> Duration {
        if self.ended.is_some() {
            return LONGEST_WAIT;
        }
        let next = self.schedule.as_mut().and_then(|schedule| schedule.peek());
        let until = next.map_or(self.to, |(due, _)| (self.begin + *due).min(self.to));
        until.saturating_duration_since(now).min(LONGEST_WAIT)
    }

    /// How to wait for what is next.
    pub fn wait(&mut self, now: Instant) -> Wait {
        wait_for(self.left(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_once_and_marks_stand_around_what_is_measured() {
        let phases = Phases { warm_up: Duration::from_secs(1), steady: Duration::from_secs(2) };
        let mut pace = Pace::new(Offer::open(1_000.0), 3, phases);
        let after = |pace: &Pace, ms| pace.begin + Duration::from_millis(ms);
        assert_eq!(pace.mark(after(&pace, 999)), None);
        let now = after(&pace, 500);
        let early = std::iter::from_fn(|| pace.next(now)).count();
        assert!((400..600).contains(&early) && pace.due == 0, "{early} in half a second, none of them measured");
        let late = after(&pace, 9_000);
        assert_eq!([(); 3].map(|()| pace.mark(late)), [Some(Mark::Begin), Some(Mark::End), None]);
        let rest: Vec<_> = std::iter::from_fn(|| pace.next(late)).collect();
        assert!((2_300..2_700).contains(&rest.len()), "{}: nothing is due after the end", rest.len());
        assert!(rest.is_sorted() && rest.iter().all(|(due, _)| *due < pace.to));
        assert!((1_800..2_200).contains(&pace.due) && pace.late_us.min() > 5_000_000);
        assert!(pace.is_done(|| 0) && !pace.is_done(|| 1), "what is left is waited for");
    }
}
