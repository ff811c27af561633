//! A reactor's hands: what its node's effects become.

use tidings_core::{
    ConnId, Effects, Entity, Ephemeral, JobId, Mono, NoCredit, Passage, ReactorId, RecordMeta, StateStore,
    ToConversation, ToHome, records::RecordKind, slab::Key,
};
use tidings_log::{Scope, Solo};
use tidings_mesh::Port;
use tidings_wire::{BatchPosition, LogPosition};

use crate::{
    config::{LATER_GRID_NS, LATER_MS},
    connections::{Connections, State, key_of},
    log_port::LogPort,
    parking::{NoPlace, Parked, Parking},
};

/// Version of all record bodies.
pub(crate) const RECORD_VERSION: u8 = 1;

/// Everything that effects act on.
pub(crate) struct Io<S> {
    /// This reactor.
    pub(crate) me: ReactorId,
    pub(crate) connections: Connections<S>,
    pub(crate) log: LogPort,
    pub(crate) lanes: Port<ToConversation, ToHome, Ephemeral>,
    /// This node's part in the replication of its shards.
    pub(crate) replica: Solo,
    /// Loads what is not in memory.
    pub(crate) store: Box<dyn StateStore + Send>,
    /// What waits for the store.
    pub(crate) parking: Parking,
    /// The store holds everything: nothing ever waits for it.
    pub(crate) nothing_waits: bool,
    /// Reads that the node asked for in this turn.
    pub(crate) reads: Vec<(JobId, LogPosition, usize)>,
    /// Bytes of rows that were appended: state, not messages.
    pub(crate) row_bytes: u64,
    /// The time of this turn.
    pub(crate) now: Mono,
}

impl<S> Io<S> {
    /// Whether something that touches `entity` may go on: it is in memory, and nobody waits for it.
    pub(crate) fn may_pass(&mut self, entity: Entity) -> bool {
        self.nothing_waits || self.parking.may_pass(entity, &mut *self.store)
    }

    /// A message to a home, from a conversation of `from`: the way is free, or it waits, or there is no place where it could.
    pub(crate) fn pass_to_home(&mut self, from: ReactorId, message: &ToHome, payload: &[u8]) -> Passage {
        let Some(entity) = message.entity().filter(|entity| !self.may_pass(*entity)) else { return Passage::Free };
        let parked = Parked::ToHome(from, *message, payload.to_vec());
        match self.parking.park(entity, parked, self.now) {
            Ok(()) => Passage::Parked,
            Err(NoPlace) => Passage::Full,
        }
    }

    /// Makes a connection leave once its output is gone.
    pub(crate) fn leave(&mut self, key: Key) {
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(key)
            && !matches!(connection.state, State::Leaving | State::Gone)
        {
            (connection.state, connection.since) = (State::Leaving, now);
            self.connections.hurry(key);
        }
    }

    /// A connection that leaves has less time to read the last words.
    pub(crate) fn linger_less(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.hurried = true;
        }
    }
}

impl<S> Effects for Io<S> {
    fn room(&self) -> usize {
        self.log.log.room()
    }

    fn append(&mut self, meta: RecordMeta, fill: impl FnOnce(&mut Vec<u8>)) -> BatchPosition {
        let RecordMeta { kind, shard, ts } = meta;
        self.log.touched(self.now);
        let scope = if kind.is_local() { Scope::Local } else { Scope::Entry };
        let (kind, version, ts) = (kind as u8, RECORD_VERSION, ts.0);
        let meta = tidings_log::RecordMeta { kind, version, scope, shard, ts };
        let before = if scope == Scope::Local { self.log.log.room() } else { 0 };
        let at = self.log.log.append(meta, fill);
        if scope == Scope::Local && kind != RecordKind::Kept as u8 {
            self.row_bytes += before.saturating_sub(self.log.log.room()) as u64;
        }
        at
    }

    fn revise(&mut self, place: BatchPosition, len: usize) -> Option<&mut [u8]> {
        self.log.log.revise(place, len)
    }

    fn void(&mut self, at: BatchPosition) -> bool {
        self.log.log.void(at, RecordKind::Void as u8)
    }

    fn want_write(&mut self) {
        self.log.log.want();
    }

    fn is_stuck(&self) -> bool {
        self.log.is_stuck()
    }

    fn to_conversation(&mut self, to: ReactorId, message: ToConversation, payload: &[&[u8]]) -> Result<(), NoCredit> {
        let lane = self.lanes.conversation_out[to.0 as usize].as_mut().expect("a lane to every other reactor");
        lane.send(message, payload).map_err(|tidings_mesh::NoCredit| NoCredit)
    }

    fn to_home(&mut self, to: ReactorId, message: ToHome, payload: &[&[u8]]) -> Result<(), NoCredit> {
        let lane = self.lanes.home_out[to.0 as usize].as_mut().expect("a lane to every other reactor");
        lane.send(message, payload).map_err(|tidings_mesh::NoCredit| NoCredit)
    }

    fn ephemeral(&mut self, to: ReactorId, message: Ephemeral, payload: &[u8]) -> bool {
        let lane = self.lanes.ephemeral_out[to.0 as usize].as_mut().expect("a lane to every other reactor");
        lane.send(message, &[payload])
    }

    fn is_here(&mut self, entity: Entity) -> bool {
        self.nothing_waits || self.parking.may_pass_or_load(entity, &mut *self.store, self.now)
    }

    fn pass_home(&mut self, message: &ToHome, payload: &[u8]) -> Passage {
        if self.nothing_waits {
            return Passage::Free;
        }
        self.pass_to_home(self.me, message, payload)
    }

    fn has_home_credit(&mut self, to: ReactorId, count: usize, bytes: usize) -> bool {
        let lane = self.lanes.home_out[to.0 as usize].as_mut().expect("a lane to every other reactor");
        lane.has_credit(count, bytes)
    }

    fn out(&mut self, conn: ConnId) -> &mut Vec<u8> {
        self.connections.out(key_of(conn))
    }

    fn out_later(&mut self, conn: ConnId) -> &mut Vec<u8> {
        let due = self.now.plus_ms(LATER_MS).0.next_multiple_of(LATER_GRID_NS);
        self.connections.out_later(key_of(conn), Mono(due))
    }

    fn buffered(&self, conn: ConnId) -> usize {
        self.connections.buffered(key_of(conn))
    }

    fn close(&mut self, conn: ConnId) {
        self.leave(key_of(conn));
    }

    fn read(&mut self, job: JobId, loc: LogPosition, len: usize) {
        self.reads.push((job, loc, len));
    }
}
