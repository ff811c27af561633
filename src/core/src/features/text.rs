//! Text: a message that only says something. Both may in a one-to-one conversation; in a group its settings say who. Its target is the message that it
//! answers, if it answers one; its body is what others on the way may read of it.

use tidings_wire::{ErrorCode, Seq, frames::Clear};

use super::{Act, Allowed, Changes, Feature, Group, Seen, Situation};

/// The feature.
#[derive(Debug)]
pub(super) struct Text;

/// The body is the clear part of a text. Most have none.
pub(super) fn check_clear(act: &Act<'_>) -> Result<(), ErrorCode> {
    let is_clear = act.body.is_empty() || Clear::read(act.body).is_ok();
    if is_clear { Ok(()) } else { Err(ErrorCode::BodyInvalid) }
}

/// The sender may say something with this clear part and this target.
#[inline]
pub(super) fn check(seen: &Seen<'_>, act: &Act<'_>) -> Result<(), ErrorCode> {
    check_clear(act)?;
    // Most answer none: what the head is need not be looked up.
    if act.target > Seq(0) && act.target > seen.head() {
        return Err(ErrorCode::TargetInvalid);
    }
    may_write(seen)
}

/// The sender may write.
pub(crate) fn may_write(seen: &Seen<'_>) -> Result<(), ErrorCode> {
    if seen.conversation().is_group() {
        Group::of(seen).ok_or(ErrorCode::NotMember)?.needs(seen, |settings| settings.write)?;
    }
    Ok(())
}

impl Feature for Text {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, _: &Situation) -> Result<Allowed, ErrorCode> {
        check(seen, act)?;
        Ok(Allowed::New)
    }

    fn apply(&self, _: &Seen<'_>, _: &Act<'_>, _: &mut Changes) {}
}
