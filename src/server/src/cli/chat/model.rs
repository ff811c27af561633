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
mod tests {
    use super::*;
    use tidings_client::{Control, DeviceId, Timestamp, about_control};

    const HERE: ConversationId = ConversationId([1; 16]);

    fn message(seq: u64, from: &str) -> Message {
        Message {
            conversation: HERE,
            seq: Seq(seq),
            ts: Timestamp(seq),
            sender: UserId::derive("default", from),
            sender_name: from.into(),
            sender_device: DeviceId(1),
            peer: UserId::NONE,
            client_msg_id: ClientMsgId(100 + seq),
            flags: 0,
            control: Control::TEXT,
            target: Seq(0),
            expires_at: Timestamp(0),
            ordinal: seq,
            body: Vec::new(),
            payload: format!("{seq}").into(),
        }
    }

    fn model() -> Model {
        Model::new("alice", "bob", UserId::derive("default", "alice"), HERE)
    }

    #[test]
    fn ticks_follow_a_message_from_the_outbox_to_its_reader() {
        let mut model = model();
        let tick = |model: &Model| model.lines()[0].tick;
        model.wrote(ClientMsgId(101), "1");
        assert_eq!(tick(&model), Tick::Pending);
        model.on_event(Event::Message(message(1, "alice")));
        assert_eq!((tick(&model), model.lines().len()), (Tick::Sent, 1));
        for (delivered, read, expected) in [(1, 0, Tick::Delivered), (1, 1, Tick::Read)] {
            let peers = Watermarks { delivered: Seq(delivered), read: Seq(read), ordinal: 0 };
            let own = Watermarks::default();
            model.on_event(Event::Conversation {
                conversation: HERE,
                peer: UserId::NONE,
                name: String::new(),
                head: Seq(1),
                peers,
                own,
                unread: 0,
                hidden: false,
                preferences: Default::default(),
            });
            assert_eq!(tick(&model), expected);
        }
    }

    #[test]
    fn a_group_says_how_many_have_read_the_last_message_until_all_have() {
        let group = ConversationId([2; 16]);
        assert!(group.is_group());
        let mut model = Model::new("alice", "?", UserId::derive("default", "alice"), group);
        let member = |name: &str| DescribedMember {
            user: UserId::derive("default", name),
            role: Role::Member,
            joined: Seq(1),
            left: Seq(0),
            delivered: Seq(0),
            read: Seq(0),
        };
        model.on_event(Event::Described(Group {
            conversation: group,
            head: Seq(1),
            title: "hike".into(),
            settings: Default::default(),
            deleted: Seq(0),
            has_link: false,
            timer: 0,
            is_large: false,
            current: 3,
            members: ["alice", "bob", "carol"].map(member).into(),
        }));
        assert_eq!(model.heading(), "alice in hike, 3 members");
        model.on_event(Event::Message(Message { conversation: group, ..message(1, "alice") }));
        let line = |model: &Model| (model.lines()[0].tick, model.lines()[0].readers);
        assert_eq!(line(&model), (Tick::Sent, Some((0, 2))));
        for (name, expected) in [("bob", (Tick::Sent, Some((1, 2)))), ("carol", (Tick::Read, None))] {
            let member = UserId::derive("default", name);
            let marks = Watermarks { delivered: Seq(1), read: Seq(1), ordinal: 0 };
            model.on_event(Event::Receipt { conversation: group, member, marks });
            assert_eq!(line(&model), expected);
        }
        // Whoever comes later has not left it unread.
        let late = DescribedMember { joined: Seq(2), ..member("dave") };
        let (settings, has_link) = (Default::default(), false);
        let members = vec![DescribedMember { read: Seq(1), ..member("bob") }, late];
        let (conversation, title) = (group, String::new());
        let (head, deleted) = (Seq(2), Seq(0));
        let mut described = Group {
            conversation,
            head,
            title,
            settings,
            deleted,
            has_link,
            timer: 0,
            is_large: false,
            current: 3,
            members,
        };
        model.on_event(Event::Described(described.clone()));
        assert_eq!(line(&model), (Tick::Read, None));
        // Of a large one it is counted when somebody asks.
        assert_eq!(model.wants_count(), None);
        (described.is_large, described.current) = (true, 5000);
        model.on_event(Event::Connected);
        model.on_event(Event::Described(described));
        assert_eq!((line(&model), model.wants_count()), ((Tick::Sent, None), Some(Seq(1))));
        model.on_event(Event::Counted { conversation, seq: Seq(1), readers: Some(17), members: 5001 });
        assert_eq!(line(&model), (Tick::Sent, Some((17, 5000))));
        assert_eq!(model.heading(), "alice in , 5001 members");
    }

    #[test]
    fn a_message_that_is_being_written_grows_where_it_is_until_it_ends() {
        let mut model = model();
        let of = |seq, control, target, words: &str, flags| {
            let (target, payload) = (Seq(target), words.as_bytes().to_vec());
            Event::Message(Message { control, target, payload, flags, ..message(seq, "bob") })
        };
        let shown = |model: &Model| -> Vec<(String, Note)> {
            let text = |line: Line| match line.look.said {
                Said::Text(text) | Said::Act(text) => (text, line.look.note),
            };
            model.lines().into_iter().map(text).collect()
        };
        model.on_event(of(1, streamed_control::OPEN, 0, "", 0));
        assert_eq!(shown(&model), [("…".into(), Note::None)]);
        let grew = |offset, bytes: &str| {
            let (conversation, seq, bytes) = (HERE, Seq(1), bytes.as_bytes().to_vec());
            Event::Grew { conversation, seq, offset, bytes }
        };
        model.on_event(grew(0, "Once\u{1b} u"));
        model.on_event(grew(7, "pon"));
        assert_eq!(shown(&model), [("Once<U+001B> upon".into(), Note::Growing)]);
        model.on_event(grew(0, "Twice"));
        assert_eq!(shown(&model), [("Twice".into(), Note::Growing)], "its writer began anew");
        model.on_event(of(2, streamed_control::END, 1, "Twice told", 0));
        assert_eq!(shown(&model), [("Twice told".into(), Note::None)]);
        model.on_event(of(3, about_control::EDIT, 1, "Never told", 0));
        assert_eq!(shown(&model), [("Never told".into(), Note::Edited)]);
        // One that was fetched after it had ended, since its writer fell silent.
        model.on_event(of(4, streamed_control::OPEN, 0, "And", MessageFlags::ENDED | MessageFlags::ABORTED));
        assert_eq!(shown(&model)[1], ("And".into(), Note::BrokenOff));
    }

    #[test]
    fn what_is_said_about_a_message_is_shown_where_it_is() {
        let mut model = model();
        let about = |seq, from: &str, control, target, words: &str| {
            let (target, payload) = (Seq(target), words.as_bytes().to_vec());
            Event::Message(Message { control, target, payload, ..message(seq, from) })
        };
        (1..=3).for_each(|seq| model.on_event(Event::Message(message(seq, if seq == 2 { "bob" } else { "alice" }))));
        model.on_event(about(4, "alice", about_control::EDIT, 1, "better"));
        model.on_event(about(5, "bob", about_control::REACT, 1, "👍"));
        model.on_event(about(6, "alice", about_control::REACT, 1, "👍"));
        model.on_event(about(7, "bob", about_control::REACT, 3, "?"));
        model.on_event(about(8, "bob", about_control::REACT, 3, ""));
        model.on_event(about(9, "alice", about_control::ERASE, 2, ""));
        assert_eq!(model.lines()[1].look.said, Said::Act("wrote something that alice withdrew".into()));
        model.on_event(about(9, "bob", about_control::ERASE, 2, ""));
        model.on_event(about(10, "bob", Control::TEXT, 1, "yes"));
        let looks: Vec<Look> = model.lines().into_iter().map(|line| line.look).collect();
        let text = |words: &str| Said::Text(words.into());
        assert_eq!(looks.len(), 4);
        assert_eq!((&looks[0].said, looks[0].note, &*looks[0].reactions), (&text("better"), Note::Edited, "👍 2"));
        assert_eq!(looks[1].said, Said::Act("withdrew a message".into()));
        assert_eq!((&looks[2].said, &*looks[2].reactions), (&text("3"), ""));
        assert_eq!((&looks[3].said, looks[3].answers.as_deref()), (&text("yes"), Some("alice: better")));
        // Without a choice a command is about the last that it can be about.
        assert_eq!(model.target_of(&Command::Edit("x")), Some(Seq(3)));
        assert_eq!(model.target_of(&Command::React("x")), Some(Seq(10)));
        model.wrote(ClientMsgId(900), "on its way");
        assert_eq!(model.target_of(&Command::Erase), None, "the one before is not meant");
        model.pending.clear();
        // What was done before gets no message, and is not on its way for ever.
        model.wrote(ClientMsgId(901), "/erase");
        model.on_event(Event::Sent { conversation: HERE, id: ClientMsgId(901), seq: Seq(9), ts: Timestamp(0) });
        assert_eq!(model.lines().len(), 4);
        (0..9).for_each(|_| model.choose_earlier());
        assert_eq!((model.chosen, model.target_of(&Command::Write("x"))), (Some(Seq(1)), Some(Seq(1))));
        model.choose_later();
        assert_eq!(model.chosen, Some(Seq(2)));
        (0..9).for_each(|_| model.choose_later());
        assert_eq!((model.chosen, model.target_of(&Command::Write("x"))), (None, Some(Seq(0))));
        // What disappears is not shown after its time.
        model.on_event(Event::Message(Message { expires_at: Timestamp(50), ..message(11, "bob") }));
        assert_eq!(model.lines()[4].look.said, text("11"));
        model.now_us = 50;
        assert!(matches!(model.lines()[4].look.said, Said::Act(_)));
    }

    #[test]
    fn a_refusal_for_a_while_is_shown_until_something_is_taken() {
        let mut model = model();
        let (id, code) = (ClientMsgId(1), tidings_client::ErrorCode::BudgetExceeded);
        model.on_event(Event::SendDelayed { conversation: HERE, id, code, retry_ms: 2500 });
        assert!(model.delayed().is_some_and(|text| text.contains("BUDGET_EXCEEDED") && text.contains("3 s")));
        model.on_event(Event::Sent { conversation: HERE, id, seq: Seq(1), ts: Timestamp(1) });
        assert_eq!(model.delayed(), None);
    }

    #[test]
    fn what_was_seen_is_told_once_and_older_messages_are_wished_for_at_the_top() {
        let mut model = model();
        (51..=60).for_each(|seq| model.on_event(Event::Message(message(seq, "bob"))));
        assert_eq!((model.take_read(), model.take_read()), (Some((Seq(60), 60)), None));
        model.scroll_back();
        assert_eq!((model.take_wish(), model.take_wish()), (Some(Seq(51)), None));
        model.scroll_back();
        assert_eq!(model.take_wish(), None, "one wish at a time");
        (1..=50).for_each(|seq| model.on_event(Event::Older(message(seq, "bob"))));
        model.on_event(Event::HistoryDone {
            damaged: Seq(0),
            conversation: HERE,
            oldest: Seq(1),
            head: Seq(60),
            first: Seq(1),
            last: Seq(50),
        });
        (0..9).for_each(|_| model.scroll_back());
        assert_eq!(model.take_wish(), None, "there is nothing before the first");
        assert_eq!(model.lines().len(), 60);
    }
}
