//! Connections of a reactor: sockets, what came in and is not a frame yet, what goes out and is not taken yet.

use std::net::IpAddr;

use tidings_core::{
    ConnId, Mono, SessionId,
    slab::{Key, Slab},
};

use crate::config::{SPARE_BUFFER_MAX, SPARE_BUFFERS};

/// What a connection is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody yet: HELLO must come.
    Greeting,
    /// A session.
    Live(SessionId),
    /// Its last output is on its way; input is thrown away.
    Leaving,
    /// It is over; it goes as soon as nothing is in flight.
    Gone,
}

/// One connection.
#[derive(Debug)]
pub struct Connection<S> {
    /// The socket.
    pub socket: S,
    /// Who is at the other end.
    pub address: IpAddr,
    /// What it is good for.
    pub state: State,
    /// Bytes of a frame that is not whole yet.
    pub carry: Vec<u8>,
    /// Output that gathers for the end of the turn.
    pub pending: Vec<u8>,
    /// Bytes that the kernel is sending.
    pub sending: usize,
    /// A receive is armed.
    pub receiving: bool,
    /// It is on the list of connections with new output.
    pub dirty: bool,
    /// Our direction was shut after the last output.
    pub shut: bool,
    /// When it was accepted, or began to leave.
    pub since: Mono,
    /// When bytes last came.
    pub heard: Mono,
    /// When the frame in `carry` began.
    pub frame_since: Mono,
    /// When the send in flight began.
    pub send_since: Mono,
}

/// All connections of a reactor, and spare buffers for them.
#[derive(Debug)]
pub struct Connections<S> {
    slab: Slab<Connection<S>>,
    dirty: Vec<Key>,
    spare: Vec<Vec<u8>>,
    /// Where output of connections that are gone is written.
    nowhere: Vec<u8>,
}

/// A connection's name outside this crate.
pub fn conn_id(key: Key) -> ConnId {
    ConnId(key.to_u64())
}

/// The connection that [`conn_id`] named.
pub fn key_of(conn: ConnId) -> Key {
    Key::from_u64(conn.0)
}

impl<S> Default for Connections<S> {
    fn default() -> Self {
        Self { slab: Slab::default(), dirty: Vec::new(), spare: Vec::new(), nowhere: Vec::new() }
    }
}

impl<S> Connections<S> {
    /// Takes a connection in.
    pub fn insert(&mut self, socket: S, address: IpAddr, now: Mono) -> Key {
        self.slab.insert(Connection {
            socket,
            address,
            state: State::Greeting,
            carry: Vec::new(),
            pending: Vec::new(),
            sending: 0,
            receiving: false,
            dirty: false,
            shut: false,
            since: now,
            heard: now,
            frame_since: now,
            send_since: now,
        })
    }

    /// A connection, if it is still there.
    pub fn get(&self, key: Key) -> Option<&Connection<S>> {
        self.slab.get(key)
    }

    /// A connection, if it is still there.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Connection<S>> {
        self.slab.get_mut(key)
    }

    /// Lets a connection go; its buffers are kept.
    pub fn remove(&mut self, key: Key) -> Option<Connection<S>> {
        let mut connection = self.slab.remove(key)?;
        self.give_back(std::mem::take(&mut connection.carry));
        self.give_back(std::mem::take(&mut connection.pending));
        Some(connection)
    }

    /// Open connections.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Keys of all connections.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.slab.iter().map(|(key, _)| key)
    }

    /// The output of a connection, which is marked as having some.
    pub fn out(&mut self, key: Key) -> &mut Vec<u8> {
        if self.slab.get(key).is_none() {
            self.nowhere.clear();
            return &mut self.nowhere;
        }
        self.mark_dirty(key);
        let connection = self.slab.get_mut(key).expect("looked up above");
        if connection.pending.capacity() == 0 {
            connection.pending = self.spare.pop().unwrap_or_default();
        }
        &mut connection.pending
    }

    /// Puts a connection on the list of those to be looked at when output is flushed.
    pub fn mark_dirty(&mut self, key: Key) {
        if let Some(connection) = self.slab.get_mut(key)
            && !std::mem::replace(&mut connection.dirty, true)
        {
            self.dirty.push(key);
        }
    }

    /// The next connection with new output.
    pub fn next_dirty(&mut self) -> Option<Key> {
        let key = self.dirty.pop()?;
        if let Some(connection) = self.slab.get_mut(key) {
            connection.dirty = false;
        }
        Some(key)
    }

    /// Output that was not taken.
    pub fn buffered(&self, key: Key) -> usize {
        self.slab.get(key).map_or(0, |connection| connection.pending.len() + connection.sending)
    }

    /// An empty buffer.
    pub fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Keeps a buffer for reuse.
    pub fn give_back(&mut self, mut buffer: Vec<u8>) {
        if (1..=SPARE_BUFFER_MAX).contains(&buffer.capacity()) && self.spare.len() < SPARE_BUFFERS {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}
