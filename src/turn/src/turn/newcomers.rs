//! Connections that have only just come: each counts for its address, whatever it will say, and who says nothing makes room for others.

use tidings_core::{Now, Verifier, slab::Key};
use tidings_door::{Speaks, too_many};
use tidings_wire::ErrorCode;

use super::Turn;
use crate::{
    config::{MAKES_ROOM_AFTER_MS, MAKES_ROOM_SPEAKING_MS},
    connections::State,
    machine::Machine,
};

const TOO_MANY: &str = "too many connections from this address";

impl<M: Machine, V: Verifier> Turn<M, V> {
    /// Takes in a connection that has just come. It counts for its address, whatever it will say. Where that has too many, it is told so in what it
    /// speaks, unless too many are to be told already; nobody makes room for it.
    pub(super) fn welcome(&mut self, socket: M::Socket, now: Now) {
        let Ok(address) = self.machine.greet(&socket) else { return };
        let rate = self.config.limits.address_rate;
        let Err(wait_ms) = self.addresses.take(address, rate, now.mono) else {
            if let Some(key) = self.adopt(socket, address, None, now) {
                self.arm(key);
            }
            return;
        };
        let has_room = self.io.connections.len() < self.config.limits.connections_max;
        if !has_room || !self.addresses.may_tell(now.mono) {
            self.node.counters.error(ErrorCode::RateLimited);
            return;
        }
        if let Some(key) = self.adopt(socket, address, None, now) {
            self.addresses.will_tell(key, wait_ms, now.mono);
            self.arm(key);
        }
    }

    /// Who has been nobody for longest goes, so that another can come, unless that one has just come, too. False then.
    pub(super) fn make_room(&mut self, now: Now) -> bool {
        let Some((key, connection)) = self.io.connections.oldest_greeting() else { return false };
        // Who has begun to speak may wait for this reactor.
        let has_spoken = connection.heard > connection.since;
        let patience_ms = if has_spoken { MAKES_ROOM_SPEAKING_MS } else { MAKES_ROOM_AFTER_MS };
        let is_old = connection.since.plus_ms(patience_ms) < now.mono;
        if is_old {
            self.input(now).turn_away(key, ErrorCode::Full, (0, 0), 0, "others need this place, and no HELLO came");
            self.io.linger_less(key);
        }
        is_old
    }

    /// It is known what a connection speaks of whose address there are too many.
    pub(super) fn refuse_unwelcome(&mut self, key: Key, speaks: Speaks, wait_ms: u32, now: Now) {
        match speaks {
            Speaks::Raw => self.input(now).turn_away(key, ErrorCode::RateLimited, (0, 0), wait_ms, TOO_MANY),
            Speaks::Tls | Speaks::Http => {
                self.node.counters.error(ErrorCode::RateLimited);
                self.io.connections.out(key).extend_from_slice(too_many(speaks));
                self.io.leave(key);
            }
        }
    }

    /// Those of whose address there are too many, and who have said nothing for a while.
    pub(super) fn refuse_silent(&mut self, now: Now) {
        while let Some((key, wait_ms)) = self.addresses.next_silent(now.mono) {
            if self.io.connections.get(key).is_some_and(|connection| connection.state == State::Greeting) {
                self.refuse_unwelcome(key, Speaks::Raw, wait_ms, now);
            }
        }
    }
}
