//! Pairs of connections: one sends, the other receives and confirms. What is in flight, what waits, and what was checked.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tidings_wire::{
    ClientMsgId, ConversationId, Frame, Seq, Timestamp, UserId,
    frame::FrameBuilder,
    frames::{Message, MessageFlags, Send, Sent, TraceId},
};

use crate::timeline::Timeline;

/// Attempts whose time is remembered.
const REMEMBERED: u64 = 4096;

/// The payload of every message, and its checksum.
#[derive(Debug)]
pub struct Payload {
    bytes: Vec<u8>,
    crc: u32,
}

impl Payload {
    /// Of a length.
    pub fn new(len: usize) -> Self {
        let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
        Self { crc: crc32c::crc32c(&bytes), bytes }
    }
}

/// What was measured, of messages that were due in the measured time.
#[derive(Debug)]
pub struct Measured {
    /// From when it was due to SENT, microseconds.
    pub sent_us: Histogram<u64>,
    /// From when it was due to MESSAGE, microseconds.
    pub delivered_us: Histogram<u64>,
    /// How late the load itself looked at its schedule, microseconds: part of both latencies, and not the server's.
    pub late_us: Histogram<u64>,
    /// The same by second, by when the answer came.
    pub timeline: Timeline,
    /// Answers that came in the measured time.
    pub acked: u64,
    /// Messages that failed a check.
    pub wrong: u64,
    window: Option<(Instant, Instant)>,
}

impl Measured {
    /// Nothing yet; messages count that are due in `time` from `from`.
    pub fn new(from: Instant, time: Duration) -> Self {
        let histogram = || Histogram::new_with_bounds(1, 600_000_000, 3).expect("these bounds are valid");
        let timeline = Timeline::new(from, time);
        let window = Some((from, from + time));
        Self {
            sent_us: histogram(),
            delivered_us: histogram(),
            late_us: histogram(),
            timeline,
            acked: 0,
            wrong: 0,
            window,
        }
    }

    /// The load came to a message that was due.
    pub fn came_to(&mut self, due: Instant, now: Instant) {
        if self.counts(due) {
            self.late_us.saturating_record(now.saturating_duration_since(due).as_micros() as u64);
        }
    }

    fn counts(&self, at: Instant) -> bool {
        self.window.is_some_and(|(from, to)| from <= at && at < to)
    }
}

/// One pair.
#[derive(Debug)]
pub struct Pair {
    conversation: ConversationId,
    peer: UserId,
    /// When attempts were due, by number.
    due: Vec<Instant>,
    /// When messages were due that wait here for room in the window.
    backlog: VecDeque<Instant>,
    /// The last number that was attempted, answered, delivered.
    attempted: u64,
    sent: u64,
    delivered: u64,
}

impl Pair {
    /// Of two users.
    pub fn new(a: UserId, b: UserId) -> Self {
        Self {
            conversation: ConversationId::direct(a, b),
            peer: b,
            due: vec![Instant::now(); REMEMBERED as usize],
            backlog: VecDeque::new(),
            attempted: 0,
            sent: 0,
            delivered: 0,
        }
    }

    /// The conversation.
    pub fn conversation(&self) -> ConversationId {
        self.conversation
    }

    /// A message is due, whether there is room for it or not: its time counts from now on.
    pub fn put(&mut self, due: Instant) {
        self.backlog.push_back(due);
    }

    /// Messages that were due and are not both answered and delivered.
    pub fn unfinished(&self) -> u64 {
        self.backlog.len() as u64 + self.attempted - self.sent.min(self.delivered)
    }

    /// Messages that are sent and not answered.
    pub fn in_flight(&self) -> u64 {
        self.attempted - self.sent
    }

    /// Appends what is due and fits into a window. True if something did.
    pub fn pump(&mut self, window: u64, payload: &Payload, out: &mut Vec<u8>) -> bool {
        let before = self.attempted;
        while self.in_flight() < window && self.attempted - self.delivered < REMEMBERED {
            let Some(due) = self.backlog.pop_front() else { break };
            self.attempt(due, payload, out);
        }
        before < self.attempted
    }

    fn attempt(&mut self, due: Instant, payload: &Payload, out: &mut Vec<u8>) {
        self.attempted += 1;
        let id = self.attempted;
        self.due[(id % REMEMBERED) as usize] = due;
        let mut send = FrameBuilder::<Send>::new(out);
        let bytes = send.var(&payload.bytes);
        send.finish(
            id,
            &Send {
                conversation: self.conversation,
                peer: if id == 1 { self.peer } else { UserId::NONE },
                client_msg_id: ClientMsgId(id),
                prev: ClientMsgId(id - 1),
                expires_at: Timestamp(0),
                trace: TraceId::default(),
                flags: MessageFlags::default(),
                payload_crc: payload.crc,
                payload: bytes,
            },
        );
    }

    fn due_of(&self, id: ClientMsgId) -> Instant {
        self.due[(id.0 % REMEMBERED) as usize]
    }

    /// SENT came.
    pub fn on_sent(&mut self, frame: &Frame<'_>, now: Instant, measured: &mut Measured) {
        let Ok(sent) = frame.fixed::<Sent>() else { return measured.wrong += 1 };
        self.sent += 1;
        measured.wrong += u64::from(sent.seq != Seq(self.sent) || sent.client_msg_id.0 != self.sent);
        let due = self.due_of(sent.client_msg_id);
        let took = now.saturating_duration_since(due);
        measured.acked += u64::from(measured.counts(now));
        measured.timeline.sent(now, took);
        if measured.counts(due) {
            measured.sent_us.saturating_record(took.as_micros() as u64);
        }
    }

    /// MESSAGE came: up to where this is to be confirmed.
    pub fn on_message(
        &mut self,
        frame: &Frame<'_>,
        now: Instant,
        payload: &Payload,
        measured: &mut Measured,
    ) -> Option<Seq> {
        let read = frame.fixed::<Message>().ok().and_then(|message| Some((message, frame.var(message.payload).ok()?)));
        let Some((message, bytes)) = read else {
            measured.wrong += 1;
            return None;
        };
        self.delivered += 1;
        measured.wrong += u64::from(message.seq != Seq(self.delivered) || crc32c::crc32c(bytes) != payload.crc);
        let due = self.due_of(message.client_msg_id);
        let took = now.saturating_duration_since(due);
        measured.timeline.delivered(now, took);
        if measured.counts(due) {
            measured.delivered_us.saturating_record(took.as_micros() as u64);
        }
        Some(message.seq)
    }
}
