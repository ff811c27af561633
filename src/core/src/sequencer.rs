//! Conversations: numbering and duplicate detection on *proposed* state, everything that leaves on *committed* state.
//!
//! A message is judged and numbered when it is proposed, and takes effect when its record is committed; in between it is
//! only in the log's open batch. The same [`Conversation::apply`] serves a commit and recovery.

use alloc::vec::Vec;

use tidings_wire::{ConversationId, DeviceId, Place, Seq, Timestamp, UserId, frames::Message};

use crate::{
    index::{Chunks, MessageIndex},
    lanes::Watermarks,
    limits::{DEVICES_PER_CONVERSATION, GUEST_MEMORY_MS, GUESTS_PER_CONVERSATION},
    memory::DeviceMemory,
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
    pub receipt: Option<Place>,
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
    /// Its partition.
    pub partition: u16,
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
    devices: Vec<DeviceMemory>,
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
    fn new(id: ConversationId, partition: u16, a: UserId, b: UserId) -> Self {
        let members = [Member::new(a.min(b)), Member::new(a.max(b))];
        Self {
            id,
            partition,
            members,
            proposed: Seq(0),
            committed: Seq(0),
            last_ts: Timestamp(0),
            index: MessageIndex::default(),
            base: Base::New,
            devices: Vec::new(),
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

    /// The memory of a device, made if it never sent here.
    ///
    /// # Errors
    /// If the conversation remembers as many devices as it may.
    pub fn device(&mut self, member: usize, device: DeviceId, now: Mono) -> Result<&mut DeviceMemory, TooManyDevices> {
        let member = member as u8;
        let found = self.devices.iter().position(|memory| (memory.member, memory.device) == (member, device));
        if let Some(at) = found {
            return Ok(&mut self.devices[at]);
        }
        if device.is_guest() {
            self.forget_guests(now);
        } else if self.devices.iter().filter(|memory| !memory.device.is_guest()).count() >= DEVICES_PER_CONVERSATION {
            return Err(TooManyDevices);
        }
        self.devices.push(DeviceMemory::new(member, device));
        Ok(self.devices.last_mut().expect("just pushed"))
    }

    fn forget_guests(&mut self, now: Mono) {
        let expired = |memory: &DeviceMemory| memory.used.plus_ms(GUEST_MEMORY_MS) < now;
        self.devices.retain(|memory| !memory.device.is_guest() || !expired(memory));
        let guests = self.devices.iter().enumerate().filter(|(_, memory)| memory.device.is_guest());
        let (count, oldest) = (guests.clone().count(), guests.min_by_key(|(_, memory)| memory.used));
        if let Some((at, _)) = oldest.filter(|_| count >= GUESTS_PER_CONVERSATION) {
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
        if self.committed != Seq(0) && seq != self.committed.next() {
            return Err(ReplayError::Jump { conversation: self.id, head: self.committed, found: seq });
        }
        (self.proposed, self.committed, self.last_ts) = (seq, seq, ts);
        let member = self.member(sender).ok_or(ReplayError::Body)?;
        if let Ok(memory) = self.device(member, sender_device, Mono(0))
            && client_msg_id > memory.highest()
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
    fn read_state(&mut self, state: &ConversationRecord, rest: &mut &[u8]) -> Result<(), ReplayError> {
        if self.committed != Seq(0) && state.head != self.committed {
            return Err(ReplayError::Jump { conversation: self.id, head: self.committed, found: state.head });
        }
        (self.proposed, self.committed, self.last_ts) = (state.head, state.head, state.last_ts);
        for (at, member) in self.members.iter_mut().enumerate() {
            let watermarks = Watermarks { delivered: state.delivered[at], read: state.read[at] };
            member.committed.raise_to(watermarks);
            member.proposed = member.committed;
        }
        self.index.start_after(state.head);
        self.devices.clear();
        for _ in 0..state.devices {
            let device: DeviceRecord = take(rest).map_err(|_| ReplayError::Body)?;
            let mut memory = DeviceMemory::new(device.member & 1, device.device);
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
    pub fn entry(&mut self, id: ConversationId, partition: u16, a: UserId, b: UserId) -> ConversationKey {
        let next = self.conversations.len() as u32;
        let index = *self.by_id.entry(id).or_insert(next);
        if index == next {
            self.conversations.push(Conversation::new(id, partition, a, b));
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

    /// Takes over a state record that recovery read.
    ///
    /// # Errors
    /// If it is not one, or contradicts what was read before.
    pub fn replay_state(&mut self, partition: u16, mut body: &[u8]) -> Result<ConversationKey, ReplayError> {
        let state: ConversationRecord = take(&mut body).map_err(|_| ReplayError::Body)?;
        let key = self.entry(state.conversation, partition, state.members[0], state.members[1]);
        self.get_mut(key).read_state(&state, &mut body)?;
        Ok(key)
    }
}
