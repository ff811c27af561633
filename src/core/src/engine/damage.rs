//! Stored messages that cannot be read. A read that fails may be the disk's bad moment, or of a segment that is dropped just then: whoever asked is told to ask
//! again. What fails still, [`DAMAGED_AFTER_MS`] later, is damaged: FETCH leaves it out and says so, so that what comes after it can be had, and the operator is told.

use alloc::{collections::BTreeMap, vec::Vec};

use tidings_wire::{ConversationId, LogPosition, Seq};

use super::ConversationKey;
use crate::{
    limits::{DAMAGED_AFTER_MS, FAILURES_MAX},
    slab::Key,
    time::Mono,
};

/// A stored message that cannot be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub conversation: ConversationId,
    /// Which.
    pub seq: Seq,
    /// Where it is stored.
    pub at: LogPosition,
}

/// What is known of a message whose read failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may be read yet.
    Perhaps,
    /// It is damaged.
    Damaged,
}

/// Reads that failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// When each failed first, and whether somebody was told that it is damaged.
    since: BTreeMap<(Key, Seq), (Mono, Failure)>,
    news: Vec<Damage>,
}

impl Failures {
    /// A read of a message failed.
    pub(super) fn failed(&mut self, key: ConversationKey, damage: Damage, now: Mono) -> Failure {
        let which = (key.0, damage.seq);
        if self.since.len() >= FAILURES_MAX && !self.since.contains_key(&which) {
            self.since.pop_first();
        }
        let (since, known) = self.since.entry(which).or_insert((now, Failure::Perhaps));
        if *known == Failure::Perhaps && since.plus_ms(u64::from(DAMAGED_AFTER_MS)) <= now {
            *known = Failure::Damaged;
            if self.news.len() < FAILURES_MAX {
                self.news.push(damage);
            }
        }
        *known
    }

    /// Messages of a conversation were read, from the first up to before `end`.
    pub(super) fn read(&mut self, key: ConversationKey, first: Seq, end: Seq) {
        if !self.since.is_empty() {
            self.since.retain(|(of, seq), _| *of != key.0 || !(first..end).contains(seq));
        }
    }

    /// A message that is damaged, and of which nobody was told yet.
    pub(super) fn take(&mut self) -> Option<Damage> {
        self.news.pop()
    }
}
