//! What a device may be refused.

use tidings_client::{ClientMsgId, ConversationId, ErrorCode};

use super::{World, about::ABOUT_REFUSALS, groups::GROUP_REFUSALS};

impl World {
    /// What is stored can be had, unless it was damaged or dropped, or there is too much to do; and foreign history cannot.
    pub(super) fn on_history_failed(&mut self, at: usize, code: ErrorCode) {
        self.stats.unreadable += 1;
        let twice_short = code == ErrorCode::HistoryUnavailable && self.weather.short_reads >= 2;
        self.weather.short_reads -= if twice_short { 2 } else { 0 };
        let harmed = twice_short || self.disk.borrow().media_faults > 0 || self.plan.drops_segments();
        // Whoever has hundreds of conversations, or many devices, may come to the rate of its pages.
        let reads_much = self.plan.acquaintances > 0 || self.plan.devices > 3;
        let right = matches!(code, ErrorCode::Busy | ErrorCode::NotMember | ErrorCode::FutureSeq)
            || code == ErrorCode::RateLimited && reads_much
            || code == ErrorCode::HistoryUnavailable && harmed;
        if !right {
            self.oracle.violate("I11", format!("device {at} is refused history: {code:?}"));
        }
    }

    /// A device is told that a stored message cannot be read: that must be so.
    pub(super) fn on_damage(&mut self, at: usize) {
        self.stats.damages += 1;
        if self.disk.borrow().media_faults == 0 {
            self.oracle.violate("I12", format!("device {at} is told that a message is damaged, and none is"));
        }
    }

    pub(super) fn on_send_failed(&mut self, at: usize, conversation: ConversationId, id: ClientMsgId, code: ErrorCode) {
        let Some(place) = self.oracle.place(conversation) else { return };
        let device = &mut self.devices[at];
        device.waiting = device.waiting.saturating_sub(1);
        let tag = device.tags.get(&(place, id)).copied();
        // Whoever makes a group does so in as many attempts as it likes, and one of them may be refused. One that a device repeats may
        // be refused, and then be taken.
        let repeats = self.devices[at].repeats.is_some();
        if let Some(tag) = tag.filter(|tag| !self.makes_group(*tag) && !repeats) {
            self.oracle.refused(tag, code);
        }
        self.stats.fault(code.name());
        // Only a repeat can be refused for good, of a message that is there and was answered so long ago that its answer is
        // forgotten; or of one that a repeater had never sent in its turn; or the first ones of a device that has forgotten
        // that its clock was ahead of what it is now.
        let is_about = tag.is_some_and(|tag| self.oracle.is_about(tag));
        if is_about && ABOUT_REFUSALS.contains(&code) || conversation.is_group() && GROUP_REFUSALS.contains(&code) {
            return;
        }
        // Who takes somebody into a group may have been blocked by it.
        let user = self.user_of(at);
        if code == ErrorCode::Blocked && conversation.is_group() && self.oracle.durable.blocks.was_blocked(user) {
            return;
        }
        let there = tag.is_some_and(|tag| self.oracle.durable.has(conversation, tag));
        let clock = self.devices[at].clock;
        // One that was refused, in a group or as something about a message, before its device was set back is asked for again, after others were accepted; its application
        // may not have been told of the refusal.
        let set_back = (conversation.is_group() || is_about) && self.devices[at].came_back;
        let again = set_back || tag.is_some_and(|tag| self.oracle.was_refused(tag));
        let confused = self.plan.repeaters > 0 || clock.was_behind || again;
        if code != ErrorCode::Stale || !there && !confused {
            self.oracle.violate("I3", format!("device {at} is told that {tag:x?} can never be sent: {code:?}"));
        }
    }
}
