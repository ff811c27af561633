//! Large groups, from a home's side. A home does not follow their heads: when a device comes, it asks for those of all its user's large groups,
//! and the reactor listens to them while a device is there. A message is copied to the connections of all who listen, a bounded number of them
//! in a turn, from one frame; whoever has no room is told to look.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ConversationId, Seq, Uv,
    archive::{self, Archived},
    frame::FrameBuilder,
    frames::{Changed, ChangedConversation, ResumeStatus},
    limits::LARGE_GROUPS_MAX,
};

use super::{
    Homes, SessionId,
    catch_up::{LIST_BYTES, changed_entry, entry_len},
    index::{Entry, EntryKey, HomeKey},
    session::Sync,
    told::{ReadRose, take_from},
};
use crate::{
    context::HomeContext,
    counters::Counter,
    effects::ReactorId,
    features::Weight,
    lanes::{Asker, GroupHead, Heads, Posted, ToConversation, Watermarks},
    limits::{COPIES_PER_TURN, COPY_BYTES_PER_TURN, COPY_REST_MAX, OUT_SOFT, POSTS_BYTES, POSTS_MAX},
    narrow::to_u32,
    slab::Key,
};

/// In no place among those who listen.
pub(super) const NOWHERE: u32 = u32::MAX;
/// Empty places that may be looked at for what one copy costs.
const EMPTY_PER_COPY: usize = 16;

/// Large groups that a RESUME may ask for besides for what one message costs of a user's rate.
const GROUPS_PER_TOKEN: u64 = 32;

/// Whether a list has names: those that the home knows may be older than what a device was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Yes,
    No,
}

/// A large group that somebody here listens to.
#[derive(Debug, Default)]
struct Group {
    /// Its last message, as far as it was told to all who listen.
    head: Seq,
    /// Who listens. A place that is left is taken by the next.
    places: Vec<Option<Listener>>,
    free: BTreeSet<u32>,
    /// Messages that wait to be copied.
    pending: usize,
}

#[derive(Clone, Copy, Debug)]
struct Listener {
    home: HomeKey,
    /// It has, or may not have, what came up to here.
    since: Seq,
}

/// A message on its way to who listens.
#[derive(Debug)]
struct Post {
    posted: Posted,
    /// The frame; `None`: devices are told that there is something.
    frame: Option<Box<[u8]>>,
    /// The same for devices that do not unpack, once one of them was met.
    plain: Vec<u8>,
    /// The next place.
    next: usize,
}

/// Something to be asked of conversations.
#[derive(Clone, Copy, Debug)]
enum Question {
    /// The heads of the large groups of a session's home, on a reactor.
    Heads(Asker, HomeKey, ReactorId),
    /// To be told of one, from where it is now.
    Listen(ConversationId),
    /// Nothing more.
    Leave(ConversationId),
}

/// What the homes of a reactor listen to.
#[derive(Debug, Default)]
pub(super) struct Listening {
    groups: BTreeMap<ConversationId, Group>,
    posts: VecDeque<Post>,
    /// Bytes of their frames.
    bytes: usize,
    questions: VecDeque<Question>,
    /// Sessions that have asked a reactor for heads: each asks once at a time.
    awaited: BTreeSet<(Key, ReactorId)>,
}

impl Group {
    /// A place for one more who listens.
    fn take_place(&mut self, listener: Listener) -> u32 {
        let place = self.free.pop_first().unwrap_or_else(|| {
            self.places.push(None);
            to_u32(self.places.len() - 1)
        });
        self.places[place as usize] = Some(listener);
        place
    }

    fn leave_place(&mut self, place: u32) {
        self.places[place as usize] = None;
        self.free.insert(place);
        while self.places.pop_if(|last| last.is_none()).is_some() {
            self.free.remove(&to_u32(self.places.len()));
        }
    }
}

impl Homes {
    /// The large groups of a home's user, as many as it is told of.
    fn large_groups(&self, home: HomeKey) -> &[EntryKey] {
        let all = self.index.get(home).large.as_deref().map_or(&[][..], Vec::as_slice);
        &all[..all.len().min(LARGE_GROUPS_MAX)]
    }

    /// A session is told of everything from now on: its home listens, and asks for heads. Gives how many answers will come.
    pub(super) fn ask_heads(&mut self, asker: Asker, home: HomeKey) -> u8 {
        let groups = self.large_groups(home).to_vec();
        let mut to: BTreeSet<ReactorId> = BTreeSet::new();
        for key in &groups {
            self.listen(home, *key);
            to.insert(self.config.layout.conversation(&self.index.entry_at(*key).conversation));
        }
        self.index.get_mut(home).bucket.owe(groups.len() as u64 / GROUPS_PER_TOKEN);
        let listening = &mut self.listening;
        to.retain(|reactor| listening.awaited.insert((asker.session.0, *reactor)));
        if canary::is(Canary::HeadsUnasked) {
            return 0;
        }
        listening.questions.extend(to.iter().map(|reactor| Question::Heads(asker, home, *reactor)));
        u8::try_from(to.len()).unwrap_or(u8::MAX)
    }

    /// There was no room for the answer.
    pub(super) fn ask_heads_again(&mut self, from: ReactorId, asker: Asker) {
        if let Some(session) = self.sessions.get(asker.session) {
            self.listening.questions.push_back(Question::Heads(asker, session.home, from));
        }
    }

    /// A home listens to a group, if it does not yet. What it knows of in another way is not for it: it may be older than its membership. True
    /// if nobody here listened.
    fn listen(&mut self, home: HomeKey, key: EntryKey) -> bool {
        let Entry { conversation, listens_at, head: since, .. } = *self.index.entry_at(key);
        if listens_at != NOWHERE {
            return false;
        }
        let is_new = !self.listening.groups.contains_key(&conversation);
        let group = self.listening.groups.entry(conversation).or_default();
        self.index.entry_mut(key).listens_at = group.take_place(Listener { home, since });
        is_new
    }

    fn listen_no_more(&mut self, key: EntryKey) {
        let entry = self.index.entry_mut(key);
        let (conversation, place) = (entry.conversation, core::mem::replace(&mut entry.listens_at, NOWHERE));
        let Some(group) = self.listening.groups.get_mut(&conversation).filter(|_| place != NOWHERE) else { return };
        group.leave_place(place);
        if group.places.is_empty() {
            self.listening.groups.remove(&conversation);
            self.listening.questions.push_back(Question::Leave(conversation));
        }
    }

    /// The last message of a large group that anybody here heard of; 0 if nobody listens.
    pub(super) fn head_heard(&self, conversation: ConversationId) -> Seq {
        self.listening.groups.get(&conversation).map_or(Seq(0), |group| group.head)
    }

    /// A session is gone; `home` is given if it was the last one there.
    pub(super) fn hears_no_more(&mut self, id: SessionId, home: Option<HomeKey>) {
        let of_session = (id.0, ReactorId(0))..=(id.0, ReactorId(u16::MAX));
        while let Some(asked) = self.listening.awaited.range(of_session.clone()).next().copied() {
            self.listening.awaited.remove(&asked);
        }
        let Some(home) = home else { return };
        // Others were never listened to: new ones come behind these, and whoever leaves one moves them forward.
        self.large_groups(home).to_vec().into_iter().for_each(|key| self.listen_no_more(key));
    }

    /// A home was told that its user is a member of a large group, by message `head` or a later one: it listens, if somebody is there.
    pub(super) fn listen_from(&mut self, home: HomeKey, key: EntryKey, head: Seq) {
        let is_live = |id: &SessionId| self.sessions.get(*id).is_some_and(|session| session.sync != Sync::Fresh);
        let is_told = self.large_groups(home).contains(&key);
        if !is_told || !self.index.get(home).sessions.iter().any(is_live) || !self.listen(home, key) {
            return;
        }
        let conversation = self.index.entry_at(key).conversation;
        if let Some(group) = self.listening.groups.get_mut(&conversation) {
            group.head = group.head.max(head);
            self.listening.questions.push_back(Question::Listen(conversation));
        }
    }

    /// A home's user is no member any more: it gets what was written before, and listens no more.
    pub(super) fn listen_to_the_end(&mut self, home: HomeKey, key: EntryKey, cx: &mut impl HomeContext) {
        let Entry { conversation, listens_at, .. } = *self.index.entry_at(key);
        let Some(group) = self.listening.groups.get(&conversation) else { return };
        let listener = group.places.get(listens_at as usize).and_then(|place| *place);
        if let Some(Listener { since, .. }) = listener.filter(|_| group.pending > 0) {
            if group.pending <= COPY_REST_MAX {
                let mut posts = core::mem::take(&mut self.listening.posts);
                let rest = posts.iter_mut().filter(|post| post.posted.conversation == conversation);
                for post in rest.filter(|post| post.next <= listens_at as usize && since < post.posted.seq) {
                    self.copy_to(home, post, cx);
                }
                self.listening.posts = posts;
            } else {
                self.fall_behind(home, cx);
            }
        }
        self.listen_no_more(key);
    }

    /// All devices of a home are to look what there is.
    fn fall_behind(&mut self, home: HomeKey, cx: &mut impl HomeContext) {
        for at in 0..self.index.get(home).sessions.len() {
            let id = self.index.get(home).sessions[at];
            if let Some(session) = self.sessions.get_mut(id).filter(|session| session.sync == Sync::Live) {
                session.sync = Sync::Behind(self.index.get(home).durable);
                cx.count(Counter::Behind);
            }
        }
    }

    /// How many questions wait to be asked.
    pub(crate) fn questions(&self) -> usize {
        self.listening.questions.len()
    }

    /// The next question, and the groups that it is about.
    pub(crate) fn next_question(&mut self) -> Option<(ReactorId, ToConversation, Vec<u8>)> {
        loop {
            match self.listening.questions.pop_front()? {
                Question::Heads(asker, home, to) => {
                    let mut ids = Vec::new();
                    for key in self.large_groups(home) {
                        let group = self.index.entry_at(*key).conversation;
                        if self.config.layout.conversation(&group) == to {
                            ids.extend_from_slice(&group.0);
                        }
                    }
                    // The session may be gone, and others listen because of it.
                    let message = match self.sessions.get(asker.session) {
                        Some(session) => ToConversation::Heads { asker, user: session.user },
                        None => ToConversation::Listen,
                    };
                    return Some((to, message, ids));
                }
                Question::Listen(group) => {
                    let to = self.config.layout.conversation(&group);
                    return Some((to, ToConversation::Listen, group.0.to_vec()));
                }
                // Somebody may have come since.
                Question::Leave(group) if self.listening.groups.contains_key(&group) => {}
                Question::Leave(conversation) => {
                    let to = self.config.layout.conversation(&conversation);
                    return Some((to, ToConversation::Leave { conversation }, Vec::new()));
                }
            }
        }
    }

    /// The lane did not take what [`Self::next_question`] gave: it is asked later.
    pub(crate) fn question_refused(&mut self, to: ReactorId, message: &ToConversation, ids: &[u8]) {
        match message {
            ToConversation::Heads { asker, .. } => self.ask_heads_again(to, *asker),
            ToConversation::Leave { conversation } => {
                self.listening.questions.push_back(Question::Leave(*conversation));
            }
            _ => {
                let groups = ids.as_chunks().0.iter().map(|id| Question::Listen(ConversationId(*id)));
                self.listening.questions.extend(groups);
            }
        }
    }

    /// True if messages wait to be copied.
    pub(crate) fn has_posts(&self) -> bool {
        !self.listening.posts.is_empty()
    }

    /// A message of a large group.
    pub(super) fn on_posted(&mut self, posted: Posted, frame: &[u8]) {
        let Posted { conversation, seq, ordinal, sender, weight, .. } = posted;
        let Some(group) = self.listening.groups.get_mut(&conversation) else {
            return self.listening.questions.push_back(Question::Leave(conversation));
        };
        group.head = group.head.max(seq);
        // Who writes has seen what was there.
        let own = self.index.find_home(sender).and_then(|home| self.index.find(home, conversation));
        if let Some(entry) = own.filter(|_| weight == Weight::Content).map(|key| self.index.entry_mut(key)) {
            entry.own.seen = entry.own.seen.max(ordinal);
        }
        let fits = self.listening.posts.len() < POSTS_MAX && self.listening.bytes + frame.len() <= POSTS_BYTES;
        self.add_post(posted, fits.then_some(frame));
    }

    /// There is something in a large group that was not told here.
    pub(super) fn on_bell(&mut self, posted: Posted) {
        if let Some(group) = self.listening.groups.get_mut(&posted.conversation)
            && posted.seq > group.head
        {
            group.head = posted.seq;
            self.add_post(posted, None);
        }
    }

    fn add_post(&mut self, posted: Posted, frame: Option<&[u8]>) {
        let Some(group) = self.listening.groups.get_mut(&posted.conversation) else { return };
        // What devices are told to look for they are told once.
        let same = |post: &&mut Post| {
            post.posted.conversation == posted.conversation && post.frame.is_none() && post.next == 0
        };
        if frame.is_none()
            && group.pending > 0
            && let Some(post) = self.listening.posts.iter_mut().rev().find(same)
        {
            post.posted = posted;
            return;
        }
        group.pending += 1;
        self.listening.bytes += frame.map_or(0, <[u8]>::len);
        self.listening.posts.push_back(Post { posted, frame: frame.map(Box::from), plain: Vec::new(), next: 0 });
    }

    /// Heads of large groups, for a session that asked.
    pub(super) fn on_heads(&mut self, from: ReactorId, asker: Asker, mut heads: &[u8], cx: &mut impl HomeContext) {
        self.listening.awaited.remove(&(asker.session.0, from));
        let Some(home) = self.sessions.get(asker.session).map(|session| session.home) else { return };
        let mut listed = Vec::new();
        while !heads.is_empty() {
            let head: GroupHead = take_from(&mut heads);
            let title = heads.split_off(..head.title as usize).expect("put together here");
            let key = self.on_head((asker.session, home), &head, title, cx);
            listed.extend(key.map(|key| (key, head.head, head.ordinal)));
        }
        self.write_heads(asker.session, &listed, Named::Yes, cx);
        self.no_longer_awaited(asker, cx);
    }

    /// The head of one large group of a home's user, of which one of its sessions asked.
    fn on_head(
        &mut self,
        (asks, home): (SessionId, HomeKey),
        head: &GroupHead,
        title: &[u8],
        cx: &mut impl HomeContext,
    ) -> Option<EntryKey> {
        let GroupHead { conversation, head: seq, ordinal, delivered, read, seen, deleted, .. } = *head;
        let key = self.index.find(home, conversation)?;
        let entry = self.index.entry_mut(key);
        if entry.heads != Heads::Asked {
            // Another device of the user was told that it ended, or that the user is no member any more: this one is told where it is, too.
            return Some(key);
        }
        if !title.is_empty() && *title != *entry.name {
            entry.name = title.into();
        }
        let ends = deleted > Seq(0);
        if ends {
            // Nothing comes any more: it is like any other conversation from now on. Other devices of the user hear no more of it, and are told
            // where it is before anything changes: who cannot take it is behind from here on.
            for id in self.index.get(home).sessions.clone().into_iter().filter(|id| *id != asks) {
                self.write_heads(id, &[(key, seq, ordinal)], Named::Yes, cx);
            }
            self.index.set_heads(home, key, Heads::Told);
            self.listen_no_more(key);
        }
        let (own, uv) = (Watermarks { delivered, read, shown: Seq(0), seen }, self.index.get(home).uv);
        let changed = self.index.change(home, key, |entry| {
            let before = entry.own;
            entry.own.raise_to(own);
            if ends {
                (entry.head, entry.ordinal) = (entry.head.max(seq), entry.ordinal.max(ordinal));
            }
            ends || entry.own.read > before.read || entry.own.seen > before.seen
        });
        if changed {
            self.mark_dirty(home, cx.now().mono);
            // What this device is told with the head, others of the user are told, too.
            let own = self.index.entry_at(key).own;
            self.tell_own((home, uv), conversation, own, ReadRose::Yes, cx);
        }
        Some(key)
    }

    /// Writes heads of large groups as lists of what changed. Who has no room for them asks again when it has.
    fn write_heads(
        &mut self,
        id: SessionId,
        mut heads: &[(EntryKey, Seq, u64)],
        named: Named,
        cx: &mut impl HomeContext,
    ) {
        while !heads.is_empty() {
            let Some(session) = self.sessions.get_mut(id).filter(|session| session.sync == Sync::Live) else { return };
            if cx.buffered(session.conn) > OUT_SOFT {
                session.sync = Sync::Behind(self.index.get(session.home).durable);
                return cx.count(Counter::Behind);
            }
            let size = |key: &EntryKey| ChangedConversation::LEN + self.index.entry_at(*key).name.len();
            let mut bytes = 0;
            let fits = |(key, ..): &&(EntryKey, Seq, u64)| {
                bytes += size(key);
                bytes <= LIST_BYTES
            };
            let count = heads.iter().take_while(fits).count().max(1);
            self.write_list(id, &heads[..count], named, cx);
            heads = &heads[count..];
        }
    }

    fn write_list(&self, id: SessionId, heads: &[(EntryKey, Seq, u64)], named: Named, cx: &mut impl HomeContext) {
        let Some(session) = self.sessions.get(id) else { return };
        let (home, privacy) = (session.home, self.privacy(session.home));
        let entry_len = entry_len(heads.iter().map(|(key, ..)| self.index.entry_at(*key)));
        let mut frame = FrameBuilder::<Changed>::new(cx.out(session.conn));
        let mut span = frame.var(&[]);
        for (key, head, ordinal) in heads {
            let entry = self.index.entry_at(*key);
            let mut listed = changed_entry(entry, privacy);
            (listed.head, listed.ordinal) = (listed.head.max(*head), listed.ordinal.max(*ordinal));
            listed.seen = entry.own.seen.min(listed.ordinal);
            if named == Named::No {
                listed.name_len = 0;
            }
            let mut bytes = [0; ChangedConversation::LEN];
            archive::write(&listed, &mut bytes);
            span.len += frame.var(&bytes[..entry_len]).len;
        }
        let mut names = frame.var(&[]);
        for (key, ..) in heads.iter().filter(|_| named == Named::Yes) {
            names.len += frame.var(&self.index.entry_at(*key).name).len;
        }
        frame.finish(
            0,
            &Changed {
                status: ResumeStatus::Changed,
                lineage: self.config.lineage,
                uv: self.uv_for(id),
                next: Uv(0),
                count: to_u32(heads.len()),
                entry_len: to_u32(entry_len),
                entries: span,
                settings: self.index.get(home).own.as_ref().map_or(0, |own| own.told),
                names,
            },
        );
    }

    /// Copies messages to who listens, as many as may leave in one turn.
    pub(crate) fn copy_posts(&mut self, cx: &mut impl HomeContext) {
        let (mut copies, mut bytes, mut empty) = (0, 0, 0);
        while let Some(mut post) = self.listening.posts.pop_front() {
            let (group, len) = (post.posted.conversation, post.frame.as_ref().map_or(0, |frame| frame.len()));
            let is_done = loop {
                let Some(place) = self.listening.groups.get(&group).and_then(|group| group.places.get(post.next))
                else {
                    break true;
                };
                if copies + empty / EMPTY_PER_COPY >= COPIES_PER_TURN || bytes >= COPY_BYTES_PER_TURN {
                    break false;
                }
                post.next += 1;
                match place.filter(|listener| listener.since < post.posted.seq) {
                    Some(listener) => {
                        let devices = self.copy_to(listener.home, &mut post, cx);
                        (copies, bytes) = (copies + devices, bytes + devices * len);
                    }
                    None => empty += 1,
                }
            };
            if !is_done {
                return self.listening.posts.push_front(post);
            }
            self.listening.bytes -= len;
            if let Some(group) = self.listening.groups.get_mut(&group) {
                group.pending = group.pending.saturating_sub(1);
            }
        }
    }

    /// Copies a message to the devices of a home: how many there are.
    fn copy_to(&mut self, home: HomeKey, post: &mut Post, cx: &mut impl HomeContext) -> usize {
        let Post { posted, frame, plain, .. } = post;
        let sessions = self.index.get(home).sessions.len();
        for at in 0..sessions {
            let id = self.index.get(home).sessions[at];
            let Some(session) = self.sessions.get_mut(id) else { continue };
            if session.sync != Sync::Live || id == posted.origin {
                continue;
            }
            let frame = frame.as_deref().map(|frame| session.payloads.of(frame, plain));
            if cx.buffered(session.conn) + frame.map_or(0, <[u8]>::len) > OUT_SOFT {
                session.sync = Sync::Behind(self.index.get(home).durable);
                cx.count(Counter::Behind);
                self.output_gone(id, cx);
                continue;
            }
            match frame {
                Some(frame) => {
                    cx.out(session.conn).extend_from_slice(frame);
                    cx.count(Counter::Pushed);
                }
                None if canary::is(Canary::BellUnheard) => {}
                None => {
                    let key = self.index.find(home, posted.conversation);
                    let head = key.map(|key| (key, posted.seq, posted.ordinal));
                    self.write_heads(id, head.as_slice(), Named::No, cx);
                }
            }
        }
        sessions
    }
}
