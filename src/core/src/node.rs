//! One reactor's share of the node: its sessions, homes and conversations, and the way between them.
//!
//! A message passes through in this order: [`Node::frame`] (`sessions.rs`) checks it and sends it up; [`Node::to_conversation`]
//! (`conversations.rs`) numbers it and appends its record; [`Node::committed`] (`commit.rs`) tells the sender and updates
//! both homes; [`Node::to_home`] (`homes.rs`) pushes it to the live devices.

mod catch_up;
mod commit;
mod conversations;
mod fetching;
mod homes;
mod recovery;
mod sessions;
mod upkeep;

use alloc::{boxed::Box, collections::VecDeque, vec, vec::Vec};

use tidings_wire::{BatchPosition, ClientMsgId, Generation, Lineage, LogId, Lsn, Seq, Timestamp, Uv};

use crate::{
    counters::Counters,
    effects::{Effects, NoCredit, ReactorId, RecordMeta},
    gateway::{Gateway, SessionId},
    history::Jobs,
    lanes::{Asker, ToHome},
    limits::Rate,
    placement::{Layout, Origin},
    records::{HomeEntryRecord, RecordKind},
    registry::{HomeKey, Registry},
    sequencer::{ConversationKey, Sequencer},
    time::{Mono, Now},
};

/// What a node is made with.
#[derive(Clone, Copy, Debug)]
pub struct NodeConfig {
    /// This reactor.
    pub me: ReactorId,
    /// Its log.
    pub log: LogId,
    /// Who owns what.
    pub layout: Layout,
    /// What cursors belong to.
    pub lineage: Lineage,
    /// SENDs of one user.
    pub user_rate: Rate,
    /// Seconds of silence after which a session is closed; announced in WELCOME.
    pub idle_timeout_s: u16,
    /// Conversations and homes that may exist here, each.
    pub entities_max: u32,
    /// Random: keys the hash tables.
    pub seed: u64,
}

/// A record that was appended and is not committed yet.
#[derive(Debug)]
enum Waiting {
    Message {
        conversation: ConversationKey,
        seq: Seq,
        ts: Timestamp,
        client_msg_id: ClientMsgId,
        len: usize,
        reactor: ReactorId,
        asker: Asker,
    },
    Receipt {
        conversation: ConversationKey,
        member: usize,
    },
    Home {
        home: HomeKey,
        upto: Uv,
    },
    ConversationState {
        conversation: ConversationKey,
    },
    /// The last record of a home that was written again as a whole.
    HomeState {
        home: HomeKey,
        first: BatchPosition,
    },
}

/// Whether everything that could be done was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Yes.
    Done,
    /// No: call again once lanes or output have room.
    Stalled,
}

/// A reactor's share of the node.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    gateway: Gateway,
    registry: Registry,
    sequencer: Sequencer,
    jobs: Jobs,
    waiting: VecDeque<(BatchPosition, Waiting)>,
    /// The next record number of each shard.
    indices: Box<[u64]>,
    /// The oldest segment that is still there, by log.
    floors: Vec<Generation>,
    /// Homes with changes that are not in the log, and when they must be.
    dirty: VecDeque<(HomeKey, Mono)>,
    receipts_due: Option<Mono>,
    evacuation: Option<upkeep::Evacuation>,
    /// The next conversation whose head is told again after the start.
    replaying: Option<u32>,
    scratch: Vec<HomeEntryRecord>,
    frame_scratch: Vec<u8>,
    committed: Lsn,
    /// Counts.
    pub counters: Counters,
}

impl Node {
    /// An empty node.
    pub fn new(config: NodeConfig) -> Self {
        Self {
            gateway: Gateway::default(),
            registry: Registry::new(config.seed),
            sequencer: Sequencer::new(config.seed),
            jobs: Jobs::default(),
            waiting: VecDeque::new(),
            indices: vec![0; config.layout.shards.count() as usize].into_boxed_slice(),
            floors: Vec::new(),
            dirty: VecDeque::new(),
            receipts_due: None,
            evacuation: None,
            replaying: None,
            scratch: Vec::new(),
            frame_scratch: Vec::new(),
            committed: Lsn(0),
            counters: Counters::default(),
            config,
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// FETCHes under way.
    pub fn fetches(&self) -> usize {
        self.jobs.active()
    }

    /// Records that were appended and are not applied yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Where a record is, as seen from here.
    fn origin(&self, log: LogId, generation: Generation) -> Origin {
        if log == self.config.log { Origin::Own(generation) } else { Origin::Elsewhere }
    }

    /// The next record of a shard.
    fn record(&mut self, kind: RecordKind, shard: u16) -> RecordMeta {
        let index = &mut self.indices[shard as usize];
        *index += 1;
        RecordMeta { kind, shard, index: *index }
    }

    /// Sends down, through a lane or directly.
    fn send_home(&mut self, to: ReactorId, message: ToHome, payload: &[u8], now: Now, fx: &mut impl Effects) {
        if to == self.config.me {
            return self.to_home(message, payload, now, fx);
        }
        let sent: Result<(), NoCredit> = fx.to_home(to, message, &[payload]);
        sent.expect("credit was there when the input was taken");
    }

    /// The session that sent a message, if it is of this reactor.
    fn local_origin(&self, reactor: ReactorId, to: ReactorId, asker: Asker) -> SessionId {
        if reactor == to { asker.session } else { SessionId::NONE }
    }
}

#[cfg(test)]
mod tests;
