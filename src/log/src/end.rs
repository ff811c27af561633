//! Where a log ends, written down outside of it: a start that finds less knows that something is missing.
//!
//! A log cannot tell by itself that its newest segments are gone: what is left looks like a log that ends earlier. So the data
//! directory keeps a [`LogEnd`] for every log. It is raised, durably, before a prepared segment may hold a batch, at every
//! start and at every stop in good order.

use tidings_wire::{Generation, Lsn};

use crate::{Tail, recovery::Damage};

/// The least that must be found of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// Its newest segment, with batches or prepared for them.
    pub generation: Generation,
    /// Its last batch that was known to be durable.
    pub batch: Lsn,
}

impl LogEnd {
    /// Where recovery found that a log ends.
    pub fn found(tail: &Tail) -> Self {
        let newest = tail.ready.last().or(tail.segments.last());
        Self { generation: newest.map_or(Generation(0), |segment| segment.generation), batch: tail.last }
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
        if found.batch < self.batch { Err(Damage::Shorter { found: found.batch, known: self.batch }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_what_is_known_is_named() {
        let end = |generation, batch| LogEnd { generation: Generation(generation), batch: Lsn(batch) };
        let known = end(3, 70);
        for found in [end(3, 70), end(4, 99), end(4, 70)] {
            assert_eq!(known.check(found), Ok(()));
        }
        assert_eq!(end(0, 0).check(end(0, 0)), Ok(()));
        assert_eq!(known.check(end(0, 0)), Err(Damage::LogMissing(known)));
        assert_eq!(known.check(end(2, 70)), Err(Damage::SegmentMissing(Generation(3))));
        assert_eq!(known.check(end(3, 69)), Err(Damage::Shorter { found: Lsn(69), known: Lsn(70) }));
    }
}
