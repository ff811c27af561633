//! A person with a phone: comes, catches up, writes, reads what comes, confirms it, and goes once everything is settled.

use std::time::{Duration, Instant};

use tidings_wire::{
    ConversationId, ErrorCode, Kind, Seq, UserId, Uv,
    archive::{self, Archived},
    frame,
    frames::{
        Changed, ChangedConversation, Delivered, ErrorFrame, Fetch, FetchOrder, Fetched, Message, Read, ReceiptOk,
        Resume, Sent, TraceId,
    },
};

use super::{
    Came,
    connection::NOTHING_KNOWN,
    sending::{Payload, append_traced},
};
use crate::Failure;

/// FETCHes of a person under way.
const FETCHES: usize = 4;
/// Request ids of FETCHes, from here on.
const FETCH_IDS: u64 = 1 << 32;
/// How long a person waits whose FETCH came at a bad time.
const PATIENCE: Duration = Duration::from_millis(10);

/// A friend, and what was said.
#[derive(Debug)]
pub struct Talk {
    conversation: ConversationId,
    peer: UserId,
    /// Messages of this person's, by when they were due; their numbers begin at 1.
    written: Vec<Instant>,
    /// The last message that is known to be there, and every one up to which all are here.
    head: u64,
    known: u64,
    /// Those beyond `known` that are here.
    beyond: Vec<u64>,
    /// The last one that was pushed over this connection.
    pushed: u64,
    /// How far this person told the server that it is, and how far the server said that it knows.
    told: u64,
    heard: u64,
    fetching: bool,
}

/// Where a person is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// Not connected.
    Away,
    /// Connecting, since it was due.
    Coming(Instant),
    /// Has the list, and stays until then at least.
    Here(Instant),
}

/// A person.
#[derive(Debug)]
pub struct Person {
    /// Where.
    pub whereabouts: Whereabouts,
    /// The cursor.
    pub resume: Resume,
    /// Friends.
    pub talks: Vec<Talk>,
    /// What is to be written when the list is there: when it was due, and to which friend.
    waiting: Vec<(Instant, usize)>,
    unanswered: u64,
    patient_until: Instant,
}

/// Something to be measured.
#[derive(Clone, Copy, Debug)]
pub enum Felt {
    /// From being due to come to having the list.
    Came(Instant),
    /// From being due to SENT.
    Sent(Instant),
    /// A message was pushed; it was due so long after the beginning.
    Pushed(Duration),
    /// Something that must not be.
    Wrong,
}

impl Talk {
    fn new(conversation: ConversationId, peer: UserId) -> Self {
        let (written, beyond) = (Vec::new(), Vec::new());
        Self { conversation, peer, written, head: 0, known: 0, beyond, pushed: 0, told: 0, heard: 0, fetching: false }
    }

    /// How many messages are here without a gap, and how many this person wrote.
    pub fn count(&self) -> (u64, u64) {
        (self.known, self.written.len() as u64)
    }

    fn have(&mut self, seq: u64) {
        self.head = self.head.max(seq);
        if seq > self.known && !self.beyond.contains(&seq) {
            self.beyond.push(seq);
        }
        while let Some(at) = self.beyond.iter().position(|beyond| *beyond == self.known + 1) {
            self.beyond.swap_remove(at);
            self.known += 1;
        }
    }

    fn lacks_something(&self) -> bool {
        self.known < self.head && !self.fetching
    }

    /// Asks for what is missing. The request's id is the talk's place, from [`FETCH_IDS`] on.
    fn fetch(&mut self, at: usize, out: &mut Vec<u8>) {
        self.fetching = true;
        let (conversation, from, upto) = (self.conversation, Seq(self.known + 1), Seq(self.head));
        let fetch = Fetch { conversation, from, upto, limit: 0, order: FetchOrder::Upward };
        frame::append(out, FETCH_IDS + at as u64, &fetch);
    }

    /// Confirms what is here.
    fn confirm(&mut self, out: &mut Vec<u8>) {
        if self.told < self.known {
            self.told = self.known;
            let (conversation, upto) = (self.conversation, Seq(self.known));
            frame::append(out, 2, &Delivered { conversation, upto });
            frame::append(out, 3, &Read { conversation, upto, ordinal: self.known });
        }
    }

    fn is_settled(&self) -> bool {
        !self.fetching && self.known == self.head && self.heard >= self.told
    }
}

impl Person {
    /// With friends, by conversation and id.
    pub fn new(friends: impl Iterator<Item = (ConversationId, UserId)>) -> Self {
        let talks = friends.map(|(conversation, peer)| Talk::new(conversation, peer)).collect();
        Self {
            whereabouts: Whereabouts::Away,
            resume: NOTHING_KNOWN,
            talks,
            waiting: Vec::new(),
            unanswered: 0,
            patient_until: Instant::now(),
        }
    }

    /// Is on the way: what was pushed over an earlier connection, and what was asked for there, no longer counts.
    pub fn come(&mut self, due: Instant) {
        self.whereabouts = Whereabouts::Coming(due);
        for talk in &mut self.talks {
            (talk.pushed, talk.fetching) = (0, false);
            talk.told = talk.heard;
        }
    }

    /// Wants to write to a friend. At once, if the list is there.
    pub fn write(
        &mut self,
        due: Instant,
        since: Duration,
        friend: usize,
        payload: &Payload,
        out: Option<&mut Vec<u8>>,
    ) {
        match (self.whereabouts, out) {
            (Whereabouts::Here(_), Some(out)) => self.send(due, since, friend, payload, out),
            _ => self.waiting.push((due, friend)),
        }
    }

    fn send(&mut self, due: Instant, since: Duration, friend: usize, payload: &Payload, out: &mut Vec<u8>) {
        let talk = &mut self.talks[friend];
        talk.written.push(due);
        self.unanswered += 1;
        let id = talk.written.len() as u64;
        let mut trace = [0; 16];
        trace[..8].copy_from_slice(&(since.as_micros() as u64).to_le_bytes());
        append_traced((talk.conversation, talk.peer), id, TraceId(trace), payload, out);
    }

    /// Whether this person may go now.
    pub fn may_go(&self, now: Instant) -> bool {
        matches!(self.whereabouts, Whereabouts::Here(until) if until <= now)
            && self.unanswered == 0
            && self.waiting.is_empty()
            && self.talks.iter().all(Talk::is_settled)
    }

    fn talk(&mut self, conversation: ConversationId) -> Result<&mut Talk, Failure> {
        let found = self.talks.iter_mut().find(|talk| talk.conversation == conversation);
        found.ok_or_else(|| "a frame of a conversation that is nobody's".into())
    }

    /// A frame came. `begin` is when messages' times are counted from, `stay` how long this person stays.
    ///
    /// # Errors
    /// If the server refuses something, or sends what cannot be read.
    pub fn heard(
        &mut self,
        came: &mut Came<'_, '_>,
        (begin, stay): (Instant, Duration),
        payload: &Payload,
        felt: &mut dyn FnMut(Felt),
    ) -> Result<(), Failure> {
        let odd = |error: tidings_wire::WireError| format!("a frame cannot be read: {error}");
        match came.kind() {
            Some(Kind::Changed) => {
                let changed: Changed = came.read()?;
                let entries = came.frame.var(changed.entries).map_err(odd)?;
                let step = (changed.entry_len as usize).max(ChangedConversation::FIRST_LEN);
                for entry in entries.chunks_exact(step) {
                    let entry: ChangedConversation = archive::read(entry).map_err(odd)?;
                    let talk = self.talk(entry.conversation)?;
                    talk.head = talk.head.max(entry.head.0);
                }
                if changed.next != Uv(0) {
                    return Err("more conversations changed than fit a page: fewer friends".into());
                }
                self.resume = Resume { lineage: changed.lineage, uv: changed.uv, ..NOTHING_KNOWN };
                if let Whereabouts::Coming(due) = self.whereabouts {
                    felt(Felt::Came(due));
                    self.whereabouts = Whereabouts::Here(due + stay);
                    for (due, friend) in std::mem::take(&mut self.waiting) {
                        self.send(due, due - begin, friend, payload, came.out);
                    }
                }
            }
            Some(Kind::Sent) => {
                let sent: Sent = came.read()?;
                self.unanswered = self.unanswered.checked_sub(1).ok_or("one SENT more than was sent")?;
                let talk = self.talk(sent.conversation)?;
                talk.have(sent.seq.0);
                match talk.written.get(sent.client_msg_id.0.wrapping_sub(1) as usize) {
                    Some(due) => felt(Felt::Sent(*due)),
                    None => felt(Felt::Wrong),
                }
                talk.confirm(came.out);
            }
            Some(Kind::Message) => {
                let message: Message = came.read()?;
                if !came.frame.var(message.payload).is_ok_and(|bytes| payload.is(bytes)) {
                    felt(Felt::Wrong);
                }
                let talk = self.talk(message.conversation)?;
                if came.frame.header().request_id == 0 {
                    let micros = message.trace.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                    felt(Felt::Pushed(Duration::from_micros(micros)));
                    if message.seq.0 <= talk.pushed {
                        felt(Felt::Wrong);
                    }
                    talk.pushed = message.seq.0;
                }
                talk.have(message.seq.0);
                talk.confirm(came.out);
            }
            Some(Kind::Fetched) => {
                let fetched: Fetched = came.read()?;
                self.talk(fetched.conversation)?.fetching = false;
            }
            Some(Kind::ReceiptOk) => {
                let ok: ReceiptOk = came.read()?;
                let talk = self.talk(ok.conversation)?;
                talk.heard = talk.heard.max(ok.delivered.0.min(ok.read.0));
            }
            Some(Kind::Error) if came.read::<ErrorFrame>()?.code == ErrorCode::Busy as u16 => {
                let at = came.frame.header().request_id.wrapping_sub(FETCH_IDS) as usize;
                self.talks.get_mut(at).ok_or("something else than a FETCH was refused")?.fetching = false;
                self.patient_until = came.now + PATIENCE;
            }
            _ => came.no_refusal()?,
        }
        Ok(())
    }

    /// Asks for what is missing, as much at a time as is polite.
    pub fn catch_up(&mut self, now: Instant, out: &mut Vec<u8>) {
        let under_way = self.talks.iter().filter(|talk| talk.fetching).count();
        let lacking = self.talks.iter_mut().enumerate().filter(|(_, talk)| talk.lacks_something());
        if now >= self.patient_until {
            lacking.take(FETCHES.saturating_sub(under_way)).for_each(|(at, talk)| talk.fetch(at, out));
        }
    }

    /// Whether something is missing that could be asked for.
    pub fn lacks_something(&self) -> bool {
        matches!(self.whereabouts, Whereabouts::Here(_)) && self.talks.iter().any(Talk::lacks_something)
    }
}
