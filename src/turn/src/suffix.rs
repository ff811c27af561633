//! The suffix rule: among replicas the end of a shard may be replaced, when a leader had entries that no majority took. Nothing
//! is cut out of the log for that: a later record whose entry is not above the last one replaces that entry and all after it.
//!
//! What is replaced is known only after it was read. So recovery reads with empty hands first ([`Suffixes::look`]), and begins
//! again if something was replaced, passing it over ([`Suffixes::is_replaced`]). On one node that never happens.

use std::collections::BTreeMap;

use tidings_log::format::RecordHeader;
use tidings_wire::{Entry, EntryIndex};

/// Where a shard is, and which entries were replaced when.
#[derive(Debug, Default)]
struct Shard {
    last: Option<(Entry, u16)>,
    /// How many records had been read, and from which entry on all before that are replaced.
    replaced: Vec<(u64, EntryIndex)>,
}

/// What was replaced in the shards of a node.
#[derive(Debug, Default)]
pub(crate) struct Suffixes {
    shards: BTreeMap<u16, Shard>,
    read: u64,
}

impl Suffixes {
    /// Looks at the next record, in the order in which records were written. True if it replaces what was read before.
    pub(crate) fn look(&mut self, header: &RecordHeader) -> bool {
        self.read += 1;
        let Some(entry) = header.entry() else { return false };
        let shard = self.shards.entry(header.shard).or_default();
        let follows = shard.last.is_none_or(|(last, position)| {
            entry.index > last.index || entry == last && header.position == position + 1
        });
        shard.last = Some((entry, header.position));
        if !follows {
            shard.replaced.push((self.read, entry.index));
        }
        !follows
    }

    /// Begins again: records come in the same order, and what was replaced is known.
    pub(crate) fn begin_again(&mut self) {
        self.read = 0;
    }

    /// True if the next record was replaced by a later one.
    pub(crate) fn is_replaced(&mut self, header: &RecordHeader) -> bool {
        self.read += 1;
        let (Some(entry), Some(shard)) = (header.entry(), self.shards.get(&header.shard)) else { return false };
        shard.replaced.iter().any(|(read, from)| *read > self.read && *from <= entry.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(shard: u16, term: u32, index: u64, position: u16) -> RecordHeader {
        RecordHeader { crc: 0, term, index, position, len: 0, shard, flags: 0, kind: 1, version: 1, ts: 0 }
    }

    #[test]
    fn a_record_that_is_not_above_the_last_replaces_the_suffix() {
        let local = RecordHeader { flags: tidings_log::format::LOCAL, ..record(1, 0, 0, 0) };
        // Shard 1: entry 3 is replaced twice, entry 4 once. Shard 2 is whole.
        let records = [
            (record(1, 1, 2, 0), true),
            (record(1, 1, 3, 0), false),
            (record(2, 1, 3, 0), true),
            (record(1, 1, 3, 1), false),
            (record(1, 1, 4, 0), false),
            (local, true),
            (record(1, 2, 3, 0), false),
            (record(2, 1, 3, 1), true),
            (record(1, 3, 3, 0), true),
            (record(1, 3, 3, 1), true),
            (record(1, 3, 4, 0), true),
        ];
        let mut suffixes = Suffixes::default();
        let replaces = records.iter().filter(|(header, _)| suffixes.look(header)).count();
        assert_eq!(replaces, 2);
        suffixes.begin_again();
        for (header, stays) in &records {
            assert_eq!(suffixes.is_replaced(header), !stays, "{header:?}");
        }
    }
}
