//! The engine: what happens to all conversations alike. A message from a home is judged ([`dispatch`], [`allowed`]), proposed as a record, committed with its
//! entry ([`commit`]), and told to homes ([`outbox`]); recovery does the same without the telling ([`replay`]); what is stored is read back
//! ([`fetching`]), and written again before it is dropped ([`upkeep`]). What a message may do is a feature's
//! ([`features`](crate::features)); what a conversation is, is in [`conversation`](crate::conversation).

mod allowed;
mod blocking;
mod commit;
mod damage;
mod describe;
mod dispatch;
mod fetching;
mod history;
mod index;
mod keeping;
mod large;
mod outbox;
mod presence;
mod receipts;
mod replay;
mod streamed;
mod upkeep;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec,
    vec::Vec,
};

use tidings_wire::{BatchPosition, ClientMsgId, ConversationId, DeviceId, Generation, Lsn, Seq};

use crate::{
    budget::{Budgets, OverBudget},
    conversation::{
        dedup::Origin,
        overlay::{NO_OVERLAY, Overlays},
        state::{Size, State},
        view::View,
    },
    digest::Digest,
    effects::ReactorId,
    home::EntryKey,
    lanes::{Author, HeadUpdate, Heads, Places, Shown, Source, ToHome},
    node::NodeConfig,
    placement::{Base, Origin as Place},
    slab::{Key, Slab},
    table::{Seed, Table},
    time::Mono,
};
pub use damage::Damage;
use damage::Failures;
use history::Jobs;
use index::{Chunks, MessageIndex};
use keeping::Keeping;
use outbox::Outboxes;
use streamed::AllStreams;
pub(crate) use streamed::write_fragment;

/// A conversation of this reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConversationKey(pub Key);

impl ConversationKey {
    /// Names none.
    pub const NONE: Self = Self(Key::NONE);
}

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
    /// Of a one-to-one conversation: where its entry in each member's home was when that was last heard of.
    at_home: [EntryKey; 2],
    /// The session that each device sent from last.
    origins: Vec<SentFrom>,
    /// Where its messages are.
    index: MessageIndex,
    /// Where its state is.
    base: Base,
    /// Where the first of its rows is that are being written again, or were read and are not complete.
    rewritten: Option<Place>,
    /// Rows of members that are still to be read before they are.
    rows_missing: u32,
    /// What else is known of a large group.
    large: Option<Box<large::Large>>,
    /// How many have read its newest messages, if somebody asked.
    readers: Option<Box<large::Readers>>,
    /// Of a group: members whose watermarks rose, and what others were told of them before.
    risen: Vec<(u32, Shown)>,
    /// Its place among those of its shard.
    link: outbox::Link,
    /// Recovery jumped from here to a later message, and has not read the state that explains it.
    gap: Option<Seq>,
}

/// The session that a device sent from last.
#[derive(Clone, Copy, Debug)]
struct SentFrom {
    member: u32,
    device: DeviceId,
    origin: Origin,
    /// Its last attempt that was done before, under another name, and so has no number of its own; 0: none.
    done: ClientMsgId,
    /// The device's highest attempt then, proposed or committed: if that is dropped, what came after it is not in its turn any more.
    done_after: ClientMsgId,
}

/// Devices of a conversation whose last session is known; of others an unknown `prev` is believed.
const ORIGINS_MAX: usize = 64;

impl Conversation {
    /// Members whose homes write down something for a message: those beyond the two that every conversation has.
    fn told_beyond_two(&self) -> u64 {
        match self.state.size {
            Size::Small => (self.state.members.len() as u64).saturating_sub(2),
            Size::Large => 0,
        }
    }

    /// The home of a member says where its entry of this is, if it has one and this is one to one.
    fn note_entry(&mut self, member: usize, entry: EntryKey) {
        if entry != EntryKey::NONE
            && let Some(at_home) = self.at_home.get_mut(member)
        {
            debug_assert!(self.id.is_direct(), "others have no places");
            *at_home = entry;
        }
    }

    /// What a session sent here before, as far as is known; `None`: nothing.
    fn sent_from(&self, member: u32, device: DeviceId, origin: Origin) -> Option<&SentFrom> {
        let known = self.origins.iter().find(|sent| (sent.member, sent.device) == (member, device));
        known.filter(|sent| sent.origin == origin)
    }

    /// A session sent a new attempt or a repeat.
    fn seen_from(&mut self, member: u32, device: DeviceId, origin: Origin) -> &mut SentFrom {
        let known = self.origins.iter().position(|sent| (sent.member, sent.device) == (member, device));
        let at = known.unwrap_or_else(|| {
            if self.origins.len() == ORIGINS_MAX {
                self.origins.remove(0);
            }
            self.origins.push(SentFrom { member, device, origin, done: ClientMsgId(0), done_after: ClientMsgId(0) });
            self.origins.len() - 1
        });
        let sent = &mut self.origins[at];
        if sent.origin != origin {
            (sent.origin, sent.done) = (origin, ClientMsgId(0));
        }
        sent
    }
}

/// The conversations of a reactor.
#[derive(Debug)]
pub(crate) struct Conversations {
    config: NodeConfig,
    all: Slab<Conversation>,
    by_id: Table<ConversationId, Key>,
    chunks: Chunks,
    overlays: Overlays,
    jobs: Jobs,
    failures: Failures,
    /// Records that were appended and are not committed yet, by shard.
    waiting: Box<[VecDeque<(BatchPosition, commit::Waiting)>]>,
    /// Rows that were appended and are not durable yet.
    rows: VecDeque<(BatchPosition, commit::Row)>,
    /// Answers that wait for a lane, by reactor: as many as records wait at most.
    answers: Box<[VecDeque<ToHome>]>,
    outboxes: Outboxes,
    /// For what homes are told of a group.
    fanout_scratch: Vec<u8>,
    budgets: Budgets,
    /// The last batch whose first message was charged for it.
    paid_batch: Lsn,
    /// The oldest segment that is still there, by log.
    floors: Vec<Generation>,
    receipts_due: Option<Mono>,
    /// Large groups whose head some reactor is owed.
    owing: BTreeSet<Key>,
    /// The last of them that was looked at.
    owing_at: Key,
    /// Groups with receipts that those who wrote are to be told, and when.
    risen: VecDeque<(Mono, ConversationKey)>,
    /// Messages that are being written.
    streams: AllStreams,
    evacuation: Option<upkeep::Evacuation>,
    keeping: Keeping,
    /// The first message of a conversation that may stand in the log of another reactor, although it is kept in the own one: what was withdrawn from there on stays known.
    elsewhere: BTreeMap<Key, Seq>,
    /// Hundredths of the log.
    state_share: u8,
    /// The last durable batch.
    durable: Lsn,
}

impl Conversations {
    /// None.
    pub(crate) fn new(config: NodeConfig) -> Self {
        let (shards, reactors) = (config.layout.shards.count(), config.layout.reactors);
        Self {
            all: Slab::default(),
            by_id: Table::new(Seed(config.seed)),
            chunks: Chunks::default(),
            overlays: Overlays::default(),
            jobs: Jobs::default(),
            failures: Failures::default(),
            waiting: vec![VecDeque::new(); shards as usize].into_boxed_slice(),
            rows: VecDeque::new(),
            answers: vec![VecDeque::new(); reactors as usize].into_boxed_slice(),
            outboxes: Outboxes::new(shards, reactors),
            fanout_scratch: Vec::new(),
            budgets: Budgets::new(&config),
            paid_batch: Lsn(0),
            floors: Vec::new(),
            receipts_due: None,
            owing: BTreeSet::new(),
            owing_at: Key::NONE,
            risen: VecDeque::new(),
            streams: AllStreams::default(),
            evacuation: None,
            keeping: Keeping::default(),
            elsewhere: BTreeMap::new(),
            state_share: 0,
            durable: Lsn(0),
            config,
        }
    }

    /// Records that were appended and are not committed yet.
    pub(crate) fn waiting(&self) -> usize {
        self.proposed() + self.rows.len()
    }

    /// Those that are not rows.
    pub(crate) fn proposed(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    /// True if more may be asked from a reactor: none of its answers waits for a lane.
    pub(crate) fn may_take(&self, from: ReactorId) -> bool {
        self.answers[from.0 as usize].is_empty()
    }

    /// Somebody who was refused since the last call for what it has filled of the log.
    pub(crate) fn take_over_budget(&mut self) -> Option<OverBudget> {
        self.budgets.take_over()
    }

    /// A stored message that was found damaged since the last call.
    pub(crate) fn take_damage(&mut self) -> Option<Damage> {
        self.failures.take()
    }

    /// FETCHes under way.
    pub(crate) fn fetches(&self) -> usize {
        self.jobs.active()
    }

    /// A conversation, if it exists.
    fn find(&self, id: ConversationId) -> Option<ConversationKey> {
        self.by_id.get(&id).map(ConversationKey)
    }

    /// A conversation, if it exists; it may be this one.
    fn find_near(&self, place: ConversationKey, id: ConversationId) -> Option<ConversationKey> {
        let is_there = self.all.get(place.0).is_some_and(|conversation| conversation.id == id);
        if is_there { Some(place) } else { self.find(id) }
    }

    /// A conversation, made if it does not exist.
    fn entry(&mut self, id: ConversationId, shard: u16, state: impl FnOnce() -> State) -> ConversationKey {
        let all = &mut self.all;
        ConversationKey(self.by_id.get_or_insert_with(id, || {
            all.insert(Conversation {
                id,
                shard,
                state: state(),
                overlay: NO_OVERLAY,
                at_home: [EntryKey::NONE; 2],
                origins: Vec::new(),
                index: MessageIndex::default(),
                base: Base::New,
                rewritten: None,
                rows_missing: 0,
                large: None,
                readers: None,
                risen: Vec::new(),
                link: outbox::Link::new(),
                gap: None,
            })
        }))
    }

    fn get(&self, key: ConversationKey) -> &Conversation {
        &self.all[key.0]
    }

    fn get_mut(&mut self, key: ConversationKey) -> &mut Conversation {
        &mut self.all[key.0]
    }

    /// A conversation with what is proposed.
    fn view(&self, key: ConversationKey) -> View<'_> {
        let conversation = self.get(key);
        View { state: &conversation.state, overlay: self.overlays.get(conversation.overlay) }
    }

    /// What a member's home is to know of a one-to-one conversation in which nobody blocks anybody.
    fn head_update(&self, key: ConversationKey, member: usize, source: Source) -> HeadUpdate {
        let Conversation { id, state, at_home, .. } = self.get(key);
        let (own, peer) = (&state.members[member], state.members.other(member));
        HeadUpdate {
            user: own.user,
            conversation: *id,
            places: Places { conversation: key, entry: at_home[member] },
            peer: peer.user,
            head: state.head,
            ordinal: state.ordinal,
            own: own.marks,
            peers: peer.marks.shown(),
            origin: crate::home::SessionId::NONE,
            author: Author::User,
            heads: Heads::Told,
            source,
        }
    }

    /// A digest of each shard's committed state. The order of conversations does not matter; one that nothing was ever committed
    /// in is not there.
    pub(crate) fn digests(&self) -> BTreeMap<u16, u64> {
        let mut digests = BTreeMap::new();
        for (_, conversation) in self
            .all
            .iter()
            .filter(|(_, conversation)| conversation.state.head > Seq(0) || !conversation.state.settings.is_empty())
        {
            let mut digest = Digest::default();
            digest.bytes(&conversation.id.0);
            conversation.state.digest(&mut digest);
            let sum: &mut u64 = digests.entry(conversation.shard).or_default();
            *sum = sum.wrapping_add(digest.value());
        }
        digests
    }
}
