//! The load: pairs of connections on one ring and one core. Every message is checked: numbers without gap or repeat, and the
//! content's checksum.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tidings_ring::{Completion, Received, Ring, Token, Wait, Waker, socket};
use tidings_wire::{
    ClientMsgId, ConversationId, DeviceId, Frame, HistoryId, Kind, Seq, Timestamp, UserId, Uv, frame,
    frame::FrameBuilder,
    frames::{Delivered, Hello, Message, MessageFlags, Resume, Send, Sent, TraceId},
};

use crate::{Failure, connection::Connection, relay::RING};

/// What is offered.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// Pairs of connections.
    pub pairs: usize,
    /// Messages in flight a pair.
    pub depth: usize,
    /// Bytes of a payload.
    pub payload: usize,
    /// Messages a second over all pairs; 0: as many as come back (closed loop).
    pub rate: f64,
    /// Not measured.
    pub warm_up: Duration,
    /// Measured.
    pub time: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// SEND to SENT, microseconds.
    pub sent_us: Histogram<u64>,
    /// SEND to MESSAGE, microseconds.
    pub delivered_us: Histogram<u64>,
    /// Messages acknowledged in the measured time.
    pub acked: u64,
    /// Messages that failed a check.
    pub wrong: u64,
    /// How long was measured.
    pub seconds: f64,
}

/// A pair: connection `2 n` sends, `2 n + 1` receives.
#[derive(Debug)]
struct Pair {
    conversation: ConversationId,
    peer: UserId,
    next_id: u64,
    in_flight: usize,
    /// When the attempts in flight were due, by id.
    due: Vec<Instant>,
    /// Numbers of SENT and MESSAGE so far.
    sent: u64,
    delivered: u64,
}

const COMPLETIONS: usize = 1024;
/// Attempts whose time is remembered.
const REMEMBERED: u64 = 4096;

/// The load's engine.
#[derive(Debug)]
pub struct Load {
    ring: Ring,
    offer: Offer,
    connections: Vec<Connection>,
    pairs: Vec<Pair>,
    payload: Vec<u8>,
    payload_crc: u32,
    dirty: Vec<usize>,
    spare: Vec<Vec<u8>>,
    ready: usize,
    measuring: bool,
    outcome: Outcome,
}

/// The user of one end of a pair.
pub fn user(connection: usize) -> String {
    format!("bench{connection}")
}

impl Load {
    /// Connects everybody; `token` gives a user's.
    ///
    /// # Errors
    /// If the server does not let them in.
    pub fn connect(
        server: SocketAddr,
        offer: Offer,
        token: impl Fn(&str) -> Result<String, Failure>,
    ) -> Result<Self, Failure> {
        let histogram = || Histogram::new_with_bounds(1, 60_000_000, 3);
        let payload: Vec<u8> = (0..offer.payload).map(|at| at as u8).collect();
        let mut this = Self {
            ring: Ring::new(&RING, Waker::new()?)?,
            offer,
            connections: Vec::new(),
            pairs: Vec::new(),
            payload_crc: crc32c::crc32c(&payload),
            payload,
            dirty: Vec::new(),
            spare: Vec::new(),
            ready: 0,
            measuring: false,
            outcome: Outcome { sent_us: histogram()?, delivered_us: histogram()?, acked: 0, wrong: 0, seconds: 0.0 },
        };
        for at in 0..2 * offer.pairs {
            let name = user(at);
            this.open(server, at, &token(&name)?)?;
            if at % 2 == 1 {
                let (a, b) = (UserId::derive("default", &user(at - 1)), UserId::derive("default", &name));
                let conversation = ConversationId::direct(a, b);
                let due = vec![Instant::now(); REMEMBERED as usize];
                this.pairs.push(Pair { conversation, peer: b, next_id: 1, in_flight: 0, due, sent: 0, delivered: 0 });
            }
        }
        let until = Instant::now() + Duration::from_secs(30);
        while this.ready < this.connections.len() {
            this.turn(Duration::from_millis(100))?;
            if Instant::now() > until {
                return Err(format!("{} of {} connections were let in", this.ready, this.connections.len()).into());
            }
        }
        Ok(this)
    }

    fn open(&mut self, server: SocketAddr, at: usize, token: &str) -> Result<(), Failure> {
        let mut connection = Connection::new(socket::connect(server)?);
        let mut hello = FrameBuilder::<Hello>::new(&mut connection.pending);
        let (token, device, user) = (hello.var(token.as_bytes()), DeviceId(at as u32), UserId::NONE);
        hello.finish(1, &Hello { version_min: 1, version_max: 1, device, user, capabilities: 0, token, attempt: 0 });
        let resume = Resume { history: HistoryId::NONE, uv: Uv(0), below: Uv(0), page: 0 };
        frame::append(&mut connection.pending, 2, &resume);
        self.ring.receive(&connection.socket, Token(at as u64));
        self.connections.push(connection);
        self.dirty.push(at);
        Ok(())
    }

    /// Offers the load, and measures.
    ///
    /// # Errors
    /// If a connection ends.
    pub fn run(mut self, at_start: impl Fn(), at_end: impl Fn()) -> Result<Outcome, Failure> {
        let begin = Instant::now();
        let (measure_from, end) = (begin + self.offer.warm_up, begin + self.offer.warm_up + self.offer.time);
        if self.offer.rate == 0.0 {
            for pair in 0..self.pairs.len() {
                self.fill(pair, begin);
            }
        }
        let mut offered = 0u64;
        let mut started = begin;
        loop {
            let now = Instant::now();
            if !self.measuring && now >= measure_from {
                at_start();
                (self.measuring, started) = (true, Instant::now());
            }
            if now >= end {
                at_end();
                self.outcome.seconds = started.elapsed().as_secs_f64();
                return Ok(self.outcome);
            }
            let mut wait = Duration::from_millis(100);
            if self.offer.rate > 0.0 {
                loop {
                    // Latency counts from when a message was due, not from when we got round to it.
                    let due = begin + Duration::from_secs_f64(offered as f64 / self.offer.rate);
                    if due > now {
                        wait = due - now;
                        break;
                    }
                    self.send((offered % self.pairs.len() as u64) as usize, due);
                    offered += 1;
                }
            }
            self.turn(wait.min(end - now))?;
        }
    }

    /// Keeps a pair's messages in flight.
    fn fill(&mut self, pair: usize, now: Instant) {
        while self.pairs[pair].in_flight < self.offer.depth {
            self.send(pair, now);
        }
    }

    fn send(&mut self, at: usize, due: Instant) {
        let pair = &mut self.pairs[at];
        let id = pair.next_id;
        pair.next_id += 1;
        pair.in_flight += 1;
        pair.due[(id % REMEMBERED) as usize] = due;
        let mut send = FrameBuilder::<Send>::new(&mut self.connections[2 * at].pending);
        let payload = send.var(&self.payload);
        send.finish(
            id,
            &Send {
                conversation: pair.conversation,
                peer: if id == 1 { pair.peer } else { UserId::NONE },
                client_msg_id: ClientMsgId(id),
                prev: ClientMsgId(id - 1),
                expires_at: Timestamp(0),
                trace: TraceId::default(),
                flags: MessageFlags::default(),
                payload_crc: self.payload_crc,
                payload,
            },
        );
        self.dirty.push(2 * at);
    }

    fn turn(&mut self, wait: Duration) -> Result<(), Failure> {
        self.flush();
        let mut completions = Vec::with_capacity(COMPLETIONS);
        self.ring.turn(Wait::Upto(wait), &mut completions);
        for completion in completions {
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
        Ok(())
    }

    fn flush(&mut self) {
        while let Some(at) = self.dirty.pop() {
            let connection = &mut self.connections[at];
            if !connection.sending && !connection.pending.is_empty() {
                let next = self.spare.pop().unwrap_or_default();
                let buffer = std::mem::replace(&mut connection.pending, next);
                connection.sending = true;
                self.ring.send(&connection.socket, Token(at as u64), buffer, 0);
            }
        }
    }

    fn received(&mut self, at: usize, result: Received, more: bool) -> Result<(), Failure> {
        match result {
            Received::Bytes(chunk) => {
                let now = Instant::now();
                let mut delivered = None;
                let (pair, offer) = (&mut self.pairs.get_mut(at / 2), self.offer);
                let mut freed = 0;
                let (outcome, measuring, ready) = (&mut self.outcome, self.measuring, &mut self.ready);
                let crc = self.payload_crc;
                let mut refused = None;
                self.connections[at].received(self.ring.bytes(&chunk), |frame, _| match frame.kind() {
                    Ok(Kind::Changed) => *ready += 1,
                    Ok(Kind::Error) => refused = frame.fixed::<tidings_wire::frames::ErrorFrame>().ok(),
                    Ok(Kind::Sent) => {
                        let Some(pair) = pair.as_deref_mut() else { return };
                        freed += usize::from(on_sent(pair, frame, now, measuring, outcome));
                    }
                    Ok(Kind::Message) => {
                        let Some(pair) = pair.as_deref_mut() else { return };
                        delivered = on_message(pair, frame, now, crc, measuring, outcome).or(delivered);
                    }
                    _ => {}
                })?;
                self.ring.give_back(chunk);
                if let Some(error) = refused {
                    return Err(format!("the server refused: code {}", error.code).into());
                }
                if let Some(upto) = delivered {
                    let conversation = self.pairs[at / 2].conversation;
                    frame::append(&mut self.connections[at].pending, 3, &Delivered { conversation, upto });
                    self.dirty.push(at);
                }
                if freed > 0 {
                    self.pairs[at / 2].in_flight -= freed;
                    if offer.rate == 0.0 {
                        self.fill(at / 2, now);
                    }
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

fn on_sent(pair: &mut Pair, frame: &Frame<'_>, now: Instant, measuring: bool, outcome: &mut Outcome) -> bool {
    let Ok(sent) = frame.fixed::<Sent>() else { return false };
    pair.sent += 1;
    outcome.wrong += u64::from(sent.seq != Seq(pair.sent) || sent.client_msg_id.0 != pair.sent);
    if measuring {
        outcome.acked += 1;
        let due = pair.due[(sent.client_msg_id.0 % REMEMBERED) as usize];
        outcome.sent_us.saturating_record(now.saturating_duration_since(due).as_micros() as u64);
    }
    true
}

fn on_message(
    pair: &mut Pair,
    frame: &Frame<'_>,
    now: Instant,
    crc: u32,
    measuring: bool,
    outcome: &mut Outcome,
) -> Option<Seq> {
    let message = frame.fixed::<Message>().ok()?;
    let payload = frame.var(message.payload).ok()?;
    pair.delivered += 1;
    outcome.wrong += u64::from(message.seq != Seq(pair.delivered) || crc32c::crc32c(payload) != crc);
    if measuring {
        let due = pair.due[(message.client_msg_id.0 % REMEMBERED) as usize];
        outcome.delivered_us.saturating_record(now.saturating_duration_since(due).as_micros() as u64);
    }
    Some(message.seq)
}
