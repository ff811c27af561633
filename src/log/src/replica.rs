//! Who numbers the entries of shards, and says when they are committed: a node alone, and later the leader of several.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{Committed, Durable, Entry, EntryIndex, Lsn, Term};

use crate::batch::SealedEntry;

/// This node's part in the replication of its shards.
pub trait Replica {
    /// The records of a shard in a batch that is being sealed become an entry: what it is called.
    fn propose(&mut self, shard: u16) -> Entry;

    /// A batch is durable here, with the entries that are in it: those of them that are committed by that, in their order, are
    /// handed to `committed`.
    fn durable(&mut self, proof: Durable, batch: Lsn, entries: &[SealedEntry], committed: impl FnMut(Committed));
}

/// The only replica: what is durable here is committed.
#[derive(Clone, Debug)]
pub struct Solo {
    shards: Box<[Numbers]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    term: Term,
    last: EntryIndex,
}

impl Solo {
    /// Of so many shards, whose terms are `term` and more.
    pub fn new(shards: u32, term: Term) -> Self {
        let numbers = Numbers { term, last: EntryIndex(0) };
        Self { shards: vec![numbers; shards as usize].into_boxed_slice() }
    }

    /// An entry that recovery read, or read of: the shard goes on after it, under a later term.
    pub fn recovered(&mut self, entry: Entry) {
        let numbers = &mut self.shards[entry.shard as usize];
        numbers.last = numbers.last.max(entry.index);
        numbers.term = numbers.term.max(Term(entry.term.0 + 1));
    }

    /// What was proposed and not sealed was dropped, as when another leads now: terms rise.
    pub fn lead_again(&mut self) {
        self.shards.iter_mut().for_each(|numbers| numbers.term.0 += 1);
    }

    /// The last entry of a shard, as far as it was sealed, under today's term.
    pub fn last(&self, shard: u16) -> Entry {
        let Numbers { term, last: index } = self.shards[shard as usize];
        Entry { shard, term, index }
    }
}

impl Replica for Solo {
    fn propose(&mut self, shard: u16) -> Entry {
        let Numbers { term, last } = &mut self.shards[shard as usize];
        *last = last.next();
        if canary::is(Canary::IndexSkipped) && last.0.is_multiple_of(8) {
            *last = last.next();
        }
        Entry { shard, term: *term, index: *last }
    }

    fn durable(&mut self, proof: Durable, batch: Lsn, entries: &[SealedEntry], committed: impl FnMut(Committed)) {
        entries.iter().map(|sealed| proof.commit(sealed.entry.shard, sealed.entry.index, batch)).for_each(committed);
    }
}
