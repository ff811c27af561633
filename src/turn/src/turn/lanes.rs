//! What comes from other reactors, and what waits for an entity to be loaded.

use tidings_core::{Entity, Loaded, Now, Passage, ReactorId, Verifier, limits::EPHEMERAL_USERS_PER_TURN};

use super::Turn;
use crate::{config::LANE_MESSAGES_PER_TURN, machine::Machine, parking::Parked};

impl<M: Machine, V: Verifier> Turn<M, V> {
    /// Lanes from other reactors. Those to conversations are only read while the log has room and the answer has credit; those to
    /// homes always. No lane is held: what must wait for a load is parked.
    pub(super) fn take_lanes(&mut self, now: Now) -> bool {
        let mut busy = false;
        for from in 0..self.shared.reactors() {
            for _ in 0..LANE_MESSAGES_PER_TURN {
                if !self.may_answer(from) || !self.take_for_conversation(from, now) {
                    break;
                }
                busy = true;
            }
            for _ in 0..LANE_MESSAGES_PER_TURN {
                if !self.take_for_home(from, now) {
                    break;
                }
                busy = true;
            }
        }
        busy
    }

    /// True if a message to a conversation may be taken from a reactor: the log has room for it, and the lane back for its answer.
    fn may_answer(&mut self, from: usize) -> bool {
        self.io.log.takes_input()
            && self.node.may_take(ReactorId(from as u16))
            && self.io.lanes.home_out[from].as_mut().is_some_and(|lane| lane.has_credit(1, 0))
    }

    /// The next message to a conversation from a reactor. False if there is none.
    fn take_for_conversation(&mut self, reactor: usize, now: Now) -> bool {
        // The lane leaves its place for the call: its payload is read where it lies.
        let Some(mut lane) = self.io.lanes.conversation_in[reactor].take() else { return false };
        let received = lane.receive();
        let taken = received.is_some();
        if let Some((message, payload)) = received {
            let from = ReactorId(reactor as u16);
            match message.entity().filter(|entity| !self.io.may_pass(*entity)) {
                None => self.node.at(now, &mut self.io).to_conversation(from, message, payload),
                Some(entity) => {
                    let parked = Parked::ToConversation(from, message, payload.to_vec());
                    if self.io.parking.park(entity, parked, now.mono).is_err() {
                        self.node.at(now, &mut self.io).refuse_message(from, &message);
                    }
                }
            }
        }
        self.io.lanes.conversation_in[reactor] = Some(lane);
        taken
    }

    /// The next message to a home from a reactor. False if there is none.
    fn take_for_home(&mut self, reactor: usize, now: Now) -> bool {
        let Some(mut lane) = self.io.lanes.home_in[reactor].take() else { return false };
        let received = lane.receive();
        let taken = received.is_some();
        if let Some((message, payload)) = received {
            let from = ReactorId(reactor as u16);
            match self.io.pass_to_home(from, &message, payload) {
                Passage::Free => self.node.at(now, &mut self.io).to_home(from, message, payload),
                Passage::Parked => self.node.hold(&message),
                Passage::Full => self.node.at(now, &mut self.io).lose_message(from, &message),
            }
        }
        self.io.lanes.home_in[reactor] = Some(lane);
        taken
    }

    /// What may be lost, from other reactors: after all else that a turn takes, and of each as much.
    pub(super) fn take_ephemeral(&mut self, now: Now) -> bool {
        let (mut busy, reactors) = (false, self.shared.reactors());
        for from in 0..reactors {
            let Some(mut lane) = self.io.lanes.ephemeral_in[from].take() else { continue };
            let mut left = EPHEMERAL_USERS_PER_TURN / reactors;
            while left > 0
                && let Some((message, payload)) = lane.receive()
            {
                let cost = self.node.at(now, &mut self.io).ephemeral(message, payload);
                (left, busy) = (left.saturating_sub(cost), true);
            }
            self.io.lanes.ephemeral_in[from] = Some(lane);
        }
        busy
    }

    /// Whoever waited for an entity that is loaded goes on, in the order in which they came.
    pub(super) fn take_parked(&mut self, now: Now) -> bool {
        if self.io.parking.is_empty() {
            return false;
        }
        self.io.parking.look(&mut *self.io.store, now.mono);
        let (mut busy, mut after) = (false, None);
        for _ in 0..LANE_MESSAGES_PER_TURN {
            let Some((entity, loaded, parked)) = self.io.parking.next(after) else { break };
            if let Some(parked) = self.unpark(entity, loaded, parked, now) {
                self.io.parking.put_back(entity, loaded, parked, now.mono);
                after = Some(entity); // its turn comes when there is room
                continue;
            }
            busy = true;
        }
        busy
    }

    /// One of them; given back if there is no room for what it would do.
    fn unpark(&mut self, entity: Entity, loaded: Loaded, parked: Parked, now: Now) -> Option<Parked> {
        match parked {
            Parked::Connection(key) => {
                if !self.io.log.takes_input() {
                    return Some(parked);
                }
                self.go_on(key, (entity, loaded), usize::MAX, now);
            }
            Parked::ToConversation(from, message, payload) => {
                if !self.may_answer(from.0 as usize) {
                    return Some(Parked::ToConversation(from, message, payload));
                }
                let mut node = self.node.at(now, &mut self.io);
                match loaded {
                    Loaded::Here => node.to_conversation(from, message, &payload),
                    Loaded::Failed => node.refuse_message(from, &message),
                }
            }
            Parked::ToHome(from, message, payload) => {
                self.node.release(&message);
                let mut node = self.node.at(now, &mut self.io);
                match loaded {
                    Loaded::Here => node.to_home(from, message, &payload),
                    Loaded::Failed => node.lose_message(from, &message),
                }
            }
        }
        None
    }
}
