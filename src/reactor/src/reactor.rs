//! The turn: everything a core does, in batches, over one ring.

use std::{collections::VecDeque, fmt, io, os::fd::OwnedFd, sync::Arc, time::Duration};

use tidings_core::{CommittedBatch, Counter, JobId, Mono, Node, Now, ReactorId, Verifier, node::Progress, slab::Key};
use tidings_log::{Sealed, prepare::READY_AIM};
use tidings_ring::{Chunk, Completion, Received, Ring, SetupError, Token, Wait, socket};

use crate::{
    address::Addresses,
    background::Background,
    clock::Clock,
    config::{
        COMPLETIONS_PER_TURN, HANDSHAKES_PER_TURN, LANE_MESSAGES_PER_TURN, RECEIVES_PER_TURN, ROOM_FOR_INPUT,
        ReactorConfig, SLEEP_MAX_MS, SWEEP_MS,
    },
    connections::{Connections, State},
    host::Seed,
    input::{Cut, Input},
    io::Io,
    log_port::{LogPort, Write},
    report::Report,
    retention::Retention,
    shared::{Handover, Shared},
    sweep,
};

const LISTENER: Token = Token(0);
/// How often an idle reactor goes on preparing segments.
const PREPARE_TICK_MS: u64 = 10;
/// Most that a draining reactor waits for output to be taken and for others.
const DRAIN_MAX_MS: u64 = 5000;

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

/// Where a reactor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The first tip, which vouches for everything that recovery found, waits for a segment.
    Recovered,
    /// It is being written.
    Repairing,
    /// Serving.
    Serving,
    /// No new connections, sessions told, the rest is being written; until when.
    Draining(Mono),
    /// As above, and nothing is left to do here.
    Quiet(Mono),
}

/// What came in on a connection, in its order.
#[derive(Debug)]
enum Inbound {
    Bytes(Chunk),
    End,
}

/// One core's reactor.
pub struct Reactor<V> {
    me: ReactorId,
    config: ReactorConfig,
    clock: Clock,
    ring: Ring,
    node: Node,
    io: Io,
    verifier: V,
    shared: Arc<Shared>,
    listener: OwnedFd,
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
        let Seed { config, mut node, epoch, segment_len, log, lanes, verifier, shared, listener } = seed;
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
            shared,
            listener,
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
            self.wait(busy || self.node.is_busy() || self.background.is_busy(), now);
        }
    }

    /// Lanes from other reactors. *Up* is only taken while the log has room and the answer has credit; *down* always.
    fn take_lanes(&mut self, now: Now) -> bool {
        let mut busy = false;
        for from in 0..self.shared.reactors() {
            for _ in 0..LANE_MESSAGES_PER_TURN {
                let room = self.io.log.log.room() >= ROOM_FOR_INPUT;
                let Some(mut lane) = self.io.lanes.up_in[from].take() else { break };
                let credit = self.io.lanes.down_out[from].as_mut().is_some_and(|lane| lane.has_credit(1, 0));
                let message = if room && credit { lane.receive() } else { None };
                let taken = message.is_some();
                if let Some((message, payload)) = message {
                    self.node.up(ReactorId(from as u16), message, payload, now, &mut self.io);
                }
                self.io.lanes.up_in[from] = Some(lane);
                busy |= taken;
                if !taken {
                    break;
                }
            }
            for _ in 0..LANE_MESSAGES_PER_TURN {
                let Some(mut lane) = self.io.lanes.down_in[from].take() else { break };
                let message = lane.receive();
                let taken = message.is_some();
                if let Some((message, payload)) = message {
                    self.node.down(message, payload, now, &mut self.io);
                }
                self.io.lanes.down_in[from] = Some(lane);
                busy |= taken;
                if !taken {
                    break;
                }
            }
        }
        busy
    }

    fn take_handovers(&mut self, now: Now) -> bool {
        let mut busy = false;
        while let Some(Handover { socket, who, unparsed }) = self.shared.peer(self.me).handovers.pop() {
            busy = true;
            let Some(key) = self.adopt(socket, now) else { continue };
            let mut input = self.input(now);
            input.admit(key, &who);
            let used = match input.cut(key, &unparsed) {
                Cut::Used(used) => used,
                Cut::HandedOver => continue,
            };
            self.carry(key, &unparsed[used..], now);
            self.arm(key);
        }
        busy
    }

    fn adopt(&mut self, socket: OwnedFd, now: Now) -> Option<Key> {
        if self.io.connections.len() >= self.config.limits.connections_max || self.stage != Stage::Serving {
            self.node.counters.error(tidings_wire::ErrorCode::Full);
            return None;
        }
        let address = socket::peer_addr(&socket).ok()?.ip();
        Some(self.io.connections.insert(socket, address, now.mono))
    }

    fn input(&mut self, now: Now) -> Input<'_, V> {
        Input {
            me: self.me,
            node: &mut self.node,
            io: &mut self.io,
            verifier: &self.verifier,
            addresses: &mut self.addresses,
            limits: &self.config.limits,
            shared: &self.shared,
            now,
        }
    }

    /// Arms a connection's receive: single until it is authenticated, so that it can move.
    fn arm(&mut self, key: Key) {
        let Some(connection) = self.io.connections.get_mut(key) else { return };
        if connection.receiving || connection.state == State::Gone {
            return;
        }
        connection.receiving = true;
        let token = Token(key.to_u64());
        match connection.state {
            State::Greeting => self.ring.receive_once(&connection.socket, token),
            _ => self.ring.receive(&connection.socket, token),
        }
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

    fn accepted(&mut self, result: io::Result<OwnedFd>, more: bool, now: Now) {
        if let Ok(socket) = result {
            self.node.counters.count(Counter::Accepted);
            // A socket without it still works, only slower.
            let _slower = socket::set_nodelay(&socket);
            if let Some(key) = self.adopt(socket, now) {
                self.arm(key);
            }
        }
        if !more && self.stage == Stage::Serving {
            self.node.counters.count(Counter::Rearmed);
            self.ring.accept(&self.listener, LISTENER);
        }
    }

    fn received(&mut self, key: Key, result: Received, more: bool, now: Now) {
        let Some(connection) = self.io.connections.get_mut(key) else {
            if let Received::Bytes(chunk) = result {
                self.ring.give_back(chunk);
            }
            return;
        };
        connection.receiving = more;
        match result {
            Received::Bytes(chunk) => {
                connection.heard = now.mono;
                let multishot = connection.state != State::Greeting;
                if !more && multishot {
                    self.node.counters.count(Counter::Rearmed);
                }
                self.inbox.push_back((key, Inbound::Bytes(chunk)));
            }
            Received::NoBuffer => {
                self.node.counters.count(Counter::ReceiveStarved);
                self.starved.push(key);
            }
            // Behind the bytes that came before it.
            Received::End | Received::Failed(_) => self.inbox.push_back((key, Inbound::End)),
        }
    }

    /// Received bytes become frames while the log has room for what they may turn into: a full log stops here, and with the
    /// receive buffers used up the kernel makes the peers wait.
    fn take_inbox(&mut self, now: Now) -> bool {
        let mut handshakes = 0;
        for _ in 0..RECEIVES_PER_TURN.min(self.inbox.len()) {
            if self.io.log.log.room() < ROOM_FOR_INPUT || handshakes == HANDSHAKES_PER_TURN {
                break;
            }
            let Some((key, inbound)) = self.inbox.pop_front() else { break };
            let Inbound::Bytes(chunk) = inbound else {
                sweep::cut(&mut self.node, &mut self.io, key);
                continue;
            };
            let greeting = |connection: &crate::connections::Connection| connection.state == State::Greeting;
            handshakes += usize::from(self.io.connections.get(key).is_some_and(greeting));
            self.take_chunk(key, &chunk, now);
            self.ring.give_back(chunk);
            self.arm(key);
        }
        if self.ring.free_buffers() > 0 {
            for key in std::mem::take(&mut self.starved) {
                self.arm(key);
            }
        }
        // Without room there is nothing to do before the log's write completes, and that wakes the ring.
        !self.inbox.is_empty() && self.io.log.log.room() >= ROOM_FOR_INPUT
    }

    fn take_chunk(&mut self, key: Key, chunk: &Chunk, now: Now) {
        let Some(connection) = self.io.connections.get_mut(key) else { return };
        let mut whole = std::mem::take(&mut connection.carry);
        let bytes = self.ring.bytes(chunk);
        let joined = !whole.is_empty();
        if joined {
            whole.extend_from_slice(bytes);
        }
        let stretch = if joined { &whole[..] } else { bytes };
        let mut input = Input {
            me: self.me,
            node: &mut self.node,
            io: &mut self.io,
            verifier: &self.verifier,
            addresses: &mut self.addresses,
            limits: &self.config.limits,
            shared: &self.shared,
            now,
        };
        let cut = input.cut(key, stretch);
        match cut {
            Cut::HandedOver => {}
            Cut::Used(used) if joined => {
                let began = used > 0;
                whole.drain(..used);
                if let Some(connection) = self.io.connections.get_mut(key) {
                    if began {
                        connection.frame_since = now.mono;
                    }
                    if !whole.is_empty() {
                        connection.carry = whole;
                        return;
                    }
                }
                self.io.connections.give_back(whole);
            }
            Cut::Used(used) => {
                let rest = &bytes[used..];
                if !rest.is_empty() {
                    let mut carry = self.io.connections.spare();
                    carry.extend_from_slice(rest);
                    self.keep_carry(key, carry, now);
                }
            }
        }
    }

    fn carry(&mut self, key: Key, rest: &[u8], now: Now) {
        if !rest.is_empty() {
            let mut carry = self.io.connections.spare();
            carry.extend_from_slice(rest);
            self.keep_carry(key, carry, now);
        }
    }

    fn keep_carry(&mut self, key: Key, carry: Vec<u8>, now: Now) {
        match self.io.connections.get_mut(key) {
            Some(connection) => (connection.carry, connection.frame_since) = (carry, now.mono),
            None => self.io.connections.give_back(carry),
        }
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
        let mut reads = std::mem::take(&mut self.io.reads);
        for (job, loc, len) in reads.drain(..) {
            self.io.log.read(&mut self.ring, job, loc, len);
        }
        self.io.reads = reads;
        while let Some(job) = self.io.log.take_failed() {
            self.node.read_done(job, None, now, &mut self.io);
        }
    }

    fn sent(&mut self, key: Key, buffer: Vec<u8>, result: io::Result<usize>) {
        let whole = result.is_ok_and(|sent| sent == buffer.len());
        self.io.connections.give_back(buffer);
        let Some(connection) = self.io.connections.get_mut(key) else { return };
        connection.sending = 0;
        if !whole {
            return sweep::cut(&mut self.node, &mut self.io, key);
        }
        let (state, empty) = (connection.state, connection.pending.is_empty());
        self.io.connections.mark_dirty(key);
        if let State::Live(session) = state
            && empty
        {
            self.node.output_gone(session, &mut self.io);
        }
    }

    /// One send a connection; connections that are done go.
    fn flush(&mut self, now: Now) -> bool {
        let mut busy = false;
        while let Some(key) = self.io.connections.next_dirty() {
            busy = true;
            let Some(connection) = self.io.connections.get_mut(key) else { continue };
            if connection.sending > 0 {
                continue;
            }
            if !connection.pending.is_empty() && connection.state != State::Gone {
                let buffer = std::mem::take(&mut connection.pending);
                (connection.sending, connection.send_since) = (buffer.len(), now.mono);
                self.ring.send(&connection.socket, Token(key.to_u64()), buffer, 0);
                continue;
            }
            match connection.state {
                State::Leaving if !connection.shut => {
                    // The peer reads our last words, then the end; its own last words are read and thrown away, since
                    // closing over unread bytes would reset the connection and lose ours.
                    connection.shut = true;
                    socket::shutdown_write(&connection.socket);
                    self.arm(key);
                }
                State::Gone if !connection.receiving => drop(self.io.connections.remove(key)),
                _ => {}
            }
        }
        busy
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

    /// Moves on from repairing to serving, to draining, to the end. True at the end.
    fn step_stage(&mut self, now: Now) -> bool {
        match self.stage {
            Stage::Recovered => false,
            Stage::Repairing => {
                if self.io.log.log.is_idle() && self.applying.is_none() {
                    self.stage = Stage::Serving;
                    self.ring.accept(&self.listener, LISTENER);
                    self.shared.set_accepting();
                }
                false
            }
            Stage::Serving => {
                if self.shared.is_draining() {
                    self.ring.cancel_accept(LISTENER);
                    self.node.drain(&mut self.io);
                    self.io.log.log.want();
                    self.stage = Stage::Draining(now.mono.plus_ms(DRAIN_MAX_MS));
                }
                false
            }
            Stage::Draining(until) => {
                // New sessions may have been on their way from another reactor, and some never said HELLO.
                self.node.drain(&mut self.io);
                self.keys.extend(self.io.connections.keys());
                for key in self.keys.drain(..) {
                    self.io.leave(key);
                }
                if self.io.log.log.has_records() {
                    self.io.log.log.want();
                }
                let log = &self.io.log.log;
                let written = log.is_idle() && !log.has_records() && !log.needs_tip() && self.applying.is_none();
                let done =
                    written && self.inbox.is_empty() && self.io.connections.is_empty() && self.io.lanes.is_idle();
                if done || until <= now.mono {
                    self.stage = Stage::Quiet(until);
                    self.shared.set_quiet();
                }
                false
            }
            Stage::Quiet(until) => {
                if self.io.log.log.has_records() {
                    self.io.log.log.want();
                }
                self.shared.all_quiet() || until.plus_ms(DRAIN_MAX_MS) <= now.mono
            }
        }
    }

    /// Submits, and waits for work: not at all, spinning, or asleep.
    fn wait(&mut self, busy: bool, now: Now) {
        let cap_ns = self.config.spin_us * 1000;
        if busy {
            self.spin_until = Mono(now.mono.0 + self.spin_ns);
            return self.ring.turn(Wait::Poll, &mut self.completions);
        }
        if now.mono < self.spin_until {
            std::hint::spin_loop();
            return self.ring.turn(Wait::Poll, &mut self.completions);
        }
        let sleeper = &self.shared.peer(self.me).sleeper;
        sleeper.announce();
        if !self.io.lanes.is_idle() || !self.shared.peer(self.me).handovers.is_empty() {
            sleeper.awake();
            return self.ring.turn(Wait::Poll, &mut self.completions);
        }
        self.node.counters.count(Counter::Sleeps);
        self.ring.turn(Wait::Upto(self.sleep_time(now)), &mut self.completions);
        self.shared.peer(self.me).sleeper.awake();
        // Spin next time if work came so soon that spinning would have met it; if not, spin less.
        let slept_ns = self.clock.mono().since(now.mono);
        self.spin_ns =
            if slept_ns <= cap_ns { (self.spin_ns * 2).clamp(1000, cap_ns.max(1000)) } else { self.spin_ns / 2 };
        if cap_ns == 0 {
            self.spin_ns = 0;
        }
    }

    fn sleep_time(&self, now: Now) -> Duration {
        let most = now.mono.plus_ms(SLEEP_MAX_MS);
        let sweep = (!self.io.connections.is_empty()).then(|| self.swept.plus_ms(SWEEP_MS));
        let prepare = match self.io.log.log.ready_segments() {
            0 => Some(now.mono.plus_ms(1)),
            ready => (ready < READY_AIM).then(|| now.mono.plus_ms(PREPARE_TICK_MS)),
        };
        let due = [self.node.next_timeout(), self.io.log.tip_due(), sweep, prepare];
        let due = due.into_iter().flatten().min().unwrap_or(most).min(most);
        Duration::from_nanos(due.since(now.mono).max(1000))
    }
}
