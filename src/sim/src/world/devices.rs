//! Devices: the real SDK, its application, and the user who holds it.

use std::collections::BTreeMap;

use tidings_client::{
    ClientMsgId, Config, ConversationId, DeviceId, History, Packing, Preferences, PresenceState, SavedState, Seq,
    Session, Tokens, UserId,
};
use tidings_wire::{Frame, Kind, limits::FRAME_MAX, split};

use super::{
    Event, World,
    clock::DeviceClock,
    links::Who,
    names::ADMINISTERS,
    node::WALL_US,
    scripts::{SCRIPTS, Script},
    streamed::Writing,
};
use crate::{
    agenda::{MS, Nanos, SECOND},
    machine::LinkId,
    oracle::{Given, Reading},
    random::MILLION,
    trace::Moment,
};

/// SENDs that a device that repeats itself remembers.
const REPEATS_MAX: usize = 16;
/// Device numbers of those that come at the end to see what is there.
pub(super) const AUDITOR: u32 = 1000;
/// One that comes with it, and asks for next to no messages: what is unread it knows from its home.
pub(super) const COUNTER: u32 = 1001;

/// A device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) user: usize,
    pub(super) id: DeviceId,
    /// The user's conversations, and with whom each is.
    pub(super) chats: Vec<(usize, Whom)>,
    pub(super) session: Option<Session>,
    pub(super) link: Option<LinkId>,
    /// An attempt to connect that is under way.
    connecting: Option<LinkId>,
    pub(super) online: bool,
    pub(super) given: Given,
    pub(super) saved: Option<(SavedState, Given)>,
    pub(super) history: History,
    /// Tags by the SDK's name of the attempt.
    pub(super) tags: BTreeMap<(usize, ClientMsgId), u64>,
    pub(super) waiting: usize,
    /// Stored messages that its user asked for and that have not all come.
    pub(super) reading: Option<Reading>,
    /// The application has taken everything that the session told.
    pub(super) heard_all: bool,
    /// Events that the application takes at a time.
    pub(super) appetite: usize,
    /// It repeats its SENDs: those that it remembers.
    pub(super) repeats: Option<Vec<Vec<u8>>>,
    /// It has come back with what it had saved, or with nothing, since it was made: the server may know attempts that it does not.
    pub(super) came_back: bool,
    /// It never acknowledges.
    pub(super) silent: bool,
    /// It takes part in what its user receives; others only send.
    pub(super) receives: bool,
    /// It is one of two that believe to be the same.
    pub(super) is_cloned: bool,
    /// Nobody uses it any more.
    pub(super) is_retired: bool,
    /// What it was told last that its user wants of each conversation.
    pub(super) preferences: BTreeMap<usize, Preferences>,
    /// How its clocks are off.
    pub(super) clock: DeviceClock,
    /// It does nothing at the moment, and does not notice.
    pub(super) suspended: bool,
    /// What its user does, if not what chance wants, and at which step that is.
    pub(super) script: Option<(&'static Script, usize)>,
    /// It is being revoked by this device: what its user has asked for and not heard of, and over which connection.
    pub(super) revokes: Option<((usize, DeviceId), LinkId)>,
    /// It was known to be revoked when its connection began.
    pub(super) came_revoked: bool,
    /// What it was told of who is there, since its connection began.
    pub(super) presence: BTreeMap<UserId, PresenceState>,
    /// It has asked for what its user wants others to be told.
    pub(super) wants_visibility: bool,
    /// The message that it has opened.
    pub(super) writing: Option<Writing>,
    /// When its connection began, and how many messages each conversation had then.
    pub(super) began: Nanos,
    pub(super) heads: BTreeMap<usize, Seq>,
    planned: Nanos,
    version: u32,
}

/// With whom a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// Another user.
    User(usize),
    /// A group that a user makes, or made.
    Group(usize),
}

impl Device {
    /// It does not know any more what it sent.
    pub(super) fn forget_repeats(&mut self) {
        self.repeats.iter_mut().for_each(Vec::clear);
    }
}

/// A user's name.
pub(super) fn name(user: usize) -> String {
    format!("user{user}")
}

/// The user whose devices may revoke everybody's.
pub(super) const ADMINISTRATOR: usize = 0;

pub(super) fn user_id(user: usize) -> UserId {
    UserId::derive(tidings_client::DEFAULT_TENANT, &name(user))
}

impl World {
    /// Users, their conversations with each other, and their devices.
    pub(super) fn add_devices(&mut self) {
        let users = self.plan.users;
        let mut chats: Vec<Vec<(usize, Whom)>> = vec![Vec::new(); users];
        for a in 0..users {
            for b in a + 1..users {
                let (first, second) = (user_id(a), user_id(b));
                let at = self.oracle.add(ConversationId::direct(first, second), vec![first, second]);
                chats[a].push((at, Whom::User(b)));
                chats[b].push((at, Whom::User(a)));
            }
        }
        let hostile = self.hostile_user();
        for (user, chats) in chats.iter_mut().enumerate().filter(|_| self.plan.hostile) {
            let both = vec![user_id(user), user_id(hostile)];
            let at = self.oracle.add(ConversationId::direct(both[0], both[1]), both);
            chats.push((at, Whom::User(hostile)));
        }
        self.add_groups(&mut chats);
        for other in (0..self.plan.acquaintances).map(|nth| hostile + 1 + nth) {
            let both = vec![user_id(0), user_id(other)];
            let at = self.oracle.add(ConversationId::direct(both[0], both[1]), both);
            chats[0].push((at, Whom::User(other)));
        }
        if self.plan.hostile {
            self.oracle.is_hostile(user_id(hostile));
        }
        for (user, chats) in chats.into_iter().enumerate() {
            for number in 1..=self.random.between(1, self.plan.devices as u64) as u32 {
                let device = self.add_device(user, number, chats.clone());
                let by_chance = self.random.around(self.plan.pace);
                let after = if self.devices[device].script.is_some() { SECOND } else { by_chance };
                self.agenda.plan(self.now + after, Event::Act { device });
            }
        }
    }

    pub(super) fn add_device(&mut self, user: usize, number: u32, chats: Vec<(usize, Whom)>) -> usize {
        let auditor = number >= AUDITOR;
        let recent = !auditor && self.random.chance(MILLION / 6);
        let history = match number {
            COUNTER => History::Recent(1),
            _ if recent => History::Recent(self.random.between(1, 20)),
            _ => History::Everything,
        };
        let everything = history == History::Everything;
        let repeats = (!auditor && self.random.chance(self.plan.repeaters)).then(Vec::new);
        let silent = !auditor && self.random.chance(self.plan.silent);
        let receives = auditor || !self.random.chance(self.plan.senders);
        let is_guest = !auditor && self.random.chance(self.plan.guests);
        let most = self.plan.device_drift;
        let drift = self.random.between(0, 2 * most) as i64 - most as i64;
        let clock = DeviceClock { drift, ..DeviceClock::default() };
        let script = self.plan.scene.filter(|_| user < 2 && !auditor).map(|scene| (SCRIPTS[scene], 0));
        let appetite = if self.random.chance(MILLION / 4) { 1 } else { usize::MAX };
        self.devices.push(Device {
            user,
            id: DeviceId(if is_guest { DeviceId::FIRST_GUEST | number } else { number }),
            chats,
            session: None,
            link: None,
            connecting: None,
            online: true,
            given: Given::new(everything, auditor),
            saved: None,
            history,
            tags: BTreeMap::new(),
            waiting: 0,
            reading: None,
            heard_all: false,
            appetite,
            came_back: false,
            repeats,
            silent,
            receives,
            is_cloned: false,
            is_retired: false,
            preferences: BTreeMap::new(),
            clock,
            suspended: false,
            script,
            revokes: None,
            came_revoked: false,
            presence: BTreeMap::new(),
            wants_visibility: false,
            writing: None,
            began: 0,
            heads: BTreeMap::new(),
            planned: Nanos::MAX,
            version: 0,
        });
        let device = self.devices.len() - 1;
        self.plan_tick(device, self.now + MS);
        device
    }

    /// Whose a device is.
    pub(super) fn user_of(&self, at: usize) -> UserId {
        user_id(self.devices[at].user)
    }

    /// The conversations of a user.
    pub(super) fn chats_of(&self, user: usize) -> Vec<(usize, Whom)> {
        let device = self.devices.iter().find(|device| device.user == user);
        device.map(|device| device.chats.clone()).unwrap_or_default()
    }

    pub(super) fn plan_tick(&mut self, at: usize, when: Nanos) {
        let device = &mut self.devices[at];
        let when = when.max(self.now);
        if when < device.planned {
            (device.planned, device.version) = (when, device.version + 1);
            self.agenda.plan(when, Event::Tick { device: at, version: device.version });
        }
    }

    pub(super) fn tick(&mut self, at: usize, version: u32) {
        let device = &mut self.devices[at];
        if device.version != version {
            return;
        }
        device.planned = Nanos::MAX;
        if device.online && !device.suspended {
            self.drive(at);
        }
    }

    /// A session for a device that has none.
    fn begin_session(&mut self, at: usize) {
        let clock = &mut self.devices[at].clock;
        let behind_us = std::mem::take(&mut clock.behind_us);
        clock.was_behind |= behind_us > 0;
        let wall_us = WALL_US + clock.at(self.now).0 - behind_us;
        let seed = self.random.bits();
        let device = &mut self.devices[at];
        let state = device.saved.as_ref().map(|(state, _)| state.clone()).unwrap_or_default();
        device.given = match &device.saved {
            Some((_, given)) => given.clone(),
            None => Given::new(device.given.everything, device.given.audits),
        };
        for message in &state.outbox {
            let place = self.oracle.place(message.conversation);
            let tag = place.and_then(|place| device.tags.get(&(place, message.id)).copied());
            tag.into_iter().for_each(|tag| self.oracle.asks_again(tag));
        }
        let name = name(device.user);
        let administers = if device.user == ADMINISTRATOR && self.plan.revokes { ADMINISTERS } else { "" };
        (device.waiting, device.reading, device.wants_visibility) = (state.outbox.len(), None, false);
        device.session = Some(Session::new(Config {
            user: user_id(device.user),
            token: format!("{name}:{}{administers}", device.id).into_bytes(),
            tokens: Tokens::Fixed,
            name,
            device: device.id,
            device_name: String::new(),
            state,
            history: device.history,
            receive: device.receives,
            confirm: true,
            outbox_bytes: usize::MAX,
            packing: if at % 3 == 1 { Packing::No } else { Packing::Yes },
            seed,
            wall_us,
        }));
    }

    /// Everything that a device does at a moment: as the SDK's own shell does it.
    pub(super) fn drive(&mut self, at: usize) {
        if self.devices[at].session.is_none() {
            self.begin_session(at);
        }
        let now = self.devices[at].clock.at(self.now);
        let session = self.devices[at].session.as_mut().expect("begun above");
        session.tick(now);
        let wants = session.wants_connection(now);
        if wants {
            self.connect(at);
        }
        self.put_out(at);
        self.take_events(at);
        if self.devices[at].session.is_none() {
            return;
        }
        self.put_out(at);
        self.drop_dead_link(at);
        let device = &mut self.devices[at];
        let session = device.session.as_mut().expect("begun above");
        if let Some(due) = session.next_timeout() {
            let due = device.clock.moment(due);
            self.plan_tick(at, due.max(self.now + MS / 10));
        }
    }

    /// A session that gave its connection up closes it.
    fn drop_dead_link(&mut self, at: usize) {
        let device = &mut self.devices[at];
        let session = device.session.as_ref().expect("a device that is driven has a session");
        let over = !session.is_up() && !session.is_greeting() && device.connecting.is_none();
        if let Some(link) = device.link.take_if(|_| over) {
            self.tell(Moment::Disconnected(at));
            self.close_by_device(link);
        }
    }

    fn connect(&mut self, at: usize) {
        let reactors = self.node.as_ref().map(|process| process.accepting()).unwrap_or_default();
        let refused = reactors.is_empty();
        let (link, after) = if self.weather.partitioned {
            (LinkId(self.id()), 5 * SECOND)
        } else if refused {
            (LinkId(self.id()), self.random.around(self.plan.latency))
        } else {
            let reactor = *self.random.pick(&reactors);
            (self.open_link(Who::Device(at), reactor), 2 * self.random.around(self.plan.latency))
        };
        self.devices[at].connecting = Some(link);
        self.agenda.plan(self.now + after, Event::Answered { device: at, link });
    }

    pub(super) fn answered(&mut self, at: usize, link: LinkId) {
        let device = &mut self.devices[at];
        if device.connecting != Some(link) {
            return; // it was given up
        }
        if device.suspended {
            return self.agenda.plan(self.now + SECOND, Event::Answered { device: at, link });
        }
        device.connecting = None;
        let (now, user, id) = (device.clock.at(self.now), device.user, device.id.0);
        let session = device.session.as_mut().expect("a device that connects has a session");
        let reactor = self.links.get(&link).and_then(|link| link.node.as_ref()).map(|node| node.reactor);
        match reactor {
            Some(reactor) => {
                session.connected(now);
                device.came_revoked = self.revoked.contains(&(user, device.id));
                device.link = Some(link);
                self.note_beginning(at);
                self.tell(Moment::Connected(at, link.0));
                let address = std::net::IpAddr::from([10, 0, user as u8, id as u8]);
                self.accept(reactor, link, address);
            }
            None => {
                session.disconnected(now);
                self.links.remove(&link);
            }
        }
        self.drive(at);
    }

    /// What a session wants sent goes out, as the device's manners are.
    fn put_out(&mut self, at: usize) {
        let device = &mut self.devices[at];
        let mut bytes = Vec::new();
        device.session.as_mut().expect("a device that is driven has a session").take_output(&mut bytes);
        let Some(link) = device.link.filter(|_| !bytes.is_empty()) else { return };
        if device.silent || device.repeats.is_some() {
            bytes = self.mangle(at, &bytes);
        }
        if self.devices[at].repeats.is_none() && !self.devices[at].came_back {
            self.note_sends(link, &bytes);
        }
        if !bytes.is_empty() {
            self.say(link, bytes);
        }
    }

    /// Leaves acknowledgements out, or sends again what was sent before.
    fn mangle(&mut self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let (mut rest, device) = (bytes, &mut self.devices[at]);
        while let Ok(Some(frame)) = split(rest, FRAME_MAX) {
            let whole: &[u8] = Frame::bytes(&frame);
            rest = &rest[whole.len()..];
            if device.silent && matches!(frame.kind(), Ok(Kind::Delivered | Kind::Read)) {
                continue;
            }
            out.extend_from_slice(whole);
            let Some(repeats) = device.repeats.as_mut().filter(|_| frame.kind() == Ok(Kind::Send)) else { continue };
            if repeats.len() == REPEATS_MAX {
                repeats.remove(0);
            }
            repeats.push(whole.to_vec());
            if self.random.chance(MILLION / 4) {
                let again: &Vec<u8> = self.random.pick(repeats);
                out.extend_from_slice(again);
            }
        }
        out
    }

    /// Bytes, or the end, arrived at a device.
    pub(super) fn device_received(&mut self, at: usize, link: LinkId, pieces: &[Vec<u8>], ended: bool) {
        let device = &mut self.devices[at];
        if device.link != Some(link) {
            if ended && device.connecting != Some(link) {
                self.close_by_device(link);
            }
            return;
        }
        let now = device.clock.at(self.now);
        let session = device.session.as_mut().expect("a device with a connection has a session");
        for piece in pieces {
            session.received(piece, now);
        }
        if ended {
            session.disconnected(now);
        }
        self.drive(at);
    }

    /// A device's process ends.
    pub(super) fn stop_device(&mut self, at: usize, forget: bool) {
        let device = &mut self.devices[at];
        device.session = None;
        device.connecting = None;
        device.online = false;
        (device.waiting, device.writing) = (0, None);
        (device.suspended, device.came_back) = (false, true);
        if forget {
            device.saved = None;
            // A device that was set back may believe that it is any day.
            let hours = if self.random.chance(MILLION / 3) { self.random.between(1, 48) } else { 0 };
            device.clock.behind_us = hours * 3_600_000_000;
        }
        if let Some(link) = device.link.take() {
            self.close_by_device(link);
        }
    }

    /// A device comes back.
    pub(super) fn wake_device(&mut self, at: usize) {
        if self.devices[at].is_retired {
            return;
        }
        self.devices[at].online = true;
        self.plan_tick(at, self.now);
    }

    /// A device is suspended, connection and all. False if there is nothing to suspend.
    pub(super) fn suspend_device(&mut self, at: usize) -> bool {
        let device = &mut self.devices[at];
        let running = device.online && !device.suspended && device.session.is_some();
        device.suspended |= running;
        running
    }

    /// A device that was suspended goes on.
    pub(super) fn wake_suspended(&mut self, at: usize) {
        if std::mem::take(&mut self.devices[at].suspended) {
            if let Some(link) = self.devices[at].link {
                self.read_by_device(link);
            }
            self.plan_tick(at, self.now);
        }
    }
}
