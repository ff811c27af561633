//! Stored messages that cannot be read. A read that fails may be the disk's bad moment, or of a segment that is dropped just then: whoever asked is told to ask
//! again. What fails still some time later is damaged: FETCH leaves it out and says so, so that what comes after it can be had, and the operator is told.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use tidings_wire::{ConversationId, LogPosition, Seq};

use super::ConversationKey;
use crate::{
    limits::{DAMAGED_AFTER_MS, FAILURE_FORGOTTEN_MS, FAILURES_MAX, UNREAD_AFTER_MS},
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

/// What came of reading a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The disk gave nothing, or too little.
    Unread,
    /// What it gave is not the message.
    Wrong,
}

/// What is known of a message whose read failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may be read yet.
    Perhaps,
    /// It is damaged.
    Damaged,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    /// When it failed first, and last.
    since: Mono,
    last: Mono,
    known: Failure,
}

/// Reads that failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    failed: BTreeMap<(Key, Seq), Failed>,
    news: VecDeque<Damage>,
}

impl Failures {
    /// A read of a message failed.
    pub(super) fn failed(&mut self, key: ConversationKey, damage: Damage, how: Unreadable, now: Mono) -> Failure {
        let which = (key.0, damage.seq);
        if self.failed.len() >= FAILURES_MAX && !self.failed.contains_key(&which) {
            let oldest = self.failed.iter().min_by_key(|(_, failed)| failed.last).map(|(which, _)| *which);
            oldest.map(|oldest| self.failed.remove(&oldest));
        }
        let failed = self.failed.entry(which).or_insert(Failed { since: now, last: now, known: Failure::Perhaps });
        if failed.known == Failure::Perhaps {
            // Two bad moments that have nothing to do with each other are no damage.
            if failed.last.plus_ms(FAILURE_FORGOTTEN_MS) < now {
                failed.since = now;
            }
            let after_ms = match how {
                Unreadable::Wrong => u64::from(DAMAGED_AFTER_MS),
                Unreadable::Unread => UNREAD_AFTER_MS,
            };
            if failed.since.plus_ms(after_ms) <= now {
                failed.known = Failure::Damaged;
                if self.news.len() < FAILURES_MAX {
                    self.news.push_back(damage);
                }
            }
        }
        failed.last = now;
        failed.known
    }

    /// Messages of a conversation were read, from the first up to before `end`.
    pub(super) fn read(&mut self, key: ConversationKey, first: Seq, end: Seq) {
        if self.failed.is_empty() || first >= end {
            return;
        }
        let read: Vec<_> = self.failed.range((key.0, first)..(key.0, end)).map(|(which, _)| *which).collect();
        for which in read {
            self.failed.remove(&which);
        }
    }

    /// A message that is damaged, and of which nobody was told yet.
    pub(super) fn take(&mut self) -> Option<Damage> {
        self.news.pop_front()
    }
}
