//! The members of a conversation: who they are, how far they are, and what is remembered of their devices' attempts.

use alloc::{collections::BTreeMap, vec::Vec};

use tidings_canary::{self as canary, Canary};
use tidings_wire::{ClientMsgId, ConversationId, DeviceId, Seq, UserId};

use super::{dedup::DeviceAttempts, membership::Membership};
use crate::{
    digest::Digest,
    lanes::Watermarks,
    limits::{DEVICES_PER_MEMBER, GUESTS_PER_MEMBER},
    narrow::to_u32,
    records::{DeviceRecord, MemberRow, PairRecord, put, take},
};

use super::state::ReplayError;

/// A member. Its place among the members never changes.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Who.
    pub(crate) user: UserId,
    /// What it may do and read.
    pub(crate) membership: Membership,
    /// How far the member is.
    pub(crate) marks: Watermarks,
    /// The highest attempt that was ever forgotten of the member's devices: at or below it, an attempt of a device that is not
    /// remembered may be a repeat.
    pub(crate) floor: ClientMsgId,
    /// By device.
    devices: Vec<DeviceAttempts>,
}

impl Member {
    /// Somebody of whom nothing is known yet.
    pub(crate) fn new(user: UserId, membership: Membership) -> Self {
        Self { user, membership, marks: Watermarks::default(), floor: ClientMsgId(0), devices: Vec::new() }
    }

    /// The attempts of a device that is remembered.
    pub(crate) fn attempts(&self, device: DeviceId) -> Option<&DeviceAttempts> {
        let at = self.devices.binary_search_by_key(&device, |attempts| attempts.device).ok()?;
        Some(&self.devices[at])
    }

    /// Its last message, as far as its devices are remembered.
    pub(crate) fn last_own(&self) -> Seq {
        self.devices.iter().map(DeviceAttempts::last).max().unwrap_or_default()
    }

    /// Remembers an accepted attempt.
    pub(crate) fn remember(&mut self, device: DeviceId, id: ClientMsgId, seq: Seq) {
        if id == ClientMsgId(0) {
            return; // what the server writes for somebody is an attempt of no device
        }
        let place = |devices: &[DeviceAttempts]| devices.binary_search_by_key(&device, |attempts| attempts.device);
        let at = place(&self.devices).unwrap_or_else(|_| {
            self.make_room(device);
            let at = place(&self.devices).expect_err("it was not there");
            self.devices.insert(at, DeviceAttempts::new(device));
            at
        });
        self.devices[at].accept(id, seq);
    }

    /// A message of its own with content, or one that took it in, is there, and so many have content up to it.
    pub(crate) fn has_seen(&mut self, ordinal: u64) {
        self.marks.seen = self.marks.seen.max(ordinal);
    }

    /// As many devices are remembered as may be, and as many guests: the one that wrote longest ago is forgotten.
    fn make_room(&mut self, device: DeviceId) {
        let most = if device.is_guest() { GUESTS_PER_MEMBER } else { DEVICES_PER_MEMBER };
        let alike = |attempts: &DeviceAttempts| attempts.device.is_guest() == device.is_guest();
        let all = self.devices.iter().enumerate().filter(|(_, attempts)| alike(attempts));
        let (count, oldest) = (all.clone().count(), all.min_by_key(|(_, attempts)| attempts.last()));
        if let Some((at, _)) = oldest.filter(|_| count >= most) {
            let forgotten = self.devices.remove(at);
            self.floor = self.floor.max(forgotten.highest());
        }
    }

    /// Writes all of it.
    pub(crate) fn write(&self, conversation: ConversationId, body: &mut Vec<u8>) {
        let Self { user, marks, floor, .. } = *self;
        let (Watermarks { delivered, read, seen, .. }, withheld) = (marks, marks.withheld());
        let devices = to_u32(self.devices.len());
        put(body, &MemberRow { conversation, user, delivered, read, floor, devices, seen, withheld });
        for attempts in &self.devices {
            put(body, &DeviceRecord { device: attempts.device, pairs: to_u32(attempts.pairs().len()) });
            attempts.pairs().for_each(|(client_msg_id, seq)| put(body, &PairRecord { client_msg_id, seq }));
        }
        if !canary::is(Canary::MembershipForgotten) {
            self.membership.write(body);
        }
    }

    /// Becomes what [`Self::write`] wrote, `rest` being what follows its first part.
    ///
    /// # Errors
    /// [`ReplayError::Body`].
    fn read(&mut self, row: &MemberRow, rest: &mut &[u8]) -> Result<(), ReplayError> {
        // They never fall: a row says less than a record before it if that was sealed when later ones were dropped.
        let shown = Seq(row.read.0.saturating_sub(row.withheld));
        self.marks.raise_to(Watermarks { delivered: row.delivered, read: row.read, shown, seen: row.seen });
        self.floor = row.floor;
        self.devices.clear();
        for _ in 0..row.devices {
            let device: DeviceRecord = take(rest).map_err(|_| ReplayError::Body)?;
            let mut attempts = DeviceAttempts::new(device.device);
            for _ in 0..device.pairs {
                let pair: PairRecord = take(rest).map_err(|_| ReplayError::Body)?;
                if pair.client_msg_id <= attempts.highest() {
                    return Err(ReplayError::Body);
                }
                attempts.accept(pair.client_msg_id, pair.seq);
            }
            if self.devices.last().is_some_and(|before| before.device >= attempts.device) {
                return Err(ReplayError::Body);
            }
            self.devices.push(attempts);
        }
        // Rows of before there were groups end here: their conversations have two members, who stay.
        self.membership = if rest.is_empty() { Membership::of_two() } else { Membership::read(rest)? };
        Ok(())
    }

    fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        digest.bytes(&self.user.0);
        let Watermarks { delivered, read, shown, seen } = self.marks;
        digest.words(&[delivered.0, read.0, shown.0, seen, self.floor.0, self.devices.len() as u64]);
        for attempts in &self.devices {
            digest.word(u64::from(attempts.device.0));
            for (id, seq) in attempts.pairs() {
                digest.words(&[id.0, seq.0]);
            }
        }
        self.membership.digest(&mut digest);
        digest.value()
    }
}

/// More members than this are found by a map.
const FEW: usize = 8;

/// The members, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    all: Vec<Member>,
    /// How many of them are members now.
    current: u32,
    /// Empty while there are few.
    by_user: BTreeMap<UserId, u32>,
}

impl Members {
    /// The two of a one-to-one conversation, the lesser first.
    pub(crate) fn pair(a: UserId, b: UserId) -> Self {
        let all = [a.min(b), a.max(b)].map(|user| Member::new(user, Membership::of_two())).into();
        Self { all, current: 2, by_user: BTreeMap::new() }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many of them are members now.
    pub(crate) fn current(&self) -> usize {
        self.current as usize
    }

    /// What a member may do and read is something else from now on.
    pub(crate) fn set_membership(&mut self, at: usize, membership: Membership) {
        let before = core::mem::replace(&mut self.all[at].membership, membership);
        self.count(before.is_current(), at);
    }

    /// A member becomes what its row says: see [`Member::read`].
    ///
    /// # Errors
    /// [`ReplayError::Body`].
    pub(crate) fn read(&mut self, at: usize, row: &MemberRow, rest: &mut &[u8]) -> Result<(), ReplayError> {
        let before = self.all[at].membership.is_current();
        self.all[at].read(row, rest)?;
        self.count(before, at);
        Ok(())
    }

    fn count(&mut self, before: bool, at: usize) {
        let now = self.all[at].membership.is_current();
        self.current = self.current + u32::from(now) - u32::from(before);
    }

    /// Which member a user is.
    pub(crate) fn find(&self, user: UserId) -> Option<usize> {
        if self.by_user.is_empty() {
            return self.all.iter().position(|member| member.user == user);
        }
        self.by_user.get(&user).map(|at| *at as usize)
    }

    /// Which member a user is, who is taken in if that is needed, as `membership` says.
    pub(crate) fn entry(&mut self, user: UserId, membership: impl FnOnce() -> Membership) -> usize {
        self.find(user).unwrap_or_else(|| {
            let at = self.all.len();
            let membership = membership();
            self.current += u32::from(membership.is_current());
            self.all.push(Member::new(user, membership));
            if at > FEW {
                self.by_user.insert(user, to_u32(at));
            } else if at == FEW {
                self.by_user = self.all.iter().map(|member| member.user).zip(0..).collect();
            }
            at
        })
    }

    /// The other member of two.
    pub(crate) fn other(&self, at: usize) -> &Member {
        &self.all[1 - at]
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.all.iter()
    }

    /// Adds all of them to a digest. The order does not matter.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        debug_assert_eq!(self.current(), self.iter().filter(|member| member.membership.is_current()).count());
        digest.word(self.all.iter().fold(0, |sum, member| sum.wrapping_add(member.digest())));
    }
}

impl core::ops::Index<usize> for Members {
    type Output = Member;

    fn index(&self, at: usize) -> &Member {
        &self.all[at]
    }
}

impl core::ops::IndexMut<usize> for Members {
    fn index_mut(&mut self, at: usize) -> &mut Member {
        &mut self.all[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_place_however_many_come() {
        let user = |at: usize| UserId([at as u8; 16]);
        let mut members = Members::default();
        for at in 0..3 * FEW {
            let mut entry = |at| members.entry(user(at), Membership::of_two);
            assert_eq!((entry(at), entry(at)), (at, at));
        }
        assert!((0..3 * FEW).all(|at| members.find(user(at)) == Some(at) && members[at].user == user(at)));
    }

    #[test]
    fn the_device_that_wrote_longest_ago_is_forgotten_and_leaves_its_highest_attempt() {
        let (mut member, devices) = (Member::new(UserId([1; 16]), Membership::of_two()), DEVICES_PER_MEMBER as u64);
        let mut remember = |seq, device: u64, id| {
            member.remember(DeviceId(device as u32), ClientMsgId(id), Seq(seq));
            member.clone()
        };
        for at in 1..=devices {
            remember(at, at, 1000 - at);
        }
        assert_eq!(remember(devices + 1, 1, 2000).floor, ClientMsgId(0));
        let member = remember(devices + 2, 77, 3000);
        assert!(member.attempts(DeviceId(2)).is_none() && member.attempts(DeviceId(1)).is_some());
        assert_eq!(member.floor, ClientMsgId(998));
        // Guests have their own room.
        assert!(remember(devices + 3, u64::from(DeviceId::FIRST_GUEST), 9).attempts(DeviceId(3)).is_some());
    }
}
