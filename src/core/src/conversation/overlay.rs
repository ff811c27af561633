//! What is proposed in a conversation and not committed: laid over the committed state while it waits, and dropped without a trace if it
//! never is. Overlays are pooled, since few conversations have one at a time and all have one again and again.

use alloc::{collections::VecDeque, vec::Vec};

use tidings_wire::{BatchPosition, ClientMsgId, DeviceId, Seq};

use super::state::{MessageFact, State};
use crate::lanes::Watermarks;

/// The proposals of one conversation.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// Messages, in their order.
    messages: VecDeque<MessageFact>,
    /// How far receipts would raise the members' watermarks.
    pub(crate) marks: [Watermarks; 2],
    /// Each member's receipt record that may still be changed in place.
    pub(crate) receipts: [Option<BatchPosition>; 2],
    /// Receipt records that wait.
    receipts_waiting: u32,
}

impl Overlay {
    /// The last message that is proposed.
    pub(crate) fn last(&self) -> Option<&MessageFact> {
        self.messages.back()
    }

    /// A proposed message, counted from the first.
    pub(crate) fn nth(&self, at: usize) -> Option<&MessageFact> {
        self.messages.get(at)
    }

    /// The highest proposed attempt of a device.
    pub(crate) fn highest(&self, member: u8, device: DeviceId) -> Option<ClientMsgId> {
        self.of(member, device).next_back().map(|fact| fact.client_msg_id)
    }

    /// The number that a proposed attempt would get.
    pub(crate) fn find(&self, member: u8, device: DeviceId, id: ClientMsgId) -> Option<Seq> {
        self.of(member, device).find(|fact| fact.client_msg_id == id).map(|fact| fact.seq)
    }

    fn of(&self, member: u8, device: DeviceId) -> impl DoubleEndedIterator<Item = &MessageFact> {
        self.messages.iter().filter(move |fact| (fact.member, fact.device) == (member, device))
    }

    /// A message is proposed.
    pub(crate) fn push(&mut self, fact: MessageFact) {
        self.messages.push_back(fact);
    }

    /// The first proposed message is committed.
    ///
    /// # Panics
    /// If none is proposed: each message that waits is here.
    pub(crate) fn pop_first(&mut self) -> MessageFact {
        self.messages.pop_front().expect("a message that waits for its commit is in the overlay")
    }

    /// The last proposed message is dropped.
    pub(crate) fn drop_last(&mut self) {
        self.messages.pop_back();
    }

    /// A receipt is proposed.
    pub(crate) fn push_receipt(&mut self, member: usize, at: BatchPosition) {
        self.receipts[member] = Some(at);
        self.receipts_waiting += 1;
    }

    /// A proposed receipt is committed or dropped.
    pub(crate) fn pop_receipt(&mut self, member: usize, at: BatchPosition) {
        self.receipts[member].take_if(|open| *open == at);
        self.receipts_waiting -= 1;
    }

    /// True if nothing is proposed.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.receipts_waiting == 0
    }

    /// The state as it will be if all of it is committed.
    pub(crate) fn over(&self, state: &State) -> State {
        let mut merged = state.clone();
        self.messages.iter().for_each(|fact| merged.apply_message(fact));
        (0..2).for_each(|member| merged.apply_receipt(member, self.marks[member]));
        merged
    }
}

/// The overlays of a reactor.
#[derive(Debug, Default)]
pub(crate) struct Overlays {
    all: Vec<Overlay>,
    free: Vec<u32>,
}

/// Names no overlay.
pub(crate) const NO_OVERLAY: u32 = u32::MAX;

impl Overlays {
    /// The overlay that `slot` names.
    pub(crate) fn get(&self, slot: u32) -> Option<&Overlay> {
        self.all.get(slot as usize)
    }

    /// The overlay that `slot` names, taken from the pool if it names none.
    pub(crate) fn get_mut(&mut self, slot: &mut u32) -> &mut Overlay {
        if *slot == NO_OVERLAY {
            *slot = self.free.pop().unwrap_or_else(|| {
                self.all.push(Overlay::default());
                self.all.len() as u32 - 1
            });
        }
        &mut self.all[*slot as usize]
    }

    /// Gives an overlay back to the pool if nothing is in it.
    pub(crate) fn release(&mut self, slot: &mut u32) {
        let Some(overlay) = self.all.get_mut(*slot as usize).filter(|overlay| overlay.is_empty()) else { return };
        (overlay.marks, overlay.receipts) = ([Watermarks::default(); 2], [None; 2]);
        self.free.push(core::mem::replace(slot, NO_OVERLAY));
    }
}
