//! Who blocks whom in a one-to-one conversation. It is no message: the other one must not see it in the numbers. What whoever is blocked writes is numbered
//! and kept, and *withheld*: the blocker gets its number and nothing else of it. How far the blocker is, is shown to the other one as it was.

use rkyv::{Archive, Deserialize, Serialize};
use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    Seq, UserId,
    archive::{self, Archived},
    frames::Control,
};

use super::{members::Member, overlay::Overlay, state::State, view::View};
use crate::lanes::{Blocking, Shown};

/// What is kept of it is among what features keep, under a number that no message has.
pub(crate) const KEPT_AS: Control = Control(u16::MAX);

/// What one member does with the other.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    /// Whether it blocks it.
    pub(crate) blocking: Blocking,
    /// What the other one is shown as delivered meanwhile.
    pub(crate) delivered: Seq,
    /// What it is shown as read.
    pub(crate) read: Seq,
}

/// What both do.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blocks {
    of_lesser: Block,
    of_greater: Block,
}

impl Archived for Blocks {
    const FIRST_LEN: usize = 40;
}
const _: () = assert!(<Blocks as Archived>::LEN == 40);

impl Blocks {
    /// What a member does with the other one.
    pub(crate) fn of(&self, user: UserId, other: UserId) -> Block {
        if user < other { self.of_lesser } else { self.of_greater }
    }

    /// With what a member does from now on.
    pub(crate) fn with(mut self, (user, other): (UserId, UserId), block: Block) -> Self {
        *(if user < other { &mut self.of_lesser } else { &mut self.of_greater }) = block;
        self
    }

    /// True if either blocks the other one.
    pub(crate) fn is_any(&self) -> bool {
        self.of_lesser.blocking.is_on() || self.of_greater.blocking.is_on()
    }

    /// As it is kept.
    pub(crate) fn bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        archive::write(self, &mut bytes);
        bytes
    }
}

impl State {
    /// Who blocks whom.
    pub(crate) fn blocks(&self) -> Blocks {
        if self.settings.is_empty() {
            return Blocks::default();
        }
        archive::read(self.settings.get(KEPT_AS)).unwrap_or_default()
    }

    /// How far the member at a place is, as others are shown it: in a one-to-one conversation the other one may be blocked.
    pub(crate) fn shown(&self, member: usize) -> Shown {
        let Member { user, marks, .. } = &self.members[member];
        if self.settings.is_empty() || self.members.len() != 2 {
            return marks.shown();
        }
        let Block { blocking, delivered, read } = self.blocks().of(*user, self.members.other(member).user);
        let is_on = blocking.is_on() || blocking.0 > 0 && canary::is(Canary::BlockedForEver);
        if is_on && !canary::is(Canary::BlockedTold) { Shown { delivered, read } } else { marks.shown() }
    }
}

impl View<'_> {
    /// Who blocks whom.
    pub(crate) fn blocks(&self) -> Blocks {
        self.overlay.and_then(Overlay::blocks).unwrap_or_else(|| self.state.blocks())
    }

    /// True if a member's messages are withheld from the other one.
    #[inline]
    pub(crate) fn is_blocked(&self, user: UserId, other: UserId) -> bool {
        let may_be = !self.state.settings.is_empty() || self.overlay.is_some_and(Overlay::changes_blocks);
        may_be && self.blocks().of(other, user).blocking.is_on()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_blocks_for_itself_and_what_is_kept_reads_back() {
        let (alice, bob) = (UserId([1; 16]), UserId([2; 16]));
        let block = |count| Block { blocking: Blocking(count), delivered: Seq(7), read: Seq(5) };
        let blocks = Blocks::default().with((bob, alice), block(1));
        assert_eq!((blocks.of(bob, alice), blocks.of(alice, bob)), (block(1), Block::default()));
        assert!(blocks.is_any() && !blocks.with((bob, alice), block(2)).is_any());
        let mut state = State::direct(alice, bob);
        state.settings.set(KEPT_AS, &blocks.bytes());
        assert_eq!(state.blocks(), blocks);
        assert_eq!(state.shown(1), Shown { delivered: Seq(7), read: Seq(5) });
        assert_eq!(state.shown(0), Shown::default());
    }
}
