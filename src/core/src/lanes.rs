//! What the two halves of nodes say to each other, on one reactor or between two. [`ToConversation`] goes from a home (and its
//! sessions) to a conversation, [`ToHome`] from a conversation to homes. Handling the first makes log records and the second;
//! handling the second makes socket output and home state, and nothing for a lane: so full lanes cannot lock each other.

mod marks;

use alloc::vec::Vec;

use rkyv::{Archive, Deserialize, Serialize};
use tidings_wire::{
    ClientMsgId, ConversationId, DeviceId, EntryIndex, ErrorCode, Seq, Timestamp, UserId,
    archive::{self, Archived},
    frames::{Control, Describe, Fetch, Fetched, MessageFlags, ReceiptKind, TraceId},
};

pub use marks::{Blocking, Privacy, Shown, Watermarks};

use crate::{
    budget::Network,
    engine::ConversationKey,
    features::Weight,
    home::{EntryKey, SessionId},
};

/// From a home to a conversation.
#[derive(Clone, Copy, Debug)]
pub enum ToConversation {
    /// A new message; the payload is its [`Parts`].
    Send(SendCommand),
    /// A device has, or a user has read, everything up to a message.
    Receipt(ReceiptCommand),
    /// A device wants stored messages.
    Fetch {
        /// Who asks.
        asker: Asker,
        /// Which user.
        user: UserId,
        /// What.
        fetch: Fetch,
    },
    /// A device wants to know what a conversation is, and who is in it.
    Describe {
        /// Who asks.
        asker: Asker,
        /// Which user.
        user: UserId,
        /// What.
        describe: Describe,
        /// Whether it is told what others have read.
        privacy: Privacy,
    },
    /// Somebody blocks the other member of a one-to-one conversation, or stops. The payload is its name. Answered by [`ToHome::Blocks`].
    Block(BlockCommand),
    /// What are the heads of a user's large groups, whose ids are the payload? From then on the reactor listens to them. Answered by
    /// [`ToHome::Heads`].
    Heads {
        /// Who asks.
        asker: Asker,
        /// Which user.
        user: UserId,
    },
    /// The reactor listens to the large groups whose ids are the payload. Answered by a [`ToHome::Bell`] each.
    Listen,
    /// The reactor does not listen to a large group any more.
    Leave {
        /// Which.
        conversation: ConversationId,
    },
    /// How far the homes of a reactor have what a shard told: the answer to [`ToHome::AskReached`], or said unasked since something
    /// was lost on its way. What is missing is told again.
    Reached(Reached),
}

impl ToConversation {
    /// The parts of what goes with it.
    ///
    /// # Panics
    /// If there is less than it says: it comes from another reactor of this process.
    pub fn parts<'a>(&self, bytes: &'a [u8]) -> Parts<'a> {
        let Self::Send(send) = self else { return Parts { payload: bytes, ..Parts::default() } };
        let (name, rest) = bytes.split_at(usize::from(send.name_len));
        let (body, payload) = rest.split_at(send.body_len as usize);
        Parts { name, body, payload }
    }

    /// The conversation that it is to; `None` if it is to a shard, or to several.
    pub fn conversation(&self) -> Option<ConversationId> {
        match self {
            Self::Send(SendCommand { conversation, .. })
            | Self::Receipt(ReceiptCommand { conversation, .. })
            | Self::Block(BlockCommand { conversation, .. })
            | Self::Fetch { fetch: Fetch { conversation, .. }, .. }
            | Self::Describe { describe: Describe { conversation, .. }, .. }
            | Self::Leave { conversation } => Some(*conversation),
            Self::Heads { .. } | Self::Listen | Self::Reached(_) => None,
        }
    }
}

/// A shard as the source of what homes on a reactor are told, and how far they were told everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The shard.
    pub shard: u16,
    /// Nothing up to this entry is missing.
    pub reached: EntryIndex,
}

/// Where a one-to-one conversation and its entry in a member's home were when the two last heard of each other, so that neither looks for the other by ids. What
/// is at such a place is compared with the ids before it is believed: nothing may be there any more, or something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// The conversation, on its reactor.
    pub conversation: ConversationKey,
    /// Its entry in the member's home, on that home's reactor.
    pub entry: EntryKey,
}

impl Places {
    /// They have not heard of each other.
    pub const UNKNOWN: Self = Self { conversation: ConversationKey::NONE, entry: EntryKey::NONE };
}

/// Where an answer goes: a session of the reactor that asked, and its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The session.
    pub session: SessionId,
    /// Its question.
    pub request_id: u64,
}

impl Asker {
    /// Nobody waits.
    pub const NOBODY: Self = Self { session: SessionId::NONE, request_id: 0 };
}

/// [`ToConversation::Send`].
#[derive(Clone, Copy, Debug)]
pub struct SendCommand {
    /// Where the answer goes.
    pub asker: Asker,
    /// Who sends.
    pub sender: UserId,
    /// On which device.
    pub device: DeviceId,
    /// From where.
    pub network: Network,
    /// Where to.
    pub conversation: ConversationId,
    /// Where that and the sender's entry are, if it is one to one.
    pub places: Places,
    /// The other member, checked against the conversation's id; none if the client did not name it.
    pub peer: UserId,
    /// As in SEND.
    pub client_msg_id: ClientMsgId,
    /// As in SEND.
    pub prev: ClientMsgId,
    /// As in SEND.
    pub expires_at: Timestamp,
    /// As in SEND.
    pub trace: TraceId,
    /// As in SEND.
    pub flags: MessageFlags,
    /// As in SEND.
    pub payload_crc: u32,
    /// As in SEND.
    pub control: Control,
    /// As in SEND.
    pub target: Seq,
    /// Whether those who are named let the sender name them.
    pub named: Named,
    /// Bytes of the name at the payload's start.
    pub name_len: u8,
    /// Bytes of the body after it.
    pub body_len: u32,
}

/// Whether those whom somebody takes into a group let it, as far as its home knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Named {
    /// They do, or nobody is named.
    #[default]
    Willing,
    /// One of them has blocked it.
    Blocking,
}

/// [`ToConversation::Block`].
#[derive(Clone, Copy, Debug)]
pub struct BlockCommand {
    /// Where the answer goes.
    pub asker: Asker,
    /// Who.
    pub user: UserId,
    /// The other member, checked against the conversation's id; none if the client did not name it.
    pub peer: UserId,
    /// Where.
    pub conversation: ConversationId,
    /// From where.
    pub network: Network,
    /// What it wants.
    pub wish: Wish,
}

/// What somebody wants with the other member of a one-to-one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To hear nothing of it.
    Block,
    /// To hear of it again.
    Unblock,
}

/// [`ToHome::Blocks`].
#[derive(Clone, Copy, Debug)]
pub struct BlocksTold {
    /// Who asked for it; a session that is none: nobody who waits.
    pub asker: Asker,
    /// Whose home this goes to.
    pub user: UserId,
    /// Where.
    pub conversation: ConversationId,
    /// The other member.
    pub peer: UserId,
    /// What the user does.
    pub own: Blocking,
    /// What the other one does, which the user's devices are not told.
    pub peers: Blocking,
    /// Where it comes from; `None` if it answers what changed nothing.
    pub source: Option<Source>,
}

/// The variable parts of a message on its way to its conversation, in this order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    /// The sender's name.
    pub name: &'a [u8],
    /// What the server must read.
    pub body: &'a [u8],
    /// What people write.
    pub payload: &'a [u8],
}

/// [`ToConversation::Receipt`].
#[derive(Clone, Copy, Debug)]
pub struct ReceiptCommand {
    /// Where a refusal goes.
    pub asker: Asker,
    /// Whose.
    pub user: UserId,
    /// Where.
    pub conversation: ConversationId,
    /// Where that and the user's entry are, if it is one to one.
    pub places: Places,
    /// Which watermark.
    pub kind: ReceiptKind,
    /// Up to and including.
    pub upto: Seq,
    /// READ: messages with content up to there, as the device says.
    pub ordinal: u64,
    /// Whether others are shown what it has read.
    pub privacy: Privacy,
}

/// How a home learns a conversation's head.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Heads {
    /// It is told whenever it rises.
    #[default]
    Told = 0,
    /// It asks when a device comes, and listens while one is there: the conversation is a large group, and the user is a member.
    Asked = 1,
}

/// A conversation as a member's home is told of it.
#[derive(Clone, Copy, Debug)]
pub struct HeadUpdate {
    /// The member whose home this goes to.
    pub user: UserId,
    /// The conversation.
    pub conversation: ConversationId,
    /// Where that and its entry in the home are, if it is one to one.
    pub places: Places,
    /// The other member.
    pub peer: UserId,
    /// Its last committed message.
    pub head: Seq,
    /// Messages with content up to there.
    pub ordinal: u64,
    /// The member's watermarks.
    pub own: Watermarks,
    /// The other member's.
    pub peers: Shown,
    /// The session that sent the message: it gets SENT instead. [`SessionId::NONE`] if it is not of this reactor.
    pub origin: SessionId,
    /// Whose message comes with it, if one does.
    pub author: Author,
    /// How later heads are learnt.
    pub heads: Heads,
    /// Where it comes from.
    pub source: Source,
}

/// Who wrote a message, as seen from a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// The home's user.
    User,
    /// Somebody else: the other member of a one-to-one conversation, if it is one.
    Other,
}

/// A group as the homes of its members on a reactor are told of it.
#[derive(Clone, Copy, Debug)]
pub struct Fanout {
    /// The group.
    pub conversation: ConversationId,
    /// Who wrote the message that comes with it, if one does.
    pub sender: UserId,
    /// How many members are told.
    pub members: u16,
    /// Bytes of its title, if that is told, too.
    pub title: u16,
    /// The session that sent the message: it gets SENT instead. [`SessionId::NONE`] if it is not of this reactor.
    pub origin: SessionId,
    /// Where it comes from.
    pub source: Source,
}

impl Fanout {
    /// The members that are told, the title, and the MESSAGE frame; both may be empty.
    ///
    /// # Panics
    /// If the payload is not one that [`FanoutMember::put`] made: it comes from another reactor of this process.
    pub fn split<'a>(&self, payload: &'a [u8]) -> (impl Iterator<Item = FanoutMember> + 'a, &'a [u8], &'a [u8]) {
        let (members, rest) = payload.split_at(usize::from(self.members) * FanoutMember::LEN);
        let (title, frame) = rest.split_at(usize::from(self.title));
        let read = |member| archive::read(member).expect("put together here");
        (members.chunks_exact(FanoutMember::LEN).map(read), title, frame)
    }
}

/// A member of a group as its home is told of it.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanoutMember {
    /// Who.
    pub user: UserId,
    /// The last message that it may know of.
    pub head: Seq,
    /// Some device of it has everything up to here.
    pub delivered: Seq,
    /// It has read up to here.
    pub read: Seq,
    /// Messages with content that it may know of.
    pub ordinal: u64,
    /// How many of them it has seen.
    pub seen: u64,
    /// How later heads are learnt.
    pub heads: Heads,
}

impl Archived for FanoutMember {
    const FIRST_LEN: usize = 57;
}
const _: () = assert!(<FanoutMember as Archived>::LEN == 57);

impl FanoutMember {
    /// Appends it to a payload.
    pub fn put(&self, payload: &mut Vec<u8>) {
        crate::records::append(payload, self);
    }
}

/// A message of a large group, as a reactor that listens to it is told.
#[derive(Clone, Copy, Debug)]
pub struct Posted {
    /// The group.
    pub conversation: ConversationId,
    /// The message.
    pub seq: Seq,
    /// Messages with content up to it.
    pub ordinal: u64,
    /// Who wrote it.
    pub sender: UserId,
    /// Whether it has content.
    pub weight: Weight,
    /// The session that sent it: it gets SENT instead. [`SessionId::NONE`] if it is not of this reactor.
    pub origin: SessionId,
}

/// The head of a large group, and how far one of its members is; its title follows.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHead {
    /// The group.
    pub conversation: ConversationId,
    /// Its last message.
    pub head: Seq,
    /// Messages with content.
    pub ordinal: u64,
    /// Some device of the member has everything up to here.
    pub delivered: Seq,
    /// It has read up to here.
    pub read: Seq,
    /// Messages with content that it has seen.
    pub seen: u64,
    /// The message that deleted it; 0: none did.
    pub deleted: Seq,
    /// Bytes of the title.
    pub title: u32,
}

impl Archived for GroupHead {
    const FIRST_LEN: usize = 68;
}
const _: () = assert!(<GroupHead as Archived>::LEN == 68);

impl GroupHead {
    /// Appends it to a payload.
    pub fn put(&self, title: &[u8], payload: &mut Vec<u8>) {
        crate::records::append(payload, self);
        payload.extend_from_slice(title);
    }
}

/// Somebody who wrote in a group, and how many receipts it is told, which follow.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterReceipts {
    /// Who.
    pub user: UserId,
    /// How many.
    pub count: u32,
}

/// How far a member of a group is, as others are told.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberReceipt {
    /// Who.
    pub member: UserId,
    /// Some device of it has everything up to here.
    pub delivered: Seq,
    /// It has read up to here.
    pub read: Seq,
}

impl Archived for WriterReceipts {
    const FIRST_LEN: usize = 20;
}
const _: () = assert!(<WriterReceipts as Archived>::LEN == 20);

impl Archived for MemberReceipt {
    const FIRST_LEN: usize = 32;
}
const _: () = assert!(<MemberReceipt as Archived>::LEN == 32);

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: ErrorCode,
    /// Where.
    pub conversation: ConversationId,
    /// The refused SEND's, or 0.
    pub client_msg_id: ClientMsgId,
    /// The device's highest accepted id, where the code carries it.
    pub highest: ClientMsgId,
    /// When to try again.
    pub retry_after_ms: u32,
    /// Number of the kind of frame that was refused.
    pub of_kind: u8,
}

impl Refusal {
    /// Of a frame that is about no conversation.
    pub fn of(code: ErrorCode, kind: tidings_wire::Kind) -> Self {
        let (conversation, none) = (ConversationId::NONE, ClientMsgId(0));
        Self { code, conversation, client_msg_id: none, highest: none, retry_after_ms: 0, of_kind: kind as u8 }
    }

    /// It may be tried again after that time.
    pub fn for_ms(self, retry_after_ms: u32) -> Self {
        Self { retry_after_ms, ..self }
    }
}

/// How far homes have what a shard told, and how often something of it was lost: who says that nothing is missing says since which loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// How far.
    pub source: Source,
    /// How often.
    pub losses: u32,
}

/// From a conversation to a home or one of its sessions.
#[derive(Clone, Copy, Debug)]
pub enum ToHome {
    /// A message is committed, or was when a repeat came.
    Sent {
        /// Who asked.
        asker: Asker,
        /// Where.
        conversation: ConversationId,
        /// Which attempt.
        client_msg_id: ClientMsgId,
        /// Its number.
        seq: Seq,
        /// Its time, or 0 for a repeat.
        ts: Timestamp,
        /// Messages with content up to and including it, or 0 for a repeat.
        ordinal: u64,
    },
    /// A command was refused.
    Refused {
        /// Who asked.
        asker: Asker,
        /// Why.
        refusal: Refusal,
    },
    /// A conversation's head rose. The payload is the MESSAGE frame, or empty: then devices must be told to look.
    HeadUpdate(HeadUpdate),
    /// The same of a group, for all its members there at once. The payload: a [`FanoutMember`] each, the title or nothing, and the MESSAGE frame or
    /// nothing.
    Fanout(Fanout),
    /// A message of a large group, for all who listen there. The payload is the MESSAGE frame.
    Posted(Posted),
    /// A message of a large group of which only the number is told: devices look for it themselves.
    Bell(Posted),
    /// Heads of large groups, a [`GroupHead`] each, for a session that asked.
    Heads {
        /// Who asked.
        asker: Asker,
    },
    /// There was no room for heads: they are to be asked for again.
    AskHeadsAgain {
        /// Who asked.
        asker: Asker,
    },
    /// The other member's watermarks rose.
    Receipt {
        /// Whose home this goes to.
        user: UserId,
        /// Where.
        conversation: ConversationId,
        /// Whose watermarks.
        member: UserId,
        /// To what.
        watermarks: Shown,
        /// Where it comes from.
        source: Source,
    },
    /// Watermarks of members of a group rose, which those who wrote are told. The payload: of each of them a [`WriterReceipts`], and so many
    /// [`MemberReceipt`]s.
    GroupReceipts {
        /// Where.
        conversation: ConversationId,
        /// How many are told.
        writers: u32,
    },
    /// The user's own watermarks are committed.
    ReceiptOk {
        /// Whose home this goes to.
        user: UserId,
        /// Where.
        conversation: ConversationId,
        /// To what.
        watermarks: Watermarks,
        /// Where it comes from; `None` if it answers a repeat.
        source: Option<Source>,
    },
    /// Who blocks whom in a one-to-one conversation is committed.
    Blocks(BlocksTold),
    /// How far do the homes there have what a shard told? Answered when there is room, by [`ToConversation::Reached`].
    AskReached {
        /// The shard.
        shard: u16,
    },
    /// What was missing was told.
    Reached(Reached),
    /// An answer; the payload is its frame.
    Answer {
        /// Who asked.
        asker: Asker,
    },
    /// A stored message; the payload is its MESSAGE frame.
    Data {
        /// Who asked.
        asker: Asker,
    },
    /// No more stored messages.
    Fetched {
        /// Who asked.
        asker: Asker,
        /// The summary.
        fetched: Fetched,
    },
}
