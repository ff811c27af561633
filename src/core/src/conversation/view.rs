//! Judging an attempt to send. Changes nothing: it looks at what is committed and at what is proposed over it.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{ClientMsgId, DeviceId, ErrorCode, Seq, UserId, frames::Control};

use super::{
    membership::Membership,
    overlay::Overlay,
    state::{Size, State},
};
use crate::lanes::Watermarks;

/// A conversation as it will be if everything is committed that is proposed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// What is committed.
    pub(crate) state: &'a State,
    /// What is proposed.
    pub(crate) overlay: Option<&'a Overlay>,
}

/// An attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Index of the member who makes it.
    pub(crate) member: u32,
    /// On which device.
    pub(crate) device: DeviceId,
    /// Its name.
    pub(crate) id: ClientMsgId,
    /// The device's attempt before it, as the device says; 0: unknown.
    pub(crate) prev: ClientMsgId,
    /// The session has not sent here before. Only then an unknown `prev` is believed: later in a session it would let an
    /// attempt overtake a refused one.
    pub(crate) is_first: bool,
    /// The session's last attempt that was done before and has no number of its own (0: none), and the device's highest one then.
    pub(crate) done: (ClientMsgId, ClientMsgId),
}

/// How an attempt stands to what was accepted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The next one.
    New,
    /// Accepted before, as this message.
    Repeat(Seq),
    /// Another attempt did the same, as this message: there is nothing left to do.
    Done(Seq),
    /// It cannot be accepted: why, and the device's highest attempt that is committed.
    Refused(ErrorCode, ClientMsgId),
}

impl<'a> View<'a> {
    /// The last number given out.
    pub(crate) fn head(&self) -> Seq {
        self.overlay.and_then(Overlay::last).map_or(self.state.head, |fact| fact.seq)
    }

    /// Messages with content, as far as they have numbers.
    pub(crate) fn ordinal(&self) -> u64 {
        self.overlay.and_then(Overlay::last).map_or(self.state.ordinal, |fact| fact.ordinal)
    }

    /// True if no feature keeps anything, as in most one-to-one conversations.
    pub(crate) fn keeps_nothing(&self) -> bool {
        self.state.settings.is_empty() && self.overlay.is_none_or(Overlay::keeps_nothing)
    }

    /// What a feature keeps.
    pub(crate) fn kept(&self, control: Control) -> &'a [u8] {
        let proposed = self.overlay.and_then(|overlay| overlay.kept(control));
        proposed.unwrap_or_else(|| self.state.settings.get(control))
    }

    /// Which member a user is.
    pub(crate) fn member(&self, user: UserId) -> Option<usize> {
        self.state.member(user).or_else(|| Some(self.state.members.len() + self.overlay?.arrival(user)?))
    }

    /// How many are or were members.
    pub(crate) fn members(&self) -> usize {
        self.state.members.len() + self.overlay.map_or(0, Overlay::arrivals)
    }

    /// Who a member is.
    ///
    /// # Panics
    /// If there is no such member.
    pub(crate) fn user(&self, member: usize) -> UserId {
        let known = self.state.members.len();
        if member < known {
            return self.state.members[member].user;
        }
        self.overlay.and_then(|overlay| overlay.arriving(member - known)).expect("a member has a place")
    }

    /// What a user may do and read, if it is or was a member.
    pub(crate) fn membership(&self, user: UserId) -> Option<&'a Membership> {
        let unseen = canary::is(Canary::ProposedUnseen) && self.state.member(user).is_some();
        let proposed = self.overlay.filter(|_| !unseen).and_then(|overlay| overlay.membership(user));
        proposed.or_else(|| Some(&self.state.members[self.state.member(user)?].membership))
    }

    /// The sum over all erasures that ever were, and those that are proposed.
    pub(crate) fn erasures_history(&self) -> u64 {
        let proposed = self.overlay.into_iter().flat_map(Overlay::erasures);
        proposed.fold(self.state.erasures.history(), |sum, erasure| sum.wrapping_add(erasure.hash()))
    }

    /// The message that withdrew another one, if one did.
    pub(crate) fn erasure(&self, target: Seq) -> Option<Seq> {
        self.overlay.and_then(|overlay| overlay.erasure(target)).or_else(|| self.state.erasures.of(target))
    }

    /// How many are members.
    pub(crate) fn current(&self) -> usize {
        self.state.members.current().saturating_add_signed(self.overlay.map_or(0, Overlay::gained))
    }

    /// Whether it is large.
    pub(crate) fn size(&self) -> Size {
        self.overlay.and_then(Overlay::last).map_or(self.state.size, |fact| fact.size)
    }

    /// How far a member is.
    pub(crate) fn marks(&self, member: usize) -> Watermarks {
        let known = member < self.state.members.len();
        let mut marks = if known { self.state.members[member].marks } else { Watermarks::default() };
        marks.raise_to(self.overlay.map_or(Watermarks::default(), |overlay| overlay.marks(member)));
        marks
    }

    /// The highest attempt of a device, proposed or committed; `None`: nothing is remembered of it.
    pub(crate) fn highest(&self, member: u32, device: DeviceId) -> Option<ClientMsgId> {
        let proposed = self.overlay.and_then(|overlay| overlay.highest(member, device));
        let known = (member as usize) < self.state.members.len();
        proposed.or_else(|| known.then(|| self.state.attempts(member, device))?.map(|attempts| attempts.highest()))
    }

    /// Judges an attempt.
    pub(crate) fn judge(&self, attempt: &Attempt) -> Verdict {
        let &Attempt { member, device, id, prev, is_first, done } = attempt;
        // Somebody who is only being brought in has sent nothing that is committed.
        let known = (member as usize) < self.state.members.len();
        let committed = known.then(|| self.state.attempts(member, device)).flatten();
        let floor = if known { self.state.members[member as usize].floor } else { ClientMsgId(0) };
        let told = committed.map_or(floor, |attempts| attempts.highest());
        let Some(highest) = self.highest(member, device) else {
            // Nothing is remembered of the device: it may have written here, and be forgotten.
            return match prev {
                _ if id <= floor => Verdict::Refused(ErrorCode::Stale, floor),
                ClientMsgId(0) => Verdict::New,
                prev if done == (prev, ClientMsgId(0)) => Verdict::New,
                _ => Verdict::Refused(ErrorCode::OutOfOrder, floor),
            };
        };
        if id > highest {
            let after_done = done.0 > highest && done == (prev, highest);
            let follows = prev == highest || prev == ClientMsgId(0) && is_first || after_done;
            return if follows { Verdict::New } else { Verdict::Refused(ErrorCode::OutOfOrder, told) };
        }
        let proposed = self.overlay.and_then(|overlay| overlay.find(member, device, id));
        match proposed.or_else(|| committed?.find(id)) {
            Some(seq) => Verdict::Repeat(seq),
            None => Verdict::Refused(ErrorCode::Stale, told),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_wire::{ConversationId, Timestamp, UserId, limits::REMEMBERED};

    use super::{super::state::MessageFact, *};
    use crate::{
        conversation::changes::Changes,
        features::{FEATURES, Weight},
    };

    const HERE: (&[crate::features::Row], ConversationId) = (FEATURES, ConversationId::NONE);

    fn id(value: u64) -> ClientMsgId {
        ClientMsgId(value)
    }

    fn fact(seq: u64, attempt: u64) -> MessageFact {
        let (ts, client_msg_id) = (Timestamp(seq), ClientMsgId(attempt));
        let (control, target, ordinal, weight) = (Control::TEXT, Seq(0), seq, Weight::Content);
        MessageFact {
            seq: Seq(seq),
            ts,
            sender: UserId([1; 16]),
            member: 0,
            device: DeviceId(1),
            client_msg_id,
            control,
            target,
            weight,
            ordinal,
            size: Size::Small,
            expires_at: Timestamp(0),
        }
    }

    fn attempt(id: u64, prev: u64, is_first: bool) -> Attempt {
        let (id, prev, done) = (ClientMsgId(id), ClientMsgId(prev), Default::default());
        Attempt { member: 0, device: DeviceId(1), id, prev, is_first, done }
    }

    #[test]
    fn order_holds_when_one_of_a_pipeline_is_refused_and_only_what_is_committed_is_told() {
        let (mut state, mut overlay) = (State::direct(UserId([1; 16]), UserId([2; 16])), Overlay::default());
        state.apply_message(HERE, &fact(1, 3), &[]);
        overlay.push(fact(2, 4), Changes::default(), &state.members);
        let view = View { state: &state, overlay: Some(&overlay) };
        let refused = Verdict::Refused(ErrorCode::OutOfOrder, id(3));
        // 5 is refused on its way here; 6 and 7 name it.
        assert_eq!(view.judge(&attempt(6, 5, false)), refused);
        assert_eq!(view.judge(&attempt(7, 0, false)), refused, "unknown, but not the first");
        assert_eq!(view.judge(&attempt(5, 4, false)), Verdict::New);
        assert_eq!(view.judge(&attempt(9, 0, true)), Verdict::New, "the first after connecting");
        assert_eq!(view.judge(&attempt(4, 0, true)), Verdict::Repeat(Seq(2)));
        assert_eq!(view.judge(&attempt(3, 0, true)), Verdict::Repeat(Seq(1)));
        assert_eq!(view.head(), Seq(2));
    }

    #[test]
    fn repeats_get_their_answer_until_they_are_stale() {
        let mut state = State::direct(UserId([1; 16]), UserId([2; 16]));
        for value in 1..=REMEMBERED as u64 + 1 {
            state.apply_message(HERE, &fact(value, value * 10), &[]);
        }
        let view = View { state: &state, overlay: None };
        let stale = Verdict::Refused(ErrorCode::Stale, id(10 * (REMEMBERED as u64 + 1)));
        assert_eq!(view.judge(&attempt(20, 0, true)), Verdict::Repeat(Seq(2)));
        assert_eq!(view.judge(&attempt(10, 0, true)), stale);
        assert_eq!(view.judge(&attempt(25, 20, false)), stale, "skipped and overtaken");
    }

    #[test]
    fn an_attempt_of_a_device_that_may_be_forgotten_is_never_new() {
        let mut state = State::direct(UserId([1; 16]), UserId([2; 16]));
        state.members[0].floor = id(50);
        let view = View { state: &state, overlay: None };
        assert_eq!(view.judge(&attempt(50, 0, true)), Verdict::Refused(ErrorCode::Stale, id(50)));
        assert_eq!(view.judge(&attempt(51, 0, true)), Verdict::New);
        assert_eq!(view.judge(&attempt(51, 49, true)), Verdict::Refused(ErrorCode::OutOfOrder, id(50)));
    }
}
