//! What a seed decides before anything happens: how large the world is, what it does, what befalls it.

mod fault;

use tidings_core::{Budget, features::Windows, limits::Rate};

pub use fault::Fault;

use crate::{
    agenda::{MS, Nanos, SECOND, US},
    random::{MILLION, Random},
};

/// The part of a reactor's log that a user may fill, as in a server's settings.
const FLOOD_SHARE: u64 = 16;
/// In which time: longer than a world lives.
const FLOOD_WINDOW_S: u32 = 3600;

/// Scenes that there are.
pub const SCENES: u64 = 5;

/// A kind of world, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Two users and no faults: for measuring the simulator.
    Small,
    /// A little of everything.
    Swarm,
    /// The machine goes down often, also while it recovers.
    Crash,
    /// Slow, full and failing disks.
    Disk,
    /// Cut, half-open, slow and refused connections.
    Network,
    /// Devices that crash, forget, repeat themselves, never acknowledge, never read, or speak nonsense.
    Devices,
    /// Every queue small, and entities, connections and lanes at their limit.
    Limits,
    /// So little log that segments are dropped all the time, and other numbers of reactors at each start.
    Retention,
    /// Writes that are lost or go elsewhere, bits that turn over, sectors that cannot be read.
    Media,
    /// One user writes as much as it can, to push what others wrote out of a small log.
    Flood,
    /// One user writes to others who do not exist, as many as it can, where the log is small.
    Inventions,
    /// Groups that are made, changed and left, in a world where little holds.
    Groups,
    /// The same where a few members make a group large.
    Huge,
    /// What is said about earlier messages, and messages that disappear.
    Features,
    /// Who types, who is there, and who is told.
    Ephemeral,
    /// The same, and all else, with turns that take so long that there is more to do than can be done.
    Overload,
    /// Devices that come in TLS and in WebSockets, over bad connections.
    Doors,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Small,
        Self::Swarm,
        Self::Crash,
        Self::Disk,
        Self::Network,
        Self::Devices,
        Self::Limits,
        Self::Retention,
        Self::Media,
        Self::Flood,
        Self::Inventions,
        Self::Groups,
        Self::Huge,
        Self::Features,
        Self::Ephemeral,
        Self::Overload,
        Self::Doors,
    ];

    /// The name for the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Swarm => "swarm",
            Self::Crash => "crash",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Devices => "devices",
            Self::Limits => "limits",
            Self::Retention => "retention",
            Self::Media => "media",
            Self::Flood => "flood",
            Self::Inventions => "inventions",
            Self::Groups => "groups",
            Self::Huge => "huge",
            Self::Features => "features",
            Self::Ephemeral => "ephemeral",
            Self::Overload => "overload",
            Self::Doors => "doors",
        }
    }

    /// The profile of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// The profile of a seed that was given none.
    pub fn of_seed(seed: u64) -> Self {
        Self::ALL[(seed % Self::ALL.len() as u64) as usize]
    }
}

/// What a log keeps in worlds in which nothing may go: more than any world writes, also where one of a few reactors writes it all.
const KEEPS_ALL: u64 = 1 << 34;
/// How often turns begin to take long in a world that has more to do than it can.
pub const SLOW_EVERY: Nanos = 6 * SECOND;

/// Everything that was decided.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The kind of world.
    pub profile: Profile,
    /// Users.
    pub users: usize,
    /// Groups that somebody may make.
    pub groups: usize,
    /// Devices of each user, at most.
    pub devices: usize,
    /// Reactors at a start, at most.
    pub reactors: u64,
    /// Shards of the data directory.
    pub shards: u32,
    /// Bytes of a segment.
    pub segment_len: u64,
    /// Bytes of a log's first one.
    pub first_segment_len: u64,
    /// Most writes of a log in flight.
    pub writes: usize,
    /// Bytes of a batch at most.
    pub batch_max: usize,
    /// Bytes of log in all.
    pub retention: u64,
    /// Slots of each of the two lanes that lie between two reactors.
    pub lane_slots: usize,
    /// Bytes of the arena of each.
    pub lane_arena: usize,
    /// Receive buffers of a reactor.
    pub buffers: usize,
    /// Conversations, and homes, that a reactor takes.
    pub entities_max: u32,
    /// Connections that a reactor takes.
    pub connections_max: usize,
    /// SENDs of a user a second.
    pub user_rate: u32,
    /// What a user may fill of the log, as long as limits are not raised.
    pub user_budget: Budget,
    /// What an address may fill, as long as limits are not raised.
    pub address_budget: Budget,
    /// Members of a group beyond which it is large.
    pub group_small_max: u32,
    /// Messages in one large group.
    pub group_rate: Rate,
    /// How long messages may be changed.
    pub windows: Windows,
    /// Users say something about earlier messages, and let messages disappear.
    pub says_about: bool,
    /// Users type, watch each other, and do not always look at their devices.
    pub is_ephemeral: bool,
    /// Devices come in TLS and in WebSockets, not only with frames as they are.
    pub doors: bool,
    /// Receives that a turn looks at.
    pub receives_per_turn: usize,
    /// For how long turns take long, in each [`SLOW_EVERY`].
    pub slow_for: Nanos,
    /// The first user writes large messages as fast as it can.
    pub flood: bool,
    /// Somebody writes to users who do not exist.
    pub invents: bool,
    /// Somebody who is let in does what it may not.
    pub hostile: bool,
    /// Millionths of prefetches that find something not in memory.
    pub not_resident: u32,
    /// Mean time between a device's acts.
    pub pace: Nanos,
    /// Largest payload.
    pub payload_max: u64,
    /// Millionths of devices that repeat their SENDs.
    pub repeaters: u32,
    /// Users revoke devices of theirs.
    pub revokes: bool,
    /// Millionths of devices that never acknowledge.
    pub silent: u32,
    /// Millionths of devices that only send.
    pub senders: u32,
    /// Millionths of devices that are guests.
    pub guests: u32,
    /// Users whom only the first one knows, and who never come.
    pub acquaintances: usize,
    /// Latency of the network, at least.
    pub latency: Nanos,
    /// Latency of the disk, at least.
    pub disk_latency: Nanos,
    /// Parts in a million by which the node's clock runs fast or slow.
    pub drift: i64,
    /// Parts in a million by which a device's clock may run fast or slow.
    pub device_drift: u64,
    /// What a lane takes, at most, while lanes are not slow.
    pub lane_delay: Nanos,
    /// The scene that the first two users play in their conversation, on all their devices.
    pub scene: Option<usize>,
    /// The limits are just enough for everybody, so they stay as they are to the end.
    pub suffices: bool,
    /// Mean time between faults of each kind that occurs.
    pub faults: Vec<(Fault, Nanos)>,
    /// When the last fault begins.
    pub faults_until: Nanos,
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(profile: Profile, random: &mut Random) -> Self {
        let small = profile == Profile::Small;
        let limits = profile == Profile::Limits || profile == Profile::Swarm && random.chance(MILLION / 4);
        let groups = [Profile::Groups, Profile::Huge, Profile::Features, Profile::Ephemeral, Profile::Overload]
            .contains(&profile);
        let seldom = if profile == Profile::Features { MILLION / 2 } else { MILLION / 4 };
        let retention = profile == Profile::Retention || (groups || profile == Profile::Swarm) && random.chance(seldom);
        let batch_max = if limits { 640 << 10 } else { 2 << 20 };
        let first_segment_len = if retention { batch_max as u64 + (64 << 10) } else { 4 << 20 };
        let mut plan = Self {
            profile,
            users: if small { 2 } else { random.between(2, 6) as usize },
            groups: if groups { random.between(1, 3) as usize } else { 0 },
            devices: if small { 1 } else { random.between(1, 3) as usize },
            reactors: if small { 2 } else { random.between(1, 3) },
            shards: 1 << random.between(2, 6),
            segment_len: first_segment_len,
            first_segment_len,
            writes: *random.pick(&[1, 2, 4]),
            batch_max,
            retention: if retention { first_segment_len * random.between(18, 30) } else { KEEPS_ALL },
            lane_slots: if limits { 1 << random.between(2, 5) } else { 512 },
            lane_arena: if limits { 256 << 10 } else { 512 << 10 },
            buffers: if limits { 1 << random.between(2, 6) } else { 64 },
            entities_max: if limits { random.between(2, 12) as u32 } else { 1 << 20 },
            connections_max: if limits { random.between(6, 40) as usize } else { 10_000 },
            user_rate: if limits && random.chance(MILLION / 2) { 20 } else { 100_000 },
            user_budget: Budget::UNLIMITED,
            address_budget: Budget::UNLIMITED,
            group_small_max: 200,
            group_rate: Rate { per_second: 100_000, burst: 100_000 },
            windows: Windows { edit_s: 24 * 3600, erase_s: 24 * 3600 },
            says_about: profile == Profile::Features,
            is_ephemeral: [Profile::Ephemeral, Profile::Overload].contains(&profile),
            doors: profile == Profile::Doors,
            receives_per_turn: tidings_turn::RECEIVES_PER_TURN,
            slow_for: 0,
            flood: profile == Profile::Flood,
            invents: profile == Profile::Inventions,
            hostile: false,
            not_resident: if random.chance(MILLION / 3) { MILLION / 20 } else { 0 },
            pace: random.between(100, 1500) * MS,
            payload_max: if small { 200 } else { 1 << random.between(7, 13) },
            repeaters: 0,
            revokes: false,
            silent: 0,
            senders: 0,
            guests: 0,
            acquaintances: 0,
            latency: random.between(20, 20_000) * US,
            disk_latency: random.between(50, 2_000) * US,
            drift: random.between(0, 400) as i64 - 200,
            device_drift: *random.pick(&[0, 200, 5_000]),
            lane_delay: *random.pick(&[US / 10, 2 * US, 50 * US, MS]),
            scene: (!small && random.chance(MILLION / 2)).then(|| random.below(SCENES) as usize),
            suffices: limits && random.chance(MILLION / 2),
            faults: Vec::new(),
            faults_until: 45 * SECOND,
        };
        if !small && !limits && random.chance(MILLION / 6) {
            // Pages that hold few messages.
            (plan.pace, plan.payload_max) = (random.between(400, 1500) * MS, 64 << 10);
        }
        if limits {
            (plan.pace, plan.payload_max) = (random.between(20, 400) * MS, plan.payload_max.min(1 << 11));
        }
        if groups {
            (plan.users, plan.scene) = (random.between(3, 6) as usize, None);
        } else if profile == Profile::Swarm && random.chance(MILLION / 4) {
            plan.groups = 1;
        }
        if plan.suffices {
            // Should all of them be on one reactor, it still has room, and not for one more.
            let chats = plan.users * (plan.users - 1) / 2 + plan.groups;
            plan.entities_max = chats.max(plan.users) as u32;
            plan.connections_max = plan.users * (plan.devices + 2);
        }
        if retention {
            (plan.pace, plan.payload_max) = (random.between(60, 200) * MS, 48 << 10);
        }
        if plan.invents {
            plan.draw_inventions(random);
        }
        if plan.flood {
            plan.draw_flood(random);
        }
        plan.draw_faults(random);
        if profile == Profile::Huge {
            plan.group_small_max = random.between(1, 3) as u32;
            if random.chance(MILLION / 4) {
                plan.group_rate = Rate { per_second: 2, burst: 4 };
            }
            plan.reactors = random.between(2, 3);
            if random.chance(2 * MILLION / 3) {
                // Lanes that are full now and then: what is owed is paid later.
                (plan.lane_slots, plan.lane_arena) = (1 << random.between(1, 3), 256 << 10);
                plan.faults.push((Fault::SlowLanes, random.between(2, 6) * SECOND));
            }
        }
        if profile == Profile::Overload {
            // One world for each stage: how long it is behind decides.
            plan.slow_for = *random.pick(&[180, 400, 1100, 2800]) * MS;
            plan.receives_per_turn = 1;
            (plan.pace, plan.users, plan.devices) = (random.between(5, 30) * MS, 5, 3);
            plan.payload_max = plan.payload_max.min(1 << 10);
        }
        plan.let_segments_grow();
        let invites = !matches!(
            profile,
            Profile::Small
                | Profile::Media
                | Profile::Flood
                | Profile::Inventions
                | Profile::Ephemeral
                | Profile::Overload
        );
        plan.hostile = invites && !plan.suffices && random.chance(MILLION / 4);
        if invites && random.chance(MILLION / 4) {
            (plan.senders, plan.guests) = (MILLION / 8, MILLION / 4);
        }
        let has_room = invites && !limits && !plan.keeps_little();
        if has_room && random.chance(MILLION / 12) {
            plan.devices = random.between(4, 10) as usize;
        } else if (has_room && !groups || profile == Profile::Ephemeral) && random.chance(MILLION / 12) {
            // More than a page of a list says.
            plan.acquaintances = random.between(260, 600) as usize;
            plan.scene = None;
            plan.faults.extend([(Fault::DeviceForgets, 8 * SECOND), (Fault::DeviceLeaves, 6 * SECOND)]);
        }
        plan
    }

    /// Users who write to each other, of whom one may be hostile.
    pub fn people(&self) -> usize {
        self.users + usize::from(self.hostile)
    }

    /// In half of the worlds the first segments of a log are shorter than later ones.
    fn let_segments_grow(&mut self) {
        let smallest = self.batch_max as u64 + (64 << 10);
        let grows = self.retention / self.first_segment_len % 2 == 1 || self.users % 2 == 1;
        if self.profile != Profile::Flood && grows {
            (self.first_segment_len, self.segment_len) = (smallest, self.segment_len.max(2 * smallest));
        }
    }

    /// A log that holds what everybody's budget allows, and that the first user alone would fill many times over.
    fn draw_flood(&mut self, random: &mut Random) {
        self.users = random.between(3, 6) as usize;
        (self.pace, self.payload_max) = (random.between(500, 1500) * MS, 1 << 10);
        self.first_segment_len = self.batch_max as u64 + (64 << 10);
        self.segment_len = self.first_segment_len;
        let of_reactor = self.segment_len * random.between(20, 30);
        self.retention = of_reactor * self.reactors;
        self.user_budget = Budget::new(of_reactor / FLOOD_SHARE, FLOOD_WINDOW_S);
        self.address_budget = Budget::new(of_reactor / 4, FLOOD_WINDOW_S);
        self.scene = None;
    }

    /// A log of which the state of a few thousand conversations is as much as may be.
    fn draw_inventions(&mut self, random: &mut Random) {
        self.users = random.between(2, 4) as usize;
        (self.pace, self.payload_max) = (random.between(80, 300) * MS, 1 << random.between(9, 12));
        self.batch_max = 640 << 10;
        self.first_segment_len = self.batch_max as u64 + (64 << 10);
        self.segment_len = self.first_segment_len;
        // Segments may be twice as long as the first.
        self.retention = self.segment_len * random.between(14, 20) * self.reactors;
        // Else homes that are told of thousands of conversations after a start would wait for one of them again and again.
        self.not_resident = 0;
        (self.scene, self.faults_until) = (None, 15 * SECOND);
    }

    fn draw_faults(&mut self, random: &mut Random) {
        use Fault as F;
        let crashes = [F::Kill, F::PowerLoss, F::Restart, F::CrashInRecovery];
        let disks = [F::SlowDisk, F::FullDisk, F::WriteError, F::ShortRead];
        let media = [F::LostWrite, F::MisdirectedWrite, F::BitFlip, F::UnreadableSector, F::LostFile, F::OldFile];
        let network = [F::Cut, F::HalfOpen, F::Partition, F::StallReader, F::SlowLink, F::AcceptError, F::ShortSend];
        let devices =
            [F::DeviceCrash, F::DeviceForgets, F::DeviceLeaves, F::DeviceSleeps, F::DeviceCloned, F::Stranger];
        let machine = [F::ClockJump, F::Starve, F::SlowLanes, F::LostLead];
        let all = [&crashes[..], &disks, &network, &devices, &machine].concat();
        // Those that the profile is about come often, some of the others now and then.
        let often: &[F] = match self.profile {
            Profile::Small => return,
            Profile::Swarm => &[],
            Profile::Crash => &[F::Kill, F::PowerLoss, F::Restart, F::CrashInRecovery, F::LostLead],
            Profile::Disk => &disks,
            Profile::Network | Profile::Doors => &network,
            Profile::Devices => &devices,
            Profile::Limits => &[F::Starve, F::SlowLanes, F::StallReader, F::Stranger],
            Profile::Retention => &[F::PowerLoss, F::Restart],
            Profile::Media => &media,
            Profile::Inventions => &[F::PowerLoss, F::DeviceLeaves],
            Profile::Flood => &[F::DeviceLeaves, F::DeviceForgets],
            Profile::Overload => &[F::Cut, F::DeviceLeaves],
            Profile::Groups | Profile::Huge | Profile::Features | Profile::Ephemeral => {
                &[F::Kill, F::PowerLoss, F::LostLead, F::DeviceLeaves, F::Cut]
            }
        };
        for fault in all {
            if !often.contains(&fault) && random.chance(MILLION / 3) {
                self.faults.push((fault, random.between(8, 40) * SECOND));
            }
        }
        for fault in often {
            // Damage ends a world once it is reported: it comes late enough for something else to happen before.
            let rarely = if fault.is_media() { 10 } else { 1 };
            self.faults.push((*fault, rarely * random.between(2, 10) * SECOND));
        }
        if self.profile == Profile::Media {
            self.faults.retain(|(fault, _)| !matches!(fault, F::PowerLoss | F::DeviceForgets));
            // What is damaged is found at the next start, or by those who read it all again.
            self.faults.extend([(F::PowerLoss, 8 * SECOND), (F::DeviceForgets, 3 * SECOND)]);
        }
        if self.flood {
            // What was spent is forgotten with the process.
            self.faults.retain(|(fault, _)| !crashes.contains(fault) && *fault != F::WriteError);
        }
        if matches!(self.profile, Profile::Devices | Profile::Swarm) {
            (self.repeaters, self.silent) = (MILLION / 3, MILLION / 5);
            self.revokes = true;
        }
    }

    /// True if the node's clock is not to be relied on.
    pub fn clock_jumps(&self) -> bool {
        self.faults.iter().any(|(fault, _)| *fault == Fault::ClockJump)
    }

    /// True if everything that has a limit has a small one.
    pub fn has_small_limits(&self) -> bool {
        self.connections_max < 10_000
    }

    /// True if not everybody would ever be let in.
    pub fn must_be_raised(&self) -> bool {
        self.entities_max < 1 << 20 && !self.suffices || self.flood || self.invents
    }

    /// True if retention drops segments.
    pub fn keeps_little(&self) -> bool {
        self.retention < KEEPS_ALL
    }

    /// True if somebody may miss what is in them: devices may be told that messages are gone.
    pub fn drops_segments(&self) -> bool {
        self.keeps_little() && !self.flood
    }

    /// True if what was durable may be damaged: then it must be reported, and need not be served.
    pub fn has_media_faults(&self) -> bool {
        self.faults.iter().any(|(fault, _)| fault.is_media())
    }
}
