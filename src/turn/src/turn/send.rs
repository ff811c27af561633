//! What goes out: one coalesced send a connection a turn.

use std::io;

use tidings_core::{Now, Verifier, slab::Key};

use super::Turn;
use crate::{
    config::{OUTPUTS_PER_TURN, SENDS_BESIDE_WRITE, SENDS_PER_TURN},
    connections::State,
    machine::Machine,
    sweep,
};

impl<M: Machine, V: Verifier> Turn<M, V> {
    pub(super) fn sent(&mut self, key: Key, buffer: Vec<u8>, result: &io::Result<usize>, now: Now) {
        let whole = result.as_ref().is_ok_and(|sent| *sent == buffer.len());
        self.io.connections.give_back(buffer);
        let Some(connection) = self.io.connections.get_mut(key) else { return };
        connection.sending = 0;
        if !whole {
            return sweep::cut(&mut self.machine, &mut self.node, &mut self.io, key);
        }
        let (state, empty) = (connection.state, connection.pending.is_empty());
        if !empty || !matches!(state, State::Live(_)) || connection.door.is_some() {
            self.io.connections.mark_dirty(key);
        }
        match state {
            State::Live(session) => {
                let mut node = self.node.at(now, &mut self.io);
                node.output_sent(session);
                if empty {
                    node.output_gone(session);
                }
            }
            State::Greeting => self.greet_on(key),
            State::Leaving => {
                if let Some(connection) = self.io.connections.get_mut(key) {
                    connection.since = now.mono;
                }
            }
            State::Gone => {}
        }
    }

    /// One send a connection, the longest marked first; connections that are done go. What is left is done in the next turn.
    pub(super) fn flush(&mut self, now: Now) -> bool {
        let (mut looked_at, mut sends) = (0, 0);
        let most = if self.io.log.is_writing() { SENDS_BESIDE_WRITE } else { SENDS_PER_TURN };
        self.io.connections.hurry_overdue(now.mono);
        while looked_at < OUTPUTS_PER_TURN && sends < most {
            let Some(key) = self.io.connections.next_dirty() else { break };
            looked_at += 1;
            let Some(connection) = self.io.connections.get_mut(key) else { continue };
            if connection.sending > 0 || connection.later.is_some() {
                continue;
            }
            if connection.state != State::Gone
                && let Some(buffer) = connection.take_output(|| std::mem::take(&mut self.spare))
            {
                sends += 1;
                (connection.sending, connection.send_since) = (buffer.len(), now.mono);
                let has_door = connection.door.is_some();
                self.machine.send(&connection.socket, key, buffer);
                if has_door {
                    self.give_back_spent(key);
                }
                continue;
            }
            if connection.door.as_ref().is_some_and(|door| door.is_dead()) && matches!(connection.state, State::Live(_))
            {
                sends += 1;
                sweep::cut(&mut self.machine, &mut self.node, &mut self.io, key);
                continue;
            }
            match connection.state {
                State::Leaving if !connection.shut => {
                    // The peer reads our last words, then the end; its own last words are read and thrown away, since
                    // closing over unread bytes would reset the connection and lose ours.
                    connection.shut = true;
                    sends += 1;
                    self.machine.shut_output(&connection.socket);
                    self.arm(key);
                }
                State::Gone if !connection.receiving => {
                    sends += 1;
                    drop(self.io.connections.remove(key));
                }
                _ => {}
            }
        }
        looked_at > 0
    }

    /// What a connection with a door wrote its output into is used again: it left in another buffer.
    fn give_back_spent(&mut self, key: Key) {
        if let Some(connection) = self.io.connections.get_mut(key) {
            let spent = std::mem::take(&mut connection.pending);
            self.io.connections.give_back(spent);
            if self.spare.capacity() == 0 {
                self.spare = self.io.connections.spare();
            }
        }
    }
}
