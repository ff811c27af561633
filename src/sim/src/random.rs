//! Randomness of which a seed decides everything.

/// A generator: SplitMix64 (Steele, Lea, Flood, 2014). Small, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

/// One in a million, the unit of probabilities here: whole numbers, so that no machine rounds differently.
pub const MILLION: u32 = 1_000_000;

impl Random {
    /// A generator.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Another generator, for something whose draws must not shift those of others.
    pub fn fork(&mut self, label: u64) -> Self {
        Self::new(self.bits() ^ label.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing is below 0");
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in `millionths` of a million cases.
    pub fn chance(&mut self, millionths: u32) -> bool {
        self.below(u64::from(MILLION)) < u64::from(millionths)
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// A number around `mean`: from a tenth of it to three times it, most often below it, as waiting times are.
    pub fn around(&mut self, mean: u64) -> u64 {
        let (low, high) = (mean / 10, mean * 3);
        let first = self.between(low, high.max(low + 1));
        first.min(self.between(low, high.max(low + 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_everywhere() {
        let mut random = Random::new(1);
        // The published test vector of SplitMix64 with this seed.
        assert_eq!([random.bits(), random.bits()], [0x910a_2dec_8902_5cc1, 0xbeeb_8da1_658e_ec67]);
        assert!((0..1000).all(|_| random.below(3) < 3 && (5..=9).contains(&random.between(5, 9))));
        let hits = (0..10_000).filter(|_| random.chance(MILLION / 4)).count();
        assert!((2_200..2_800).contains(&hits), "{hits}");
    }
}
