//! Digests of state, to compare what two nodes know. Never stored or sent.

/// A digest of what was added, in its order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Digest(u64);

impl Digest {
    /// Adds a number.
    pub(crate) fn word(&mut self, word: u64) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 / golden ratio
        let product = u128::from(self.0 ^ word ^ ODD) * u128::from(ODD.rotate_left(29) | 1);
        #[allow(clippy::cast_possible_truncation, reason = "the halves of a product")]
        let halves = (product as u64) ^ (product >> 64) as u64;
        self.0 = halves ^ self.0.rotate_left(23);
    }

    /// Adds numbers.
    pub(crate) fn words(&mut self, words: &[u64]) {
        words.iter().for_each(|word| self.word(*word));
    }

    /// Adds bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        self.word(bytes.len() as u64);
    }

    /// The digest.
    pub(crate) fn value(self) -> u64 {
        self.0
    }
}
