//! What conversations do without input: receipts that are due, what homes are still to be told, rows written again before a
//! segment is dropped, FETCHes that go on.

use alloc::vec::Vec;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{BatchPosition, Generation, Lsn, Seq};

use super::{
    Conversation, ConversationKey, Conversations,
    commit::{Part, Row},
};
use crate::{
    context::ConversationContext,
    conversation::{erasures::Erasure, members::Member, membership::Membership, overlay::Overlay},
    limits::{DEVICES_PER_MEMBER, GUESTS_PER_MEMBER, STATE_FULL, STAYS_MAX},
    narrow::to_u32,
    records::{
        ConversationRow, DeviceRecord, ErasureRecord, ErasuresRow, MemberRow, MembershipRecord, PairRecord,
        RECORD_HEADER, RecordKind, SettingRecord, StayRecord, listed_len, put,
    },
    time::Mono,
};

/// State that is being written again.
#[derive(Debug)]
pub(super) struct Evacuation {
    /// Segments up to this one are to be dropped.
    upto: Generation,
    /// The place of the next conversation.
    next: u32,
    /// Which of its rows is next.
    step: Step,
    /// What was being withdrawn when the conversation's row was written, and has no row yet. Its records are before that row, and may be dropped with
    /// their segment; if they are dropped before they are sealed, so is the row.
    proposed: Vec<Erasure>,
    /// The batch of the last row.
    last: Lsn,
}

/// Rows of a conversation, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Conversation,
    /// What was withdrawn, from the target after this one.
    Erasures(Option<Seq>),
    /// What was being withdrawn when the conversation's row was written.
    Proposed,
    /// The member of this place.
    Member(usize),
}

/// Erasures in one row.
const ERASURES_PER_ROW: usize = 256;

/// More than the largest row of a member.
pub(super) const ROW_MAX: usize = {
    let device = listed_len::<DeviceRecord>() + tidings_wire::limits::REMEMBERED * listed_len::<PairRecord>();
    let membership = listed_len::<MembershipRecord>() + STAYS_MAX * listed_len::<StayRecord>();
    listed_len::<MemberRow>() + (DEVICES_PER_MEMBER + GUESTS_PER_MEMBER) * device + membership
};

impl Conversations {
    pub(crate) fn next_timeout(&self) -> Option<Mono> {
        let risen = self.risen.front().map(|(due, _)| *due);
        let again = self.keeps_again_at();
        self.receipts_due.into_iter().chain(risen).chain(self.streams.next()).chain(again).min()
    }

    pub(crate) fn sealed(&mut self) {
        self.receipts_due = None;
    }

    /// Does what is due, and up to `most` steps of what is done at leisure. How many steps are left.
    pub(crate) fn timeout(&mut self, most: usize, cx: &mut impl ConversationContext) -> usize {
        if self.receipts_due.is_some_and(|due| due <= cx.now().mono) {
            self.receipts_due = None;
            cx.want_write();
        }
        self.send_answers(cx);
        self.pay_owed(cx);
        self.tell_receipts(cx);
        self.end_silent(cx);
        self.work_outboxes(most, cx);
        self.continue_fetches(cx);
        let left = self.evacuate(most, cx);
        if self.is_kept() { left } else { self.keep(left, cx) }
    }

    /// True while there is something to be done at leisure.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_telling() || self.is_evacuating() || self.is_keeping()
    }

    pub(crate) fn start_evacuation(&mut self, upto: Generation) {
        let forget = upto > Generation(0) && canary::is(Canary::EvacuationForgotten);
        let (next, last) = (if forget { u32::MAX } else { 0 }, Lsn(0));
        self.evacuation = Some(Evacuation { upto, next, step: Step::Conversation, proposed: Vec::new(), last });
    }

    pub(crate) fn set_state_share(&mut self, share: u8) {
        self.state_share = share;
    }

    /// How many conversations there are.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// True if no conversation can begin: memory, or the log, holds as many as it may.
    pub(super) fn is_full(&self) -> bool {
        self.all.len() >= self.config.entities_max as usize || self.state_share >= STATE_FULL
    }

    /// What all rows take in the log, in bytes, if all conversations have two members.
    pub(crate) fn state_estimate(&self) -> u64 {
        const OF_ONE: usize = listed_len::<ConversationRow>() + 2 * listed_len::<MemberRow>() + 3 * RECORD_HEADER;
        (self.all.len() * OF_ONE) as u64
    }

    fn is_evacuating(&self) -> bool {
        self.evacuation.as_ref().is_some_and(|evacuation| evacuation.next < self.all.places())
    }

    /// True once what [`Self::start_evacuation`] and [`Self::start_keeping`] began is durable.
    pub(crate) fn is_evacuated(&self) -> bool {
        let is_written = self.evacuation.as_ref().is_none_or(|evacuation| self.durable >= evacuation.last);
        !self.is_evacuating() && is_written && self.has_kept()
    }

    /// A row of a conversation was dropped before it was sealed: all of them are written once more.
    pub(super) fn evacuate_again(&mut self, key: ConversationKey) {
        if let Some(evacuation) = &mut self.evacuation
            && key.0.index <= evacuation.next
        {
            (evacuation.next, evacuation.step) = (key.0.index, Step::Conversation);
        }
    }

    fn evacuate(&mut self, most: usize, cx: &mut impl ConversationContext) -> usize {
        if !self.is_evacuating() {
            return most;
        }
        let Some(mut evacuation) = self.evacuation.take() else { return most };
        let mut left = most;
        // State is written at leisure: half of a batch stays free for messages.
        while left > 0 && evacuation.next < self.all.places() && cx.room() >= 2 * ROW_MAX {
            left -= 1;
            self.evacuate_next(&mut evacuation, cx);
        }
        let done = evacuation.next >= self.all.places();
        self.evacuation = Some(evacuation);
        if done { left } else { 0 }
    }

    /// Writes a conversation's row, or that of its next member. What is proposed has its records before them.
    fn evacuate_next(&mut self, evacuation: &mut Evacuation, cx: &mut impl ConversationContext) {
        let Some(key) = self.all.key_at(evacuation.next).map(ConversationKey) else {
            (evacuation.next, evacuation.step) = (evacuation.next + 1, Step::Conversation);
            return;
        };
        match evacuation.step {
            Step::Conversation => {
                self.drop_unreachable(key);
                if self.get(key).base.is_within(evacuation.upto) {
                    self.write_row(key, Part::First, evacuation, cx);
                    let proposed = self.view(key).overlay.into_iter().flat_map(Overlay::erasures);
                    evacuation.proposed = proposed.collect();
                    evacuation.step = Step::Erasures(None);
                } else {
                    evacuation.next += 1;
                }
            }
            Step::Erasures(after) => {
                let first = self.get(key).index.first();
                let first = self.elsewhere.get(&key.0).map_or(first, |elsewhere| first.min(*elsewhere));
                let erasures = &mut self.get_mut(key).state.erasures;
                let (needed, last) = erasures.needed_after(after, first, ERASURES_PER_ROW);
                self.write_erasures(key, &needed, evacuation, cx);
                evacuation.step = last.map_or(Step::Proposed, |target| Step::Erasures(Some(target)));
            }
            Step::Proposed => {
                let rest = evacuation.proposed.len().saturating_sub(ERASURES_PER_ROW);
                let next = evacuation.proposed.split_off(rest);
                self.write_erasures(key, &next, evacuation, cx);
                evacuation.step = if rest > 0 { Step::Proposed } else { Step::Member(0) };
            }
            Step::Member(member) => {
                let last = member + 1 >= self.view(key).members();
                self.write_member(key, member, if last { Part::Last } else { Part::Middle }, evacuation, cx);
                evacuation.step = Step::Member(member + 1);
                if last {
                    (evacuation.next, evacuation.step) = (evacuation.next + 1, Step::Conversation);
                }
            }
        }
    }

    fn write_erasures(
        &mut self,
        key: ConversationKey,
        erasures: &[Erasure],
        evacuation: &mut Evacuation,
        cx: &mut impl ConversationContext,
    ) {
        if erasures.is_empty() {
            return;
        }
        let Conversation { id, shard, .. } = self.get(key);
        let at = cx.append(RecordKind::ErasuresRow, *shard, |body| {
            put(body, &ErasuresRow { conversation: *id, count: to_u32(erasures.len()) });
            for Erasure { target, by } in erasures {
                put(body, &ErasureRecord { target: *target, by: *by });
            }
        });
        self.wait_for_row(at, key, Part::Middle, evacuation, cx);
    }

    fn write_row(
        &mut self,
        key: ConversationKey,
        part: Part,
        evacuation: &mut Evacuation,
        cx: &mut impl ConversationContext,
    ) {
        let Conversation { id, shard, state, overlay, link, .. } = self.get(key);
        let overlay = self.overlays.get(*overlay);
        let overlaid = overlay.map(|overlay| overlay.over_settings(&state.settings));
        let settings = overlaid.as_ref().unwrap_or(&state.settings);
        let committed = (state.head, state.last_ts, state.ordinal);
        let last = overlay.and_then(Overlay::last).map_or(committed, |fact| (fact.seq, fact.ts, fact.ordinal));
        let row = ConversationRow {
            conversation: *id,
            members: to_u32(self.view(key).members()),
            head: last.0,
            last_ts: last.1,
            ordinal: last.2,
            changed: if overlay.is_some() { ConversationRow::OPEN } else { link.changed.0 },
            settings: to_u32(settings.iter().len()),
            size: self.view(key).size() as u8,
            erasures: self.view(key).erasures_history(),
        };
        let at = cx.append(RecordKind::ConversationRow, *shard, |body| {
            put(body, &row);
            for (control, kept) in settings.iter() {
                put(body, &SettingRecord { control: control.0, len: to_u32(kept.len()) });
                body.extend_from_slice(kept);
            }
        });
        self.wait_for_row(at, key, part, evacuation, cx);
    }

    fn write_member(
        &mut self,
        key: ConversationKey,
        member: usize,
        part: Part,
        evacuation: &mut Evacuation,
        cx: &mut impl ConversationContext,
    ) {
        let Conversation { id, shard, state, overlay, .. } = self.get(key);
        // Somebody who is being brought in has a row, too: the record that does it may be dropped before the row.
        let user = self.view(key).user(member);
        let arriving = (member >= state.members.len()).then(|| Member::new(user, Membership::default()));
        let known = arriving.as_ref().unwrap_or_else(|| &state.members[member]);
        let overlaid = self.overlays.get(*overlay).map(|overlay| overlay.over_member(known, member));
        let written = overlaid.as_ref().unwrap_or(known);
        let at = cx.append(RecordKind::MemberRow, *shard, |body| written.write(*id, body));
        self.wait_for_row(at, key, part, evacuation, cx);
    }

    fn wait_for_row(
        &mut self,
        at: BatchPosition,
        key: ConversationKey,
        part: Part,
        evacuation: &mut Evacuation,
        cx: &mut impl ConversationContext,
    ) {
        cx.want_write();
        evacuation.last = at.lsn;
        self.rows.push_back((at, Row::State { key, part }));
    }
}
