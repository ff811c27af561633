//! A follower: a node that only ever applies what became durable, in its order. What a running node committed, and what recovery
//! rebuilds, must be what the follower knows, shard by shard: state is a function of the log, and of nothing else.

use std::collections::BTreeMap;

use tidings_core::{
    Budget, Layout, Node, NodeConfig, ReactorId, features::Windows, limits::Rate, node::Overload, records::RecordKind,
};
use tidings_log::{Record, format::RecordHeader};
use tidings_turn::recover::replayed;
use tidings_wire::{Entry, EntryIndex, Generation, Lineage, LogId, LogPosition, Shards};

/// The follower.
#[derive(Debug)]
pub struct Follower {
    node: Node,
    /// The last entry of each shard, and the place of its last record in it.
    last: BTreeMap<u16, (EntryIndex, u16)>,
    /// The time of each shard's last record.
    times: BTreeMap<u16, u64>,
}

impl Follower {
    /// Of a data directory with so many shards.
    pub fn new(shards: u32) -> Self {
        let shards = Shards::new(shards).expect("a valid number of shards");
        let config = NodeConfig {
            me: ReactorId(0),
            log: LogId(0),
            layout: Layout { shards, reactors: 1 },
            lineage: Lineage::NONE,
            user_rate: Rate { per_second: 1, burst: 1 },
            user_budget: Budget::UNLIMITED,
            address_budget: Budget::UNLIMITED,
            group_small_max: u32::MAX,
            group_rate: Rate { per_second: 1, burst: 1 },
            windows: Windows { edit_s: 0, erase_s: 0 },
            idle_timeout_s: 1,
            overload: Overload::Sheds,
            entities_max: u32::MAX,
            user_conversations: u32::MAX,
            seed: 1,
            features: tidings_core::features::FEATURES,
        };
        Self { node: Node::new(config), last: BTreeMap::new(), times: BTreeMap::new() }
    }

    /// A record became durable.
    ///
    /// # Errors
    /// If it cannot follow what was there before, in words.
    pub fn apply(&mut self, log: LogId, generation: Generation, record: &Record<'_>) -> Result<(), String> {
        let RecordHeader { shard, position, kind, ts, .. } = record.header;
        if !RecordHeader::matches(record.bytes) {
            return Err(format!("a record of shard {shard} does not match its checksum"));
        }
        let time = self.times.insert(shard, ts).unwrap_or(0);
        if ts < time {
            return Err(format!("a record of shard {shard} has time {ts} after {time}"));
        }
        if let Some(Entry { index, .. }) = record.header.entry() {
            let before = self.last.insert(shard, (index, position)).unwrap_or_default();
            if (index, position) != (before.0, before.1 + 1) && (index, position) != (before.0.next(), 0) {
                return Err(format!(
                    "record {position} of entry {index:?} of shard {shard} is logged after {before:?}"
                ));
            }
        }
        let kind = RecordKind::from_u8(kind).ok_or("a record of an unknown kind")?;
        if kind.is_local() != record.header.is_local() {
            return Err(format!("a record of kind {kind:?} is in an entry, or is not"));
        }
        // Where it is does not matter here: nothing is read back. Rows say what the follower knows.
        let at = LogPosition::new(log, generation, 0);
        if kind.is_local() {
            return Ok(());
        }
        self.node.replay(&replayed(record, kind, at)).map_err(|error| error.to_string())
    }

    /// A digest of each shard.
    pub fn digests(&self) -> BTreeMap<u16, u64> {
        self.node.digests().collect()
    }
}
