//! The load's engine: pairs of connections on one ring and one core. Every message is checked: numbers without gap or repeat,
//! and the content's checksum.
//!
//! In an open loop messages are due on a schedule of their own. One that the server has no room for waits here, and its time
//! runs from when it was due: a server that stalls is measured as its users feel it (no coordinated omission; Tene, "How NOT
//! to measure latency").

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tidings_ring::{Completion, Received, Ring, Token, Wait, Waker, socket};
use tidings_wire::{
    ErrorCode, Kind, UserId, frame,
    frames::{Delivered, ErrorFrame},
    limits,
};

use crate::{
    Failure,
    arrivals::Schedule,
    connection::{Connection, NOTHING_KNOWN, hang_up},
    idlers::Member,
    offer::{COOL_DOWN, Load, Mark, Offer, Outcome, Phases},
    offers::Measured,
    pairs::{Pair, Payload},
    relay::RING,
    ways::Way,
};

/// A schedule is not left to a timer when its next message is due this soon: timers of idle cores are late.
pub const SPIN: Duration = Duration::from_micros(100);
const COMPLETIONS: usize = 1024;
/// What a server refuses that has more to do than it can, and what comes behind that.
const SHED: [Option<ErrorCode>; 2] = [Some(ErrorCode::Overloaded), Some(ErrorCode::OutOfOrder)];

/// The engine, connected.
#[derive(Debug)]
pub struct Pairs {
    ring: Ring,
    connections: Vec<Connection>,
    pairs: Vec<Pair>,
    payload: Payload,
    dirty: Vec<usize>,
    spare: Vec<Vec<u8>>,
    completions: Vec<Completion>,
    ready: usize,
    depth: Option<u64>,
    /// Pairs of which something was refused for now.
    resting: Vec<usize>,
    measured: Measured,
}

/// The user of one end of a pair.
pub fn user(connection: usize) -> String {
    format!("bench{connection}")
}

impl Load for Pairs {
    fn run(&mut self, offer: Offer, phases: Phases, mark: &mut dyn FnMut(Mark)) -> Result<Outcome, Failure> {
        let begin = Instant::now();
        let (from, to) = (begin + phases.warm_up, begin + phases.warm_up + phases.steady);
        self.measured = Measured::new(from, phases.steady);
        let mut schedule = match offer {
            Offer::Closed { depth } => {
                self.depth = Some(depth);
                (0..self.pairs.len()).for_each(|pair| self.refill(pair, begin));
                None
            }
            Offer::Open { rate, arrivals } => Some(Schedule::new(arrivals, rate, self.pairs.len(), 1).peekable()),
        };
        let mut begun = None;
        loop {
            let now = Instant::now();
            if begun.is_none() && now >= from {
                mark(Mark::Begin);
                begun = Some(Instant::now());
            }
            if now >= to {
                break;
            }
            let mut wait = to - now;
            if let Some(schedule) = &mut schedule {
                while let Some((due, pair)) = schedule.next_if(|(due, _)| begin + *due <= now) {
                    self.measured.came_to(begin + due, now);
                    self.pairs[pair].offers.put(begin + due);
                    self.pump(pair);
                }
                wait = schedule.peek().map_or(wait, |(due, _)| (begin + *due).saturating_duration_since(now).min(wait));
            }
            self.turn(if wait < SPIN { Wait::Poll } else { Wait::Upto(wait - SPIN / 2) })?;
        }
        mark(Mark::End);
        // What the load did not come to any more was due all the same.
        while let Some((due, pair)) =
            schedule.as_mut().and_then(|schedule| schedule.next_if(|(due, _)| begin + *due < to))
        {
            self.measured.came_to(begin + due, Instant::now());
            self.pairs[pair].offers.put(begin + due);
            self.pump(pair);
        }
        let seconds = begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        self.depth = None;
        let until = to + COOL_DOWN;
        while self.unfinished() > 0 && Instant::now() < until {
            self.turn(Wait::Upto(Duration::from_millis(10)))?;
        }
        let measured = std::mem::replace(&mut self.measured, Measured::new(until, Duration::ZERO));
        Ok(Outcome { measured, unfinished: self.unfinished(), seconds })
    }

    fn unfinished(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.offers.unfinished()).sum()
    }
}

impl Pairs {
    /// Connects everybody; `token` gives a user's.
    ///
    /// # Errors
    /// If the server does not let them in.
    pub fn connect(
        server: SocketAddr,
        pairs: usize,
        payload: usize,
        token: &dyn Fn(&str) -> Result<String, Failure>,
    ) -> Result<Self, Failure> {
        Self::connect_by(&Way::default(), server, pairs, payload, token)
    }

    /// The same in some way.
    ///
    /// # Errors
    /// If the server does not let them in.
    pub fn connect_by(
        way: &Way,
        server: SocketAddr,
        pairs: usize,
        payload: usize,
        token: &dyn Fn(&str) -> Result<String, Failure>,
    ) -> Result<Self, Failure> {
        let id = |at| UserId::derive("default", &user(at));
        let mut this = Self {
            ring: Ring::new(&RING, Waker::new()?)?,
            connections: Vec::new(),
            pairs: (0..pairs).map(|pair| Pair::new(id(2 * pair), id(2 * pair + 1))).collect(),
            payload: Payload::new(payload),
            dirty: Vec::new(),
            spare: Vec::new(),
            completions: Vec::with_capacity(COMPLETIONS),
            ready: 0,
            depth: None,
            resting: Vec::new(),
            measured: Measured::new(Instant::now(), Duration::ZERO),
        };
        let until = Instant::now() + Duration::from_secs(60);
        for at in 0..2 * pairs {
            this.open(way, server, &Member { device: at as u32, token: token(&user(at))? })?;
            // No more handshakes at a time than a listen queue holds.
            while at + 1 - this.ready >= 256 {
                this.turn(Wait::Upto(Duration::from_millis(100)))?;
                this.check_in_time(until)?;
            }
        }
        while this.ready < this.connections.len() {
            this.turn(Wait::Upto(Duration::from_millis(100)))?;
            this.check_in_time(until)?;
        }
        Ok(this)
    }

    fn check_in_time(&self, until: Instant) -> Result<(), Failure> {
        if Instant::now() > until {
            return Err(format!("{} of {} connections were let in", self.ready, self.connections.len()).into());
        }
        Ok(())
    }

    fn open(&mut self, way: &Way, server: SocketAddr, member: &Member) -> Result<(), Failure> {
        let (mut connection, at) = (Connection::by(socket::connect(server)?, way)?, self.connections.len());
        connection.greet(member, &NOTHING_KNOWN);
        self.ring.receive(&connection.socket, Token(at as u64));
        self.connections.push(connection);
        self.dirty.push(at);
        Ok(())
    }

    /// In a closed loop: keeps a pair's messages in flight.
    fn refill(&mut self, at: usize, now: Instant) {
        let Some(depth) = self.depth else { return };
        self.pairs[at].offers.refill(depth, now);
        self.pump(at);
    }

    fn pump(&mut self, at: usize) {
        let (window, now) = (u64::from(limits::WINDOW), Instant::now());
        if self.pairs[at].pump(window, &self.payload, now, &mut self.connections[2 * at].pending) {
            self.dirty.push(2 * at);
        }
    }

    fn turn(&mut self, wait: Wait) -> Result<(), Failure> {
        self.go_on();
        self.flush()?;
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.turn(wait, &mut completions);
        for completion in completions.drain(..) {
            match completion {
                Completion::Received { token, result, more } => self.received(token.0 as usize, result, more)?,
                Completion::Sent { token, mut buffer, result } => {
                    result?;
                    buffer.clear();
                    self.spare.push(buffer);
                    self.connections[token.0 as usize].sending = false;
                    self.dirty.push(token.0 as usize);
                }
                _ => {}
            }
        }
        self.completions = completions;
        Ok(())
    }

    /// Pairs that were refused something go on once they may.
    fn go_on(&mut self) {
        if self.resting.is_empty() {
            return;
        }
        let now = Instant::now();
        for at in std::mem::take(&mut self.resting) {
            self.pump(at);
            if self.pairs[at].offers.rests_until().is_some_and(|until| until > now) {
                self.resting.push(at);
            }
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        while let Some(at) = self.dirty.pop() {
            let connection = &mut self.connections[at];
            if !connection.sending && connection.has_output() {
                let buffer = connection.take_output(self.spare.pop().unwrap_or_default())?;
                connection.sending = true;
                self.ring.send(&connection.socket, Token(at as u64), buffer, 0);
            }
        }
        Ok(())
    }

    fn received(&mut self, at: usize, result: Received, more: bool) -> Result<(), Failure> {
        match result {
            Received::Bytes(chunk) => {
                let now = Instant::now();
                let (mut confirm, mut answered, mut refused) = (None, false, None);
                let (pair, payload) = (&mut self.pairs[at / 2], &self.payload);
                let (measured, ready) = (&mut self.measured, &mut self.ready);
                self.connections[at].received(self.ring.bytes(&chunk), |frame, _| match frame.kind() {
                    Ok(Kind::Changed) => *ready += 1,
                    Ok(Kind::Error) => {
                        refused = frame.fixed::<ErrorFrame>().ok();
                        let rest_ms = refused.as_ref().map_or(0, |error| u64::from(error.retry_after_ms));
                        pair.offers.on_refused(now + Duration::from_millis(rest_ms), measured);
                    }
                    Ok(Kind::Sent) => {
                        answered = true;
                        pair.on_sent(frame, now, measured);
                    }
                    Ok(Kind::Message) => confirm = pair.on_message(frame, now, payload, measured).or(confirm),
                    _ => {}
                })?;
                self.ring.give_back(chunk);
                if self.connections[at].has_output() {
                    self.dirty.push(at);
                }
                if let Some(error) = refused {
                    if !SHED.contains(&ErrorCode::from_u16(error.code)) {
                        return Err(format!("the server refused: code {}", error.code).into());
                    }
                    self.resting.push(at / 2);
                }
                if let Some(upto) = confirm {
                    let conversation = self.pairs[at / 2].conversation();
                    frame::append(&mut self.connections[at].pending, 3, &Delivered { conversation, upto });
                    self.dirty.push(at);
                }
                if answered {
                    self.refill(at / 2, now);
                    self.pump(at / 2);
                }
            }
            Received::NoBuffer => {}
            Received::End => return Err("the server closed a connection".into()),
            Received::Failed(error) => return Err(error.into()),
        }
        if !more {
            self.ring.receive(&self.connections[at].socket, Token(at as u64));
        }
        Ok(())
    }
}

impl Drop for Pairs {
    fn drop(&mut self) {
        hang_up(&mut self.ring, &self.connections);
    }
}
