//! A machine that does nothing: whatever is asked of it is done at once, and is told at the next turn. So a turn's own instructions
//! are all that is counted.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr},
};

use tidings_core::{JobId, slab::Key};
use tidings_log::{AlignedBuf, LogEnd, SlotId};
use tidings_turn::{Completion, Machine, Purpose, Received, Receiving, Wake};
use tidings_wire::LogId;

/// A connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket(pub u32);

/// Nobody sleeps here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// What a turn is told of [`NullMachine`].
pub type Told = Completion<Socket, Vec<u8>>;

/// The machine.
#[derive(Debug, Default)]
pub struct NullMachine {
    /// What the next turn is told.
    pub told: Vec<Told>,
    /// What the turn calls each connection.
    pub keys: BTreeMap<Socket, Key>,
    /// Bytes that were sent.
    pub sent: usize,
    /// The turn accepts connections.
    pub accepts: bool,
}

impl NullMachine {
    /// A connection receives bytes.
    ///
    /// # Panics
    /// If nobody listens to it.
    pub fn receive_bytes(&mut self, socket: Socket, bytes: Vec<u8>) {
        let (key, result) = (self.keys[&socket], Received::Bytes(bytes));
        self.told.push(Completion::Received { key, result, more: true });
    }
}

impl Machine for NullMachine {
    type Socket = Socket;
    type Chunk = Vec<u8>;
    type Waker = Nobody;

    fn accept(&mut self) {
        self.accepts = true;
    }

    fn stop_accepting(&mut self) {
        self.accepts = false;
    }

    fn greet(&mut self, _: &Socket) -> io::Result<IpAddr> {
        Ok(Ipv4Addr::LOCALHOST.into())
    }

    fn receive(&mut self, socket: &Socket, key: Key, _: Receiving) {
        self.keys.insert(*socket, key);
    }

    fn bytes<'a>(&'a self, chunk: &'a Vec<u8>) -> &'a [u8] {
        chunk
    }

    fn bytes_mut<'a>(&'a mut self, chunk: &'a mut Vec<u8>) -> &'a mut [u8] {
        chunk
    }

    fn give_back(&mut self, _: Vec<u8>) {}

    fn has_buffers(&self) -> bool {
        true
    }

    fn send(&mut self, _: &Socket, key: Key, buffer: Vec<u8>) {
        let result = Ok(buffer.len());
        self.sent += buffer.len();
        self.told.push(Completion::Sent { key, buffer, result });
    }

    fn shut_output(&mut self, _: &Socket) {}

    fn shut(&mut self, _: &Socket) {}

    fn create(&mut self, slot: SlotId, _: u64) {
        self.told.push(Completion::Created { slot, result: Ok(()) });
    }

    fn note(&mut self, log: LogId, _: Option<LogEnd>) {
        self.told.push(Completion::Noted { log, result: Ok(()) });
    }

    fn open(&mut self, _: SlotId) -> io::Result<()> {
        Ok(())
    }

    fn close(&mut self, _: SlotId) {}

    fn write(&mut self, purpose: Purpose, _: SlotId, _: u64, buffer: AlignedBuf) {
        let result = Ok(buffer.as_slice().len());
        self.told.push(Completion::Written { purpose, buffer, result });
    }

    fn read(&mut self, _: JobId, _: LogId, _: SlotId, _: u64, _: Vec<u8>) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn remove(&mut self, log: LogId, _: SlotId) {
        self.told.push(Completion::Removed { log, result: Ok(()) });
    }
}
