//! Text: a message that only says something. Both may in a one-to-one conversation; in a group its settings say who.

use tidings_wire::{ErrorCode, Seq};

use super::{Act, Allowed, Changes, Feature, Group, Seen};

/// The feature.
#[derive(Debug)]
pub(super) struct Text;

impl Feature for Text {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>) -> Result<Allowed, ErrorCode> {
        if !act.body.is_empty() || act.target != Seq(0) {
            return Err(ErrorCode::BodyInvalid);
        }
        if seen.conversation().is_group() {
            Group::of(seen).ok_or(ErrorCode::NotMember)?.needs(seen, |settings| settings.write)?;
        }
        Ok(Allowed::New)
    }

    fn apply(&self, _: &Seen<'_>, _: &Act<'_>, _: &mut Changes) {}
}
