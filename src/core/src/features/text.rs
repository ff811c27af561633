//! Text: a message that only says something. Everybody may, whose conversation it is.

use tidings_wire::{ErrorCode, Seq};

use super::{Act, Feature, Kept, Seen};

/// The feature.
#[derive(Debug)]
pub(super) struct Text;

impl Feature for Text {
    fn judge(&self, _: &Seen<'_>, act: &Act<'_>) -> Result<(), ErrorCode> {
        if act.body.is_empty() && act.target == Seq(0) { Ok(()) } else { Err(ErrorCode::BodyInvalid) }
    }

    fn apply(&self, _: &mut Kept<'_>, _: Seq, _: &Act<'_>) {}
}
