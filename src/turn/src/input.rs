//! From received bytes to frames: cutting the stream, the handshake, handing a connection to its home's reactor.

use tidings_canary::{self as canary, Canary};
use tidings_core::{
    Authenticated, COME_AGAIN_MS, Counter, Entity, Loaded, Node, Now, ReactorId, Verifier, authenticate,
    reauthenticate, slab::Key,
};
use tidings_door::End;
use tidings_wire::{
    ErrorCode, Frame, Frames, Kind, Retry, Stretch, WireError,
    frames::ErrorFrame,
    limits::{FRAME_MAX, HELLO_MAX},
};

use crate::{
    connections::{Connection, State, conn_id},
    io::Io,
    machine::{Machine, Wake},
    parking::{FRAMES_AHEAD, Parked},
    shared::{Handover, Shared},
};

/// What is told to who speaks in frames where they are not taken.
pub(crate) const RAW_IS_OFF: &str = "frames are not taken here as they are: a WebSocket is";
/// The same where TLS is missing.
pub(crate) const TLS_IS_MISSING: &str = "not without TLS";

/// What cutting a stretch of bytes came to.
pub(crate) enum Cut {
    /// So many bytes were whole frames; the rest waits for more.
    Used(usize),
    /// The connection went to another reactor, with what was behind HELLO.
    HandedOver,
}

/// Everything that input needs, borrowed from the turn for one stretch of bytes.
pub(crate) struct Input<'a, M: Machine, V> {
    pub(crate) me: ReactorId,
    pub(crate) node: &'a mut Node,
    pub(crate) io: &'a mut Io<M::Socket>,
    pub(crate) verifier: &'a V,
    pub(crate) shared: &'a Shared<M>,
    pub(crate) now: Now,
}

impl<M: Machine, V: Verifier> Input<'_, M, V> {
    /// Hands the whole frames at the front of `bytes` to whom they concern.
    pub(crate) fn cut(&mut self, key: Key, bytes: &[u8]) -> Cut {
        let mut frames = Frames::of(bytes);
        while let Some(state) = self.io.connections.get(key).map(|connection| connection.state) {
            if matches!(state, State::Leaving | State::Gone) {
                break;
            }
            // Nobody who was not let in makes the server hold more than a HELLO.
            let longest = if let State::Live(_) = state { FRAME_MAX } else { HELLO_MAX };
            let frame = match frames.next(longest) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Cut::Used(frames.used()),
                Err(error) => {
                    self.broken(key, state, error);
                    break;
                }
            };
            match state {
                State::Live(session) if frame.kind() == Ok(Kind::Reauth) => {
                    if let Some((user, device)) = self.node.may_reauthenticate(session, self.now) {
                        let outcome = reauthenticate(self.verifier, &frame, user, device, self.now.wall);
                        self.node.at(self.now, self.io).reauthenticated(session, &frame, outcome);
                    } else {
                        self.node.at(self.now, self.io).refuse_frame(session, &frame);
                    }
                }
                State::Live(session) => {
                    if let Some(entity) = self.node.entity_of(&frame)
                        && !self.io.may_pass(entity)
                    {
                        self.look_ahead(frames.clone());
                        if canary::is(Canary::ParkedPassed)
                            && let Ok(Some(next)) = frames.clone().next(FRAME_MAX)
                        {
                            self.node.at(self.now, self.io).frame(session, &next);
                        }
                        self.park(key, entity);
                        frames.put_back(&frame);
                        return Cut::Used(frames.used());
                    }
                    self.node.at(self.now, self.io).frame(session, &frame);
                }
                _ => {
                    if let Some(who) = self.greet(key, &frame) {
                        let home = self.node.config().layout.home(&who.user());
                        if home != self.me {
                            self.hand_over(key, who, frames.rest(), home);
                            return Cut::HandedOver;
                        }
                        self.admit(key, &who);
                    }
                }
            }
        }
        Cut::Used(bytes.len())
    }

    /// Cuts the frames out of a stretch of a connection's bytes, and keeps what is left for the next.
    pub(crate) fn cut_stretch(&mut self, key: Key, stretch: Stretch<'_>) {
        let Cut::Used(used) = self.cut(key, stretch.bytes()) else { return };
        let begun = used > 0 || matches!(stretch, Stretch::Fresh(_));
        let kept = stretch.keep(used, || self.io.connections.spare_carry());
        match self.io.connections.get_mut(key).filter(|_| !kept.is_empty()) {
            Some(connection) => {
                connection.carry = kept;
                if begun {
                    connection.frame_since = self.now.mono;
                }
            }
            None => self.io.connections.give_back(kept),
        }
    }

    /// A connection's next frame waits for an entity.
    fn park(&mut self, key: Key, entity: Entity) {
        if let Some(connection) = self.io.connections.get_mut(key) {
            connection.parked = true;
            let parked = self.io.parking.park(entity, Parked::Connection(key), self.now.mono);
            parked.expect("what a connection holds is its own");
        }
    }

    /// Begins to load what the next frames of a connection need.
    fn look_ahead(&mut self, mut frames: Frames<'_>) {
        for _ in 1..FRAMES_AHEAD {
            let Ok(Some(frame)) = frames.next(FRAME_MAX) else { return };
            self.node.entity_of(&frame).map(|entity| self.io.store.prefetch(entity));
        }
    }

    /// What a connection's first frame waited for was loaded, or not: it goes on, and what is after it. If it was not, frames are refused until no more
    /// than `keep` bytes are left. The bytes that were used.
    pub(crate) fn go_on(&mut self, key: Key, loaded: Loaded, bytes: &[u8], keep: usize) -> usize {
        let Some(connection) = self.io.connections.get_mut(key) else { return 0 };
        connection.parked = false;
        let State::Live(session) = connection.state else { return 0 };
        let mut frames = Frames::of(bytes);
        let Ok(Some(frame)) = frames.next(FRAME_MAX) else { return 0 };
        match loaded {
            Loaded::Here if canary::is(Canary::ParkedLost) => {}
            Loaded::Here => self.node.at(self.now, self.io).frame(session, &frame),
            Loaded::Failed => {
                self.node.at(self.now, self.io).refuse_frame(session, &frame);
                while frames.rest().len() > keep
                    && let Ok(Some(frame)) = frames.next(FRAME_MAX)
                {
                    self.node.at(self.now, self.io).refuse_frame(session, &frame);
                }
            }
        }
        match self.cut(key, frames.rest()) {
            Cut::Used(used) => frames.used() + used,
            Cut::HandedOver => unreachable!("only a connection without a session is handed over"),
        }
    }

    /// The framing is lost: says so, and ends the connection.
    fn broken(&mut self, key: Key, state: State, error: WireError) {
        match state {
            State::Live(session) => {
                self.node.at(self.now, self.io).close_with(session, error.code(), 0, 0, &error.to_string());
            }
            _ => self.turn_away(key, error.code(), (0, 0), 0, &error.to_string()),
        }
    }

    /// Ends a connection that has no session, for a frame of a kind with its request id, or for none (zeros).
    pub(crate) fn turn_away(&mut self, key: Key, code: ErrorCode, asked: (u8, u64), retry_ms: u32, text: &str) {
        self.node.counters.error(code);
        let (retry, (of_kind, request_id)) = (if code.closes() { code.retry() } else { Retry::Reconnect }, asked);
        let error = ErrorFrame { retry: retry as u8, retry_after_ms: retry_ms, ..ErrorFrame::new(code, of_kind) };
        error.append(self.io.connections.out(key), request_id, text);
        self.io.leave(key);
    }

    /// Nothing more comes through a connection's door.
    pub(crate) fn end_at_door(&mut self, key: Key, end: End) {
        let Some(state) = self.io.connections.get(key).map(|connection| connection.state) else { return };
        match (state, end) {
            (State::Leaving | State::Gone, _) => {}
            (State::Live(session), End::Broken(what)) => {
                self.node.at(self.now, self.io).close_with(session, ErrorCode::Malformed, 0, 0, what);
            }
            (State::Live(session), _) => {
                // What came before still waits, and is taken first.
                if let Some(connection) = self.io.connections.get_mut(key).filter(|connection| connection.parked) {
                    connection.ended = true;
                    return;
                }
                self.node.close_session(session);
                self.io.leave(key);
            }
            (State::Greeting, End::NotSpoken) => {
                self.node.counters.count(Counter::DoorRefused);
                self.turn_away(key, ErrorCode::NotSpoken, (0, 0), 0, RAW_IS_OFF);
            }
            (State::Greeting, End::Broken(what)) => {
                self.node.counters.count(Counter::DoorRefused);
                self.turn_away(key, ErrorCode::Malformed, (0, 0), 0, what);
            }
            (State::Greeting, end) => {
                if end == End::Refused {
                    self.node.counters.count(Counter::DoorRefused);
                }
                self.io.leave(key);
            }
        }
    }

    fn greet(&mut self, key: Key, frame: &Frame<'_>) -> Option<Authenticated> {
        let asked = (frame.header().kind, frame.header().request_id);
        match authenticate(self.verifier, frame, self.now.wall) {
            Ok(who) => Some(who),
            Err(code) => {
                let wait_ms = if code == ErrorCode::Busy { COME_AGAIN_MS } else { 0 };
                self.turn_away(key, code, asked, wait_ms, "");
                None
            }
        }
    }

    /// Opens the session of an authenticated connection of this reactor.
    pub(crate) fn admit(&mut self, key: Key, who: &Authenticated) {
        let Some(address) = self.io.connections.get(key).map(|connection| connection.address) else { return };
        match self.node.at(self.now, self.io).open_session(who, (conn_id(key), address)) {
            Ok(session) => {
                if let Some(connection) = self.io.connections.get_mut(key) {
                    connection.state = State::Live(session);
                }
            }
            Err(_told) => self.io.leave(key),
        }
    }

    /// Moves a connection as one object. Until here its receives were single, so nothing of it is in flight.
    fn hand_over(&mut self, key: Key, who: Authenticated, rest: &[u8], home: ReactorId) {
        let idle = self.io.connections.get(key).is_some_and(|found| !found.receiving && found.sending == 0);
        assert!(idle, "a connection that moves has nothing in flight");
        let Some(connection) = self.io.connections.remove(key) else { return };
        let peer = self.shared.peer(home);
        let Connection { socket, mut door, .. } = connection;
        if canary::is(Canary::DoorLeftBehind) {
            door = None;
        }
        let handover = Handover { socket, who, door, unparsed: rest.to_vec() };
        // With a thousand waiting already, dropping the connection is the answer: the client comes back.
        if peer.handovers.push(handover).is_ok() {
            self.node.counters.count(Counter::HandedOver);
            peer.waker.wake();
        }
    }
}
