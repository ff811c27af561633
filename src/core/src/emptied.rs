//! Messages that are not told as they are stored.

use alloc::vec::Vec;

use tidings_wire::{
    Frame,
    frame::FrameBuilder,
    frames::{Message, MessageFlags},
};

/// A message without what it says, and with this flag, which says why.
pub(crate) fn emptied(frame: &Frame<'_>, message: &Message, why: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let mut emptied = FrameBuilder::<Message>::new(&mut out);
    let name = frame.var(message.sender_name).unwrap_or_default();
    let (sender_name, body, payload) = (emptied.var(name), emptied.var(&[]), emptied.var(&[]));
    emptied.finish(
        frame.header().request_id,
        &Message {
            sender_name,
            body,
            payload,
            flags: MessageFlags(message.flags.0 | MessageFlags::EMPTIED | why),
            payload_crc: Message::crc_of_content(&[], &[]),
            clear_crc: Message::crc_of_clear(name, &[]),
            ..*message
        },
    );
    out
}

/// A message with other flags.
pub(crate) fn with_flags(frame: &Frame<'_>, message: &Message, flags: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let mut flagged = FrameBuilder::<Message>::new(&mut out);
    let mut part = |span| flagged.var(frame.var(span).unwrap_or_default());
    let (sender_name, body, payload) = (part(message.sender_name), part(message.body), part(message.payload));
    let flags = MessageFlags(flags);
    flagged.finish(frame.header().request_id, &Message { sender_name, body, payload, flags, ..*message });
    out
}
