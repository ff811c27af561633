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

    /// How the node ends a message for who opened it: as an attempt that no device makes.
    fn for_writer(&self) -> Self {
        Self { device: DeviceId(0), id: ClientMsgId(0), flags: MessageFlags::CONTROL, ..self.clone() }
    }
}

impl Oracle {
    /// Somebody attempts a message. What makes a group may be attempted by several devices.
    pub fn attempted(&mut self, tag: u64, by: By) {
        self.authors.entry(tag).or_default().push(by);
    }

    /// Checks that what a device is told of who wrote a message is so. Of what is withheld it is told nothing.
    pub(super) fn check_author(&mut self, device: DeviceAt, tag: u64, message: &Message) {
        let by = |tag| self.authors.get(&tag).into_iter().flatten();
        let wrote = match self.durable.streams.is_of_node(tag) {
            true => {
                let (conversation, target) = (message.conversation, message.target);
                let opened = self.durable.tag(conversation, target);
                // What its writer is called went with what it opened.
                let nameless = message.sender_name.is_empty() && self.durable.is_dropped(conversation, target);
                let name = |by: By| if nameless { String::new() } else { by.name };
                let ends = |by: &By| By { name: name(by.clone()), ..by.for_writer() }.wrote(message);
                opened.is_some_and(|opened| by(opened).any(ends))
            }
            false => by(tag).any(|by| by.wrote(message)),
        };
        self.check(message.is_withheld() || wrote, "I26", || {
            let Message { conversation, seq, sender, sender_name, sender_device, client_msg_id, flags, .. } = message;
            format!(
                "device {device} is told that {seq:?} of {conversation} is attempt {client_msg_id:?} of device {sender_device} of {sender}, who is called {sender_name}, with flags {flags}"
            )
        });
    }
}
