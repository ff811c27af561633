//! EDIT, ERASE, REACT: what is said about an earlier message. The server knows who may, and holds back what was withdrawn; what people write is in the
//! payload and stays opaque.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{ErrorCode, frames::Role, limits::REACTION_MAX};

use super::{Act, Allowed, Changes, Feature, Nature, Seen, Situation, Target, streamed, text};

/// Replaces what the target says.
#[derive(Debug)]
pub(super) struct Edit;

/// Withdraws the target.
#[derive(Debug)]
pub(super) struct Erase;

/// What the sender thinks of the target.
#[derive(Debug)]
pub(super) struct React;

/// The target, if it is stored, the sender can read it, and it is neither withdrawn nor gone.
fn check_target(seen: &Seen<'_>, act: &Act<'_>, situation: &Situation) -> Result<Target, ErrorCode> {
    let target = situation.target.filter(|_| seen.reads(act.target)).ok_or(ErrorCode::TargetInvalid)?;
    match seen.erasure(act.target) {
        // It may yet be undone.
        Some(by) if !seen.is_committed(by) => Err(ErrorCode::Busy),
        Some(_) => Err(ErrorCode::TargetErased),
        None if situation.is_gone(&target) => Err(ErrorCode::TargetErased),
        None if target.nature == Nature::Act => Err(ErrorCode::TargetInvalid),
        None => Ok(target),
    }
}

impl Feature for Edit {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, situation: &Situation) -> Result<Allowed, ErrorCode> {
        text::check_clear(act)?;
        let target = check_target(seen, act, situation)?;
        // What is still being written says more by itself.
        if target.nature != Nature::Content || seen.grows(act.target) {
            return Err(ErrorCode::TargetInvalid);
        }
        if target.author != seen.sender() && !canary::is(Canary::EditByStranger) {
            return Err(ErrorCode::NotAllowed);
        }
        text::may_write(seen)?;
        if situation.is_older(&target, situation.windows.edit_s) { Err(ErrorCode::TooLate) } else { Ok(Allowed::New) }
    }

    fn apply(&self, _: &Seen<'_>, _: &Act<'_>, _: &mut Changes) {}
}

impl Feature for Erase {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, situation: &Situation) -> Result<Allowed, ErrorCode> {
        if !act.body.is_empty() || situation.payload_len > 0 {
            return Err(ErrorCode::BodyInvalid);
        }
        if let Some(erasure) = seen.erasure(act.target).filter(|_| seen.reads(act.target)) {
            return Ok(Allowed::Done(erasure));
        }
        let target = check_target(seen, act, situation)?;
        // Admins keep a group clean: of what they write, and those below them, however old it is.
        let role = seen.role(seen.sender());
        let moderates = seen.conversation().is_group() && role >= Role::Admin;
        if target.author != seen.sender() {
            let may = moderates && role > seen.role(target.author);
            return if may { Ok(Allowed::New) } else { Err(ErrorCode::NotAllowed) };
        }
        let late = !moderates && situation.is_older(&target, situation.windows.erase_s);
        if late { Err(ErrorCode::TooLate) } else { Ok(Allowed::New) }
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        changes.erase(act.target);
        streamed::withdraw(seen, act.target, changes);
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
        let target = check_target(seen, act, situation)?;
        if target.nature != Nature::Content {
            return Err(ErrorCode::TargetInvalid);
        }
        // There everybody's reactions would be copied to everybody, and take from what those may write who may.
        if seen.is_large() {
            text::may_write(seen)?;
        }
        Ok(Allowed::New)
    }

    fn apply(&self, _: &Seen<'_>, _: &Act<'_>, _: &mut Changes) {}
}
