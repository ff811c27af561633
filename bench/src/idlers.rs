//! Many connections that only are there: each says HELLO and RESUME, and then nothing.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tidings_ring::{Completion, Received, Ring, Token, Wait, Waker, socket};
use tidings_wire::Kind;

use crate::{
    Failure,
    connection::{Connection, NOTHING_KNOWN, hang_up},
    relay::RING,
    ways::Way,
};

/// Handshakes under way at a time: what a listen queue holds, and a idlers that would be let in at all would not overrun.
const AT_A_TIME: usize = 512;
const COMPLETIONS: usize = 1024;

/// Who somebody is.
#[derive(Debug, Clone)]
pub struct Member {
    /// The device.
    pub device: u32,
    /// The user's token.
    pub token: String,
}

/// Connections on a ring of their own.
#[derive(Debug)]
pub struct Idlers {
    server: SocketAddr,
    way: Way,
    members: Vec<Member>,
    ring: Ring,
    connections: Vec<Connection>,
    /// Members that were let in since the last time everybody began.
    ready: usize,
    /// How often everybody began: completions of earlier connections are not of these.
    round: u64,
    completions: Vec<Completion>,
}

impl Idlers {
    /// Nobody is connected yet.
    ///
    /// # Errors
    /// If no ring can be had.
    pub fn new(server: SocketAddr, members: Vec<Member>) -> Result<Self, Failure> {
        Self::by(Way::default(), server, members)
    }

    /// The same, who come in some way.
    ///
    /// # Errors
    /// If no ring can be had.
    pub fn by(way: Way, server: SocketAddr, members: Vec<Member>) -> Result<Self, Failure> {
        let (ring, completions) = (Ring::new(&RING, Waker::new()?)?, Vec::with_capacity(COMPLETIONS));
        Ok(Self { server, way, members, ring, connections: Vec::new(), ready: 0, round: 0, completions })
    }

    /// Connects everybody; how long that took.
    ///
    /// # Errors
    /// If somebody is not let in.
    pub fn come(&mut self, within: Duration) -> Result<Duration, Failure> {
        let begin = Instant::now();
        (self.ready, self.round) = (0, self.round + 1);
        for at in 0..self.members.len() {
            let mut connection = Connection::by(socket::connect(self.server)?, &self.way)?;
            connection.greet(&self.members[at], &NOTHING_KNOWN);
            let token = Token(self.round << 32 | at as u64);
            self.ring.receive(&connection.socket, token);
            let first = connection.take_output(Vec::new())?;
            self.ring.send(&connection.socket, token, first, 0);
            self.connections.push(connection);
            while at + 1 - self.ready >= AT_A_TIME {
                self.turn(begin, within)?;
            }
        }
        while self.ready < self.members.len() {
            self.turn(begin, within)?;
        }
        Ok(begin.elapsed())
    }

    /// Cuts everybody off at once.
    pub fn cut(&mut self) {
        hang_up(&mut self.ring, &self.connections);
        self.connections.clear();
    }

    fn turn(&mut self, begin: Instant, within: Duration) -> Result<(), Failure> {
        if begin.elapsed() > within {
            return Err(format!("{} of {} were let in within {within:?}", self.ready, self.members.len()).into());
        }
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.turn(Wait::Upto(Duration::from_millis(20)), &mut completions);
        for completion in completions.drain(..) {
            let Completion::Received { token, result, more } = completion else { continue };
            let (ours, at) = (token.0 >> 32 == self.round, (token.0 & 0xffff_ffff) as usize);
            match result {
                Received::Bytes(chunk) => {
                    let (mut ready, mut refused) = (0, None);
                    if let Some(connection) = self.connections.get_mut(at).filter(|_| ours) {
                        connection.received(self.ring.bytes(&chunk), |frame, _| match frame.kind() {
                            Ok(Kind::Changed) => ready += 1,
                            Ok(Kind::Error) => refused = frame.fixed::<tidings_wire::frames::ErrorFrame>().ok(),
                            _ => {}
                        })?;
                        if connection.has_output() {
                            // Small enough for the kernel to take it at once.
                            let more = connection.take_output(Vec::new())?;
                            self.ring.send(&connection.socket, token, more, 0);
                        }
                    }
                    self.ring.give_back(chunk);
                    self.ready += ready;
                    if let Some(error) = refused {
                        return Err(format!("one of the idlers was refused: code {}", error.code).into());
                    }
                }
                Received::End | Received::Failed(_) if ours => return Err("one of the idlers was cut off".into()),
                Received::End | Received::Failed(_) => continue,
                Received::NoBuffer => {}
            }
            if !more && ours {
                self.ring.receive(&self.connections[at].socket, token);
            }
        }
        self.completions = completions;
        Ok(())
    }
}

impl Drop for Idlers {
    fn drop(&mut self) {
        self.cut();
    }
}
