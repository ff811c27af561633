//! The commit witness: proof that a record is committed, without which nothing that depends on it can leave.
//!
//! A log is given one [`Minter`] when it is opened. Today it mints when a batch is durable on this node (a quorum of
//! one); with replication the quorum's position is minted instead, and no holder of a witness changes.

use crate::position::Lsn;

/// Proof that every record of one log up to a position is committed.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    upto: Lsn,
}

impl Committed {
    /// True if a record in batch `lsn` is committed.
    pub fn covers(&self, lsn: Lsn) -> bool {
        lsn <= self.upto
    }

    /// The last committed batch.
    pub fn upto(&self) -> Lsn {
        self.upto
    }
}

/// The authority to mint [`Committed`]; it cannot be cloned, and it only ever moves forward.
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
    pub fn current(&self) -> Committed {
        Committed { upto: self.upto }
    }

    /// Declares every batch up to `upto` committed.
    ///
    /// # Panics
    /// If that moves backward: commit is final.
    pub fn mint(&mut self, upto: Lsn) -> Committed {
        assert!(upto >= self.upto, "commit went back from {:?} to {upto:?}", self.upto);
        self.upto = upto;
        self.current()
    }
}
