//! Users: what they do with their devices, by chance or by a script.

use std::num::NonZeroU32;

use tidings_client::{ClientMsgId, Content, MessageFlags, Seq, Session};
use tidings_wire::frames::FetchOrder;

use super::{
    Event, World,
    devices::{Whom, name, user_id},
    scripts::Step,
    settle::Phase,
};
use crate::{
    agenda::{MS, Nanos},
    oracle::{Asked, By, Reading, payload},
    random::MILLION,
    trace::Moment,
};

/// Mean time between acts of one who floods, or knows hundreds.
const FLOOD_PACE: Nanos = 10 * MS;
/// Its largest payload.
const FLOOD_PAYLOAD_MAX: u64 = 60 << 10;
/// Messages that wait in an outbox before its user stops writing.
const OUTBOX_MAX: usize = 40;

/// A message's tag: it says which device it is from.
pub(super) fn tag(id: u64, device: usize) -> u64 {
    id << 8 | device as u64
}

fn device_of(tag: u64) -> usize {
    (tag & 0xff) as usize
}

impl World {
    /// The user does something, and will again.
    pub(super) fn act(&mut self, at: usize) {
        if self.phase != Phase::Stormy {
            return;
        }
        let after = match self.devices[at].script {
            Some(_) => {
                let pause = self.follow_script(at);
                pause - self.now % pause
            }
            None => {
                self.act_by_chance(at);
                let knows_hundreds = self.plan.acquaintances > 0 && self.devices[at].user == 0;
                let pace = if self.floods(at) || knows_hundreds { FLOOD_PACE } else { self.plan.pace };
                self.random.around(pace)
            }
        };
        self.agenda.plan(self.now + after, Event::Act { device: at });
    }

    /// True if the user of a device writes as much as it can.
    fn floods(&self, at: usize) -> bool {
        self.plan.flood && self.devices[at].user == 0
    }

    /// True if the user can do something with the device now.
    fn is_in_hand(&self, at: usize) -> bool {
        let device = &self.devices[at];
        device.online && !device.suspended && device.session.is_some()
    }

    fn act_by_chance(&mut self, at: usize) {
        if !self.is_in_hand(at) {
            return;
        }
        let (place, peer) = *self.random.pick(&self.devices[at].chats.clone());
        if !self.devices[at].receives {
            self.write_messages(at, place, peer, 1);
            return self.drive(at);
        }
        if self.plan.is_ephemeral && self.oracle.messages() == 0 {
            // Somebody says something before all else: who types may do so in groups that nobody makes.
            let (place, peer) = self.devices[at].chats[0];
            self.write_messages(at, place, peer, 1);
            return self.drive(at);
        }
        if self.plan.says_about && self.devices[at].writing.is_some() && self.random.chance(MILLION / 2) {
            self.write_stream(at, place, peer);
            return self.drive(at);
        }
        match self.random.below(100) {
            0..30 if self.plan.is_ephemeral => self.do_something(at, place),
            0..35 if self.plan.says_about && self.devices[at].waiting < OUTBOX_MAX => self.say_about(at, place, peer),
            0..20 if matches!(peer, Whom::Group(_)) => self.change_group(at, place, peer),
            20..25 if self.plan.says_about && matches!(peer, Whom::Group(_)) => self.change_group(at, place, peer),
            0..60 => {
                let burst = if self.random.chance(MILLION / 10) { self.random.between(2, 12) } else { 1 };
                self.write_messages(at, place, peer, burst);
            }
            60..80 => {
                let back = self.random.below(4);
                self.read_some(at, place, back);
            }
            80..88 => {
                let order = *self.random.pick(&[FetchOrder::Last, FetchOrder::Last, FetchOrder::Upward]);
                let beside = Seq(self.random.below(40));
                let most = *self.random.pick(&[30, 30, 600]);
                let limit = self.random.between(1, most) as u32;
                self.ask_history(at, place, Asked { order, beside, limit });
            }
            88..94 => self.save(at),
            94..96 => self.pry(at),
            96..98 => self.change_settings(at, place),
            98 if self.plan.revokes => self.revoke_another(at),
            _ => self.devices[at].session.as_mut().expect("it is in hand").ping(),
        }
        self.drive(at);
    }

    /// The next step of a device's script; how long until the one after it.
    fn follow_script(&mut self, at: usize) -> Nanos {
        let Some((script, step)) = self.devices[at].script else { return self.plan.pace };
        let (what, pause) = script[step % script.len()];
        if what == Step::Return {
            self.wake_device(at);
        } else if !self.is_in_hand(at) {
            return pause; // it is tried again
        }
        self.devices[at].script = Some((script, step + 1));
        let (place, peer) = self.devices[at].chats[0];
        match what {
            Step::Write(messages) => self.write_messages(at, place, peer, messages),
            Step::Answer => {
                if self.had_last_word(at, place, peer) {
                    self.write_messages(at, place, peer, 1);
                }
            }
            Step::Read => self.read_some(at, place, 0),
            Step::History => {
                self.ask_history(at, place, Asked { order: FetchOrder::Last, beside: Seq(0), limit: 30 });
            }
            Step::Save => self.save(at),
            Step::Leave => {
                self.stop_device(at, false);
                return pause;
            }
            Step::Return => return pause,
        }
        self.drive(at);
        pause
    }

    /// True if the last message that a device was given is the other member's.
    fn had_last_word(&self, at: usize, place: usize, peer: Whom) -> bool {
        let conversation = self.oracle.id(place);
        let last = self.devices[at].given.last(place);
        let tag = last.and_then(|last| self.oracle.durable.tag(conversation, last));
        tag.is_some_and(|tag| Whom::User(self.devices[device_of(tag)].user) == peer)
    }

    /// Asks for stored messages, unless the device waits for some, or has not heard all that happened to its connections: only then
    /// the next end of a connection is the end of this one.
    fn ask_history(&mut self, at: usize, place: usize, asked: Asked) {
        let conversation = self.oracle.id(place);
        let version = self.oracle.version(place, user_id(self.devices[at].user));
        let device = &mut self.devices[at];
        let session = device.session.as_mut().expect("it is in hand");
        if device.reading.is_some() || !device.heard_all || !session.is_up() || device.is_cloned {
            return;
        }
        let limit = NonZeroU32::new(asked.limit).expect("at least one");
        match asked.order {
            FetchOrder::Last => session.history(conversation, asked.beside, limit),
            FetchOrder::Upward => session.history_after(conversation, asked.beside, limit),
        }
        let head = device.given.last(place).unwrap_or_default();
        device.reading = Some(Reading { place, asked, version, head, seqs: Vec::new() });
    }

    /// Asks for messages of two other users.
    fn pry(&mut self, at: usize) {
        if let Some(foreign) = self.foreign_conversation(at) {
            self.devices[at].session.as_mut().expect("it is in hand").history(foreign, Seq(0), NonZeroU32::MIN);
        }
    }

    fn write_messages(&mut self, at: usize, place: usize, peer: Whom, count: u64) {
        if self.devices[at].waiting >= OUTBOX_MAX {
            return;
        }
        for _ in 0..count {
            let tag = tag(self.id(), at);
            let most = if self.floods(at) { FLOOD_PAYLOAD_MAX } else { self.plan.payload_max.max(9) };
            let len = self.random.between(8, most) as usize;
            self.oracle.put(tag, place, len);
            self.tell(Moment::Put(at, place, tag));
            let device = &mut self.devices[at];
            let session = device.session.as_mut().expect("it is in hand");
            let user = user_id(device.user);
            let id = match peer {
                Whom::User(peer) => session.post_to(user_id(peer), Content::text(&payload(tag, len)).compressible()),
                Whom::Group(_) => session.post(self.oracle.id(place), Content::text(&payload(tag, len)).compressible()),
            };
            device.waiting += 1;
            self.attempted(at, (place, id), tag, MessageFlags::COMPRESSIBLE);
            if let Whom::User(peer) = peer {
                self.oracle.writes_to(user, user_id(peer));
            }
        }
    }

    /// A device has put something into its outbox that is known by this tag, and that everybody is told with these flags.
    pub(super) fn attempted(&mut self, at: usize, (place, id): (usize, ClientMsgId), tag: u64, flags: u32) {
        let device = &mut self.devices[at];
        device.tags.insert((place, id), tag);
        let (user, name) = (user_id(device.user), name(device.user));
        self.oracle.attempted(tag, By { user, name, device: device.id, id, flags });
    }

    fn read_some(&mut self, at: usize, place: usize, back: u64) {
        let device = &mut self.devices[at];
        let Some(last) = device.given.last(place) else { return };
        let upto = Seq(last.0.saturating_sub(back).max(1));
        let (user, session) = (user_id(device.user), device.session.as_mut().expect("it is in hand"));
        let id = self.oracle.id(place);
        session.read(id, upto, self.oracle.durable.ordinal(id, upto));
        self.oracle.read(user, place, upto);
        self.tell(Moment::Read(at, place, upto.0));
    }

    fn save(&mut self, at: usize) {
        let device = &mut self.devices[at];
        if let Some(state) = device.session.as_ref().and_then(Session::save) {
            device.saved = Some((state, device.given.clone()));
            self.tell(Moment::Saved(at));
        }
    }
}
