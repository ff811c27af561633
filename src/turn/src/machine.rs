//! What a turn needs of the world: sockets and a disk whose operations complete later, and a way to wake other reactors.

use std::{fmt, io, net::IpAddr};

use tidings_core::{JobId, slab::Key};
use tidings_log::{AlignedBuf, LogEnd, SlotId};
use tidings_wire::{LogId, Lsn};

/// Wakes one reactor, from anywhere.
pub trait Wake {
    /// Its next or current rest ends.
    fn wake(&self);
}

/// How a connection is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiving {
    /// One completion, so that nothing is in flight after it and the connection can move.
    Once,
    /// Until a completion says that no more will come.
    Ongoing,
}

/// What a durable write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A batch: durable when it completes, and all before it have.
    Batch(Lsn),
    /// Zeros of a segment that is being prepared: durable with its headers.
    Fill,
    /// A segment's header: durable when it completes, and with it all that was written to the file before.
    Header,
}

/// How a receive went.
#[derive(Debug)]
pub enum Received<C> {
    /// Bytes.
    Bytes(C),
    /// The peer closed.
    End,
    /// No buffer was free; arm again once one is.
    NoBuffer,
    /// The connection failed.
    Failed(io::Error),
}

/// An operation that came to its end, or brought something.
#[derive(Debug)]
pub enum Completion<S, C> {
    /// A connection was accepted; without `more` accepting must be armed again.
    Accepted {
        /// The connection.
        result: io::Result<S>,
        /// More will come without being asked for.
        more: bool,
    },
    /// A receive ended or went on; without `more` it must be armed again.
    Received {
        /// Which connection.
        key: Key,
        /// What came.
        result: Received<C>,
        /// More will come without being asked for.
        more: bool,
    },
    /// Output was taken.
    Sent {
        /// Which connection.
        key: Key,
        /// The output, to be used again.
        buffer: Vec<u8>,
        /// How much of it was taken.
        result: io::Result<usize>,
    },
    /// A slot's file was created, or not.
    Created {
        /// Which slot.
        slot: SlotId,
        /// Whether.
        result: io::Result<()>,
    },
    /// A write ended.
    Written {
        /// What it was for.
        purpose: Purpose,
        /// What was written.
        buffer: AlignedBuf,
        /// How much of it.
        result: io::Result<usize>,
    },
    /// The file of a segment that was dropped was deleted, or not.
    Removed {
        /// Which log.
        log: LogId,
        /// Whether.
        result: io::Result<()>,
    },
    /// Where a log ends was written down, or not.
    Noted {
        /// Which log.
        log: LogId,
        /// Whether.
        result: io::Result<()>,
    },
    /// A read ended.
    Read {
        /// For which job.
        job: JobId,
        /// The buffer, as long as what was asked for.
        buffer: Vec<u8>,
        /// How much of it is valid.
        result: io::Result<usize>,
    },
    /// Somebody woke this reactor.
    Woken,
}

/// [`Completion`] of a machine.
pub type Event<M> = Completion<<M as Machine>::Socket, <M as Machine>::Chunk>;

/// The world of one reactor. Operations begin here and end as a [`Completion`]; a socket ends when it is dropped.
pub trait Machine {
    /// A connection.
    type Socket: fmt::Debug;
    /// Received bytes, held until they are given back.
    type Chunk: fmt::Debug;
    /// Wakes a reactor on this kind of machine.
    type Waker: Wake + fmt::Debug;

    /// System calls that it took so far; 0 of a machine that takes none.
    fn calls(&self) -> u64 {
        0
    }

    /// Accepts connections until [`Completion::Accepted`] says that no more will come.
    fn accept(&mut self);

    /// Accepts no more.
    fn stop_accepting(&mut self);

    /// Prepares a connection that was just accepted, and says who is at its other end.
    ///
    /// # Errors
    /// If it is gone already.
    fn greet(&mut self, socket: &Self::Socket) -> io::Result<IpAddr>;

    /// Receives what comes.
    fn receive(&mut self, socket: &Self::Socket, key: Key, how: Receiving);

    /// The bytes of a chunk.
    fn bytes<'a>(&'a self, chunk: &'a Self::Chunk) -> &'a [u8];

    /// The bytes of a chunk, to be opened where they are.
    fn bytes_mut<'a>(&'a mut self, chunk: &'a mut Self::Chunk) -> &'a mut [u8];

    /// A chunk is done with.
    fn give_back(&mut self, chunk: Self::Chunk);

    /// True if bytes can be received.
    fn has_buffers(&self) -> bool;

    /// Sends all of `buffer`.
    fn send(&mut self, socket: &Self::Socket, key: Key, buffer: Vec<u8>);

    /// Nothing more will be sent.
    fn shut_output(&mut self, socket: &Self::Socket);

    /// Ends both directions at once.
    fn shut(&mut self, socket: &Self::Socket);

    /// Creates a slot's file of the own log, off the turn, ready to be filled.
    fn create(&mut self, slot: SlotId, len: u64);

    /// Writes down durably, off the turn, where a log ends, or that it is not there any more (`None`).
    fn note(&mut self, log: LogId, end: Option<LogEnd>);

    /// Opens a slot's file of the own log to be written, if it is not open.
    ///
    /// # Errors
    /// If it cannot be opened.
    fn open(&mut self, slot: SlotId) -> io::Result<()>;

    /// No more will be written to a slot of the own log for now.
    fn close(&mut self, slot: SlotId);

    /// Writes to an open slot of the own log.
    fn write(&mut self, purpose: Purpose, slot: SlotId, offset: u64, buffer: AlignedBuf);

    /// Reads `buffer.len()` bytes of any log.
    ///
    /// # Errors
    /// If the file cannot be opened; then nothing completes.
    fn read(&mut self, job: JobId, log: LogId, slot: SlotId, offset: u64, buffer: Vec<u8>) -> io::Result<()>;

    /// Deletes the file of a segment that was dropped, of any log, off the turn.
    fn remove(&mut self, log: LogId, slot: SlotId);
}
