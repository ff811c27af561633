//! Receipts: how far a member has a conversation, and has read it. They are no messages: they have frames of their own, take no
//! number, and only the highest matters.
//!
//! What is *unread* is counted in messages with content: those that a member may know of, less those that it has *seen*. Seen is
//! the ordinal of the last message that it read, or wrote, or that was there when it joined; so it only rises, like the others.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{ConversationId, ErrorCode, Seq, frames::ReceiptKind};

use crate::{
    conversation::{state::State, view::View},
    lanes::{Privacy, Watermarks},
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
pub(crate) fn judge(
    view: &View<'_>,
    member: usize,
    kind: ReceiptKind,
    (upto, ordinal): (Seq, u64),
    privacy: Privacy,
) -> Result<Verdict, ErrorCode> {
    let membership = &view.state.members[member].membership;
    let (reach, content) = (membership.reach(view.state.head), membership.content(view.state.ordinal));
    if upto > reach && !canary::is(Canary::FutureReceived) {
        return Err(ErrorCode::FutureSeq);
    }
    let upto = if canary::is(Canary::ReceiptOfEverything) { reach } else { upto };
    let mut marks = view.marks(member);
    let risen = match kind {
        ReceiptKind::Delivered => Watermarks { delivered: upto, ..Watermarks::default() },
        // Who has read everything has seen everything, whatever the device counts.
        ReceiptKind::Read => {
            let seen = if upto == reach { content } else { ordinal.min(content) };
            let is_private = privacy == Privacy::Private && !canary::is(Canary::PrivateShown);
            let shown = if is_private { Seq(0) } else { upto };
            Watermarks { delivered: upto, read: upto, shown, seen }
        }
    };
    if marks.raise_to(risen) {
        return Ok(Verdict::New(marks));
    }
    Ok(Verdict::Known(view.state.members[member].marks.reach(marks)))
}

/// The record of a member's watermarks.
pub(crate) fn record(conversation: ConversationId, view: &View<'_>, member: usize, marks: Watermarks) -> ReceiptRecord {
    let member = view.state.members[member].user;
    let (Watermarks { delivered, read, seen, .. }, withheld) = (marks, marks.withheld());
    ReceiptRecord { conversation, member, delivered, read, seen, withheld }
}

/// A receipt is committed.
pub(crate) fn apply(state: &mut State, member: usize, record: &ReceiptRecord) {
    state.members[member].marks.raise_to(record.watermarks());
}
