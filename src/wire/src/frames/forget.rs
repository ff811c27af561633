//! FORGET and FORGOTTEN: messages that a user does not want to see any more. Others keep them.

use rkyv::{Archive, Deserialize, Serialize};

use super::fixed_parts;
use crate::{
    frame::Span,
    ids::{ConversationId, Seq},
};

/// This user does not want to see these messages any more, on none of its devices. Answered by FORGOTTEN once it is durable.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forget {
    /// Where.
    pub conversation: ConversationId,
    /// The first; 0 with `last` 0: which are they?
    pub first: Seq,
    /// The last.
    pub last: Seq,
}

/// Messages that this user does not want to see any more.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Where.
    pub conversation: ConversationId,
    /// How often the user said so there, with this one.
    pub changes: u32,
    /// [`ForgottenRange`]s, one behind the other: the one that was added, or all of them.
    pub ranges: Span,
}

/// Some of them.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForgottenRange {
    /// The first.
    pub first: Seq,
    /// The last.
    pub last: Seq,
}

impl crate::archive::Archived for ForgottenRange {
    const FIRST_LEN: usize = 16;
}
const _: () = assert!(<ForgottenRange as crate::archive::Archived>::LEN == 16);

fixed_parts! {
    Forget: Forget, first 32, now 32;
    Forgotten: Forgotten, first 28, now 28;
}
