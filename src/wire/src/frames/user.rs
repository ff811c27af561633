//! What a user keeps for itself, on all its devices: settings, and which devices there are.

use rkyv::{Archive, Deserialize, Serialize};

use super::fixed_parts;
use crate::{
    frame::Span,
    ids::{ConversationId, DeviceId, Timestamp, UserId},
};

/// Which setting. The list is in `docs/protocol.md`.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SettingKey(pub u16);

impl SettingKey {
    /// Of a conversation: it is hidden up to this message, and shown again when there is a later one. 0: it is shown.
    pub const HIDDEN: Self = Self(1);
    /// Of the user: 1, what it reads is not shown to others, nor what others read to it. 0: it is.
    pub const READ_PRIVATE: Self = Self(2);
    /// Of a conversation: nobody is alerted until this time, in microseconds since 1970; `u64::MAX`: ever; 0: everybody is.
    pub const MUTED: Self = Self(3);
    /// Of a conversation: 1, it is put away; 0: it is not.
    pub const ARCHIVED: Self = Self(4);
    /// Of a conversation: its place among those that are kept at the top; 0: it is not one of them.
    pub const PINNED: Self = Self(5);
    /// Of a conversation: its messages up to this one are not shown any more. Only rises.
    pub const CLEARED: Self = Self(6);
    /// Of the user: who is told whether it is there, a [`Visibility`].
    pub const VISIBILITY: Self = Self(7);
    /// Of a one-to-one conversation, which need not have begun: 1, the other member is blocked; 0: it is not.
    pub const BLOCKED: Self = Self(8);
}

/// Who is told whether a user is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Visibility {
    /// Everybody who asks.
    #[default]
    Everybody = 0,
    /// Those to whom it has written one to one.
    WrittenTo = 1,
    /// Nobody.
    Nobody = 2,
}

impl Visibility {
    /// The one with this number.
    pub fn from_u64(value: u64) -> Option<Self> {
        [Self::Everybody, Self::WrittenTo, Self::Nobody].into_iter().find(|visibility| *visibility as u64 == value)
    }
}

/// Change a setting of this user's. Answered by SETTING once it is durable.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Of which conversation; none: of the user.
    pub conversation: ConversationId,
    /// Which.
    pub key: SettingKey,
    /// To what.
    pub value: u64,
    /// Of [`SettingKey::BLOCKED`]: the other member, if the conversation may not have begun; else none.
    pub peer: UserId,
}

impl Set {
    /// Of anything but [`SettingKey::BLOCKED`].
    pub fn new(conversation: ConversationId, key: SettingKey, value: u64) -> Self {
        Self { conversation, key, value, peer: UserId::NONE }
    }
}

/// A setting of this user's was changed, on this device or another.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Of which conversation; none: of the user.
    pub conversation: ConversationId,
    /// Which.
    pub key: SettingKey,
    /// To what.
    pub value: u64,
    /// Of [`SettingKey::BLOCKED`]: the other member; else none.
    pub peer: UserId,
}

impl Setting {
    /// Of anything but [`SettingKey::BLOCKED`].
    pub fn new(conversation: ConversationId, key: SettingKey, value: u64) -> Self {
        Self { conversation, key, value, peer: UserId::NONE }
    }
}

/// Which devices has a user?
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Devices {
    /// 0.
    pub reserved: u32,
    /// Which user, for an administrator; none: this one.
    pub user: UserId,
}

impl Devices {
    /// Of the user who asks.
    pub const OWN: Self = Self { reserved: 0, user: UserId::NONE };
}

/// Lets devices in no more. Answered by DEVICE_LIST once it is durable.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoke {
    /// Which; 0 with [`Revoke::ALL`].
    pub device: DeviceId,
    /// Whose, for an administrator; none: this user's.
    pub user: UserId,
    /// See [`Revoke::ALL`].
    pub flags: u32,
}

impl Revoke {
    /// All of the user's devices but the one that asks, and with them every token that was issued before.
    pub const ALL: u32 = 1;

    /// One of the own user's.
    pub fn own(device: DeviceId) -> Self {
        Self { device, user: UserId::NONE, flags: 0 }
    }
}

/// The devices of this user.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceList {
    /// How many follow.
    pub count: u32,
    /// Bytes of one: at least those of [`ListedDevice`]; readers step by this.
    pub entry_len: u32,
    /// They, one behind the other.
    pub entries: Span,
    /// Their names, one behind the other without anything between them.
    pub names: Span,
}

/// One device in DEVICE_LIST.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedDevice {
    /// Which.
    pub device: DeviceId,
    /// See [`ListedDevice::CONNECTED`] and [`ListedDevice::THIS`].
    pub flags: u8,
    /// When it came first; 0: a guest.
    pub since: Timestamp,
    /// When it connected last, as far as the server remembers.
    pub seen: Timestamp,
    /// Bytes of its name.
    pub name_len: u8,
}

impl ListedDevice {
    /// It is connected.
    pub const CONNECTED: u8 = 1;
    /// It is the one that asks.
    pub const THIS: u8 = 2;
}

impl crate::archive::Archived for ListedDevice {
    const FIRST_LEN: usize = 22;
}
const _: () = assert!(<ListedDevice as crate::archive::Archived>::LEN == 22);

fixed_parts! {
    Set: Set, first 26, now 42;
    Setting: Setting, first 26, now 42;
    Devices: Devices, first 4, now 20;
    Revoke: Revoke, first 4, now 24;
    DeviceList: DeviceList, first 24, now 24;
}
