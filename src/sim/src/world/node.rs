//! The node's process: its reactors, what they ask of the machine, its start and its end.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
};

use tidings_core::{
    Budget, Counter, Ephemeral, Layout, Mono, Node, NodeConfig, Now, ReactorId, ToConversation, ToHome, limits::Rate,
    node::Overload, shedding::Stage,
};
use tidings_log::Epoch;
use tidings_mesh::{LaneSize, fence_before_look};
use tidings_turn::{
    Completion, ConnectionLimits, Outcome, Seed, Shared, Turn, TurnConfig,
    recover::{LogSettings, Recovered, log_parts, recover},
};
use tidings_wire::{Generation, Lineage, LogId, Shards, Timestamp};

use super::{End, Event, World, names::Names, settle::Phase, storage::Then, store::Loading};
use crate::{
    agenda::{MS, Nanos, SECOND, US},
    bounds::{self, Work},
    disk::{Crash, LogOnDisk, Pending},
    machine::{Closings, Command, LinkId, SimMachine, SimWaker},
    plan::Plan,
    random::MILLION,
    relay::{Relay, Way, connect_by_relay},
    stats::Stats,
    trace::Moment,
};

/// The wall clock when a world begins, in microseconds since 1970.
pub(super) const WALL_US: u64 = 1_790_000_000_000_000;
/// What the data directory's checksums are keyed with.
const NONCE: u64 = 0x5eed;

/// One reactor.
#[derive(Debug)]
struct Reactor {
    turn: Turn<SimMachine, Names>,
    completions: Vec<tidings_turn::machine::Event<SimMachine>>,
    waker: SimWaker,
    accepting: bool,
    /// Connections that wait until it accepts again.
    backlog: VecDeque<(LinkId, IpAddr)>,
    resting: bool,
    /// What it shed after its last turn, and when it shed SENDs last.
    sheds: Stage,
    /// It has something of a message that is being written.
    is_writing: bool,
    shed_sends_at: Option<Nanos>,
    ended: bool,
    /// When the next turn is planned, and which plan counts.
    planned: Nanos,
    version: u32,
    /// It gets no time before.
    starved_until: Nanos,
}

/// The process.
#[derive(Debug)]
pub(super) struct Process {
    reactors: Vec<Reactor>,
    relay: Relay<ToConversation, ToHome, Ephemeral>,
    shared: Arc<Shared<SimMachine>>,
    closings: Closings,
    limits: bounds::Limits,
}

impl Process {
    /// A reactor's machine.
    pub(super) fn machine(&mut self, reactor: usize) -> &mut SimMachine {
        self.reactors[reactor].turn.machine()
    }

    /// How full its reactors are, in words.
    pub(super) fn gauges(&self) -> String {
        let words = |reactor: &Reactor| format!("{:?} rests {}", reactor.turn.gauge(), reactor.resting);
        self.reactors.iter().map(words).collect::<Vec<_>>().join("; ")
    }

    /// Reactors that accept connections.
    pub(super) fn accepting(&self) -> Vec<usize> {
        (0..self.reactors.len()).filter(|at| self.reactors[*at].accepting).collect()
    }

    /// Reactors.
    pub(super) fn reactors(&self) -> usize {
        self.reactors.len()
    }

    /// What its reactors counted, in all.
    pub(super) fn count(&self, counter: Counter) -> u64 {
        self.reactors.iter().map(|running| running.turn.counters().get(counter)).sum()
    }

    /// The oldest segment of each log that dropped some.
    pub(super) fn floors(&self) -> Vec<(LogId, Generation)> {
        self.shared.floors().collect()
    }

    /// Adds up what its reactors counted.
    pub(super) fn counted(&self, stats: &mut Stats) {
        self.reactors.iter().for_each(|running| stats.counted(running.turn.counters()));
    }

    /// A reactor gets no time before this moment.
    pub(super) fn starve(&mut self, reactor: usize, until: Nanos) {
        self.reactors[reactor].starved_until = until;
    }
}

impl World {
    /// The node's clocks.
    pub(super) fn clock(&self) -> Now {
        let drift = i128::from(self.now) * i128::from(self.plan.drift) / 1_000_000;
        let own = (i128::from(self.now) + drift) as u64;
        let wall = (WALL_US + own / 1000).saturating_add_signed(self.weather.wall_offset_us);
        Now { mono: Mono(own + 1_000_000_000), wall: Timestamp(wall) }
    }

    /// Starts the node, unless it runs.
    pub(super) fn start(&mut self, run: u32) {
        if self.node.is_some() || run != self.run {
            return;
        }
        if self.disk.borrow().newest_is_damaged() {
            self.stats.exempt += 1;
            self.end = Some(End::Exempt);
            return;
        }
        if std::mem::take(&mut self.weather.lose_file) {
            self.disk.borrow_mut().lose_file(&mut self.random);
        }
        if self.put_old_file_back() {
            self.stats.exempt += 1;
            self.end = Some(End::Exempt);
            return;
        }
        self.run += 1;
        self.stats.starts += 1;
        self.oracle.durable.streams.forget_shown();
        let calm = self.phase != Phase::Stormy && !self.plan.suffices;
        let reactors = self.random.between(1, self.plan.reactors) as u16;
        let shards = Shards::new(self.plan.shards).expect("a valid number of shards");
        let layout = Layout { shards, reactors };
        let plan = self.plan_of_start();
        let entities_max = if calm { 1 << 20 } else { plan.entities_max };
        let node = |at: u16| {
            Node::new(NodeConfig {
                me: ReactorId(at),
                log: LogId(at as u8),
                layout,
                lineage: Lineage([7; 16]),
                user_rate: Rate { per_second: plan.user_rate, burst: plan.user_rate },
                user_budget: if calm { Budget::UNLIMITED } else { plan.user_budget },
                address_budget: if calm { Budget::UNLIMITED } else { plan.address_budget },
                group_small_max: plan.group_small_max,
                group_rate: plan.group_rate,
                windows: plan.windows,
                idle_timeout_s: 20,
                overload: Overload::Sheds,
                entities_max,
                user_conversations: u32::MAX,
                seed: NONCE ^ u64::from(at),
                features: tidings_core::features::FEATURES,
            })
        };
        let own = (0..reactors).map(|at| LogId(at as u8));
        let logs: BTreeSet<LogId> = own.chain(self.disk.borrow().logs()).collect();
        let storages = logs.into_iter().map(|log| (log, LogOnDisk { disk: Rc::clone(&self.disk), log })).collect();
        if std::mem::take(&mut self.weather.crash_recovery) {
            self.disk.borrow_mut().fail_recovery_after(self.random.below(40) as u32);
        }
        match recover((0..reactors).map(node).collect(), storages, &self.ends, self.log_settings(), || Ok(())) {
            Ok(recovered) => {
                self.ends = recovered.ends();
                self.run_node(recovered, calm, &plan);
            }
            Err(_) if self.disk.borrow().gave_out() => {
                self.stats.interrupted += 1;
                self.tell(Moment::NotStarted);
                self.disk.borrow_mut().crash(Crash::PowerLost, &[], &mut self.random);
                self.plan_start();
            }
            Err(error) => {
                self.tell(Moment::NotStarted);
                if self.disk.borrow().media_faults == 0 {
                    return self.oracle.violate("I7", format!("what a crash left is taken for damage: {error}"));
                }
                self.stats.reported += 1;
                self.end = Some(End::DamageReported);
            }
        }
    }

    /// In worlds with small limits an operator makes them smaller still now and then, whatever is there already.
    fn plan_of_start(&mut self) -> Plan {
        let mut plan = self.plan.clone();
        let lowers = plan.has_small_limits() && !plan.suffices && self.phase == Phase::Stormy;
        if lowers && self.random.chance(MILLION / 2) {
            plan.entities_max = (plan.entities_max / 2).max(1);
            plan.connections_max = (plan.connections_max / 2).max(3);
            plan.user_rate = (plan.user_rate / 2).max(5);
            self.stats.lowered += 1;
        }
        plan
    }

    fn log_settings(&self) -> LogSettings {
        let (segment_len, batch_max) = (self.plan.segment_len, self.plan.batch_max);
        let first_segment_len = self.plan.first_segment_len;
        let (epoch, restored) = (Epoch(self.run), Epoch(0));
        LogSettings {
            nonce: NONCE,
            epoch,
            segment_len,
            first_segment_len,
            batch_max,
            writes: self.plan.writes,
            restored,
        }
    }

    fn run_node(&mut self, recovered: Recovered, calm: bool, plan: &Plan) {
        self.disk.borrow_mut().survived();
        let Recovered { nodes, replica, logs, records, torn } = recovered;
        self.oracle.durable.begin(&logs);
        self.compare("a node that recovered", &nodes.iter().flat_map(|node| node.digests()).collect());
        self.stats.torn += torn as u64;
        self.tell(Moment::Started(nodes.len(), records, torn));
        let reactors = nodes.len();
        let settings = self.log_settings();
        let parts = log_parts(&logs, reactors, settings);
        let size = LaneSize { slots: plan.lane_slots, arena: plan.lane_arena };
        let (lanes, relay) = connect_by_relay(reactors, size, LaneSize { slots: plan.lane_slots, arena: 16 << 10 });
        let wakers: Vec<_> = (0..reactors).map(|_| SimWaker::default()).collect();
        #[allow(clippy::arc_with_non_send_sync, reason = "the turn shares it between threads; here there is one")]
        let shared = Arc::new(Shared::new(wakers.clone()));
        let closings = Closings::default();
        // Room for the conversations of everybody beside those that were invented.
        let retention = if calm && plan.invents { 4 * plan.retention } else { plan.retention };
        let connections_max = if calm { 10_000 } else { plan.connections_max };
        let per_second = if calm || plan.connections_max > 1000 { 1000 } else { 4 };
        let config = TurnConfig {
            limits: ConnectionLimits {
                connections_max,
                address_rate: Rate { per_second, burst: 2 * per_second },
                handshake_timeout_ms: 5_000,
                frame_timeout_ms: 10_000,
                send_timeout_ms: 10_000,
                idle_timeout_ms: 20_000,
            },
            retention_bytes: retention / reactors as u64,
            receives_per_turn: plan.receives_per_turn,
        };
        let rules = super::doors::rules();
        let mut running = Vec::new();
        for (at, (((node, log), lanes), waker)) in nodes.into_iter().zip(parts).zip(lanes).zip(wakers).enumerate() {
            let machine = SimMachine::new(LogId(at as u8), Rc::clone(&self.disk), Rc::clone(&closings), plan.buffers);
            let store = Loading::new(self.random.fork(at as u64), plan.not_resident);
            let seed = Seed {
                config,
                node,
                replica: replica.clone(),
                segment_len: settings.segment_len,
                log,
                rules: Arc::clone(&rules),
                lanes,
                verifier: Names,
                store: Box::new(store),
                shared: Arc::clone(&shared),
            };
            let turn = Turn::new(seed, machine, self.clock().mono);
            let Ok(turn) = turn else {
                return self.oracle.violate("I6", "a file that recovery found is gone".into());
            };
            let (planned, starved_until) = (Nanos::MAX, 0);
            let (completions, version) = (Vec::new(), 0);
            let (accepting, resting, ended) = (false, false, false);
            running.push(Reactor {
                turn,
                completions,
                waker,
                accepting,
                backlog: VecDeque::new(),
                resting,
                sheds: Stage::Calm,
                is_writing: false,
                shed_sends_at: None,
                ended,
                planned,
                version,
                starved_until,
            });
        }
        let limits = bounds::Limits {
            connections: connections_max,
            buffers: plan.buffers,
            batch: plan.batch_max,
            // Where most of a log is state, a start with another number of reactors writes that of others before anything goes.
            segments: (retention / plan.first_segment_len) as usize * if plan.invents { 3 } else { 2 } / 2,
            reactors,
        };
        self.node = Some(Process { reactors: running, relay, shared, closings, limits });
        for at in 0..reactors {
            let after = self.random.between(1, 500) * US;
            self.plan_turn(at, self.now + after);
        }
    }

    /// Plans a reactor's next turn, unless an earlier one is planned.
    fn plan_turn(&mut self, reactor: usize, at: Nanos) {
        let Some(process) = &mut self.node else { return };
        let running = &mut process.reactors[reactor];
        let at = at.max(running.starved_until);
        if at < running.planned && !running.ended {
            running.planned = at;
            running.version += 1;
            self.agenda.plan(at, Event::Turn { run: self.run, reactor, version: running.version });
        }
    }

    /// Something completed on a reactor.
    pub(super) fn complete(&mut self, reactor: usize, completion: tidings_turn::machine::Event<SimMachine>) {
        let Some(process) = &mut self.node else { return };
        process.reactors[reactor].completions.push(completion);
        let after = self.random.between(1, 20) * US;
        self.plan_turn(reactor, self.now + after);
    }

    pub(super) fn turn(&mut self, run: u32, reactor: usize, version: u32) {
        let now = self.clock();
        // Nothing happens on a reactor before its turn is over.
        let takes = if self.is_slow() { self.random.between(10, 40) * MS } else { 0 };
        let over = self.now + takes;
        let Some(process) = self.node.as_mut().filter(|_| run == self.run) else { return };
        let running = &mut process.reactors[reactor];
        if version != running.version {
            return;
        }
        running.starved_until = running.starved_until.max(over);
        running.planned = Nanos::MAX;
        if std::mem::take(&mut running.resting) {
            running.turn.end_rest();
        }
        // Only where something is proposed: state that is written again is dropped, too, and would begin anew in each turn.
        if self.weather.lose_lead && running.turn.gauge().proposed > 0 && running.turn.drop_proposed(now) > 0 {
            (self.weather.lose_lead, self.stats.drops) = (false, self.stats.drops + 1);
        }
        let completions = std::mem::take(&mut running.completions);
        self.trace.tell(self.now, Moment::Turn(reactor, completions.len()));
        let before = Work::of(running.turn.counters());
        let outcome = running.turn.turn(now, completions);
        let after = Work::of(running.turn.counters());
        let rest = matches!(outcome, Ok(Outcome::Idle)).then(|| running.turn.begin_rest(now));
        running.resting = rest.flatten().is_some();
        running.ended = matches!(outcome, Ok(Outcome::Ended));
        let gauge = running.turn.gauge();
        (running.sheds, running.is_writing) = (gauge.shedding, gauge.streams > 0 || gauge.stream_bytes > 0);
        if gauge.shedding == Stage::Sends {
            running.shed_sends_at = Some(self.now);
        }
        self.stats.stage(gauge.shedding);
        if self.plan.keeps_little() {
            self.learn_floors();
        }
        let Some(process) = self.node.as_mut() else { return };
        let running = &mut process.reactors[reactor];
        let commands = running.turn.machine().take_commands();
        let closed = process.closings.take();
        let fits = process.limits.check(&gauge, &mut self.stats);
        let fits = fits.and_then(|()| process.limits.check_turn((before, after), &mut self.stats));
        if let Err((what, size, bound)) = fits {
            self.oracle.violate("I10", format!("{what} of reactor {reactor} are {size}, and at most {bound} may be"));
        }
        for command in commands {
            self.obey(reactor, command);
        }
        closed.into_iter().for_each(|link| self.close_by_node(link));
        self.wake();
        self.plan_lanes(reactor);
        match (outcome, rest) {
            (Err(_), _) => self.node_failed(),
            (Ok(Outcome::Ended), _) => self.reactor_ended(),
            (_, Some(Some(time))) => self.plan_turn(reactor, self.now + time.as_nanos() as u64),
            _ => {
                let cost = self.random.between(1, 40) * US;
                self.plan_turn(reactor, self.now + cost);
            }
        }
    }

    /// True while turns take so long that input is left over: for a while, again and again.
    fn is_slow(&self) -> bool {
        self.phase == Phase::Stormy && self.now % crate::plan::SLOW_EVERY < self.plan.slow_for
    }

    /// True if a reactor shed SENDs not long ago: what it said of it may still be on its way out.
    pub(super) fn shed_sends(&self, reactor: usize) -> bool {
        let running = self.node.as_ref().and_then(|process| process.reactors.get(reactor));
        let at = running.and_then(|running| running.shed_sends_at);
        at.is_some_and(|at| self.now <= at + 30 * SECOND)
    }

    /// True if no reactor sheds anything.
    pub(super) fn is_calm(&self) -> bool {
        let reactors = self.node.iter().flat_map(|process| &process.reactors);
        reactors.into_iter().all(|running| running.sheds == Stage::Calm)
    }

    /// True if the node has something of a message that is being written.
    pub(super) fn is_writing(&self) -> bool {
        self.node.iter().flat_map(|process| &process.reactors).any(|running| running.is_writing)
    }

    /// What a reactor put into its lanes is on its way.
    fn plan_lanes(&mut self, from: usize) {
        let Some(process) = &mut self.node else { return };
        let ways = process.relay.take_unplanned(from);
        // The turn that put it there must have woken whoever sleeps at the other end.
        let asleep = |way: &&Way| process.shared.peer(ReactorId(way.to as u16)).sleeper.take_wake();
        if let Some(way) = ways.iter().find(asleep) {
            self.oracle
                .violate("I11", format!("reactor {from} put something into a lane to {}, which sleeps on", way.to));
        }
        ways.into_iter().for_each(|way| self.plan_lane(way, 0));
    }

    fn plan_lane(&mut self, way: Way, least: Nanos) {
        let slowest = self.plan.lane_delay.max(self.weather.slow_lanes);
        let after = least + self.random.below(slowest + 1);
        self.agenda.plan(self.now + after, Event::Lane { run: self.run, way });
    }

    /// What was put into a lane arrives.
    pub(super) fn lane(&mut self, run: u32, way: Way) {
        let Some(process) = self.node.as_mut().filter(|_| run == self.run) else { return };
        let stepped = process.relay.step(way, &mut self.random);
        if stepped.waits {
            process.relay.plan_again(way);
        }
        // It was woken before anything had arrived, and may sleep again: what a delay between two cores cannot do to it.
        fence_before_look();
        if stepped.arrived && process.shared.peer(ReactorId(way.to as u16)).sleeper.take_wake() {
            self.complete(way.to, Completion::Woken);
        }
        if stepped.waits {
            // A lane without room stays so until the reactor there has turned.
            self.plan_lane(way, if stepped.arrived { 0 } else { 200 * US });
        }
    }

    /// Reactors that others woke.
    fn wake(&mut self) {
        let Some(process) = &self.node else { return };
        let woken: Vec<_> = (0..process.reactors.len()).filter(|at| process.reactors[*at].waker.take()).collect();
        woken.into_iter().for_each(|at| self.complete(at, Completion::Woken));
    }

    fn obey(&mut self, reactor: usize, command: Command) {
        match command {
            Command::Accept => self.set_accepting(reactor, true),
            Command::StopAccepting => self.set_accepting(reactor, false),
            Command::Receive(link, key, how) => self.arm(link, reactor, key, how),
            Command::Send(link, key, buffer) => self.send_from_node(link, key, buffer),
            Command::ShutOutput(link) => self.end_link(link, super::Side::Device),
            Command::Shut(link) => self.shut_by_node(link),
            Command::Create(slot, len) => {
                let file = (LogId(reactor as u8), slot);
                let _takes = self.submit(reactor, Some(Pending::Create { file, len }), Then::Created(slot));
            }
            Command::Note(log, end) => {
                let _takes = self.submit(reactor, None, Then::Noted(log, end));
            }
            Command::Write(purpose, slot, offset, bytes) => self.submit_write(reactor, purpose, slot, offset, bytes),
            Command::Remove(log, slot) => {
                let _takes = self.submit(reactor, None, Then::Removed(log, slot));
            }
            Command::Read(job, log, slot, offset, buffer) => {
                let _takes = self.submit(reactor, None, Then::Read(job, log, slot, offset, buffer));
            }
        }
    }

    fn set_accepting(&mut self, reactor: usize, accepting: bool) {
        if let Some(process) = &mut self.node {
            process.reactors[reactor].accepting = accepting;
        }
        while let Some(running) = self.node.as_mut().map(|process| &mut process.reactors[reactor])
            && running.accepting
            && let Some((link, address)) = running.backlog.pop_front()
        {
            self.accept(reactor, link, address);
        }
    }

    /// A connection arrives at a reactor.
    pub(super) fn accept(&mut self, reactor: usize, link: LinkId, address: IpAddr) {
        let Some(process) = &mut self.node else { return };
        let running = &mut process.reactors[reactor];
        if !running.accepting {
            return running.backlog.push_back((link, address));
        }
        let refused = std::mem::take(&mut self.weather.refuse_accept);
        let more = !refused && !self.random.chance(MILLION / 50);
        let Some(process) = &mut self.node else { return };
        process.reactors[reactor].accepting = more;
        if refused {
            let result = Err(std::io::Error::other("too many open files"));
            self.complete(reactor, Completion::Accepted { result, more });
            return self.close_by_node(link);
        }
        let Some(process) = &mut self.node else { return };
        let socket = process.machine(reactor).socket(link, address);
        self.complete(reactor, Completion::Accepted { result: Ok(socket), more });
    }

    /// The crash that was to come in the middle of a write.
    pub(super) fn crash(&mut self, run: u32, how: Crash) {
        if run == self.run {
            self.down(how, u8::from(how == Crash::PowerLost));
        }
    }

    /// The process is gone, however it went; what it leaves is on the disk.
    pub(super) fn down(&mut self, how: Crash, told: u8) {
        self.learn_floors();
        self.compare_running();
        let Some(process) = self.node.take() else { return };
        process.counted(&mut self.stats);
        self.tell(Moment::Down(told));
        self.interrupt_disk(how);
        drop(process);
        self.orphan_links(how == Crash::PowerLost);
        self.plan_start();
    }

    /// What the running node knows is compared with what it must know, if it has applied all that is durable.
    pub(super) fn compare_running(&mut self) {
        let Some(process) = &self.node else { return };
        if process.reactors.iter().all(|reactor| reactor.turn.gauge().waiting == 0) {
            let digests = process.reactors.iter().flat_map(|reactor| reactor.turn.digests()).collect();
            self.compare("the running node", &digests);
        }
    }

    fn compare(&mut self, who: &str, digests: &BTreeMap<u16, u64>) {
        if self.disk.borrow().media_faults == 0 {
            self.stats.compared += 1;
            self.oracle.compare(who, digests);
        }
    }

    pub(super) fn plan_start(&mut self) {
        let after = if self.phase == Phase::Stormy { self.random.around(700 * MS) } else { 100 * MS };
        self.agenda.plan(self.now + after, Event::Start { run: self.run });
    }

    /// A reactor's log failed: the process ends.
    fn node_failed(&mut self) {
        self.down(Crash::Killed, 3);
    }

    fn reactor_ended(&mut self) {
        let over = self.node.as_ref().is_some_and(|process| process.reactors.iter().all(|reactor| reactor.ended));
        if over {
            // Stopped in good order: where the logs end is written down.
            let reactors = self.node.iter().flat_map(|process| &process.reactors).enumerate();
            self.ends.extend(reactors.map(|(at, reactor)| (LogId(at as u8), reactor.turn.log_end())));
            self.down(Crash::Killed, 2);
        }
    }

    /// Stops the node in good order.
    pub(super) fn drain(&mut self) {
        if let Some(process) = &self.node {
            process.shared.drain();
            self.wake();
        }
    }
}
