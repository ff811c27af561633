//! Connections that come and go: on one ring, each says HELLO and RESUME when it comes, and what follows is the workload's.

use std::net::SocketAddr;

use tidings_ring::{Completion, Received, Ring, Token, Wait, Waker, socket};
use tidings_wire::{Frame, frames::Resume};

use crate::{Failure, connection::Connection, idlers::Member, relay::RING};

const COMPLETIONS: usize = 1024;
/// Bits of a token that are a connection's place; the rest tell those apart that were there one after the other.
const PLACE_BITS: u32 = 32;

/// Places for connections.
#[derive(Debug)]
pub struct Connections {
    server: SocketAddr,
    ring: Ring,
    places: Vec<Place>,
    dirty: Vec<usize>,
    spare: Vec<Vec<u8>>,
    completions: Vec<Completion>,
}

#[derive(Debug, Default)]
struct Place {
    connection: Option<Connection>,
    round: u64,
}

impl Connections {
    /// So many places, nobody connected.
    ///
    /// # Errors
    /// If no ring can be had.
    pub fn new(server: SocketAddr, places: usize) -> Result<Self, Failure> {
        Ok(Self {
            server,
            ring: Ring::new(&RING, Waker::new()?)?,
            places: (0..places).map(|_| Place::default()).collect(),
            dirty: Vec::new(),
            spare: Vec::new(),
            completions: Vec::with_capacity(COMPLETIONS),
        })
    }

    /// Somebody comes.
    ///
    /// # Errors
    /// If there is no socket.
    ///
    /// # Panics
    /// If the place is taken.
    pub fn come(&mut self, at: usize, member: &Member, resume: &Resume) -> Result<(), Failure> {
        let mut connection = Connection::new(socket::connect(self.server)?);
        connection.greet(member, resume);
        let place = &mut self.places[at];
        assert!(place.connection.is_none(), "a place is for one connection");
        place.round += 1;
        self.ring.receive(&connection.socket, Token(place.round << PLACE_BITS | at as u64));
        place.connection = Some(connection);
        self.dirty.push(at);
        Ok(())
    }

    /// Somebody goes.
    pub fn go(&mut self, at: usize) {
        if let Some(connection) = self.places[at].connection.take() {
            socket::shutdown(&connection.socket);
        }
    }

    /// What somebody is to send, if they are there.
    pub fn out(&mut self, at: usize) -> Option<&mut Vec<u8>> {
        self.dirty.push(at);
        self.places[at].connection.as_mut().map(|connection| &mut connection.pending)
    }

    /// Sends, waits, and tells what came: from where, the frame, and where answers go.
    ///
    /// # Errors
    /// If the server closes a connection.
    pub fn turn(
        &mut self,
        wait: Wait,
        mut heard: impl FnMut(usize, &Frame<'_>, &mut Vec<u8>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.flush();
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.turn(wait, &mut completions);
        for completion in completions.drain(..) {
            match completion {
                Completion::Received { token, result, more } => self.received(token, result, more, &mut heard)?,
                Completion::Sent { token, mut buffer, .. } => {
                    buffer.clear();
                    self.spare.push(buffer);
                    let at = self.at(token);
                    if let Some(connection) = at.and_then(|at| self.places[at].connection.as_mut()) {
                        connection.sending = false;
                        self.dirty.extend(at);
                    }
                }
                _ => {}
            }
        }
        self.completions = completions;
        Ok(())
    }

    /// The place of a completion, if it is about the connection that is there now.
    fn at(&self, token: Token) -> Option<usize> {
        let at = (token.0 & ((1 << PLACE_BITS) - 1)) as usize;
        (self.places[at].round == token.0 >> PLACE_BITS && self.places[at].connection.is_some()).then_some(at)
    }

    fn received(
        &mut self,
        token: Token,
        result: Received,
        more: bool,
        heard: &mut impl FnMut(usize, &Frame<'_>, &mut Vec<u8>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let at = self.at(token);
        let connection = at.and_then(|at| Some((at, self.places[at].connection.as_mut()?)));
        match (result, connection) {
            (Received::Bytes(chunk), found) => {
                let mut failed = Ok(());
                if let Some((at, connection)) = found {
                    connection.received(self.ring.bytes(&chunk), |frame, out| {
                        let said = heard(at, frame, out);
                        if failed.is_ok() {
                            failed = said;
                        }
                    })?;
                    self.dirty.push(at);
                }
                self.ring.give_back(chunk);
                failed?;
            }
            (Received::End, Some(_)) => return Err("the server closed a connection".into()),
            (Received::Failed(error), Some(_)) => return Err(error.into()),
            _ => {}
        }
        if !more && let Some(connection) = at.and_then(|at| self.places[at].connection.as_ref()) {
            self.ring.receive(&connection.socket, token);
        }
        Ok(())
    }

    fn flush(&mut self) {
        while let Some(at) = self.dirty.pop() {
            let token = Token(self.places[at].round << PLACE_BITS | at as u64);
            let Some(connection) = &mut self.places[at].connection else { continue };
            if !connection.sending && !connection.pending.is_empty() {
                let next = self.spare.pop().unwrap_or_default();
                let buffer = std::mem::replace(&mut connection.pending, next);
                connection.sending = true;
                self.ring.send(&connection.socket, token, buffer, 0);
            }
        }
    }
}

impl Drop for Connections {
    /// A ring that goes with thousands of receives armed takes minutes for it: they end first.
    fn drop(&mut self) {
        (0..self.places.len()).for_each(|at| self.go(at));
        for _ in 0..20 {
            self.ring.turn(Wait::Upto(std::time::Duration::from_millis(20)), &mut self.completions);
            for completion in self.completions.drain(..) {
                if let Completion::Received { result: Received::Bytes(chunk), .. } = completion {
                    self.ring.give_back(chunk);
                }
            }
        }
    }
}
