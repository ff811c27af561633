//! OPEN and END: a message that grows while it is written. Between the two its leader has what it says in memory (`engine/streamed.rs`); what is kept here is only
//! that it has not ended, and whose it is.

use alloc::vec::Vec;

use tidings_wire::{
    ErrorCode, Seq, UserId,
    frames::streamed::control,
    limits::{STREAMS_MAX, STREAMS_OF_MEMBER},
};

use super::{Act, Allowed, Changes, Feature, Seen, Situation, text};
use crate::conversation::view::View;

/// Begins one.
#[derive(Debug)]
pub(super) struct Open;

/// Ends one.
#[derive(Debug)]
pub(super) struct End;

/// A number, a user id, and whether it is withheld.
const KEPT_LEN: usize = 8 + size_of::<UserId>() + 1;

const _: () = assert!(STREAMS_MAX * KEPT_LEN <= super::KEPT_MAX);

/// The messages of a conversation that have not ended, each with who writes it, by their numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams<'a>(&'a [[u8; KEPT_LEN]]);

impl<'a> Streams<'a> {
    /// Those of a conversation.
    pub(crate) fn of(view: &View<'a>) -> Self {
        Self(view.kept(control::OPEN).as_chunks().0)
    }

    /// All of them: each with who writes it, and whether it is withheld from the other member.
    fn iter(self) -> impl Iterator<Item = (Seq, UserId, bool)> {
        self.0.iter().map(|kept| {
            let (seq, rest) = kept.split_first_chunk().expect("a number and more");
            let (user, withheld) = rest.split_first_chunk().expect("an id and more");
            (Seq(u64::from_le_bytes(*seq)), UserId(*user), withheld != [0])
        })
    }

    /// Their numbers.
    pub(crate) fn numbers(self) -> impl Iterator<Item = Seq> {
        self.iter().map(|(seq, ..)| seq)
    }

    /// Who writes one, if it has not ended.
    pub(crate) fn writer(self, seq: Seq) -> Option<UserId> {
        self.iter().find_map(|(of, user, _)| (of == seq).then_some(user))
    }

    /// True of one that is withheld from the other member, and so is its end.
    pub(crate) fn is_withheld(self, seq: Seq) -> bool {
        self.iter().any(|(of, _, withheld)| of == seq && withheld)
    }

    fn without(self, seq: Seq) -> Vec<u8> {
        let others = self.0.iter().zip(self.numbers()).filter(|(_, of)| *of != seq);
        others.flat_map(|(kept, _)| *kept).collect()
    }
}

/// A message is withdrawn: it does not grow any more.
pub(super) fn withdraw(seen: &Seen<'_>, target: Seq, changes: &mut Changes) {
    let streams = Streams::of(&seen.view);
    if streams.writer(target).is_some() {
        changes.keep_as(control::OPEN, &streams.without(target));
    }
}

/// A group is deleted: nothing grows there any more.
pub(super) fn delete(seen: &Seen<'_>, changes: &mut Changes) {
    if Streams::of(&seen.view).numbers().next().is_some() {
        changes.keep_as(control::OPEN, &[]);
    }
}

impl Feature for Open {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, situation: &Situation) -> Result<Allowed, ErrorCode> {
        text::check(seen, act)?;
        if situation.payload_len > 0 {
            return Err(ErrorCode::BodyInvalid);
        }
        let streams = Streams::of(&seen.view);
        let own = streams.iter().filter(|(_, user, _)| *user == seen.sender()).count();
        if own >= STREAMS_OF_MEMBER || streams.numbers().count() >= STREAMS_MAX {
            return Err(ErrorCode::TooMany);
        }
        Ok(Allowed::New)
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        let mut kept = seen.kept().to_vec();
        kept.extend_from_slice(&act.seq.0.to_le_bytes());
        kept.extend_from_slice(&seen.sender().0);
        kept.push(seen.is_withheld().into());
        changes.keep(seen, &kept);
    }
}

impl Feature for End {
    fn judge(&self, seen: &Seen<'_>, act: &Act<'_>, _: &Situation) -> Result<Allowed, ErrorCode> {
        if !act.body.is_empty() {
            return Err(ErrorCode::BodyInvalid);
        }
        match (Streams::of(&seen.view).writer(act.target), seen.erasure(act.target)) {
            // It may yet be undone.
            (None, Some(by)) if seen.reads(act.target) && !seen.is_committed(by) => Err(ErrorCode::Busy),
            (None, Some(_)) if seen.reads(act.target) => Err(ErrorCode::TargetErased),
            // What it was when it was opened is known once that is committed.
            (Some(writer), _) if writer == seen.sender() && !seen.is_committed(act.target) => Err(ErrorCode::Busy),
            (Some(writer), _) if writer == seen.sender() => {
                text::may_write(seen)?;
                Ok(Allowed::New)
            }
            (None | Some(_), _) => Err(ErrorCode::TargetInvalid),
        }
    }

    fn apply(&self, seen: &Seen<'_>, act: &Act<'_>, changes: &mut Changes) {
        changes.keep_as(control::OPEN, &Streams::of(&seen.view).without(act.target));
    }
}
