//! Large groups, from a home's side. A home does not follow their heads: when a device comes, it asks for those of all its user's large groups,
//! and the reactor listens to them while a device is there. A message is copied to the connections of all who listen, a bounded number of them
//! in a turn, from one frame; whoever has no room is told to look.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ConversationId, Seq, UserId,
    archive::{self, Archived},
    frame::FrameBuilder,
    frames::{Changed, ChangedConversation, ResumeStatus},
    limits::LARGE_GROUPS_MAX,
};

use super::{
    Homes, SessionId,
    catch_up::changed_entry,
    index::{Entry, EntryKey, HomeKey},
    session::Sync,
    tails::Tail,
    told::take_from,
};
use crate::{
    context::HomeContext,
    counters::Counter,
    effects::ReactorId,
    lanes::{Asker, GroupHead, Heads, Posted, ToConversation, Watermarks},
    limits::{COPIES_PER_TURN, OUT_SOFT, POSTS_BYTES},
    narrow::to_u32,
};

/// In no place among those who listen.
pub(super) const NOWHERE: u32 = u32::MAX;

/// A large group that somebody here listens to.
#[derive(Debug, Default)]
struct Group {
    /// As far as was heard.
    head: Seq,
    ordinal: u64,
    /// Who listens. A place that is left is taken by the next.
    places: Vec<Option<Listener>>,
    free: Vec<u32>,
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
    /// The next place.
    next: usize,
}

/// Something to be asked of conversations.
#[derive(Clone, Copy, Debug)]
enum Question {
    /// The heads of a session's large groups, on a reactor.
    Heads(Asker, ReactorId),
    /// The head of one, for all who listen.
    Head(ConversationId),
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
}

impl Group {
    fn heard(&mut self, head: Seq, ordinal: u64) {
        (self.head, self.ordinal) = (self.head.max(head), self.ordinal.max(ordinal));
    }

    fn is_deserted(&self) -> bool {
        self.free.len() == self.places.len()
    }
}

impl Homes {
    /// The newest large groups of a home's user, as many as it is told of.
    fn large_groups(&self, home: HomeKey) -> &[EntryKey] {
        let all = self.index.get(home).large.as_deref().map_or(&[][..], Vec::as_slice);
        &all[all.len().saturating_sub(LARGE_GROUPS_MAX)..]
    }

    /// A session has resumed: its home listens, and asks for heads. Gives how many answers will come.
    pub(super) fn ask_heads(&mut self, asker: Asker, home: HomeKey) -> u8 {
        let groups: Vec<(EntryKey, ConversationId)> =
            self.large_groups(home).iter().map(|key| (*key, self.index.entry_at(*key).conversation)).collect();
        let mut to: Vec<ReactorId> = Vec::new();
        for (key, group) in &groups {
            self.listen(home, *key);
            let reactor = self.config.layout.conversation(group);
            if !to.contains(&reactor) {
                to.push(reactor);
            }
        }
        self.index.get_mut(home).bucket.owe(groups.len() as u64 / 32);
        self.listening.questions.extend(to.iter().map(|reactor| Question::Heads(asker, *reactor)));
        u8::try_from(to.len()).unwrap_or(u8::MAX)
    }

    /// There was no room for the answer.
    pub(super) fn ask_heads_again(&mut self, from: ReactorId, asker: Asker) {
        self.listening.questions.push_back(Question::Heads(asker, from));
    }

    /// A home listens to a group, if it does not yet. What it knows of in another way is not for it: it may be older than its membership. True
    /// if nobody here listened.
    fn listen(&mut self, home: HomeKey, key: EntryKey) -> bool {
        let Entry { conversation, listens_at, head: since, .. } = *self.index.entry_at(key);
        let is_new = !self.listening.groups.contains_key(&conversation);
        let group = self.listening.groups.entry(conversation).or_default();
        if listens_at == NOWHERE {
            let listener = Some(Listener { home, since });
            let place = group.free.pop().unwrap_or_else(|| {
                group.places.push(None);
                to_u32(group.places.len() - 1)
            });
            group.places[place as usize] = listener;
            self.index.entry_mut(key).listens_at = place;
        }
        is_new
    }

    fn listen_no_more(&mut self, key: EntryKey) {
        let entry = self.index.entry_mut(key);
        let (conversation, place) = (entry.conversation, core::mem::replace(&mut entry.listens_at, NOWHERE));
        if place == NOWHERE {
            return;
        }
        let Some(group) = self.listening.groups.get_mut(&conversation) else { return };
        group.places[place as usize] = None;
        group.free.push(place);
        if group.is_deserted() {
            self.listening.groups.remove(&conversation);
            self.listening.questions.push_back(Question::Leave(conversation));
        }
    }

    /// The last session of a home is gone.
    pub(super) fn deserted(&mut self, home: HomeKey) {
        for at in 0..self.index.get(home).large.as_ref().map_or(0, |large| large.len()) {
            if let Some(key) = self.index.get(home).large.as_ref().map(|large| large[at]) {
                self.listen_no_more(key);
            }
        }
    }

    /// A home was told that its user is a member of a large group, by message `head` or a later one: it listens, if somebody is there.
    pub(super) fn listen_from(&mut self, home: HomeKey, key: EntryKey, head: Seq) {
        let is_live = |id: &SessionId| self.sessions.get(*id).is_some_and(|session| session.sync != Sync::Fresh);
        if !self.index.get(home).sessions.iter().any(is_live) || !self.listen(home, key) {
            return;
        }
        let Entry { conversation, ordinal, .. } = *self.index.entry_at(key);
        if let Some(group) = self.listening.groups.get_mut(&conversation) {
            group.heard(head, ordinal);
            self.listening.questions.push_back(Question::Head(conversation));
        }
    }

    /// A home's user is no member any more: it gets what was written before, and listens no more.
    pub(super) fn listen_to_the_end(&mut self, home: HomeKey, key: EntryKey, cx: &mut impl HomeContext) {
        let Entry { conversation, listens_at, .. } = *self.index.entry_at(key);
        let place =
            self.listening.groups.get(&conversation).and_then(|group| *group.places.get(listens_at as usize)?);
        if let Some(Listener { since, .. }) = place {
            let posts = core::mem::take(&mut self.listening.posts);
            for post in posts.iter().filter(|post| post.posted.conversation == conversation) {
                if post.next <= listens_at as usize && since < post.posted.seq {
                    self.copy_to(home, post, cx);
                }
            }
            self.listening.posts = posts;
        }
        self.listen_no_more(key);
    }

    /// The next question, and what goes with it.
    pub(crate) fn next_question(&mut self) -> Option<(ReactorId, ToConversation, Vec<u8>)> {
        loop {
            let mut ids = Vec::new();
            match self.listening.questions.pop_front()? {
                Question::Heads(asker, to) => {
                    let Some(session) = self.sessions.get(asker.session) else { continue };
                    let (home, user) = (session.home, session.user);
                    for key in self.large_groups(home) {
                        let group = self.index.entry_at(*key).conversation;
                        if self.config.layout.conversation(&group) == to {
                            ids.extend_from_slice(&group.0);
                        }
                    }
                    return Some((to, ToConversation::Heads { asker, user }, ids));
                }
                Question::Head(group) => {
                    ids.extend_from_slice(&group.0);
                    let (asker, user) = (Asker::NOBODY, UserId::NONE);
                    let to = self.config.layout.conversation(&group);
                    return Some((to, ToConversation::Heads { asker, user }, ids));
                }
                // Somebody may have come since.
                Question::Leave(group) if self.listening.groups.contains_key(&group) => {}
                Question::Leave(conversation) => {
                    let to = self.config.layout.conversation(&conversation);
                    return Some((to, ToConversation::Leave { conversation }, ids));
                }
            }
        }
    }

    /// The lane did not take what [`Self::next_question`] gave: it is asked later.
    pub(crate) fn question_refused(&mut self, to: ReactorId, message: &ToConversation, ids: &[u8]) {
        let question = match message {
            ToConversation::Heads { asker, user } if !user.is_none() => Question::Heads(*asker, to),
            ToConversation::Leave { conversation } => Question::Leave(*conversation),
            _ => Question::Head(ConversationId(*ids.first_chunk().expect("one is asked about"))),
        };
        self.listening.questions.push_front(question);
    }

    /// True if there is something to ask.
    pub(crate) fn has_questions(&self) -> bool {
        !self.listening.questions.is_empty()
    }

    /// True if messages wait to be copied.
    pub(crate) fn has_posts(&self) -> bool {
        !self.listening.posts.is_empty()
    }

    /// A message of a large group.
    pub(super) fn on_posted(&mut self, posted: Posted, frame: &[u8]) {
        let Posted { conversation, seq, ordinal, .. } = posted;
        let Some(group) = self.listening.groups.get_mut(&conversation) else {
            return self.listening.questions.push_back(Question::Leave(conversation));
        };
        group.heard(seq, ordinal);
        let fits = self.listening.bytes + frame.len() <= POSTS_BYTES;
        self.add_post(posted, fits.then_some(frame));
    }

    fn add_post(&mut self, posted: Posted, frame: Option<&[u8]>) {
        // What devices are told to look for they are told once.
        let same = |post: &&mut Post| {
            post.posted.conversation == posted.conversation && post.frame.is_none() && post.next == 0
        };
        if frame.is_none()
            && let Some(post) = self.listening.posts.iter_mut().find(same)
        {
            post.posted = posted;
            return;
        }
        self.listening.bytes += frame.map_or(0, <[u8]>::len);
        self.listening.posts.push_back(Post { posted, frame: frame.map(Box::from), next: 0 });
    }

    /// Heads of large groups: for a session that asked, or for all who listen.
    pub(super) fn on_heads(&mut self, asker: Asker, user: UserId, mut heads: &[u8], cx: &mut impl HomeContext) {
        let home = self.sessions.get(asker.session).map(|session| session.home);
        let mut listed = Vec::new();
        while !heads.is_empty() {
            let head: GroupHead = take_from(&mut heads);
            let title = heads.split_off(..head.title as usize).expect("put together here");
            let GroupHead { conversation, head: seq, ordinal, .. } = head;
            let Some(group) = self.listening.groups.get_mut(&conversation) else { continue };
            if !user.is_none() {
                // For this user alone: of others it is not known here that they are members still.
                let key = home.and_then(|home| self.on_head(home, &head, title, cx));
                listed.extend(key.map(|key| (key, seq, ordinal)));
                continue;
            }
            // What was posted here in time says it all.
            if seq > group.head {
                group.heard(seq, ordinal);
                let (sender, origin) = (UserId::NONE, SessionId::NONE);
                self.add_post(Posted { conversation, seq, ordinal, sender, origin }, None);
            }
        }
        if user.is_none() || home.is_none() {
            return;
        }
        self.write_heads(asker.session, &listed, cx);
        if self.is_tail(asker) {
            self.tail_ended(asker.session, Tail::Refused, cx);
        }
    }

    /// The head of one large group of a home's user.
    fn on_head(
        &mut self,
        home: HomeKey,
        head: &GroupHead,
        title: &[u8],
        cx: &mut impl HomeContext,
    ) -> Option<EntryKey> {
        let key = self.index.find(home, head.conversation)?;
        let entry = self.index.entry_mut(key);
        if entry.heads != Heads::Asked {
            return None;
        }
        if !title.is_empty() && *title != *entry.name {
            entry.name = title.into();
        }
        let GroupHead { delivered, read, seen, .. } = *head;
        let own = Watermarks { delivered, read, shown: Seq(0), seen };
        if self.index.change(home, key, |entry| {
            let before = entry.own;
            entry.own.raise_to(own);
            entry.own.read > before.read || entry.own.seen > before.seen
        }) {
            self.mark_dirty(home, cx.now().mono);
        }
        Some(key)
    }

    /// Writes the heads of large groups as a list of what changed. Its cursor is the session's: a later list begins there, and heads come
    /// with each.
    fn write_heads(&mut self, id: SessionId, heads: &[(EntryKey, Seq, u64)], cx: &mut impl HomeContext) {
        let Some(session) = self.sessions.get(id).filter(|_| !heads.is_empty()) else { return };
        let (home, privacy) = (session.home, self.privacy(session.home));
        let mut frame = FrameBuilder::<Changed>::new(cx.out(session.conn));
        let mut span = frame.var(&[]);
        for (key, head, ordinal) in heads {
            let entry = self.index.entry_at(*key);
            let mut listed = changed_entry(entry, privacy);
            (listed.head, listed.ordinal) = (listed.head.max(*head), listed.ordinal.max(*ordinal));
            listed.seen = entry.own.seen.min(listed.ordinal);
            let mut bytes = [0; ChangedConversation::LEN];
            archive::write(&listed, &mut bytes);
            span.len += frame.var(&bytes).len;
        }
        let mut names = frame.var(&[]);
        for (key, ..) in heads {
            names.len += frame.var(&self.index.entry_at(*key).name).len;
        }
        frame.finish(
            0,
            &Changed {
                status: ResumeStatus::Changed,
                lineage: self.config.lineage,
                uv: self.uv_for(id),
                next: tidings_wire::Uv(0),
                count: to_u32(heads.len()),
                entry_len: to_u32(ChangedConversation::LEN),
                entries: span,
                settings: self.index.get(home).own.as_ref().map_or(0, |own| own.told),
                names,
            },
        );
    }

    /// A session that was behind is told the heads of its large groups, as far as they were heard here.
    pub(super) fn tell_heads(&mut self, id: SessionId, cx: &mut impl HomeContext) {
        let Some(session) = self.sessions.get(id) else { return };
        let heard = |key: &EntryKey| {
            let group = self.listening.groups.get(&self.index.entry_at(*key).conversation)?;
            Some((*key, group.head, group.ordinal))
        };
        let heads: Vec<_> = self.large_groups(session.home).iter().filter_map(heard).collect();
        self.write_heads(id, &heads, cx);
    }

    /// Copies messages to who listens, as many as may leave in one turn.
    pub(crate) fn copy_posts(&mut self, cx: &mut impl HomeContext) {
        let mut left = COPIES_PER_TURN;
        while left > 0
            && let Some(mut post) = self.listening.posts.pop_front()
        {
            let group = post.posted.conversation;
            while left > 0 {
                let Some(places) = self.listening.groups.get(&group).map(|group| &group.places) else {
                    post.next = usize::MAX;
                    break;
                };
                let Some(place) = places.get(post.next) else {
                    post.next = usize::MAX;
                    break;
                };
                let place = *place;
                post.next += 1;
                if let Some(listener) = place.filter(|listener| listener.since < post.posted.seq) {
                    left = left.saturating_sub(self.copy_to(listener.home, &post, cx).max(1));
                }
            }
            if post.next < usize::MAX {
                self.listening.posts.push_front(post);
                return;
            }
            self.listening.bytes -= post.frame.as_ref().map_or(0, |frame| frame.len());
        }
    }

    /// Copies a message to the devices of a home: how many there are.
    fn copy_to(&mut self, home: HomeKey, post: &Post, cx: &mut impl HomeContext) -> usize {
        let Post { posted, frame, .. } = post;
        let len = frame.as_ref().map_or(0, |frame| frame.len());
        let sessions = self.index.get(home).sessions.len();
        for at in 0..sessions {
            let id = self.index.get(home).sessions[at];
            let Some(session) = self.sessions.get_mut(id) else { continue };
            if session.sync != Sync::Live || id == posted.origin {
                continue;
            }
            if cx.buffered(session.conn) + len > OUT_SOFT {
                session.sync = Sync::Behind(self.index.get(home).uv);
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
                    self.write_heads(id, head.as_slice(), cx);
                }
            }
        }
        sessions
    }
}
