//! What was said about earlier messages that the server must know: that one was withdrawn, where its last edit is, where each member's last
//! reaction to it is. A mark only ever rises, so rows and records may be read in any order and say the same in the end.

use alloc::{collections::BTreeMap, vec::Vec};
use core::ops::{Bound, RangeInclusive};

use rkyv::{Archive, Deserialize, Serialize};
use tidings_wire::{Seq, UserId};

use crate::digest::Digest;

/// What a mark says of its target.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum MarkKind {
    /// It was withdrawn.
    Erased = 0,
    /// It says something else.
    Edited = 1,
    /// A member thinks something of it, or does not any more.
    Reaction = 2,
}

/// A mark: about which message, what, and by whom (none, where only one can). Users and not members' places: those depend on what recovery
/// reads first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// The message that it is about.
    pub(crate) target: Seq,
    /// What it says.
    pub(crate) kind: MarkKind,
    /// Whose reaction it is.
    pub(crate) by: UserId,
}

impl Mark {
    /// The target is withdrawn.
    pub(crate) fn erased(target: Seq) -> Self {
        Self { target, kind: MarkKind::Erased, by: UserId::NONE }
    }

    /// The target says something else.
    pub(crate) fn edited(target: Seq) -> Self {
        Self { target, kind: MarkKind::Edited, by: UserId::NONE }
    }

    /// What a member thinks of the target.
    pub(crate) fn reaction(target: Seq, by: UserId) -> Self {
        Self { target, kind: MarkKind::Reaction, by }
    }

    /// What it adds to a history, set by this message.
    pub(crate) fn hash(self, by: Seq) -> u64 {
        let mut digest = Digest::default();
        digest.words(&[self.target.0, self.kind as u64, by.0]);
        digest.bytes(&self.by.0);
        digest.value()
    }

    /// All of a message but that it is withdrawn.
    fn others(target: Seq) -> RangeInclusive<Self> {
        Self::edited(target)..=Self::reaction(target, UserId([u8::MAX; 16]))
    }
}

/// The marks of a conversation, each with the message that set it last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    all: BTreeMap<Mark, Seq>,
    /// How many messages are withdrawn.
    erased: usize,
    /// A sum over all marks that were ever set: what retention lets go does not change it.
    history: u64,
}

impl Marks {
    /// A message sets a mark.
    pub(crate) fn set(&mut self, mark: Mark, by: Seq) {
        self.history = self.history.wrapping_add(mark.hash(by));
        self.raise(mark, by);
    }

    /// A mark was set by this message, or by a later one. With its target withdrawn, nothing else is said about it.
    pub(crate) fn raise(&mut self, mark: Mark, by: Seq) {
        if mark.kind != MarkKind::Erased && self.erasure(mark.target).is_some() {
            return;
        }
        let known = self.all.entry(mark).or_default();
        let is_new = *known == Seq(0);
        *known = by.max(*known);
        if is_new && mark.kind == MarkKind::Erased {
            self.erased += 1;
            while let Some((other, _)) = self.all.range(Mark::others(mark.target)).next() {
                let other = *other;
                self.all.remove(&other);
            }
        }
    }

    /// The message that withdrew another one.
    pub(crate) fn erasure(&self, target: Seq) -> Option<Seq> {
        if self.erased == 0 { None } else { self.all.get(&Mark::erased(target)).copied() }
    }

    /// True if there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Looks at the next marks after one, at most so many: those that are still needed, where messages before `first` are not stored any more, and
    /// the last one looked at, if there are more. The others are forgotten. What was said about a message that was withdrawn is stored as long as
    /// the message that withdrew it.
    pub(crate) fn needed_after(
        &mut self,
        after: Option<Mark>,
        first: Seq,
        most: usize,
    ) -> (Vec<(Mark, Seq)>, Option<Mark>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let looked_at: Vec<_> =
            self.all.range((from, Bound::Unbounded)).map(|(mark, by)| (*mark, *by)).take(most).collect();
        let last = looked_at.last().filter(|_| looked_at.len() == most).map(|(mark, _)| *mark);
        let mut needed = Vec::with_capacity(looked_at.len());
        for (mark, by) in looked_at {
            if first <= if mark.kind == MarkKind::Erased { by } else { mark.target } {
                needed.push((mark, by));
            } else {
                self.all.remove(&mark);
                self.erased -= usize::from(mark.kind == MarkKind::Erased);
            }
        }
        (needed, last)
    }

    /// The sum over all marks that were ever set.
    pub(crate) fn history(&self) -> u64 {
        self.history
    }

    /// What recovery read of [`Self::history`].
    pub(crate) fn set_history(&mut self, history: u64) {
        self.history = history;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_the_same_in_whatever_order_they_are_read() {
        let all = [
            (Mark::edited(Seq(3)), Seq(5)),
            (Mark::edited(Seq(3)), Seq(9)),
            (Mark::reaction(Seq(3), UserId([1; 16])), Seq(6)),
            (Mark::reaction(Seq(4), UserId([1; 16])), Seq(7)),
            (Mark::reaction(Seq(4), UserId([1; 16])), Seq(8)),
            (Mark::erased(Seq(3)), Seq(10)),
        ];
        let read = |order: &[usize]| {
            let mut marks = Marks::default();
            order.iter().for_each(|at| marks.raise(all[*at].0, all[*at].1));
            (marks.needed_after(None, Seq(1), 9).0, marks.erasure(Seq(3)), marks.erasure(Seq(4)))
        };
        let right = read(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(right.0, [(Mark::erased(Seq(3)), Seq(10)), (Mark::reaction(Seq(4), UserId([1; 16])), Seq(8))]);
        assert_eq!((right.1, right.2), (Some(Seq(10)), None));
        for order in [[5, 4, 3, 2, 1, 0], [5, 0, 4, 1, 3, 2], [4, 3, 5, 1, 0, 2]] {
            assert_eq!(read(&order), right);
        }
        let mut marks = Marks::default();
        all.iter().for_each(|(mark, by)| marks.set(*mark, *by));
        let history = marks.history();
        let mut kept =
            |first| (marks.needed_after(None, Seq(first), 9).0.len(), marks.erasure(Seq(3)), marks.history());
        assert_eq!(kept(10), (1, Some(Seq(10)), history), "the edit of what was withdrawn may be stored");
        assert_eq!(kept(11), (0, None, history));
    }

    #[test]
    fn marks_are_looked_at_a_few_at_a_time() {
        let mut marks = Marks::default();
        (1..=10).for_each(|target| marks.set(Mark::edited(Seq(target)), Seq(20 + target)));
        let (mut after, mut all) = (None, Vec::new());
        loop {
            let (needed, last) = marks.needed_after(after, Seq(5), 3);
            all.extend(needed.iter().map(|(mark, _)| mark.target.0));
            after = last;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(all, [5, 6, 7, 8, 9, 10]);
        assert_eq!(marks.needed_after(None, Seq(1), 99).0.len(), 6, "the others are forgotten");
    }
}
