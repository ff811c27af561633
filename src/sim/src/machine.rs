//! A simulated core: what a turn asks for is written down, and the world does it.

use std::{
    cell::{Cell, RefCell},
    io,
    net::IpAddr,
    rc::Rc,
};

use tidings_core::{JobId, slab::Key};
use tidings_log::{AlignedBuf, LogEnd, SlotId};
use tidings_turn::{Machine, Purpose, Receiving, Wake};
use tidings_wire::LogId;

use crate::disk::SharedDisk;

/// A connection, over all time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// What a turn asked for.
#[derive(Debug)]
pub enum Command {
    /// Accept connections.
    Accept,
    /// Accept no more.
    StopAccepting,
    /// Receive on a connection.
    Receive(LinkId, Key, Receiving),
    /// Send.
    Send(LinkId, Key, Vec<u8>),
    /// Nothing more will be sent.
    ShutOutput(LinkId),
    /// End both directions.
    Shut(LinkId),
    /// Create a file of the own log.
    Create(SlotId, u64),
    /// Write down where a log ends.
    Note(LogId, Option<LogEnd>),
    /// Write to the own log.
    Write(Purpose, SlotId, u64, AlignedBuf),
    /// Delete a file of a log that nobody writes.
    Remove(LogId, SlotId),
    /// Read from a log.
    Read(JobId, LogId, SlotId, u64, Vec<u8>),
}

/// Connections whose socket was closed, on whatever reactor it was last.
pub type Closings = Rc<RefCell<Vec<LinkId>>>;

/// The node's end of a connection: closed when it is dropped.
#[derive(Debug)]
pub struct Socket {
    link: LinkId,
    address: IpAddr,
    closings: Closings,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.closings.borrow_mut().push(self.link);
    }
}

/// Wakes a simulated reactor: the world looks at it after every turn.
#[derive(Clone, Debug, Default)]
pub struct SimWaker(Rc<Cell<bool>>);

impl Wake for SimWaker {
    fn wake(&self) {
        self.0.set(true);
    }
}

impl SimWaker {
    /// True if somebody woke it since this was asked last.
    pub fn take(&self) -> bool {
        self.0.take()
    }
}

/// One reactor's machine.
#[derive(Debug)]
pub struct SimMachine {
    log: LogId,
    disk: SharedDisk,
    commands: Vec<Command>,
    closings: Closings,
    buffers: usize,
    taken: usize,
}

impl SimMachine {
    /// A machine whose own log is `log`, with so many receive buffers.
    pub fn new(log: LogId, disk: SharedDisk, closings: Closings, buffers: usize) -> Self {
        Self { log, disk, commands: Vec::new(), closings, buffers, taken: 0 }
    }

    /// The node's end of a connection.
    pub fn socket(&self, link: LinkId, address: IpAddr) -> Socket {
        Socket { link, address, closings: Rc::clone(&self.closings) }
    }

    /// What was asked for since this was asked last, in order.
    pub fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    /// Takes a receive buffer, if one is free.
    pub fn take_buffer(&mut self) -> bool {
        let free = self.taken < self.buffers;
        self.taken += usize::from(free);
        free
    }
}

impl Machine for SimMachine {
    type Socket = Socket;
    type Chunk = Vec<u8>;
    type Waker = SimWaker;

    fn accept(&mut self) {
        self.commands.push(Command::Accept);
    }

    fn stop_accepting(&mut self) {
        self.commands.push(Command::StopAccepting);
    }

    fn greet(&mut self, socket: &Socket) -> io::Result<IpAddr> {
        Ok(socket.address)
    }

    fn receive(&mut self, socket: &Socket, key: Key, how: Receiving) {
        self.commands.push(Command::Receive(socket.link, key, how));
    }

    fn bytes<'a>(&'a self, chunk: &'a Vec<u8>) -> &'a [u8] {
        chunk
    }

    fn bytes_mut<'a>(&'a mut self, chunk: &'a mut Vec<u8>) -> &'a mut [u8] {
        chunk
    }

    fn give_back(&mut self, _: Vec<u8>) {
        self.taken = self.taken.checked_sub(1).expect("a chunk is given back once");
    }

    fn has_buffers(&self) -> bool {
        self.taken < self.buffers
    }

    fn send(&mut self, socket: &Socket, key: Key, buffer: Vec<u8>) {
        self.commands.push(Command::Send(socket.link, key, buffer));
    }

    fn shut_output(&mut self, socket: &Socket) {
        self.commands.push(Command::ShutOutput(socket.link));
    }

    fn shut(&mut self, socket: &Socket) {
        self.commands.push(Command::Shut(socket.link));
    }

    fn create(&mut self, slot: SlotId, len: u64) {
        self.commands.push(Command::Create(slot, len));
    }

    fn note(&mut self, log: LogId, end: Option<LogEnd>) {
        self.commands.push(Command::Note(log, end));
    }

    fn open(&mut self, slot: SlotId) -> io::Result<()> {
        let there = self.disk.borrow().has((self.log, slot));
        if there { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn close(&mut self, _: SlotId) {}

    fn write(&mut self, purpose: Purpose, slot: SlotId, offset: u64, buffer: AlignedBuf) {
        self.commands.push(Command::Write(purpose, slot, offset, buffer));
    }

    fn read(&mut self, job: JobId, log: LogId, slot: SlotId, offset: u64, buffer: Vec<u8>) -> io::Result<()> {
        if !self.disk.borrow().has((log, slot)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.commands.push(Command::Read(job, log, slot, offset, buffer));
        Ok(())
    }

    fn remove(&mut self, log: LogId, slot: SlotId) {
        self.commands.push(Command::Remove(log, slot));
    }
}
