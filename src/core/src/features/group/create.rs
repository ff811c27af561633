//! CREATE: the first message of a group, which makes it.

use tidings_wire::{
    ConversationId, ErrorCode, Seq,
    frames::{GroupAct, Role, group::digest_of_create},
    limits::GROUP_MAX,
};

use super::{
    super::{Act, Allowed, Changes, Feature, Seen, Situation},
    Group, Kept, NO_LINK, body, check_newcomers,
};
use crate::conversation::membership::Membership;

/// The feature.
#[derive(Debug)]
pub(in crate::features) struct Create;

impl Feature for Create {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, _: &Situation) -> Result<Allowed, ErrorCode> {
        let GroupAct::Create { nonce, settings, members, .. } = body(seen, act)? else {
            return Err(ErrorCode::BodyInvalid);
        };
        // Only who knows the nonce and is the creator can name the group by it.
        if ConversationId::group(seen.sender(), &nonce) != seen.conversation() {
            return Err(ErrorCode::NotMember);
        }
        if let Some(group) = Group::of(seen) {
            return match () {
                () if group.kept.digest != digest_of_create(act.body) => Err(ErrorCode::NonceConflict),
                () if group.deleted() > Seq(0) => Err(ErrorCode::Gone),
                () => Ok(Allowed::Done(Seq(1))),
            };
        }
        if !settings.is_valid() {
            return Err(ErrorCode::BodyInvalid);
        }
        if members.len() + 1 > GROUP_MAX {
            return Err(ErrorCode::GroupFull);
        }
        check_newcomers(seen, members)?;
        Ok(Allowed::New)
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        let Ok(GroupAct::Create { settings, title, members, .. }) = body(seen, act) else { return };
        let kept = Kept { settings, deleted: Seq(0), digest: digest_of_create(act.body), link: NO_LINK };
        Group { kept, title }.keep(changes);
        let joined = |role| Membership::default().joined(act.seq, role, act.seq);
        changes.member(seen.sender(), joined(Role::Owner));
        members.iter().for_each(|user| changes.member(user, joined(Role::Member)));
    }
}
