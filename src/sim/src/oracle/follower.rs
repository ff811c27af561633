//! A follower: a node that only ever applies what became durable, in its order. What a running node committed, and what recovery
//! rebuilds, must be what the follower knows, shard by shard: state is a function of the log, and of nothing else.

use std::collections::BTreeMap;

use tidings_core::{Layout, Node, NodeConfig, ReactorId, limits::Rate, records::RecordKind};
use tidings_log::{Record, format::RecordHeader};
use tidings_wire::{Generation, Lineage, LogId, LogPosition, Shards};

/// The follower.
#[derive(Debug)]
pub struct Follower {
    node: Node,
    /// The last record number of each shard. Nothing is known of it where retention may drop all records of a shard.
    indices: Option<BTreeMap<u16, u64>>,
}

impl Follower {
    /// Of a data directory with so many shards, whose records may be dropped or not.
    pub fn new(shards: u32, may_lose: bool) -> Self {
        let shards = Shards::new(shards).expect("a valid number of shards");
        let config = NodeConfig {
            me: ReactorId(0),
            log: LogId(0),
            layout: Layout { shards, reactors: 1 },
            lineage: Lineage::NONE,
            user_rate: Rate { per_second: 1, burst: 1 },
            idle_timeout_s: 1,
            entities_max: u32::MAX,
            seed: 1,
        };
        Self { node: Node::new(config), indices: (!may_lose).then(BTreeMap::new) }
    }

    /// A record became durable.
    ///
    /// # Errors
    /// If it cannot follow what was there before, in words.
    pub fn apply(&mut self, log: LogId, generation: Generation, record: &Record<'_>) -> Result<(), String> {
        let RecordHeader { shard, index, kind, .. } = record.header;
        if let Some(indices) = &mut self.indices {
            let before = indices.insert(shard, index).unwrap_or(0);
            if index != before + 1 {
                return Err(format!("record {index} of shard {shard} is logged after {before}"));
            }
        }
        let kind = RecordKind::from_u8(kind).ok_or("a record of an unknown kind")?;
        // Where it is does not matter here: nothing is read back.
        let at = LogPosition::new(log, generation, 0);
        self.node.replay(kind, shard, index, record.body, at).map_err(|error| error.to_string())
    }

    /// A digest of each shard.
    pub fn digests(&self) -> BTreeMap<u16, u64> {
        self.node.digests().collect()
    }
}
