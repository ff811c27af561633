//! The committed state of a conversation: a function of its records, and of nothing else. A commit, recovery and (later) a follower
//! change it by the same [`State::apply_message`] and [`State::apply_receipt`].

use tidings_wire::{ClientMsgId, ConversationId, DeviceId, Seq, Timestamp, UserId};

use super::{dedup::DeviceAttempts, members::Members};
use crate::{digest::Digest, lanes::Watermarks};

/// Recovery read a record that cannot follow what it read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// A record's body is not what its kind says.
    Body,
    /// A record of a kind that this node cannot have written.
    Kind,
    /// A message's number does not follow the one before.
    Jump {
        /// Where.
        conversation: ConversationId,
        /// The number before.
        head: Seq,
        /// The number found.
        found: Seq,
    },
}

impl core::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Body => f.write_str("a record's body is invalid"),
            Self::Kind => f.write_str("a record is of a kind that is not understood here"),
            Self::Jump { conversation, head, found } => {
                write!(f, "conversation {conversation} jumps from {head} to {found}")
            }
        }
    }
}

impl core::error::Error for ReplayError {}

/// What a message's record says that changes the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageFact {
    /// Its number.
    pub(crate) seq: Seq,
    /// Its time.
    pub(crate) ts: Timestamp,
    /// Place of the member who sent it.
    pub(crate) member: u32,
    /// The device that it was written on.
    pub(crate) device: DeviceId,
    /// The device's attempt.
    pub(crate) client_msg_id: ClientMsgId,
}

/// The state.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Who is in it.
    pub(crate) members: Members,
    /// The last message.
    pub(crate) head: Seq,
    /// The last message's time.
    pub(crate) last_ts: Timestamp,
}

impl State {
    /// A one-to-one conversation without messages.
    pub(crate) fn direct(a: UserId, b: UserId) -> Self {
        Self { members: Members::pair(a, b), head: Seq(0), last_ts: Timestamp(0) }
    }

    /// Which member a user is.
    pub(crate) fn member(&self, user: UserId) -> Option<usize> {
        self.members.find(user)
    }

    /// The attempts of a device that is remembered.
    pub(crate) fn attempts(&self, member: u32, device: DeviceId) -> Option<&DeviceAttempts> {
        self.members[member as usize].attempts(device)
    }

    /// The next message.
    ///
    /// # Panics
    /// If it is not the next one: numbers have no gaps.
    pub(crate) fn apply_message(&mut self, fact: &MessageFact) {
        assert_eq!(fact.seq, self.head.next(), "numbers have no gaps");
        (self.head, self.last_ts) = (fact.seq, fact.ts);
        self.remember(fact);
    }

    /// Remembers the attempt that a message was.
    pub(super) fn remember(&mut self, fact: &MessageFact) {
        self.members[fact.member as usize].remember(fact.device, fact.client_msg_id, fact.seq);
    }

    /// A member's receipt.
    pub(crate) fn apply_receipt(&mut self, member: usize, marks: Watermarks) {
        self.members[member].marks.raise_to(marks);
    }

    /// Recovery goes on after messages that are not there: retention dropped them, and rows will say the rest.
    pub(crate) fn skip_to(&mut self, head: Seq) {
        self.head = head;
    }

    /// Adds all of it to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        digest.words(&[self.head.0, self.last_ts.0]);
        self.members.digest(digest);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::records::{MemberRow, take};

    #[test]
    fn what_is_written_reads_back_to_the_same_digest_in_any_order() {
        let mut state = State::direct(UserId([1; 16]), UserId([2; 16]));
        for at in 1..=40 {
            let (seq, device, client_msg_id) = (Seq(at), DeviceId((at % 36) as u32), ClientMsgId(at * 10));
            let member = (at % 5 == 0).into();
            state.apply_message(&MessageFact { seq, ts: Timestamp(at), member, device, client_msg_id });
        }
        state.apply_receipt(1, Watermarks { delivered: Seq(7), read: Seq(3) });
        let mut again = State { head: state.head, last_ts: state.last_ts, ..State::default() };
        for member in [1, 0] {
            let mut body = Vec::new();
            state.members[member].write(ConversationId([5; 16]), &mut body);
            let mut rest = &body[..];
            let row: MemberRow = take(&mut rest).unwrap();
            let at = again.members.entry(row.user);
            again.members[at].read(&row, &mut rest).unwrap();
            assert!(rest.is_empty());
        }
        let digest = |state: &State| {
            let mut digest = Digest::default();
            state.digest(&mut digest);
            digest.value()
        };
        assert_eq!(digest(&again), digest(&state));
        state.apply_receipt(1, Watermarks { delivered: Seq(8), read: Seq(3) });
        assert_ne!(digest(&again), digest(&state));
    }
}
