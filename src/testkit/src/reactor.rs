//! One node and its world, and how it starts again.

use std::ops::Range;

use tidings_core::{
    Budget, Layout, Mono, Node, NodeConfig, Now, ReactorId, Replayed,
    features::{FEATURES, Windows},
    limits::Rate,
    node::Overload,
    records::RecordKind,
};
use tidings_log::{Epoch, Scanner, records};
use tidings_wire::{Lineage, LogId, Shards, Timestamp};

use crate::{disk::Memory, store::tail_of, world::World};

/// A reactor of a node.
#[derive(Debug)]
pub struct Reactor {
    /// Its share.
    pub node: Node,
    /// What that acts on.
    pub world: World,
    epoch: Epoch,
}

/// Settings of a node in tests: a reactor of `reactors`.
pub fn node_config(me: u16, reactors: u16, shards: u32) -> NodeConfig {
    NodeConfig {
        me: ReactorId(me),
        log: LogId(me as u8),
        layout: Layout { shards: Shards::new(shards).unwrap(), reactors },
        lineage: Lineage([7; 16]),
        user_rate: Rate { per_second: 1000, burst: 1000 },
        user_budget: Budget::UNLIMITED,
        address_budget: Budget::UNLIMITED,
        group_small_max: 200,
        group_rate: Rate { per_second: 1000, burst: 1000 },
        windows: Windows { edit_s: 3600, erase_s: 7200 },
        idle_timeout_s: 60,
        overload: Overload::Sheds,
        entities_max: 1000,
        user_conversations: u32::MAX,
        seed: 5,
        features: FEATURES,
    }
}

/// When tests begin.
pub fn beginning() -> Now {
    Now { mono: Mono(1_000_000), wall: Timestamp(1_000) }
}

impl Reactor {
    /// Of an empty node.
    pub fn new(config: NodeConfig) -> Self {
        let shards = config.layout.shards.count();
        let tail = tail_of(&Memory::default(), World::key(config.me));
        let world = World::new(config.me, shards, 1, Memory::default(), tail);
        Self { node: Node::new(config), world, epoch: Epoch(1) }
    }

    /// Everything that was appended becomes durable and takes effect.
    pub fn commit(&mut self, now: Now) {
        self.world.commit(&mut self.node, now);
    }

    /// Records of the log, as they are on the disk: each with its place.
    pub fn each_record(&self, mut take: impl FnMut(&Replayed<'_>)) {
        let mut scanner = Scanner::open(self.world.store.disk.copied(), World::key(self.node.config().me)).unwrap();
        while scanner.advance().unwrap() {
            let batch = scanner.batch();
            for record in records(&batch.header, batch.bytes) {
                let record = record.unwrap();
                let (header, at) = (record.header, batch.loc(record.offset));
                let kind = RecordKind::from_u8(header.kind).unwrap();
                let entry = header.entry().map(|entry| entry.index);
                let (shard, ts, body) = (header.shard, Timestamp(header.ts), record.body);
                take(&Replayed { kind, shard, entry, ts, body, at });
            }
        }
    }

    /// How many records there are.
    pub fn records(&self) -> usize {
        let mut count = 0;
        self.each_record(|_| count += 1);
        count
    }

    /// A node that reads back what this one logged, from its record `from` on.
    pub fn replayed(&self, from: usize) -> Node {
        self.replayed_without(0..from)
    }

    /// The same, without these records.
    pub fn replayed_without(&self, lost: Range<usize>) -> Node {
        let mut again = Node::new(*self.node.config());
        let mut count = 0;
        self.each_record(|record| {
            if !lost.contains(&count) {
                again.replay(record).unwrap();
            }
            count += 1;
        });
        again.check_replayed().unwrap();
        again
    }

    /// The process dies and starts again: what was not durable is gone.
    pub fn restart(&mut self) {
        self.restart_from(0);
    }

    /// The same, where the log has lost what was before its record `from`.
    pub fn restart_from(&mut self, from: usize) {
        self.restart_without(0..from);
    }

    /// The same, where it lacks these records: what is before them was in the log of another reactor, say.
    pub fn restart_without(&mut self, lost: Range<usize>) {
        self.node = self.replayed_without(lost);
        self.epoch.0 += 1;
        let (config, disk) = (*self.node.config(), self.world.store.disk.clone());
        let tail = tail_of(&disk, World::key(config.me));
        let replica = self.world.replica.clone();
        self.world = World::new(config.me, config.layout.shards.count(), self.epoch.0, disk, tail);
        self.world.replica = replica; // what was sealed was written, in this world
        self.node.start();
    }

    /// Time passes: what is due is done.
    pub fn timeout(&mut self, now: Now) {
        self.node.at(now, &mut self.world).timeout();
    }

    /// Reads that were asked for are done.
    pub fn serve_reads(&mut self, now: Now) {
        for (job, at, len) in std::mem::take(&mut self.world.reads) {
            let bytes = self.world.read_now(at, len);
            self.node.at(now, &mut self.world).read_done(job, bytes.as_deref());
        }
    }
}
