//! DELIVERED, READ, RECEIPT and RECEIPT_OK. All are cumulative: a number stands for everything up to it.

use rkyv::{Archive, Deserialize, Serialize};

use super::fixed_parts;
use crate::ids::{ConversationId, Seq, UserId, Uv};

/// Which of the two receipts.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReceiptKind {
    /// A device has it.
    Delivered = 0,
    /// The user has read it.
    Read = 1,
}

/// This device has everything up to `upto`. Repeated until RECEIPT_OK.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Where.
    pub conversation: ConversationId,
    /// Up to and including.
    pub upto: Seq,
}

/// The user has read everything up to `upto`. Repeated until RECEIPT_OK.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Where.
    pub conversation: ConversationId,
    /// Up to and including.
    pub upto: Seq,
    /// Messages with content up to and including that one, as its MESSAGE says; 0: not known.
    pub ordinal: u64,
}

/// A member's watermarks rose. Sent to the devices of every member, so that a user's own devices agree on what is read.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Where.
    pub conversation: ConversationId,
    /// Whose.
    pub member: UserId,
    /// Some device of the member has everything up to here.
    pub delivered: Seq,
    /// The member has read up to here.
    pub read: Seq,
}

/// A DELIVERED or READ of this device is durable.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptOk {
    /// Where.
    pub conversation: ConversationId,
    /// The user's delivered watermark.
    pub delivered: Seq,
    /// The user's read watermark.
    pub read: Seq,
    /// As in PONG: a durable change number, or 0.
    pub uv: Uv,
    /// Messages with content that the user has seen.
    pub seen: u64,
}

fixed_parts! {
    Delivered: Delivered, first 24, now 24;
    Read: Read, first 24, now 32;
    Receipt: Receipt, first 48, now 48;
    ReceiptOk: ReceiptOk, first 40, now 48;
}
