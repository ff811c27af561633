//! What a session knows of one conversation.

use std::collections::{BTreeMap, VecDeque};

use tidings_wire::{
    ClientMsgId, ConversationId, Seq, Timestamp, UserId,
    frames::{MessageFlags, Timer, about::control},
};

use crate::{
    config::Time,
    content::Content,
    event::{Message, Preferences, Watermarks},
    group,
};

/// Messages that wait for one before them; more are dropped, and fetched later.
pub(crate) const AHEAD_MAX: usize = 256;

/// A message that is not durable yet.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: ClientMsgId,
    pub(crate) content: Content,
    pub(crate) in_flight: bool,
}

impl Outgoing {
    /// What it takes of [`crate::Config::outbox_bytes`].
    pub(crate) fn cost(&self) -> usize {
        size_of::<Self>() + self.content.len()
    }
}

/// One conversation.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) id: ConversationId,
    /// One to one: the other member.
    pub(crate) peer: UserId,
    /// The last message released; the next is this + 1.
    pub(crate) last: Seq,
    /// The last message known to exist.
    pub(crate) head: Seq,
    /// Whether `last` means something: until the server told of this conversation it does not.
    pub(crate) placed: bool,
    /// Messages past `last + 1`.
    pub(crate) ahead: BTreeMap<Seq, Message>,
    /// A FETCH for the gap is under way, or its last messages come with a list.
    pub(crate) fetching: bool,
    /// The list that they come with.
    pub(crate) tail_of: Option<u64>,
    /// The server takes no READ before.
    pub(crate) read_rests_until: Option<Time>,
    /// The gap could not be filled: it rests until then, longer each time.
    pub(crate) gap_retry: Option<Time>,
    pub(crate) gap_failures: u32,
    /// Own messages, oldest first.
    pub(crate) outbox: VecDeque<Outgoing>,
    /// The last own attempt that was acknowledged or put in flight on this connection; 0: none yet.
    pub(crate) prev: ClientMsgId,
    /// The last own attempt that was acknowledged on this connection.
    pub(crate) acked: ClientMsgId,
    /// An attempt was refused: nothing is sent before all answers are in and this moment has come.
    pub(crate) recovering: Option<Time>,
    /// Messages that may be on their way: one right after a refusal for now, one more with every answer.
    pub(crate) allowed: usize,
    /// What this device has and the user read, to be told.
    pub(crate) own: Watermarks,
    /// What was told on this connection.
    pub(crate) told: Watermarks,
    /// What the server has made durable.
    pub(crate) durable: Watermarks,
    /// What any device of the user has, as the server said last.
    pub(crate) delivered: Seq,
    /// How far the other member is.
    pub(crate) peers: Watermarks,
    /// Messages with content that are known to exist.
    pub(crate) ordinal: u64,
    /// How many of them the user has seen: read, written, or older than its membership.
    pub(crate) seen: u64,
    /// The user hides it up to this message.
    pub(crate) hidden: Seq,
    /// What else the user wants of it.
    pub(crate) preferences: Preferences,
    /// How often the user said of messages that it does not want to see them any more, as this device heard.
    pub(crate) forgotten: u32,
    /// What it does not want to see of what was not released yet.
    pub(crate) forgotten_ahead: Vec<(Seq, Seq)>,
    /// A group's title, or the other member's name, as far as it is known.
    pub(crate) name: String,
    /// Seconds after which messages disappear that are written after the last one released; 0: never.
    pub(crate) timer: u32,
    /// Messages with content up to the last one released, if that is known.
    counted: Option<u64>,
    /// The user wrote since, and the server did not say whether that counts.
    wrote_uncounted: bool,
    /// It is on the list of conversations that may have something to send.
    pub(crate) eager: bool,
}

impl Conversation {
    pub(crate) fn new(id: ConversationId, peer: UserId) -> Self {
        Self {
            id,
            peer,
            last: Seq(0),
            head: Seq(0),
            placed: false,
            ahead: BTreeMap::new(),
            fetching: false,
            tail_of: None,
            read_rests_until: None,
            gap_retry: None,
            gap_failures: 0,
            outbox: VecDeque::new(),
            prev: ClientMsgId(0),
            acked: ClientMsgId(0),
            recovering: None,
            allowed: usize::MAX,
            own: Watermarks::default(),
            told: Watermarks::default(),
            durable: Watermarks::default(),
            delivered: Seq(0),
            peers: Watermarks::default(),
            ordinal: 0,
            seen: 0,
            hidden: Seq(0),
            preferences: Preferences::default(),
            forgotten: 0,
            forgotten_ahead: Vec::new(),
            name: String::new(),
            timer: 0,
            counted: None,
            wrote_uncounted: false,
            eager: false,
        }
    }

    /// The next message that is here, released to `user`.
    pub(crate) fn release_next(&mut self, user: UserId) -> Option<Message> {
        let mut next = self.ahead.remove(&self.last.next())?;
        self.last = next.seq;
        self.learn_name(&next, user);
        self.empty_forgotten(&mut next);
        self.keep_time(&mut next, user);
        let has_content = next.control.has_content() && !next.is_withheld();
        if next.ordinal > 0 || next.ts > Timestamp(0) {
            // Since the last whose ordinal was told all content is the user's.
            if std::mem::take(&mut self.wrote_uncounted) {
                let counts = has_content && next.sender != user;
                self.seen = self.seen.max(next.ordinal.saturating_sub(u64::from(counts)));
            }
            self.counted = Some(next.ordinal);
        } else {
            // SENT that answers a repeat does not say it, and has no time: what was written may be withheld, and not count.
            let before = if next.seq == Seq(1) { Some(0) } else { self.counted };
            self.wrote_uncounted |= has_content;
            self.seen = self.seen.max(before.filter(|_| has_content).unwrap_or(0));
            next.ordinal = before.filter(|_| !has_content).unwrap_or(0);
            self.counted = before.filter(|_| !has_content);
        }
        self.ordinal = self.ordinal.max(next.ordinal);
        // Of what was read while nobody counted only the number is known.
        let is_read = next.seq <= self.own.read;
        if is_read || (has_content && next.sender == user) || group::takes_in(&next, user) {
            self.seen = self.seen.max(next.ordinal);
        }
        Some(next)
    }

    /// Messages disappear after the time that was set before them. The server says when, but not of what this device sent.
    fn keep_time(&mut self, message: &mut Message, user: UserId) {
        if message.control == control::TIMER {
            self.timer = Timer::from_bytes(&message.body).map_or(0, |timer| timer.seconds);
            return;
        }
        // What is about another message goes with that.
        if message.sender == user && message.control.has_content() && self.timer > 0 && message.ts > Timestamp(0) {
            let timed = Timestamp(message.ts.0 + u64::from(self.timer) * 1_000_000);
            let asked = Some(message.expires_at).filter(|asked| *asked > Timestamp(0));
            message.expires_at = asked.map_or(timed, |asked| asked.min(timed));
        }
    }

    /// A message says what the conversation is called, if it is the other member's, or gives a group its title.
    fn learn_name(&mut self, message: &Message, user: UserId) {
        if !self.id.is_group() {
            // What the server ended for somebody says who that was when it began, if it still knows.
            let says_it = message.sender != user && !message.is_withheld() && !message.was_aborted();
            if says_it && !message.sender_name.is_empty() && self.name != message.sender_name {
                self.name.clone_from(&message.sender_name);
            }
        } else if let Some(title) = group::title_of(message) {
            self.name = title;
        }
    }

    /// Messages up to `upto` cannot be had.
    pub(crate) fn pass(&mut self, upto: Seq) {
        (self.last, self.counted, self.wrote_uncounted) = (upto, None, false);
    }

    /// The user has read up to a message, up to which so many have content.
    pub(crate) fn read(&mut self, upto: Seq, ordinal: u64) {
        self.own.read = self.own.read.max(upto);
        let read = if upto >= self.head { self.ordinal } else { ordinal.min(self.ordinal) };
        self.own.ordinal = self.own.ordinal.max(read);
        self.seen = self.seen.max(read);
    }

    /// How far the user is, on all devices.
    pub(crate) fn everywhere(&self) -> Watermarks {
        Watermarks { delivered: self.own.delivered.max(self.delivered), ..self.own }
    }

    /// Messages with content that the user has not seen.
    pub(crate) fn unread(&self) -> u64 {
        self.ordinal.saturating_sub(self.seen)
    }

    /// Messages up to this one are not to be shown any more: they are not waited for either.
    pub(crate) fn clear(&mut self, upto: Seq) {
        self.preferences.cleared = self.preferences.cleared.max(upto);
        if self.last < upto {
            self.pass(upto);
            self.ahead = self.ahead.split_off(&upto.next());
        }
    }

    /// The user does not want to see these any more. What has not been released yet comes without what it says.
    pub(crate) fn forget(&mut self, first: Seq, last: Seq) {
        if last > self.last && !self.forgotten_ahead.contains(&(first, last)) {
            self.forgotten_ahead.push((first, last));
        }
    }

    /// Takes what a message says out of it if the user does not want to see it any more.
    fn empty_forgotten(&mut self, message: &mut Message) {
        if self.forgotten_ahead.is_empty() {
            return;
        }
        if self.forgotten_ahead.iter().any(|(first, last)| (*first..=*last).contains(&message.seq)) {
            message.flags |= MessageFlags::FORGOTTEN;
            if message.control.has_content() || message.control.is_about_target() {
                message.flags |= MessageFlags::EMPTIED;
                (message.body, message.payload) = (Vec::new(), Vec::new());
            }
        }
        self.forgotten_ahead.retain(|(_, last)| *last > message.seq);
    }

    /// True if the user hides it. What somebody writes who is blocked does not show it again.
    pub(crate) fn is_hidden(&self) -> bool {
        self.hidden > Seq(0) && (self.head <= self.hidden || self.preferences.blocked)
    }

    /// True if messages are known to exist that are not here.
    pub(crate) fn has_gap(&self) -> bool {
        self.placed && self.last < self.head
    }

    /// The connection is gone: what was under way on it is not any more.
    pub(crate) fn disconnected(&mut self) {
        (self.fetching, self.tail_of, self.read_rests_until) = (false, None, None);
        (self.gap_retry, self.gap_failures) = (None, 0);
        (self.recovering, self.allowed) = (None, usize::MAX);
        (self.prev, self.acked) = (ClientMsgId(0), ClientMsgId(0));
        self.told = self.durable;
        self.outbox.iter_mut().for_each(|message| message.in_flight = false);
    }

    /// The server's history is another: what was received and told means nothing there.
    pub(crate) fn forget_lineage(&mut self) {
        let fresh = Self::new(self.id, self.peer);
        let outbox = std::mem::take(&mut self.outbox);
        *self = Self { outbox, eager: self.eager, ..fresh };
    }

    /// When sending goes on after a refusal, if only time stands in the way.
    pub(crate) fn recovers_at(&self) -> Option<Time> {
        self.recovering.filter(|_| self.in_flight() == 0)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.outbox.iter().filter(|message| message.in_flight).count()
    }
}
