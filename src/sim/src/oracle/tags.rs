//! What names a message: a tag in its words, or who attempted it.

use std::borrow::Cow;

use tidings_client::{ClientMsgId, ConversationId, DeviceId, Message, MessageFlags, Seq, UserId};
use tidings_wire::{frames, limits::PAYLOAD_MAX, packed};

use super::streamed::{END, OPEN};

/// What a message says: its tag, and bytes that follow from it. Of one in four they repeat themselves, so that packing makes it shorter.
pub fn payload(tag: u64, len: usize) -> Vec<u8> {
    let mut bytes = tag.to_le_bytes().to_vec();
    let (mut state, repeats) = (tag | 1, tag.count_ones().is_multiple_of(4));
    while bytes.len() < len {
        if repeats && bytes.len() >= 64 {
            bytes.extend_from_within(bytes.len() - 40..);
            continue;
        }
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).rotate_left(17);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len.max(8));
    bytes
}

/// What names a message without words: who attempted it.
pub fn identity(user: UserId, device: DeviceId, id: ClientMsgId) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in user.0.into_iter().chain(device.0.to_le_bytes()).chain(id.0.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    hash
}

/// What names an end that the node wrote for somebody: the message that it ended.
pub(super) fn aborted_tag(conversation: ConversationId, target: Seq) -> u64 {
    identity(UserId(conversation.0), DeviceId(u32::MAX), ClientMsgId(target.0))
}

/// The tag of a message that is not an end that the node wrote: its payload's, or who attempted it. What one says that was opened is its end's.
fn named(control: u16, payload: &[u8], (user, device, id): (UserId, DeviceId, ClientMsgId)) -> u64 {
    let words = payload.first_chunk().filter(|_| control != OPEN);
    words.map_or_else(|| identity(user, device, id), |bytes| u64::from_le_bytes(*bytes))
}

/// What a message says, as the log and the wire have it.
pub(crate) fn said<'p>(message: &frames::Message, payload: &'p [u8]) -> Cow<'p, [u8]> {
    if message.flags.0 & MessageFlags::PACKED == 0 {
        return payload.into();
    }
    // What is packed wrongly says something else than was written.
    packed::unpack(payload, PAYLOAD_MAX as usize).map_or(Cow::Borrowed(&[]), Cow::Owned)
}

/// The tag of a message as the log and the wire have it.
pub(crate) fn tag_of(message: &frames::Message, payload: &[u8]) -> u64 {
    let payload = &said(message, payload);
    let frames::Message { conversation, sender, sender_device, client_msg_id, control, target, .. } = *message;
    match control.0 == END && message.flags.0 & MessageFlags::ABORTED > 0 {
        true => aborted_tag(conversation, target),
        false => named(control.0, payload, (sender, sender_device, client_msg_id)),
    }
}

/// The tag of a message as a device is given it.
pub(super) fn tag_of_message(message: &Message) -> u64 {
    let Message { conversation, sender, sender_device, client_msg_id, control, target, .. } = *message;
    match control.0 == END && message.was_aborted() {
        true => aborted_tag(conversation, target),
        false => named(control.0, &message.payload, (sender, sender_device, client_msg_id)),
    }
}
