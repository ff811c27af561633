//! Receipts: how far a member has a conversation, and has read it. They are no messages: they have frames of their own, take no
//! number, and only the highest matters.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{ConversationId, ErrorCode, Seq, frames::ReceiptKind};

use crate::{
    conversation::{state::State, view::View},
    lanes::Watermarks,
    records::ReceiptRecord,
};

/// What comes of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it says what is known. True if that is committed already.
    Known(bool),
    /// It is to be written down.
    New(Watermarks),
}

/// Judges a receipt of the member at `member`. Changes nothing.
///
/// # Errors
/// [`ErrorCode::FutureSeq`].
pub(crate) fn judge(view: &View<'_>, member: usize, kind: ReceiptKind, upto: Seq) -> Result<Verdict, ErrorCode> {
    let reach = view.state.members[member].membership.reach(view.state.head);
    if upto > reach {
        return Err(ErrorCode::FutureSeq);
    }
    let upto = if canary::is(Canary::ReceiptOfEverything) { reach } else { upto };
    let mut marks = view.marks(member);
    if marks.raise(kind, upto) {
        return Ok(Verdict::New(marks));
    }
    Ok(Verdict::Known(view.state.members[member].marks.reach(marks)))
}

/// The record of a member's watermarks.
pub(crate) fn record(conversation: ConversationId, view: &View<'_>, member: usize, marks: Watermarks) -> ReceiptRecord {
    let member = view.state.members[member].user;
    ReceiptRecord { conversation, member, delivered: marks.delivered, read: marks.read }
}

/// A receipt is committed.
pub(crate) fn apply(state: &mut State, member: usize, record: &ReceiptRecord) {
    state.members[member].marks.raise_to(record.watermarks());
}
