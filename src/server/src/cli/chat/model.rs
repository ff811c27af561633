//! What a chat window knows: messages in their order, what is on its way, who has what.

use std::collections::BTreeMap;

use super::{
    super::{out::harmless, said::Said},
    command::Command,
    folded::{Folded, Look, Note},
    input::Input,
    people::People,
};
use tidings_client::{
    ClientMsgId, ConversationId, DescribedMember, Event, Group, Message, MessageFlags, Role, Seq, UserId, Watermarks,
    streamed_control,
};

/// Rows that one press of a key scrolls.
const SCROLL: usize = 10;

/// Whether the server can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Not yet.
    Connecting,
    /// Yes.
    Up,
    /// Not any more; it is tried again.
    Lost,
}

/// How far a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// Not ours.
    None,
    /// On its way.
    Pending,
    /// Durable on the server.
    Sent,
    /// On a device of the other's; of all others' in a group.
    Delivered,
    /// Read.
    Read,
}

/// One line of the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Who wrote it.
    pub from: String,
    /// What, with what was said about it.
    pub look: Look,
    /// Its number, once it has one.
    pub seq: Option<Seq>,
    /// When, in microseconds since 1970; 0: not known.
    pub ts_us: u64,
    /// How far it is.
    pub tick: Tick,
    /// Of the last own message in a group: how many of the others have read it, if not all have.
    pub readers: Option<(usize, usize)>,
}

/// The window's state.
#[derive(Debug)]
pub struct Model {
    /// The user's name.
    pub me: String,
    /// The other's, or what the group is called.
    pub peer: String,
    /// What is being typed.
    pub input: Input,
    /// The user wants to leave, and there is something that was not sent.
    pub is_leaving: bool,
    /// Why a line was not taken.
    pub notice: Option<String>,
    /// The message that the user has chosen: what is written answers it.
    pub chosen: Option<Seq>,
    /// The time, in microseconds since 1970.
    pub now_us: u64,
    /// Rows scrolled back from the newest.
    pub scroll: usize,
    /// Rows that there were when the window was drawn.
    pub rows: usize,
    my_id: UserId,
    conversation: ConversationId,
    link: Link,
    messages: BTreeMap<Seq, Message>,
    /// What messages say that are being written.
    growing: BTreeMap<Seq, Vec<u8>>,
    pending: Vec<(ClientMsgId, String)>,
    failed: Vec<String>,
    /// Why nothing is taken for a while.
    delayed: Option<String>,
    peers: Watermarks,
    /// Of a group: which message each other member came with, and how far it is.
    others: BTreeMap<UserId, (Seq, Watermarks)>,
    read: Seq,
    wish: Option<Seq>,
    fetching: bool,
    /// Nothing older than what is here can be had.
    is_whole: bool,
    /// Of a group: something happened since it was described last.
    outdated: bool,
    /// Of a group: how many members it has.
    members: usize,
    /// Of a large group: how many have read a message, and how many there are.
    counted: Option<(Seq, usize, usize)>,
    is_large: bool,
    /// What people do right now.
    pub people: People,
    /// When it was looked last for what disappeared.
    drawn_us: u64,
}

impl Model {
    /// Of a conversation of which nothing is known yet.
    pub fn new(me: &str, peer: &str, my_id: UserId, conversation: ConversationId) -> Self {
        Self {
            me: me.into(),
            peer: peer.into(),
            input: Input::default(),
            is_leaving: false,
            notice: None,
            chosen: None,
            now_us: 0,
            scroll: 0,
            rows: 0,
            my_id,
            conversation,
            link: Link::Connecting,
            messages: BTreeMap::new(),
            growing: BTreeMap::new(),
            pending: Vec::new(),
            failed: Vec::new(),
            delayed: None,
            peers: Watermarks::default(),
            others: BTreeMap::new(),
            read: Seq(0),
            wish: None,
            fetching: false,
            is_whole: false,
            outdated: true,
            members: 0,
            counted: None,
            is_large: false,
            people: People::default(),
            drawn_us: 0,
        }
    }

    /// The conversation.
    pub fn conversation(&self) -> ConversationId {
        self.conversation
    }

    /// Whether the server can be reached.
    pub fn link(&self) -> Link {
        self.link
    }

    /// Why nothing is taken for a while, if that is so.
    pub fn delayed(&self) -> Option<&str> {
        self.delayed.as_deref()
    }

    /// The user wrote something.
    pub fn wrote(&mut self, id: ClientMsgId, text: &str) {
        self.pending.push((id, text.into()));
        self.scroll = 0;
    }

    /// Something happened.
    pub fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected => (self.link, self.outdated) = (Link::Up, true),
            Event::Described(group) if group.conversation == self.conversation => self.on_description(&group),
            Event::Disconnected => {
                (self.link, self.fetching) = (Link::Lost, false);
                self.people.forget();
            }
            Event::Typing { conversation, user, doing } if conversation == self.conversation => {
                self.people.does(user, doing, self.now_us);
            }
            Event::Presence { state, last_seen, .. } => self.people.is(state, last_seen),
            Event::Message(message) | Event::Older(message) if message.conversation == self.conversation => {
                self.pending.retain(|(id, _)| message.sender != self.my_id || *id != message.client_msg_id);
                self.outdated |= message.control.0 != 0;
                self.people.wrote(message.sender);
                if message.control == streamed_control::END {
                    self.growing.remove(&message.target);
                }
                self.messages.insert(message.seq, message);
            }
            Event::Grew { conversation, seq, offset, bytes } if conversation == self.conversation => {
                let said = self.growing.entry(seq).or_default();
                said.truncate(offset as usize);
                said.extend_from_slice(&bytes);
            }
            Event::Sent { id, .. } => {
                self.delayed = None;
                // Of what was done before no message comes.
                self.pending.retain(|(pending, text)| *pending != id || !text.starts_with('/'));
            }
            Event::SendDelayed { code, retry_ms, .. } => {
                self.delayed =
                    Some(format!("{code}: the server takes the next message in {} s", retry_ms.div_ceil(1000)));
            }
            Event::SendFailed { id, code, .. } => {
                if let Some(at) = self.pending.iter().position(|(pending, _)| *pending == id) {
                    let (_, text) = self.pending.remove(at);
                    self.failed.push(format!("not sent ({code}): {text}"));
                }
            }
            Event::Conversation { conversation, peers, preferences, .. }
                if conversation == self.conversation && !conversation.is_group() =>
            {
                (self.peers, self.people.is_blocked) = (peers, preferences.blocked);
                if preferences.blocked {
                    // No more is told of it, not even that it has ended.
                    self.growing.clear();
                }
            }
            Event::Receipt { conversation, member, marks } if conversation == self.conversation => {
                // Of somebody who is not known yet the group is described next.
                self.others.entry(member).and_modify(|(_, known)| *known = marks);
            }
            Event::Counted { conversation, seq, readers, members } if conversation == self.conversation => {
                self.members = members as usize;
                self.counted = readers.map(|readers| (seq, readers as usize, self.members.saturating_sub(1)));
            }
            Event::HistoryDone { first, .. } => (self.is_whole, self.fetching) = (first <= Seq(1), false),
            Event::HistoryFailed { .. } => self.fetching = false,
            Event::Forgotten { conversation, first, last } if conversation == self.conversation => {
                // Its number stays: what is older is fetched by it.
                self.messages.range_mut(first..=last).for_each(|(_, message)| message.flags |= MessageFlags::FORGOTTEN);
            }
            _ => {}
        }
    }

    /// What the group is called, and how far the others are.
    fn on_description(&mut self, group: &Group) {
        self.peer = harmless(&group.title);
        (self.members, self.is_large) = (group.current as usize, group.is_large);
        if self.is_large {
            return self.others.clear(); // who has what is not told there
        }
        let others = group.members.iter().filter(|member| member.role != Role::None && member.user != self.my_id);
        let marks =
            |member: &DescribedMember| Watermarks { delivered: member.delivered, read: member.read, ordinal: 0 };
        self.others = others.map(|member| (member.user, (member.joined, marks(member)))).collect();
    }

    /// True if it is worth asking what the group is: something happened to it, or this device was away.
    pub fn wants_description(&mut self) -> bool {
        self.conversation.is_group() && self.link == Link::Up && std::mem::take(&mut self.outdated)
    }

    /// Of a large group: the message of which it is to be counted how many have read it.
    pub fn wants_count(&self) -> Option<Seq> {
        self.last_own().filter(|_| self.is_large && self.link == Link::Up)
    }

    fn last_own(&self) -> Option<Seq> {
        let is_own_text = |message: &&Message| message.sender == self.my_id && message.control.has_content();
        self.messages.values().rev().find(is_own_text).map(|last| last.seq)
    }

    /// What the user has seen and the server has not been told: the last message's number and ordinal.
    pub fn take_read(&mut self) -> Option<(Seq, u64)> {
        let theirs = self.messages.values().rev().find(|message| message.sender != self.my_id)?;
        (theirs.seq > self.read).then(|| {
            self.read = theirs.seq;
            (theirs.seq, theirs.ordinal)
        })
    }

    /// Scrolls towards older messages, and wishes for more where they end.
    pub fn scroll_back(&mut self) {
        let lines = self.rows.max(self.messages.len() + self.pending.len());
        self.scroll = (self.scroll + SCROLL).min(lines.saturating_sub(1));
        let first = self.messages.keys().next().copied().unwrap_or(Seq(1));
        if self.scroll + 2 * SCROLL >= lines && first > Seq(1) && !self.is_whole && !self.fetching {
            (self.wish, self.fetching) = (Some(first), true);
        }
    }

    /// Chooses the message before the chosen one, or the last.
    pub fn choose_earlier(&mut self) {
        let below = self.chosen.unwrap_or(Seq(u64::MAX));
        let before = self.shown().rev().map(|message| message.seq).find(|seq| *seq < below);
        self.chosen = before.or(self.chosen);
    }

    /// Chooses the message after the chosen one; after the last, none.
    pub fn choose_later(&mut self) {
        let Some(chosen) = self.chosen else { return };
        let after = self.shown().map(|message| message.seq).find(|seq| *seq > chosen);
        self.chosen = after;
    }

    /// The message that a command is about: the chosen one; of edits and withdrawals the last own text, else the last text of somebody else.
    pub fn target_of(&self, command: &Command<'_>) -> Option<Seq> {
        // What is on its way has no number yet, and is what its writer means.
        if self.chosen.is_none() && !self.pending.is_empty() && matches!(command, Command::Edit(_) | Command::Erase) {
            return None;
        }
        let folded = Folded::of(self.messages.values(), &self.growing);
        let last = |own: bool| {
            let is_text = |message: &&Message| message.control.has_content() && !folded.is_gone(message, self.now_us);
            let of_them = self.shown().filter(is_text).filter(|message| (message.sender == self.my_id) == own);
            of_them.map(|message| message.seq).next_back()
        };
        match command {
            Command::Write(_) => Some(self.chosen.unwrap_or(Seq(0))),
            Command::Edit(_) | Command::Erase => self.chosen.or_else(|| last(true)),
            Command::React(_) | Command::Forget => self.chosen.or_else(|| last(false)),
            Command::Block | Command::Unblock | Command::Unknown(_) => None,
        }
    }

    /// Messages with a line of their own.
    fn shown(&self) -> impl DoubleEndedIterator<Item = &Message> {
        self.messages.values().filter(|message| !Folded::is_folded(message))
    }

    /// Scrolls towards the newest.
    pub fn scroll_forward(&mut self) {
        self.scroll = self.scroll.saturating_sub(SCROLL);
    }

    /// Older messages that are wished for: those before this one.
    pub fn take_wish(&mut self) -> Option<Seq> {
        self.wish.take()
    }

    /// True once after a message disappeared, or somebody stopped typing without saying so.
    pub fn is_due(&mut self) -> bool {
        let (from, upto) = (self.drawn_us, self.now_us);
        self.drawn_us = upto;
        let stopped = self.people.take_stale(upto);
        stopped || self.messages.values().any(|message| (from + 1..=upto).contains(&message.expires_at.0))
    }

    /// All lines, oldest first.
    pub fn lines(&self) -> Vec<Line> {
        let (last_own, folded) = (self.last_own(), Folded::of(self.messages.values(), &self.growing));
        let stored = self.shown().map(|message| Line {
            from: harmless(&message.sender_name),
            look: folded.look(&self.messages, message, self.now_us),
            seq: Some(message.seq),
            ts_us: message.ts.0,
            tick: self.tick(message),
            readers: if last_own == Some(message.seq) { self.readers(message.seq) } else { None },
        });
        let line = |tick, text: &String| {
            let (from, said) = (self.me.clone(), Said::Text(text.clone()));
            let look = Look { said, note: Note::None, reactions: String::new(), answers: None };
            Line { from, look, seq: None, ts_us: 0, tick, readers: None }
        };
        let failed = self.failed.iter().map(|text| line(Tick::None, text));
        let pending = self.pending.iter().map(|(_, text)| line(Tick::Pending, text));
        stored.chain(failed).chain(pending).collect()
    }

    /// How far those are whom a message was written to: whoever came later does not count.
    fn addressees(&self, seq: Seq) -> impl Iterator<Item = &Watermarks> {
        self.others.values().filter(move |(joined, _)| *joined <= seq).map(|(_, marks)| marks)
    }

    /// Of a group: how many of the others have read a message, unless all have.
    fn readers(&self, seq: Seq) -> Option<(usize, usize)> {
        if self.is_large {
            let counted = self.counted.filter(|(of, ..)| *of == seq);
            return counted.map(|(_, read, all)| (read, all)).filter(|(read, all)| read < all);
        }
        let (all, read) =
            (self.addressees(seq).count(), self.addressees(seq).filter(|marks| marks.read >= seq).count());
        (self.conversation.is_group() && read < all).then_some((read, all))
    }

    /// What others do right now, for people.
    pub fn doing(&self) -> Option<String> {
        let of = |user| self.messages.values().rev().find(|message| message.sender == user);
        let name = |user| match self.conversation.is_group() {
            true => of(user).map(|message| harmless(&message.sender_name)),
            false => Some(self.peer.clone()),
        };
        self.people.in_words(self.now_us, name)
    }

    /// Who chats, and with whom or where.
    pub fn heading(&self) -> String {
        match self.members {
            _ if !self.conversation.is_group() => format!("{} with {}", self.me, self.peer),
            0 | 1 => format!("{} in {}", self.me, self.peer),
            members => format!("{} in {}, {members} members", self.me, self.peer),
        }
    }

    fn tick(&self, message: &Message) -> Tick {
        let least = |mark: fn(&Watermarks) -> Seq| self.addressees(message.seq).map(mark).min().unwrap_or_default();
        let (delivered, read) = if self.conversation.is_group() {
            (least(|marks| marks.delivered), least(|marks| marks.read))
        } else {
            (self.peers.delivered, self.peers.read)
        };
        match message.seq {
            _ if message.sender != self.my_id => Tick::None,
            seq if seq <= read => Tick::Read,
            seq if seq <= delivered => Tick::Delivered,
            _ => Tick::Sent,
        }
    }
}

#[cfg(test)]
mod tests;
