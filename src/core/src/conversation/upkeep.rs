//! What conversations do without input: receipts that are due, heads told again after a start, state written again before a
//! segment is dropped, FETCHes that go on.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{Generation, Lsn, archive::Archived};

use super::{ConversationKey, Conversations, commit::Waiting};
use crate::{
    context::ConversationContext,
    counters::Counter,
    lanes::ToHome,
    limits::{DEVICES_PER_MEMBER, GUESTS_PER_MEMBER},
    records::{ConversationRecord, DeviceRecord, PairRecord, RecordKind},
    time::Mono,
};

/// State that is being written again.
#[derive(Debug)]
pub(super) struct Evacuation {
    /// Segments up to this one are to be dropped.
    upto: Generation,
    next: u32,
    /// The batch of the last record.
    last: Lsn,
}

/// More than the largest state of a conversation.
const STATE_MAX: usize = {
    let device = DeviceRecord::LEN + tidings_wire::limits::REMEMBERED * PairRecord::LEN;
    ConversationRecord::LEN + 2 * (DEVICES_PER_MEMBER + GUESTS_PER_MEMBER) * device
};

impl Conversations {
    pub(crate) fn next_timeout(&self) -> Option<Mono> {
        self.receipts_due
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
        self.tell_heads(most, cx);
        self.continue_fetches(cx);
        self.evacuate(most, cx)
    }

    /// True while there is something to be done at leisure.
    pub(crate) fn is_busy(&self) -> bool {
        self.telling.is_some() || self.is_evacuating()
    }

    /// After a start: homes may have forgotten head updates that were not durable. The log did not forget the messages.
    pub(crate) fn start_repeating_heads(&mut self) {
        self.telling = (!canary::is(Canary::HeadUpdatesForgotten)).then_some(0);
    }

    fn tell_heads(&mut self, most: usize, cx: &mut impl ConversationContext) {
        let Some(mut next) = self.telling.take() else { return };
        for _ in 0..most {
            if next as usize >= self.all.len() {
                return;
            }
            let key = ConversationKey(next);
            let updates = [self.head_update(key, 0), self.head_update(key, 1)];
            let homes = updates.map(|update| self.config.layout.home(&update.user));
            if homes.iter().any(|home| !cx.has_home_credit(*home, 4, 0)) {
                break;
            }
            for (update, home) in updates.into_iter().zip(homes) {
                cx.count(Counter::HeadUpdatesRepeated);
                cx.to_home(home, ToHome::HeadUpdate(update), &[]);
            }
            next += 1;
        }
        self.telling = Some(next);
    }

    pub(crate) fn start_evacuation(&mut self, upto: Generation) {
        let forget = upto > Generation(0) && canary::is(Canary::EvacuationForgotten);
        let (next, last) = (if forget { u32::MAX } else { 0 }, Lsn(0));
        self.evacuation = Some(Evacuation { upto, next, last });
    }

    fn is_evacuating(&self) -> bool {
        self.evacuation.as_ref().is_some_and(|evacuation| (evacuation.next as usize) < self.all.len())
    }

    /// True once what [`Self::start_evacuation`] began is durable.
    pub(crate) fn is_evacuated(&self) -> bool {
        !self.is_evacuating() && self.evacuation.as_ref().is_none_or(|evacuation| self.committed >= evacuation.last)
    }

    /// The state of a conversation was written again, and dropped before it was sealed.
    pub(super) fn evacuate_again(&mut self, key: ConversationKey) {
        if let Some(evacuation) = &mut self.evacuation {
            evacuation.next = evacuation.next.min(key.0);
        }
    }

    fn evacuate(&mut self, most: usize, cx: &mut impl ConversationContext) -> usize {
        let Some(mut evacuation) = self.evacuation.take() else { return most };
        let mut left = most;
        // State is written at leisure: half of a batch stays free for messages.
        while left > 0 && (evacuation.next as usize) < self.all.len() && cx.room() >= 2 * STATE_MAX {
            left -= 1;
            self.evacuate_next(&mut evacuation, cx);
        }
        let done = evacuation.next as usize >= self.all.len();
        self.evacuation = Some(evacuation);
        if done { left } else { 0 }
    }

    fn evacuate_next(&mut self, evacuation: &mut Evacuation, cx: &mut impl ConversationContext) {
        let key = ConversationKey(evacuation.next);
        evacuation.next += 1;
        self.drop_unreachable(key);
        let conversation = self.get(key);
        if !conversation.base.is_within(evacuation.upto) {
            return;
        }
        // What is proposed has its records before this one.
        let state = self.overlays.get(conversation.overlay).map(|overlay| overlay.over(&conversation.state));
        let state = state.as_ref().unwrap_or(&conversation.state);
        let at = cx.append(RecordKind::Conversation, conversation.shard, |body| state.write(conversation.id, body));
        cx.want_write();
        evacuation.last = at.lsn;
        self.waiting.push_back((at, Waiting::State { key }));
    }
}
