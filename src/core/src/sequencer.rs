//! Conversations: numbering and duplicate detection on *proposed* state, everything that leaves on *committed* state.
//!
//! A message is judged and numbered when it is proposed, and takes effect when its record is committed; in between it is
//! only in the log's open batch. The same [`Conversation::apply`] serves a commit and recovery.

use alloc::vec::Vec;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{BatchPosition, ConversationId, DeviceId, Seq, Timestamp, UserId, frames::Message};

use crate::{
    dedup::DeviceAttempts,
    index::{Chunks, MessageIndex},
    lanes::Watermarks,
    limits::{DEVICES_PER_MEMBER, GUEST_MEMORY_MS, GUESTS_PER_MEMBER},
    placement::Base,
    records::{ConversationRecord, DeviceRecord, PairRecord, put, take},
    table::{Seed, Table},
    time::Mono,
};

/// A conversation of this reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConversationKey(pub u32);

/// One of the two members of a one-to-one conversation.
#[derive(Debug)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// Raised as receipts come in.
    pub proposed: Watermarks,
    /// Raised as their records are committed.
    pub committed: Watermarks,
    /// A receipt record that may still be changed in place.
    pub receipt: Option<BatchPosition>,
}

impl Member {
    fn new(user: UserId) -> Self {
        Self { user, proposed: Watermarks::default(), committed: Watermarks::default(), receipt: None }
    }
}

/// A conversation.
#[derive(Debug)]
pub struct Conversation {
    /// Which.
    pub id: ConversationId,
    /// Its shard.
    pub shard: u16,
    /// Who is in it, the lesser first.
    pub members: [Member; 2],
    /// The last number given out.
    pub proposed: Seq,
    /// The last message committed.
    pub committed: Seq,
    /// The last message's time.
    pub last_ts: Timestamp,
    /// Where its messages are.
    pub index: MessageIndex,
    /// Where its state is.
    pub base: Base,
    devices: Vec<DeviceAttempts>,
    /// Recovery jumped from here to a later message, and has not read the state that explains it.
    gap: Option<Seq>,
}

/// No more devices fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyDevices;

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

impl Conversation {
    fn new(id: ConversationId, shard: u16, a: UserId, b: UserId) -> Self {
        let members = [Member::new(a.min(b)), Member::new(a.max(b))];
        Self {
            id,
            shard,
            members,
            proposed: Seq(0),
            committed: Seq(0),
            last_ts: Timestamp(0),
            index: MessageIndex::default(),
            base: Base::New,
            devices: Vec::new(),
            gap: None,
        }
    }

    /// Which member a user is.
    pub fn member(&self, user: UserId) -> Option<usize> {
        self.members.iter().position(|member| member.user == user)
    }

    /// The other member.
    pub fn peer_of(&self, member: usize) -> &Member {
        &self.members[1 - member]
    }

    /// The memory of a device that has sent here.
    pub fn find_device(&self, member: usize, device: DeviceId) -> Option<&DeviceAttempts> {
        self.devices.iter().find(|memory| (memory.member as usize, memory.device) == (member, device))
    }

    /// The memory of a device, made if it never sent here. Each member has its own room.
    ///
    /// # Errors
    /// If as many of the member's devices are remembered as may be.
    pub fn device(
        &mut self,
        member: usize,
        device: DeviceId,
        now: Mono,
    ) -> Result<&mut DeviceAttempts, TooManyDevices> {
        let same = |memory: &DeviceAttempts| (memory.member as usize, memory.device) == (member, device);
        if let Some(at) = self.devices.iter().position(same) {
            return Ok(&mut self.devices[at]);
        }
        let of_member = |memory: &&DeviceAttempts| memory.member as usize == member;
        if device.is_guest() {
            self.forget_guests(member, now);
        } else if self.devices.iter().filter(of_member).filter(|memory| !memory.device.is_guest()).count()
            >= DEVICES_PER_MEMBER
        {
            return Err(TooManyDevices);
        }
        self.devices.push(DeviceAttempts::new(member as u8, device));
        Ok(self.devices.last_mut().expect("just pushed"))
    }

    fn forget_guests(&mut self, member: usize, now: Mono) {
        let guest = |memory: &DeviceAttempts| memory.device.is_guest() && memory.member as usize == member;
        let expired = |memory: &DeviceAttempts| memory.used.plus_ms(GUEST_MEMORY_MS) < now;
        self.devices.retain(|memory| !guest(memory) || !expired(memory));
        let guests = self.devices.iter().enumerate().filter(|(_, memory)| guest(memory));
        let (count, oldest) = (guests.clone().count(), guests.min_by_key(|(_, memory)| memory.used));
        if let Some((at, _)) = oldest.filter(|_| count >= GUESTS_PER_MEMBER) {
            self.devices.remove(at);
        }
    }

    /// A message was numbered.
    pub fn propose(&mut self, ts: Timestamp) -> Seq {
        (self.proposed, self.last_ts) = (self.proposed.next(), ts);
        self.proposed
    }

    /// A message is committed.
    ///
    /// # Panics
    /// If it is not the next one: numbers have no gaps.
    pub fn apply(&mut self, seq: Seq) {
        assert_eq!(seq, self.committed.next(), "conversation {}", self.id);
        assert!(seq <= self.proposed);
        self.committed = seq;
    }

    /// Recovery read a message. The first ones known of a conversation may be any: retention dropped what was before.
    ///
    /// # Errors
    /// If it does not follow the one before.
    pub fn replay(&mut self, message: &Message) -> Result<(), ReplayError> {
        let Message { seq, ts, sender, sender_device, client_msg_id, .. } = *message;
        match seq.cmp(&self.committed.next()) {
            core::cmp::Ordering::Less => {
                return Err(ReplayError::Jump { conversation: self.id, head: self.committed, found: seq });
            }
            // Retention dropped what is between, at the log's beginning or in another log than the one before: the state
            // that it wrote first follows.
            core::cmp::Ordering::Greater => self.gap = Some(self.committed),
            core::cmp::Ordering::Equal => {}
        }
        (self.proposed, self.committed, self.last_ts) = (seq, seq, ts);
        let member = self.member(sender).ok_or(ReplayError::Body)?;
        if let Ok(memory) = self.device(member, sender_device, Mono(0))
            && client_msg_id > memory.highest()
            && !canary::is(Canary::IdempotencyForgotten)
        {
            memory.accept(client_msg_id, seq);
        }
        Ok(())
    }

    /// Writes the whole state.
    pub fn write_state(&self, body: &mut Vec<u8>) {
        let [a, b] = &self.members;
        put(
            body,
            &ConversationRecord {
                conversation: self.id,
                members: [a.user, b.user],
                delivered: [a.proposed.delivered, b.proposed.delivered],
                read: [a.proposed.read, b.proposed.read],
                head: self.proposed,
                last_ts: self.last_ts,
                devices: self.devices.len() as u32,
            },
        );
        for memory in &self.devices {
            let pairs = memory.pairs().len() as u32;
            put(body, &DeviceRecord { device: memory.device, member: memory.member, pairs });
            memory.pairs().for_each(|(client_msg_id, seq)| put(body, &PairRecord { client_msg_id, seq }));
        }
    }

    /// Takes over what [`Self::write_state`] wrote behind its first part.
    fn read_state(
        &mut self,
        chunks: &mut Chunks,
        state: &ConversationRecord,
        rest: &mut &[u8],
    ) -> Result<(), ReplayError> {
        if state.head < self.committed {
            return Err(ReplayError::Jump { conversation: self.id, head: self.committed, found: state.head });
        }
        if state.head > self.committed {
            self.index.start_after(chunks, state.head);
        }
        self.gap = None;
        (self.proposed, self.committed, self.last_ts) = (state.head, state.head, state.last_ts);
        for (at, member) in self.members.iter_mut().enumerate() {
            let watermarks = Watermarks { delivered: state.delivered[at], read: state.read[at] };
            member.committed.raise_to(watermarks);
            member.proposed = member.committed;
        }
        self.devices.clear();
        for _ in 0..state.devices {
            let device: DeviceRecord = take(rest).map_err(|_| ReplayError::Body)?;
            let mut memory = DeviceAttempts::new(device.member & 1, device.device);
            for _ in 0..device.pairs {
                let pair: PairRecord = take(rest).map_err(|_| ReplayError::Body)?;
                if pair.client_msg_id <= memory.highest() {
                    return Err(ReplayError::Body);
                }
                memory.accept(pair.client_msg_id, pair.seq);
            }
            self.devices.push(memory);
        }
        Ok(())
    }
}

/// All conversations of a reactor.
#[derive(Debug)]
pub struct Sequencer {
    conversations: Vec<Conversation>,
    by_id: Table<ConversationId, u32>,
    /// The chunks of their indices.
    pub chunks: Chunks,
}

impl Sequencer {
    /// Without conversations; the table is hashed with `seed`.
    pub fn new(seed: u64) -> Self {
        Self { conversations: Vec::new(), by_id: Table::with_hasher(Seed(seed)), chunks: Chunks::default() }
    }

    /// A conversation, if it exists.
    pub fn find(&self, id: ConversationId) -> Option<ConversationKey> {
        self.by_id.get(&id).copied().map(ConversationKey)
    }

    /// A conversation, made if it does not exist.
    pub fn entry(&mut self, id: ConversationId, shard: u16, a: UserId, b: UserId) -> ConversationKey {
        let next = self.conversations.len() as u32;
        let index = *self.by_id.entry(id).or_insert(next);
        if index == next {
            self.conversations.push(Conversation::new(id, shard, a, b));
        }
        ConversationKey(index)
    }

    /// A conversation.
    pub fn get(&self, key: ConversationKey) -> &Conversation {
        &self.conversations[key.0 as usize]
    }

    /// A conversation.
    pub fn get_mut(&mut self, key: ConversationKey) -> &mut Conversation {
        &mut self.conversations[key.0 as usize]
    }

    /// A conversation and the chunks of its index.
    pub fn with_chunks(&mut self, key: ConversationKey) -> (&mut Conversation, &mut Chunks) {
        (&mut self.conversations[key.0 as usize], &mut self.chunks)
    }

    /// How many conversations there are; their keys are the numbers below.
    pub fn len(&self) -> usize {
        self.conversations.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.conversations.is_empty()
    }

    /// Everything was read back.
    ///
    /// # Errors
    /// If messages are missing at the beginning or in the middle of a conversation, and no state says that retention dropped them.
    pub fn check_replayed(&self) -> Result<(), ReplayError> {
        let open = self.conversations.iter().find_map(|conversation| Some((conversation, conversation.gap?)));
        open.map_or(Ok(()), |(conversation, head)| {
            Err(ReplayError::Jump { conversation: conversation.id, head, found: conversation.committed })
        })
    }

    /// Takes over a state record that recovery read.
    ///
    /// # Errors
    /// If it is not one, or contradicts what was read before.
    pub fn replay_state(&mut self, shard: u16, mut body: &[u8]) -> Result<ConversationKey, ReplayError> {
        let state: ConversationRecord = take(&mut body).map_err(|_| ReplayError::Body)?;
        let key = self.entry(state.conversation, shard, state.members[0], state.members[1]);
        let (conversation, chunks) = self.with_chunks(key);
        conversation.read_state(chunks, &state, &mut body)?;
        Ok(key)
    }
}
