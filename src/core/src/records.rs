//! Bodies of log records, as archives that evolve by appending. A message's body is its whole MESSAGE frame, so that it
//! can be pushed as it stands.

use alloc::vec::Vec;

use rkyv::{Archive, Deserialize, Serialize};
use tidings_wire::{
    ClientMsgId, ConversationId, DeviceId, Seq, Timestamp, UserId, Uv, WireError,
    archive::{self, Archived},
    frames::Role,
};

use crate::lanes::{Blocking, Heads, Watermarks};

/// What a record is. The numbers are on disk. Entries have 1 to 63, records that are one node's alone 64 and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A leader's first entry; nothing else is in it. Reserved for replicas.
    NoOp = 1,
    /// What a replica voted for, and what it knows to be committed. Reserved for replicas.
    HardState = 2,
    /// Who replicates the shard. Reserved for replicas.
    Config = 3,
    /// Changes of a home's index, and from which source they come: [`HomeRecord`] and its [`HomeEntryRecord`]s.
    HomeDelta = 4,
    /// How far homes of the shard have what others' shards tell: [`SourcesRecord`] and its [`SourceRecord`]s.
    Sources = 5,
    /// What a user keeps for itself, all of it: settings and devices.
    Own = 6,
    /// Messages of a conversation that a user does not want to see any more, which are added to others: [`ForgottenRecord`] and ranges.
    Forgotten = 7,
    /// Who blocks a user: [`BarredRecord`] and its [`BarredPeer`]s.
    Barred = 8,
    /// A message: its MESSAGE frame.
    Message = 16,
    /// A member's watermarks: [`ReceiptRecord`].
    Receipt = 17,
    /// Somebody blocks the other member of a one-to-one conversation, or stops: [`BlockRecord`].
    Block = 18,
    /// Nothing: what was appended was dropped before its batch was sealed.
    Void = 64,
    /// The state of a conversation begins: [`ConversationRow`]. Its members' rows follow.
    ConversationRow = 65,
    /// The state of a member: [`MemberRow`], [`DeviceRecord`]s with their [`PairRecord`]s, [`MembershipRecord`], [`StayRecord`]s.
    MemberRow = 66,
    /// Entries of a home's index, written again: as of [`Self::HomeDelta`].
    HomeRow = 67,
    /// How far a shard's entries go: [`ShardRow`].
    ShardRow = 68,
    /// What a user keeps for itself, written again: as of [`Self::Own`].
    OwnRow = 69,
    /// What was withdrawn in a conversation: [`ErasuresRow`] and its [`ErasureRecord`]s.
    ErasuresRow = 70,
    /// Messages that a user does not want to see any more, all of them, written again: as of [`Self::Forgotten`].
    ForgottenRow = 71,
    /// Who blocks a user, written again: as of [`Self::Barred`].
    BarredRow = 72,
    /// A message that outlives its segment, since somebody has not received it: its MESSAGE frame, then [`KeptRecord`].
    Kept = 73,
}

/// Bytes of a record's header in the log, of which the log itself knows the fields.
pub(crate) const RECORD_HEADER: usize = 40;

impl RecordKind {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::NoOp,
        Self::HardState,
        Self::Config,
        Self::HomeDelta,
        Self::Sources,
        Self::Own,
        Self::Forgotten,
        Self::Barred,
        Self::Message,
        Self::Receipt,
        Self::Block,
        Self::Void,
        Self::ConversationRow,
        Self::MemberRow,
        Self::HomeRow,
        Self::ShardRow,
        Self::OwnRow,
        Self::ErasuresRow,
        Self::ForgottenRow,
        Self::BarredRow,
        Self::Kept,
    ];

    /// The kind with this number.
    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == value)
    }

    /// True if homes write it.
    pub const fn is_of_home(self) -> bool {
        self.is_told() || matches!(self, Self::Own | Self::OwnRow | Self::Forgotten | Self::ForgottenRow)
    }

    /// True of what homes write of what conversations told them, and what those could tell again.
    pub const fn is_told(self) -> bool {
        matches!(self, Self::HomeDelta | Self::Sources | Self::HomeRow | Self::Barred | Self::BarredRow)
    }

    /// True of what says something about numbers of messages, which a restore gives to others.
    pub const fn is_of_numbers(self) -> bool {
        matches!(self, Self::Forgotten | Self::ForgottenRow)
    }

    /// True if records of this kind are one node's alone, and in no entry.
    pub const fn is_local(self) -> bool {
        self as u8 >= Self::Void as u8
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
    /// Messages with content that it has seen.
    pub seen: u64,
    /// How far what others are shown as read is behind `read`.
    pub withheld: u64,
}

impl ReceiptRecord {
    /// The watermarks.
    pub fn watermarks(&self) -> Watermarks {
        let Self { delivered, read, seen, withheld, .. } = *self;
        Watermarks { delivered, read, shown: Seq(read.0.saturating_sub(withheld)), seen }
    }
}

/// What a member of a one-to-one conversation does with the other one, from here on.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRecord {
    /// Where.
    pub conversation: ConversationId,
    /// Who.
    pub user: UserId,
    /// The other one.
    pub peer: UserId,
    /// How often it began or ceased to.
    pub blocking: Blocking,
    /// What the other one is shown as delivered as long as it is blocked.
    pub delivered: Seq,
    /// What it is shown as read.
    pub read: Seq,
}

/// Who blocks a user; `count` of [`BarredPeer`] follow.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarredRecord {
    /// The user.
    pub user: UserId,
    /// How many follow.
    pub count: u32,
}

/// Somebody who blocks, or blocked, a user.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarredPeer {
    /// Who.
    pub peer: UserId,
    /// How often it began or ceased to.
    pub blocking: Blocking,
}

/// Messages of a conversation that a user does not want to see any more; `count` of [`ForgottenRange`](tidings_wire::frames::ForgottenRange) follow.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForgottenRecord {
    /// Whose.
    pub user: UserId,
    /// Where.
    pub conversation: ConversationId,
    /// The other member.
    pub peer: UserId,
    /// The change of the user's home that it was.
    pub uv: Uv,
    /// How often the user said so there.
    pub changes: u32,
    /// Ranges that follow.
    pub count: u32,
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
    /// Messages with content that the user may know of.
    pub ordinal: u64,
    /// How many of them it has seen.
    pub seen: u64,
    /// The user hides it up to this message.
    pub hidden: Seq,
    /// Bytes of its name, which follow.
    pub name_len: u16,
    /// How its head is learnt.
    pub heads: Heads,
    /// Nobody is alerted until then.
    pub muted_until: Timestamp,
    /// Its place among those that the user keeps at the top; 0: it is not.
    pub pinned: u64,
    /// The user has put it away.
    pub archived: bool,
    /// Messages up to this one are not shown to the user any more.
    pub cleared: Seq,
    /// Whether the user blocks the other member.
    pub blocks: Blocking,
    /// How often the user said of messages that it does not want to see them any more.
    pub forgotten: u32,
}

impl HomeEntryRecord {
    /// Bytes without what few users set.
    pub const SHORT_LEN: usize = 107;
}

/// How far the homes of a shard have what others' shards tell; `count` of [`SourceRecord`] follow.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcesRecord {
    /// Sources that follow.
    pub count: u32,
}

/// A shard that tells homes of its conversations.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRecord {
    /// The shard.
    pub shard: u16,
    /// The homes have everything up to this entry of it.
    pub reached: u64,
}

/// How far a shard's entries go, written again before segments with the last of them are dropped.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardRow {
    /// The term of its leader.
    pub term: u32,
    /// The last entry.
    pub last: u64,
}

/// A conversation, without its members: their rows follow, in as many batches as it takes.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversationRow {
    /// Which.
    pub conversation: ConversationId,
    /// Members whose rows follow.
    pub members: u32,
    /// Its last message.
    pub head: Seq,
    /// That message's time.
    pub last_ts: Timestamp,
    /// Messages with content.
    pub ordinal: u64,
    /// The entry that changed it last; [`ConversationRow::OPEN`] if that has no number yet.
    pub changed: u64,
    /// What features keep of it: so many [`SettingRecord`]s follow, each with its bytes after it.
    pub settings: u32,
    /// 1: it is a large group.
    pub size: u8,
    /// A sum over all erasures that ever were. Those that are still needed follow in rows of their own, before the members.
    pub erasures: u64,
}

/// A message that was written again. Its MESSAGE frame is before this, or that of the END that has taken its place.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptRecord {
    /// Its number.
    pub seq: Seq,
}

/// What was withdrawn in a conversation; `count` of [`ErasureRecord`] follow.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasuresRow {
    /// Which.
    pub conversation: ConversationId,
    /// How many follow.
    pub count: u32,
}

/// A message that was withdrawn.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasureRecord {
    /// Which.
    pub target: Seq,
    /// By which.
    pub by: Seq,
}

/// What a feature keeps of a conversation; `len` bytes follow.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingRecord {
    /// The feature's number.
    pub control: u16,
    /// Its bytes.
    pub len: u32,
}

impl ConversationRow {
    /// [`ConversationRow::changed`] of one with changes that were not committed when the row was written.
    pub const OPEN: u64 = u64::MAX;
}

/// A member of a conversation; `devices` of [`DeviceRecord`] follow, each with its pairs after it.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// Where.
    pub conversation: ConversationId,
    /// Who.
    pub user: UserId,
    /// Delivered up to.
    pub delivered: Seq,
    /// Read up to.
    pub read: Seq,
    /// The highest attempt that was forgotten of the member's devices.
    pub floor: ClientMsgId,
    /// Devices that follow.
    pub devices: u32,
    /// Messages with content that it has seen.
    pub seen: u64,
    /// How far what others are shown as read is behind `read`.
    pub withheld: u64,
}

/// What a member may do and read, at the end of its row; `earlier` of [`StayRecord`] follow.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembershipRecord {
    /// What it may do.
    pub role: Role,
    /// The message that added it last.
    pub joined: Seq,
    /// The first message that it can read since then.
    pub first: Seq,
    /// The last; 0: whatever is the head.
    pub last: Seq,
    /// How often it was a member before.
    pub earlier: u8,
    /// Messages with content that there were when it left; 0 of a member.
    pub content: u64,
}

/// Numbers that a member can read of a time before.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct StayRecord {
    /// The first.
    pub first: Seq,
    /// The last.
    pub last: Seq,
}

/// What is remembered of a device's attempts; `pairs` of [`PairRecord`] follow.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Which device.
    pub device: DeviceId,
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
    (@now $first:literal) => { $first };
    (@now $first:literal $now:literal) => { $now };
    ($($name:ident: $first:literal $(, now $now:literal)?;)*) => {$(
        impl Archived for $name {
            const FIRST_LEN: usize = $first;
        }
        const _: () = assert!(<$name as Archived>::LEN == first_len!(@now $first $($now)?));
    )*};
}

first_len! {
    ReceiptRecord: 56, now 64;
    BlockRecord: 68;
    HomeRecord: 28;
    HomeEntryRecord: 96, now 140;
    BarredRecord: 20;
    BarredPeer: 20;
    ForgottenRecord: 64;
    SourcesRecord: 4;
    SourceRecord: 10;
    ShardRow: 12;
    ConversationRow: 56, now 65;
    ErasuresRow: 20;
    KeptRecord: 8;
    ErasureRecord: 16;
    SettingRecord: 6;
    MemberRow: 68, now 76;
    MembershipRecord: 34;
    StayRecord: 16;
    DeviceRecord: 8;
    PairRecord: 16;
}

/// Appends an archive that is a whole body: how long the body is says which version of the archive it is.
pub fn append<T: Archived>(body: &mut Vec<u8>, value: &T) {
    let start = body.len();
    body.resize(start + T::LEN, 0);
    archive::write(value, &mut body[start..]);
}

/// Bytes of an archive in a list.
pub const fn listed_len<T: Archived>() -> usize {
    size_of::<u16>() + T::LEN
}

/// Appends an archive that others may follow: its length is before it, so that a later version may have more in it.
pub fn put<T: Archived>(body: &mut Vec<u8>, value: &T) {
    let len = u16::try_from(T::LEN).expect("archives are short");
    body.extend_from_slice(&len.to_le_bytes());
    append(body, value);
}

/// The same, without what comes after the first `len` bytes, which is zero: read back it is zero again.
pub fn put_prefix<T: Archived>(body: &mut Vec<u8>, value: &T, len: usize) {
    let start = body.len();
    put(body, value);
    assert!(body[start + size_of::<u16>() + len..].iter().all(|byte| *byte == 0), "what is left out is zero");
    body.truncate(start + size_of::<u16>() + len);
    let len = u16::try_from(len).expect("archives are short");
    body[start..start + size_of::<u16>()].copy_from_slice(&len.to_le_bytes());
}

/// Takes what [`put`] appended, now or in another version, off the front of a body.
///
/// # Errors
/// If it is not there.
pub fn take<T: Archived>(body: &mut &[u8]) -> Result<T, WireError> {
    let len = body.split_off(..size_of::<u16>()).and_then(|len| len.try_into().ok()).ok_or(WireError::Body)?;
    let archive = body.split_off(..usize::from(u16::from_le_bytes(len))).ok_or(WireError::Body)?;
    archive::read(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_put_is_taken_as_far_as_it_is_known() {
        let mut body = Vec::new();
        put(&mut body, &StayRecord { first: Seq(1), last: Seq(2) });
        // As a later version puts it, with something new at its end.
        body.extend_from_slice(&20_u16.to_le_bytes());
        append(&mut body, &StayRecord { first: Seq(3), last: Seq(4) });
        body.extend_from_slice(&[9; 4]);
        put(&mut body, &SourcesRecord { count: 7 });
        let mut rest = &body[..];
        let mut stay = || take(&mut rest).unwrap();
        assert_eq!(
            (stay(), stay()),
            (StayRecord { first: Seq(1), last: Seq(2) }, StayRecord { first: Seq(3), last: Seq(4) })
        );
        assert_eq!(take(&mut rest), Ok(SourcesRecord { count: 7 }));
        assert_eq!(take::<SourcesRecord>(&mut rest), Err(WireError::Body));
    }
}
