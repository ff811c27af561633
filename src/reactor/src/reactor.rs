//! The turn: everything a core does, in batches, over one ring.

mod park;
mod receive;
mod send;
mod stage;

use std::{collections::VecDeque, fmt, io, os::fd::OwnedFd, sync::Arc};

use tidings_core::{
    CommittedBatch, Counter, JobId, Mono, Node, Now, ReactorId, Residency, StateStore, Verifier, node::Progress,
    slab::Key,
};
use tidings_log::Sealed;
use tidings_ring::{Completion, Ring, SetupError, Token};

use crate::{
    address::Addresses,
    background::Background,
    clock::Clock,
    config::{COMPLETIONS_PER_TURN, LANE_MESSAGES_PER_TURN, ROOM_FOR_INPUT, ReactorConfig, SWEEP_MS},
    connections::Connections,
    host::Seed,
    io::Io,
    log_port::{LogPort, Write},
    report::Report,
    retention::Retention,
    shared::Shared,
    sweep,
};
use receive::Inbound;
use stage::Stage;

const LISTENER: Token = Token(0);

/// Why a reactor stopped by itself: the node must stop.
#[derive(Debug)]
pub enum ReactorError {
    /// There is no ring.
    Setup(SetupError),
    /// The log's files cannot be opened.
    Open(io::Error),
    /// A batch could not be made durable. What the disk holds is unknown, so nothing is tried again.
    Log(io::Error),
}

impl fmt::Display for ReactorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(error) => error.fmt(f),
            Self::Open(error) => write!(f, "the log cannot be opened: {error}"),
            Self::Log(error) => write!(
                f,
                "a write of the log failed ({error}): stopping, since what is on the disk is unknown; check the disk, \
                 then start again: everything acknowledged is recovered"
            ),
        }
    }
}

impl std::error::Error for ReactorError {}

/// One core's reactor.
pub struct Reactor<V> {
    me: ReactorId,
    config: ReactorConfig,
    clock: Clock,
    ring: Ring,
    node: Node,
    io: Io,
    verifier: V,
    store: Box<dyn StateStore + Send>,
    shared: Arc<Shared>,
    listener: OwnedFd,
    /// The accept is armed.
    listening: bool,
    /// It was, once.
    was_listening: bool,
    background: Background,
    retention: Retention,
    addresses: Addresses,
    stage: Stage,
    /// Received and not looked at: bounded by the receive buffers and the connections.
    inbox: VecDeque<(Key, Inbound)>,
    /// A durable batch whose records are being applied.
    applying: Option<Sealed>,
    completions: Vec<Completion>,
    /// Connections whose receive ended for want of a buffer.
    starved: Vec<Key>,
    keys: Vec<Key>,
    swept: Mono,
    spin_until: Mono,
    spin_ns: u64,
}

impl<V> fmt::Debug for Reactor<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reactor({})", self.me.0)
    }
}

impl<V: Verifier> Reactor<V> {
    /// A reactor on the calling thread, which runs a glommio executor.
    ///
    /// # Errors
    /// If the kernel or the files do not allow it.
    pub fn new(seed: Seed<V>) -> Result<Self, ReactorError> {
        let Seed { config, mut node, epoch, segment_len, log, lanes, verifier, store, shared, listener } = seed;
        let me = node.config().me;
        let waker = shared.peer(me).waker.clone();
        let ring = Ring::new(&config.ring, waker.clone()).map_err(ReactorError::Setup)?;
        let clock = Clock::default();
        let now = clock.mono();
        let log = LogPort::open(node.config().log, log, now).map_err(ReactorError::Open)?;
        let retention = Retention::new(config.retention_bytes, segment_len, &mut node);
        node.start_replaying_bumps();
        let io = Io { connections: Connections::default(), log, lanes, epoch, reads: Vec::new(), now };
        Ok(Self {
            me,
            config,
            clock,
            ring,
            node,
            io,
            verifier,
            store,
            shared,
            listener,
            listening: false,
            was_listening: false,
            background: Background::new(waker),
            retention,
            addresses: Addresses::default(),
            stage: Stage::Recovered,
            inbox: VecDeque::new(),
            applying: None,
            completions: Vec::with_capacity(COMPLETIONS_PER_TURN),
            starved: Vec::new(),
            keys: Vec::new(),
            swept: now,
            spin_until: now,
            spin_ns: 0,
        })
    }

    /// Turns until the node drains.
    ///
    /// # Errors
    /// If the log fails: the node must stop.
    pub async fn run(mut self) -> Result<Report, ReactorError> {
        loop {
            let now = self.clock.now();
            self.io.now = now.mono;
            let mut busy = self.take_lanes(now);
            busy |= self.take_handovers(now);
            busy |= self.take_completions(now)?;
            busy |= self.take_inbox(now);
            self.node.timeout(now, &mut self.io);
            self.keep_house(now);
            busy |= self.write_log(now);
            self.start_reads(now);
            busy |= self.flush(now);
            self.publish(busy);
            if self.step_stage(now) {
                return Ok(self.io.log.report);
            }
            self.background.run().await;
            self.wait(busy || self.node.is_busy(), now);
        }
    }

    /// Lanes from other reactors. *Up* is only taken while the log has room and the answer has credit; *down* always. What
    /// needs something that is being loaded waits in its lane.
    fn take_lanes(&mut self, now: Now) -> bool {
        let mut busy = false;
        for from in 0..self.shared.reactors() {
            for _ in 0..LANE_MESSAGES_PER_TURN {
                let room = self.io.log.log.room() >= ROOM_FOR_INPUT;
                let Some(mut lane) = self.io.lanes.up_in[from].take() else { break };
                let credit = self.io.lanes.down_out[from].as_mut().is_some_and(|lane| lane.has_credit(1, 0));
                let message = if room && credit { lane.receive() } else { None };
                let taken = message.is_some();
                let mut held = false;
                if let Some((message, payload)) = message {
                    held = Node::prefetch_up(&message, &mut *self.store) == Residency::Loading;
                    if !held {
                        self.node.up(ReactorId(from as u16), message, payload, now, &mut self.io);
                    }
                }
                if held {
                    lane.put_back();
                }
                self.io.lanes.up_in[from] = Some(lane);
                busy |= taken;
                if !taken || held {
                    break;
                }
            }
            for _ in 0..LANE_MESSAGES_PER_TURN {
                let Some(mut lane) = self.io.lanes.down_in[from].take() else { break };
                let message = lane.receive();
                let taken = message.is_some();
                let mut held = false;
                if let Some((message, payload)) = message {
                    held = Node::prefetch_down(&message, &mut *self.store) == Residency::Loading;
                    if !held {
                        self.node.down(message, payload, now, &mut self.io);
                    }
                }
                if held {
                    lane.put_back();
                }
                self.io.lanes.down_in[from] = Some(lane);
                busy |= taken;
                if !taken || held {
                    break;
                }
            }
        }
        busy
    }

    fn take_completions(&mut self, now: Now) -> Result<bool, ReactorError> {
        let mut completions = std::mem::take(&mut self.completions);
        let busy = !completions.is_empty();
        for completion in completions.drain(..) {
            match completion {
                Completion::Accepted { result, more, .. } => self.accepted(result, more, now),
                Completion::Received { token, result, more } => {
                    self.received(Key::from_u64(token.0), result, more, now);
                }
                Completion::Sent { token, buffer, result } => {
                    self.sent(Key::from_u64(token.0), buffer, result);
                }
                Completion::Written { token, buffer, start, result } => {
                    let write = self.io.log.written(token, buffer, start, result, now.mono);
                    if let Write::Batch(sealed) = write.map_err(ReactorError::Log)? {
                        assert!(self.applying.is_none(), "one batch at a time");
                        self.applying = Some(sealed);
                    }
                }
                Completion::Read { token, buffer, result } => {
                    let job = JobId(token.0 as u32);
                    let bytes = result.ok().map(|len| &buffer[..len]);
                    self.node.read_done(job, bytes, now, &mut self.io);
                    self.io.log.keep(buffer);
                }
                Completion::Woken => {}
            }
        }
        self.completions = completions;
        self.apply(now);
        Ok(busy)
    }

    /// Applies a durable batch, as far as lanes allow.
    fn apply(&mut self, now: Now) {
        let Some(sealed) = self.applying.take() else { return };
        let loc = |offset: u32| sealed.loc(offset);
        let (committed, lsn) = (sealed.committed, sealed.lsn);
        let batch = CommittedBatch { committed, lsn, bytes: sealed.buffer.as_slice(), loc: &loc };
        match self.node.committed(&batch, now, &mut self.io) {
            Progress::Done => self.io.log.log.recycle(sealed.buffer),
            Progress::Stalled => self.applying = Some(sealed),
        }
    }

    /// What is neither input nor output: segments, retention, time-outs.
    fn keep_house(&mut self, now: Now) {
        self.io.log.prepare(&mut self.ring, &mut self.background, now.mono);
        self.retention.step(&mut self.node, &mut self.io, &self.shared);
        if self.swept.plus_ms(SWEEP_MS) <= now.mono {
            self.swept = now.mono;
            self.listen();
            sweep::sweep(&mut self.node, &mut self.io, &self.config.limits, &mut self.keys, now);
            for (log, oldest) in self.shared.floors() {
                self.node.set_floor(log, oldest);
            }
        }
    }

    /// Natural group commit: if no write is in flight and somebody waits, what gathered is written.
    fn write_log(&mut self, now: Now) -> bool {
        self.apply(now);
        #[cfg(feature = "canary")]
        let cached = self.io.log.flush_cache(&mut self.ring, now.mono);
        #[cfg(not(feature = "canary"))]
        let cached = false;
        let repair = self.stage == Stage::Recovered;
        if self.applying.is_none() && self.io.log.log.is_idle() && (repair || self.io.log.wants_seal(now)) {
            let done = self.io.log.submit(&mut self.ring, now.mono);
            if !self.io.log.log.is_idle() || done.is_some() {
                self.node.sealed();
                if repair {
                    self.stage = Stage::Repairing;
                }
            }
            if let Some(Write::Batch(sealed)) = done {
                self.applying = Some(sealed);
                self.apply(now);
            }
        }
        cached
    }

    fn start_reads(&mut self, now: Now) {
        self.io.log.trim_readers(); // the last turn submitted everything
        let mut reads = std::mem::take(&mut self.io.reads);
        for (job, loc, len) in reads.drain(..) {
            self.io.log.read(&mut self.ring, job, loc, len);
        }
        self.io.reads = reads;
        while let Some(job) = self.io.log.take_failed() {
            self.node.read_done(job, None, now, &mut self.io);
        }
    }

    /// Lanes are published once, sleepers woken once, counters shown.
    fn publish(&mut self, busy: bool) {
        self.node.counters.count(Counter::Turns);
        let lanes = &mut self.io.lanes;
        lanes.up_in.iter_mut().flatten().for_each(|lane| lane.release());
        lanes.down_in.iter_mut().flatten().for_each(|lane| lane.release());
        let mut fenced = false;
        for to in 0..self.shared.reactors() {
            let up = lanes.up_out[to].as_mut().is_some_and(|lane| lane.publish());
            let down = lanes.down_out[to].as_mut().is_some_and(|lane| lane.publish());
            if up || down {
                if !std::mem::replace(&mut fenced, true) {
                    tidings_mesh::fence_before_look();
                }
                let peer = self.shared.peer(ReactorId(to as u16));
                if peer.sleeper.take_wake() {
                    peer.waker.wake();
                }
            }
        }
        if busy {
            let stats = self.io.log.log.stats();
            let counters = &mut self.node.counters;
            counters.set(Counter::Batches, stats.batches);
            counters.set(Counter::BatchBytes, stats.bytes);
            counters.set(Counter::BatchPadding, stats.padding);
            counters.set(Counter::SegmentWaits, stats.segment_waits);
            counters.set(Counter::PrepareFailures, self.io.log.prepare_failures);
            self.shared.publish(self.me, &self.node.counters);
            let connections = &self.shared.peer(self.me).connections;
            connections.store(self.io.connections.len(), std::sync::atomic::Ordering::Relaxed);
        }
    }
}
