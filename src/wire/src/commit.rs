//! The witnesses without which nothing leaves: that a batch is durable on this node, and that an entry of a shard is committed.
//!
//! A log is given one [`Minter`] when it is opened, which mints [`Durable`]. Who replicates a shard turns what is durable into
//! [`Committed`]: on one node at once, among several when a majority has it. No holder of a witness sees the difference.

use crate::position::{EntryIndex, Lsn, Term};

/// Proof that every batch of one log up to a position is durable on this node.
#[derive(Clone, Copy, Debug)]
pub struct Durable {
    upto: Lsn,
}

impl Durable {
    /// True if batch `lsn` is durable.
    pub fn covers(&self, lsn: Lsn) -> bool {
        lsn <= self.upto
    }

    /// The last durable batch.
    pub fn upto(&self) -> Lsn {
        self.upto
    }

    /// Commits an entry that is in a durable batch: for those who decide that nobody else is needed for it.
    ///
    /// # Panics
    /// If the batch is not durable.
    pub fn commit(&self, shard: u16, index: EntryIndex, batch: Lsn) -> Committed {
        assert!(self.covers(batch), "batch {batch:?} is not durable");
        Committed { shard, index, batch }
    }
}

/// Proof that every entry of a shard up to an index is committed.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    shard: u16,
    index: EntryIndex,
    batch: Lsn,
}

impl Committed {
    /// The shard.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// The last committed entry.
    pub fn index(&self) -> EntryIndex {
        self.index
    }

    /// True if the records of a shard in batch `lsn` are committed.
    pub fn covers(&self, shard: u16, lsn: Lsn) -> bool {
        shard == self.shard && lsn <= self.batch
    }
}

/// An entry of a shard, as it was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The shard.
    pub shard: u16,
    /// The leader's term.
    pub term: Term,
    /// Its number in the shard.
    pub index: EntryIndex,
}

/// The authority to mint [`Durable`]; it cannot be cloned, and it only ever moves forward.
#[derive(Debug)]
pub struct Minter {
    upto: Lsn,
}

impl Minter {
    /// The authority of a log whose batches up to `recovered` were found durable when it was opened.
    pub fn for_log(recovered: Lsn) -> Self {
        Self { upto: recovered }
    }

    /// What has been minted so far.
    pub fn current(&self) -> Durable {
        Durable { upto: self.upto }
    }

    /// Declares every batch up to `upto` durable.
    ///
    /// # Panics
    /// If that moves backward: what is durable stays so.
    pub fn mint(&mut self, upto: Lsn) -> Durable {
        assert!(upto >= self.upto, "what is durable went back from {:?} to {upto:?}", self.upto);
        self.upto = upto;
        self.current()
    }
}
