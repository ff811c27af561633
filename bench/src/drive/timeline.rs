//! What a run was like second by second: a stall that percentiles of a long run hide is seen here.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// One second.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Second {
    /// Milliseconds of it that were measured: fewer than 1,000 of the last, perhaps.
    #[serde(default = "whole")]
    pub ms: u64,
    /// Messages answered.
    pub acked: u64,
    /// SENT, microseconds.
    pub sent_p50_us: u64,
    /// SENT, microseconds.
    pub sent_p99_us: u64,
    /// SENT, the longest, microseconds.
    pub sent_max_us: u64,
    /// MESSAGE, microseconds.
    pub delivered_p99_us: u64,
}

fn whole() -> u64 {
    1000
}

/// Seconds that are being measured.
#[derive(Debug)]
pub struct Timeline {
    from: Instant,
    time: Duration,
    done: Vec<Second>,
    sent: Histogram<u64>,
    delivered: Histogram<u64>,
}

impl Timeline {
    /// From a moment, for so long.
    pub fn new(from: Instant, time: Duration) -> Self {
        // Two digits are enough for a plot.
        let histogram = || Histogram::new_with_bounds(1, 600_000_000, 2).expect("these bounds are valid");
        Self { from, time, done: Vec::new(), sent: histogram(), delivered: histogram() }
    }

    /// Seconds in all, a part of one included.
    fn most(&self) -> usize {
        self.time.as_millis().div_ceil(1000) as usize
    }

    /// An answer came.
    pub fn sent(&mut self, now: Instant, took: Duration) {
        if self.roll(now) {
            self.sent.saturating_record(took.as_micros() as u64);
        }
    }

    /// A message came.
    pub fn delivered(&mut self, now: Instant, took: Duration) {
        if self.roll(now) {
            self.delivered.saturating_record(took.as_micros() as u64);
        }
    }

    /// Ends the seconds that are over; true if this moment is measured.
    fn roll(&mut self, now: Instant) -> bool {
        let Some(since) = now.checked_duration_since(self.from) else { return false };
        while self.done.len() < self.most().min(since.as_secs() as usize) {
            self.end_second();
        }
        self.done.len() < self.most()
    }

    fn end_second(&mut self) {
        let at = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile);
        let (sent, delivered) = (&self.sent, &self.delivered);
        let ms = self.time.as_millis() as u64 - 1000 * self.done.len() as u64;
        self.done.push(Second {
            ms: ms.min(1000),
            acked: sent.len(),
            sent_p50_us: at(sent, 0.5),
            sent_p99_us: at(sent, 0.99),
            sent_max_us: sent.max(),
            delivered_p99_us: at(delivered, 0.99),
        });
        self.sent.reset();
        self.delivered.reset();
    }

    /// All seconds, those without answers too.
    pub fn finish(&mut self) -> Vec<Second> {
        while self.done.len() < self.most() {
            self.end_second();
        }
        std::mem::take(&mut self.done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_without_answers_is_there_and_empty_and_a_part_of_one_says_so() {
        let from = Instant::now();
        let mut timeline = Timeline::new(from, Duration::from_millis(4_900));
        let after = |ms| from + Duration::from_millis(ms);
        timeline.sent(after(10), Duration::from_micros(100));
        timeline.sent(after(2_500), Duration::from_micros(1_500_000));
        timeline.delivered(after(2_600), Duration::from_micros(200));
        timeline.sent(after(4_500), Duration::from_micros(7));
        timeline.sent(after(9_000), Duration::from_micros(7));
        let seconds = timeline.finish();
        assert_eq!(seconds.iter().map(|second| second.acked).collect::<Vec<_>>(), [1, 0, 1, 0, 1]);
        assert_eq!(seconds.iter().map(|second| second.ms).collect::<Vec<_>>(), [1000, 1000, 1000, 1000, 900]);
        assert!(seconds[2].sent_max_us >= 1_490_000 && seconds[2].delivered_p99_us >= 190);
    }
}
