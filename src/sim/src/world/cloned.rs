//! A device whose memory was copied to a second one: both go on as the same device, name different messages alike, and take each other's place.
//! What the two are told of their own is not judged: neither knows what the other said in its name. Everybody else must be told one story.

use tidings_client::{DeviceId, ErrorCode, Event as Told};

use super::{Event, World, devices::user_id};
use crate::{agenda::SECOND, plan::Fault};

impl World {
    /// A device is copied, with all that it knows. False if there is nothing to copy.
    pub(super) fn clone_device(&mut self, at: usize) -> bool {
        // What has no words is known by its attempt, which is not one then; and who is there is not what the two think.
        let original = &self.devices[at];
        if self.plan.says_about || self.plan.is_ephemeral || original.is_cloned || !original.receives {
            return false;
        }
        let Some(state) = original.session.as_ref().and_then(|session| session.save()) else { return false };
        let (user, id, chats) = (original.user, original.id, original.chats.clone());
        let (given, tags) = (original.given.clone(), original.tags.clone());
        let (history, silent) = (original.history, original.silent);
        let copy = self.add_device(user, id.0 & !DeviceId::FIRST_GUEST, chats);
        let device = &mut self.devices[copy];
        (device.id, device.saved, device.tags) = (id, Some((state, given)), tags);
        (device.receives, device.script, device.history, device.silent) = (true, None, history, silent);
        self.devices[at].reading = None;
        for at in [at, copy] {
            let device = &mut self.devices[at];
            (device.is_cloned, device.came_back, device.revokes) = (true, true, None);
        }
        self.agenda.plan(self.now + SECOND, Event::Act { device: copy });
        true
    }

    /// Users who have noticed use neither of the two any more.
    pub(super) fn retire_clones(&mut self) {
        for at in 0..self.devices.len() {
            if self.devices[at].is_cloned {
                self.stop_device(at, false);
                (self.devices[at].is_retired, self.devices[at].waiting) = (true, 0);
                self.devices[at].preferences.clear();
            }
        }
    }

    /// What one of the two is told: it has it, and others may be told so.
    pub(super) fn take_event_of_clone(&mut self, at: usize, told: Told) {
        let device = &mut self.devices[at];
        match told {
            Told::Message(message) => self.oracle.taken((at, user_id(device.user)), &mut device.given, &message),
            Told::Lost { conversation, upto, .. } => self.oracle.passed_over(&mut device.given, conversation, upto),
            Told::Sent { .. } | Told::SendFailed { .. } => device.waiting = device.waiting.saturating_sub(1),
            Told::Rejected { code } => {
                self.stop_device(at, false);
                if code == ErrorCode::Superseded {
                    // Its user opens the application again.
                    let after = self.random.around(3 * SECOND);
                    self.agenda.plan(self.now + after, Event::Over(Fault::DeviceLeaves, at as u64));
                }
            }
            _ => {}
        }
    }
}
