//! EDIT, ERASE, REACT: what is said about an earlier message. The server knows that it was said and by whom, and holds back what was withdrawn; what
//! people write is in the payload and stays opaque.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{ErrorCode, Seq, frames::Role, limits::REACTION_MAX};

use super::{Act, Allowed, Changes, Feature, Seen, Situation, Target, Weight, text};
use crate::conversation::marks::Mark;

/// Replaces what the target says.
#[derive(Debug)]
pub(super) struct Edit;

/// Withdraws the target.
#[derive(Debug)]
pub(super) struct Erase;

/// What the sender thinks of the target.
#[derive(Debug)]
pub(super) struct React;

/// The target has content, and can be had.
fn with_content(situation: &Situation) -> Result<Target, ErrorCode> {
    situation.target.filter(|target| target.weight == Weight::Content).ok_or(ErrorCode::TargetInvalid)
}

/// The sender can read the target, and it was not withdrawn.
fn check_target(seen: &Seen<'_>, act: &Act<'_>) -> Result<(), ErrorCode> {
    match seen.erasure(act.target) {
        _ if !seen.reads(act.target) => Err(ErrorCode::TargetInvalid),
        Some(_) => Err(ErrorCode::TargetErased),
        None => Ok(()),
    }
}

impl Feature for Edit {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, situation: &Situation) -> Result<Allowed, ErrorCode> {
        text::check_clear(act)?;
        check_target(seen, act)?;
        let target = with_content(situation)?;
        if target.author != seen.sender() && !canary::is(Canary::EditByStranger) {
            return Err(ErrorCode::NotAllowed);
        }
        text::may_write(seen)?;
        if situation.is_older(&target, situation.windows.edit_s) { Err(ErrorCode::TooLate) } else { Ok(Allowed::New) }
    }

    fn apply(&self, _: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        changes.mark(Mark::edited(act.target));
    }
}

impl Feature for Erase {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, situation: &Situation) -> Result<Allowed, ErrorCode> {
        if !act.body.is_empty() || situation.payload_len > 0 {
            return Err(ErrorCode::BodyInvalid);
        }
        if !seen.reads(act.target) {
            return Err(ErrorCode::TargetInvalid);
        }
        if let Some(erasure) = seen.erasure(act.target) {
            return Ok(Allowed::Done(erasure));
        }
        let target = with_content(situation)?;
        if target.author != seen.sender() {
            // Admins keep a group clean: of those below them, however old it is.
            let role = seen.role(seen.sender());
            let above = role >= Role::Admin && role > seen.role(target.author);
            return if above { Ok(Allowed::New) } else { Err(ErrorCode::NotAllowed) };
        }
        if situation.is_older(&target, situation.windows.erase_s) { Err(ErrorCode::TooLate) } else { Ok(Allowed::New) }
    }

    fn apply(&self, _: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        changes.mark(Mark::erased(act.target));
    }
}

impl Feature for React {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, situation: &Situation) -> Result<Allowed, ErrorCode> {
        if !act.body.is_empty() {
            return Err(ErrorCode::BodyInvalid);
        }
        if situation.payload_len > REACTION_MAX {
            return Err(ErrorCode::PayloadTooLarge);
        }
        check_target(seen, act)?;
        // Of what is not stored any more it is not known for ever that it was withdrawn.
        situation.target.map(|_| Allowed::New).ok_or(ErrorCode::TargetInvalid)
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        changes.mark(Mark::reaction(act.target, seen.sender()));
    }
}

/// The number of a message that is there at all.
pub(super) fn is_number(seen: &Seen<'_>, target: Seq) -> bool {
    target > Seq(0) && target <= seen.head()
}
