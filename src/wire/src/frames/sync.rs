//! RESUME, CHANGED, FETCH and FETCHED: how a device catches up.

use rkyv::{Archive, Deserialize, Serialize};

use super::{fixed_parts, user::Visibility};
use crate::{
    frame::Span,
    ids::{ConversationId, Lineage, Seq, Timestamp, UserId, Uv},
};

/// What I last knew; what changed? Sent once after WELCOME, and again to continue a list.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// What the cursor belongs to; none with `uv` 0: I know nothing.
    pub lineage: Lineage,
    /// Everything up to this change number is known.
    pub uv: Uv,
    /// To continue a list: the `next` of the page before; 0 for the first page.
    pub below: Uv,
    /// Most conversations in a page; 0: the server's limit.
    pub page: u32,
    /// Of how many of the first conversations in the page the last messages are wanted, too; at most
    /// [`limits::TAILS_MAX`](crate::limits::TAILS_MAX).
    pub tails: u16,
    /// How many messages of each.
    pub tail: u16,
}

/// Everything has come that a RESUME with tails asked for: CHANGED, and of each of its first conversations MESSAGEs and FETCHED.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncDone {
    /// How many tails have come: those that are missing are to be asked for by FETCH.
    pub tails: u32,
}

/// How the server read the cursor.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ResumeStatus {
    /// Nothing changed.
    UpToDate = 0,
    /// The conversations that changed follow.
    Changed = 1,
    /// The cursor is of another history or from the future: forget it and RESUME from 0.
    TooOld = 2,
}

/// The conversations that changed, newest first.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// How the cursor was read.
    pub status: ResumeStatus,
    /// What the cursor belongs to.
    pub lineage: Lineage,
    /// The cursor to keep once every page was taken and every gap filled: it is durable.
    pub uv: Uv,
    /// Not 0: there are more, ask with `below` set to this.
    pub next: Uv,
    /// How many entries follow.
    pub count: u32,
    /// Bytes of one entry: at least those of [`ChangedConversation`]; readers step by this.
    pub entry_len: u32,
    /// The entries, one behind the other.
    pub entries: Span,
    /// Settings of the user, see [`Changed::READ_PRIVATE`].
    pub settings: u32,
    /// What the conversations are called, one behind the other without anything between them: a group's title, or the other user's name, as
    /// far as the user's home was told; else nothing.
    pub names: Span,
}

impl Changed {
    /// What the user reads is not shown to others, nor what others read to it.
    pub const READ_PRIVATE: u32 = 1;
    /// Two bits of settings: who is told whether the user is there, twice the number of a [`Visibility`].
    pub const VISIBILITY: u32 = 6;

    /// Who is told whether the user is there.
    pub fn visibility_in(settings: u32) -> Visibility {
        // What a later version knows shows no more than is meant.
        Visibility::from_u64(u64::from(settings & Self::VISIBILITY) / 2).unwrap_or(Visibility::Nobody)
    }
}

/// One entry of CHANGED.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedConversation {
    /// Which.
    pub conversation: ConversationId,
    /// One to one: the other user.
    pub peer: UserId,
    /// The last message's number.
    pub head: Seq,
    /// What this user's devices have and the user has read.
    pub delivered: Seq,
    /// What the user has read.
    pub read: Seq,
    /// One to one: what the other user's devices have.
    pub peer_delivered: Seq,
    /// One to one: what the other user has read.
    pub peer_read: Seq,
    /// Messages with content that the user may know of.
    pub ordinal: u64,
    /// How many of them it has seen: read, written, or older than its membership. The rest is unread.
    pub seen: u64,
    /// The user hides it until there is a message after this one; 0: it does not.
    pub hidden: Seq,
    /// Bytes of its name in [`Changed::names`].
    pub name_len: u16,
    /// Nobody is alerted until then; 0: everybody is.
    pub muted_until: Timestamp,
    /// Its place among those that the user keeps at the top; 0: it is not.
    pub pinned: u64,
    /// The user has put it away.
    pub archived: bool,
    /// Messages up to this one are not shown to the user any more.
    pub cleared: Seq,
    /// One to one: the user blocks the other one.
    pub blocked: bool,
    /// How often the user said of messages that it does not want to see them any more: see FORGOTTEN.
    pub forgotten: u32,
}

impl ChangedConversation {
    /// Bytes without what few users set: where no entry of a list has any of that, entries are as long as this.
    pub const SHORT_LEN: usize = 98;
}

impl crate::archive::Archived for ChangedConversation {
    const FIRST_LEN: usize = 72;
}
const _: () = assert!(size_of::<ArchivedChangedConversation>() == 128);

/// In which order, and so which end is cut when the limit is reached.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FetchOrder {
    /// From `from` upward.
    Upward = 0,
    /// The last `limit` messages of the range, still sent in rising order.
    Last = 1,
}

/// Give me these messages: MESSAGE frames with this request id in rising order, then FETCHED. One answer is a page: at most
/// [`limits::FETCH_MAX`](crate::limits::FETCH_MAX) messages and about [`limits::PAGE_BYTES`](crate::limits::PAGE_BYTES).
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Where.
    pub conversation: ConversationId,
    /// The first wanted.
    pub from: Seq,
    /// The last wanted; 0: the head.
    pub upto: Seq,
    /// Most messages; 0: the server's limit.
    pub limit: u32,
    /// Which end is cut.
    pub order: FetchOrder,
}

/// The end of a FETCH.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where.
    pub conversation: ConversationId,
    /// The first message that was sent; 0 if none was.
    pub first: Seq,
    /// The last message that was sent; 0 if none was.
    pub last: Seq,
    /// The conversation's head.
    pub head: Seq,
    /// The oldest message that can still be had: below it, retention has dropped them.
    pub oldest: Seq,
    /// The first number that this page answers for. What it answers for and did not bring cannot be had any more.
    pub from: Seq,
    /// The last number that this page answers for; less than `from`: it answers for none. The rest of what was asked for is
    /// past `upto` (in the order upward) or before `from` (in the order of the last ones).
    pub upto: Seq,
    /// The first message in the page that is stored and cannot be read, since it is damaged: it was left out; 0: there is none.
    pub damaged: Seq,
}

impl Fetched {
    /// The numbers that the page answers for. A server that does not say it yet answers for everything up to what it sent,
    /// and for what retention dropped. The end is below `u64::MAX`, so that there is a number after it.
    pub fn answered(&self) -> core::ops::RangeInclusive<u64> {
        match self.from {
            Seq(0) => 1..=self.last.0.max(self.oldest.0.saturating_sub(1)).min(u64::MAX - 1),
            from => from.0..=self.upto.0.min(u64::MAX - 1),
        }
    }
}

fixed_parts! {
    Resume: Resume, first 36, now 40;
    SyncDone: SyncDone, first 4, now 4;
    Changed: Changed, first 49, now 61;
    Fetch: Fetch, first 37, now 37;
    Fetched: Fetched, first 48, now 72;
}
