//! What a node can do to the world: everything it decides is a call here, made in a deterministic order.

use alloc::vec::Vec;

use tidings_wire::{BatchPosition, Committed, Durable, LogPosition, Lsn, Timestamp};

use crate::{
    ephemeral::Ephemeral,
    lanes::{ToConversation, ToHome},
    records::RecordKind,
    residency::Entity,
};

/// A reactor of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReactorId(pub u16);

/// A connection of this reactor, named by the reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId(pub u64);

/// A read of stored messages that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobId(pub u32);

/// A lane has no room now: nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCredit;

/// What is said of a record besides its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMeta {
    /// What it is.
    pub kind: RecordKind,
    /// The shard that it belongs to.
    pub shard: u16,
    /// Its time, never less than that of the shard's record before.
    pub ts: Timestamp,
}

/// Whether a message may go on to its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Yes.
    Free,
    /// Its home is not in memory: it waits for that, and comes again by [`Router::to_home`](crate::Router::to_home).
    Parked,
    /// It would have to wait, and there is no place for it.
    Full,
}

/// The world, as a node sees it.
pub trait Effects {
    /// The largest record body that the open batch still takes.
    fn room(&self) -> usize;

    /// Appends a record to the open batch; `fill` writes the body, of at most [`Self::room`] bytes. It becomes durable
    /// with the batch, which nobody hurries before [`Self::want_write`].
    fn append(&mut self, meta: RecordMeta, fill: impl FnOnce(&mut Vec<u8>)) -> BatchPosition;

    /// `len` bytes of a body that was appended, to be changed in place; `None` once its batch is sealed.
    fn revise(&mut self, place: BatchPosition, len: usize) -> Option<&mut [u8]>;

    /// A record that was appended does not count: it becomes [`RecordKind::Void`]. False once its batch is sealed.
    fn void(&mut self, at: BatchPosition) -> bool;

    /// Somebody waits for the open batch.
    fn want_write(&mut self);

    /// True while nothing can be written, since the disk takes no more: what is appended waits for as long as that lasts.
    fn is_stuck(&self) -> bool {
        false
    }

    /// Sends to a conversation on another reactor.
    ///
    /// # Errors
    /// [`NoCredit`].
    fn to_conversation(&mut self, to: ReactorId, message: ToConversation, payload: &[&[u8]]) -> Result<(), NoCredit>;

    /// Sends to a home on another reactor.
    ///
    /// # Errors
    /// [`NoCredit`].
    fn to_home(&mut self, to: ReactorId, message: ToHome, payload: &[&[u8]]) -> Result<(), NoCredit>;

    /// Sends to another reactor what may be lost. False if it is dropped.
    fn ephemeral(&mut self, to: ReactorId, message: Ephemeral, payload: &[u8]) -> bool;

    /// Whether an entity is in memory: what may be lost waits for none. In most worlds all are.
    fn is_here(&mut self, entity: Entity) -> bool {
        let _ = entity;
        true
    }

    /// A conversation has something for a home of its own reactor. A world in which every home is in memory lets all pass.
    fn pass_home(&mut self, message: &ToHome, payload: &[u8]) -> Passage {
        let _ = (message, payload);
        Passage::Free
    }

    /// True if `count` messages with `bytes` of payload in all fit in the lane down to `to`.
    fn has_home_credit(&mut self, to: ReactorId, count: usize, bytes: usize) -> bool;

    /// The connection's output: what is appended in a turn leaves in one piece.
    fn out(&mut self, conn: ConnId) -> &mut Vec<u8>;

    /// The connection's output, for what nobody waits for: it may be kept for a moment, to leave with something else. A world
    /// without connections sends it like the rest.
    fn out_later(&mut self, conn: ConnId) -> &mut Vec<u8> {
        self.out(conn)
    }

    /// Bytes of output that the connection has not taken yet.
    fn buffered(&self, conn: ConnId) -> usize;

    /// Closes the connection once its output is gone.
    fn close(&mut self, conn: ConnId);

    /// Reads `len` bytes of the log for a job.
    fn read(&mut self, job: JobId, loc: LogPosition, len: usize);
}

/// A batch that became durable: records that are this node's alone count from here on.
#[derive(Clone, Copy)]
pub struct DurableBatch<'a> {
    /// The proof.
    pub durable: Durable,
    /// The batch.
    pub lsn: Lsn,
    /// Where a body at an offset is for good.
    pub position: &'a dyn Fn(u32) -> LogPosition,
}

/// An entry of a shard that is committed, in a durable batch whose bytes are still in memory.
#[derive(Clone, Copy)]
pub struct CommittedEntry<'a> {
    /// The proof.
    pub committed: Committed,
    /// The batch.
    pub lsn: Lsn,
    /// All of it.
    pub bytes: &'a [u8],
    /// Where a body at an offset is for good.
    pub position: &'a dyn Fn(u32) -> LogPosition,
}

impl<'a> CommittedEntry<'a> {
    /// `len` bytes of the body at `place`.
    ///
    /// # Panics
    /// If that is in another batch, or not covered by the proof: then it must not leave.
    pub fn body(&self, place: BatchPosition, len: usize) -> &'a [u8] {
        let covered = self.committed.covers(self.committed.shard(), place.lsn);
        assert!(place.lsn == self.lsn && covered, "{place:?} is not committed here");
        &self.bytes[place.offset as usize..][..len]
    }
}

impl core::fmt::Debug for DurableBatch<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "DurableBatch({:?})", self.lsn)
    }
}

impl core::fmt::Debug for CommittedEntry<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "CommittedEntry({:?}, {:?})", self.committed, self.lsn)
    }
}
