//! What comes in: connections, bytes, and connections handed over by other reactors.

use std::{io, net::IpAddr};

use tidings_canary::{self as canary, Canary};
use tidings_core::{Counter, Entity, Loaded, Now, Verifier, shedding::Backlog, slab::Key};
use tidings_door::{Door, Last, Opened, Place};
use tidings_wire::{ErrorCode, Stretch};

use super::{Stage, Turn};
use crate::{
    config::{ENDS_PER_TURN, RECEIVES_BESIDE_OUTPUT, RECEIVES_PER_TURN},
    connections::State,
    input::{Cut, Input},
    machine::{Machine, Received, Receiving},
    parking::PARKED_CARRY_MAX,
    shared::Handover,
    sweep,
};

/// The bytes of a place.
fn bytes_at<'a>(place: &Place, here: &'a [u8], scratch: &'a [u8]) -> &'a [u8] {
    match place {
        Place::Here(range) => &here[range.clone()],
        Place::Scratch(range) => &scratch[range.clone()],
    }
}

/// Connections over the limit that are told so at once.
const TOLD_FULL: usize = 64;

impl<M: Machine, V: Verifier> Turn<M, V> {
    pub(super) fn take_handovers(&mut self, now: Now) -> bool {
        let mut busy = false;
        while let Some(Handover { socket, who, door, unparsed }) = self.shared.peer(self.me).handovers.pop() {
            busy = true;
            // What it said with HELLO may have been its last word.
            let end = door.as_ref().and_then(|door| door.ended());
            let Ok(address) = self.machine.greet(&socket) else { continue };
            let Some(key) = self.adopt(socket, address, door, now) else { continue };
            let is_wanted = self.io.connections.get(key).is_some_and(|connection| connection.state == State::Greeting);
            if !is_wanted {
                self.arm(key);
                continue; // told that there are no more connections to be had
            }
            let mut input = self.input(now);
            input.admit(key, &who);
            let used = match input.cut(key, &unparsed) {
                Cut::Used(used) => used,
                Cut::HandedOver => continue,
            };
            self.carry(key, &unparsed[used..], now);
            if let Some(end) = end {
                self.input(now).end_at_door(key, end);
            }
            self.arm(key);
        }
        busy
    }

    pub(super) fn adopt(
        &mut self,
        socket: M::Socket,
        address: IpAddr,
        door: Option<Box<Door>>,
        now: Now,
    ) -> Option<Key> {
        let (open, most) = (self.io.connections.len(), self.config.limits.connections_max);
        if open >= most + TOLD_FULL || self.stage != Stage::Serving {
            return None;
        }
        let fits = open < most || self.make_room(now);
        let key = self.io.connections.insert(socket, address, now.mono);
        if let Some(connection) = self.io.connections.get_mut(key) {
            connection.door = door;
        }
        if !fits {
            self.input(now).turn_away(key, ErrorCode::Full, (0, 0), 0, "no more connections");
        }
        Some(key)
    }

    pub(super) fn input(&mut self, now: Now) -> Input<'_, M, V> {
        self.input_and_machine(now).0
    }

    /// Apart, since what input looks at is memory of the machine.
    fn input_and_machine(&mut self, now: Now) -> (Input<'_, M, V>, &M) {
        let input = Input {
            me: self.me,
            node: &mut self.node,
            io: &mut self.io,
            verifier: &self.verifier,
            shared: &self.shared,
            now,
        };
        (input, &self.machine)
    }

    /// Arms a connection's receive: single until it is authenticated, so that it can move.
    pub(super) fn arm(&mut self, key: Key) {
        let Some(connection) = self.io.connections.get_mut(key) else { return };
        if connection.receiving || connection.state == State::Gone {
            return;
        }
        connection.receiving = true;
        let how = if connection.state == State::Greeting { Receiving::Once } else { Receiving::Ongoing };
        self.machine.receive(&connection.socket, key, how);
    }

    /// Accepts connections, once every reactor is ready to take those of its users.
    pub(super) fn listen(&mut self) {
        if !self.listening && self.stage == Stage::Serving && self.shared.all_accepting() {
            self.listening = true;
            self.machine.accept();
        }
    }

    pub(super) fn accepted(&mut self, result: io::Result<M::Socket>, more: bool, now: Now) {
        if let Ok(socket) = result {
            self.node.counters.count(Counter::Accepted);
            self.welcome(socket, now);
        }
        if !more && !canary::is(Canary::AcceptNotRearmed) {
            // Armed again by the sweep: at once after an error it would only fail again.
            self.listening = false;
        }
    }

    pub(super) fn received(&mut self, key: Key, result: Received<M::Chunk>, more: bool, now: Now) {
        let Some(connection) = self.io.connections.get_mut(key) else {
            if let Received::Bytes(chunk) = result {
                self.machine.give_back(chunk);
            }
            return;
        };
        connection.receiving = more;
        if connection.state == State::Gone && !more {
            if let Received::Bytes(chunk) = result {
                self.machine.give_back(chunk);
            }
            return self.io.connections.mark_dirty(key);
        }
        match result {
            Received::Bytes(chunk) => {
                connection.heard = now.mono;
                if connection.state == State::Greeting {
                    if !connection.is_inside_a_frame() {
                        connection.frame_since = now.mono;
                    }
                    let bytes = self.machine.bytes(&chunk);
                    match &mut connection.door {
                        Some(door) => door.hold(bytes),
                        None => connection.carry.extend_from_slice(bytes),
                    }
                    self.machine.give_back(chunk);
                    return self.greetings.push_back(key);
                }
                if !more {
                    self.node.counters.count(Counter::Rearmed);
                }
                self.inbox.push_back((key, chunk));
            }
            Received::NoBuffer => {
                self.node.counters.count(Counter::ReceiveStarved);
                self.starved.push(key);
            }
            // Behind the bytes that came before it.
            Received::End | Received::Failed(_) => {
                let before = self.looked_at + self.inbox.len() as u64;
                self.ends.push_back((key, before));
            }
        }
    }

    /// Received bytes become frames while the log has room for what they may turn into: a full log stops here, and with the
    /// receive buffers used up the kernel makes the peers wait.
    pub(super) fn take_inbox(&mut self, now: Now) -> bool {
        let most = if self.io.connections.is_flushed() { RECEIVES_PER_TURN } else { RECEIVES_BESIDE_OUTPUT };
        let most = most.min(self.config.receives_per_turn);
        for _ in 0..most.min(self.inbox.len()) {
            if !self.io.log.takes_input() {
                break;
            }
            let Some((key, mut chunk)) = self.inbox.pop_front() else { break };
            self.looked_at += 1;
            self.take_chunk(key, &mut chunk, now);
            self.machine.give_back(chunk);
            self.arm(key);
        }
        let backlog = match self.inbox.is_empty() {
            true => Backlog::Nothing,
            false if self.io.log.takes_input() => Backlog::LeftOver,
            false => Backlog::Waits,
        };
        self.node.look_at_load(backlog, now.mono);
        for _ in 0..ENDS_PER_TURN {
            let Some((key, _)) = self.ends.pop_front_if(|(_, before)| *before <= self.looked_at) else { break };
            match self.io.connections.get_mut(key) {
                // What came before the end still waits, and is taken first.
                Some(connection) if connection.parked && matches!(connection.state, State::Live(_)) => {
                    connection.ended = true;
                }
                _ => sweep::cut(&mut self.machine, &mut self.node, &mut self.io, key),
            }
        }
        self.take_greetings(now);
        if self.machine.has_buffers() {
            for key in std::mem::take(&mut self.starved) {
                self.arm(key);
            }
        }
        // Without room there is nothing to do before the log's write completes, and that is a completion.
        !self.has_read_all() && self.io.log.takes_input()
    }

    /// True if nothing that came in waits to be looked at.
    pub(super) fn has_read_all(&self) -> bool {
        self.inbox.is_empty() && self.greetings.is_empty() && self.ends.is_empty()
    }

    fn take_chunk(&mut self, key: Key, chunk: &mut M::Chunk, now: Now) {
        let Some(connection) = self.io.connections.get_mut(key) else { return };
        if connection.door.is_none() && !connection.parked {
            let kept = std::mem::take(&mut connection.carry);
            let (mut input, machine) = self.input_and_machine(now);
            return input.cut_stretch(key, Stretch::join(kept, machine.bytes(chunk)));
        }
        let was_inside = connection.is_inside_a_frame();
        let Some(door) = &mut connection.door else {
            return self.take_stretch(key, &Place::Here(0..self.machine.bytes(chunk).len()), chunk, now);
        };
        // What comes to who is leaving is thrown away unopened: a handshake, too, is only had in its turn.
        if !matches!(connection.state, State::Live(_)) {
            return;
        }
        let Opened { place, end } = door.open(self.machine.bytes_mut(chunk), &mut self.opened, &self.rules);
        let says = door.has_output(Last::No);
        self.take_stretch(key, &place, chunk, now);
        if let Some(connection) = self.io.connections.get_mut(key) {
            // Of a record, or a WebSocket's frame, nothing may have come through yet; that it began counts all the same.
            let begins = !was_inside || connection.carry.is_empty() && !place.is_empty();
            if begins && connection.is_inside_a_frame() {
                connection.frame_since = now.mono;
            }
        }
        if let Some(end) = end {
            return self.input(now).end_at_door(key, end);
        }
        if says {
            self.io.connections.hurry(key);
        }
    }

    /// The next stretch of a connection's frames.
    fn take_stretch(&mut self, key: Key, place: &Place, chunk: &M::Chunk, now: Now) {
        let Some(connection) = self.io.connections.get_mut(key) else { return };
        if connection.parked {
            connection.carry.extend_from_slice(bytes_at(place, self.machine.bytes(chunk), &self.opened));
            if connection.carry.len() > PARKED_CARRY_MAX
                && let Some(entity) = self.io.parking.what_waits(key)
            {
                self.go_on(key, (entity, Loaded::Failed), PARKED_CARRY_MAX / 2, now);
            }
            return;
        }
        let kept = std::mem::take(&mut connection.carry);
        let opened = std::mem::take(&mut self.opened);
        let (mut input, machine) = self.input_and_machine(now);
        input.cut_stretch(key, Stretch::join(kept, bytes_at(place, machine.bytes(chunk), &opened)));
        self.opened = opened;
    }

    /// A connection's first frame has waited long enough.
    pub(super) fn go_on(&mut self, key: Key, what: (Entity, Loaded), keep: usize, now: Now) {
        self.take_carry(key, what, keep, now);
        if self.io.connections.get(key).is_some_and(|connection| connection.ended && !connection.parked) {
            sweep::cut(&mut self.machine, &mut self.node, &mut self.io, key);
        }
    }

    fn take_carry(&mut self, key: Key, (entity, loaded): (Entity, Loaded), keep: usize, now: Now) {
        // It may wait for something else by now, or be gone.
        if !self.io.parking.leaves(key, entity) {
            return;
        }
        let Some(connection) = self.io.connections.get_mut(key).filter(|connection| connection.parked) else { return };
        let mut whole = std::mem::take(&mut connection.carry);
        let used = self.input(now).go_on(key, loaded, &whole, keep);
        whole.drain(..used);
        let Some(connection) = self.io.connections.get_mut(key) else { return };
        connection.frame_since = now.mono;
        connection.carry = whole;
        if connection.carry.is_empty() {
            let spare = std::mem::take(&mut connection.carry);
            self.io.connections.give_back(spare);
        }
    }

    fn carry(&mut self, key: Key, rest: &[u8], now: Now) {
        if !rest.is_empty() {
            let mut carry = self.io.connections.spare_carry();
            carry.extend_from_slice(rest);
            self.keep_carry(key, carry, now);
        }
    }

    fn keep_carry(&mut self, key: Key, carry: Vec<u8>, now: Now) {
        match self.io.connections.get_mut(key) {
            Some(connection) => (connection.carry, connection.frame_since) = (carry, now.mono),
            None => self.io.connections.give_back(carry),
        }
    }
}
