//! What fuzz targets share: choices made from the fuzzer's bytes, with which it is driven.

/// The fuzzer's bytes, as choices. When they are used up every choice is 0.
#[derive(Debug)]
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// Choices from these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// True once they are used up.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    /// A number below `bound`, of which at most 65,536 are reached.
    pub fn below(&mut self, bound: u64) -> u64 {
        let number = u64::from(self.byte()) << 8 | u64::from(self.byte());
        number % bound.max(1)
    }

    /// Some bytes.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let len = len.min(self.0.len());
        self.0.split_off(..len).unwrap_or_default()
    }
}
