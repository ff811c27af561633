//! Connections that are nobody yet: what they speak, their handshakes, their HELLO.

use tidings_core::{Counter, Now, Verifier, slab::Key};
use tidings_door::{Door, End, Last, Opened, Place, Speaks, refusal, sniff};
use tidings_wire::{ErrorCode, Stretch};

use super::Turn;
use crate::{
    config::{HANDSHAKES_PER_TURN, PAGES_RATE, TLS_STEP},
    connections::State,
    input::{RAW_IS_OFF, TLS_IS_MISSING},
    machine::Machine,
};

impl<M: Machine, V: Verifier> Turn<M, V> {
    /// Looks at what came from those who have no session: few in each turn, and fewer while they agree on TLS, so that thousands
    /// who come at once do not stand before those who write.
    pub(super) fn take_greetings(&mut self, now: Now) {
        let (mut left, waiting) = (HANDSHAKES_PER_TURN, self.greetings.len());
        for _ in 0..waiting {
            if left == 0 || !self.io.log.takes_input() {
                break;
            }
            let Some(key) = self.greetings.pop_front() else { break };
            left = left.saturating_sub(self.take_greeting(key, now));
        }
    }

    /// The next step of a connection towards its session. What it costs, in handshakes.
    fn take_greeting(&mut self, key: Key, now: Now) -> usize {
        let Some(connection) = self.io.connections.get_mut(key) else { return 0 };
        if connection.state != State::Greeting {
            return 0; // it waited for too long, and is on its way out
        }
        if connection.door.is_some() && connection.sending > 0 {
            return 0; // it may have to move, and does not while something is in flight: looked at again once it is sent
        }
        if connection.door.is_none() {
            let speaks = sniff(&connection.carry);
            if let Some(speaks) = speaks
                && let Some(wait_ms) = self.addresses.unwelcome(key)
            {
                self.refuse_unwelcome(key, speaks, wait_ms, now);
                return 1;
            }
            match speaks {
                Some(Speaks::Raw) if !self.rules.allows(Speaks::Raw) => {
                    self.node.counters.count(Counter::DoorRefused);
                    let why = if self.rules.plain.is_empty() { TLS_IS_MISSING } else { RAW_IS_OFF };
                    self.input(now).turn_away(key, ErrorCode::NotSpoken, (0, 0), 0, why);
                }
                Some(speaks @ (Speaks::Tls | Speaks::Http)) => self.make_door(key, speaks),
                _ => {}
            }
        }
        let cost = self.open_greeting(key, now);
        self.arm(key);
        cost
    }

    /// Makes a door for somebody who speaks TLS or HTTP, or says that there is none.
    fn make_door(&mut self, key: Key, speaks: Speaks) {
        let Some(connection) = self.io.connections.get_mut(key) else { return };
        let door = if self.rules.allows(speaks) { Door::new(speaks, &self.rules) } else { None };
        match door {
            Some(mut door) => {
                door.hold(&connection.carry);
                connection.carry.clear();
                connection.door = Some(Box::new(door));
                if speaks == Speaks::Tls {
                    self.node.counters.count(Counter::TlsBegun);
                }
            }
            None => {
                self.node.counters.count(Counter::DoorRefused);
                self.io.connections.out(key).extend_from_slice(refusal(speaks));
                self.io.leave(key);
            }
        }
    }

    /// Opens what came, and looks at its frames.
    fn open_greeting(&mut self, key: Key, now: Now) -> usize {
        let Some(connection) = self.io.connections.get_mut(key) else { return 1 };
        let (mut cost, mut ended) = (1, None);
        if let Some(door) = &mut connection.door {
            if door.is_shaking_hands() {
                cost = TLS_STEP;
            }
            let was = door.is_websocket();
            let mut held = door.take_held();
            let Opened { place, end } = door.open(&mut held, &mut self.opened, &self.rules);
            if door.is_websocket() && !was {
                self.node.counters.count(Counter::WebSockets);
            }
            let says = door.has_output(Last::No);
            let bytes = match place {
                Place::Here(range) => &held[range],
                Place::Scratch(range) => &self.opened[range],
            };
            connection.carry.extend_from_slice(bytes);
            ended = end;
            if end == Some(End::Served) {
                if self.pages.take(PAGES_RATE, now.mono).is_ok() {
                    self.node.counters.count(Counter::PagesServed);
                } else {
                    door.withhold();
                    self.node.counters.error(ErrorCode::RateLimited);
                }
            }
            if says {
                self.io.connections.hurry(key);
            }
        }
        if let Some(connection) = self.io.connections.get_mut(key)
            && !connection.carry.is_empty()
        {
            let kept = std::mem::take(&mut connection.carry);
            self.input(now).cut_stretch(key, Stretch::Joined(kept));
        }
        if let Some(end) = ended {
            self.input(now).end_at_door(key, end);
        }
        cost
    }

    /// Something was sent to a connection without a session, which may have waited for that.
    pub(super) fn greet_on(&mut self, key: Key) {
        let waits = self.io.connections.get(key).is_some_and(|connection| {
            connection.state == State::Greeting && connection.door.as_ref().is_some_and(|door| door.holds())
        });
        if waits {
            self.greetings.push_back(key);
        }
    }
}
