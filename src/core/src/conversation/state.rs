//! The committed state of a conversation: a function of its records, and of nothing else. A commit, recovery and (later) a follower
//! change it by the same [`State::apply_message`] and [`State::apply_receipt`].

use alloc::vec::Vec;

use tidings_wire::{ClientMsgId, ConversationId, DeviceId, Seq, Timestamp, UserId};

use super::dedup::DeviceAttempts;
use crate::{
    digest::Digest,
    lanes::Watermarks,
    limits::{DEVICES_PER_MEMBER, GUESTS_PER_MEMBER},
    records::{ConversationRecord, DeviceRecord, PairRecord, put, take},
};

/// Recovery read a record that cannot follow what it read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// A record's body is not what its kind says.
    Body,
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
            Self::Jump { conversation, head, found } => {
                write!(f, "conversation {conversation} jumps from {head} to {found}")
            }
        }
    }
}

impl core::error::Error for ReplayError {}

/// One of the two members of a one-to-one conversation.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Who.
    pub(crate) user: UserId,
    /// How far the member is.
    pub(crate) marks: Watermarks,
    /// The highest attempt that was ever forgotten of the member's devices: at or below it, an attempt of a device that is not
    /// remembered may be a repeat.
    pub(crate) floor: ClientMsgId,
}

/// What a message's record says that changes the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageFact {
    /// Its number.
    pub(crate) seq: Seq,
    /// Its time.
    pub(crate) ts: Timestamp,
    /// Index of the member who sent it.
    pub(crate) member: u8,
    /// The device that it was written on.
    pub(crate) device: DeviceId,
    /// The device's attempt.
    pub(crate) client_msg_id: ClientMsgId,
}

/// The state.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Who is in it, the lesser first.
    pub(crate) members: [Member; 2],
    /// The last message.
    pub(crate) head: Seq,
    /// The last message's time.
    pub(crate) last_ts: Timestamp,
    devices: Vec<DeviceAttempts>,
}

impl State {
    pub(crate) fn new(a: UserId, b: UserId) -> Self {
        let member = |user| Member { user, marks: Watermarks::default(), floor: ClientMsgId(0) };
        let members = [member(a.min(b)), member(a.max(b))];
        Self { members, head: Seq(0), last_ts: Timestamp(0), devices: Vec::new() }
    }

    /// Which member a user is.
    pub(crate) fn member(&self, user: UserId) -> Option<usize> {
        self.members.iter().position(|member| member.user == user)
    }

    /// The attempts of a device that is remembered.
    pub(crate) fn attempts(&self, member: u8, device: DeviceId) -> Option<&DeviceAttempts> {
        self.devices.iter().find(|attempts| (attempts.member, attempts.device) == (member, device))
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
        let same = |attempts: &DeviceAttempts| (attempts.member, attempts.device) == (fact.member, fact.device);
        let at = self.devices.iter().position(same).unwrap_or_else(|| {
            self.make_room(fact.member, fact.device);
            self.devices.push(DeviceAttempts::new(fact.member, fact.device));
            self.devices.len() - 1
        });
        self.devices[at].accept(fact.client_msg_id, fact.seq);
    }

    /// As many devices of a member are remembered as may be, and as many guests: the one that wrote longest ago is forgotten.
    fn make_room(&mut self, member: u8, device: DeviceId) {
        let most = if device.is_guest() { GUESTS_PER_MEMBER } else { DEVICES_PER_MEMBER };
        let alike =
            |attempts: &DeviceAttempts| attempts.member == member && attempts.device.is_guest() == device.is_guest();
        let all = self.devices.iter().enumerate().filter(|(_, attempts)| alike(attempts));
        let (count, oldest) = (all.clone().count(), all.min_by_key(|(_, attempts)| attempts.last()));
        if let Some((at, _)) = oldest.filter(|_| count >= most) {
            let forgotten = self.devices.remove(at);
            let floor = &mut self.members[usize::from(member)].floor;
            *floor = (*floor).max(forgotten.highest());
        }
    }

    /// A member's receipt.
    pub(crate) fn apply_receipt(&mut self, member: usize, marks: Watermarks) {
        self.members[member].marks.raise_to(marks);
    }

    /// Recovery goes on after messages that are not there: retention dropped them, and a state record will say the rest.
    pub(crate) fn skip_to(&mut self, head: Seq) {
        self.head = head;
    }

    /// Writes all of it.
    pub(crate) fn write(&self, conversation: ConversationId, body: &mut Vec<u8>) {
        let both = |of: fn(&Member) -> Seq| [of(&self.members[0]), of(&self.members[1])];
        put(
            body,
            &ConversationRecord {
                conversation,
                members: [self.members[0].user, self.members[1].user],
                delivered: both(|member| member.marks.delivered),
                read: both(|member| member.marks.read),
                head: self.head,
                last_ts: self.last_ts,
                devices: self.devices.len() as u32,
                floors: [self.members[0].floor, self.members[1].floor],
            },
        );
        for attempts in &self.devices {
            let pairs = attempts.pairs().len() as u32;
            put(body, &DeviceRecord { device: attempts.device, member: attempts.member, pairs });
            attempts.pairs().for_each(|(client_msg_id, seq)| put(body, &PairRecord { client_msg_id, seq }));
        }
    }

    /// What [`Self::write`] wrote, `rest` being what follows its first part.
    ///
    /// # Errors
    /// [`ReplayError::Body`].
    pub(crate) fn read(record: &ConversationRecord, rest: &mut &[u8]) -> Result<Self, ReplayError> {
        let mut state = Self::new(record.members[0], record.members[1]);
        (state.head, state.last_ts) = (record.head, record.last_ts);
        for (at, member) in state.members.iter_mut().enumerate() {
            member.marks = Watermarks { delivered: record.delivered[at], read: record.read[at] };
            member.floor = record.floors[at];
        }
        for _ in 0..record.devices {
            let device: DeviceRecord = take(rest).map_err(|_| ReplayError::Body)?;
            let mut attempts = DeviceAttempts::new(device.member & 1, device.device);
            for _ in 0..device.pairs {
                let pair: PairRecord = take(rest).map_err(|_| ReplayError::Body)?;
                if pair.client_msg_id <= attempts.highest() {
                    return Err(ReplayError::Body);
                }
                attempts.accept(pair.client_msg_id, pair.seq);
            }
            state.devices.push(attempts);
        }
        Ok(state)
    }

    /// Adds all of it to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        for member in &self.members {
            digest.bytes(&member.user.0);
            digest.words(&[member.marks.delivered.0, member.marks.read.0, member.floor.0]);
        }
        digest.words(&[self.head.0, self.last_ts.0, self.devices.len() as u64]);
        for attempts in &self.devices {
            digest.word(u64::from(attempts.member) << 32 | u64::from(attempts.device.0));
            for (id, seq) in attempts.pairs() {
                digest.words(&[id.0, seq.0]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(seq: u64, device: u32, id: u64) -> MessageFact {
        let (seq, device, client_msg_id) = (Seq(seq), DeviceId(device), ClientMsgId(id));
        MessageFact { seq, ts: Timestamp(seq.0), member: 0, device, client_msg_id }
    }

    fn state() -> State {
        State::new(UserId([1; 16]), UserId([2; 16]))
    }

    #[test]
    fn the_device_that_wrote_longest_ago_is_forgotten_and_leaves_its_highest_attempt() {
        let (mut state, devices) = (state(), DEVICES_PER_MEMBER as u64);
        for at in 1..=devices {
            state.apply_message(&fact(at, at as u32, 1000 - at));
        }
        state.apply_message(&fact(devices + 1, 1, 2000));
        assert_eq!(state.members[0].floor, ClientMsgId(0));
        state.apply_message(&fact(devices + 2, 77, 3000));
        assert!(state.attempts(0, DeviceId(2)).is_none() && state.attempts(0, DeviceId(1)).is_some());
        assert_eq!(state.members[0].floor, ClientMsgId(998));
        // Guests have their own room.
        state.apply_message(&fact(devices + 3, DeviceId::FIRST_GUEST, 9));
        assert!(state.attempts(0, DeviceId(3)).is_some());
    }

    #[test]
    fn what_is_written_reads_back_to_the_same_digest() {
        let mut state = state();
        for at in 1..=40 {
            state.apply_message(&fact(at, (at % 36) as u32, at * 10));
        }
        state.apply_receipt(1, Watermarks { delivered: Seq(7), read: Seq(3) });
        let mut body = Vec::new();
        state.write(ConversationId([5; 16]), &mut body);
        let mut rest = &body[..];
        let record: ConversationRecord = take(&mut rest).unwrap();
        let again = State::read(&record, &mut rest).unwrap();
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
