//! The world around one node: a real log on a disk in memory; connections, lanes and reads are lists.

use std::collections::BTreeMap;

use tidings_core::{
    CommittedEntry, ConnId, DurableBatch, Effects, Ephemeral, JobId, NoCredit, Node, Now, Passage, ReactorId,
    RecordMeta, ToConversation, ToHome, records::RecordKind,
};
use tidings_log::{LogWrite, Replica, Scope, Sealed, Solo, Storage, Tail};
use tidings_wire::{BatchPosition, Generation, LogId, LogPosition, Term};

use crate::{
    disk::Memory,
    store::{Store, log_config},
};

/// Bytes of a segment, and of a batch.
pub const SEGMENT: u64 = 4 << 20;
/// See [`SEGMENT`].
pub const BATCH_MAX: usize = 1 << 20;

/// What a node acts on.
#[derive(Debug)]
pub struct World {
    me: ReactorId,
    /// Output by connection.
    pub outs: BTreeMap<u64, Vec<u8>>,
    /// Connections that were closed.
    pub closed: Vec<ConnId>,
    /// The log.
    pub store: Store,
    /// Numbers the entries.
    pub replica: Solo,
    /// Somebody waits for the open batch.
    pub wanted: bool,
    /// Messages to conversations of other reactors.
    pub to_conversations: Vec<(ReactorId, ToConversation, Vec<u8>)>,
    /// Messages to homes of other reactors.
    pub to_homes: Vec<(ReactorId, ToHome, Vec<u8>)>,
    /// What may be lost, for other reactors.
    pub ephemerals: Vec<(ReactorId, Ephemeral, Vec<u8>)>,
    /// Lanes to homes have room.
    pub home_credit: bool,
    /// What a home here is told is lost if it is this, as if it had to wait and there was no place.
    pub lost: fn(&ToHome) -> bool,
    /// Reads that were asked for.
    pub reads: Vec<(JobId, LogPosition, usize)>,
    /// What is committed next is found in this log, if not in the own one: as if another reactor had written it.
    pub found_in: Option<LogId>,
}

impl World {
    /// The world of a reactor with a log that goes on after `tail`.
    pub fn new(me: ReactorId, shards: u32, epoch: u32, disk: Memory, tail: Tail) -> Self {
        let config = log_config(Self::key(me), epoch, SEGMENT, BATCH_MAX);
        Self {
            me,
            outs: BTreeMap::new(),
            closed: Vec::new(),
            store: Store::open(disk, config, tail),
            replica: Solo::new(shards, Term(epoch)),
            wanted: false,
            to_conversations: Vec::new(),
            to_homes: Vec::new(),
            ephemerals: Vec::new(),
            home_credit: true,
            lost: |_| false,
            reads: Vec::new(),
            found_in: None,
        }
    }

    /// What the checksums of a reactor's log are keyed with.
    pub fn key(me: ReactorId) -> tidings_log::LogKey {
        tidings_log::LogKey { log: LogId(me.0 as u8), nonce: 7 }
    }

    /// The open batch is sealed: its write, which the node is told of.
    pub fn seal(&mut self, node: &mut Node) -> LogWrite {
        self.wanted = false;
        let write = self.store.seal(&mut self.replica);
        node.sealed();
        write
    }

    /// What is durable takes effect.
    pub fn apply(&mut self, node: &mut Node, now: Now) {
        while let Some(sealed) = self.store.log.take_durable() {
            let log = self.found_in;
            let position = |offset: u32| {
                let at = sealed.loc(offset);
                log.map_or(at, |log| LogPosition::new(log, at.generation(), at.offset()))
            };
            let Sealed { durable, lsn, .. } = sealed;
            node.at(now, self).durable(&DurableBatch { durable, lsn, position: &position });
            let mut committed = Vec::new();
            self.replica.durable(durable, lsn, &sealed.entries, |entry| committed.push(entry));
            for committed in committed {
                let bytes = sealed.buffer.as_slice();
                node.at(now, self).committed(&CommittedEntry { committed, lsn, bytes, position: &position });
            }
            self.store.log.recycle(sealed);
        }
    }

    /// Everything that was appended becomes durable and takes effect.
    pub fn commit(&mut self, node: &mut Node, now: Now) {
        if self.store.log.has_records() {
            let write = self.seal(node);
            self.store.land(write);
        }
        self.apply(node, now);
    }

    /// The bytes of a read.
    pub fn read_now(&self, at: LogPosition, len: usize) -> Option<Vec<u8>> {
        let slot = self.store.log.slot_of(Generation(at.generation().0))?;
        let mut bytes = vec![0; len];
        self.store.disk.read(slot, at.offset(), &mut bytes).ok().map(|()| bytes)
    }
}

impl Effects for World {
    fn room(&self) -> usize {
        self.store.log.room()
    }

    fn append(&mut self, meta: RecordMeta, fill: impl FnOnce(&mut Vec<u8>)) -> BatchPosition {
        let RecordMeta { kind, shard, ts } = meta;
        let scope = if kind.is_local() { Scope::Local } else { Scope::Entry };
        let (kind, version, ts) = (kind as u8, 1, ts.0);
        self.store.log.append(tidings_log::RecordMeta { kind, version, scope, shard, ts }, fill)
    }

    fn revise(&mut self, place: BatchPosition, len: usize) -> Option<&mut [u8]> {
        self.store.log.revise(place, len)
    }

    fn void(&mut self, at: BatchPosition) -> bool {
        self.store.log.void(at, RecordKind::Void as u8)
    }

    fn want_write(&mut self) {
        self.wanted = true;
        self.store.log.want();
    }

    fn to_conversation(&mut self, to: ReactorId, message: ToConversation, payload: &[&[u8]]) -> Result<(), NoCredit> {
        assert_ne!(to, self.me, "a reactor has no lane to itself");
        self.to_conversations.push((to, message, payload.concat()));
        Ok(())
    }

    fn to_home(&mut self, to: ReactorId, message: ToHome, payload: &[&[u8]]) -> Result<(), NoCredit> {
        assert_ne!(to, self.me, "a reactor has no lane to itself");
        self.to_homes.push((to, message, payload.concat()));
        Ok(())
    }

    fn ephemeral(&mut self, to: ReactorId, message: Ephemeral, payload: &[u8]) -> bool {
        assert_ne!(to, self.me, "a reactor has no lane to itself");
        self.ephemerals.push((to, message, payload.to_vec()));
        true
    }

    fn pass_home(&mut self, message: &ToHome, _: &[u8]) -> Passage {
        if (self.lost)(message) { Passage::Full } else { Passage::Free }
    }

    fn has_home_credit(&mut self, _: ReactorId, _: usize, _: usize) -> bool {
        self.home_credit
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
