//! RESUME, CHANGED, FETCH and FETCHED: how a device catches up.

use rkyv::{Archive, Deserialize, Serialize};

use super::fixed_parts;
use crate::{
    frame::Span,
    ids::{ConversationId, HistoryId, Seq, UserId, Uv},
};

/// What I last knew; what changed? Sent once after WELCOME, and again to continue a list.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// What the cursor belongs to; none with `uv` 0: I know nothing.
    pub history: HistoryId,
    /// Everything up to this change number is known.
    pub uv: Uv,
    /// To continue a list: the `next` of the page before; 0 for the first page.
    pub below: Uv,
    /// Most conversations in a page; 0: the server's limit.
    pub page: u32,
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
    pub history: HistoryId,
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
}

impl crate::archive::Archived for ChangedConversation {
    const FIRST_LEN: usize = 72;
}
const _: () = assert!(size_of::<ArchivedChangedConversation>() == 72);

/// In which order, and so which end is cut when the limit is reached.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FetchOrder {
    /// From `from` upward.
    Upward = 0,
    /// The last `limit` messages of the range, still sent in rising order.
    Last = 1,
}

/// Give me these messages: MESSAGE frames with this request id in rising order, then FETCHED.
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
    /// The last message that was sent; 0 if none was. A smaller number than asked for: ask again from there.
    pub last: Seq,
    /// The conversation's head.
    pub head: Seq,
    /// The oldest message that can still be had: below it, retention has dropped them.
    pub oldest: Seq,
}

fixed_parts! {
    Resume: Resume, first 36, now 36;
    Changed: Changed, first 49, now 49;
    Fetch: Fetch, first 37, now 37;
    Fetched: Fetched, first 48, now 48;
}
