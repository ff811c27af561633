//! Who is there. A user is *online* while a session that has resumed is active. Whoever wants to know watches its home, which decides
//! who may, for as long as a lease lasts, and is told now and whenever that changes: a little later and not all at once, so that a connection that is cut
//! and comes back changes nothing, and many that come back are not told of in one turn. Nothing of it is durable.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::num::NonZeroU32;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    Timestamp, UserId,
    frame::{self},
    frames::{self, Activity, PresenceState, Visibility, Watch},
};

use super::{Homes, SessionId, index::HomeKey, session::Session};
use crate::{
    context::HomeContext,
    counters::Counter,
    ephemeral::{Ephemeral, Relation, Watcher, spread},
    limits::{
        EPHEMERAL_OUT, LEASES_PER_TURN, OFFLINE_AFTER_MS, PRESENCE_JITTER_MS, PRESENCE_TOLD_PER_TURN, WATCHERS_MAX,
        WATCHERS_PER_USER, WATCHES_OF_ONE,
    },
    shedding::Stage,
    slab::Key,
    time::{Mono, Now},
};

/// When a user was there last, to the second; small since every home has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastSeen {
    /// Not since the server knows.
    #[default]
    Unknown,
    /// It is there.
    Now,
    /// In this second since 1970.
    At(NonZeroU32),
}

impl LastSeen {
    fn at(time: Timestamp) -> Self {
        let second = u32::try_from(time.0 / 1_000_000).unwrap_or(u32::MAX);
        NonZeroU32::new(second).map_or(Self::Unknown, Self::At)
    }

    /// The second's beginning; 0 if there is none.
    fn timestamp(self) -> Timestamp {
        match self {
            Self::At(second) => Timestamp(u64::from(second.get()) * 1_000_000),
            Self::Unknown | Self::Now => Timestamp(0),
        }
    }
}

/// Somebody who watches a user.
#[derive(Clone, Copy, Debug)]
struct Watching {
    watcher: Watcher,
    relation: Relation,
    until: Mono,
}

/// Those who watch a user.
#[derive(Debug)]
struct Watched {
    by: Vec<Watching>,
    /// What they were told.
    told: PresenceState,
    /// They are to be told something else at a time.
    due: Option<Mono>,
}

impl Watched {
    /// Whose lease is over does not watch any more. Gives how many that are.
    fn forget_until(&mut self, now: Mono) -> usize {
        let before = self.by.len();
        self.by.retain(|watching| watching.until > now);
        before - self.by.len()
    }
}

/// Everybody who watches somebody whose home is here.
#[derive(Debug)]
pub(super) struct Presences {
    watched: BTreeMap<Key, Watched>,
    /// When the first lease of those who watch a home may be over.
    leases: BTreeSet<(Mono, Key)>,
    /// How many watch, in all.
    watchers: usize,
    /// When homes are looked at again whose users may have come or gone.
    due: BTreeSet<(Mono, Key)>,
    /// Homes whose sessions came, went, or became active or not, since the last turn.
    stirred: Vec<HomeKey>,
}

impl Default for Presences {
    fn default() -> Self {
        let (watched, leases, due, stirred) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new(), Vec::new());
        Self { watched, leases, watchers: 0, due, stirred }
    }
}

impl Homes {
    /// A session came, went, or became active or not.
    pub(super) fn stir(&mut self, home: HomeKey) {
        if self.presences.stirred.last() != Some(&home) {
            self.presences.stirred.push(home);
        }
    }

    /// True if somebody may have come or gone since the last turn.
    pub(crate) fn is_stirred(&self) -> bool {
        !self.presences.stirred.is_empty()
    }

    /// When somebody is to be told, or a lease ends.
    pub(super) fn next_presence(&self) -> Option<Mono> {
        let is_told = !self.shedding.sheds(Stage::Presence);
        let due = self.presences.due.first().filter(|_| is_told).map(|(at, _)| *at);
        due.into_iter().chain(self.presences.leases.first().map(|(until, _)| *until)).min()
    }

    /// How many watch somebody here: at most [`WATCHERS_MAX`].
    pub(crate) fn watchers(&self) -> usize {
        self.presences.watchers
    }

    /// Somebody wants to know whether a user is there. Somebody who never came has no home, and is given none.
    pub(super) fn on_watched(&mut self, user: UserId, watcher: Watcher, relation: Relation, cx: &mut impl HomeContext) {
        let home = self.index.find_home(user);
        let blocks = home.is_some_and(|home| self.does_block(home, watcher.user));
        let relation = if blocks { Relation::Blocked } else { relation };
        if let Some(home) = home {
            self.watch(home, Watching { watcher, relation, until: cx.now().mono.plus_ms(LEASE_MS) }, cx);
        }
        let (state, last_seen) = self.presence(home, relation);
        let to = alloc::vec![(watcher.reactor, watcher.session.0.to_u64().to_le_bytes())];
        spread(to, Ephemeral::Presence { user, state, last_seen }, cx);
    }

    fn watch(&mut self, home: HomeKey, watching: Watching, cx: &mut impl HomeContext) {
        let (now, told) = (cx.now().mono, self.state_of(home));
        let Presences { watched, leases, watchers, .. } = &mut self.presences;
        let watched = watched.entry(home.0).or_insert_with(|| {
            leases.insert((watching.until, home.0));
            Watched { by: Vec::new(), told, due: None }
        });
        if let Some(known) = watched.by.iter_mut().find(|known| known.watcher == watching.watcher) {
            *known = watching;
            return;
        }
        // One user takes a few places, however often it connects.
        let own = watched.by.iter_mut().filter(|known| known.watcher.user == watching.watcher.user);
        let (count, oldest) = own.fold((0, None::<&mut Watching>), |(count, oldest), known| {
            let is_older = oldest.as_ref().is_none_or(|oldest| known.until < oldest.until);
            (count + 1, if is_older { Some(known) } else { oldest })
        });
        if let Some(oldest) = oldest.filter(|_| count >= WATCHES_OF_ONE) {
            *oldest = watching;
            return;
        }
        if watched.by.len() >= WATCHERS_PER_USER {
            *watchers -= watched.forget_until(now);
        }
        if watched.by.len() >= WATCHERS_PER_USER || *watchers >= WATCHERS_MAX {
            return cx.count(Counter::EphemeralDropped);
        }
        watched.by.push(watching);
        *watchers += 1;
    }

    /// What somebody is shown of a user.
    fn presence(&self, home: Option<HomeKey>, relation: Relation) -> (PresenceState, Timestamp) {
        let Some(home) = home else { return (PresenceState::Offline, Timestamp(0)) };
        if !shows(self.visibility(home), relation) {
            return (PresenceState::Hidden, Timestamp(0));
        }
        // All who watch are told the same.
        let state = self.presences.watched.get(&home.0).map_or_else(|| self.state_of(home), |watched| watched.told);
        let last_seen = if state == PresenceState::Offline { self.last_seen(home) } else { Timestamp(0) };
        (state, last_seen)
    }

    /// When a user was there last. Before this run of the server its devices say it, as far as it is written down.
    fn last_seen(&self, home: HomeKey) -> Timestamp {
        let home = self.index.get(home);
        let devices = || home.own.as_ref().and_then(|own| own.devices.iter().map(|known| known.seen.timestamp()).max());
        match home.last_seen {
            LastSeen::Unknown | LastSeen::Now => devices().unwrap_or_default(),
            at @ LastSeen::At(_) => at.timestamp(),
        }
    }

    fn state_of(&self, home: HomeKey) -> PresenceState {
        let is_there = |id: &SessionId| self.sessions.get(*id).is_some_and(Session::is_there);
        let online = self.index.get(home).sessions.iter().any(is_there);
        if online { PresenceState::Online } else { PresenceState::Offline }
    }

    /// Who is told whether a user is there.
    fn visibility(&self, home: HomeKey) -> Visibility {
        self.index.get(home).own.as_ref().map_or(Visibility::Everybody, |own| own.visibility())
    }

    /// A user wants others to be told, or not to be told any more, whether it is there: they are, at once.
    pub(super) fn show_presence(&mut self, home: HomeKey, before: Visibility, cx: &mut impl HomeContext) {
        let now = self.visibility(home);
        self.tell_watchers(home, |relation| shows(before, relation) || shows(now, relation), cx);
    }

    /// A user blocks somebody, who is told no more whether it is there. Who was not told so before learns nothing.
    pub(super) fn hide_presence(&mut self, home: HomeKey, from: UserId, cx: &mut impl HomeContext) {
        let (now, visibility) = (cx.now().mono, self.visibility(home));
        let Some(watched) = self.presences.watched.get_mut(&home.0) else { return };
        let mut to = Vec::new();
        for watching in watched.by.iter_mut().filter(|watching| watching.watcher.user == from) {
            let relation = core::mem::replace(&mut watching.relation, Relation::Blocked);
            if watching.until > now && shows(visibility, relation) {
                to.push((watching.watcher.reactor, watching.watcher.session.0.to_u64().to_le_bytes()));
            }
        }
        let user = self.index.get(home).user;
        spread(to, Ephemeral::Presence { user, state: PresenceState::Hidden, last_seen: Timestamp(0) }, cx);
    }

    /// Tells those who watch what has changed since they were told, and forgets those whose lease is over. To be called once a turn.
    pub(crate) fn tell_presence(&mut self, cx: &mut impl HomeContext) {
        let now = cx.now();
        self.forget_rate(now.mono);
        let stirred = core::mem::take(&mut self.presences.stirred);
        stirred.iter().for_each(|home| self.look_at(*home, now, cx));
        self.presences.stirred = stirred;
        self.presences.stirred.clear();
        let mut left = if self.shedding.sheds(Stage::Presence) { 0 } else { PRESENCE_TOLD_PER_TURN };
        while left > 0 {
            let Some((_, key)) = self.presences.due.first().copied().filter(|(at, _)| *at <= now.mono) else { break };
            self.presences.due.pop_first();
            let home = HomeKey(key);
            let state = self.state_of(home);
            let Some(watched) = self.presences.watched.get_mut(&key) else { continue };
            watched.due = None;
            left = left.saturating_sub(1 + watched.by.len());
            if watched.told != state && !(state == PresenceState::Offline && canary::is(Canary::LeavingUntold)) {
                watched.told = state;
                // From whom it is hidden learns nothing, not even that something changed.
                let visibility = self.visibility(home);
                self.tell_watchers(home, |relation| shows(visibility, relation), cx);
            }
        }
        for _ in 0..LEASES_PER_TURN {
            let Presences { watched, leases, watchers, due, .. } = &mut self.presences;
            let Some((_, home)) = leases.first().copied().filter(|(until, _)| *until <= now.mono) else { break };
            leases.pop_first();
            let Some(of) = watched.get_mut(&home) else { continue };
            *watchers -= of.forget_until(now.mono);
            match of.by.iter().map(|watching| watching.until).min() {
                Some(next) => drop(leases.insert((next, home))),
                None => {
                    of.due.map(|at| due.remove(&(at, home)));
                    watched.remove(&home);
                }
            }
        }
    }

    /// Somebody may have come or gone.
    fn look_at(&mut self, key: HomeKey, now: Now, cx: &mut impl HomeContext) {
        let state = self.state_of(key);
        let home = self.index.get_mut(key);
        match (state, home.last_seen) {
            (PresenceState::Online, _) => home.last_seen = LastSeen::Now,
            (_, LastSeen::Now) => {
                home.last_seen = LastSeen::at(now.wall);
                // So that a restart does not forget more of it than what is written down may be behind.
                if home.own.as_mut().is_some_and(|own| own.left(now.wall)) {
                    self.changed_own(key, cx);
                }
            }
            _ => {}
        }
        let home = self.index.get(key);
        let Some(watched) = self.presences.watched.get_mut(&key.0) else { return };
        if watched.told == state {
            // It came back before anybody was told.
            watched.due.take().map(|at| self.presences.due.remove(&(at, key.0)));
            return;
        }
        if watched.due.is_some() {
            return;
        }
        let wait_ms = if state == PresenceState::Online { 0 } else { OFFLINE_AFTER_MS };
        // Each user has its own delay, so that many who come back at once are not told of at once.
        let jitter = u64::from(home.user.0[8]) | u64::from(home.user.0[9]) << 8;
        let at = now.mono.plus_ms(wait_ms + jitter % PRESENCE_JITTER_MS);
        watched.due = Some(at);
        self.presences.due.insert((at, key.0));
    }

    fn tell_watchers(&mut self, home: HomeKey, are_told: impl Fn(Relation) -> bool, cx: &mut impl HomeContext) {
        let now = cx.now().mono;
        let Some(watched) = self.presences.watched.get(&home.0) else { return };
        let user = self.index.get(home).user;
        for relation in [Relation::Stranger, Relation::WrittenTo].into_iter().filter(|relation| are_told(*relation)) {
            let alike = watched.by.iter().filter(|watching| watching.until > now && watching.relation == relation);
            let to = alike.map(|Watching { watcher, .. }| (watcher.reactor, watcher.session.0.to_u64().to_le_bytes()));
            let (state, last_seen) = self.presence(Some(home), relation);
            spread(to.collect(), Ephemeral::Presence { user, state, last_seen }, cx);
        }
    }

    /// Sessions that watch a user are told whether it is there.
    pub(super) fn on_presence(&mut self, presence: frames::Presence, payload: &[u8], cx: &mut impl HomeContext) {
        for id in payload.as_chunks().0 {
            let id = SessionId(Key::from_u64(u64::from_le_bytes(*id)));
            let Some(session) = self.sessions.get(id).filter(|session| session.activity == Activity::Active) else {
                continue;
            };
            if cx.buffered(session.conn) > EPHEMERAL_OUT {
                cx.count(Counter::EphemeralDropped);
                continue;
            }
            frame::append(cx.out_later(session.conn), 0, &presence);
            cx.count(Counter::EphemeralTold);
        }
    }
}

/// How long somebody is told of a user whom it watches.
const LEASE_MS: u64 = Watch::LEASE_S as u64 * 1000;

fn shows(visibility: Visibility, relation: Relation) -> bool {
    let shows = match visibility {
        _ if relation == Relation::Blocked => false,
        Visibility::Everybody => true,
        Visibility::WrittenTo => relation == Relation::WrittenTo,
        Visibility::Nobody => false,
    };
    shows || canary::is(Canary::HiddenPresenceTold)
}
