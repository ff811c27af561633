//! Homes: per user the live sessions and the change index, on the user's reactor. What comes in are frames of sessions and what
//! conversations tell; what goes out are socket output, home records, and messages to conversations.

mod authentication;
mod barred;
mod beginning;
mod blocking;
mod catch_up;
mod devices;
mod doing;
mod dozing;
mod expiry;
mod far;
mod forgotten;
mod frames;
mod index;
mod listening;
mod opening;
mod overload;
mod own;
mod preferences;
mod presence;
mod rates;
mod retry;
mod session;
mod settings;
mod sources;
mod streamed;
mod tails;
mod told;
mod upkeep;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec,
    vec::Vec,
};

use tidings_wire::{BatchPosition, ConversationId, Lsn, UserId, frames::Resume};

use crate::{
    counters::{Counter, Counters},
    effects::ConnId,
    lanes::{Blocking, ToConversation},
    limits::RESUMES_PER_TURN,
    node::NodeConfig,
    placement::Origin,
    records::HomeEntryRecord,
    shedding::Shedding,
    slab::Key,
    time::Mono,
};
pub use authentication::{
    Authenticated, COME_AGAIN_MS, Claims, Renewal, Scope, TokenFault, Verifier, authenticate, reauthenticate,
};
pub(crate) use frames::Command;
pub use index::EntryKey;
use index::{HomeKey, Index};
pub use own::Bound;
pub use session::SessionId;
use session::Sessions;

/// The homes of a reactor, with their sessions.
#[derive(Debug)]
pub(crate) struct Homes {
    config: NodeConfig,
    sessions: Sessions,
    index: Index,
    /// Homes with changes that are not in the log, and when they must be.
    dirty: VecDeque<(HomeKey, Mono)>,
    /// How many were ever put there.
    dirtied: u64,
    sources: sources::Sources,
    /// Who waits for what it changed to be durable.
    asked: Vec<settings::Asked>,
    /// Homes with something that the user keeps and that found no room in the log.
    unwritten: VecDeque<HomeKey>,
    /// Tails that lists ask for: they go to their conversations next.
    tails: Vec<ToConversation>,
    /// Sessions that wait for tails; few do at a time.
    with_tails: BTreeMap<Key, tails::Tails>,
    /// The large groups that somebody here listens to.
    listening: listening::Listening,
    /// What users do not want to see any more.
    forgotten: BTreeMap<(Key, ConversationId), forgotten::Forgotten>,
    /// How many ranges of that each has.
    forgotten_of: BTreeMap<Key, usize>,
    /// Who blocks whom, or did.
    barred: BTreeMap<(Key, UserId), Blocking>,
    /// What of it found no room in the log.
    unwritten_barred: VecDeque<(HomeKey, UserId)>,
    /// Who watches whom.
    presences: presence::Presences,
    rates: rates::Rates,
    /// See [`Homes::set_fullness`].
    state_share: u8,
    entities_share: u8,
    /// What is left undone since there is too much to do.
    pub(crate) shedding: Shedding,
    /// SENDs that any session may have in flight now; a service's may have more.
    window: u16,
    /// RESUMEs that wait for a turn, and how many this turn still answers.
    resumes: VecDeque<(SessionId, u64, Resume)>,
    resumes_left: usize,
    /// FETCHes of sessions that are for other reactors.
    far: BTreeMap<Key, far::Far>,
    /// Sessions that may have room for the next of those.
    may_fetch: VecDeque<SessionId>,
    /// When sessions are looked at that may not acknowledge.
    alarms: BTreeSet<retry::Alarm>,
    /// When sessions end with their tokens, the next first.
    expiring: BTreeSet<expiry::Ending>,
    /// Records that were appended and are not committed yet, by shard.
    waiting: Box<[VecDeque<(BatchPosition, upkeep::Waiting)>]>,
    /// Rows that were appended and are not durable yet.
    rows: VecDeque<(BatchPosition, upkeep::Row)>,
    evacuation: Option<upkeep::Evacuation>,
    /// Where the first row is of the home that is being written again.
    rewritten: Option<Origin>,
    entry_scratch: Vec<(index::EntryKey, HomeEntryRecord)>,
    frame_scratch: Vec<u8>,
    /// The last durable batch.
    durable: Lsn,
}

impl Homes {
    /// None.
    pub(crate) fn new(config: NodeConfig) -> Self {
        let layout = config.layout;
        let owned = layout.shards.all().filter(|shard| layout.reactor(*shard) == config.me);
        Self {
            sessions: Sessions::default(),
            index: Index::new(config.seed),
            dirty: VecDeque::new(),
            dirtied: 0,
            sources: sources::Sources::new(layout.shards.count(), owned),
            asked: Vec::new(),
            unwritten: VecDeque::new(),
            tails: Vec::new(),
            with_tails: BTreeMap::new(),
            listening: listening::Listening::default(),
            forgotten: BTreeMap::new(),
            forgotten_of: BTreeMap::new(),
            barred: BTreeMap::new(),
            unwritten_barred: VecDeque::new(),
            presences: presence::Presences::default(),
            rates: rates::Rates::default(),
            state_share: 0,
            entities_share: 0,
            shedding: Shedding::default(),
            window: Scope::User.window(),
            resumes: VecDeque::new(),
            resumes_left: RESUMES_PER_TURN,
            far: BTreeMap::new(),
            may_fetch: VecDeque::new(),
            alarms: BTreeSet::new(),
            expiring: BTreeSet::new(),
            waiting: vec![VecDeque::new(); layout.shards.count() as usize].into_boxed_slice(),
            rows: VecDeque::new(),
            evacuation: None,
            rewritten: None,
            entry_scratch: Vec::new(),
            frame_scratch: Vec::new(),
            durable: Lsn(0),
            config,
        }
    }

    /// Records that were appended and are not committed yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum::<usize>() + self.rows.len()
    }

    /// The user of a session, while it lives.
    pub(crate) fn user_of(&self, id: SessionId) -> Option<UserId> {
        self.sessions.get(id).map(|session| session.user)
    }

    /// The connection of a session, while it lives.
    pub(crate) fn conn_of(&self, id: SessionId) -> Option<ConnId> {
        self.sessions.get(id).map(|session| session.conn)
    }

    /// The connection of a session is gone, or is to go.
    pub(crate) fn close_session(&mut self, id: SessionId, counters: &mut Counters) {
        if let Some(session) = self.sessions.close(id) {
            self.with_tails.remove(&id.0);
            self.far.remove(&id.0);
            session.ends.map(|ends| self.expiring.remove(&expiry::Ending::of(id, ends)));
            let open = &mut self.index.get_mut(session.home).sessions;
            open.retain(|other| *other != id);
            let deserted = open.is_empty().then_some(session.home);
            self.hears_no_more(id, deserted);
            if session.is_there() {
                self.stir(session.home);
            }
            counters.count(Counter::SessionsClosed);
        }
    }

    /// The name of a home's user, until it is given back.
    #[inline(always)]
    pub(crate) fn lend_name(&mut self, home: HomeKey) -> Box<str> {
        core::mem::take(&mut self.index.get_mut(home).name)
    }

    /// Gives back what [`Self::lend_name`] gave.
    #[inline(always)]
    pub(crate) fn return_name(&mut self, home: HomeKey, name: Box<str>) {
        self.index.get_mut(home).name = name;
    }
}
