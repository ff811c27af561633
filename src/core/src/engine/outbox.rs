//! The outbox of a shard: which homes were told what. Head updates go to homes as entries are committed; one for which a lane has
//! no room is dropped, counted, and told again from here: no commit waits for a home. Homes write down how far they have what a shard told
//! ([`RecordKind::Sources`](crate::records::RecordKind)); after a start a shard asks for that, and tells what is missing.
//!
//! A shard's conversations form a list from the last changed to the first, so that telling costs as much as is missing.

use alloc::{boxed::Box, collections::BTreeSet, vec, vec::Vec};
use core::ops::Range;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{EntryIndex, Seq, UserId};

use super::{Conversation, ConversationKey, Conversations};
use crate::{
    context::ConversationContext,
    conversation::{blocks::Blocks, members::Member, state::Size, view::View},
    counters::Counter,
    effects::ReactorId,
    features::Group,
    home::SessionId,
    lanes::{Asker, Fanout, FanoutMember, Heads, Reached, Source, ToHome, Watermarks},
    limits::{MEMBERS_PER_STEP, STEPS_PER_MEMBERS},
    slab::Key,
};

/// Whether homes are told a group's title, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Titled {
    Yes,
    No,
}

/// Whose homes are told of a group's message.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// Those of all members, and of those whom it removes.
    AllMembers,
    /// Those of the members at these places.
    These(Vec<usize>),
}

/// Names no conversation.
const NONE: Key = Key::NONE;

/// A conversation's place in its shard's list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// The entry that changed it last.
    pub(super) changed: EntryIndex,
    newer: Key,
    older: Key,
}

impl Link {
    /// In no list.
    pub(super) const fn new() -> Self {
        Self { changed: EntryIndex(0), newer: NONE, older: NONE }
    }
}

/// How far the homes on a reactor were told.
#[derive(Clone, Copy, Debug)]
struct Reach {
    /// The first entry that they may not have been told of.
    missing: Option<EntryIndex>,
    /// The same, since the repetition that is under way began.
    since: Option<EntryIndex>,
    /// It is to be asked how far they are.
    ask: bool,
    /// How often they say that something was lost, and how often they did when the repetition that is under way began.
    losses: u32,
    heard: u32,
}

/// What is missing is being told.
#[derive(Clone, Copy, Debug)]
struct Walk {
    /// The next conversation.
    next: Key,
    /// The next of its members, if it is a large group.
    member: usize,
    /// The shard's last entry when it began.
    upto: EntryIndex,
}

/// A shard, as the source of what homes are told.
#[derive(Clone, Debug)]
struct ShardOutbox {
    newest: Key,
    last: EntryIndex,
    /// By reactor.
    told: Box<[Reach]>,
    walk: Option<Walk>,
}

/// The outboxes of a reactor's shards.
#[derive(Debug)]
pub(super) struct Outboxes {
    shards: Box<[ShardOutbox]>,
    /// Shards with something to ask or to tell.
    busy: BTreeSet<u16>,
    /// There was more to tell than may be told in one turn.
    has_more: bool,
}

impl Outboxes {
    /// Of so many shards, which tell homes on so many reactors.
    pub(super) fn new(shards: u32, reactors: u16) -> Self {
        let told = vec![Reach { missing: None, since: None, ask: false, losses: 0, heard: 0 }; reactors as usize]
            .into_boxed_slice();
        let outbox = ShardOutbox { newest: NONE, last: EntryIndex(0), told, walk: None };
        Self { shards: vec![outbox; shards as usize].into_boxed_slice(), busy: BTreeSet::new(), has_more: false }
    }

    /// What a head update for homes on a reactor says of where it comes from: all before it was told, or less.
    pub(super) fn source(&self, shard: u16, to: ReactorId, entry: EntryIndex) -> Source {
        let Reach { missing, since, .. } = self.shards[shard as usize].told[to.0 as usize];
        let first = missing.into_iter().chain(since).fold(entry, EntryIndex::min);
        Source { shard, reached: EntryIndex(first.0.saturating_sub(1)) }
    }

    /// True if homes on a reactor were told what a shard's entries say up to this one.
    pub(super) fn has_told(&self, shard: u16, to: ReactorId, entry: EntryIndex) -> bool {
        let Reach { missing, since, .. } = self.shards[shard as usize].told[to.0 as usize];
        missing.into_iter().chain(since).all(|first| first > entry)
    }

    /// Something less than its head was told of a conversation, which a walk may pass over for that: the next one tells it.
    pub(super) fn miss_if_walking(&mut self, shard: u16, to: ReactorId, entry: EntryIndex) {
        if self.shards[shard as usize].walk.is_some() {
            self.miss(shard, to, entry);
        }
    }

    /// A conversation that changed last in entry `before` changes in `entry`, while a walk may be on its way to it.
    fn keep_missing(&mut self, shard: usize, before: EntryIndex, entry: EntryIndex) {
        let outbox = &mut self.shards[shard];
        if outbox.walk.is_none() {
            return;
        }
        for told in &mut outbox.told {
            if told.missing.is_some_and(|first| before >= first) {
                told.since = Some(told.since.map_or(entry, |first| first.min(entry)));
            }
        }
    }

    /// True while there is something to ask or to tell.
    pub(super) fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Homes on a reactor were not told of an entry.
    fn miss(&mut self, shard: u16, to: ReactorId, entry: EntryIndex) {
        let outbox = &mut self.shards[shard as usize];
        let told = &mut outbox.told[to.0 as usize];
        let missing = if outbox.walk.is_some() { &mut told.since } else { &mut told.missing };
        *missing = Some(missing.map_or(entry, |first| first.min(entry)));
        self.busy.insert(shard);
    }
}

impl Conversations {
    /// A record of an entry changed nothing of a large group that its members' homes are told.
    pub(super) fn passed_by(&mut self, key: ConversationKey, entry: EntryIndex) {
        let shard = self.get(key).shard as usize;
        self.outboxes.shards[shard].last = self.outboxes.shards[shard].last.max(entry);
    }

    /// A record of an entry changed a conversation: it is the last changed of its shard.
    pub(super) fn changed_by(&mut self, key: ConversationKey, entry: EntryIndex) {
        let conversation = self.get_mut(key);
        let shard = conversation.shard as usize;
        let before = core::mem::replace(&mut conversation.link.changed, entry);
        let linked = before > EntryIndex(0);
        self.outboxes.shards[shard].last = self.outboxes.shards[shard].last.max(entry);
        // What a walk was to tell of it, and will not meet any more, the next one tells.
        self.outboxes.keep_missing(shard, before, entry);
        let newest = self.outboxes.shards[shard].newest;
        if newest == key.0 {
            return;
        }
        if linked {
            let Link { newer, older, .. } = self.get(key).link;
            if let Some(walk) = &mut self.outboxes.shards[shard].walk
                && walk.next == key.0
            {
                (walk.next, walk.member) = (older, 0); // it goes to where the walk has been
            }
            self.all[newer].link.older = older;
            if older != NONE {
                self.all[older].link.newer = newer;
            }
        }
        let link = &mut self.get_mut(key).link;
        (link.newer, link.older) = (NONE, newest);
        if newest != NONE {
            self.all[newest].link.newer = key.0;
        }
        self.outboxes.shards[shard].newest = key.0;
    }

    /// A head update or receipt of an entry for a home, or a note that it is missing there.
    pub(super) fn tell(
        &mut self,
        (shard, entry): (u16, EntryIndex),
        to: ReactorId,
        message: ToHome,
        payload: &[u8],
        cx: &mut impl ConversationContext,
    ) {
        if self.answers[to.0 as usize].is_empty() && cx.has_home_credit(to, 1, payload.len()) {
            return cx.to_home(to, message, payload);
        }
        cx.count(Counter::HeadUpdatesDropped);
        if !canary::is(Canary::DroppedHeadForgotten) {
            self.outboxes.miss(shard, to, entry);
        }
    }

    /// A group's message is committed: homes of members are told, those on one reactor at once.
    pub(super) fn fan_out(
        &mut self,
        key: ConversationKey,
        (shard, entry): (u16, EntryIndex),
        (reactor, session): (ReactorId, SessionId),
        (sender, frame, title): (UserId, &[u8], Titled),
        told: &Told,
        cx: &mut impl ConversationContext,
    ) {
        for to in (0..self.config.layout.reactors).map(ReactorId) {
            let origin = if reactor == to { session } else { SessionId::NONE };
            let source = self.outboxes.source(shard, to, entry);
            let all = 0..self.get(key).state.members.len();
            let (all, these) = match told {
                Told::AllMembers => (all, &[][..]),
                Told::These(places) => (0..0, &places[..]),
            };
            let places = all.chain(these.iter().copied());
            let picked = |member: &Member, head| member.membership.is_told(head);
            let what = (sender, frame, title);
            self.with_fanout(key, (to, origin, source), (places, picked), what, |this, fanout, payload| {
                this.tell((shard, entry), to, ToHome::Fanout(fanout), payload, cx);
                // In a large one whoever comes is there for the next message, before its home can say so.
                this.large_mut(key).into_iter().for_each(|large| large.listens(to));
            });
        }
    }

    /// Puts together what homes on a reactor are told of a group, if members that `told` picks have their homes there.
    fn with_fanout(
        &mut self,
        key: ConversationKey,
        (to, origin, source): (ReactorId, SessionId, Source),
        (places, told): (impl Iterator<Item = usize>, impl Fn(&Member, Seq) -> bool),
        (sender, frame, title): (UserId, &[u8], Titled),
        then: impl FnOnce(&mut Self, Fanout, &[u8]),
    ) {
        let mut payload = core::mem::take(&mut self.fanout_scratch);
        payload.clear();
        let Conversation { id, state, .. } = self.get(key);
        let here = |member: &&Member| self.config.layout.home(&member.user) == to && told(member, state.head);
        let is_large = state.size == Size::Large;
        let skipped = usize::from(canary::is(Canary::FanoutSkipsOne));
        let mut members = 0;
        for Member { user, membership, marks, .. } in places.map(|at| &state.members[at]).filter(here).skip(skipped) {
            let reach = if canary::is(Canary::FormerTold) { state.head } else { membership.reach(state.head) };
            let Watermarks { delivered, read, seen, .. } = *marks;
            let asks = is_large && membership.is_current();
            let heads = if asks { Heads::Asked } else { Heads::Told };
            // What came after the message that says so is asked for.
            let (head, ordinal) = if asks && frame.is_empty() {
                (membership.joined, seen.min(state.ordinal))
            } else {
                (reach, membership.content(state.ordinal))
            };
            FanoutMember { user: *user, head, delivered, read, ordinal, seen, heads }.put(&mut payload);
            members += 1;
        }
        let title = match title {
            Titled::Yes => Group::in_view(&View { state, overlay: None }).map_or(&[][..], |group| group.title),
            Titled::No => &[],
        };
        payload.extend_from_slice(title);
        let title = u16::try_from(title.len()).expect("at most TITLE_MAX");
        let fanout = Fanout { conversation: *id, sender, members, title, origin, source };
        if members > 0 {
            payload.extend_from_slice(frame);
            then(self, fanout, &payload);
        }
        self.fanout_scratch = payload;
    }

    /// A record that recovery read changed a conversation. Lists are made when all is read: rows come in any order.
    pub(super) fn replayed_change(&mut self, key: ConversationKey, entry: EntryIndex) {
        let link = &mut self.get_mut(key).link;
        link.changed = link.changed.max(entry);
    }

    /// Recovery read that a shard has entries up to this one.
    pub(crate) fn replayed_entry(&mut self, shard: u16, entry: EntryIndex) {
        let last = &mut self.outboxes.shards[shard as usize].last;
        *last = (*last).max(entry);
    }

    /// Everything was read: lists are in the order of changes.
    fn link_all(&mut self) {
        let mut order: Vec<Key> = self.all.iter().map(|(key, _)| key).collect();
        for conversation in self.all.iter_mut() {
            // What has no number that is known may have changed as late as anything.
            let last = self.outboxes.shards[conversation.shard as usize].last;
            conversation.link.changed = conversation.link.changed.min(last);
        }
        order.sort_by_key(|at| self.all[*at].link.changed);
        for at in order {
            let (shard, changed) = (self.all[at].shard as usize, self.all[at].link.changed);
            if changed == EntryIndex(0) {
                continue; // in no list
            }
            let older = core::mem::replace(&mut self.outboxes.shards[shard].newest, at);
            self.all[at].link = Link { changed, newer: NONE, older };
            if older != NONE {
                self.all[older].link.newer = at;
            }
        }
    }

    /// After a start: all homes are asked how far they have what this reactor's shards told.
    pub(crate) fn start_asking(&mut self) {
        self.link_all();
        self.start_streams();
        if canary::is(Canary::HeadUpdatesForgotten) {
            return;
        }
        for (shard, outbox) in (0..).zip(&mut self.outboxes.shards) {
            if outbox.last > EntryIndex(0) {
                // Until the answer is here nothing is claimed.
                outbox.told.fill(Reach { missing: Some(EntryIndex(0)), since: None, ask: true, losses: 0, heard: 0 });
                self.outboxes.busy.insert(shard);
            }
        }
    }

    /// The homes on a reactor have what a shard told up to an entry: the rest is told again.
    pub(super) fn on_reached(&mut self, from: ReactorId, reached: Reached) {
        let Reached { source, losses } = reached;
        let outbox = &mut self.outboxes.shards[source.shard as usize];
        let newest = self.all.get(outbox.newest).map_or(EntryIndex(0), |newest| newest.link.changed);
        let told = &mut outbox.told[from.0 as usize];
        // Entry 0 stands for not knowing. What was dropped meanwhile is above what they claim.
        told.missing.take_if(|first| *first == EntryIndex(0));
        let lost = core::mem::replace(&mut told.losses, losses) != losses;
        if source.reached < newest || lost {
            // After a loss something is told in any case, so that it can be said that nothing is missing any more.
            self.outboxes.miss(source.shard, from, source.reached.next().min(newest).max(EntryIndex(1)));
        }
    }

    /// True while there is more to tell than may be told in one turn.
    pub(super) fn is_telling(&self) -> bool {
        self.outboxes.has_more
    }

    /// Asks and tells, at most `most` conversations.
    pub(super) fn work_outboxes(&mut self, most: usize, cx: &mut impl ConversationContext) {
        let mut left = most;
        let mut from = 0;
        self.outboxes.has_more = false;
        while let Some(shard) = self.outboxes.busy.range(from..).next().copied() {
            self.work_outbox(shard, &mut left, cx);
            self.outboxes.has_more = left == 0;
            let Some(next) = shard.checked_add(1).filter(|_| left > 0) else { return };
            from = next;
        }
    }

    fn work_outbox(&mut self, shard: u16, left: &mut usize, cx: &mut impl ConversationContext) {
        for to in 0..self.config.layout.reactors {
            let (to, at) = (ReactorId(to), to as usize);
            if self.outboxes.shards[shard as usize].told[at].ask
                && self.answers[at].is_empty()
                && cx.has_home_credit(to, 1, 0)
            {
                self.outboxes.shards[shard as usize].told[at].ask = false;
                cx.to_home(to, ToHome::AskReached { shard }, &[]);
            }
        }
        // Whoever has not answered has nothing told twice: the walk begins when all have.
        let outbox = &self.outboxes.shards[shard as usize];
        if outbox.told.iter().any(|told| told.missing == Some(EntryIndex(0))) {
            return;
        }
        let Some(first) = outbox.told.iter().filter_map(|told| told.missing).min() else {
            self.outboxes.busy.remove(&shard);
            return;
        };
        if outbox.walk.is_none() {
            let outbox = &mut self.outboxes.shards[shard as usize];
            outbox.walk = Some(Walk { next: outbox.newest, member: 0, upto: outbox.last });
            outbox.told.iter_mut().for_each(|told| told.heard = told.losses);
        }
        while let Some(Walk { next, member, upto }) = self.outboxes.shards[shard as usize].walk {
            let link = self.all.get(next).map(|conversation| conversation.link);
            let Some(link) = link.filter(|link| link.changed >= first) else {
                return self.end_walk(shard, upto, cx);
            };
            // Of a large group so many members at once, of a small one all of them: a step for each four, and for each conversation of two.
            let (key, members) = (ConversationKey(next), self.all[next].state.members.len());
            let (upto, steps) = match self.all[next].state.size {
                Size::Small => (members, members.div_ceil(MEMBERS_PER_STEP / STEPS_PER_MEMBERS).max(1)),
                Size::Large => (members.min(member + MEMBERS_PER_STEP), STEPS_PER_MEMBERS),
            };
            if *left == 0 || !self.tell_again(key, member..upto, cx) {
                return;
            }
            *left = left.saturating_sub(steps);
            if let Some(walk) = &mut self.outboxes.shards[shard as usize].walk {
                (walk.next, walk.member) = if upto == members { (link.older, 0) } else { (next, upto) };
            }
        }
    }

    /// Tells the homes of members that may not know of a conversation's last change. False if there is no room.
    fn tell_again(&mut self, key: ConversationKey, places: Range<usize>, cx: &mut impl ConversationContext) -> bool {
        let (shard, changed) = (self.get(key).shard, self.get(key).link.changed);
        if self.get(key).id.is_group() {
            return self.fan_out_again(key, places, cx);
        }
        for member in places {
            let to = self.config.layout.home(&self.get(key).state.members[member].user);
            let missing = self.outboxes.shards[shard as usize].told[to.0 as usize].missing;
            if missing.is_none_or(|first| changed < first) {
                continue;
            }
            let (head, blocks) = (self.get(key).state.head, self.get(key).state.blocks() != Blocks::default());
            if !self.answers[to.0 as usize].is_empty() || !cx.has_home_credit(to, 1 + usize::from(blocks), 0) {
                return false;
            }
            let source = self.outboxes.source(shard, to, changed);
            let update = self.head_update_as_seen(key, member, source);
            cx.count(Counter::HeadUpdatesRepeated);
            // Of one in which nobody has written the blocked is told nothing.
            if head > Seq(0) {
                cx.to_home(to, ToHome::HeadUpdate(update), &[]);
            }
            if blocks {
                let update = self.blocks_of(key, update.user, (Asker::NOBODY, Some(source)));
                cx.to_home(to, ToHome::Blocks(update), &[]);
            }
        }
        true
    }

    /// The same for a group.
    fn fan_out_again(&mut self, key: ConversationKey, places: Range<usize>, cx: &mut impl ConversationContext) -> bool {
        let Conversation { shard, link: Link { changed, .. }, .. } = *self.get(key);
        for to in (0..self.config.layout.reactors).map(ReactorId) {
            let missing = self.outboxes.shards[shard as usize].told[to.0 as usize].missing;
            if missing.is_none_or(|first| changed < first) {
                continue;
            }
            let (source, mut is_told) = (self.outboxes.source(shard, to, changed), true);
            // What a group is called since is nothing for who left it before.
            for title in [Titled::Yes, Titled::No] {
                let told = |member: &Member, head| {
                    let knows = member.membership.is_current() || member.membership.stay.last == head;
                    member.membership.was_ever() && knows == (title == Titled::Yes)
                };
                let of = (to, SessionId::NONE, source);
                let who = (places.clone(), told);
                self.with_fanout(key, of, who, (UserId::NONE, &[], title), |this, fanout, payload| {
                    is_told = this.answers[to.0 as usize].is_empty() && cx.has_home_credit(to, 1, payload.len());
                    if is_told {
                        cx.count(Counter::HeadUpdatesRepeated);
                        cx.to_home(to, ToHome::Fanout(fanout), payload);
                    }
                });
                if !is_told {
                    return false;
                }
            }
        }
        true
    }

    /// Everything up to an entry was told: homes may say so.
    fn end_walk(&mut self, shard: u16, upto: EntryIndex, cx: &mut impl ConversationContext) {
        for to in 0..self.config.layout.reactors {
            let (to, at) = (ReactorId(to), to as usize);
            if self.outboxes.shards[shard as usize].told[at].missing.is_none() {
                continue;
            }
            if !self.answers[at].is_empty() || !cx.has_home_credit(to, 1, 0) {
                return; // comes again: the walk stays at its end
            }
            let told = &mut self.outboxes.shards[shard as usize].told[at];
            told.missing = None;
            let reached = Reached { source: Source { shard, reached: upto }, losses: told.heard };
            cx.to_home(to, ToHome::Reached(reached), &[]);
        }
        let outbox = &mut self.outboxes.shards[shard as usize];
        outbox.walk = None;
        // What was dropped meanwhile is next.
        outbox.told.iter_mut().for_each(|told| told.missing = told.since.take());
        if outbox.told.iter().all(|told| told.missing.is_none()) {
            self.outboxes.busy.remove(&shard);
        }
    }
}
