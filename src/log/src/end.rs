//! Where a log begins and ends, written down outside of it: a start that finds less knows that something is missing.
//!
//! A log cannot tell by itself that its newest segments are gone: what is left looks like a log that ends earlier. So the data
//! directory keeps a [`LogEnd`] for every log. It is raised, durably, before a prepared segment may hold a batch, at every
//! start and at every stop in good order; and before a segment is dropped, so that one that is gone for another reason is missed.

use tidings_wire::{Generation, Lsn};

use crate::{SegmentInfo, Tail, recovery::Damage};

/// The least that must be found of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// Its oldest segment that was not dropped; 0: it has none yet.
    pub first: Generation,
    /// Its newest segment, with batches or prepared for them.
    pub generation: Generation,
    /// Its last batch that was known to be durable.
    pub batch: Lsn,
}

impl LogEnd {
    /// Where recovery found that a log ends.
    pub fn found(tail: &Tail) -> Self {
        let generation = |segment: Option<&SegmentInfo>| segment.map_or(Generation(0), |segment| segment.generation);
        let first = generation(tail.segments.first().or(tail.ready.first()));
        Self { first, generation: generation(tail.ready.last().or(tail.segments.last())), batch: tail.last }
    }

    /// Compares with what was found.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(self, found: Self) -> Result<(), Damage> {
        if found.generation == Generation(0) && self.generation > found.generation {
            return Err(Damage::LogMissing(self));
        }
        if found.generation < self.generation {
            return Err(Damage::SegmentMissing(self.generation));
        }
        if found.first > self.first && self.first > Generation(0) {
            return Err(Damage::SegmentMissing(self.first));
        }
        if found.batch < self.batch { Err(Damage::Shorter { found: found.batch, known: self.batch }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_what_is_known_is_named() {
        let end = |generation, batch| {
            let first = Generation(1.min(generation));
            LogEnd { first, generation: Generation(generation), batch: Lsn(batch) }
        };
        let known = end(3, 70);
        for found in [end(3, 70), end(4, 99), end(4, 70)] {
            assert_eq!(known.check(found), Ok(()));
        }
        assert_eq!(end(0, 0).check(end(0, 0)), Ok(()));
        assert_eq!(known.check(end(0, 0)), Err(Damage::LogMissing(known)));
        assert_eq!(known.check(end(2, 70)), Err(Damage::SegmentMissing(Generation(3))));
        let later = LogEnd { first: Generation(2), ..known };
        assert_eq!(known.check(later), Err(Damage::SegmentMissing(Generation(1))));
        assert_eq!(later.check(known), Ok(()), "it was to be dropped, and is still there");
        assert_eq!(known.check(end(3, 69)), Err(Damage::Shorter { found: Lsn(69), known: Lsn(70) }));
    }
}
