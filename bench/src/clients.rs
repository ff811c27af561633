//! Clients of a server on one ring and one core: each has a place, says HELLO and RESUME when it comes, and what follows is the workload's.

pub mod attacker;
pub mod circle;
pub mod connection;
pub mod crowd;
pub mod pairs;
pub mod person;
pub mod sending;
pub mod way;
pub mod writers;

use std::{
    net::SocketAddr,
    ops::Range,
    time::{Duration, Instant},
};

use tidings_ring::{Completion, Received, Ring, Token, Wait, Waker, socket};
use tidings_wire::{
    Frame, Kind,
    frame::FixedPart,
    frames::{ErrorFrame, Resume},
};

use self::{
    connection::{Connection, NOTHING_KNOWN},
    way::Way,
};
use crate::{Failure, floor::relay::RING, target::Target};

/// Those who are on their way at a time, at most: what a listen queue holds.
pub const AT_A_TIME: usize = 512;
/// How long is waited where nothing is measured.
pub const A_MOMENT: Wait = Wait::Upto(Duration::from_millis(20));
const COMPLETIONS: usize = 1024;
/// Bits of a token that are a place; the rest tell those apart that were there one after the other.
const PLACE_BITS: u32 = 32;
/// How long the ends of all connections are waited for.
const CUT_WITHIN: Duration = Duration::from_secs(2);

/// Who somebody is.
#[derive(Debug, Clone)]
pub struct Member {
    /// The device.
    pub device: u32,
    /// The user's token.
    pub token: String,
}

/// So many devices, some of each user.
///
/// # Errors
/// If no tokens can be had.
pub fn members(target: &Target, count: usize, devices: usize) -> Result<Vec<Member>, Failure> {
    let mut members: Vec<Member> = Vec::with_capacity(count);
    for at in 0..count {
        let (user, device) = (at / devices, at % devices);
        let token = match device {
            0 => target.token(&format!("idle{user}"))?,
            _ => members[at - 1].token.clone(),
        };
        members.push(Member { device: device as u32 + 1, token });
    }
    Ok(members)
}

/// A frame that came.
#[derive(Debug)]
pub struct Came<'a, 'f> {
    /// To which place.
    pub at: usize,
    /// When.
    pub now: Instant,
    /// It.
    pub frame: &'a Frame<'f>,
    /// Where answers go.
    pub out: &'a mut Vec<u8>,
}

impl<'f> Came<'_, 'f> {
    /// Its kind, if it is known here.
    pub fn kind(&self) -> Option<Kind> {
        self.frame.kind().ok()
    }

    /// Its fixed part.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read<T: FixedPart>(&self) -> Result<T, Failure> {
        Ok(self.frame.fixed().map_err(|error| format!("a {:?} cannot be read: {error}", T::KIND))?)
    }

    /// Nothing, unless it says that something is refused.
    ///
    /// # Errors
    /// What the server said.
    pub fn no_refusal(&self) -> Result<(), Failure> {
        match self.kind() {
            Some(Kind::Error) => Err(format!("refused: {:?}", self.frame.fixed::<ErrorFrame>()).into()),
            _ => Ok(()),
        }
    }
}

/// Places for connections.
#[derive(Debug)]
pub struct Clients {
    server: SocketAddr,
    way: Way,
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

impl Clients {
    /// So many places, nobody connected.
    ///
    /// # Errors
    /// If no ring can be had.
    pub fn new(server: SocketAddr, places: usize) -> Result<Self, Failure> {
        Self::by(&Way::default(), server, places)
    }

    /// The same of those who come in some way.
    ///
    /// # Errors
    /// If no ring can be had.
    pub fn by(way: &Way, server: SocketAddr, places: usize) -> Result<Self, Failure> {
        Ok(Self {
            server,
            way: way.clone(),
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
        let mut connection = Connection::by(socket::connect(self.server)?, &self.way)?;
        connection.greet(member, resume);
        let place = &mut self.places[at];
        assert!(place.connection.is_none(), "a place is for one connection");
        place.round += 1;
        self.ring.receive(&connection.socket, Token(place.round << PLACE_BITS | at as u64));
        place.connection = Some(connection);
        self.dirty.push(at);
        Ok(())
    }

    /// Those come who know nothing, some at a time, until all were let in: how long that took.
    ///
    /// # Errors
    /// If somebody is refused, or it takes too long.
    pub fn let_in(
        &mut self,
        who: Range<usize>,
        within: Duration,
        member: impl FnMut(usize) -> Result<Member, Failure>,
    ) -> Result<Duration, Failure> {
        self.let_in_until(who, within, member, |came| came.kind() == Some(Kind::Changed))
    }

    /// The same; `is_in` says of which frame it is that somebody has been let in.
    ///
    /// # Errors
    /// See [`Self::let_in`].
    pub fn let_in_until(
        &mut self,
        who: Range<usize>,
        within: Duration,
        mut member: impl FnMut(usize) -> Result<Member, Failure>,
        mut is_in: impl FnMut(&Came<'_, '_>) -> bool,
    ) -> Result<Duration, Failure> {
        let (begin, mut come, mut here) = (Instant::now(), who.start, 0);
        let is_of_them = who.clone();
        while here < who.len() {
            while come < who.end && come - who.start - here < AT_A_TIME {
                self.come(come, &member(come)?, &NOTHING_KNOWN)?;
                come += 1;
            }
            self.turn(A_MOMENT, |came| {
                here += usize::from(is_of_them.contains(&came.at) && is_in(came));
                came.no_refusal()
            })?;
            if begin.elapsed() > within {
                return Err(format!("{here} of {} were let in within {within:?}", who.len()).into());
            }
        }
        Ok(begin.elapsed())
    }

    /// Somebody goes.
    pub fn go(&mut self, at: usize) {
        if let Some(connection) = self.places[at].connection.take() {
            socket::shutdown(&connection.socket);
        }
    }

    /// Everybody goes at once, and the end of each is heard: a ring that goes with thousands of receives armed takes minutes for
    /// it, since the kernel cancels each by looking at all.
    pub fn cut(&mut self) {
        let mut left = self.places.iter().filter(|place| place.connection.is_some()).count();
        (0..self.places.len()).for_each(|at| self.go(at));
        let until = Instant::now() + CUT_WITHIN;
        while left > 0 && Instant::now() < until {
            self.ring.turn(A_MOMENT, &mut self.completions);
            for completion in self.completions.drain(..) {
                let Completion::Received { result, more, .. } = completion else { continue };
                left = left.saturating_sub(usize::from(!more));
                if let Received::Bytes(chunk) = result {
                    self.ring.give_back(chunk);
                }
            }
        }
    }

    /// What somebody is to send, if they are there.
    pub fn out(&mut self, at: usize) -> Option<&mut Vec<u8>> {
        self.dirty.push(at);
        self.places[at].connection.as_mut().map(|connection| &mut connection.pending)
    }

    /// Sends, waits, and tells what came.
    ///
    /// # Errors
    /// If the server closes a connection, or what `heard` fails with.
    pub fn turn(
        &mut self,
        wait: Wait,
        mut heard: impl FnMut(&mut Came<'_, '_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.flush()?;
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.turn(wait, &mut completions);
        for completion in completions.drain(..) {
            match completion {
                Completion::Received { token, result, more } => self.received(token, result, more, &mut heard)?,
                Completion::Sent { token, mut buffer, .. } => {
                    // Of one that failed the connection's end tells.
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
        heard: &mut impl FnMut(&mut Came<'_, '_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let at = self.at(token);
        let found = at.and_then(|at| Some((at, self.places[at].connection.as_mut()?)));
        match (result, found) {
            (Received::Bytes(chunk), found) => {
                let mut said = Ok(());
                if let Some((at, connection)) = found {
                    let now = Instant::now();
                    connection.received(self.ring.bytes(&chunk), |frame, out| {
                        if said.is_ok() {
                            said = heard(&mut Came { at, now, frame, out });
                        }
                    })?;
                    self.dirty.push(at);
                }
                self.ring.give_back(chunk);
                said?;
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

    fn flush(&mut self) -> Result<(), Failure> {
        while let Some(at) = self.dirty.pop() {
            let token = Token(self.places[at].round << PLACE_BITS | at as u64);
            let Some(connection) = &mut self.places[at].connection else { continue };
            if !connection.sending && connection.has_output() {
                let buffer = connection.take_output(self.spare.pop().unwrap_or_default())?;
                connection.sending = true;
                self.ring.send(&connection.socket, token, buffer, 0);
            }
        }
        Ok(())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.cut();
    }
}
