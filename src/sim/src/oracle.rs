//! What must be true, whatever happens. The numbers are those of the invariants in `docs/architecture.md`.

mod authors;
mod blocks;
mod durable;
mod follower;
mod forgotten;
mod history;
mod presence;
mod receipts;
mod roster;
mod said;
mod streamed;
mod tags;

use std::collections::{BTreeMap, BTreeSet};

use tidings_client::{ConversationId, ErrorCode, Loss, Message, Seq, Timestamp, UserId, Watermarks};

pub use authors::By;
pub use durable::Durable;
pub use follower::Follower;
use forgotten::Forgotten;
pub use history::{Asked, Reading};
use presence::{People, Privacy};
pub use roster::Roster;
use said::{Line, SaidAbout, Shown};
pub(crate) use tags::tag_of;
use tags::tag_of_message;
pub use tags::{identity, payload};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    /// What was seen.
    pub text: String,
}

/// A device, by its place in the world.
pub type DeviceAt = usize;

/// What is known of a message that a device wanted to send.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    conversation: usize,
    len: usize,
    /// The number that the device was told.
    acknowledged: Option<Seq>,
    /// The device was told that it can never be sent, and that it is not there.
    refused: bool,
    /// It was told so at some time, also if its device was set back after that and asks again.
    ever_refused: bool,
    /// It is about another message, or about all that are to come.
    is_about: bool,
    /// The message that it withdraws.
    erases: Option<Seq>,
}

impl Attempt {
    /// Of something that the node wrote for somebody.
    fn of_node(conversation: usize) -> Self {
        let (acknowledged, refused, ever_refused) = (None, false, false);
        Self { conversation, len: 0, acknowledged, refused, ever_refused, is_about: true, erases: None }
    }
}

/// A message, as the first who saw it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    tag: u64,
    ts: Timestamp,
}

/// A conversation as the world knows it.
#[derive(Debug, Default)]
struct Conversation {
    id: ConversationId,
    /// The two; of a group, whoever may ever be in it.
    members: Vec<UserId>,
    messages: BTreeMap<Seq, Known>,
    by_tag: BTreeMap<u64, Seq>,
    /// The most that any device of each member was ever given, or read.
    facts: Vec<Watermarks>,
    /// The last of the other's messages that any device of each member was ever given.
    heard: Vec<Seq>,
    /// The most that each member read while it may have let others know.
    read_openly: Vec<Seq>,
}

/// What one device was given, as its application stored it.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// It must be given every message from the first.
    pub everything: bool,
    /// It came at the end, to see what is there.
    pub audits: bool,
    last: BTreeMap<usize, Seq>,
    /// What the device was shown of the other member's watermarks.
    shown: BTreeMap<usize, Watermarks>,
    /// What it was told that its user does not want to see any more.
    forgotten: BTreeSet<(ConversationId, Seq)>,
    /// How much it was told of messages that grow.
    grown: BTreeMap<(ConversationId, Seq), usize>,
}

impl Given {
    /// Nothing yet.
    pub fn new(everything: bool, audits: bool) -> Self {
        Self { everything, audits, ..Self::default() }
    }

    /// The last message of a conversation.
    pub fn last(&self, at: usize) -> Option<Seq> {
        self.last.get(&at).copied()
    }
}

/// The judge.
#[derive(Debug)]
pub struct Oracle {
    conversations: Vec<Conversation>,
    by_id: BTreeMap<ConversationId, usize>,
    attempts: BTreeMap<u64, Attempt>,
    /// Who attempted each message.
    authors: BTreeMap<u64, Vec<By>>,
    /// What devices were given that came at the end: what is really there.
    audited: BTreeMap<(ConversationId, Seq), u64>,
    /// What is on the disk for good.
    pub durable: Durable,
    privacy: BTreeMap<UserId, Privacy>,
    people: People,
    /// What users do not want to see any more, durable or not.
    to_forget: Forgotten,
    /// Retention may drop messages: a device may be told that some are lost.
    may_lose: bool,
    /// What the node's clock says, unless it jumps in this world.
    pub wall: Option<Timestamp>,
    violation: Option<Violation>,
}

impl Oracle {
    /// A judge of a world with so many shards, in which messages may be dropped, or not.
    pub fn new(shards: u32, may_lose: bool) -> Self {
        Self {
            conversations: Vec::new(),
            by_id: BTreeMap::new(),
            attempts: BTreeMap::new(),
            authors: BTreeMap::new(),
            audited: BTreeMap::new(),
            durable: Durable::new(Follower::new(shards)),
            privacy: BTreeMap::new(),
            people: People::default(),
            to_forget: Forgotten::default(),
            may_lose,
            wall: None,
            violation: None,
        }
    }

    /// A node has applied everything that is durable: what it knows is what the follower knows.
    pub fn compare(&mut self, who: &str, digests: &BTreeMap<u16, u64>) {
        let expected = self.durable.follower.digests();
        let differs = (0..=u16::MAX).find(|shard| digests.get(shard) != expected.get(shard));
        if let Some(shard) = differs.filter(|_| *digests != expected) {
            self.violate("I17", format!("shard {shard} of {who} is not what its records make of it"));
        }
    }

    /// A conversation between two users, or a group of whom ever; its place.
    pub fn add(&mut self, id: ConversationId, members: Vec<UserId>) -> usize {
        let at = self.conversations.len();
        let (facts, heard) = (vec![Watermarks::default(); members.len()], vec![Seq(0); members.len()]);
        let read_openly = heard.clone();
        self.conversations.push(Conversation { id, members, facts, heard, read_openly, ..Conversation::default() });
        self.by_id.insert(id, at);
        at
    }

    /// The place of a conversation.
    pub fn place(&self, id: ConversationId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Conversations that the world knows.
    pub fn conversations(&self) -> usize {
        self.conversations.len()
    }

    /// True of a message that somebody wants to send, or wanted.
    pub fn knows(&self, tag: u64) -> bool {
        self.attempts.contains_key(&tag)
    }

    /// A user sends what it likes, and says that it has and has read whatever it likes: how far it is nobody but the log knows.
    pub fn is_hostile(&mut self, user: UserId) {
        self.durable.hostile = Some(user);
    }

    /// A conversation's id.
    pub fn id(&self, at: usize) -> ConversationId {
        self.conversations[at].id
    }

    /// True if a user may be given a message: it is in the conversation, or was in the group when that lets it read the message.
    pub fn may_see(&self, at: usize, user: UserId, seq: Seq) -> bool {
        let id = self.conversations[at].id;
        match id.is_group() {
            true => self.durable.roster(id).is_some_and(|roster| roster.may_read(user, seq)),
            false => self.member(at, user).is_some(),
        }
    }

    /// The last message that a user must have; `None` if the conversation is not its.
    fn due(&self, at: usize, user: UserId) -> Option<Seq> {
        let id = self.conversations[at].id;
        if id.is_group() {
            return self.durable.roster(id)?.reach(user);
        }
        self.member(at, user).map(|_| self.head(at))
    }

    /// A conversation of which a device counts something else as unread than the log says: its place, what the device says, and what is true.
    pub fn miscounted(&self, user: UserId, unread: impl Fn(ConversationId) -> u64) -> Option<(usize, u64, u64)> {
        let mine = (0..self.conversations.len()).filter_map(|at| Some((at, self.due(at, user)?)));
        let counts = mine.map(|(at, due)| {
            let id = self.conversations[at].id;
            (at, unread(id), self.durable.unread(id, user, due))
        });
        counts.into_iter().find(|(_, said, true_one)| said != true_one)
    }

    /// The last message that anybody was given, or that is durable.
    pub fn head(&self, at: usize) -> Seq {
        let known = self.conversations[at].messages.last_key_value().map_or(Seq(0), |(seq, _)| *seq);
        known.max(self.durable.head(self.conversations[at].id))
    }

    /// The promise that was broken first, if one was.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// A promise is broken.
    pub fn violate(&mut self, invariant: &'static str, text: String) {
        self.violation.get_or_insert(Violation { invariant, text });
    }

    fn check(&mut self, holds: bool, invariant: &'static str, text: impl FnOnce() -> String) {
        if !holds {
            self.violate(invariant, text());
        }
    }

    /// A device wants to send.
    pub fn put(&mut self, tag: u64, conversation: usize, len: usize) {
        self.put_attempt(tag, conversation, len, None);
    }

    /// A device wants to say something about another message, with so many bytes of words, or to withdraw one.
    pub fn put_about(&mut self, tag: u64, conversation: usize, len: usize, erases: Option<Seq>) {
        self.put_attempt(tag, conversation, len, erases);
        self.attempts.entry(tag).and_modify(|attempt| attempt.is_about = true);
    }

    /// True of what is about another message, or about all that are to come.
    pub fn is_about(&self, tag: u64) -> bool {
        self.attempts.get(&tag).is_some_and(|attempt| attempt.is_about)
    }

    fn put_attempt(&mut self, tag: u64, conversation: usize, len: usize, erases: Option<Seq>) {
        let (acknowledged, refused, ever_refused, is_about) = (None, false, false, false);
        let attempt = Attempt { conversation, len, acknowledged, refused, ever_refused, is_about, erases };
        let before = self.attempts.insert(tag, attempt);
        assert!(before.is_none(), "tags are given once");
    }

    /// A device was told that its message is durable.
    pub fn sent(&mut self, device: DeviceAt, tag: u64, conversation: ConversationId, seq: Seq) {
        let Some(attempt) = self.attempts.get_mut(&tag) else {
            return self.violate("I3", format!("device {device} is told of {tag:x}, which nobody sent"));
        };
        let at = attempt.conversation;
        // Somebody else may have withdrawn it before: then that is the answer.
        let erasure = attempt.erases.and_then(|target| self.durable.said(conversation)?.erasure(target));
        if erasure == Some(seq) && self.durable.tag(conversation, seq) != Some(tag) {
            return;
        }
        let before = attempt.acknowledged.replace(seq);
        let known = self.conversations[at].messages.get(&seq).map(|known| known.tag);
        let durable = self.durable.tag(conversation, seq);
        self.check(self.conversations[at].id == conversation, "I9", || format!("{tag:x} was sent elsewhere"));
        self.check(before.is_none_or(|before| before == seq), "I3", || {
            format!("{tag:x} was acknowledged as {before:?} and as {seq:?} of conversation {at}")
        });
        self.check(known.is_none_or(|known| known == tag), "I3", || {
            format!("{tag:x} is acknowledged as {seq:?} of conversation {at}, which is {:x}", known.unwrap_or(0))
        });
        self.check(durable == Some(tag), "I1", || {
            format!("device {device} is told that {tag:x} is durable as {seq:?} of conversation {at}, and it is not")
        });
    }

    /// A device was told that its message can never be sent.
    pub fn refused(&mut self, tag: u64, code: ErrorCode) {
        // What was sent so long ago that its answer is forgotten may be there.
        if let Some(attempt) = self.attempts.get_mut(&tag).filter(|_| code != ErrorCode::Stale) {
            (attempt.refused, attempt.ever_refused) = (true, true);
        }
    }

    /// True if a device was told that its message can never be sent, and not only that it is old.
    pub fn was_refused(&self, tag: u64) -> bool {
        self.attempts.get(&tag).is_some_and(|attempt| attempt.ever_refused)
    }

    /// A device was set back to when it had not been told: it asks again, and may be answered otherwise.
    pub fn asks_again(&mut self, tag: u64) {
        if let Some(attempt) = self.attempts.get_mut(&tag) {
            attempt.refused = false;
        }
    }

    /// Who a user is in a conversation.
    fn member(&self, at: usize, user: UserId) -> Option<usize> {
        self.conversations[at].members.iter().position(|member| *member == user)
    }

    /// A message as a device was given it, in its turn or from history. Its place, if it is right.
    fn look(
        &mut self,
        device: DeviceAt,
        user: UserId,
        (audits, told): (bool, bool),
        message: &Message,
    ) -> Option<usize> {
        let (seq, emptied) = (message.seq, message.is_emptied());
        let tag = match self.durable.tag(message.conversation, seq) {
            Some(durable) if emptied => durable,
            _ => tag_of_message(message),
        };
        let Some(at) = self.place(message.conversation).filter(|at| self.may_see(*at, user, seq)) else {
            self.violate(
                "I9",
                format!("device {device} is given {tag:x}, {seq:?} of a conversation that it is not in"),
            );
            return None;
        };
        let of_stream = self.words_of_stream((device, user), audits, message);
        let unknown = || self.durable.streams.is_of_node(tag).then(|| Attempt::of_node(at));
        let Some(attempt) = self.attempts.get(&tag).copied().or_else(unknown) else {
            self.violate("I3", format!("device {device} is given {tag:x} as {seq:?}, which nobody sent"));
            return None;
        };
        let words = match of_stream {
            _ if emptied => Vec::new(),
            Some(words) => words,
            None if attempt.len == 0 => Vec::new(),
            None => payload(tag, attempt.len),
        };
        let right = attempt.conversation == at && words == message.payload;
        let said = self.durable.said(message.conversation);
        let shown = said.map_or(Shown::Whole, |said| said.shown(seq, self.wall));
        let withheld = self.check_withheld(device, user, message);
        self.check_forgotten(user, (audits, told), message);
        // What was sent before it was withdrawn may come after that; but not at the end.
        let held_back = match shown {
            _ if withheld || message.is_forgotten() => true,
            Shown::Whole => !emptied,
            Shown::Emptied => emptied || !audits,
            Shown::Either => true,
        };
        self.check(held_back, "I19", || {
            format!("device {device} is given {seq:?} of conversation {at}, emptied {emptied}, and should be shown {shown:?}")
        });
        self.check_author(device, tag, message);
        self.check(right, "I12", || format!("device {device} is given {seq:?} of conversation {at} with other bytes"));
        self.check(!attempt.refused, "I3", || {
            format!("{tag:x} was refused for good and is {seq:?} of conversation {at}")
        });
        let told = attempt.acknowledged;
        self.check(told.is_none_or(|told| told == seq), "I3", || {
            format!("{tag:x} was acknowledged as {told:?} and is {seq:?} of conversation {at}")
        });
        let durable = self.durable.tag(message.conversation, seq);
        self.check(durable == Some(tag), "I1", || {
            format!("device {device} is given {tag:x} as {seq:?} of conversation {at}, and that is not durable")
        });
        // What a repeat was answered with does not say it.
        let (says, ordinal) = (message.ordinal, self.durable.ordinal(message.conversation, seq));
        self.check(says == ordinal || message.sender == user && says == 0, "I2", || {
            format!("{seq:?} of conversation {at} is message {says} with content to device {device}, and {ordinal} in the log")
        });
        if audits {
            self.audited.insert((message.conversation, seq), tag);
        }
        let conversation = &mut self.conversations[at];
        let twice = *conversation.by_tag.entry(tag).or_insert(seq);
        let known = *conversation.messages.entry(seq).or_insert(Known { tag, ts: message.ts });
        self.check(twice == seq, "I3", || format!("{tag:x} is both {twice:?} and {seq:?} of conversation {at}"));
        self.check(known.tag == tag, "I4", || {
            format!("{seq:?} of conversation {at} is {:x} to some and {tag:x} to device {device}", known.tag)
        });
        self.check_time(at, seq, message.ts);
        Some(at)
    }

    /// Times never go back along a conversation. Own messages may come without one.
    fn check_time(&mut self, at: usize, seq: Seq, ts: Timestamp) {
        if ts == Timestamp(0) {
            return;
        }
        let messages = &mut self.conversations[at].messages;
        if let Some(known) = messages.get_mut(&seq).filter(|known| known.ts == Timestamp(0)) {
            known.ts = ts;
        }
        let before = messages.range(..seq).rev().map(|(_, known)| known.ts).find(|ts| *ts > Timestamp(0));
        let after = messages.range(seq.next()..).map(|(_, known)| known.ts).find(|ts| *ts > Timestamp(0));
        let same = messages[&seq].ts;
        let right = same == ts && before.is_none_or(|before| before <= ts) && after.is_none_or(|after| ts <= after);
        self.check(right, "I2", || {
            format!(
                "{seq:?} of conversation {at} has time {ts:?} between {before:?} and {after:?}, and once had {same:?}"
            )
        });
    }

    /// A device was given the next message of a conversation. The conversation's place and the tag.
    pub fn seen(
        &mut self,
        device: DeviceAt,
        user: UserId,
        given: &mut Given,
        message: &Message,
    ) -> Option<(usize, u64)> {
        let told = given.forgotten.contains(&(message.conversation, message.seq));
        let at = self.look(device, user, (given.audits, told), message)?;
        let seq = message.seq;
        let last = given.last.insert(at, seq);
        let follows = last.map_or(!given.everything || seq == Seq(1), |last| last.next() == seq);
        self.check(follows, "I2", || format!("device {device} is given {seq:?} of conversation {at} after {last:?}"));
        self.note_taken(at, user, message);
        let durable = self.durable.tag(message.conversation, seq).unwrap_or_default();
        Some((at, durable))
    }

    /// One of two devices that believe to be the same was given a message: what others wrote is judged, but for the order in which it comes.
    pub fn taken(&mut self, (device, user): (DeviceAt, UserId), given: &mut Given, message: &Message) {
        let at = match message.sender == user {
            true => self.place(message.conversation),
            false => self.look(device, user, (false, false), message),
        };
        let Some(at) = at else { return };
        given.last.insert(at, message.seq);
        self.note_taken(at, user, message);
    }

    /// It was told that everything up to a number is gone.
    pub fn passed_over(&mut self, given: &mut Given, conversation: ConversationId, upto: Seq) {
        if let Some(at) = self.place(conversation) {
            given.last.insert(at, upto);
        }
    }

    fn note_taken(&mut self, at: usize, user: UserId, message: &Message) {
        let Some(member) = self.member(at, user) else { return };
        let conversation = &mut self.conversations[at];
        let fact = &mut conversation.facts[member];
        fact.delivered = fact.delivered.max(message.seq);
        if message.sender != user {
            conversation.heard[member] = conversation.heard[member].max(message.seq);
        }
    }

    /// A device was told that messages are gone for good.
    pub fn lost(
        &mut self,
        (device, user): (DeviceAt, UserId),
        given: &mut Given,
        at: usize,
        (from, upto): (Seq, Seq),
        why: Loss,
    ) {
        let last = given.last.insert(at, upto);
        let follows = last.map_or(!given.everything || from == Seq(1), |last| from == last.next());
        // What a start finds after a hole is where a conversation begins for it.
        let (id, durable) = (self.conversations[at].id, &self.durable);
        let goes = |seq| durable.is_dropped_before(id, seq) || durable.went_before(id, seq);
        // What nobody is told any more is where its END was, which may have gone, and is kept no longer.
        let dropped = |seq| self.may_lose && (goes(seq) || durable.is_ended_and_emptied(id, seq));
        // What came while it was no member is not for it, whatever it may read of it later.
        let foreign = |seq| durable.roster(id).is_some_and(|roster| !roster.was_told(user, seq));
        let gone = why == Loss::Damaged || (from.0..=upto.0).map(Seq).all(|seq| dropped(seq) || foreign(seq));
        let place = if gone { String::new() } else { self.durable.whereabouts(id, upto) };
        self.check(gone && follows && from <= upto, "I1", || {
            format!(
                "device {device}, which has {last:?}, is told that {from:?} to {upto:?} of conversation {at} are gone {place}"
            )
        });
    }

    /// True if a device has everything of a user's conversations, or was told that it is gone.
    pub fn has_all(&self, user: UserId, given: &Given) -> bool {
        let mut mine = (0..self.conversations.len()).filter_map(|at| Some((at, self.due(at, user)?)));
        mine.all(|(at, due)| given.last.get(&at).copied().unwrap_or_default() == due)
    }

    /// The conversations of which a device lacks something, and how far it is.
    pub fn missing(&self, user: UserId, given: &Given) -> Vec<(usize, Seq, Seq)> {
        let mine = (0..self.conversations.len()).filter_map(|at| Some((at, self.due(at, user)?)));
        let rows = mine.map(|(at, due)| (at, given.last.get(&at).copied().unwrap_or_default(), due));
        rows.filter(|(_, has, head)| has != head).collect()
    }

    /// At the end: what devices that came last were given is what was ever durable, and that is all that was acknowledged.
    pub fn check_end(&mut self) {
        let mut broken = Vec::new();
        let there = |conversation: ConversationId, seq: Seq, tag: u64| match self.audited.get(&(conversation, seq)) {
            Some(found) => *found == tag,
            None => {
                let roster = self.durable.roster(conversation);
                // Who is hostile tells nobody what it can read.
                let foreign = roster.is_some_and(|roster| !roster.is_readable_by_any_but(self.durable.hostile, seq));
                foreign || self.may_lose && self.durable.is_dropped_before(conversation, seq)
            }
        };
        // What was written to users who do not exist nobody asks for.
        let asked_for = self.durable.messages().filter(|(conversation, ..)| self.place(*conversation).is_some());
        for (conversation, seq, tag) in asked_for {
            if !there(conversation, seq, tag) {
                broken.push(format!("{tag:x} was durable as {seq:?} of {conversation} and is not there at the end"));
            }
        }
        for (tag, attempt) in &self.attempts {
            let conversation = self.conversations[attempt.conversation].id;
            if let Some(seq) = attempt.acknowledged
                && !there(conversation, seq, *tag)
            {
                broken
                    .push(format!("{tag:x} was acknowledged as {seq:?} of {conversation} and is not there at the end"));
            }
        }
        // In a world in which most of what was tried is not allowed, and devices lose the rest, nothing may come of it.
        let refused = self.attempts.values().filter(|attempt| attempt.ever_refused).count();
        if self.messages() == 0 && 2 * refused < self.attempts.len() {
            broken.push("nobody was given a single message".into());
        }
        broken.into_iter().for_each(|text| self.violate("I1", text));
    }

    /// Conversations of a user in which something was said.
    pub fn spoken_in(&self, user: UserId) -> usize {
        (0..self.conversations.len()).filter(|at| self.member(*at, user).is_some() && self.head(*at) > Seq(0)).count()
    }

    /// Durable messages of who does what it may not.
    pub fn hostile_messages(&self) -> usize {
        let of_it = |tag: &u64| {
            self.authors.get(tag).is_some_and(|all| all.iter().any(|by| Some(by.user) == self.durable.hostile))
        };
        self.durable.messages().filter(|(_, _, tag)| of_it(tag)).count()
    }

    /// Messages that somebody knows of.
    pub fn messages(&self) -> usize {
        self.conversations.iter().map(|conversation| conversation.messages.len()).sum()
    }
}
