//! What the members of a conversation have not received.

use tidings_wire::Seq;

use super::members::Members;

/// Which messages somebody who reads them has not received, besides whoever wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Undelivered {
    /// The member that has received least, by its place, and how far it is.
    whose: u32,
    least: Seq,
    /// How far the others are, at least.
    others: Seq,
}

impl Undelivered {
    /// Of those who are members now. What somebody cannot read it does not wait for.
    pub(crate) fn of(members: &Members) -> Self {
        let mut found = Self { whose: u32::MAX, least: Seq(u64::MAX), others: Seq(u64::MAX) };
        for (place, member) in (0..).zip(members.iter()).filter(|(_, member)| member.membership.is_current()) {
            let before = Seq(member.membership.stay.first.0.saturating_sub(1));
            let far = member.marks.delivered.max(before);
            found = if far < found.least {
                Self { whose: place, least: far, others: found.least }
            } else {
                Self { others: found.others.min(far), ..found }
            };
        }
        found
    }

    /// Everything up to this message was received by everybody.
    pub(crate) fn after(self) -> Seq {
        self.least
    }

    /// True of a message that the member of this place wrote.
    pub(crate) fn holds(self, seq: Seq, author: u32) -> bool {
        seq > if author == self.whose { self.others } else { self.least }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{conversation::membership::Membership, lanes::Watermarks};
    use tidings_wire::{UserId, frames::Role};

    #[test]
    fn what_somebody_else_who_reads_it_has_not_received_is_undelivered() {
        let (a, b, c) = (UserId([1; 16]), UserId([2; 16]), UserId([3; 16]));
        let mut members = Members::pair(a, b);
        let receives = |members: &mut Members, place: usize, upto| {
            members[place].marks.raise_to(Watermarks { delivered: Seq(upto), ..Watermarks::default() });
        };
        receives(&mut members, 0, 3);
        receives(&mut members, 1, 7);
        let undelivered = Undelivered::of(&members);
        assert_eq!(undelivered.after(), Seq(3));
        let of = |author| (1..10).filter(|seq| undelivered.holds(Seq(*seq), author)).min();
        assert_eq!((of(0), of(1)), (Some(8), Some(4)), "its own messages are not for whoever wrote them");
        // Whoever came later does not wait for what was there before.
        let later = members.entry(c, Membership::default);
        members.set_membership(later, Membership::default().joined(Seq(6), Role::Member, Seq(6)));
        receives(&mut members, 0, 7);
        let undelivered = Undelivered::of(&members);
        assert_eq!((undelivered.after(), undelivered.holds(Seq(6), 0)), (Seq(5), true));
        members.set_membership(later, Membership::default());
        assert_eq!(Undelivered::of(&members).after(), Seq(7), "it is no member any more");
    }
}
