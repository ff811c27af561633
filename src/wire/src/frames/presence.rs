//! TYPING, WATCH, PRESENCE and ACTIVITY: what people do right now. All but the last may be lost, and is not kept anywhere.

use rkyv::{Archive, Deserialize, Serialize};

use super::fixed_parts;
use crate::{
    frame::Span,
    ids::{ConversationId, Timestamp, UserId},
};

/// What a user is doing in a conversation. Numbers that are not listed are carried.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doing(pub u8);

impl Doing {
    /// Nothing any more.
    pub const NOTHING: Self = Self(0);
    /// It is typing.
    pub const TYPING: Self = Self(1);
    /// It is recording something.
    pub const RECORDING: Self = Self(2);
}

/// What somebody is doing in a conversation: from a client, what its user is; from the server, what another member is.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Typing {
    /// Where.
    pub conversation: ConversationId,
    /// Who; none from a client.
    pub user: UserId,
    /// What.
    pub doing: Doing,
}

/// Who is there? Answered by a PRESENCE each, now and whenever that changes, for [`Watch::LEASE_S`].
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// All other members of this group; none: only those who are named.
    pub conversation: ConversationId,
    /// Ids of users, one behind the other: at most [`Watch::USERS_MAX`].
    pub users: Span,
}

impl Watch {
    /// Seconds until it must be renewed.
    pub const LEASE_S: u32 = 120;
    /// When a client renews it, in seconds.
    pub const RENEW_S: u32 = 60;
    /// Users named in one.
    pub const USERS_MAX: usize = 256;
}

/// Whether a user is there.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PresenceState {
    /// It is not.
    Offline = 0,
    /// It is active on some device.
    Online = 1,
    /// It does not let this user know.
    Hidden = 2,
}

/// Whether a user is there, for somebody who watches it.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Who.
    pub user: UserId,
    /// Whether.
    pub state: PresenceState,
    /// When it was there last, if it is not, to the second; 0: not known.
    pub last_seen: Timestamp,
}

/// Whether somebody looks at a device.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Activity {
    /// Nobody does: it is pushed the first new message of each conversation, and told the rest once it is active.
    Inactive = 0,
    /// Somebody does; so it begins.
    #[default]
    Active = 1,
}

/// The client's device is looked at from now on, or is not any more. Not answered.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetActivity {
    /// Which.
    pub activity: Activity,
}

fixed_parts! {
    Typing: Typing, first 33, now 33;
    Watch: Watch, first 24, now 24;
    Presence: Presence, first 25, now 25;
    SetActivity: Activity, first 1, now 1;
}
