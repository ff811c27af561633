//! Messages that a user does not want to see any more: they are kept for others, and told to its devices without what they say. What is forgotten is never
//! taken back, so ranges only grow.

use alloc::vec::Vec;
use core::ops::{Bound, Range};

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    BatchPosition, ConversationId, ErrorCode, Frame, Seq, WireError,
    archive::{self, Archived},
    frame::{FrameBuilder, Span},
    frames::{self, Forget, ForgottenRange, Message, MessageFlags},
    limits::{FORGOTTEN_MAX, FORGOTTEN_OF_USER_MAX, FRAME_MAX},
    split,
};

use super::{
    Homes, SessionId,
    index::HomeKey,
    preferences::Preferences,
    settings::{Answer, Until},
    upkeep::Waiting,
};
use crate::{
    context::{Context, HomeContext},
    conversation::state::ReplayError,
    emptied::{emptied, with_flags},
    lanes::Asker,
    narrow::to_u32,
    placement::origin,
    records::{ForgottenRecord, RecordKind, listed_len, put, take},
    replay::Replayed,
};

/// The most bytes of a row; a record has one range.
pub(super) const FORGOTTEN_RECORD_MAX: usize =
    listed_len::<ForgottenRecord>() + FORGOTTEN_MAX * listed_len::<ForgottenRange>();

/// What a user has forgotten of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    changes: u32,
    /// How many of them are durable.
    durable: u32,
    /// Rising, and with others between any two.
    ranges: Vec<ForgottenRange>,
}

impl Forgotten {
    /// Places of the ranges that would be one with this one.
    fn touching(&self, added: ForgottenRange) -> Range<usize> {
        let first = self.ranges.partition_point(|range| range.last.next() < added.first);
        first..self.ranges.partition_point(|range| range.first <= added.last.next())
    }

    /// How many ranges there are with this one, too; `None`: there is nothing new in it.
    fn count_with(&self, added: ForgottenRange) -> Option<usize> {
        let touching = self.touching(added);
        let is_known =
            self.ranges[touching.clone()].iter().any(|known| known.first <= added.first && added.last <= known.last);
        (!is_known).then(|| self.ranges.len() + 1 - touching.len())
    }

    fn add(&mut self, added: ForgottenRange) {
        let touching = self.touching(added);
        let one = self.ranges[touching.clone()].iter().fold(added, |one, range| ForgottenRange {
            first: one.first.min(range.first),
            last: one.last.max(range.last),
        });
        self.ranges.splice(touching, [one]);
    }

    /// True of one of them.
    fn has(&self, seq: Seq) -> bool {
        let after = self.ranges.partition_point(|range| range.first <= seq);
        after > 0 && seq <= self.ranges[after - 1].last
    }
}

impl Homes {
    pub(super) fn on_forget(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        cx: &mut impl HomeContext,
    ) -> Result<(), WireError> {
        let (forget, request_id): (Forget, _) = (frame.fixed()?, frame.header().request_id);
        let Some(home) = self.sessions.get(id).map(|session| session.home) else { return Ok(()) };
        if let Err(wait_ms) = self.index.get_mut(home).bucket.take(self.config.user_rate, cx.now().mono) {
            self.refuse_limited(id, frame, wait_ms, cx);
        } else if let Err(code) = self.forget(home, Asker { session: id, request_id }, forget, cx) {
            self.refuse_frame(id, frame, code, cx);
        }
        Ok(())
    }

    fn forget(
        &mut self,
        home: HomeKey,
        asker: Asker,
        Forget { conversation, first, last }: Forget,
        cx: &mut impl HomeContext,
    ) -> Result<(), ErrorCode> {
        let entry = self.index.find(home, conversation).ok_or(ErrorCode::NotMember)?;
        let mut added = None;
        if (first, last) != (Seq(0), Seq(0)) {
            if first == Seq(0) || first > last {
                return Err(ErrorCode::TargetInvalid);
            }
            if last > self.head_of(entry) {
                return Err(ErrorCode::FutureSeq);
            }
            let range = ForgottenRange { first, last };
            added = Some((range, self.add_forgotten((home, conversation), range, cx)?));
        }
        let until = Until::Change(self.index.entry_at(entry).uv);
        self.answer_at(home, until, asker, Answer::Forgotten(conversation, added), cx);
        Ok(())
    }

    /// Adds a range, if there is something new in it. Gives how often something was added then.
    fn add_forgotten(
        &mut self,
        (home, conversation): (HomeKey, ConversationId),
        range: ForgottenRange,
        cx: &mut impl HomeContext,
    ) -> Result<u32, ErrorCode> {
        let entry = self.index.find(home, conversation).ok_or(ErrorCode::NotMember)?;
        let known = self.forgotten.get(&(home.0, conversation));
        let (before, changes) = known.map_or((0, 0), |known| (known.ranges.len(), known.changes));
        let Some(count) = known.map_or(Some(1), |known| known.count_with(range)) else { return Ok(changes) };
        let all = self.forgotten_of.get(&home.0).copied().unwrap_or(0) + count - before;
        if count > before && (count > FORGOTTEN_MAX || all > FORGOTTEN_OF_USER_MAX) {
            return Err(ErrorCode::TooMany);
        }
        if cx.room() < FORGOTTEN_RECORD_MAX {
            return Err(ErrorCode::Busy);
        }
        let known = self.forgotten.entry((home.0, conversation)).or_default();
        known.add(range);
        known.changes += 1;
        let changes = known.changes;
        self.index.change(home, entry, |entry| {
            entry.preferences.set(Preferences { forgotten: changes, ..entry.preferences.get() })
        });
        self.mark_dirty(home, cx.now().mono);
        self.forgotten_of.insert(home.0, all);
        let (at, shard) = self.append_forgotten(RecordKind::Forgotten, (home, conversation), (changes, &[range]), cx);
        cx.want_write();
        self.waiting[shard as usize].push_back((at, Waiting::Forgotten { home, conversation, changes }));
        self.flush_soon(home, cx);
        Ok(changes)
    }

    fn append_forgotten(
        &self,
        kind: RecordKind,
        (home, conversation): (HomeKey, ConversationId),
        (changes, ranges): (u32, &[ForgottenRange]),
        cx: &mut impl Context,
    ) -> (BatchPosition, u16) {
        let user = self.index.get(home).user;
        let entry = self.index.find(home, conversation).expect("what is forgotten is of a conversation of the user");
        let (peer, uv) = (self.index.entry_at(entry).peer, self.index.entry_at(entry).uv);
        let (count, shard) = (to_u32(ranges.len()), self.config.layout.user_shard(&user));
        let at = cx.append(kind, shard, |body| {
            put(body, &ForgottenRecord { user, conversation, peer, uv, changes, count });
            ranges.iter().for_each(|range| put(body, range));
        });
        (at, shard)
    }

    /// What was added to what a user has forgotten is committed.
    pub(super) fn forgotten_is_durable(&mut self, home: HomeKey, conversation: ConversationId, changes: u32) {
        if let Some(known) = self.forgotten.get_mut(&(home.0, conversation)) {
            known.durable = known.durable.max(changes);
        }
    }

    /// True if something of what a user has forgotten of a conversation is not durable yet.
    pub(super) fn is_forgetting(&self, home: HomeKey, conversation: ConversationId) -> bool {
        self.forgotten.get(&(home.0, conversation)).is_some_and(|known| known.durable < known.changes)
    }

    /// Puts into the log again what a user has forgotten of the next conversation after one. `None`: there is no other.
    pub(super) fn forgotten_again(
        &self,
        home: HomeKey,
        after: ConversationId,
        cx: &mut impl Context,
    ) -> Option<(ConversationId, BatchPosition)> {
        let of_home = (Bound::Excluded((home.0, after)), Bound::Unbounded);
        let ((_, next), known) = self.forgotten.range(of_home).next().filter(|((of, _), _)| *of == home.0)?;
        let all = (known.changes, &known.ranges[..]);
        Some((*next, self.append_forgotten(RecordKind::ForgottenRow, (home, *next), all, cx).0))
    }

    /// A record of it that recovery read. All of them together count, so their order does not matter.
    pub(super) fn replay_forgotten(&mut self, record: &Replayed<'_>) -> Result<(), ReplayError> {
        let mut body = record.body;
        let ForgottenRecord { user, conversation, peer, uv, changes, count } =
            take(&mut body).map_err(|_| ReplayError::Body)?;
        let home = self.index.home(user);
        let entry = self.index.replay_change(home, (conversation, peer), uv);
        let known = self.forgotten.entry((home.0, conversation)).or_default();
        let before = known.ranges.len();
        for _ in 0..count {
            let range = take(&mut body).map_err(|_| ReplayError::Body)?;
            if !canary::is(Canary::ForgottenForgotten) {
                known.add(range);
            }
        }
        let entry = self.index.entry_mut(entry);
        let preferences = entry.preferences.get();
        let changes = changes.max(preferences.forgotten);
        (known.changes, known.durable) = (changes, changes);
        entry.preferences.set(Preferences { forgotten: changes, ..preferences });
        let of_home = self.forgotten_of.entry(home.0).or_default();
        *of_home = *of_home + known.ranges.len() - before;
        self.index.get_mut(home).base.add(origin(self.config.log, record.at));
        Ok(())
    }

    /// A stored message as its user wants to see it, if that is not as it is. What was said about a message goes with it; what changes a conversation is only
    /// marked, since devices need it.
    pub(super) fn as_wanted(&self, home: HomeKey, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.forgotten.is_empty() || !self.forgotten_of.contains_key(&home.0) || canary::is(Canary::ForgottenShown) {
            return None;
        }
        let frame = split(bytes, FRAME_MAX).ok().flatten()?;
        let message: Message = frame.fixed().ok()?;
        let forgotten = self.forgotten.get(&(home.0, message.conversation))?;
        let is_about = message.control.is_about_target();
        let is_forgotten = forgotten.has(message.seq) || is_about && forgotten.has(message.target);
        if !is_forgotten {
            return None;
        }
        Some(match message.control.has_content() || is_about {
            true => emptied(&frame, &message, MessageFlags::FORGOTTEN),
            false => with_flags(&frame, &message, message.flags.0 | MessageFlags::FORGOTTEN),
        })
    }

    /// FORGOTTEN: what was added, and how often something was then; or all of it.
    pub(super) fn write_answer(
        &self,
        home: HomeKey,
        (conversation, added): (ConversationId, Option<(ForgottenRange, u32)>),
        request_id: u64,
        out: &mut Vec<u8>,
    ) {
        let known = self.forgotten.get(&(home.0, conversation));
        let (ranges, changes): (&[ForgottenRange], u32) = match &added {
            Some((range, changes)) => (core::slice::from_ref(range), *changes),
            None => known.map_or((&[], 0), |known| (&known.ranges, known.changes)),
        };
        let mut frame = FrameBuilder::<frames::Forgotten>::new(out);
        let mut span: Span = frame.var(&[]);
        for range in ranges {
            let mut bytes = [0; <ForgottenRange as Archived>::LEN];
            archive::write(range, &mut bytes);
            span.len += frame.var(&bytes).len;
        }
        frame.finish(request_id, &frames::Forgotten { conversation, changes, ranges: span });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64) -> ForgottenRange {
        ForgottenRange { first: Seq(first), last: Seq(last) }
    }

    #[test]
    fn ranges_that_touch_are_one_and_what_is_known_changes_nothing() {
        let mut forgotten = Forgotten::default();
        for (first, last) in [(5, 6), (1, 2), (9, 9), (3, 4)] {
            let count = forgotten.count_with(range(first, last));
            forgotten.add(range(first, last));
            assert_eq!(count, Some(forgotten.ranges.len()));
        }
        assert_eq!(forgotten.ranges, [range(1, 6), range(9, 9)]);
        assert_eq!(forgotten.count_with(range(2, 5)), None);
        let is_in: Vec<_> = (0..=10).filter(|seq| forgotten.has(Seq(*seq))).collect();
        assert_eq!(is_in, [1, 2, 3, 4, 5, 6, 9]);
        forgotten.add(range(4, 20));
        assert_eq!(forgotten.ranges, [range(1, 20)]);
    }
}
