//! Large groups: their members' homes are told who comes and goes, and nothing else. Whoever has a device connected makes its reactor *listen*;
//! a message is told to reactors that listen, once each. A lane that has no room for it is owed the head instead, which makes devices look.
//! Nothing of that outlives the process: neither do connections.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec,
    vec::Vec,
};
use core::ops::Bound;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{ConversationId, Seq, UserId, limits::COUNTED_MAX};

use super::{Conversation, ConversationKey, Conversations};
use crate::{
    context::ConversationContext,
    conversation::{
        state::{MessageFact, Size, State},
        view::View,
    },
    counters::Counter,
    effects::ReactorId,
    features::{Group, Weight, is_deleted},
    home::SessionId,
    lanes::{Asker, GroupHead, Posted, ToHome},
    limits::{Bucket, GROUP_READ_MS, OWED_PER_TURN},
    narrow::{to_u32, to_usize},
    time::Mono,
};

/// What is known of a large group while the process lives.
#[derive(Debug)]
pub(super) struct Large {
    /// By reactor.
    reactors: Box<[Listening]>,
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
    fn new(reactors: u16) -> Self {
        Self {
            reactors: vec![Listening::default(); reactors as usize].into_boxed_slice(),
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
        let members = state.members.iter().filter(|member| member.membership.is_current());
        members.for_each(|member| readers.moved(Seq(0), member.marks.shown));
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

    /// True if a member's home asks how far that is: homes of former ones do not, and nobody asks about a group that was deleted.
    pub(super) fn asks_for_marks(&self, key: ConversationKey, member: usize) -> bool {
        let state = &self.get(key).state;
        let is_current = state.members[member].membership.is_current();
        self.is_large(key) && is_current && !is_deleted(&View { state, overlay: None })
    }

    /// A conversation is a large group from now on, if it was none.
    pub(super) fn grow(&mut self, key: ConversationKey) {
        let reactors = self.config.layout.reactors;
        self.get_mut(key).large.get_or_insert_with(|| Box::new(Large::new(reactors)));
    }

    /// How many members of a large group have read a message; `None` of one that is not counted.
    pub(super) fn readers(&mut self, key: ConversationKey, seq: Seq) -> Option<u32> {
        let is_large = self.is_large(key);
        let conversation = self.get_mut(key);
        let Seq(head) = conversation.state.head;
        if !is_large || seq == Seq(0) || seq.0 > head || seq.0 + COUNTED_MAX as u64 <= head {
            return None;
        }
        let readers = conversation.readers.get_or_insert_with(|| Box::new(Readers::of(&conversation.state)));
        readers.up_to(seq)
    }

    /// Message `seq` of a large group changed memberships: who counts is who is a member.
    pub(super) fn recount(&mut self, key: ConversationKey, seq: Seq, touched: &[usize]) {
        let Conversation { readers, state, .. } = self.get_mut(key);
        let Some(readers) = readers else { return };
        readers.rise(seq);
        for member in touched.iter().map(|at| &state.members[*at]) {
            match member.membership.is_current() {
                true if member.membership.joined == seq => readers.moved(Seq(0), member.marks.shown),
                true => {}
                false => readers.moved(member.marks.shown, Seq(0)),
            }
        }
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
        let MessageFact { seq, ordinal, sender, weight, .. } = *fact;
        for to in (0..self.config.layout.reactors).map(ReactorId) {
            let Listening { listens, owed } = self.listening(key, to);
            if !listens {
                continue;
            }
            let may_tell = !owed && self.know_members(key, to) && self.answers[to.0 as usize].is_empty();
            if !may_tell || !cx.has_home_credit(to, 1, frame.len()) {
                cx.count(Counter::PostsOwed);
                if !canary::is(Canary::OwedPostForgotten) {
                    self.owe(key, to);
                }
                continue;
            }
            let origin = if reactor == to { session } else { SessionId::NONE };
            let posted = Posted { conversation, seq, ordinal, sender, weight, origin };
            cx.to_home(to, ToHome::Posted(posted), frame);
        }
    }

    fn listening(&self, key: ConversationKey, to: ReactorId) -> Listening {
        self.get(key).large.as_ref().map_or(Listening::default(), |large| large.reactors[to.0 as usize])
    }

    /// True if homes on a reactor were told who is a member. Until then they are told nothing else: somebody may have been removed.
    fn know_members(&self, key: ConversationKey, to: ReactorId) -> bool {
        let Conversation { shard, link, .. } = self.get(key);
        self.outboxes.has_told(*shard, to, link.changed)
    }

    fn owe(&mut self, key: ConversationKey, to: ReactorId) {
        if let Some(large) = self.large_mut(key) {
            large.reactors[to.0 as usize].owed = true;
            self.owing.insert(key.0);
        }
    }

    /// Reactors that are owed the head of a large group are told it, as far as lanes have room and homes there know who is a member.
    pub(super) fn pay_owed(&mut self, cx: &mut impl ConversationContext) {
        for _ in 0..OWED_PER_TURN.min(self.owing.len()) {
            let after = (Bound::Excluded(self.owing_at), Bound::Unbounded);
            let next = self.owing.range(after).next().or_else(|| self.owing.first()).copied();
            let Some(next) = next else { return };
            self.owing_at = next;
            if self.pay_owed_of(ConversationKey(next), cx) {
                self.owing.remove(&next);
            }
        }
    }

    /// True if none of them is owed anything any more.
    fn pay_owed_of(&mut self, key: ConversationKey, cx: &mut impl ConversationContext) -> bool {
        let Conversation { id: conversation, state: State { head: seq, ordinal, .. }, .. } = *self.get(key);
        let mut is_paid = true;
        for to in (0..self.config.layout.reactors).map(ReactorId) {
            let Listening { listens, owed } = self.listening(key, to);
            let may_tell = || self.know_members(key, to) && self.answers[to.0 as usize].is_empty();
            if !owed {
                continue;
            }
            if listens && !(may_tell() && cx.has_home_credit(to, 1, 0)) {
                is_paid = false;
                continue;
            }
            if let Some(large) = self.large_mut(key) {
                large.reactors[to.0 as usize].owed = false;
            }
            if listens {
                let (sender, weight, origin) = (UserId::NONE, Weight::Control, SessionId::NONE);
                let bell = Posted { conversation, seq, ordinal, sender, weight, origin };
                cx.to_home(to, ToHome::Bell(bell), &[]);
            }
        }
        is_paid
    }

    /// A home asks for the heads of its user's large groups, and its reactor listens to them from now on.
    pub(super) fn on_heads(
        &mut self,
        (from, asker, user): (ReactorId, Asker, UserId),
        groups: &[u8],
        cx: &mut impl ConversationContext,
    ) {
        let mut payload = Vec::new();
        for key in self.listened(from, groups) {
            self.write_head(key, user, &mut payload);
        }
        if self.answers[from.0 as usize].is_empty() && cx.has_home_credit(from, 1, payload.len()) {
            return cx.to_home(from, ToHome::Heads { asker }, &payload);
        }
        self.answer(from, ToHome::AskHeadsAgain { asker }, cx);
    }

    /// A reactor listens to groups from now on, and is owed where they are.
    pub(super) fn on_listen(&mut self, from: ReactorId, groups: &[u8], cx: &mut impl ConversationContext) {
        for key in self.listened(from, groups) {
            self.owe(key, from);
            if self.pay_owed_of(key, cx) {
                self.owing.remove(&key.0);
            }
        }
    }

    /// The large groups among some, to which a reactor listens from now on.
    fn listened(&mut self, from: ReactorId, groups: &[u8]) -> Vec<ConversationKey> {
        let mut listened = Vec::new();
        for id in groups.as_chunks().0 {
            let Some(key) = self.find(ConversationId(*id)) else { continue };
            let Some(large) = self.get_mut(key).large.as_deref_mut() else { continue };
            if !canary::is(Canary::DeafReactor) {
                large.listens(from);
            }
            listened.push(key);
        }
        listened
    }

    /// Nobody on a reactor has a device connected any more.
    pub(super) fn on_leave(&mut self, from: ReactorId, id: ConversationId) {
        let Some(key) = self.find(id) else { return };
        if let Some(large) = self.large_mut(key) {
            large.reactors[from.0 as usize] = Listening::default();
        }
    }

    /// The head of a large group for one of its members. Homes of former ones were told what they may know.
    fn write_head(&self, key: ConversationKey, user: UserId, payload: &mut Vec<u8>) {
        let Conversation { id, state, .. } = self.get(key);
        let member = state.member(user).map(|at| &state.members[at]);
        let Some(member) = member.filter(|member| member.membership.is_current()) else { return };
        let group = Group::in_view(&View { state, overlay: None });
        let title = group.map_or(&[][..], |group| group.title);
        GroupHead {
            conversation: *id,
            head: state.head,
            ordinal: state.ordinal,
            delivered: member.marks.delivered,
            read: member.marks.read,
            seen: member.marks.seen,
            deleted: group.map_or(Seq(0), |group| group.deleted()),
            title: to_u32(title.len()),
        }
        .put(title, payload);
    }
}
