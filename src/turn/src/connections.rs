//! Connections of a reactor: sockets, what came in and is not a frame yet, what goes out and is not taken yet.

use std::{collections::VecDeque, net::IpAddr};

use tidings_core::{
    ConnId, Mono, SessionId,
    slab::{Key, Slab},
};

use tidings_door::{Door, Last};

use crate::config::{SPARE_BUFFERS, SPARE_BYTES, SPARE_LARGE, SPARE_SMALL};

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
    /// What is between the socket and its frames, if anything is: TLS, a WebSocket.
    pub door: Option<Box<Door>>,
    /// Bytes of a frame that is not whole yet.
    pub carry: Vec<u8>,
    /// Output that gathers.
    pub pending: Vec<u8>,
    /// Until when all of `pending` may wait for other output to leave with; `None`: it leaves as soon as it can.
    pub later: Option<Mono>,
    /// Bytes that the kernel is sending.
    pub sending: usize,
    /// A receive is armed.
    pub receiving: bool,
    /// It is on the list of connections with new output.
    pub dirty: bool,
    /// It leaves, and another needs its place.
    pub hurried: bool,
    /// Our direction was shut after the last output.
    pub shut: bool,
    /// Its next frame waits for something to be loaded; for what, the parking knows.
    pub parked: bool,
    /// The peer sends no more, which counts once what is parked was taken.
    pub ended: bool,
    /// When it was accepted, or began to leave.
    pub since: Mono,
    /// When bytes last came.
    pub heard: Mono,
    /// When the frame in `carry` began.
    pub frame_since: Mono,
    /// When the send in flight began.
    pub send_since: Mono,
}

impl<S> Connection<S> {
    /// True while something that began to come is not whole.
    pub fn is_inside_a_frame(&self) -> bool {
        !self.carry.is_empty() || self.door.as_ref().is_some_and(|door| door.is_inside())
    }

    /// Its output, in a buffer.
    fn output(&mut self, spare: &mut Spare) -> &mut Vec<u8> {
        if self.pending.capacity() == 0 {
            self.pending = spare.take_large();
        }
        &mut self.pending
    }

    /// What leaves now, if anything is to. `spare` gives an empty buffer, for a connection with a door.
    pub fn take_output(&mut self, spare: impl FnOnce() -> Vec<u8>) -> Option<Vec<u8>> {
        let Some(door) = &mut self.door else {
            return (!self.pending.is_empty()).then(|| std::mem::take(&mut self.pending));
        };
        let last = if self.state == State::Leaving { Last::Yes } else { Last::No };
        if self.pending.is_empty() && !door.has_output(last) {
            return None;
        }
        let sealed = door.seal(&mut self.pending, last, spare());
        (!sealed.is_empty()).then_some(sealed)
    }
}

/// Empty buffers that were used before, by how large they became.
#[derive(Debug, Default)]
struct Spare {
    small: Buffers,
    large: Buffers,
}

impl Spare {
    fn take_small(&mut self) -> Vec<u8> {
        self.small.take().unwrap_or_default()
    }

    /// A large one, if there is one.
    fn take_large(&mut self) -> Vec<u8> {
        self.large.take().unwrap_or_else(|| self.take_small())
    }

    /// Keeps one, if there is room.
    fn keep(&mut self, buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if (1..=SPARE_SMALL).contains(&bytes) {
            self.small.keep(buffer);
        } else if (SPARE_SMALL..=SPARE_LARGE).contains(&bytes) {
            self.large.keep(buffer);
        }
    }
}

/// Empty buffers: at most [`SPARE_BUFFERS`], with at most [`SPARE_BYTES`].
#[derive(Debug, Default)]
struct Buffers {
    all: Vec<Vec<u8>>,
    /// What they take together.
    bytes: usize,
}

impl Buffers {
    fn take(&mut self) -> Option<Vec<u8>> {
        let buffer = self.all.pop()?;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn keep(&mut self, mut buffer: Vec<u8>) {
        let bytes = self.bytes + buffer.capacity();
        if bytes <= SPARE_BYTES && self.all.len() < SPARE_BUFFERS {
            buffer.clear();
            self.all.push(buffer);
            self.bytes = bytes;
        }
    }
}

/// All connections of a reactor, and spare buffers for them.
#[derive(Debug)]
pub struct Connections<S> {
    slab: Slab<Connection<S>>,
    dirty: VecDeque<Key>,
    /// Those that came without a session, in that order: whether one still has none, the connection knows.
    greeting: VecDeque<Key>,
    /// Output that may wait, and until when, in that order: whether it still waits, the connection knows.
    later: VecDeque<(Mono, Key)>,
    spare: Spare,
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
        Self {
            slab: Slab::default(),
            dirty: VecDeque::new(),
            greeting: VecDeque::new(),
            later: VecDeque::new(),
            spare: Spare::default(),
            nowhere: Vec::new(),
        }
    }
}

impl<S> Connections<S> {
    /// Takes a connection in.
    pub fn insert(&mut self, socket: S, address: IpAddr, now: Mono) -> Key {
        let key = self.slab.insert(Connection {
            socket,
            address,
            state: State::Greeting,
            door: None,
            carry: Vec::new(),
            pending: Vec::new(),
            later: None,
            sending: 0,
            receiving: false,
            dirty: false,
            shut: false,
            hurried: false,
            parked: false,
            ended: false,
            since: now,
            heard: now,
            frame_since: now,
            send_since: now,
        });
        self.oldest_greeting(); // those that are no more are forgotten
        self.greeting.push_back(key);
        key
    }

    /// The connection that has had no session for longest.
    pub fn oldest_greeting(&mut self) -> Option<(Key, &Connection<S>)> {
        while let Some(key) = self.greeting.front().copied() {
            if self.slab.get(key).is_some_and(|connection| connection.state == State::Greeting) {
                return self.slab.get(key).map(|connection| (key, connection));
            }
            self.greeting.pop_front();
        }
        None
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

    /// Places that connections are in, or were.
    pub fn places(&self) -> u32 {
        self.slab.places()
    }

    /// The connection of a place, if there is one.
    pub fn key_at(&self, place: u32) -> Option<Key> {
        self.slab.key_at(place)
    }

    /// The output of a connection, which leaves as soon as it can.
    pub fn out(&mut self, key: Key) -> &mut Vec<u8> {
        let Some(connection) = self.slab.get_mut(key) else {
            self.nowhere.clear();
            return &mut self.nowhere;
        };
        connection.later = None;
        if !std::mem::replace(&mut connection.dirty, true) {
            self.dirty.push_back(key);
        }
        connection.output(&mut self.spare)
    }

    /// The output of a connection, for what may wait for other output to leave with, until `due` at the longest: a segment of
    /// its own costs more than what is in it.
    pub fn out_later(&mut self, key: Key, due: Mono) -> &mut Vec<u8> {
        let Some(connection) = self.slab.get_mut(key) else {
            self.nowhere.clear();
            return &mut self.nowhere;
        };
        if connection.pending.is_empty() {
            debug_assert!(self.later.back().is_none_or(|(last, _)| *last <= due), "everything waits equally long");
            connection.later = Some(due);
            self.later.push_back((due, key));
        }
        connection.output(&mut self.spare)
    }

    /// When the next output that waits is due.
    pub fn next_later(&mut self) -> Option<Mono> {
        loop {
            let (due, key) = *self.later.front()?;
            if self.slab.get(key).is_some_and(|connection| connection.later == Some(due)) {
                return Some(due);
            }
            self.later.pop_front();
        }
    }

    /// Output that waited long enough waits no longer.
    pub fn hurry_overdue(&mut self, now: Mono) {
        while self.next_later().is_some_and(|due| due <= now)
            && let Some((_, key)) = self.later.pop_front()
        {
            self.hurry(key);
        }
    }

    /// What a connection's output waits for, it waits for no longer.
    pub fn hurry(&mut self, key: Key) {
        if let Some(connection) = self.slab.get_mut(key) {
            connection.later = None;
            self.mark_dirty(key);
        }
    }

    /// Puts a connection on the list of those to be looked at when output is flushed.
    pub fn mark_dirty(&mut self, key: Key) {
        if let Some(connection) = self.slab.get_mut(key)
            && !std::mem::replace(&mut connection.dirty, true)
        {
            self.dirty.push_back(key);
        }
    }

    /// True if no connection has output that should leave.
    pub fn is_flushed(&self) -> bool {
        self.dirty.is_empty()
    }

    /// The next connection with new output.
    pub fn next_dirty(&mut self) -> Option<Key> {
        let key = self.dirty.pop_front()?;
        if let Some(connection) = self.slab.get_mut(key) {
            connection.dirty = false;
        }
        Some(key)
    }

    /// Output that was not taken.
    pub fn buffered(&self, key: Key) -> usize {
        self.slab.get(key).map_or(0, |connection| connection.pending.len() + connection.sending)
    }

    /// An empty buffer for output.
    pub fn spare(&mut self) -> Vec<u8> {
        self.spare.take_large()
    }

    /// An empty buffer for what has come of a frame.
    pub fn spare_carry(&mut self) -> Vec<u8> {
        self.spare.take_small()
    }

    /// Keeps a buffer for reuse.
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        self.spare.keep(buffer);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NOW: Mono = Mono(1_000_000);

    fn one() -> (Connections<()>, Key) {
        let mut connections = Connections::default();
        let key = connections.insert((), Ipv4Addr::LOCALHOST.into(), NOW);
        (connections, key)
    }

    #[test]
    fn what_may_wait_leaves_when_it_is_due() {
        let (mut connections, key) = one();
        let due = NOW.plus_ms(5);
        connections.out_later(key, due).push(1);
        connections.out_later(key, due.plus_ms(1)).push(2);
        assert_eq!(connections.next_dirty(), None);
        connections.hurry_overdue(NOW);
        assert_eq!(connections.next_later(), Some(due), "as the first that waits, not the last");
        assert_eq!(connections.next_dirty(), None);
        connections.hurry_overdue(due);
        assert_eq!(connections.next_later(), None);
        assert_eq!(connections.next_dirty(), Some(key));
        let connection = connections.get(key).unwrap();
        assert_eq!((connection.later, connection.pending.as_slice()), (None, &[1, 2][..]));
    }

    #[test]
    fn what_may_wait_leaves_with_what_may_not() {
        let (mut connections, key) = one();
        let due = NOW.plus_ms(5);
        connections.out_later(key, due).push(1);
        connections.out(key).push(2);
        connections.out_later(key, due.plus_ms(1)).push(3);
        assert_eq!(connections.next_dirty(), Some(key));
        let connection = connections.get_mut(key).unwrap();
        assert_eq!((connection.later, std::mem::take(&mut connection.pending)), (None, vec![1, 2, 3]));
        // Another one waits afterwards, for its own time.
        connections.out_later(key, due.plus_ms(2)).push(4);
        connections.hurry_overdue(due);
        assert_eq!(connections.next_later(), Some(due.plus_ms(2)));
        assert_eq!(connections.next_dirty(), None);
    }

    #[test]
    fn nobody_waits_for_a_connection_that_is_gone() {
        let (mut connections, key) = one();
        connections.out_later(key, NOW.plus_ms(5)).push(1);
        connections.remove(key);
        assert_eq!(connections.next_later(), None);
        connections.out_later(key, NOW).push(1);
        connections.hurry_overdue(NOW);
        assert_eq!((connections.next_later(), connections.next_dirty()), (None, None));
    }

    #[test]
    fn what_has_come_of_a_frame_is_never_in_a_large_buffer() {
        let mut spare = Spare::default();
        for len in [0, SPARE_SMALL, SPARE_SMALL + 1, SPARE_LARGE, SPARE_LARGE + 1] {
            let mut buffer = vec![0; len];
            buffer.shrink_to_fit();
            spare.keep(buffer);
        }
        let taken = spare.take_small();
        assert_eq!((taken.len(), taken.capacity()), (0, SPARE_SMALL));
        assert_eq!(spare.take_small().capacity(), 0);
        spare.keep(taken);
        // Output has the large ones first.
        let capacities = std::array::from_fn(|_| spare.take_large().capacity());
        assert_eq!(capacities, [SPARE_LARGE, SPARE_SMALL + 1, SPARE_SMALL, 0]);
        assert_eq!((spare.small.bytes, spare.large.bytes), (0, 0));
    }

    #[test]
    fn spare_buffers_are_bounded_by_bytes_and_by_number() {
        let mut spare = Spare::default();
        (0..=SPARE_BYTES / SPARE_LARGE).for_each(|_| spare.keep(Vec::with_capacity(SPARE_LARGE)));
        (0..=SPARE_BUFFERS).for_each(|_| spare.keep(Vec::with_capacity(64)));
        assert_eq!((spare.large.bytes, spare.small.all.len()), (SPARE_BYTES, SPARE_BUFFERS));
    }
}
