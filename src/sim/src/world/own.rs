//! What users keep for themselves: what they hide, whether they show what they read, and devices that they lose.

use std::collections::BTreeMap;

use tidings_client::{Device, DeviceId, ErrorCode, Preferences, ReadReceipts, Seq, Timestamp};

use super::{
    World,
    devices::{ADMINISTRATOR, Device as Held, Whom, user_id},
};
use crate::random::MILLION;

/// Numbers of devices that come in the place of those that were revoked begin this far above theirs.
const RENEWED: u32 = 10;

impl World {
    /// The user of a device changes what it wants.
    pub(super) fn change_settings(&mut self, at: usize, place: usize) {
        let (conversation, user) = (self.oracle.id(place), user_id(self.devices[at].user));
        let shown = self.random.chance(MILLION / 6);
        let what = self.random.below(4);
        let wants_more = (self.plan.says_about || self.plan.is_ephemeral) && self.random.chance(MILLION / 2);
        let value = self.random.below(3);
        let blocks = self.plan.says_about && wants_more;
        let whom = self.devices[at].chats.iter().find(|(of, _)| *of == place).map(|(_, whom)| *whom);
        let last = self.devices[at].given.last(place).unwrap_or_default();
        let first = if blocks && last > Seq(0) { Seq(self.random.between(1, last.0)) } else { Seq(0) };
        let until = Seq(first.0 + value).min(last);
        let session = self.devices[at].session.as_mut().expect("it is in hand");
        match what {
            0 if wants_more => session.mute(conversation, Timestamp(value)),
            1 if wants_more => session.pin(conversation, value),
            2 if wants_more && value == 0 => session.unarchive(conversation),
            2 if wants_more => session.archive(conversation),
            3 if blocks && let Some(Whom::User(other)) = whom => match value {
                0 => session.block(user_id(other)),
                1 => session.unblock(user_id(other)),
                _ if first > Seq(0) => {
                    self.oracle.wants_forgotten(user, place, (first, until));
                    session.forget(conversation, first, until);
                }
                _ => {}
            },
            3 if blocks && first > Seq(0) => {
                self.oracle.wants_forgotten(user, place, (first, until));
                session.forget(conversation, first, until);
            }
            0 => session.hide(conversation),
            1 => session.show(conversation),
            _ => {
                let receipts = if shown { ReadReceipts::Shown } else { ReadReceipts::Private };
                self.oracle.privacy_wanted(user, receipts);
                session.set_read_receipts(receipts);
            }
        }
    }

    /// A conversation of which two devices of a user are told something else that the user wants.
    pub(super) fn differing_preferences(&self) -> Option<String> {
        let mut known: BTreeMap<(usize, usize), (usize, Preferences)> = BTreeMap::new();
        // Who only sends is not told what there was before.
        for (at, device) in self.devices.iter().enumerate().filter(|(_, device)| device.receives) {
            for (place, preferences) in &device.preferences {
                let (other, told) = *known.entry((device.user, *place)).or_insert((at, *preferences));
                if told != *preferences {
                    return Some(format!(
                        "devices {other} and {at} of a user are told {told:?} and {preferences:?} of conversation {place}"
                    ));
                }
            }
        }
        None
    }

    /// The user of a device revokes another one, if it has another. An administrator may revoke everybody's; others try, and may not.
    pub(super) fn revoke_another(&mut self, at: usize) {
        let Self { devices, random, revoking, .. } = self;
        let (user, reaches_out) = (devices[at].user, random.chance(MILLION / 3));
        let is_another = |other: &&Held| match reaches_out {
            true => other.user != user,
            false => other.user == user && other.id != devices[at].id,
        };
        // A guest has no place that could be taken from it.
        let others = devices.iter().filter(is_another).map(|other| (other.user, other.id));
        let others: Vec<_> = others.filter(|(_, id)| !id.is_guest()).collect();
        if others.is_empty() || devices[at].revokes.is_some() || devices[at].is_cloned {
            return;
        }
        let lost = *random.pick(&others);
        let session = devices[at].session.as_mut().expect("it is in hand");
        if session.is_up() {
            match reaches_out {
                true => session.revoke_of(user_id(lost.0), Some(lost.1)),
                false => session.revoke(lost.1),
            }
            devices[at].revokes = devices[at].link.map(|link| (lost, link));
            if lost.0 == user || user == ADMINISTRATOR {
                revoking.insert(lost);
            }
        }
    }

    /// A device was told which devices there are.
    pub(super) fn on_devices(&mut self, at: usize, devices: &[Device]) {
        let user = self.devices[at].user;
        let Some((lost, _)) = self.devices[at].revokes.take() else { return };
        if lost.0 != user && user != ADMINISTRATOR {
            self.oracle.violate("I18", format!("device {at} is told of devices of user {}", lost.0));
        }
        if devices.iter().any(|device| device.device == lost.1) {
            self.oracle
                .violate("I18", format!("device {at} is told that {} was revoked, and that it is there", lost.1));
        }
        self.stats.fault(if lost.0 == user { "device revoked" } else { "device revoked by administrator" });
        self.revoked.insert(lost);
    }

    /// What a device asked about devices was refused.
    pub(super) fn on_devices_failed(&mut self, at: usize, code: ErrorCode) {
        // It may have asked before it was closed and opened again.
        let Some(((whose, lost), _)) = self.devices[at].revokes.take() else { return };
        let user = self.devices[at].user;
        if code == ErrorCode::NotAllowed && (whose == user || user == ADMINISTRATOR) {
            self.oracle.violate("I18", format!("device {at} may not revoke {lost} of user {whose}"));
        }
    }

    /// True if somebody revoked a device, or tried.
    pub(super) fn was_revoked(&self, at: usize) -> bool {
        self.revoking.contains(&(self.devices[at].user, self.devices[at].id))
    }

    /// A device is let in.
    pub(super) fn let_in(&mut self, at: usize) {
        if self.devices[at].came_revoked {
            let id = self.devices[at].id;
            self.oracle.violate("I18", format!("device {at} is let in as {id}, which was revoked before it came"));
        }
    }

    /// A device that was revoked is given another number by its user, and knows nothing.
    pub(super) fn renew_device(&mut self, at: usize) {
        self.stop_device(at, true);
        let device = &mut self.devices[at];
        (device.id, device.revokes, device.came_revoked) = (DeviceId(device.id.0 + RENEWED), None, false);
        // What it sent under its old number is another device's.
        device.forget_repeats();
        self.wake_device(at);
    }
}
