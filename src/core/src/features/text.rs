//! Text: a message that only says something. Both may in a one-to-one conversation; in a group its settings say who. Its target is the message that it
//! answers, if it answers one; its body is what others on the way may read of it.

use tidings_wire::{ErrorCode, Seq, frames::Clear};

use super::{Act, Allowed, Changes, Feature, Group, Seen, Situation, about};

/// The feature.
#[derive(Debug)]
pub(super) struct Text;

/// The sender may write.
pub(super) fn may_write(seen: &Seen<'_>) -> Result<(), ErrorCode> {
    if seen.conversation().is_group() {
        Group::of(seen).ok_or(ErrorCode::NotMember)?.needs(seen, |settings| settings.write)?;
    }
    Ok(())
}

impl Feature for Text {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, _: &Situation) -> Result<Allowed, ErrorCode> {
        Clear::read(act.body).map_err(|_| ErrorCode::BodyInvalid)?;
        if act.target > Seq(0) && !about::is_number(seen, act.target) {
            return Err(ErrorCode::TargetInvalid);
        }
        may_write(seen)?;
        Ok(Allowed::New)
    }

    fn apply(&self, _: &Seen<'_>, _: &Act<'_>, _: &mut Changes) {}
}
