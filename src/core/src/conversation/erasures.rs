//! Messages that were withdrawn, each with the message that did it. An erasure is never taken back, so rows and records may be read in any order and say the
//! same in the end.

use alloc::{collections::BTreeMap, vec::Vec};
use core::ops::Bound;

use tidings_wire::Seq;

use crate::digest::Digest;

/// The target of an ERASE, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Erasure {
    /// The message that was withdrawn.
    pub(crate) target: Seq,
    /// The message that did it.
    pub(crate) by: Seq,
}

impl Erasure {
    /// What it adds to a history.
    pub(crate) fn hash(self) -> u64 {
        let mut digest = Digest::default();
        digest.words(&[self.target.0, self.by.0]);
        digest.value()
    }
}

/// The erasures of a conversation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Erasures {
    all: BTreeMap<Seq, Seq>,
    /// A sum over all that ever were: what retention lets go does not change it.
    history: u64,
}

impl Erasures {
    /// A message is withdrawn.
    pub(crate) fn add(&mut self, erasure: Erasure) {
        self.history = self.history.wrapping_add(erasure.hash());
        self.restore(erasure);
    }

    /// A message was withdrawn, as a row says.
    pub(crate) fn restore(&mut self, erasure: Erasure) {
        self.all.insert(erasure.target, erasure.by);
    }

    /// The message that withdrew another one.
    pub(crate) fn of(&self, target: Seq) -> Option<Seq> {
        if self.all.is_empty() { None } else { self.all.get(&target).copied() }
    }

    /// Looks at the next ones after a target, at most so many: those that are still needed, where messages before `first` are not stored any more,
    /// and the last one looked at, if there are more. The others are forgotten. What was said about a message is stored as long as the message
    /// that withdrew it.
    pub(crate) fn needed_after(&mut self, after: Option<Seq>, first: Seq, most: usize) -> (Vec<Erasure>, Option<Seq>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.all.range((from, Bound::Unbounded)).take(most);
        let mut needed: Vec<_> = next.map(|(target, by)| Erasure { target: *target, by: *by }).collect();
        let last = needed.last().filter(|_| needed.len() == most).map(|erasure| erasure.target);
        let forgotten = needed.extract_if(.., |erasure| erasure.by < first);
        for Erasure { target, .. } in forgotten.collect::<Vec<_>>() {
            self.all.remove(&target);
        }
        (needed, last)
    }

    /// The sum over all that ever were.
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
    fn erasures_are_looked_at_a_few_at_a_time_and_forgotten_with_the_message_that_did_it() {
        let mut erasures = Erasures::default();
        (1..=10).for_each(|target| erasures.add(Erasure { target: Seq(target), by: Seq(20 + target) }));
        let history = erasures.history();
        assert_eq!((erasures.of(Seq(3)), erasures.of(Seq(11))), (Some(Seq(23)), None));
        let (mut after, mut all) = (None, Vec::new());
        loop {
            // Messages before 25 are not stored: those that withdrew 1 to 4 are gone, and all that was said about these.
            let (needed, last) = erasures.needed_after(after, Seq(25), 3);
            all.extend(needed.iter().map(|erasure| erasure.target.0));
            after = last;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(all, [5, 6, 7, 8, 9, 10]);
        assert_eq!((erasures.of(Seq(4)), erasures.of(Seq(5)), erasures.history()), (None, Some(Seq(25)), history));
    }
}
