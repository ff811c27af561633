//! What is proposed in a conversation and not committed: laid over the committed state while it waits, and dropped without a trace if it
//! never is. Overlays are pooled, since few conversations have one at a time and all have one again and again.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use tidings_wire::{BatchPosition, ClientMsgId, DeviceId, Seq, UserId, frames::Control};

use super::{
    blocks::{self, Blocks},
    changes::{Change, Changes},
    erasures::Erasure,
    members::{Member, Members},
    membership::Membership,
    state::{MessageFact, Settings},
};
use crate::{
    features::Weight,
    lanes::Watermarks,
    narrow::{to_u32, to_usize},
};

/// A receipt's record that waits, and what it would raise a member's watermarks to.
#[derive(Clone, Copy, Debug)]
struct Raise {
    member: usize,
    at: BatchPosition,
    marks: Watermarks,
}

/// The proposals of one conversation.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// Messages, in their order.
    messages: VecDeque<MessageFact>,
    /// Receipts, in the order of their records: those of a member say more and more.
    receipts: Vec<Raise>,
    /// What features will keep, with the numbers of messages; later ones count.
    kept: VecDeque<(Seq, Control, Box<[u8]>)>,
    /// Whose memberships messages change, and how many members more there are for it.
    members: VecDeque<(Seq, UserId, i8)>,
    /// What they become, by user; later ones count.
    memberships: BTreeMap<UserId, VecDeque<Membership>>,
    /// How many members more there will be.
    gained: isize,
    /// Whom they bring in who was never a member, in the order in which members will have their places.
    arrivals: VecDeque<(Seq, UserId)>,
    /// Which of them each is, counted from the first that ever was here.
    arrival_places: BTreeMap<UserId, u64>,
    /// How many have arrived.
    arrived: u64,
    /// What they withdraw, each by one.
    erased: VecDeque<Erasure>,
    /// The same, by target.
    erasures: BTreeMap<Seq, Seq>,
    /// Who will block whom, each as its record says it.
    blocks: VecDeque<(BatchPosition, Blocks)>,
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
    pub(crate) fn highest(&self, member: u32, device: DeviceId) -> Option<ClientMsgId> {
        self.of(member, device).next_back().map(|fact| fact.client_msg_id)
    }

    /// The number that a proposed attempt would get.
    pub(crate) fn find(&self, member: u32, device: DeviceId, id: ClientMsgId) -> Option<Seq> {
        self.of(member, device).find(|fact| fact.client_msg_id == id).map(|fact| fact.seq)
    }

    fn of(&self, member: u32, device: DeviceId) -> impl DoubleEndedIterator<Item = &MessageFact> {
        // What the server wrote for a member is an attempt of no device.
        let is_of = move |fact: &&MessageFact| {
            (fact.member, fact.device) == (member, device) && fact.client_msg_id > ClientMsgId(0)
        };
        self.messages.iter().filter(is_of)
    }

    /// A message is proposed, with what it changes; `members` are those who are there already.
    pub(crate) fn push(&mut self, fact: MessageFact, changes: Changes, members: &Members) {
        self.messages.push_back(fact);
        if changes.is_empty() {
            return; // as of most: text
        }
        for change in changes.into_iter() {
            match change {
                Change::Keep(control, kept) => self.kept.push_back((fact.seq, control, kept)),
                Change::Member(user, membership) => self.push_member(fact.seq, user, membership, members),
                Change::Erase(target) => {
                    self.erased.push_back(Erasure { target, by: fact.seq });
                    self.erasures.insert(target, fact.seq);
                }
            }
        }
    }

    fn push_member(&mut self, seq: Seq, user: UserId, membership: Membership, members: &Members) {
        let known = members.find(user);
        if known.is_none() && self.arrival(user).is_none() {
            self.arrival_places.insert(user, self.arrived + self.arrivals.len() as u64);
            self.arrivals.push_back((seq, user));
        }
        let committed = || known.map(|at| &members[at].membership);
        let was_member = self.membership(user).or_else(committed).is_some_and(Membership::is_current);
        let gained = i8::from(membership.is_current()) - i8::from(was_member);
        self.gained += isize::from(gained);
        self.members.push_back((seq, user, gained));
        self.memberships.entry(user).or_default().push_back(membership);
    }

    /// The first proposed message is committed.
    ///
    /// # Panics
    /// If none is proposed: each message that waits is here.
    pub(crate) fn pop_first(&mut self) -> MessageFact {
        let fact = self.messages.pop_front().expect("a message that waits for its commit is in the overlay");
        while self.kept.pop_front_if(|(seq, ..)| *seq <= fact.seq).is_some() {}
        while let Some((_, user, gained)) = self.members.pop_front_if(|(seq, ..)| *seq <= fact.seq) {
            self.gained -= isize::from(gained);
            self.forget(user, VecDeque::pop_front);
        }
        while let Some((_, user)) = self.arrivals.pop_front_if(|(seq, _)| *seq <= fact.seq) {
            self.arrived += 1;
            self.arrival_places.remove(&user);
        }
        while let Some(erasure) = self.erased.pop_front_if(|erasure| erasure.by <= fact.seq) {
            self.erasures.remove(&erasure.target);
        }
        fact
    }

    fn forget(&mut self, user: UserId, take: fn(&mut VecDeque<Membership>) -> Option<Membership>) {
        let of_user = self.memberships.get_mut(&user).expect("a change of a membership has one");
        take(of_user);
        if of_user.is_empty() {
            self.memberships.remove(&user);
        }
    }

    /// The last proposed message is dropped.
    pub(crate) fn drop_last(&mut self) {
        let Some(fact) = self.messages.pop_back() else { return };
        while self.kept.pop_back_if(|(seq, ..)| *seq >= fact.seq).is_some() {}
        while let Some((_, user, gained)) = self.members.pop_back_if(|(seq, ..)| *seq >= fact.seq) {
            self.gained -= isize::from(gained);
            self.forget(user, VecDeque::pop_back);
        }
        while let Some((_, user)) = self.arrivals.pop_back_if(|(seq, _)| *seq >= fact.seq) {
            self.arrival_places.remove(&user);
        }
        while let Some(erasure) = self.erased.pop_back_if(|erasure| erasure.by >= fact.seq) {
            self.erasures.remove(&erasure.target);
        }
    }

    /// The message that would withdraw another one.
    pub(crate) fn erasure(&self, target: Seq) -> Option<Seq> {
        self.erasures.get(&target).copied()
    }

    /// What would be withdrawn, in the order in which it would be.
    pub(crate) fn erasures(&self) -> impl ExactSizeIterator<Item = Erasure> {
        self.erased.iter().copied()
    }

    /// The proposed message of a number.
    pub(crate) fn message(&self, seq: Seq) -> Option<&MessageFact> {
        let first = self.messages.front()?.seq;
        self.messages.get(to_usize(seq.0.checked_sub(first.0)?))
    }

    /// How many members are brought in.
    pub(crate) fn arrivals(&self) -> usize {
        self.arrivals.len()
    }

    /// Which of those who are brought in a user is.
    pub(crate) fn arrival(&self, user: UserId) -> Option<usize> {
        self.arrival_places.get(&user).map(|place| to_usize(place - self.arrived))
    }

    /// Who is brought in as the `nth`.
    pub(crate) fn arriving(&self, nth: usize) -> Option<UserId> {
        self.arrivals.get(nth).map(|(_, user)| *user)
    }

    /// What a user's membership will be, if that is something else than it is.
    pub(crate) fn membership(&self, user: UserId) -> Option<&Membership> {
        self.memberships.get(&user)?.back()
    }

    /// How many members more there will be; fewer, if negative.
    pub(crate) fn gained(&self) -> isize {
        self.gained
    }

    /// True if no feature will keep anything else than it keeps.
    pub(crate) fn keeps_nothing(&self) -> bool {
        self.kept.is_empty()
    }

    /// What a feature will keep, if that is something else than what it keeps.
    pub(crate) fn kept(&self, control: Control) -> Option<&[u8]> {
        self.kept.iter().rev().find_map(|(_, by, kept)| (*by == control).then_some(&**kept))
    }

    /// Who will block whom, if that is something else than it is.
    pub(crate) fn blocks(&self) -> Option<Blocks> {
        self.blocks.back().map(|(_, blocks)| *blocks)
    }

    /// True if somebody will block somebody, or stop.
    pub(crate) fn changes_blocks(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// It is proposed that somebody blocks somebody else, or stops.
    pub(crate) fn push_blocks(&mut self, at: BatchPosition, blocks: Blocks) {
        self.blocks.push_back((at, blocks));
    }

    /// What was proposed of it is committed, or dropped.
    ///
    /// # Panics
    /// If it does not wait.
    pub(crate) fn take_blocks(&mut self, at: BatchPosition) {
        let found = self.blocks.iter().position(|(of, _)| *of == at);
        self.blocks.remove(found.expect("a record that waits for its commit is in the overlay"));
    }

    /// What features will keep.
    pub(crate) fn over_settings(&self, settings: &Settings) -> Settings {
        let mut merged = settings.clone();
        self.kept.iter().for_each(|(_, control, kept)| merged.set(*control, kept));
        self.blocks().into_iter().for_each(|blocks| merged.set(blocks::KEPT_AS, &blocks.bytes()));
        merged
    }

    /// How far receipts would raise a member's watermarks.
    pub(crate) fn marks(&self, member: usize) -> Watermarks {
        self.raise(member).map_or(Watermarks::default(), |raise| raise.marks)
    }

    /// The record of a member's last receipt: it may be changed in place as long as it is not sealed.
    pub(crate) fn open_receipt(&self, member: usize) -> Option<BatchPosition> {
        Some(self.raise(member)?.at)
    }

    fn raise(&self, member: usize) -> Option<&Raise> {
        self.receipts.iter().rfind(|raise| raise.member == member)
    }

    /// A receipt is proposed, in a record of its own or (`None`) in its member's last one.
    pub(crate) fn push_receipt(&mut self, member: usize, marks: Watermarks, record: Option<BatchPosition>) {
        match record {
            Some(at) => self.receipts.push(Raise { member, at, marks }),
            None => {
                let last = self.receipts.iter_mut().rfind(|raise| raise.member == member);
                last.expect("a record that is changed waits").marks = marks;
            }
        }
    }

    /// A proposed receipt is committed, or dropped: what others say stays.
    ///
    /// # Panics
    /// If it does not wait.
    pub(crate) fn take_receipt(&mut self, member: usize, at: BatchPosition) {
        let found = self.receipts.iter().position(|raise| (raise.member, raise.at) == (member, at));
        self.receipts.remove(found.expect("a receipt that waits for its commit is in the overlay"));
    }

    /// True if nothing is proposed.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.receipts.is_empty() && self.blocks.is_empty()
    }

    /// A member as it will be if all of it is committed.
    pub(crate) fn over_member(&self, member: &Member, place: usize) -> Member {
        let mut merged = member.clone();
        for fact in self.messages.iter().filter(|fact| fact.member as usize == place) {
            merged.remember(fact.device, fact.client_msg_id, fact.seq);
            if fact.weight == Weight::Content {
                merged.has_seen(fact.ordinal);
            }
        }
        merged.marks.raise_to(self.marks(place));
        if let Some(membership) = self.membership(member.user) {
            if let Some(joined) = self.messages.iter().find(|fact| fact.seq == membership.joined) {
                merged.has_seen(joined.ordinal);
            }
            merged.membership = membership.clone();
        }
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
                to_u32(self.all.len() - 1)
            });
        }
        &mut self.all[*slot as usize]
    }

    /// Gives an overlay back to the pool if nothing is in it.
    pub(crate) fn release(&mut self, slot: &mut u32) {
        if let Some(overlay) = self.get(*slot).filter(|overlay| overlay.is_empty()) {
            let nothing = overlay.kept.is_empty() && overlay.members.is_empty() && overlay.arrivals.is_empty();
            let nothing = nothing && overlay.erased.is_empty() && overlay.erasures.is_empty();
            assert!(nothing && overlay.gained == 0, "what no message proposes is not there");
            self.free.push(core::mem::replace(slot, NO_OVERLAY));
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_wire::Lsn;

    use super::*;

    #[test]
    fn a_dropped_receipt_leaves_what_the_one_before_it_said() {
        let marks =
            |delivered, read| Watermarks { delivered: Seq(delivered), read: Seq(read), shown: Seq(read), seen: 0 };
        let at = |offset| BatchPosition { lsn: Lsn(1), offset };
        let mut overlay = Overlay::default();
        overlay.push_receipt(0, marks(5, 0), Some(at(1)));
        overlay.push_receipt(1, marks(2, 2), Some(at(2)));
        overlay.push_receipt(0, marks(9, 9), None);
        overlay.push_receipt(0, marks(12, 9), Some(at(3)));
        assert_eq!((overlay.marks(0), overlay.open_receipt(0)), (marks(12, 9), Some(at(3))));
        overlay.take_receipt(0, at(3));
        assert_eq!((overlay.marks(0), overlay.marks(1)), (marks(9, 9), marks(2, 2)));
        overlay.take_receipt(0, at(1));
        assert_eq!((overlay.marks(0), overlay.open_receipt(0)), (Watermarks::default(), None));
        assert!(!overlay.is_empty());
    }
}
