//! Large groups: their members' homes are told who comes and goes, and nothing else. Whoever has a device connected makes its reactor *listen*;
//! a message is told to reactors that listen, once each. A lane that has no room for it is owed the head instead, which makes devices look.
//! Nothing of that outlives the process: neither do connections.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec,
    vec::Vec,
};

use tidings_canary::{self as canary, Canary};
use tidings_wire::{ConversationId, EntryIndex, Seq, UserId, limits::COUNTED_MAX};

use super::{Conversation, ConversationKey, Conversations};
use crate::{
    context::ConversationContext,
    conversation::{
        state::{MessageFact, Size, State},
        view::View,
    },
    counters::Counter,
    effects::ReactorId,
    features::Group,
    home::SessionId,
    lanes::{Asker, GroupHead, Posted, ToHome},
    limits::{Bucket, GROUP_READ_MS},
    narrow::{to_u32, to_usize},
    slab::Key,
    time::Mono,
};

/// What is known of a large group while the process lives.
#[derive(Debug)]
pub(super) struct Large {
    /// By reactor.
    reactors: Box<[Listening]>,
    /// The entry that changed who is a member last, or a later one.
    pub(super) changed: EntryIndex,
    /// Its messages.
    pub(super) rate: Bucket,
    /// Who has read something a moment ago, and until when it has to wait for the next time; in that order, too.
    reads: BTreeMap<u32, Mono>,
    reads_by_time: VecDeque<(Mono, u32)>,
}

/// A reactor, as a large group sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Listening {
    /// Somebody there has a device connected.
    listens: bool,
    /// A message was not told there.
    owed: bool,
}

impl Large {
    pub(super) fn new(reactors: u16, changed: EntryIndex) -> Self {
        Self {
            reactors: vec![Listening::default(); reactors as usize].into_boxed_slice(),
            changed,
            rate: Bucket::default(),
            reads: BTreeMap::new(),
            reads_by_time: VecDeque::new(),
        }
    }

    /// Somebody on a reactor may listen.
    pub(super) fn listens(&mut self, to: ReactorId) {
        self.reactors[to.0 as usize].listens = true;
    }

    /// A member reads.
    ///
    /// # Errors
    /// Milliseconds until it may do so again.
    pub(super) fn read(&mut self, member: u32, now: Mono) -> Result<(), u32> {
        while let Some((_, member)) = self.reads_by_time.pop_front_if(|(until, _)| *until <= now) {
            self.reads.remove(&member);
        }
        match self.reads.get(&member) {
            Some(until) => Err(u32::try_from(until.since(now).div_ceil(1_000_000)).unwrap_or(u32::MAX)),
            None => {
                let until = now.plus_ms(GROUP_READ_MS);
                self.reads.insert(member, until);
                self.reads_by_time.push_back((until, member));
                Ok(())
            }
        }
    }
}

/// How many have read each of the newest messages: made when somebody asks, and kept up to date from then on.
#[derive(Debug)]
pub(super) struct Readers {
    /// How many have read up to exactly a message, from the newest to the oldest that is counted.
    by_last: VecDeque<u32>,
    head: Seq,
}

impl Readers {
    fn of(state: &State) -> Self {
        let mut readers = Self { by_last: VecDeque::new(), head: Seq(0) };
        readers.rise(state.head);
        state.members.iter().for_each(|member| readers.moved(Seq(0), member.marks.shown));
        readers
    }

    /// The last message is another one.
    pub(super) fn rise(&mut self, head: Seq) {
        let new = to_usize(head.0 - self.head.0).min(COUNTED_MAX);
        (0..new).for_each(|_| self.by_last.push_front(0));
        self.by_last.truncate(COUNTED_MAX);
        self.head = head;
    }

    /// Somebody has read up to `now`, and not only up to `before`.
    pub(super) fn moved(&mut self, before: Seq, now: Seq) {
        let mut add = |seq: Seq, count: i32| {
            let at = self.head.0.checked_sub(seq.0).map(to_usize).filter(|_| seq > Seq(0));
            if let Some(of) = at.and_then(|at| self.by_last.get_mut(at)) {
                *of = of.saturating_add_signed(count);
            }
        };
        add(before, -1);
        add(now, 1);
    }

    /// How many have read a message; `None` if it is not counted.
    fn up_to(&self, seq: Seq) -> Option<u32> {
        let at = self.head.0.checked_sub(seq.0).map(to_usize).filter(|at| seq > Seq(0) && *at < self.by_last.len())?;
        Some(self.by_last.iter().take(at + 1).sum())
    }
}

impl Conversations {
    /// What is known of a large group besides its state.
    pub(super) fn large_mut(&mut self, key: ConversationKey) -> Option<&mut Large> {
        self.get_mut(key).large.as_deref_mut()
    }

    /// True of a large group.
    pub(super) fn is_large(&self, key: ConversationKey) -> bool {
        self.get(key).state.size == Size::Large
    }

    /// A conversation is a large group from now on, if it was none.
    pub(super) fn grow(&mut self, key: ConversationKey, changed: EntryIndex) {
        let reactors = self.config.layout.reactors;
        self.get_mut(key).large.get_or_insert_with(|| Box::new(Large::new(reactors, changed)));
    }

    /// How many have read a message of a conversation.
    pub(super) fn readers(&mut self, key: ConversationKey, seq: Seq) -> Option<u32> {
        let conversation = self.get_mut(key);
        let State { head, .. } = conversation.state;
        if seq > head || seq.0 + COUNTED_MAX as u64 <= head.0 {
            return None;
        }
        let readers = conversation.readers.get_or_insert_with(|| Box::new(Readers::of(&conversation.state)));
        readers.up_to(seq)
    }

    /// A message of a large group is committed: reactors that listen are told.
    pub(super) fn post(
        &mut self,
        key: ConversationKey,
        (reactor, session): (ReactorId, SessionId),
        (fact, frame): (&MessageFact, &[u8]),
        cx: &mut impl ConversationContext,
    ) {
        let conversation = self.get(key).id;
        let MessageFact { seq, ordinal, sender, .. } = *fact;
        for at in 0..usize::from(self.config.layout.reactors) {
            let to = ReactorId(at as u16);
            let Listening { listens, owed } = self.listening(key, at);
            if !listens {
                continue;
            }
            let is_free = !owed && self.answers[at].is_empty();
            let may_tell = is_free && (self.know_members(key, to) || canary::is(Canary::UntoldPosted));
            if !may_tell || !cx.has_home_credit(to, 1, frame.len()) {
                cx.count(Counter::PostsOwed);
                if !canary::is(Canary::OwedPostForgotten) {
                    self.owe(key, at);
                }
                continue;
            }
            let origin = if reactor == to { session } else { SessionId::NONE };
            cx.to_home(to, ToHome::Posted(Posted { conversation, seq, ordinal, sender, origin }), frame);
        }
    }

    fn listening(&self, key: ConversationKey, at: usize) -> Listening {
        self.get(key).large.as_ref().map_or(Listening::default(), |large| large.reactors[at])
    }

    /// True if homes on a reactor were told who is a member. Until then they are told nothing else: somebody may have been removed.
    fn know_members(&self, key: ConversationKey, to: ReactorId) -> bool {
        let Conversation { shard, large, .. } = self.get(key);
        large.as_ref().is_some_and(|large| self.outboxes.has_told(*shard, to, large.changed))
    }

    fn owe(&mut self, key: ConversationKey, at: usize) {
        if let Some(large) = self.large_mut(key) {
            large.reactors[at].owed = true;
            self.owing.insert(key.0);
        }
    }

    /// Reactors that are owed the head of a large group are told it, as far as lanes have room and homes there know who is a member.
    pub(super) fn pay_owed(&mut self, cx: &mut impl ConversationContext) {
        let mut from = Key { index: 0, generation: 0 };
        while let Some(next) = self.owing.range(from..).next().copied() {
            self.pay_owed_of(ConversationKey(next), cx);
            from = Key { index: next.index, generation: next.generation + 1 };
        }
    }

    fn pay_owed_of(&mut self, key: ConversationKey, cx: &mut impl ConversationContext) {
        let mut is_paid = true;
        for at in 0..usize::from(self.config.layout.reactors) {
            let (to, Listening { listens, owed }) = (ReactorId(at as u16), self.listening(key, at));
            if !owed {
                continue;
            }
            let mut payload = Vec::new();
            self.write_head(key, None, &mut payload);
            let knows = self.know_members(key, to);
            if listens && (!knows || !self.answers[at].is_empty() || !cx.has_home_credit(to, 1, payload.len())) {
                is_paid = false;
                continue;
            }
            if let Some(large) = self.large_mut(key) {
                large.reactors[at].owed = false;
            }
            if listens {
                cx.to_home(to, ToHome::Heads { asker: Asker::NOBODY, user: UserId::NONE }, &payload);
            }
        }
        if is_paid {
            self.owing.remove(&key.0);
        }
    }

    /// A home asks for the heads of its user's large groups, and its reactor listens to them from now on. Without a user it only listens.
    pub(super) fn on_heads(
        &mut self,
        (from, asker, user): (ReactorId, Asker, UserId),
        groups: &[u8],
        cx: &mut impl ConversationContext,
    ) {
        let mut payload = Vec::new();
        let member = (!user.is_none()).then_some(user);
        for id in groups.as_chunks().0.iter().map(|id| ConversationId(*id)) {
            let Some(key) = self.find(id) else { continue };
            let Some(large) = self.large_mut(key) else { continue };
            if !canary::is(Canary::DeafReactor) {
                large.listens(from);
            }
            self.write_head(key, member, &mut payload);
        }
        if self.answers[from.0 as usize].is_empty() && cx.has_home_credit(from, 1, payload.len()) {
            return cx.to_home(from, ToHome::Heads { asker, user }, &payload);
        }
        // The groups that a reactor listens to for nobody in particular it is owed.
        if user.is_none() {
            for id in groups.as_chunks().0.iter().map(|id| ConversationId(*id)) {
                self.find(id).into_iter().for_each(|key| self.owe(key, from.0 as usize));
            }
            return;
        }
        self.answer(from, ToHome::AskHeadsAgain { asker }, cx);
    }

    /// Nobody on a reactor has a device connected any more.
    pub(super) fn on_leave(&mut self, from: ReactorId, id: ConversationId) {
        let Some(key) = self.find(id) else { return };
        if let Some(large) = self.large_mut(key) {
            let Listening { listens, owed, .. } = &mut large.reactors[from.0 as usize];
            (*listens, *owed) = (false, false);
        }
    }

    /// The head of a large group, for a member and as it knows itself, or for all that listen.
    fn write_head(&self, key: ConversationKey, user: Option<UserId>, payload: &mut Vec<u8>) {
        let Conversation { id, state, .. } = self.get(key);
        let member = user.map(|user| state.member(user).map(|at| &state.members[at]));
        let member = match member {
            None => None,
            Some(Some(member)) if member.membership.is_current() => Some(member),
            // The homes of former members were told what they may know.
            Some(_) => return,
        };
        let title = Group::in_view(&View { state, overlay: None }).map_or(&[][..], |group| group.title);
        let marks = member.map_or_else(Default::default, |member| member.marks);
        GroupHead {
            conversation: *id,
            head: state.head,
            ordinal: state.ordinal,
            delivered: marks.delivered,
            read: marks.read,
            seen: marks.seen,
            title: to_u32(title.len()),
        }
        .put(title, payload);
    }
}
