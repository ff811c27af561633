//! One seed's world: a node, its disk, its network, and the devices of its users, from the first event to the last.

mod about;
mod clock;
mod cloned;
mod devices;
mod doors;
mod faults;
mod groups;
mod hostile;
mod inventor;
mod links;
mod names;
mod node;
mod output;
mod own;
mod passing;
mod presence;
mod refusals;
mod scripts;
mod settle;
mod storage;
mod store;
mod streamed;
mod told;
mod users;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    rc::Rc,
};

use tidings_log::LogEnd;
use tidings_wire::{DeviceId, LogId, limits::PAGE_MAX};

use crate::{
    agenda::{Agenda, Nanos, SECOND},
    disk::{Crash, SharedDisk},
    machine::LinkId,
    oracle::{Oracle, Violation},
    plan::{Fault, Plan, Profile},
    random::Random,
    relay::Way,
    stats::Stats,
    trace::{Moment, Trace},
};
use devices::Device;
use faults::Weather;
use links::{Link, Side};
use node::Process;
use settle::Phase;

/// Simulated time that a seed runs for, at least.
pub const RUNS_FOR: Nanos = 60 * SECOND;
/// Events after which a world that does not end is given up.
const EVENTS_MAX: u64 = 20_000_000;

/// Something that will happen.
#[derive(Debug)]
enum Event {
    /// A reactor's turn, unless it was planned anew since.
    Turn { run: u32, reactor: usize, version: u32 },
    /// An operation of the disk completes.
    Disk { run: u32, reactor: usize, id: u64 },
    /// Bytes arrive.
    Arrive { link: LinkId, to: Side, bytes: Vec<u8> },
    /// The other end's end arrives.
    Ended { link: LinkId, to: Side },
    /// What a reactor put into a lane arrives at another.
    Lane { run: u32, way: Way },
    /// The node's output on a link was taken by its kernel.
    Taken { link: LinkId },
    /// A device's attempt to connect is answered.
    Answered { device: usize, link: LinkId },
    /// Time for a device's session, unless it was planned anew since.
    Tick { device: usize, version: u32 },
    /// A device's user does something.
    Act { device: usize },
    /// A stranger does something.
    Strange { link: LinkId },
    /// Somebody writes to users who do not exist.
    Invent,
    /// Somebody does what it may not.
    Harm,
    /// The machine goes down, if the node still runs.
    Crash { run: u32, how: Crash },
    /// The node is started.
    Start { run: u32 },
    /// Something goes wrong.
    Fault(usize),
    /// Something that went wrong is over.
    Over(Fault, u64),
    /// No more faults; and then again and again until everybody has everything.
    Settle,
}

/// How a world ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything held.
    Held,
    /// Damage to what was durable was reported, as it must be; nothing more can be expected.
    DamageReported,
    /// The newest batch was damaged, which one node cannot tell from a torn tail: the one exemption.
    Exempt,
    /// A promise was broken.
    Broken(Violation),
}

/// What running a seed came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Its profile.
    pub profile: Profile,
    /// How it ended.
    pub end: End,
    /// The hash of everything that happened.
    pub hash: u64,
    /// Events.
    pub events: u64,
    /// Simulated time.
    pub simulated: Nanos,
    /// What was exercised.
    pub stats: Stats,
    /// The last moments in words.
    pub story: Vec<String>,
}

/// The world.
#[derive(Debug)]
struct World {
    plan: Plan,
    random: Random,
    now: Nanos,
    agenda: Agenda<Event>,
    trace: Trace,
    stats: Stats,
    oracle: Oracle,
    disk: SharedDisk,
    /// What the data directory's control file says of the ends of logs.
    ends: BTreeMap<LogId, LogEnd>,
    /// Starts of the node so far, which is what its data directory counts.
    run: u32,
    node: Option<Process>,
    /// Operations of the disk under way, by their number.
    operations: BTreeMap<u64, storage::Operation>,
    links: BTreeMap<LinkId, Link>,
    next_id: u64,
    devices: Vec<Device>,
    /// Devices that somebody wants to revoke, or wanted.
    revoking: BTreeSet<(usize, DeviceId)>,
    /// Those that are known to be revoked.
    revoked: BTreeSet<(usize, DeviceId)>,
    groups: Vec<groups::Foundation>,
    inventor: inventor::Inventor,
    hostile: hostile::Hostile,
    weather: Weather,
    phase: Phase,
    /// The user of whom nobody looks at its devices, while everybody watches everybody.
    away: Option<usize>,
    end: Option<End>,
}

/// Runs a seed.
pub fn run(seed: u64, profile: Profile, trace: Option<File>) -> Outcome {
    let mut world = World::new(seed, profile, trace);
    let mut events = 0;
    while world.end.is_none() {
        let Some((at, event)) = world.agenda.take() else {
            world.oracle.violate("I11", "nothing will ever happen again".into());
            break;
        };
        world.now = at;
        world.happen(event);
        events += 1;
        if world.oracle.violation().is_some() {
            break;
        }
        if events == EVENTS_MAX {
            world.oracle.violate("I11", format!("{EVENTS_MAX} events and no end"));
        }
    }
    world.into_outcome(seed, events)
}

impl World {
    fn new(seed: u64, profile: Profile, trace: Option<File>) -> Self {
        let mut random = Random::new(seed ^ 0x7469_6469_6e67_7321);
        let plan = Plan::draw(profile, &mut random);
        let mut world = Self {
            oracle: Oracle::new(plan.shards, plan.drops_segments()),
            plan,
            random,
            now: 0,
            agenda: Agenda::default(),
            trace: Trace::new(trace),
            stats: Stats::default(),
            disk: Rc::default(),
            ends: BTreeMap::new(),
            run: 0,
            node: None,
            operations: BTreeMap::new(),
            links: BTreeMap::new(),
            next_id: 0,
            devices: Vec::new(),
            revoking: BTreeSet::new(),
            revoked: BTreeSet::new(),
            groups: Vec::new(),
            inventor: inventor::Inventor::default(),
            hostile: hostile::Hostile::default(),
            weather: Weather::default(),
            phase: Phase::Stormy,
            away: None,
            end: None,
        };
        world.agenda.plan(0, Event::Start { run: 0 });
        world.add_devices();
        world.plan_faults();
        if world.plan.invents {
            world.agenda.plan(0, Event::Invent);
        }
        if world.plan.hostile {
            world.agenda.plan(SECOND, Event::Harm);
        }
        world.agenda.plan(world.plan.faults_until, Event::Settle);
        world
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn { run, reactor, version } => self.turn(run, reactor, version),
            Event::Disk { run, reactor, id } => self.disk_done(run, reactor, id),
            Event::Arrive { link, to, bytes } => self.arrive(link, to, bytes),
            Event::Ended { link, to } => self.ended(link, to),
            Event::Lane { run, way } => self.lane(run, way),
            Event::Taken { link } => self.taken(link),
            Event::Answered { device, link } => self.answered(device, link),
            Event::Tick { device, version } => self.tick(device, version),
            Event::Act { device } => self.act(device),
            Event::Strange { link } => self.strange(link),
            Event::Invent => self.invent(),
            Event::Harm => self.harm(),
            Event::Crash { run, how } => self.crash(run, how),
            Event::Start { run } => self.start(run),
            Event::Fault(at) => self.fault(at),
            Event::Over(fault, at) => self.over(fault, at),
            Event::Settle => self.settle(),
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn tell(&mut self, moment: Moment) {
        self.trace.tell(self.now, moment);
    }

    fn into_outcome(mut self, seed: u64, events: u64) -> Outcome {
        let broken = self.oracle.violation().cloned().map(End::Broken);
        if let Err(error) = self.trace.finish() {
            self.oracle.violate("I11", format!("the trace cannot be written: {error}"));
        }
        self.stats.messages = self.oracle.messages() as u64;
        self.stats.hostile = self.oracle.hostile_messages() as u64;
        let users = (0..self.plan.users).map(devices::user_id);
        self.stats.wide = users.filter(|user| self.oracle.spoken_in(*user) > PAGE_MAX as usize).count() as u64;
        Outcome {
            seed,
            profile: self.plan.profile,
            end: broken.or(self.end).unwrap_or(End::Held),
            hash: self.trace.hash(),
            events,
            simulated: self.now,
            stats: self.stats,
            story: self.trace.story(),
        }
    }
}
