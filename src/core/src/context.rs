//! What each half of a node can do: time and effects in one value. Homes reach sockets and the log, conversations reach the log
//! and homes; neither trait has what belongs to the other, so that no half can begin what would let full lanes lock each other.

use alloc::vec::Vec;

use tidings_wire::{BatchPosition, LogPosition, Timestamp};

use crate::{
    counters::{Counter, Counters},
    effects::{ConnId, JobId, ReactorId},
    ephemeral::Ephemeral,
    lanes::{Asker, ToHome},
    records::RecordKind,
    residency::Entity,
    time::Now,
};

/// What both halves can do.
pub(crate) trait Context {
    /// The time of the turn.
    fn now(&self) -> Now;

    /// The counts.
    fn counters(&mut self) -> &mut Counters;

    /// One more of these.
    fn count(&mut self, counter: Counter) {
        self.counters().count(counter);
    }

    /// The largest record body that the open batch still takes.
    fn room(&self) -> usize;

    /// True while nothing can be written.
    fn is_stuck(&self) -> bool;

    /// The time of the next record of a shard: now, or that of its last record if the clock went back.
    fn ts(&self, shard: u16) -> Timestamp;

    /// Appends a record of a shard to the open batch; see [`Effects::append`](crate::Effects::append).
    fn append(&mut self, kind: RecordKind, shard: u16, fill: impl FnOnce(&mut Vec<u8>)) -> BatchPosition;

    /// `len` bytes of a body that was appended, to be changed in place; `None` once its batch is sealed.
    fn revise(&mut self, at: BatchPosition, len: usize) -> Option<&mut [u8]>;

    /// A record that was appended does not count. False once its batch is sealed.
    fn void(&mut self, at: BatchPosition) -> bool;

    /// Somebody waits for the open batch.
    fn want_write(&mut self);

    /// Whether an entity of this reactor is in memory. If not it will be, for whoever asks again.
    fn is_here(&mut self, entity: Entity) -> bool;

    /// Sends what may be lost, to either half of any reactor: nobody waits for it, so it can lock nothing.
    fn ephemeral(&mut self, to: ReactorId, message: Ephemeral, payload: &[u8]);
}

/// What homes can do besides. What they send to conversations they return; see
/// [`Homes::frame`](crate::home::Homes::frame).
pub(crate) trait HomeContext: Context {
    /// The connection's output: what is appended in a turn leaves in one piece.
    fn out(&mut self, conn: ConnId) -> &mut Vec<u8>;

    /// The connection's output, for what nobody waits for.
    fn out_later(&mut self, conn: ConnId) -> &mut Vec<u8>;

    /// Bytes of output that the connection has not taken yet.
    fn buffered(&self, conn: ConnId) -> usize;

    /// Closes the connection once its output is gone.
    fn close(&mut self, conn: ConnId);
}

/// Whether an answer can go to who asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// Yes.
    Takes,
    /// Not now.
    Full,
    /// Nobody waits for it any more.
    Gone,
}

/// What conversations can do besides.
pub(crate) trait ConversationContext: Context {
    /// Sends to a home. The caller made sure of the credit.
    fn to_home(&mut self, to: ReactorId, message: ToHome, payload: &[u8]);

    /// True if `count` messages with `bytes` of payload in all can be sent to homes on a reactor now.
    fn has_home_credit(&mut self, to: ReactorId, count: usize, bytes: usize) -> bool;

    /// Whether a frame of `len` bytes can go to who asked, on a reactor.
    fn asking(&mut self, to: ReactorId, asker: Asker, len: usize) -> Asking;

    /// Reads `len` bytes of the log for a job.
    fn read(&mut self, job: JobId, at: LogPosition, len: usize);
}
