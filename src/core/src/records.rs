//! Bodies of log records, as archives that evolve by appending. A message's body is its whole MESSAGE frame, so that it
//! can be pushed as it stands.

use rkyv::{Archive, Deserialize, Serialize};
use tidings_wire::{
    ClientMsgId, ConversationId, DeviceId, Seq, Timestamp, UserId, Uv,
    archive::{self, Archived},
};

use crate::lanes::Watermarks;

/// What a record is. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A message: its MESSAGE frame.
    Message = 1,
    /// A member's watermarks: [`ReceiptRecord`].
    Receipt = 2,
    /// Changes of a home's index: [`HomeRecord`] and its [`HomeEntryRecord`]s.
    Home = 3,
    /// The whole state of a conversation: [`ConversationRecord`], [`DeviceRecord`]s, [`PairRecord`]s.
    Conversation = 4,
    /// Nothing: what was appended was dropped before its batch was sealed.
    Void = 5,
}

impl RecordKind {
    /// The kind with this number.
    pub fn from_u8(value: u8) -> Option<Self> {
        [Self::Message, Self::Receipt, Self::Home, Self::Conversation, Self::Void]
            .into_iter()
            .find(|kind| *kind as u8 == value)
    }
}

/// A member's watermarks in a conversation.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptRecord {
    /// Where.
    pub conversation: ConversationId,
    /// Whose.
    pub member: UserId,
    /// Delivered up to.
    pub delivered: Seq,
    /// Read up to.
    pub read: Seq,
}

impl ReceiptRecord {
    /// Both watermarks.
    pub fn watermarks(&self) -> Watermarks {
        Watermarks { delivered: self.delivered, read: self.read }
    }
}

/// Changes of a home's index: `count` entries follow.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomeRecord {
    /// Whose home.
    pub user: UserId,
    /// Every change up to this number is in this record or an earlier one.
    pub uv: Uv,
    /// Entries that follow.
    pub count: u32,
}

/// A conversation in a home's index.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomeEntryRecord {
    /// Which.
    pub conversation: ConversationId,
    /// The other member.
    pub peer: UserId,
    /// When it last changed.
    pub uv: Uv,
    /// Its head.
    pub head: Seq,
    /// The user's delivered watermark.
    pub delivered: Seq,
    /// The user's read watermark.
    pub read: Seq,
    /// The peer's delivered watermark.
    pub peer_delivered: Seq,
    /// The peer's read watermark.
    pub peer_read: Seq,
}

/// The whole state of a conversation; `devices` of [`DeviceRecord`] follow, each with its pairs behind it.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversationRecord {
    /// Which.
    pub conversation: ConversationId,
    /// Its members.
    pub members: [UserId; 2],
    /// Their delivered watermarks.
    pub delivered: [Seq; 2],
    /// Their read watermarks.
    pub read: [Seq; 2],
    /// Its last message.
    pub head: Seq,
    /// That message's time.
    pub last_ts: Timestamp,
    /// Devices that follow.
    pub devices: u32,
    /// The highest attempt that was forgotten of each member's devices.
    pub floors: [ClientMsgId; 2],
}

/// What is remembered of a device's attempts; `pairs` of [`PairRecord`] follow.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Which device.
    pub device: DeviceId,
    /// Index of the member whose it is.
    pub member: u8,
    /// Pairs that follow.
    pub pairs: u32,
}

/// An attempt and the number that it got.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairRecord {
    /// The attempt.
    pub client_msg_id: ClientMsgId,
    /// Its message.
    pub seq: Seq,
}

macro_rules! first_len {
    ($($name:ident: $len:literal;)*) => {$(
        impl Archived for $name {
            const FIRST_LEN: usize = $len;
        }
        const _: () = assert!(<$name as Archived>::LEN == $len);
    )*};
}

first_len! {
    ReceiptRecord: 48;
    HomeRecord: 28;
    HomeEntryRecord: 80;
    ConversationRecord: 116;
    DeviceRecord: 9;
    PairRecord: 16;
}

/// Appends an archive to a body.
pub fn put<T: Archived>(body: &mut alloc::vec::Vec<u8>, value: &T) {
    let start = body.len();
    body.resize(start + T::LEN, 0);
    archive::write(value, &mut body[start..]);
}

/// Takes an archive off the front of a body of version 1.
///
/// # Errors
/// If it is not there.
pub fn take<T: Archived>(body: &mut &[u8]) -> Result<T, tidings_wire::WireError> {
    let (head, rest) = body.split_at_checked(T::LEN).ok_or(tidings_wire::WireError::Body)?;
    *body = rest;
    archive::read(head)
}
