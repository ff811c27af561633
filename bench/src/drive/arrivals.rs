//! When messages are due: a schedule that does not know how the server is doing.

use std::time::Duration;

/// How messages arrive at a mean rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// At equal distances, one pair after the other.
    Constant,
    /// As independent users write: distances are exponential, pairs are drawn.
    Poisson,
}

impl Arrivals {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
        }
    }
}

/// Numbers that look random, from a seed: xorshift64* (Vigna, 2016).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 on, below 1.
    pub fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A schedule: when, since the beginning, and by which of the pairs. Endless.
#[derive(Clone, Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    rate: f64,
    pairs: usize,
    count: u64,
    at_s: f64,
    random: Random,
}

impl Schedule {
    /// `rate` messages a second over `pairs` pairs, from a seed.
    ///
    /// # Panics
    /// If the rate is not positive, or there are no pairs.
    pub fn new(arrivals: Arrivals, rate: f64, pairs: usize, seed: u64) -> Self {
        assert!(rate > 0.0 && pairs > 0, "a schedule needs a rate and pairs");
        Self { arrivals, rate, pairs, count: 0, at_s: 0.0, random: Random::new(seed) }
    }
}

impl Iterator for Schedule {
    type Item = (Duration, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let pair = match self.arrivals {
            Arrivals::Constant => {
                self.at_s = self.count as f64 / self.rate;
                (self.count % self.pairs as u64) as usize
            }
            Arrivals::Poisson => {
                self.at_s -= (1.0 - self.random.share()).ln() / self.rate;
                (self.random.bits() % self.pairs as u64) as usize
            }
        };
        self.count += 1;
        Some((Duration::from_secs_f64(self.at_s), pair))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_rate_is_kept_and_poisson_gaps_vary_as_they_must() {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            let due: Vec<_> = Schedule::new(arrivals, 1000.0, 7, 3).take(20_000).collect();
            let took = due.last().unwrap().0.as_secs_f64();
            assert!((19.0..21.0).contains(&took), "20,000 messages at 1,000 a second took {took} s");
            assert!(due.is_sorted_by_key(|(at, _)| *at) && due.iter().all(|(_, pair)| *pair < 7));
            let gaps: Vec<_> = due.windows(2).map(|two| (two[1].0 - two[0].0).as_secs_f64() * 1000.0).collect();
            let variance = gaps.iter().map(|gap| (gap - 1.0).powi(2)).sum::<f64>() / gaps.len() as f64;
            let expected = if arrivals == Arrivals::Poisson { 0.9..1.1 } else { -0.01..0.01 };
            assert!(expected.contains(&variance), "the variance of {arrivals:?} gaps is {variance}");
        }
    }
}
