//! Conversations: who is in them, the numbers of their messages, what was accepted before, and reading what is stored. What comes
//! in are messages from homes and commits; what goes out are records and messages to homes.
//!
//! A conversation is two things: its committed [`state`], which only records change, and an [`overlay`] of what is proposed. An
//! attempt is judged ([`judge`]) on both, changes neither, and becomes a record and a row of the overlay; the record's commit
//! moves the row into the state. The overlay can be dropped at any time before its records are sealed.

mod commands;
mod commit;
mod dedup;
mod fetching;
mod history;
mod index;
mod judge;
mod overlay;
mod replay;
mod state;
mod upkeep;

use alloc::{collections::BTreeMap, collections::VecDeque, vec::Vec};

use tidings_wire::{BatchPosition, ConversationId, DeviceId, Generation, Lsn, Seq, UserId};

use crate::{
    digest::Digest,
    lanes::HeadUpdate,
    node::NodeConfig,
    placement::Base,
    table::{Seed, Table},
    time::Mono,
};
use dedup::Origin;
use history::Jobs;
use index::{Chunks, MessageIndex};
use judge::View;
use overlay::{NO_OVERLAY, Overlays};
pub use state::ReplayError;
use state::State;

/// A conversation of this reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConversationKey(pub u32);

/// A conversation.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// Which.
    id: ConversationId,
    /// Its shard.
    shard: u16,
    /// What is committed.
    state: State,
    /// What is proposed.
    overlay: u32,
    /// The session that each device sent from last.
    origins: Vec<(u8, DeviceId, Origin)>,
    /// Where its messages are.
    index: MessageIndex,
    /// Where its state is.
    base: Base,
    /// Recovery jumped from here to a later message, and has not read the state that explains it.
    gap: Option<Seq>,
}

/// Devices of a conversation whose last session is known; of others an unknown `prev` is believed.
const ORIGINS_MAX: usize = 64;

impl Conversation {
    /// True if a session has not sent here before, as far as is known.
    fn is_first(&self, member: u8, device: DeviceId, origin: Origin) -> bool {
        let known = self.origins.iter().find(|(of, known, _)| (*of, *known) == (member, device));
        known.is_none_or(|(_, _, before)| *before != origin)
    }

    /// A session sent a new attempt or a repeat.
    fn seen_from(&mut self, member: u8, device: DeviceId, origin: Origin) {
        let known = self.origins.iter_mut().find(|(of, known, _)| (*of, *known) == (member, device));
        match known {
            Some((_, _, before)) => *before = origin,
            None => {
                if self.origins.len() == ORIGINS_MAX {
                    self.origins.remove(0);
                }
                self.origins.push((member, device, origin));
            }
        }
    }
}

/// The conversations of a reactor.
#[derive(Debug)]
pub(crate) struct Conversations {
    config: NodeConfig,
    all: Vec<Conversation>,
    by_id: Table<ConversationId, u32>,
    chunks: Chunks,
    overlays: Overlays,
    jobs: Jobs,
    /// Records that were appended and are not committed yet.
    waiting: VecDeque<(BatchPosition, commit::Waiting)>,
    /// The oldest segment that is still there, by log.
    floors: Vec<Generation>,
    receipts_due: Option<Mono>,
    evacuation: Option<upkeep::Evacuation>,
    /// The next conversation whose head is told again after the start.
    telling: Option<u32>,
    committed: Lsn,
}

impl Conversations {
    /// None.
    pub(crate) fn new(config: NodeConfig) -> Self {
        Self {
            all: Vec::new(),
            by_id: Table::with_hasher(Seed(config.seed)),
            chunks: Chunks::default(),
            overlays: Overlays::default(),
            jobs: Jobs::default(),
            waiting: VecDeque::new(),
            floors: Vec::new(),
            receipts_due: None,
            evacuation: None,
            telling: None,
            committed: Lsn(0),
            config,
        }
    }

    /// Records that were appended and are not committed yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// FETCHes under way.
    pub(crate) fn fetches(&self) -> usize {
        self.jobs.active()
    }

    /// A conversation, if it exists.
    fn find(&self, id: ConversationId) -> Option<ConversationKey> {
        self.by_id.get(&id).copied().map(ConversationKey)
    }

    /// A conversation, made if it does not exist.
    fn entry(&mut self, id: ConversationId, shard: u16, a: UserId, b: UserId) -> ConversationKey {
        let next = self.all.len() as u32;
        let index = *self.by_id.entry(id).or_insert(next);
        if index == next {
            self.all.push(Conversation {
                id,
                shard,
                state: State::new(a, b),
                overlay: NO_OVERLAY,
                origins: Vec::new(),
                index: MessageIndex::default(),
                base: Base::New,
                gap: None,
            });
        }
        ConversationKey(index)
    }

    fn get(&self, key: ConversationKey) -> &Conversation {
        &self.all[key.0 as usize]
    }

    fn get_mut(&mut self, key: ConversationKey) -> &mut Conversation {
        &mut self.all[key.0 as usize]
    }

    /// A conversation with what is proposed.
    fn view(&self, key: ConversationKey) -> View<'_> {
        let conversation = self.get(key);
        View { state: &conversation.state, overlay: self.overlays.get(conversation.overlay) }
    }

    /// What a member's home is to know of a conversation.
    fn head_update(&self, key: ConversationKey, member: usize) -> HeadUpdate {
        let Conversation { id, state, .. } = self.get(key);
        let (own, peer) = (&state.members[member], &state.members[1 - member]);
        HeadUpdate {
            user: own.user,
            conversation: *id,
            peer: peer.user,
            head: state.head,
            own: own.marks,
            peers: peer.marks,
            origin: crate::home::SessionId::NONE,
        }
    }

    /// A digest of each shard's committed state. The order of conversations does not matter; one that nothing was ever committed
    /// in is not there.
    pub(crate) fn digests(&self) -> BTreeMap<u16, u64> {
        let mut digests = BTreeMap::new();
        for conversation in self.all.iter().filter(|conversation| conversation.state.head > Seq(0)) {
            let mut digest = Digest::default();
            digest.bytes(&conversation.id.0);
            conversation.state.digest(&mut digest);
            let sum: &mut u64 = digests.entry(conversation.shard).or_default();
            *sum = sum.wrapping_add(digest.value());
        }
        digests
    }
}
