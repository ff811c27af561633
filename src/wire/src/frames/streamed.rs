//! Streamed messages: one number, and what it says grows while it is written. OPEN and END are controls, which have places in the order; what is between them
//! goes in frames that may be lost.

use rkyv::{Archive, Deserialize, Serialize};

use super::{Control, MessageFlags, TraceId, fixed_parts};
use crate::{
    archive::Archived,
    frame::Span,
    ids::{ClientMsgId, ConversationId, DeviceId, Seq, Timestamp},
};

/// Numbers of these controls.
pub mod control {
    use crate::frames::Control;

    /// A message that says nothing yet. Its target and its body are what a text's are; it has no payload.
    pub const OPEN: Control = Control(14);
    /// The target says this, and all of it: the payload. The server writes the body.
    pub const END: Control = Control(15);
}

/// More of what a message says that was opened and has not ended: from the device that writes it, and to those at which somebody looks. What is refused is answered with an
/// ERROR, and what the server has not followed with MORE.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where.
    pub conversation: ConversationId,
    /// OPEN's number.
    pub seq: Seq,
    /// How many bytes it says before these.
    pub offset: u32,
    /// CRC-32C of the bytes.
    pub crc: u32,
    /// At most [`FRAGMENT_MAX`](crate::limits::FRAGMENT_MAX) of them.
    pub bytes: Span,
}

impl Fragment {
    /// [`Fragment::crc`] of these bytes.
    pub fn crc_of(bytes: &[u8]) -> u32 {
        tidings_crc::crc32c(bytes)
    }
}

/// What does a message say from here on? From whoever reads it, answered by FRAGMENTs if it says more; and to whoever writes it, where something was lost on the way.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct More {
    /// Where.
    pub conversation: ConversationId,
    /// OPEN's number.
    pub seq: Seq,
    /// How many bytes are there.
    pub offset: u32,
}

/// The body of END as the server writes it: what OPEN was, if that is stored, and after it OPEN's body. With it END takes OPEN's place in the history.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// OPEN's time.
    pub ts: Timestamp,
    /// The device that it was written on.
    pub device: DeviceId,
    /// OPEN's flags.
    pub flags: MessageFlags,
    /// OPEN's.
    pub client_msg_id: ClientMsgId,
    /// OPEN's.
    pub expires_at: Timestamp,
    /// OPEN's.
    pub trace: TraceId,
    /// The message that it answers; 0: none.
    pub target: Seq,
    /// OPEN's.
    pub ordinal: u64,
}

impl Archived for Opened {
    const FIRST_LEN: usize = 64;
}
const _: () = assert!(<Opened as Archived>::LEN == 64);

impl Control {
    /// True of what somebody reads: a text, or a message that grows.
    pub fn has_content(self) -> bool {
        matches!(self, Self::TEXT | control::OPEN)
    }
}

fixed_parts! {
    Fragment: Fragment, first 40, now 40;
    More: More, first 28, now 28;
}
