//! Groups: who is in one, who may do what, its title. What a group is is kept under the number of the control that made it.

pub(super) mod create;
pub(super) mod link;
pub(super) mod members;
pub(super) mod settings;

use alloc::vec::Vec;

use rkyv::{Archive, Deserialize, Serialize};
use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ErrorCode, Seq, UserId,
    archive::Archived,
    frames::{GroupAct, GroupSettings, Role, Users, group::control},
    limits::NAMED_MAX,
};

use super::{Act, Changes, Seen};
use crate::{
    conversation::view::View,
    records::{listed_len, put, take},
};

/// What is kept of a group; its title follows.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    settings: GroupSettings,
    /// The message that deleted it; 0: none did.
    deleted: Seq,
    /// Of the body of the control that made it.
    digest: [u8; 16],
    /// Of the secret that lets others join; zeros: there is none.
    link: [u8; 16],
}

impl Archived for Kept {
    const FIRST_LEN: usize = 28;
}
const _: () = assert!(<Kept as Archived>::LEN == 44);

/// No link.
const NO_LINK: [u8; 16] = [0; 16];

/// A group, as it is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'a> {
    kept: Kept,
    /// Its title.
    pub(crate) title: &'a [u8],
}

impl<'a> Group<'a> {
    /// The group that a conversation is; `None` of one that was not made.
    pub(crate) fn of(seen: &Seen<'a>) -> Option<Self> {
        Self::in_view(&seen.view)
    }

    /// The group that a conversation is.
    pub(crate) fn in_view(view: &View<'a>) -> Option<Self> {
        let mut bytes = view.kept(control::CREATE);
        Some(Self { kept: take(&mut bytes).ok()?, title: bytes })
    }

    /// What members may do.
    pub(crate) fn settings(&self) -> GroupSettings {
        self.kept.settings
    }

    /// The message that deleted it; 0: none did.
    pub(crate) fn deleted(&self) -> Seq {
        self.kept.deleted
    }

    /// True if others may join by a link.
    pub(crate) fn has_link(&self) -> bool {
        self.kept.link != NO_LINK
    }

    /// The sender has at least the role that the settings ask for.
    pub(super) fn needs(&self, seen: &Seen<'_>, role: impl Fn(&GroupSettings) -> Role) -> Result<(), ErrorCode> {
        let may = seen.role(seen.sender()) >= role(&self.kept.settings) || canary::is(Canary::RightsUnchecked);
        if may { Ok(()) } else { Err(ErrorCode::NotAllowed) }
    }

    fn keep(&self, changes: &mut Changes) {
        let mut bytes = Vec::with_capacity(listed_len::<Kept>() + self.title.len());
        put(&mut bytes, &self.kept);
        bytes.extend_from_slice(self.title);
        changes.keep_as(control::CREATE, &bytes);
    }
}

/// True of a group that was deleted.
pub(crate) fn is_deleted(view: &View<'_>) -> bool {
    Group::in_view(view).is_some_and(|group| group.deleted() > Seq(0))
}

/// Why somebody who is no member any more is refused.
pub(crate) fn refusal_of_former(view: &View<'_>) -> ErrorCode {
    if is_deleted(view) { ErrorCode::Gone } else { ErrorCode::NotMember }
}

/// The group that an act is in, and what its body says.
fn read<'a>(seen: &Seen<'a>, act: &Act<'a>) -> Result<(Group<'a>, GroupAct<'a>), ErrorCode> {
    let group = Group::of(seen).ok_or(ErrorCode::NotMember)?;
    Ok((group, body(seen, act)?))
}

fn body<'a>(seen: &Seen<'a>, act: &Act<'a>) -> Result<GroupAct<'a>, ErrorCode> {
    if act.target != Seq(0) {
        return Err(ErrorCode::BodyInvalid);
    }
    GroupAct::read(seen.control, act.body).ok().flatten().ok_or(ErrorCode::BodyInvalid)
}

/// Users who may come in: of the sender's tenant, each named once, none a member.
fn check_newcomers(seen: &Seen<'_>, users: Users<'_>) -> Result<(), ErrorCode> {
    if users.is_empty() || users.len() > NAMED_MAX {
        return Err(ErrorCode::BodyInvalid);
    }
    let sender = seen.sender();
    let mut named: Vec<UserId> = users.iter().collect();
    named.sort_unstable();
    if named.iter().any(|user| user.is_none() || user.tenant() != sender.tenant()) {
        return Err(ErrorCode::BadPeer);
    }
    let twice = named.windows(2).any(|two| two[0] == two[1]);
    if twice || named.iter().any(|user| *user == sender || seen.role(*user) != Role::None) {
        return Err(ErrorCode::AlreadyMember);
    }
    Ok(())
}
