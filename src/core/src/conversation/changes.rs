//! What a message changes besides its place in the order. A feature says it when the message is proposed, for the overlay, and again when it
//! is committed or replayed, for the state.

use alloc::{boxed::Box, vec::Vec};

use tidings_wire::{Seq, UserId, frames::Control};

use super::membership::Membership;

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A feature keeps this, and not what it kept.
    Keep(Control, Box<[u8]>),
    /// A user's membership.
    Member(UserId, Membership),
    /// It withdraws an earlier message.
    Erase(Seq),
}

/// All that a message changes.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    all: Vec<Change>,
}

impl Changes {
    /// True if nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// One more.
    pub(crate) fn push(&mut self, change: Change) {
        self.all.push(change);
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Change> {
        self.all.iter()
    }

    /// All of them, in order.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = Change> {
        self.all.into_iter()
    }
}
