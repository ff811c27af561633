//! When to connect again: soon at first, then less and less, never all at once.

use crate::config::Time;

const FIRST_MS: u64 = 50;
const LONGEST_MS: u64 = 10_000;

/// Doubling delays with full jitter (each is drawn from zero to the current bound).
#[derive(Debug)]
pub(crate) struct Backoff {
    bound_ms: u64,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Self {
        Self { bound_ms: FIRST_MS, random: seed | 1 }
    }

    /// The connection worked: begin anew.
    pub(crate) fn reset(&mut self) {
        self.bound_ms = FIRST_MS;
    }

    /// Random bits: xorshift64 (Marsaglia, 2003).
    pub(crate) fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// When to try next, at least `least_ms` from now.
    pub(crate) fn next(&mut self, now: Time, least_ms: u64) -> Time {
        let delay = self.random() % (self.bound_ms + 1);
        self.bound_ms = (self.bound_ms * 2).min(LONGEST_MS);
        now.plus_ms(delay + least_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_stay_bounded_and_differ() {
        let (mut a, mut b) = (Backoff::new(1), Backoff::new(99));
        let delays: Vec<_> = (0..20).map(|_| (a.next(Time(0), 0), b.next(Time(0), 7))).collect();
        assert!(delays.iter().all(|(a, b)| *a <= Time(0).plus_ms(LONGEST_MS) && *b >= Time(0).plus_ms(7)));
        assert!(delays.iter().any(|(a, b)| a != b) && delays[0].0 <= Time(0).plus_ms(FIRST_MS));
    }
}
