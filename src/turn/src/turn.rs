//! The turn: everything a core does, in batches.

mod gauge;
mod greeting;
mod lanes;
mod newcomers;
mod receive;
mod rest;
mod send;
mod stage;

use std::{collections::VecDeque, fmt, io, sync::Arc};

use tidings_canary::{self as canary, Canary};
use tidings_core::{
    CommittedEntry, Counter, DurableBatch, Ephemeral, Mono, Node, Now, ReactorId, StateStore, ToConversation, ToHome,
    Verifier, limits::Bucket, slab::Key,
};
use tidings_door::Rules;
use tidings_log::{LogEnd, Replica, Sealed, Solo};
use tidings_mesh::Port;
use tidings_wire::Committed;

use crate::{
    address::Addresses,
    config::{SWEEP_MS, TurnConfig},
    connections::Connections,
    io::Io,
    log_port::{LogParts, LogPort},
    machine::{Completion, Event, Machine, Wake},
    parking::Parking,
    report::Report,
    retention::Retention,
    shared::Shared,
    sweep::{self, Sweep},
};
pub use gauge::Gauge;
use stage::Stage;

/// Everything that a turn begins with. Made by whoever recovered the data directory.
pub struct Seed<M: Machine, V> {
    /// Its settings.
    pub config: TurnConfig,
    /// Its share of the node, recovered.
    pub node: Node,
    /// Its part in the replication of shards.
    pub replica: Solo,
    /// Bytes of a segment.
    pub segment_len: u64,
    /// Its log.
    pub log: LogParts,
    /// What may be spoken to it.
    pub rules: Arc<Rules>,
    /// Its lanes.
    pub lanes: Port<ToConversation, ToHome, Ephemeral>,
    /// Checks tokens.
    pub verifier: V,
    /// Loads what is not in memory.
    pub store: Box<dyn StateStore + Send>,
    /// What it shares with others.
    pub shared: Arc<Shared<M>>,
}

impl<M: Machine, V> fmt::Debug for Seed<M, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seed({})", self.node.config().me.0)
    }
}

/// What a turn came to.
#[derive(Debug)]
pub enum Outcome {
    /// There was work, or there is more.
    Busy,
    /// There is nothing to do now: [`Turn::begin_rest`] says for how long.
    Idle,
    /// The node drained: the end.
    Ended,
}

/// One core's connections, share of the node, and log.
pub struct Turn<M: Machine, V> {
    me: ReactorId,
    config: TurnConfig,
    rules: Arc<Rules>,
    machine: M,
    node: Node,
    io: Io<M::Socket>,
    verifier: V,
    shared: Arc<Shared<M>>,
    /// The accept is armed.
    listening: bool,
    /// It was, once.
    was_listening: bool,
    retention: Retention,
    addresses: Addresses,
    /// Pages that may be answered with.
    pages: Bucket,
    stage: Stage,
    /// Received and not looked at: bounded by the receive buffers and the connections.
    inbox: VecDeque<(Key, M::Chunk)>,
    /// What was ever taken out of it.
    looked_at: u64,
    /// Connections that ended, and how much of the inbox came before: apart for the same reason as greetings.
    ends: VecDeque<(Key, u64)>,
    /// Connections whose first bytes came and were not looked at: apart, so that many who come at once do not stand in the way
    /// of those who are there. Their bytes are copied, so that they hold no receive buffer.
    greetings: VecDeque<Key>,
    /// Connections whose receive ended for want of a buffer.
    starved: Vec<Key>,
    /// The disk took nothing at the end of the last turn.
    was_stuck: bool,
    /// What was shown to others last: hundredths of the log that are state.
    state_share: u8,
    /// Scratch space: what doors opened, and an empty buffer for what they seal.
    opened: Vec<u8>,
    spare: Vec<u8>,
    /// Scratch space.
    committed: Vec<Committed>,
    swept: Mono,
    sweep: Sweep,
    /// The place of the next connection that leaves since the node stops.
    leaving: u32,
    /// When counters were shown last, and whether there is something new of them.
    shown: Mono,
    is_news: bool,
}

impl<M: Machine, V> fmt::Debug for Turn<M, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Turn({})", self.me.0)
    }
}

impl<M: Machine, V: Verifier> Turn<M, V> {
    /// A reactor's share of a recovered node, on a machine.
    ///
    /// # Errors
    /// If the log's files cannot be opened.
    pub fn new(seed: Seed<M, V>, mut machine: M, now: Mono) -> io::Result<Self> {
        let Seed { config, mut node, replica, segment_len, log, rules, lanes, verifier, store, shared } = seed;
        let log = LogPort::open(node.config().log, log, &mut machine, now)?;
        let retention = Retention::new(config.retention_bytes, segment_len, &mut node);
        node.start();
        Ok(Self {
            me: node.config().me,
            config,
            rules,
            machine,
            io: Io {
                me: node.config().me,
                connections: Connections::default(),
                log,
                lanes,
                replica,
                nothing_waits: store.holds_all(),
                store,
                parking: Parking::default(),
                reads: Vec::new(),
                row_bytes: 0,
                now,
            },
            node,
            verifier,
            shared,
            listening: false,
            was_listening: false,
            retention,
            addresses: Addresses::default(),
            pages: Bucket::default(),
            stage: Stage::Recovered,
            inbox: VecDeque::new(),
            looked_at: 0,
            ends: VecDeque::new(),
            greetings: VecDeque::new(),
            starved: Vec::new(),
            was_stuck: false,
            state_share: 0,
            opened: Vec::new(),
            spare: Vec::new(),
            committed: Vec::new(),
            swept: now,
            sweep: Sweep::default(),
            leaving: 0,
            shown: now,
            is_news: false,
        })
    }

    /// The machine, to wait for its completions.
    pub fn machine(&mut self) -> &mut M {
        &mut self.machine
    }

    /// What was measured, and where the log ends.
    pub fn into_report(self) -> Report {
        let end = self.log_end();
        Report { ends: vec![(self.io.log.log_id(), end)], ..self.io.log.report }
    }

    /// What is proposed and not sealed is dropped, as when another node leads. How many records were.
    pub fn drop_proposed(&mut self, now: Now) -> u64 {
        if !self.io.log.log.has_records() {
            return 0;
        }
        self.io.now = now.mono;
        let before = self.node.counters.get(Counter::ProposalsDropped);
        self.node.at(now, &mut self.io).drop_proposed();
        self.io.replica.lead_again();
        self.node.counters.get(Counter::ProposalsDropped) - before
    }

    /// A digest of each shard's committed state.
    pub fn digests(&self) -> impl Iterator<Item = (u16, u64)> {
        self.node.digests()
    }

    /// Where the own log ends.
    pub fn log_end(&self) -> LogEnd {
        self.io.log.log.end()
    }

    /// One turn at a moment, with everything that completed since the last.
    ///
    /// # Errors
    /// If a batch could not be made durable. What the disk holds is unknown then, so nothing is tried again: the node must
    /// stop.
    pub fn turn(&mut self, now: Now, completions: impl IntoIterator<Item = Event<M>>) -> io::Result<Outcome> {
        self.io.now = now.mono;
        let mut busy = self.take_parked(now);
        busy |= self.take_lanes(now);
        busy |= self.take_handovers(now);
        for completion in completions {
            busy = true;
            self.take_completion(completion, now)?;
        }
        self.io.log.write_time.set_gathering(false);
        self.take_durable(now);
        // Before the input: state that is written again for retention must find room in a batch that input would fill.
        self.node.at(now, &mut self.io).timeout();
        busy |= self.take_inbox(now);
        busy |= self.take_ephemeral(now);
        self.keep_house(now);
        self.write_log(now);
        self.start_reads(now);
        busy |= self.flush(now);
        self.publish(busy, now.mono);
        if self.step_stage(now) {
            self.show(now.mono);
            return Ok(Outcome::Ended);
        }
        Ok(if busy || self.node.is_busy() { Outcome::Busy } else { Outcome::Idle })
    }

    fn take_completion(&mut self, completion: Event<M>, now: Now) -> io::Result<()> {
        match completion {
            Completion::Accepted { result, more } => self.accepted(result, more, now),
            Completion::Received { key, result, more } => self.received(key, result, more, now),
            Completion::Sent { key, buffer, result } => self.sent(key, buffer, &result, now),
            Completion::Created { result, .. } => self.io.log.created(&result, now.mono),
            Completion::Removed { log, result } => self.io.log.removed(log, &result, now.mono),
            Completion::Noted { log, result } => self.io.log.noted(log, &result, now.mono),
            Completion::Written { purpose, buffer, result } => {
                self.io.log.written(purpose, buffer, result, now.mono)?;
            }
            Completion::Read { job, buffer, result } => {
                let bytes = result.ok().map(|len| &buffer[..len]);
                self.node.at(now, &mut self.io).read_done(job, bytes);
                self.io.log.keep(buffer);
            }
            Completion::Woken => {}
        }
        Ok(())
    }

    /// Batches that are durable are applied, in their order.
    fn take_durable(&mut self, now: Now) {
        while let Some(sealed) = self.io.log.take_durable(&mut self.machine) {
            let position = |offset: u32| sealed.loc(offset);
            let Sealed { durable, lsn, .. } = sealed;
            self.node.at(now, &mut self.io).durable(&DurableBatch { durable, lsn, position: &position });
            let mut committed = std::mem::take(&mut self.committed);
            self.io.replica.durable(durable, lsn, &sealed.entries, |entry| committed.push(entry));
            for committed in committed.drain(..) {
                let bytes = sealed.buffer.as_slice();
                let entry = CommittedEntry { committed, lsn, bytes, position: &position };
                self.node.at(now, &mut self.io).committed(&entry);
            }
            self.committed = committed;
            self.io.log.log.recycle(sealed);
        }
    }

    /// What is neither input nor output: segments, retention, time-outs.
    fn keep_house(&mut self, now: Now) {
        self.io.log.prepare(&mut self.machine, now.mono);
        self.retention.step(&mut self.machine, &mut self.node, &mut self.io, &self.shared);
        // What grows here counts at once.
        if self.retention.state_share(&self.node) != self.state_share {
            self.look_how_full();
        }
        if self.swept.plus_ms(SWEEP_MS) <= now.mono {
            self.swept = now.mono;
            self.listen();
            self.refuse_silent(now);
            self.look_how_full();
            for (log, oldest) in self.shared.floors() {
                self.node.set_floor(log, oldest);
            }
        }
        let limits = &self.config.limits;
        if let Some(places) = self.sweep.next(self.io.connections.places(), now.mono) {
            sweep::sweep(&mut self.machine, &mut self.node, &mut self.io, limits, places, now);
        }
    }

    /// Shows others how full this reactor is, and heeds how full the fullest is.
    fn look_how_full(&mut self) {
        self.state_share = self.retention.state_share(&self.node);
        self.shared.set_fullness(self.me, self.state_share, self.node.entities_share());
        let (state, entities) = self.shared.fullness();
        self.node.set_fullness(state, entities);
    }

    /// Natural group commit: if another write may be in flight and somebody waits, what gathered is written.
    fn write_log(&mut self, now: Now) {
        let repair = self.stage == Stage::Recovered;
        let Io { log, replica, .. } = &mut self.io;
        if (repair || log.wants_seal(now)) && log.submit(&mut self.machine, replica, now.mono) {
            self.node.sealed();
            if repair {
                self.stage = Stage::Repairing;
            }
        }
    }

    fn start_reads(&mut self, now: Now) {
        let mut reads = std::mem::take(&mut self.io.reads);
        for (job, loc, len) in reads.drain(..) {
            self.io.log.read(&mut self.machine, job, loc, len);
        }
        self.io.reads = reads;
        while let Some(job) = self.io.log.take_failed() {
            self.node.at(now, &mut self.io).read_done(job, None);
        }
    }

    /// Lanes are published once, sleepers woken once, counters shown.
    fn publish(&mut self, busy: bool, now: Mono) {
        self.node.counters.count(Counter::Turns);
        let lanes = &mut self.io.lanes;
        lanes.conversation_in.iter_mut().flatten().for_each(|lane| lane.release());
        lanes.home_in.iter_mut().flatten().for_each(|lane| lane.release());
        lanes.ephemeral_in.iter_mut().flatten().for_each(|lane| lane.release());
        let mut fenced = false;
        for to in 0..self.shared.reactors() {
            let up = lanes.conversation_out[to].as_mut().is_some_and(|lane| lane.publish());
            let down = lanes.home_out[to].as_mut().is_some_and(|lane| lane.publish());
            let lossy = lanes.ephemeral_out[to].as_mut().is_some_and(|lane| lane.publish());
            if (up || down || lossy) && !canary::is(Canary::WakeForgotten) {
                if !std::mem::replace(&mut fenced, true) {
                    tidings_mesh::fence_before_look();
                }
                let peer = self.shared.peer(ReactorId(to as u16));
                if peer.sleeper.take_wake() {
                    peer.waker.wake();
                }
            }
        }
        if self.io.log.is_stuck() != self.was_stuck {
            self.was_stuck = !self.was_stuck;
            if self.was_stuck { self.shared.is_stuck() } else { self.shared.is_free() }
        }
        // Counters are shown once a millisecond, and before a rest: they are many.
        self.is_news |= busy;
        if self.is_news && (!busy || self.shown.plus_ms(1) <= now) {
            self.show(now);
        }
    }

    /// Shows what was counted, to whoever looks.
    fn show(&mut self, now: Mono) {
        (self.is_news, self.shown) = (false, now);
        let stats = self.io.log.log.stats();
        let counters = &mut self.node.counters;
        counters.set(Counter::Batches, stats.batches);
        counters.set(Counter::BatchBytes, stats.bytes);
        counters.set(Counter::BatchPadding, stats.padding);
        counters.set(Counter::SegmentWaits, stats.segment_waits);
        counters.set(Counter::PrepareFailures, self.io.log.prepare_failures);
        counters.set(Counter::RingCalls, self.machine.calls());
        self.shared.publish(self.me, &self.node.counters);
        if let Some(who) = self.node.take_over_budget() {
            self.shared.tell_over_budget(who);
        }
        while let Some(damage) = self.node.take_damage() {
            self.shared.tell_damage(damage);
        }
        let connections = &self.shared.peer(self.me).connections;
        connections.store(self.io.connections.len(), std::sync::atomic::Ordering::Relaxed);
    }
}
