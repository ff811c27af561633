//! One reactor's node with a log in memory: batches become durable when the target says so, a restart replays them.

use std::collections::BTreeMap;

use tidings_core::{
    CommittedBatch, ConnId, ToHome, Effects, JobId, Layout, Mono, NoCredit, Node, NodeConfig, Now, ReactorId, RecordMeta,
    ToConversation, limits::Rate, node::Progress, records::RecordKind,
};
use tidings_wire::{Generation, Lineage, LogPosition, LogId, Lsn, Minter, Shards, BatchPosition, Timestamp};

const LOG: LogId = LogId(0);
const SEGMENT: Generation = Generation(1);

/// A record that was appended.
#[derive(Clone, Copy, Debug)]
struct Appended {
    kind: RecordKind,
    shard: u16,
    index: u64,
    start: usize,
    len: usize,
}

/// What a node acts on.
#[derive(Debug)]
pub struct World {
    /// Output by connection.
    pub outs: BTreeMap<u64, Vec<u8>>,
    /// Connections that were closed.
    pub closed: Vec<ConnId>,
    batch: Vec<u8>,
    open: Vec<Appended>,
    durable: Vec<Appended>,
    disk: Vec<u8>,
    lsn: Lsn,
    minter: Minter,
    reads: Vec<(JobId, LogPosition, usize)>,
}

impl Effects for World {
    fn room(&self) -> usize {
        (1 << 20) - self.batch.len().min(1 << 20)
    }

    fn append(&mut self, meta: RecordMeta, fill: impl FnOnce(&mut Vec<u8>)) -> BatchPosition {
        self.batch.resize(self.batch.len().next_multiple_of(16), 0);
        let start = self.batch.len();
        fill(&mut self.batch);
        let len = self.batch.len() - start;
        self.open.push(Appended { kind: meta.kind, shard: meta.shard, index: meta.index, start, len });
        BatchPosition { lsn: self.lsn, offset: start as u32 }
    }

    fn revise(&mut self, place: BatchPosition, len: usize) -> Option<&mut [u8]> {
        (place.lsn == self.lsn).then(|| &mut self.batch[place.offset as usize..][..len])
    }

    fn void(&mut self, at: BatchPosition) -> bool {
        let start = at.offset as usize;
        let open = self.open.iter_mut().find(|record| at.lsn == self.lsn && record.start == start);
        open.map(|record| record.kind = RecordKind::Void).is_some()
    }

    fn want_write(&mut self) {}

    fn to_conversation(&mut self, _: ReactorId, _: ToConversation, _: &[&[u8]]) -> Result<(), NoCredit> {
        unreachable!("there is one reactor")
    }

    fn to_home(&mut self, _: ReactorId, _: ToHome, _: &[&[u8]]) -> Result<(), NoCredit> {
        unreachable!("there is one reactor")
    }

    fn has_home_credit(&mut self, _: ReactorId, _: usize, _: usize) -> bool {
        true
    }

    fn out(&mut self, conn: ConnId) -> &mut Vec<u8> {
        self.outs.entry(conn.0).or_default()
    }

    fn buffered(&self, conn: ConnId) -> usize {
        self.outs.get(&conn.0).map_or(0, Vec::len)
    }

    fn close(&mut self, conn: ConnId) {
        self.closed.push(conn);
    }

    fn read(&mut self, job: JobId, loc: LogPosition, len: usize) {
        self.reads.push((job, loc, len));
    }
}

/// A node and its world.
#[derive(Debug)]
pub struct Reactor {
    /// The node.
    pub node: Node,
    /// Its world.
    pub world: World,
    /// The time.
    pub now: Now,
}

fn node() -> Node {
    Node::new(NodeConfig {
        me: ReactorId(0),
        log: LOG,
        layout: Layout { shards: Shards::new(8).expect("a valid number"), reactors: 1 },
        lineage: Lineage([7; 16]),
        user_rate: Rate { per_second: 50, burst: 50 },
        idle_timeout_s: 60,
        entities_max: 8,
        seed: 5,
    })
}

impl Default for Reactor {
    fn default() -> Self {
        let world = World {
            outs: BTreeMap::new(),
            closed: Vec::new(),
            batch: Vec::new(),
            open: Vec::new(),
            durable: Vec::new(),
            disk: Vec::new(),
            lsn: Lsn(1),
            minter: Minter::for_log(Lsn(0)),
            reads: Vec::new(),
        };
        Self { node: node(), world, now: Now { mono: Mono(1), wall: Timestamp(1_000) } }
    }
}

impl Reactor {
    /// Everything that was appended becomes durable.
    pub fn commit(&mut self) {
        let world = &mut self.world;
        let bytes = std::mem::take(&mut world.batch);
        let base = world.disk.len();
        world.disk.extend_from_slice(&bytes);
        world.disk.resize(world.disk.len().next_multiple_of(16), 0);
        world.durable.extend(world.open.drain(..).map(|record| Appended { start: base + record.start, ..record }));
        let lsn = world.lsn;
        world.lsn = lsn.next();
        self.node.sealed();
        let committed = world.minter.mint(lsn);
        let loc = |offset: u32| LogPosition::new(LOG, SEGMENT, base as u64 + u64::from(offset));
        let batch = CommittedBatch { committed, lsn, bytes: &bytes, loc: &loc };
        assert_eq!(self.node.at(self.now, world).committed(&batch), Progress::Done, "nothing stands in the way");
    }

    /// Time passes, and reads that were asked for are done.
    pub fn turn(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus_ms(ms);
        self.now.wall.0 += ms * 1000;
        self.node.at(self.now, &mut self.world).timeout();
        for (job, loc, len) in std::mem::take(&mut self.world.reads) {
            let bytes = self.world.disk.get(loc.offset() as usize..).and_then(|rest| rest.get(..len)).map(<[u8]>::to_vec);
            self.node.at(self.now, &mut self.world).read_done(job, bytes.as_deref());
        }
    }

    /// The process dies and starts again: what was not durable is gone.
    pub fn restart(&mut self) {
        self.world.batch.clear();
        self.world.open.clear();
        self.world.reads.clear();
        self.world.outs.clear();
        self.world.closed.clear();
        self.node = node();
        self.world.minter = Minter::for_log(Lsn(self.world.lsn.0 - 1));
        for record in &self.world.durable {
            let loc = LogPosition::new(LOG, SEGMENT, record.start as u64);
            let body = &self.world.disk[record.start..][..record.len];
            let replayed = self.node.replay(record.kind, record.shard, record.index, body, loc);
            assert!(replayed.is_ok(), "what the node logged it can read: {replayed:?}");
        }
        assert!(self.node.check_replayed().is_ok());
        self.node.start_repeating_heads();
    }
}
