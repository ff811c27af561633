//! SEND, SENT and MESSAGE.

use rkyv::{Archive, Deserialize, Serialize};

use super::fixed_parts;
use crate::{
    HEADER_LEN, Kind,
    frame::Span,
    ids::{ClientMsgId, ConversationId, DeviceId, Seq, Timestamp, UserId},
};

/// Flags of a message, carried from SEND to every MESSAGE. Unknown bits are carried too.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageFlags(pub u32);

impl MessageFlags {
    /// Do not alert the receiver.
    pub const SILENT: u32 = 1;
    /// Alert at once.
    pub const URGENT: u32 = 2;
    /// The payload is a command to clients, not something to show.
    pub const CONTROL: u32 = 4;
    /// The payload may be compressed on the way (never set for ciphertext).
    pub const COMPRESSIBLE: u32 = 8;
    /// The group is large: DELIVERED is not kept there. Only the server sets it.
    pub const LARGE: u32 = 16;
    /// Payload and body are held back: it was withdrawn, or its time is over. Only the server sets it.
    pub const EMPTIED: u32 = 32;
    /// The other member blocked who wrote it: it gets nothing of the message but its number. Only the server sets it.
    pub const WITHHELD: u32 = 64;
    /// The user does not want to see it any more: payload and body are held back from its devices. Only the server sets it.
    pub const FORGOTTEN: u32 = 128;
    /// Of OPEN: it has ended, and the payload is what END says. Only the server sets it.
    pub const ENDED: u32 = 256;
    /// Of END, and of an OPEN that has ended: who wrote it fell silent, and the server ended it. Only the server sets it.
    pub const ABORTED: u32 = 512;
    /// Of a text or an edit: the payload is packed, see [`packed`](crate::packed).
    pub const PACKED: u32 = 1024;
    /// What only the server sets.
    pub const OF_SERVER: u32 =
        Self::LARGE | Self::EMPTIED | Self::WITHHELD | Self::FORGOTTEN | Self::ENDED | Self::ABORTED;

    /// What everybody is told of the flags that a SEND has: those of the server are cleared, and what is no text is marked, so that clients
    /// who do not know a control do not show it as text.
    #[must_use]
    pub fn as_served(self, control: Control) -> Self {
        let own = if control == Control::TEXT { 0 } else { Self::CONTROL };
        Self(self.0 & !Self::OF_SERVER | own)
    }
}

/// What a message does besides saying something: text, or an act of some feature. The list is in `docs/protocol.md`.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Control(pub u16);

impl Control {
    /// It only says something.
    pub const TEXT: Self = Self(0);
}

/// Opaque to the server; ties a message to a trace.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// A new message.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    /// Where to.
    pub conversation: ConversationId,
    /// One to one: the other user, at least the first time; none afterwards.
    pub peer: UserId,
    /// Names this attempt. Rises.
    pub client_msg_id: ClientMsgId,
    /// This device's previous one in this conversation, or 0 for the first after connecting.
    pub prev: ClientMsgId,
    /// When the message loses its meaning; 0: never.
    pub expires_at: Timestamp,
    /// Opaque.
    pub trace: TraceId,
    /// Flags.
    pub flags: MessageFlags,
    /// CRC-32C of the body and the payload after it: see [`Message::crc_of_content`].
    pub payload_crc: u32,
    /// The payload.
    pub payload: Span,
    /// What it does.
    pub control: Control,
    /// The message that it is about; 0: none.
    pub target: Seq,
    /// What the server must read of it: an archive, as the control says.
    pub body: Span,
}

/// The message is durable.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Where.
    pub conversation: ConversationId,
    /// SEND's.
    pub client_msg_id: ClientMsgId,
    /// Its number.
    pub seq: Seq,
    /// Its time, or 0 if this answers a repeat.
    pub ts: Timestamp,
    /// How many messages with content there are up to and including it; 0 if this answers a repeat.
    pub ordinal: u64,
}

/// A message of a conversation: as stored, as pushed, as fetched.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub conversation: ConversationId,
    /// Its number.
    pub seq: Seq,
    /// Its time: never before the previous message's.
    pub ts: Timestamp,
    /// Who wrote it.
    pub sender: UserId,
    /// One to one: the member that did not write it.
    pub peer: UserId,
    /// The device that it was written on.
    pub sender_device: DeviceId,
    /// SEND's.
    pub flags: MessageFlags,
    /// SEND's.
    pub client_msg_id: ClientMsgId,
    /// SEND's.
    pub expires_at: Timestamp,
    /// SEND's.
    pub trace: TraceId,
    /// SEND's.
    pub payload_crc: u32,
    /// The sender's external name, for clients without a directory.
    pub sender_name: Span,
    /// The payload.
    pub payload: Span,
    /// SEND's.
    pub control: Control,
    /// SEND's.
    pub target: Seq,
    /// How many messages with content there are up to and including this one.
    pub ordinal: u64,
    /// SEND's.
    pub body: Span,
    /// CRC-32C of the sender's name and the body after it: what the server put together.
    pub clear_crc: u32,
}

impl Message {
    /// `payload_crc` of a body and a payload. Text has no body, so of text it is the payload's.
    pub fn crc_of_content(body: &[u8], payload: &[u8]) -> u32 {
        tidings_crc::of_parts([body, payload])
    }

    /// True of a frame that is a MESSAGE and says that its payload is packed; the rest of it, which must be known to be whole, is not looked at.
    #[inline]
    pub fn says_packed(frame: &[u8]) -> bool {
        frame.len() > PACKED_AT && frame[PACKED_AT] & PACKED_BIT != 0 && frame[KIND_AT] == Kind::Message as u8
    }

    /// [`Message::clear_crc`] of a name and a body.
    pub fn crc_of_clear(name: &[u8], body: &[u8]) -> u32 {
        tidings_crc::of_parts([name, body])
    }
}

/// Where a frame says its kind.
const KIND_AT: usize = 4;
/// Where a MESSAGE has its flags: behind three ids, two numbers of 64 bits and the device. They are little-endian.
const FLAGS_AT: usize = HEADER_LEN + 3 * 16 + 2 * 8 + 4;
/// The byte of them that says that the payload is packed.
const PACKED_AT: usize = FLAGS_AT + 1;
const PACKED_BIT: u8 = (MessageFlags::PACKED >> 8) as u8;

fixed_parts! {
    Send: Send, first 88, now 106;
    Sent: Sent, first 40, now 48;
    Message: Message, first 124, now 154;
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::{
        archive::{self, Archived},
        frame,
    };

    #[test]
    fn flags_are_found_where_they_are() {
        let mut fixed: Message = archive::read(&[0; Message::LEN]).unwrap();
        (fixed.sender_device, fixed.client_msg_id) = (DeviceId(u32::MAX), ClientMsgId(u64::MAX));
        for (flags, expected) in [(0, false), (MessageFlags::PACKED, true), (!MessageFlags::PACKED, false)] {
            fixed.flags = MessageFlags(flags);
            let mut bytes = Vec::new();
            frame::append(&mut bytes, 0, &fixed);
            assert_eq!(Message::says_packed(&bytes), expected, "{flags:#x}");
            bytes[KIND_AT] = Kind::Sent as u8;
            assert!(!Message::says_packed(&bytes));
        }
        assert!(!Message::says_packed(&[]));
    }
}
