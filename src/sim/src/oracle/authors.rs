//! Who wrote a message, and how: what each device attempted is what everybody is told of it.

use tidings_client::{ClientMsgId, DeviceId, Message, MessageFlags, UserId};

use super::{DeviceAt, Oracle};

/// Who attempted a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// The user.
    pub user: UserId,
    /// What others call it.
    pub name: String,
    /// The device.
    pub device: DeviceId,
    /// The attempt.
    pub id: ClientMsgId,
    /// The flags that everybody is told, but for those that the server sets.
    pub flags: u32,
}

impl By {
    fn wrote(&self, message: &Message) -> bool {
        let Message { sender, sender_name, sender_device, client_msg_id, flags, .. } = message;
        let set = flags & !(MessageFlags::OF_SERVER | MessageFlags::PACKED);
        let attempt = (*sender, *sender_device, *client_msg_id) == (self.user, self.device, self.id);
        attempt && *sender_name == self.name && self.flags == set
    }
}

impl Oracle {
    /// Somebody attempts a message. What makes a group may be attempted by several devices.
    pub fn attempted(&mut self, tag: u64, by: By) {
        self.authors.entry(tag).or_default().push(by);
    }

    /// Checks that what a device is told of who wrote a message is so. Of what is withheld it is told nothing.
    pub(super) fn check_author(&mut self, device: DeviceAt, tag: u64, message: &Message) {
        let of_node = self.durable.streams.is_of_node(tag);
        let wrote = self.authors.get(&tag).is_some_and(|all| all.iter().any(|by| by.wrote(message)));
        self.check(of_node || message.is_withheld() || wrote, "I26", || {
            let Message { conversation, seq, sender, sender_name, sender_device, client_msg_id, flags, .. } = message;
            format!(
                "device {device} is told that {seq:?} of {conversation} is attempt {client_msg_id:?} of device {sender_device} of {sender}, who is called {sender_name}, with flags {flags}"
            )
        });
    }
}
