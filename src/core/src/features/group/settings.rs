//! SETTINGS and DELETE: what is said of a group as a whole.

use tidings_wire::{
    ErrorCode,
    frames::{GroupAct, Role},
};

use super::{
    super::{Act, Allowed, Changes, Feature, Seen, Situation},
    Group, Kept, read,
};

/// Changes title and settings.
#[derive(Debug)]
pub(in crate::features) struct ChangeSettings;

/// Deletes the group: nobody is a member any more, and everybody keeps what there was.
#[derive(Debug)]
pub(in crate::features) struct Delete;

impl Feature for ChangeSettings {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, _: &Situation) -> Result<Allowed, ErrorCode> {
        let (group, GroupAct::Settings { settings, .. }) = read(seen, act)? else {
            return Err(ErrorCode::BodyInvalid);
        };
        group.needs(seen, |settings| settings.edit)?;
        if settings.is_valid() { Ok(Allowed::New) } else { Err(ErrorCode::BodyInvalid) }
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        let Ok((group, GroupAct::Settings { settings, title })) = read(seen, act) else { return };
        Group { kept: Kept { settings, ..group.kept }, title }.keep(changes);
    }
}

impl Feature for Delete {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, _: &Situation) -> Result<Allowed, ErrorCode> {
        let (group, _) = read(seen, act)?;
        group.needs(seen, |_| Role::Owner)?;
        Ok(Allowed::New)
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        let Ok((group, _)) = read(seen, act) else { return };
        Group { kept: Kept { deleted: act.seq, ..group.kept }, ..group }.keep(changes);
        super::super::streamed::delete(seen, changes);
        // Of a large one each stays what it was: nothing can be done there any more.
        if seen.is_large() {
            return;
        }
        for member in 0..seen.view.members() {
            let user = seen.view.user(member);
            if let Some(membership) = seen.view.membership(user).filter(|membership| membership.is_current()) {
                changes.member(user, membership.left(act.seq, act.ordinal));
            }
        }
    }
}
