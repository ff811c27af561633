//! Groups: the bodies of the controls that make and change them, and DESCRIBE, which asks what a conversation is and who is in it.

use alloc::vec::Vec;

use rkyv::{Archive, Deserialize, Serialize};

use super::fixed_parts;
use crate::{
    archive::{self, Archived},
    error::WireError,
    frame::Span,
    ids::{ConversationId, Seq, UserId},
    limits::TITLE_MAX,
};

/// What a member may do. A higher one may do what a lower one may.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// Not a member, or not any more.
    #[default]
    None = 0,
    /// Whatever the settings let all members do.
    Member = 1,
    /// Adds and removes members.
    Admin = 2,
    /// Says who is an admin, and deletes the group. There is one.
    Owner = 3,
}

/// Where the history of a new member begins.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum HistoryFrom {
    /// With the first message.
    #[default]
    Beginning = 0,
    /// With the one that added it.
    Joining = 1,
}

/// What a group's members may do: the least role for each, never [`Role::None`].
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Write.
    pub write: Role,
    /// Add members.
    pub add: Role,
    /// Change title and settings.
    pub edit: Role,
    /// Where the history of a new member begins.
    pub history: HistoryFrom,
}

impl Default for GroupSettings {
    /// All write, admins do the rest, new members see everything.
    fn default() -> Self {
        Self { write: Role::Member, add: Role::Admin, edit: Role::Admin, history: HistoryFrom::Beginning }
    }
}

impl GroupSettings {
    /// True if somebody may do each.
    pub fn is_valid(&self) -> bool {
        ![self.write, self.add, self.edit].contains(&Role::None)
    }
}

/// CREATE's body: the title follows, then the members' ids. The sender is the owner and is not among them.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreateBody {
    /// Names the group among those of its creator: see [`ConversationId::group`].
    pub nonce: [u8; 16],
    /// What members may do.
    pub settings: GroupSettings,
    /// Bytes of the title.
    pub title: u16,
    /// How many ids follow.
    pub members: u16,
}

/// The body of ADD and of REMOVE: so many ids follow.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembersBody {
    /// How many.
    pub members: u16,
}

/// The body of ROLE.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleBody {
    /// Whose.
    pub member: UserId,
    /// What it is from now on. With [`Role::Owner`] the sender, who was it, becomes an admin.
    pub role: Role,
}

/// The body of LINK.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkBody {
    /// [`digest_of_link`] of the secret that whoever joins must know from now on; zeros: there is no link.
    pub digest: [u8; 16],
}

/// The body of SETTINGS: the title follows. Both replace what was there.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingsBody {
    /// What members may do.
    pub settings: GroupSettings,
    /// Bytes of the title.
    pub title: u16,
}

macro_rules! bodies {
    ($($name:ident: $len:literal;)*) => {$(
        impl Archived for $name {
            const FIRST_LEN: usize = $len;
        }
        const _: () = assert!(<$name as Archived>::LEN == $len);
    )*};
}

bodies! {
    CreateBody: 24;
    MembersBody: 2;
    RoleBody: 17;
    LinkBody: 16;
    SettingsBody: 6;
}

/// What a group's control asks for, in place. [`GroupAct::read`] and [`GroupAct::write`] are each other's inverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupAct<'a> {
    /// Makes the group.
    Create {
        /// Names it among those of its creator.
        nonce: [u8; 16],
        /// What members may do.
        settings: GroupSettings,
        /// The title.
        title: &'a [u8],
        /// Whom it has besides its creator.
        members: Users<'a>,
    },
    /// Adds members.
    Add(Users<'a>),
    /// Removes members.
    Remove(Users<'a>),
    /// The sender leaves.
    Leave,
    /// Changes what a member may do.
    Role(RoleBody),
    /// Changes title and settings.
    Settings {
        /// What members may do.
        settings: GroupSettings,
        /// The title.
        title: &'a [u8],
    },
    /// Deletes the group: nobody is a member any more.
    Delete,
    /// Makes, renews or ends the link by which others join.
    Link(LinkBody),
    /// The sender, who is no member, joins. The secret is the link's; it is not in the message that others get.
    Join {
        /// What the link says; `None` in a message.
        secret: Option<[u8; 16]>,
    },
}

/// Ids one behind the other, in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Users<'a>(&'a [[u8; 16]]);

impl<'a> Users<'a> {
    /// Those in `bytes`.
    ///
    /// # Errors
    /// [`WireError::Body`] if that is no whole number of ids.
    pub fn read(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (ids, rest) = bytes.as_chunks();
        if rest.is_empty() { Ok(Self(ids)) } else { Err(WireError::Body) }
    }

    /// These.
    pub fn new(ids: &'a [[u8; 16]]) -> Self {
        Self(ids)
    }

    /// All of them.
    pub fn iter(self) -> impl ExactSizeIterator<Item = UserId> + Clone + 'a {
        self.0.iter().map(|id| UserId(*id))
    }

    /// Their bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0.as_flattened()
    }

    /// How many.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

fn take<T: Archived>(body: &mut &[u8]) -> Result<T, WireError> {
    archive::read(body.split_off(..T::LEN).ok_or(WireError::Body)?)
}

fn put<T: Archived>(body: &mut Vec<u8>, value: &T) {
    let start = body.len();
    body.resize(start + T::LEN, 0);
    archive::write(value, &mut body[start..]);
}

fn users<'a>(body: &mut &'a [u8], count: u16) -> Result<Users<'a>, WireError> {
    Users::read(body.split_off(..usize::from(count) * 16).ok_or(WireError::Body)?)
}

fn title<'a>(body: &mut &'a [u8], len: u16) -> Result<&'a [u8], WireError> {
    let fits = usize::from(len) <= TITLE_MAX;
    fits.then(|| body.split_off(..usize::from(len))).flatten().ok_or(WireError::Body)
}

/// Numbers of the controls of groups.
pub mod control {
    use crate::frames::Control;

    /// Makes the group.
    pub const CREATE: Control = Control(1);
    /// Adds members.
    pub const ADD: Control = Control(2);
    /// Removes members.
    pub const REMOVE: Control = Control(3);
    /// The sender leaves.
    pub const LEAVE: Control = Control(4);
    /// Changes what a member may do.
    pub const ROLE: Control = Control(5);
    /// Changes title and settings.
    pub const SETTINGS: Control = Control(6);
    /// Deletes the group.
    pub const DELETE: Control = Control(7);
    /// Makes, renews or ends the link by which others join.
    pub const LINK: Control = Control(8);
    /// The sender joins by the link.
    pub const JOIN: Control = Control(9);
}

impl<'a> GroupAct<'a> {
    /// What the body of a control says; `None` if the control is not one of groups.
    ///
    /// # Errors
    /// [`WireError::Body`] if the body is not what the control says, to the last byte.
    pub fn read(of: super::Control, mut body: &'a [u8]) -> Result<Option<Self>, WireError> {
        let rest = &mut body;
        let act = match of {
            control::CREATE => {
                let CreateBody { nonce, settings, title: len, members } = take(rest)?;
                Self::Create { nonce, settings, title: title(rest, len)?, members: users(rest, members)? }
            }
            control::ADD | control::REMOVE => {
                let MembersBody { members } = take(rest)?;
                let users = users(rest, members)?;
                if of == control::ADD { Self::Add(users) } else { Self::Remove(users) }
            }
            control::LEAVE => Self::Leave,
            control::ROLE => Self::Role(take(rest)?),
            control::SETTINGS => {
                let SettingsBody { settings, title: len } = take(rest)?;
                Self::Settings { settings, title: title(rest, len)? }
            }
            control::DELETE => Self::Delete,
            control::LINK => Self::Link(take(rest)?),
            control::JOIN if rest.is_empty() => Self::Join { secret: None },
            control::JOIN => {
                let secret = rest.split_off(..16).ok_or(WireError::Body)?;
                Self::Join { secret: secret.try_into().ok() }
            }
            _ => return Ok(None),
        };
        if body.is_empty() { Ok(Some(act)) } else { Err(WireError::Body) }
    }

    /// The control, and its body at the end of `body`.
    ///
    /// # Panics
    /// If there are more than 65,535 members or bytes of a title.
    pub fn write(&self, body: &mut Vec<u8>) -> super::Control {
        let count = |len: usize| u16::try_from(len).expect("limits are below 2^16");
        match *self {
            Self::Create { nonce, settings, title, members } => {
                put(body, &CreateBody { nonce, settings, title: count(title.len()), members: count(members.len()) });
                body.extend_from_slice(title);
                body.extend_from_slice(members.0.as_flattened());
                control::CREATE
            }
            Self::Add(users) | Self::Remove(users) => {
                put(body, &MembersBody { members: count(users.len()) });
                body.extend_from_slice(users.0.as_flattened());
                if matches!(self, Self::Add(_)) { control::ADD } else { control::REMOVE }
            }
            Self::Leave => control::LEAVE,
            Self::Role(role) => {
                put(body, &role);
                control::ROLE
            }
            Self::Settings { settings, title } => {
                put(body, &SettingsBody { settings, title: count(title.len()) });
                body.extend_from_slice(title);
                control::SETTINGS
            }
            Self::Delete => control::DELETE,
            Self::Link(link) => {
                put(body, &link);
                control::LINK
            }
            Self::Join { secret } => {
                body.extend(secret.into_iter().flatten());
                control::JOIN
            }
        }
    }
}

/// BLAKE3 `derive_key` context of [`digest_of_create`].
const CREATE_CONTEXT: &str = "tidings v1 group create";

/// Tells whether two CREATEs ask for the same: the first 16 bytes of BLAKE3 (`derive_key`) over the body.
pub fn digest_of_create(body: &[u8]) -> [u8; 16] {
    crate::ids::first_16(CREATE_CONTEXT, &[body])
}

/// BLAKE3 `derive_key` context of [`digest_of_link`].
const LINK_CONTEXT: &str = "tidings v1 group link";

/// What LINK says of a secret: the first 16 bytes of BLAKE3 (`derive_key`) over the group's id and the secret. Members see it, and cannot
/// tell the secret from it.
pub fn digest_of_link(group: ConversationId, secret: &[u8; 16]) -> [u8; 16] {
    crate::ids::first_16(LINK_CONTEXT, &[&group.0, secret])
}

/// What is this conversation, and who is in it?
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Describe {
    /// Which.
    pub conversation: ConversationId,
    /// The first member wanted, counted from 0: to go on after a page.
    pub from: u32,
    /// Most members; 0: the server's limit.
    pub limit: u32,
    /// Of which message is it to be counted how many have read it? 0: of none.
    pub counted: Seq,
}

/// What a conversation is.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Which.
    pub conversation: ConversationId,
    /// Its last message.
    pub head: Seq,
    /// Its settings.
    pub settings: GroupSettings,
    /// Not 0: the message that deleted it.
    pub deleted: Seq,
    /// Members, those that are not any more among them.
    pub members: u32,
    /// The first that follows.
    pub from: u32,
    /// How many follow.
    pub count: u32,
    /// Bytes of one: at least those of [`DescribedMember`]; readers step by this.
    pub entry_len: u32,
    /// The title.
    pub title: Span,
    /// The members, one behind the other.
    pub entries: Span,
    /// Others may join by a link.
    pub has_link: bool,
    /// The group is large.
    pub is_large: bool,
    /// Who are members now.
    pub current: u32,
    /// How many have read the message that was asked about, as far as they let others know; [`Described::NOT_COUNTED`] if that is not counted.
    pub readers: u32,
    /// Seconds after which messages disappear that are written now; 0: never.
    pub timer: u32,
}

impl Described {
    /// The message is not among the newest [`COUNTED_MAX`](crate::limits::COUNTED_MAX), or none was asked about.
    pub const NOT_COUNTED: u32 = u32::MAX;
}

/// One member in DESCRIBED.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Who.
    pub user: UserId,
    /// What it may do.
    pub role: Role,
    /// The message that added it last.
    pub joined: Seq,
    /// The message that removed it; 0: it is a member.
    pub left: Seq,
    /// Some device of the member has everything up to here.
    pub delivered: Seq,
    /// The member has read up to here.
    pub read: Seq,
}

impl Archived for DescribedMember {
    const FIRST_LEN: usize = 49;
}
const _: () = assert!(<DescribedMember as Archived>::LEN == 49);

fixed_parts! {
    Describe: Describe, first 24, now 32;
    Described: Described, first 68, now 82;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_reads_as_it_was_written_and_neither_shorter_nor_longer() {
        let ids = [[1; 16], [2; 16]];
        let (settings, users) = (GroupSettings::default(), Users(&ids));
        let acts = [
            GroupAct::Create { nonce: [7; 16], settings, title: b"friends", members: users },
            GroupAct::Add(users),
            GroupAct::Remove(users),
            GroupAct::Leave,
            GroupAct::Role(RoleBody { member: UserId([3; 16]), role: Role::Admin }),
            GroupAct::Settings { settings, title: b"" },
            GroupAct::Delete,
        ];
        for act in acts {
            let mut body = Vec::new();
            let control = act.write(&mut body);
            assert_eq!(GroupAct::read(control, &body), Ok(Some(act)));
            if !body.is_empty() {
                assert_eq!(GroupAct::read(control, &body[..body.len() - 1]), Err(WireError::Body));
            }
            body.push(0);
            assert_eq!(GroupAct::read(control, &body), Err(WireError::Body));
        }
        assert_eq!(GroupAct::read(super::super::Control(999), b""), Ok(None));
        let mut body = Vec::new();
        let long = GroupAct::Settings { settings, title: &[b'x'; TITLE_MAX + 1] }.write(&mut body);
        assert_eq!(GroupAct::read(long, &body), Err(WireError::Body));
    }
}
