//! Positions in logs.

/// Log sequence number: which batch of its log, counted from 1. 0 is "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The batch after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Which log of a data directory; logs are numbered, and outlive the reactor that wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u8);

/// Which segment of a log, counted from 1: a recycled file gets a new generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

/// The term of a shard's leader. On one node it begins with the number of the start, and rises when what was proposed is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u32);

/// An entry of a shard, counted from 1: the records of one shard in one batch. 0 is "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryIndex(pub u64);

impl EntryIndex {
    /// The entry after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Where a record's body was put in a batch: known at once. Its [`LogPosition`] is known when the batch is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPosition {
    /// The batch.
    pub lsn: Lsn,
    /// Offset of the body in it, in bytes.
    pub offset: u32,
}

/// Where a record's body is: log, generation and offset in the segment, packed into eight bytes since every stored message
/// has one in memory. Records are 16-byte aligned, so 28 bits reach 4 GiB into a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition(u64);

impl LogPosition {
    const OFFSET_BITS: u32 = 28;
    const GENERATION_BITS: u32 = 28;
    /// Nowhere: there is no generation 0.
    pub const NONE: Self = Self(0);
    /// Highest generation that a location can name.
    pub const GENERATION_MAX: u32 = (1 << Self::GENERATION_BITS) - 1;
    /// Longest segment that a location can reach into, in bytes.
    pub const SEGMENT_MAX: u64 = 16 << Self::OFFSET_BITS;

    /// Packs a location.
    ///
    /// # Panics
    /// If the offset is not 16-byte aligned or a part is out of range: a broken invariant of the log.
    pub fn new(log: LogId, generation: Generation, offset: u64) -> Self {
        assert!(offset.is_multiple_of(16) && offset < Self::SEGMENT_MAX, "offset {offset}");
        assert!(generation.0 <= Self::GENERATION_MAX, "generation {}", generation.0);
        let high = (u64::from(log.0) << Self::GENERATION_BITS) | u64::from(generation.0);
        Self((high << Self::OFFSET_BITS) | (offset / 16))
    }

    /// The log.
    pub fn log(self) -> LogId {
        LogId((self.0 >> (Self::OFFSET_BITS + Self::GENERATION_BITS)) as u8)
    }

    /// The segment.
    pub fn generation(self) -> Generation {
        Generation((self.0 >> Self::OFFSET_BITS) as u32 & Self::GENERATION_MAX)
    }

    /// Bytes from the segment's start.
    pub fn offset(self) -> u64 {
        (self.0 & ((1 << Self::OFFSET_BITS) - 1)) * 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_unpacks_to_what_it_was_made_of() {
        let (log, generation, offset) =
            (LogId(255), Generation(LogPosition::GENERATION_MAX), LogPosition::SEGMENT_MAX - 16);
        let loc = LogPosition::new(log, generation, offset);
        assert_eq!((loc.log(), loc.generation(), loc.offset()), (log, generation, offset));
    }
}
