//! An account that is let in, and then does whatever it can: what it has no right to, what makes no sense, what only a server says, too much of
//! everything, and connections that it does not read. What it may do in a conversation is judged as that of everybody else, from the log.

use std::collections::BTreeMap;

use tidings_client::{ConversationId, DeviceId, UserId, Users};
use tidings_wire::{
    ClientMsgId, Frame, Kind, Lineage, Seq, Timestamp, Uv,
    frame::{FixedPart, FrameBuilder, append},
    frames::{
        Activity, Clear, Control, Delivered, Describe, Devices, Doing, ErrorFrame, Fetch, FetchOrder, Forget, Fragment,
        Hello, Message, MessageFlags, More, Ping, Read, Reauth, Resume, Revoke, Send, Sent, Set, SetActivity,
        SettingKey, Timer, TraceId, Typing, Watch, about::control::TIMER, streamed::control::OPEN,
    },
};

use super::{
    Event, World,
    devices::{name, user_id},
    links::{Side, Who},
    settle::Phase,
    users::tag,
};
use crate::{
    agenda::{MS, Nanos},
    machine::LinkId,
    oracle::{By, identity, payload},
    random::MILLION,
    trace::Moment,
};

/// Mean time between two of its acts.
const PACE: Nanos = 80 * MS;
/// Devices that it has.
const DEVICES: u64 = 3;
/// In the place of a device's number, where its messages are named.
pub(super) const ITS_TAGS: usize = 0xff;
/// The least that says which message one is.
const TAG_LEN: u64 = 8;

/// What it knows.
#[derive(Debug, Default)]
pub(super) struct Hostile {
    links: BTreeMap<u32, LinkId>,
    /// The last attempt of each of its devices, and that in each conversation.
    last: BTreeMap<u32, u64>,
    last_in: BTreeMap<(u32, ConversationId), u64>,
}

impl World {
    /// The user that it is: the first after those who mean well.
    pub(super) fn hostile_user(&self) -> usize {
        self.plan.users
    }

    /// It does something, and will again.
    pub(super) fn harm(&mut self) {
        if self.phase != Phase::Stormy {
            let links = std::mem::take(&mut self.hostile.links);
            return links.into_values().for_each(|link| self.close_by_device(link));
        }
        let after = self.random.around(PACE);
        self.agenda.plan(self.now + after, Event::Harm);
        let device = 1 + self.random.below(DEVICES) as u32;
        let link = self.hostile.links.get(&device).copied();
        let Some(link) = link.filter(|link| self.links.get(link).is_some_and(|link| link.open)) else {
            return self.let_hostile_in(device);
        };
        match self.random.below(100) {
            0 => return self.close_by_device(link),
            1 => self.links.get_mut(&link).into_iter().for_each(|link| link.to_device.stalled = true),
            2..5 => self.heal(link),
            _ => {}
        }
        let flood = self.random.chance(MILLION / 20);
        let frames = if flood { self.random.between(10, 120) } else { self.random.between(1, 4) };
        let mut bytes = Vec::new();
        for _ in 0..frames {
            match self.random.below(2) {
                0 => self.append_message(device, &mut bytes),
                _ => self.append_other(&mut bytes),
            }
        }
        self.put_on_link(link, Side::Node, bytes);
    }

    fn let_hostile_in(&mut self, device: u32) {
        let reactors = self.node.as_ref().map(|process| process.accepting()).unwrap_or_default();
        if reactors.is_empty() || self.weather.partitioned {
            return;
        }
        let reactor = *self.random.pick(&reactors);
        let link = self.open_link(Who::Hostile, reactor);
        self.hostile.links.insert(device, link);
        self.accept(reactor, link, std::net::IpAddr::from([10, 9, 9, 7]));
        let mut bytes = Vec::new();
        self.append_hello(device, &mut bytes);
        self.put_on_link(link, Side::Node, bytes);
    }

    fn append_hello(&mut self, device: u32, bytes: &mut Vec<u8>) {
        let mut frame = FrameBuilder::<Hello>::new(bytes);
        let token = frame.var(format!("{}:{device}", name(self.plan.users)).as_bytes());
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            device: DeviceId(device),
            user: UserId::NONE,
            capabilities: self.random.bits(),
            token,
            connection_number: self.clock().wall.0,
            device_name: Default::default(),
        };
        frame.finish(1, &hello);
    }

    /// What it is told of its attempts: where it may go on.
    pub(super) fn hostile_hears(&mut self, link: LinkId, frame: &Frame<'_>) {
        let told = match frame.kind() {
            Ok(Kind::Sent) => frame.fixed().map(|sent: Sent| (sent.conversation, sent.client_msg_id)).ok(),
            Ok(Kind::Error) => frame.fixed().map(|error: ErrorFrame| (error.conversation, error.highest)).ok(),
            _ => None,
        };
        let device = self.hostile.links.iter().find(|(_, of)| **of == link).map(|(device, _)| *device);
        if let (Some((conversation, id)), Some(device)) = (told.filter(|(_, id)| id.0 > 0), device) {
            self.hostile.last_in.insert((device, conversation), id.0);
            let last = self.hostile.last.entry(device).or_default();
            *last = id.0.max(*last);
        }
    }

    /// A conversation: its own ones, groups, and those of two others.
    fn some_conversation(&mut self) -> (usize, ConversationId) {
        let place = self.random.below(self.oracle.conversations() as u64) as usize;
        (place, self.oracle.id(place))
    }

    /// A number near the last one of a conversation, or anywhere.
    fn some_seq(&mut self, place: usize) -> Seq {
        let head = self.oracle.head(place).0;
        match self.random.below(10) {
            0 => Seq(self.random.bits()),
            1 => Seq(0),
            2 => Seq(u64::MAX - self.random.below(2)),
            3 => Seq(head + 1 + self.random.below(3)),
            _ => Seq(head.saturating_sub(self.random.below(8))),
        }
    }

    fn some_user(&mut self) -> UserId {
        user_id(self.random.below(self.plan.users as u64 + 1) as usize)
    }

    /// Something that is to be a message.
    fn append_message(&mut self, device: u32, bytes: &mut Vec<u8>) {
        let (place, conversation) = self.some_conversation();
        let last = self.hostile.last.get(&device).copied().unwrap_or_default();
        let id = match self.random.below(40) {
            0 => self.random.bits() >> self.random.below(64),
            1..4 => last,
            4..7 => last.saturating_sub(self.random.below(5)),
            _ => last.saturating_add(1),
        };
        let before = self.hostile.last_in.get(&(device, conversation)).copied().unwrap_or_default();
        let prev = if self.random.chance(MILLION / 10) { self.random.below(id.max(1)) } else { before };
        if id == last.saturating_add(1) {
            self.hostile.last.insert(device, id);
            self.hostile.last_in.insert((device, conversation), id);
        }
        let (user, attempt) = (user_id(self.hostile_user()), (DeviceId(device), ClientMsgId(id)));
        let nameless = identity(user, attempt.0, attempt.1);
        // What has no words is known by its attempt, which must be no other's then.
        let must_say = self.oracle.knows(nameless);
        let (control, body) = match self.some_control() {
            (OPEN, _) if must_say => (Control::TEXT, Vec::new()),
            other => other,
        };
        let says = control != OPEN && (must_say || self.random.chance(3 * MILLION / 4));
        let words =
            says.then(|| (tag(self.id(), ITS_TAGS), self.random.between(TAG_LEN, self.plan.payload_max.max(9))));
        let text = words.map(|(tag, len)| payload(tag, len as usize)).unwrap_or_default();
        let tag = words.map_or(nameless, |(tag, _)| tag);
        self.oracle.put_about(tag, place, text.len(), None);
        self.tell(Moment::Put(ITS_TAGS, place, tag));
        let name = name(self.hostile_user());
        // What is packed wrongly says something else to each who unpacks it: fuzzing looks at that.
        let flags = MessageFlags(self.random.bits() as u32 & !MessageFlags::PACKED);
        let told = flags.as_served(control).0;
        self.oracle.attempted(tag, By { user, name, device: attempt.0, id: attempt.1, flags: told });
        let peer = if self.random.chance(MILLION / 4) { UserId::NONE } else { self.peer_in(place) };
        let wrong = self.random.chance(MILLION / 30);
        let expires = self.clock().wall.0 + self.random.below(3_000_000);
        let mut frame = FrameBuilder::<Send>::new(bytes);
        let (clear, payload) = (frame.var(&body), frame.var(&text));
        let send = Send {
            conversation,
            peer,
            client_msg_id: attempt.1,
            prev: ClientMsgId(prev),
            expires_at: Timestamp(if self.random.chance(MILLION / 20) { expires } else { 0 }),
            trace: TraceId::default(),
            flags,
            payload_crc: Message::crc_of_content(&body, &text) ^ u32::from(wrong),
            payload,
            control,
            target: self.some_seq(place),
            body: clear,
        };
        frame.finish(id, &send);
    }

    /// Whom it should name in a conversation, or, if that is not its own, anybody.
    fn peer_in(&mut self, place: usize) -> UserId {
        let me = user_id(self.hostile_user());
        let direct =
            (0..self.plan.users).map(user_id).find(|user| ConversationId::direct(me, *user) == self.oracle.id(place));
        direct.unwrap_or_else(|| self.some_user())
    }

    fn some_control(&mut self) -> (Control, Vec<u8>) {
        let control = match self.random.below(3) {
            0 => Control(self.random.below(18) as u16),
            1 if self.random.chance(MILLION / 20) => Control(self.random.bits() as u16),
            _ => Control::TEXT,
        };
        let mut body = Vec::new();
        match self.random.below(6) {
            0 => {
                let len = self.random.below(80);
                body.extend((0..len).map(|_| self.random.bits() as u8));
            }
            1 => Clear { mentions: Users::new(&[self.some_user().0]), ..Clear::default() }.write(&mut body),
            _ if control == TIMER => body.extend(Timer { seconds: self.random.below(4) as u32 }.to_bytes()),
            _ if control.is_of_group() => {
                let chosen = self.some_users();
                let act = self.draw_act(ConversationId::default(), &chosen);
                return (act.write(&mut body), body);
            }
            _ => {}
        }
        (control, body)
    }

    /// Something that is no message.
    fn append_other(&mut self, bytes: &mut Vec<u8>) {
        let (place, conversation) = self.some_conversation();
        let (first, last) = (self.some_seq(place), self.some_seq(place));
        let (request, user, number) = (self.random.below(100), self.some_user(), self.random.bits());
        let few = self.random.below(20) as u32;
        let start = bytes.len();
        match self.random.below(20) {
            0..3 => append(bytes, request, &Delivered { conversation, upto: first }),
            3..6 => append(bytes, request, &Read { conversation, upto: first, ordinal: number >> few }),
            6..10 => {
                let order = *self.random.pick(&[FetchOrder::Last, FetchOrder::Upward]);
                append(bytes, request, &Fetch { conversation, from: first, upto: last, limit: few, order });
            }
            10 => {
                let lineage = Lineage([if few < 15 { 7 } else { few as u8 }; 16]);
                let (uv, below) = (Uv(number >> (3 * few)), Uv(number >> 60));
                append(bytes, request, &Resume { lineage, uv, below, page: few, tails: few as u16, tail: few as u16 });
            }
            11 => append(bytes, request, &Describe { conversation, from: few, limit: few, counted: first }),
            12 => {
                let (key, value) = (SettingKey(few as u16 / 2), *self.random.pick(&[0, 1, 2, number, first.0]));
                append(bytes, request, &Set { conversation, key, value, peer: user });
            }
            13 => append(bytes, request, &Devices { reserved: few, user }),
            14 => append(bytes, request, &Typing { conversation, user, doing: Doing(few as u8) }),
            15 => append_with::<Watch>(bytes, request, &user.0, |users| Watch { conversation, users }),
            16 => append(bytes, request, &Forget { conversation, first, last }),
            17 => {
                let said = number.to_le_bytes();
                let (streams, me) = (&self.oracle.durable.streams, user_id(self.hostile_user()));
                // What it opens itself it leaves to the server to end: what it would say is not known.
                let other = if streams.is_written_by(me, (conversation, first)) { Seq(0) } else { first };
                let (conversation, first) = streams.unended_of_another(me).unwrap_or((conversation, other));
                append_with::<Fragment>(bytes, request, &said, |bytes| Fragment {
                    conversation,
                    seq: first,
                    offset: few,
                    crc: Fragment::crc_of(&said),
                    bytes,
                });
            }
            18 => append(bytes, request, &More { conversation, seq: first, offset: few }),
            _ => self.append_rarely(bytes, (conversation, first, user), few),
        }
        if bytes.len() > start && self.random.chance(MILLION / 50) {
            let at = start + self.random.below((bytes.len() - start) as u64) as usize;
            bytes[at] ^= 1 << self.random.below(8);
        }
    }

    /// What ends the connection, or would if it were believed.
    fn append_rarely(
        &mut self,
        bytes: &mut Vec<u8>,
        (conversation, seq, user): (ConversationId, Seq, UserId),
        few: u32,
    ) {
        match self.random.below(12) {
            0 => self.append_hello(few, bytes),
            1 => {
                let sent = Sent { conversation, client_msg_id: ClientMsgId(seq.0), seq, ts: Timestamp(1), ordinal: 1 };
                append(bytes, 0, &sent);
            }
            2 => {
                let theirs = format!("{}:1", name(self.random.below(self.plan.users as u64) as usize));
                append_with::<Reauth>(bytes, 1, theirs.as_bytes(), |token| Reauth { token });
            }
            3 => bytes.extend((0..few).map(|_| self.random.bits() as u8)),
            // Its own devices it keeps.
            4..8 if user != user_id(self.hostile_user()) => {
                append(bytes, 1, &Revoke { device: DeviceId(1), user, flags: few & 1 });
            }
            8 => {
                append(bytes, 1, &SetActivity { activity: *self.random.pick(&[Activity::Active, Activity::Inactive]) })
            }
            _ => append(bytes, 1, &Ping { opaque: 1 }),
        }
    }
}

fn append_with<T: FixedPart>(
    bytes: &mut Vec<u8>,
    request: u64,
    var: &[u8],
    part: impl FnOnce(tidings_wire::frame::Span) -> T,
) {
    let mut frame = FrameBuilder::<T>::new(bytes);
    let span = frame.var(var);
    frame.finish(request, &part(span));
}
