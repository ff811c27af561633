//! What a device's application is told by its session, which the oracle judges.

use tidings_client::{ClientMsgId, ConversationId, ErrorCode, Event as Told, Loss, Seq, Watermarks};

use super::{World, devices::user_id, settle::Phase};
use crate::{
    agenda::{MS, Nanos},
    trace::Moment,
};

/// How long an application that takes one event at a time needs for it.
const SLOW_APPLICATION: Nanos = 30 * MS;
/// And once no more faults begin: what thousands of messages take it must not pass for the server's time.
const CALM_APPLICATION: Nanos = MS;

impl World {
    /// The application takes what the session tells.
    pub(super) fn take_events(&mut self, at: usize) {
        let appetite = self.devices[at].appetite;
        self.devices[at].heard_all = false;
        for _ in 0..appetite {
            let Some(session) = &mut self.devices[at].session else { return }; // it was revoked
            let Some(told) = session.poll_event() else {
                self.devices[at].heard_all = true;
                return;
            };
            self.take_event(at, told);
        }
        let pause = if self.phase == Phase::Stormy { SLOW_APPLICATION } else { CALM_APPLICATION };
        self.plan_tick(at, self.now + pause);
    }

    fn take_event(&mut self, at: usize, told: Told) {
        if self.devices[at].is_cloned {
            return self.take_event_of_clone(at, told);
        }
        self.oracle.wall = (!self.plan.clock_jumps()).then(|| self.clock().wall);
        let user = user_id(self.devices[at].user);
        match told {
            Told::Connected => {
                self.let_in(at);
                self.want_visibility(at);
            }
            Told::Typing { conversation, user: other, .. } => self.on_typing(at, conversation, other),
            Told::Presence { user: other, state, last_seen } => self.on_presence(at, other, state, last_seen),
            Told::Visibility { visibility } => self.oracle.visibility_is(user, visibility, self.now),
            Told::Devices(devices) => self.on_devices(at, &devices),
            Told::ReadReceipts { receipts } => self.oracle.privacy_is(user, receipts),
            Told::Receipt { conversation, member, marks } => {
                self.stats.group_receipts += 1;
                if let Some(place) = self.oracle.place(conversation) {
                    self.oracle.member_shown(at, user, place, (member, marks));
                }
            }
            Told::Forgotten { conversation, first, last } => {
                self.oracle.forgotten(user, &mut self.devices[at].given, conversation, (first, last));
            }
            Told::Grew { conversation, seq, offset, bytes } => {
                let given = &mut self.devices[at].given;
                self.oracle.grew((at, user), given, (conversation, seq), offset, &bytes);
            }
            Told::StreamEnded { .. } => {}
            Told::StreamFailed { stream, .. } => self.stream_failed(at, stream),
            Told::DevicesFailed { code } => self.on_devices_failed(at, code),
            Told::SettingFailed { .. } => {}
            Told::ForgetFailed { code, .. } => self.stats.fault(code.name()),
            Told::Synced | Told::Described(_) | Told::DescribeFailed { .. } | Told::Closed => {}
            Told::Counted { .. } | Told::ReadDelayed { .. } => {}
            Told::TokenNeeded | Told::TokenRefused { .. } => {
                self.oracle.violate("I11", format!("device {at} is asked for a token, and tokens do not end here"));
            }
            Told::Disconnected => {
                // The application may hear of it late, when it has asked over the next connection.
                let device = &mut self.devices[at];
                device.revokes.take_if(|(_, asked_over)| device.link != Some(*asked_over));
                self.devices[at].reading = None; // it was asked for on the connection that ended: see `heard_all`
            }
            Told::HistoryDone { conversation, first, last, damaged, .. } => {
                if damaged > Seq(0) {
                    self.on_damage(at);
                }
                self.on_history_done(at, conversation, (first, last), damaged);
            }
            Told::HistoryFailed { conversation, code } => {
                let place = self.oracle.place(conversation);
                self.devices[at].reading.take_if(|reading| Some(reading.place) == place);
                self.on_history_failed(at, code);
            }
            Told::CatchUpDelayed { code, .. } => self.on_history_failed(at, code),
            Told::Rejected { code: ErrorCode::DeviceRevoked } if self.was_revoked(at) => self.renew_device(at),
            // What it said before its clock went back arrived late, and counts as later: its user opens the application again.
            Told::Rejected { code: ErrorCode::Superseded } if self.devices[at].clock.was_behind => {
                self.stop_device(at, false);
                self.wake_device(at);
            }
            Told::Rejected { code } => self.oracle.violate("I11", format!("device {at} is rejected: {code:?}")),
            Told::LineageChanged => self.oracle.violate("I11", format!("device {at} is told of another lineage")),
            Told::Sent { conversation, id, seq, .. } => self.on_sent(at, conversation, id, seq),
            Told::SendDelayed { code, .. } => self.stats.fault(code.name()),
            Told::SendFailed { conversation, id, code } => self.on_send_failed(at, conversation, id, code),
            Told::Message(message) => {
                let device = &mut self.devices[at];
                if let Some((place, tag)) = self.oracle.seen(at, user, &mut device.given, &message) {
                    self.tell(Moment::Seen(at, place, message.seq.0, tag));
                }
            }
            Told::Older(message) => self.oracle.older(at, user, &message, &mut self.devices[at].reading),
            Told::Lost { conversation, from, upto, why } => {
                if why == Loss::Damaged {
                    self.on_damage(at);
                }
                if let Some(place) = self.oracle.place(conversation) {
                    self.learn_floors();
                    self.tell(Moment::Lost(at, place, from.0, upto.0));
                    self.oracle.lost((at, user), &mut self.devices[at].given, place, (from, upto), why);
                }
            }
            Told::Conversation { conversation, peers, own, preferences, .. } => {
                let marks: [Watermarks; 2] = [peers, own];
                if let Some(place) = self.oracle.place(conversation) {
                    self.devices[at].preferences.insert(place, preferences);
                }
                match self.oracle.place(conversation) {
                    Some(place) => self.oracle.shown(at, user, &mut self.devices[at].given, place, marks),
                    None => self.oracle.violate("I9", format!("device {at} is shown a conversation of nobody")),
                }
            }
        }
    }

    fn on_history_done(&mut self, at: usize, conversation: ConversationId, (first, last): (Seq, Seq), damaged: Seq) {
        let place = self.oracle.place(conversation);
        if let Some(reading) = self.devices[at].reading.take_if(|reading| Some(reading.place) == place) {
            self.learn_floors();
            self.stats.readings += 1;
            let user = user_id(self.devices[at].user);
            // Whoever was told that something cannot be read knows that it misses something.
            if damaged == Seq(0) {
                self.oracle.read_back((at, user), &reading, first, last);
            }
        }
    }

    fn on_sent(&mut self, at: usize, conversation: ConversationId, id: ClientMsgId, seq: Seq) {
        let Some(place) = self.oracle.place(conversation) else { return };
        let device = &mut self.devices[at];
        device.waiting = device.waiting.saturating_sub(1);
        let Some(tag) = device.tags.get(&(place, id)).copied() else {
            return self.oracle.violate("I3", format!("device {at} is told of attempt {id:?}, which it never made"));
        };
        self.tell(Moment::Sent(at, place, seq.0, tag));
        self.oracle.sent(at, tag, conversation, seq);
        self.stream_sent(at, id, seq);
    }
}
