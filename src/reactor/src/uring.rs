//! The machine of a real core: one io_uring for sockets and files, and a queue of its executor for what may block.

use std::{collections::HashMap, fs::File, io, net::IpAddr, os::fd::OwnedFd};

use tidings_core::{JobId, slab::Key};
use tidings_log::{
    AlignedBuf, LogEnd, SlotId,
    files::{Files, WriteMethod},
};
use tidings_ring::{Chunk, Ring, Token, Waker, socket};
use tidings_turn::{Completion, Machine, Purpose, Receiving, machine::Event};
use tidings_wire::{LogId, Lsn};

#[cfg(feature = "canary")]
use crate::canary::{Cache, Canary};
use crate::{
    background::{Background, Done},
    scribe::Desk,
};

const LISTENER: Token = Token(0);
/// Files of history that are kept open.
const OPEN_FILES: usize = 64;

/// Wakes a reactor's ring.
#[derive(Clone, Debug)]
pub struct Wake(pub(crate) Waker);

impl tidings_turn::Wake for Wake {
    fn wake(&self) {
        self.0.wake();
    }
}

/// A ring, and the files and sockets that it works on.
#[derive(Debug)]
pub struct Uring {
    pub(crate) ring: Ring,
    pub(crate) background: Background,
    listener: OwnedFd,
    desk: Desk,
    own: LogId,
    /// The files of all logs, by log.
    logs: Vec<(LogId, Files)>,
    append: HashMap<SlotId, File>,
    /// The file that is being written through.
    fill: Option<File>,
    readers: HashMap<(LogId, SlotId), File>,
    #[cfg(feature = "canary")]
    pub(crate) cache: Cache,
}

impl Uring {
    /// A machine whose own log is `own`, one of `logs`.
    pub(crate) fn new(
        ring: Ring,
        waker: Waker,
        listener: OwnedFd,
        own: LogId,
        logs: Vec<(LogId, Files)>,
        desk: Desk,
    ) -> Self {
        Self {
            ring,
            background: Background::new(waker),
            listener,
            desk,
            own,
            logs,
            append: HashMap::new(),
            fill: None,
            readers: HashMap::new(),
            #[cfg(feature = "canary")]
            cache: Cache::default(),
        }
    }

    /// Over a disk that misbehaves.
    #[cfg(feature = "canary")]
    pub(crate) fn misbehave(&mut self, canary: Canary) {
        self.cache = Cache::new(canary);
    }

    fn files(&self, log: LogId) -> io::Result<&Files> {
        let found = self.logs.iter().find(|(known, _)| *known == log);
        found.map(|(_, files)| files).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn own_files(&self) -> &Files {
        self.files(self.own).expect("the own log is among all logs")
    }

    /// Submits a durable write now.
    pub(crate) fn write_now(&mut self, token: Token, slot: SlotId, offset: u64, buffer: AlignedBuf) {
        let file = self.append.get(&slot).expect("a segment's file is opened before it is written");
        let (bytes, start) = buffer.into_parts();
        match self.own_files().write_method() {
            WriteMethod::Dsync => self.ring.write(file, token, offset, bytes, start),
            WriteMethod::Fdatasync => self.ring.write_and_sync(file, token, offset, bytes, start),
        }
    }

    /// Closes files of history if there are many. Only to be called while every read was submitted: the kernel holds its own
    /// reference then, but looks a descriptor up when a read is submitted.
    pub(crate) fn trim_readers(&mut self) {
        if self.readers.len() >= OPEN_FILES {
            self.readers.clear();
        }
    }

    /// What was done in the background since it was asked last.
    pub(crate) fn done(&mut self) -> Option<Event<Self>> {
        if let Some((log, result)) = self.desk.take_noted() {
            return Some(Completion::Noted { log, result });
        }
        let (slot, created) = match self.background.take_done()? {
            Done::Created(slot, created) => (slot, created),
            Done::Removed(log, result) => return Some(Completion::Removed { log, result }),
        };
        let result = created.map(|(fill, append)| {
            self.fill = Some(fill);
            self.append.insert(slot, append);
        });
        Some(Completion::Created { slot, result })
    }

    /// What the ring says, in the words of the turn.
    pub(crate) fn translate(completion: tidings_ring::Completion) -> Event<Self> {
        use tidings_ring::{Completion as Ring, Received};
        match completion {
            Ring::Accepted { result, more, .. } => Completion::Accepted { result, more },
            Ring::Received { token, result, more } => {
                let result = match result {
                    Received::Bytes(chunk) => tidings_turn::Received::Bytes(chunk),
                    Received::End => tidings_turn::Received::End,
                    Received::NoBuffer => tidings_turn::Received::NoBuffer,
                    Received::Failed(error) => tidings_turn::Received::Failed(error),
                };
                Completion::Received { key: Key::from_u64(token.0), result, more }
            }
            Ring::Sent { token, buffer, result } => Completion::Sent { key: Key::from_u64(token.0), buffer, result },
            Ring::Written { token, buffer, start, result } => {
                let buffer = AlignedBuf::from_parts(buffer, start);
                match purpose_of(token) {
                    Some(purpose) => Completion::Written { purpose, buffer, result },
                    None => Completion::Woken, // a canary's write, acknowledged long ago
                }
            }
            Ring::Read { token, buffer, result } => Completion::Read { job: JobId(token.0 as u32), buffer, result },
            Ring::Woken => Completion::Woken,
        }
    }
}

/// Marks a write of which nobody waits for the end.
#[cfg(feature = "canary")]
pub(crate) const UNHEARD: Token = Token(3);

/// The purpose in the lowest two bits, the batch above them.
pub(crate) fn token_of(purpose: Purpose) -> Token {
    Token(match purpose {
        Purpose::Batch(lsn) => lsn.0 << 2,
        Purpose::Fill => 1,
        Purpose::Header => 2,
    })
}

fn purpose_of(token: Token) -> Option<Purpose> {
    match token.0 & 3 {
        0 => Some(Purpose::Batch(Lsn(token.0 >> 2))),
        1 => Some(Purpose::Fill),
        2 => Some(Purpose::Header),
        _ => None,
    }
}

impl Machine for Uring {
    type Socket = OwnedFd;
    type Chunk = Chunk;
    type Waker = Wake;

    fn calls(&self) -> u64 {
        self.ring.calls()
    }

    fn accept(&mut self) {
        self.ring.accept(&self.listener, LISTENER);
    }

    fn stop_accepting(&mut self) {
        self.ring.cancel_accept(LISTENER);
    }

    fn greet(&mut self, socket: &OwnedFd) -> io::Result<IpAddr> {
        // A socket without it still works, only slower.
        let _slower = socket::set_nodelay(socket);
        Ok(socket::peer_addr(socket)?.ip())
    }

    fn receive(&mut self, socket: &OwnedFd, key: Key, how: Receiving) {
        let token = Token(key.to_u64());
        match how {
            Receiving::Once => self.ring.receive_once(socket, token),
            Receiving::Ongoing => self.ring.receive(socket, token),
        }
    }

    fn bytes<'a>(&'a self, chunk: &'a Chunk) -> &'a [u8] {
        self.ring.bytes(chunk)
    }

    fn bytes_mut<'a>(&'a mut self, chunk: &'a mut Chunk) -> &'a mut [u8] {
        self.ring.bytes_mut(chunk)
    }

    fn give_back(&mut self, chunk: Chunk) {
        self.ring.give_back(chunk);
    }

    fn has_buffers(&self) -> bool {
        self.ring.free_buffers() > 0
    }

    fn send(&mut self, socket: &OwnedFd, key: Key, buffer: Vec<u8>) {
        self.ring.send(socket, Token(key.to_u64()), buffer, 0);
    }

    fn shut_output(&mut self, socket: &OwnedFd) {
        socket::shutdown_write(socket);
    }

    fn shut(&mut self, socket: &OwnedFd) {
        socket::shutdown(socket);
    }

    fn create(&mut self, slot: SlotId, len: u64) {
        let files = self.own_files().clone();
        self.background.create(&files, slot, len);
    }

    fn note(&mut self, log: LogId, end: Option<LogEnd>) {
        self.desk.note(log, end);
    }

    fn open(&mut self, slot: SlotId) -> io::Result<()> {
        if !self.append.contains_key(&slot) {
            let file = self.own_files().open_for_append(slot)?;
            self.append.insert(slot, file);
        }
        Ok(())
    }

    fn close(&mut self, slot: SlotId) {
        #[cfg(feature = "canary")]
        if self.cache.is_on() {
            return; // the cache still writes to it
        }
        self.append.remove(&slot);
    }

    fn write(&mut self, purpose: Purpose, slot: SlotId, offset: u64, buffer: AlignedBuf) {
        match purpose {
            Purpose::Fill => {
                let file = self.fill.as_ref().expect("created before it is filled");
                let (bytes, start) = buffer.into_parts();
                self.ring.write(file, token_of(purpose), offset, bytes, start);
            }
            #[cfg(feature = "canary")]
            Purpose::Batch(lsn) if self.cache.is_on() => self.cache.take(lsn, slot, offset, buffer),
            Purpose::Batch(_) | Purpose::Header => self.write_now(token_of(purpose), slot, offset, buffer),
        }
    }

    fn read(&mut self, job: JobId, log: LogId, slot: SlotId, offset: u64, buffer: Vec<u8>) -> io::Result<()> {
        if !self.readers.contains_key(&(log, slot)) {
            let file = self.files(log)?.open_for_read(slot)?;
            self.readers.insert((log, slot), file);
        }
        self.ring.read(&self.readers[&(log, slot)], Token(u64::from(job.0)), offset, buffer);
        Ok(())
    }

    fn remove(&mut self, log: LogId, slot: SlotId) {
        self.readers.remove(&(log, slot));
        let files = self.files(log).expect("a log that is dropped is among all logs").clone();
        self.background.remove(&files, log, slot);
    }
}
