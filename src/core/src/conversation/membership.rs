//! What a member may do and read. It stays for ever: who was removed keeps what it had, and reads nothing later.

use alloc::{boxed::Box, vec::Vec};

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    Seq,
    frames::{Fetch, FetchOrder, Role},
};

use super::state::ReplayError;
use crate::{
    digest::Digest,
    limits::STAYS_MAX,
    records::{MembershipRecord, StayRecord, put, take},
};

/// Numbers that a member can read, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stay {
    /// The first.
    pub(crate) first: Seq,
    /// The last; 0: whatever is the head.
    pub(crate) last: Seq,
}

/// A member's place in a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// What it may do; [`Role::None`]: it is no member any more.
    pub(crate) role: Role,
    /// The message that added it last; 0 of somebody who always was.
    pub(crate) joined: Seq,
    /// What it can read since then; begins at 0 of somebody who never was a member.
    pub(crate) stay: Stay,
    /// Messages with content that there were when it left; 0 of a member.
    left_at: u64,
    /// What it can read of the times before, in rising order.
    earlier: Box<[Stay]>,
}

impl Default for Stay {
    fn default() -> Self {
        Self { first: Seq(0), last: Seq(0) }
    }
}

impl Membership {
    /// One of the two of a one-to-one conversation.
    pub(crate) fn of_two() -> Self {
        Self { role: Role::Member, stay: Stay { first: Seq(1), last: Seq(0) }, ..Self::default() }
    }

    /// Message `joined` makes it a member, who reads from `first` on.
    pub(crate) fn joined(&self, joined: Seq, role: Role, first: Seq) -> Self {
        let ends_before = |stay: &Stay| Stay { last: stay.last.min(Seq(first.0 - 1)), ..*stay };
        let kept = self.stays().map(|stay| ends_before(&stay)).filter(|stay| stay.first <= stay.last);
        let mut earlier: Vec<Stay> = kept.collect();
        earlier.drain(..earlier.len().saturating_sub(STAYS_MAX - 1));
        Self { role, joined, stay: Stay { first, last: Seq(0) }, left_at: 0, earlier: earlier.into_boxed_slice() }
    }

    /// Message `last`, which it still gets, takes it out; `ordinal` messages have content up to there.
    pub(crate) fn left(&self, last: Seq, ordinal: u64) -> Self {
        Self { role: Role::None, stay: Stay { last, ..self.stay }, left_at: ordinal, ..self.clone() }
    }

    /// It may do something else.
    pub(crate) fn with_role(&self, role: Role) -> Self {
        Self { role, ..self.clone() }
    }

    /// True if it is a member.
    pub(crate) fn is_current(&self) -> bool {
        self.role != Role::None
    }

    /// True if it is a member or was one.
    pub(crate) fn was_ever(&self) -> bool {
        self.stay.first > Seq(0)
    }

    /// True if it is told of message `seq`, the head.
    pub(crate) fn is_told(&self, seq: Seq) -> bool {
        let former = canary::is(Canary::FormerTold) || self.stay.last == seq;
        self.is_current() || self.was_ever() && former
    }

    /// The last message that it can read of a conversation with this head.
    pub(crate) fn reach(&self, head: Seq) -> Seq {
        if self.is_current() || self.was_ever() && canary::is(Canary::StayIgnored) { head } else { self.stay.last }
    }

    /// The messages with content that it may know of in a conversation with so many.
    pub(crate) fn content(&self, ordinal: u64) -> u64 {
        if self.is_current() { ordinal } else { self.left_at }
    }

    fn stays(&self) -> impl Iterator<Item = Stay> {
        self.earlier.iter().copied().chain(Some(self.stay).filter(|_| self.was_ever()))
    }

    /// True if it can read message `seq` of a conversation.
    pub(crate) fn reads(&self, seq: Seq) -> bool {
        self.stays().any(|stay| stay.first <= seq && (stay.last == Seq(0) || seq <= stay.last))
    }

    /// The part of a FETCH that one page can answer: the numbers it answers for, and those among them that can be read. What lies
    /// between two stays is answered for together with the one after it, or, if the last messages are wanted, before it.
    pub(crate) fn part(&self, fetch: &Fetch, head: Seq) -> Part {
        let reach = self.reach(head);
        let from = fetch.from.max(Seq(1));
        let upto = if fetch.upto == Seq(0) { reach } else { fetch.upto.min(reach) };
        let ignored = canary::is(Canary::StayIgnored);
        let closed = self
            .stays()
            .map(|stay| Stay { last: if stay.last == Seq(0) || ignored { reach } else { stay.last }, ..stay });
        let nothing = Part { from, upto, readable: (Seq(1), Seq(0)) };
        match fetch.order {
            FetchOrder::Upward => {
                let mut stays = closed.skip_while(|stay| stay.last < from);
                let stay = stays.next().filter(|stay| stay.first <= upto);
                stay.map_or(nothing, |stay| Part { from, upto: upto.min(stay.last), readable: (stay.first, stay.last) })
            }
            FetchOrder::Last => {
                let below = closed.take_while(|stay| stay.first <= upto).filter(|stay| stay.last >= from);
                let mut last_two = (None, None);
                below.for_each(|stay| last_two = (last_two.1, Some(stay)));
                let Some(stay) = last_two.1 else { return nothing };
                let from = last_two.0.map_or(from, |before: Stay| from.max(before.last.next()));
                Part { from, upto, readable: (stay.first, stay.last) }
            }
        }
    }

    /// Writes all of it.
    pub(crate) fn write(&self, body: &mut Vec<u8>) {
        let Self { role, joined, stay: Stay { first, last }, left_at: content, ref earlier } = *self;
        let count = u8::try_from(earlier.len()).expect("bounded by STAYS_MAX");
        put(body, &MembershipRecord { role, joined, first, last, earlier: count, content });
        earlier.iter().for_each(|stay| put(body, &StayRecord { first: stay.first, last: stay.last }));
    }

    /// What [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`ReplayError::Body`].
    pub(crate) fn read(body: &mut &[u8]) -> Result<Self, ReplayError> {
        let record: MembershipRecord = take(body).map_err(|_| ReplayError::Body)?;
        let mut earlier = Vec::new();
        for _ in 0..record.earlier {
            let StayRecord { first, last } = take(body).map_err(|_| ReplayError::Body)?;
            earlier.push(Stay { first, last });
        }
        let MembershipRecord { role, joined, first, last, content: left_at, .. } = record;
        Ok(Self { role, joined, stay: Stay { first, last }, left_at, earlier: earlier.into_boxed_slice() })
    }

    /// Adds all of it to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        digest.words(&[self.role as u64, self.joined.0, self.left_at]);
        self.stays().for_each(|stay| digest.words(&[stay.first.0, stay.last.0]));
    }
}

/// See [`Membership::part`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The first number that is answered for.
    pub(crate) from: Seq,
    /// The last.
    pub(crate) upto: Seq,
    /// The first and the last number that can be read.
    pub(crate) readable: (Seq, Seq),
}

#[cfg(test)]
mod tests {
    use tidings_wire::ConversationId;

    use super::*;

    fn fetch(from: u64, upto: u64, order: FetchOrder) -> Fetch {
        Fetch { conversation: ConversationId::NONE, from: Seq(from), upto: Seq(upto), limit: 0, order }
    }

    /// Pages in turn answer for every number that was asked for, and what they can read is what the member was there for.
    #[test]
    fn parts_cover_what_was_asked_for_and_hold_what_the_member_was_there_for() {
        let mut member = Membership::default().joined(Seq(1), Role::Member, Seq(1)).left(Seq(5), 4);
        member = member.joined(Seq(8), Role::Member, Seq(8)).left(Seq(8), 6).joined(Seq(12), Role::Admin, Seq(12));
        let was_there = |seq| (1..=5).contains(&seq) || seq == 8 || seq >= 12;
        for (current, reach) in [(member.clone(), 20), (member.left(Seq(15), 9), 15)] {
            for from in 1..=reach {
                for upto in from..=20 {
                    for order in [FetchOrder::Upward, FetchOrder::Last] {
                        let (mut low, mut high, mut read) = (from, upto.min(reach), Vec::new());
                        for _ in 0..9 {
                            if low > high {
                                break;
                            }
                            let part = current.part(&fetch(low, high, order), Seq(20));
                            let (first, last) = part.readable;
                            read.extend(first.0.max(part.from.0)..=last.0.min(part.upto.0));
                            match order {
                                FetchOrder::Upward => {
                                    assert_eq!(part.from.0, low);
                                    low = part.upto.0 + 1;
                                }
                                FetchOrder::Last => {
                                    assert_eq!(part.upto.0, high);
                                    high = part.from.0 - 1;
                                }
                            }
                        }
                        read.sort_unstable();
                        let expected: Vec<u64> = (from..=upto.min(reach)).filter(|seq| was_there(*seq)).collect();
                        assert_eq!((low > high, read), (true, expected), "{from}..={upto} {order:?} of {reach}");
                    }
                }
            }
        }
    }

    #[test]
    fn who_is_added_again_and_sees_everything_has_one_stay() {
        let member = Membership::default().joined(Seq(3), Role::Member, Seq(3)).left(Seq(5), 4);
        let again = member.joined(Seq(9), Role::Member, Seq(1));
        assert_eq!(again.stays().collect::<Vec<_>>(), [Stay { first: Seq(1), last: Seq(0) }]);
        let mut many = member;
        for at in 1..100 {
            many = many.joined(Seq(at * 10), Role::Member, Seq(at * 10)).left(Seq(at * 10 + 1), at);
        }
        assert_eq!(many.stays().count(), STAYS_MAX);
        let mut body = Vec::new();
        many.write(&mut body);
        assert_eq!(Membership::read(&mut &body[..]), Ok(many));
    }
}
