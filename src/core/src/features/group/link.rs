//! LINK and JOIN: a group that others join by themselves, if they know its secret. The server keeps a digest of that, and whoever makes the link
//! has the secret: a lost one is renewed, and the one before ends.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ErrorCode, Seq,
    frames::{GroupAct, LinkBody, Role, group::digest_of_link},
};

use super::{
    super::{Act, Allowed, Changes, Feature, Seen, Situation},
    Group, Kept,
    members::{check_room, take_in},
    read,
};

/// Makes, renews or ends the link.
#[derive(Debug)]
pub(in crate::features) struct ChangeLink;

/// The sender joins.
#[derive(Debug)]
pub(in crate::features) struct Join;

impl Feature for ChangeLink {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, _: &Situation) -> Result<Allowed, ErrorCode> {
        let (group, GroupAct::Link(_)) = read(seen, act)? else { return Err(ErrorCode::BodyInvalid) };
        // A link lets in whomever it is given to.
        group.needs(seen, |settings| settings.add.max(Role::Admin))?;
        Ok(Allowed::New)
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        let Ok((group, GroupAct::Link(LinkBody { digest }))) = read(seen, act) else { return };
        Group { kept: Kept { link: digest, ..group.kept }, ..group }.keep(changes);
    }
}

impl Feature for Join {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, _: &Situation) -> Result<Allowed, ErrorCode> {
        // Who does not know the secret learns nothing, not even that there is a group.
        let (group, GroupAct::Join { secret: Some(secret) }) = read(seen, act)? else {
            return Err(ErrorCode::BodyInvalid);
        };
        let knows = group.has_link() && digest_of_link(seen.conversation(), &secret) == group.kept.link;
        if !(knows || canary::is(Canary::LinkUnchecked)) || seen.view.user(0).tenant() != seen.sender().tenant() {
            return Err(ErrorCode::NotMember);
        }
        if group.deleted() > Seq(0) {
            return Err(ErrorCode::Gone);
        }
        if seen.role(seen.sender()) != Role::None {
            return Err(ErrorCode::AlreadyMember);
        }
        // The last one took the ownership along.
        if seen.members() == 0 {
            return Err(ErrorCode::NotMember);
        }
        check_room(seen, 1, usize::from(seen.view.member(seen.sender()).is_none()))?;
        Ok(Allowed::New)
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        let Ok((group, GroupAct::Join { .. })) = read(seen, act) else { return };
        take_in(seen, act, &group, seen.sender(), changes);
    }

    /// Members are not told the secret.
    fn told<'a>(&self, _: &'a [u8]) -> &'a [u8] {
        &[]
    }
}
