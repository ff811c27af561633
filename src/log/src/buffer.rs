//! Buffers whose first byte is block-aligned, as direct I/O wants them, without unsafe code.

use crate::format::BLOCK;

/// A growable byte buffer of fixed capacity that starts on a block boundary. It is a `Vec` with an unused, shorter
/// than a block, prefix; it never reallocates, so the alignment holds.
#[derive(Debug)]
pub struct AlignedBuf {
    bytes: Vec<u8>,
    start: usize,
    capacity: usize,
}

impl AlignedBuf {
    /// An empty buffer for `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        let mut bytes: Vec<u8> = Vec::with_capacity(capacity + BLOCK);
        let start = bytes.as_ptr().align_offset(BLOCK);
        assert!(start < BLOCK, "the allocator's pointers can be aligned by moving on");
        bytes.resize(start, 0);
        Self { bytes, start, capacity }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The bytes, to change in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many more fit.
    pub fn room(&self) -> usize {
        self.capacity - self.len()
    }

    /// Drops all bytes.
    pub fn clear(&mut self) {
        self.bytes.truncate(self.start);
    }

    /// Appends zeros up to `len` bytes in all.
    ///
    /// # Panics
    /// If that is over the capacity.
    pub fn zero_to(&mut self, len: usize) {
        assert!(len <= self.capacity, "{len} bytes in a buffer of {}", self.capacity);
        self.bytes.resize(self.start + len, 0);
    }

    /// Lets `fill` append to the bytes, and says how many it appended.
    ///
    /// # Panics
    /// If `fill` appends more than [`Self::room`], or truncates: the caller checked.
    pub fn append(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> usize {
        let before = self.bytes.len();
        fill(&mut self.bytes);
        assert!(self.bytes.len() >= before && self.len() <= self.capacity, "an append overran its buffer");
        self.bytes.len() - before
    }

    /// The allocation and where the bytes begin in it, for an operation that owns it while it is in flight.
    pub fn into_parts(self) -> (Vec<u8>, usize) {
        (self.bytes, self.start)
    }

    /// The buffer that [`Self::into_parts`] took apart.
    ///
    /// # Panics
    /// If the parts are not such a buffer's.
    pub fn from_parts(bytes: Vec<u8>, start: usize) -> Self {
        assert!(start < BLOCK && bytes[start..].as_ptr().align_offset(BLOCK) == 0, "not an aligned buffer's parts");
        let capacity = bytes.capacity() - BLOCK;
        Self { bytes, start, capacity }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_block_and_survives_being_taken_apart() {
        let mut buffer = AlignedBuf::new(10_000);
        assert_eq!(buffer.append(|bytes| bytes.extend(b"abc")), 3);
        buffer.zero_to(5);
        let (bytes, start) = buffer.into_parts();
        let buffer = AlignedBuf::from_parts(bytes, start);
        assert_eq!(buffer.as_slice(), b"abc\0\0");
        assert_eq!(buffer.as_slice().as_ptr().align_offset(BLOCK), 0);
        assert!(buffer.room() >= 10_000 - 5);
    }
}
