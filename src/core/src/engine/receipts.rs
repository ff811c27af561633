//! Receipts of groups: those who wrote are told who has it and who has read it, once a second and a group at most. Where a lane has no room
//! they are told later; who was away asks (DESCRIBE).

use alloc::vec::Vec;

use tidings_wire::Seq;

use super::{Conversation, ConversationKey, Conversations};
use crate::{
    context::ConversationContext,
    effects::ReactorId,
    lanes::{MemberReceipt, Shown, ToHome, WriterReceipts},
    limits::{GROUP_RECEIPTS_BYTES, GROUP_RECEIPTS_MS},
    narrow::to_u32,
    records::append,
    time::Mono,
};

/// Groups whose receipts are told in one turn.
const GROUPS_PER_TURN: usize = 16;

impl Conversations {
    /// A member's watermarks rose; others were told `before` of it.
    pub(super) fn receipt_rose(&mut self, key: ConversationKey, (member, before): (usize, Shown), now: Mono) {
        let conversation = self.get_mut(key);
        let rose = conversation.state.members[member].marks.shown() != before;
        if !rose || conversation.risen.iter().any(|(known, _)| *known as usize == member) {
            return;
        }
        conversation.risen.push((to_u32(member), before));
        if conversation.risen.len() == 1 {
            self.risen.push_back((now.plus_ms(GROUP_RECEIPTS_MS), key));
        }
    }

    /// Tells what is due.
    pub(super) fn tell_receipts(&mut self, cx: &mut impl ConversationContext) {
        let now = cx.now().mono;
        for _ in 0..GROUPS_PER_TURN {
            let Some((_, key)) = self.risen.pop_front_if(|(due, _)| *due <= now) else { return };
            let reactors = (0..self.config.layout.reactors).map(ReactorId);
            if reactors.clone().all(|to| self.answers[to.0 as usize].is_empty() && self.tell_receipts_to(key, to, cx)) {
                self.get_mut(key).risen.clear();
            } else {
                self.risen.push_back((now.plus_ms(GROUP_RECEIPTS_MS), key));
            }
        }
    }

    /// Tells the homes on a reactor of those who wrote. False if there is no room for all of it.
    fn tell_receipts_to(&self, key: ConversationKey, to: ReactorId, cx: &mut impl ConversationContext) -> bool {
        let Conversation { id, state, risen, .. } = self.get(key);
        let (mut payload, mut writers) = (Vec::new(), 0);
        let here = state
            .members
            .iter()
            .enumerate()
            .filter(|(_, member)| member.membership.is_current() && self.config.layout.home(&member.user) == to);
        for (at, writer) in here {
            let own = writer.last_own();
            let of_interest = risen.iter().filter(|(member, before)| {
                let now = state.members[*member as usize].marks.shown();
                let newly = |before: Seq, now: Seq| now > before && own > before;
                let is_news = newly(before.delivered, now.delivered) || newly(before.read, now.read);
                *member as usize != at && is_news
            });
            let count = of_interest.clone().count();
            if count == 0 {
                continue;
            }
            append(&mut payload, &WriterReceipts { user: writer.user, count: to_u32(count) });
            for (member, _) in of_interest {
                let member = &state.members[*member as usize];
                let Shown { delivered, read } = member.marks.shown();
                append(&mut payload, &MemberReceipt { member: member.user, delivered, read });
            }
            writers += 1;
            if payload.len() >= GROUP_RECEIPTS_BYTES {
                if !cx.has_home_credit(to, 1, payload.len()) {
                    return false;
                }
                cx.to_home(to, ToHome::GroupReceipts { conversation: *id, writers }, &payload);
                (writers, payload) = (0, Vec::new());
            }
        }
        if writers > 0 {
            if !cx.has_home_credit(to, 1, payload.len()) {
                return false;
            }
            cx.to_home(to, ToHome::GroupReceipts { conversation: *id, writers }, &payload);
        }
        true
    }
}
