//! What the user keeps for itself on the server: settings, and which devices it has.

use tidings_wire::{
    ConversationId, DeviceId, ErrorCode, Frame, Seq, Timestamp, UserId, WireError,
    archive::{self, Archived},
    frame::{self, FixedPart},
    frames::{Changed, DeviceList, Devices, ListedDevice, Revoke, Set, Setting, SettingKey, Visibility},
};

use crate::{
    conversation::Conversation,
    event::Event,
    session::{Request, Session},
};

/// A device of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which.
    pub device: DeviceId,
    /// What the user calls it.
    pub name: String,
    /// It is connected.
    pub connected: bool,
    /// It is this one.
    pub this: bool,
    /// When it came first; 0: a guest.
    pub since: Timestamp,
    /// When it connected last, as far as the server remembers.
    pub seen: Timestamp,
}

/// Whether what the user reads is shown to others. Who does not show it is not shown what others read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadReceipts {
    /// It is.
    #[default]
    Shown,
    /// It is not.
    Private,
}

impl Session {
    /// Hides a conversation, on all devices, until there is a message in it that is not there now. Told as [`Event::Conversation`].
    pub fn hide(&mut self, conversation: ConversationId) {
        let head = self.conversations.get(&conversation).map_or(Seq(0), |known| known.head);
        self.want((conversation, SettingKey::HIDDEN), head.0);
    }

    /// Shows a conversation that was hidden.
    pub fn show(&mut self, conversation: ConversationId) {
        self.want((conversation, SettingKey::HIDDEN), 0);
    }

    /// Alerts nobody to a conversation until this time ([`crate::Preferences::EVER`]; 0: from now on everybody again). Like all that is wanted of a
    /// conversation it counts on all devices, and is told as [`Event::Conversation`] once it does.
    pub fn mute(&mut self, conversation: ConversationId, until: Timestamp) {
        self.want((conversation, SettingKey::MUTED), until.0);
    }

    /// Puts a conversation away.
    pub fn archive(&mut self, conversation: ConversationId) {
        self.want((conversation, SettingKey::ARCHIVED), 1);
    }

    /// Takes a conversation out again that was put away.
    pub fn unarchive(&mut self, conversation: ConversationId) {
        self.want((conversation, SettingKey::ARCHIVED), 0);
    }

    /// Keeps a conversation at the top, the highest place first; 0: does not.
    pub fn pin(&mut self, conversation: ConversationId, place: u64) {
        self.want((conversation, SettingKey::PINNED), place);
    }

    /// Reads all of a conversation, and shows nothing of it any more that is there now. Others keep it.
    pub fn clear(&mut self, conversation: ConversationId) {
        let Some((head, ordinal)) = self.conversations.get(&conversation).map(|known| (known.head, known.ordinal))
        else {
            return;
        };
        self.read(conversation, head, ordinal);
        self.want((conversation, SettingKey::CLEARED), head.0);
    }

    /// Hears nothing of another user any more: what it writes is withheld, it is shown no receipts and not whether this user is there, and cannot take
    /// this user into groups. It is not told. Like what is wanted of a conversation it counts on all devices, and is told as [`Event::Conversation`].
    pub fn block(&mut self, user: UserId) {
        self.want_block(user, 1);
    }

    /// Hears of another user again that was blocked. What it wrote meanwhile stays withheld.
    pub fn unblock(&mut self, user: UserId) {
        self.want_block(user, 0);
    }

    fn want_block(&mut self, user: UserId, value: u64) {
        let conversation = self.conversation_with(user);
        // It need not have begun.
        self.conversations.entry(conversation).or_insert_with(|| Conversation::new(conversation, user));
        self.want((conversation, SettingKey::BLOCKED), value);
    }

    /// Says whether what the user reads is shown to others. Told as [`Event::ReadReceipts`] once it counts.
    pub fn set_read_receipts(&mut self, receipts: ReadReceipts) {
        self.want((ConversationId::NONE, SettingKey::READ_PRIVATE), u64::from(receipts == ReadReceipts::Private));
    }

    /// True if every setting that was changed is durable, or was refused; and what is to be forgotten is.
    pub fn settings_settled(&self) -> bool {
        self.wanted.is_empty() && self.to_forget.is_empty()
    }

    /// Asks which devices the user has, to be told as [`Event::Devices`] or [`Event::DevicesFailed`]. What has not come when the connection ends
    /// must be asked for again.
    pub fn devices(&mut self) {
        self.ask_about_devices(&Devices::OWN);
    }

    /// The same of another user of this tenant, for an administrator (`scope` *admin* in the token; NOT_ALLOWED without). An answer may be lost: ask again
    /// if there is none within a second.
    pub fn devices_of(&mut self, user: UserId) {
        self.ask_about_devices(&Devices { user, ..Devices::OWN });
    }

    /// Lets a device in no more, and ends its session if it has one: [`Event::Devices`] tells that it is done, [`Event::DevicesFailed`] why it is
    /// not. What has not come when the connection ends must be asked for again.
    pub fn revoke(&mut self, device: DeviceId) {
        self.ask_about_devices(&Revoke::own(device));
    }

    /// Lets all devices but this one in no more, nor anybody with a token that was issued before. Told like [`Self::revoke`].
    pub fn revoke_others(&mut self) {
        self.ask_about_devices(&Revoke { flags: Revoke::ALL, ..Revoke::own(DeviceId(0)) });
    }

    /// Lets one device of another user of this tenant in no more, or, with `None`, all of them and every token that was issued before; for an
    /// administrator, as [`Self::devices_of`].
    pub fn revoke_of(&mut self, user: UserId, device: Option<DeviceId>) {
        let flags = if device.is_none() { Revoke::ALL } else { 0 };
        self.ask_about_devices(&Revoke { device: device.unwrap_or(DeviceId(0)), user, flags });
    }

    fn ask_about_devices<T: FixedPart>(&mut self, what: &T) {
        if self.is_up() {
            let id = self.request_id();
            self.requests.insert(id, Request::Devices);
            frame::append(&mut self.out, id, what);
        }
    }

    pub(crate) fn want(&mut self, which: (ConversationId, SettingKey), value: u64) {
        self.wanted.insert(which, value);
        self.ask_setting(which, value);
    }

    /// Asks for everything that is wanted and not answered.
    pub(crate) fn ask_settings(&mut self) {
        for (which, value) in self.wanted.clone() {
            self.ask_setting(which, value);
        }
    }

    fn ask_setting(&mut self, (conversation, key): (ConversationId, SettingKey), value: u64) {
        if self.is_up() {
            let id = self.request_id();
            self.requests.insert(id, Request::Setting(conversation, key));
            let known = self.conversations.get(&conversation).filter(|_| key == SettingKey::BLOCKED);
            let peer = known.map_or(UserId::NONE, |known| known.peer);
            frame::append(&mut self.out, id, &Set { conversation, key, value, peer });
        }
    }

    pub(crate) fn on_setting(&mut self, id: u64, setting: &Setting) {
        let Setting { conversation, key, value, peer } = *setting;
        // A later wish of this device is still to come.
        let own = matches!(self.requests.remove(&id), Some(Request::Setting(..)));
        // What only rises may be beyond what was wanted.
        let wanted = self.wanted.get(&(conversation, key)).copied();
        let done = wanted == Some(value) || key == SettingKey::CLEARED && wanted.is_some_and(|wanted| wanted <= value);
        if own && done {
            self.wanted.remove(&(conversation, key));
        }
        match key {
            SettingKey::HIDDEN
            | SettingKey::MUTED
            | SettingKey::ARCHIVED
            | SettingKey::PINNED
            | SettingKey::CLEARED => {
                if let Some(known) = self.conversations.get_mut(&conversation) {
                    match key {
                        SettingKey::HIDDEN => known.hidden = Seq(value),
                        SettingKey::MUTED => known.preferences.muted_until = Timestamp(value),
                        SettingKey::ARCHIVED => known.preferences.archived = value > 0,
                        SettingKey::PINNED => known.preferences.pinned = value,
                        _ => known.clear(Seq(value)),
                    }
                    self.tell_conversation(conversation);
                }
            }
            SettingKey::BLOCKED => {
                let known = self.conversations.entry(conversation);
                let known = known.or_insert_with(|| Conversation::new(conversation, peer));
                known.preferences.blocked = value > 0;
                if value > 0 {
                    self.unfollow(conversation);
                }
                self.tell_conversation(conversation);
            }
            SettingKey::READ_PRIVATE => {
                self.told_receipts(if value == 0 { ReadReceipts::Shown } else { ReadReceipts::Private });
                self.touch_every(); // READs may have waited for it
            }
            SettingKey::VISIBILITY => self.told_visibility(Visibility::from_u64(value).unwrap_or(Visibility::Nobody)),
            _ => {}
        }
    }

    /// The server said what the user's settings are.
    pub(crate) fn told_settings(&mut self, settings: u32) {
        let is_private = settings & Changed::READ_PRIVATE != 0;
        self.told_receipts(if is_private { ReadReceipts::Private } else { ReadReceipts::Shown });
        self.told_visibility(Changed::visibility_in(settings));
    }

    fn told_visibility(&mut self, visibility: Visibility) {
        if std::mem::replace(&mut self.visibility, visibility) != visibility {
            self.events.push_back(Event::Visibility { visibility });
        }
    }

    fn told_receipts(&mut self, receipts: ReadReceipts) {
        if std::mem::replace(&mut self.read_receipts, receipts) != receipts {
            self.events.push_back(Event::ReadReceipts { receipts });
        }
    }

    /// A setting was refused: for good, or to be asked for again.
    pub(crate) fn on_setting_refused(&mut self, which: (ConversationId, SettingKey), code: ErrorCode, again: bool) {
        if !again {
            self.wanted.remove(&which);
            self.events.push_back(Event::SettingFailed { conversation: which.0, code });
        }
    }

    pub(crate) fn on_device_list(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let list: DeviceList = frame.fixed()?;
        let (entries, mut names) = (frame.var(list.entries)?, frame.var(list.names)?);
        let (step, count) = (list.entry_len as usize, list.count as usize);
        if count > 0 && (step < ListedDevice::FIRST_LEN || entries.len() < step * count) {
            return Err(WireError::Body);
        }
        let mut devices = Vec::new();
        for entry in entries.chunks_exact(step.max(1)).take(count) {
            let ListedDevice { device, flags, since, seen, name_len } = archive::read(entry)?;
            let name = names.split_off(..usize::from(name_len)).ok_or(WireError::Body)?;
            let name = String::from_utf8_lossy(name).into_owned();
            let (connected, this) = (flags & ListedDevice::CONNECTED != 0, flags & ListedDevice::THIS != 0);
            devices.push(Device { device, name, connected, this, since, seen });
        }
        if self.requests.remove(&frame.header().request_id).is_some() {
            self.events.push_back(Event::Devices(devices));
        }
        Ok(())
    }
}
