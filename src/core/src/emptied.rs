//! Messages that are not told as they are stored.

use alloc::vec::Vec;

use tidings_wire::{
    Frame, archive,
    archive::Archived,
    frame::FrameBuilder,
    frames::{Message, MessageFlags, Opened, streamed::control::OPEN},
    limits::{FRAME_MAX, PAYLOAD_MAX},
    packed::unpack,
    split,
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
            flags: MessageFlags(message.flags.0 & !MessageFlags::PACKED | MessageFlags::EMPTIED | why),
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

/// A message with its payload as it was before it was packed, for a device that does not unpack; `None` if it was not packed.
pub(crate) fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    let frame = split(bytes, FRAME_MAX).ok().flatten()?;
    let message: Message = frame.fixed().ok()?;
    let (name, body) = (frame.var(message.sender_name).ok()?, frame.var(message.body).ok()?);
    // It was looked at when it was sent.
    let payload = unpack(frame.var(message.payload).ok()?, PAYLOAD_MAX as usize).ok()?;
    let mut out = Vec::new();
    let mut plain = FrameBuilder::<Message>::new(&mut out);
    let (sender_name, body_span, payload_span) = (plain.var(name), plain.var(body), plain.var(&payload));
    plain.finish(
        frame.header().request_id,
        &Message {
            sender_name,
            body: body_span,
            payload: payload_span,
            flags: MessageFlags(message.flags.0 & !MessageFlags::PACKED),
            payload_crc: Message::crc_of_content(body, &payload),
            ..message
        },
    );
    Some(out)
}

/// What a reader learns of the end of a message that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndTold {
    /// What it says.
    Whole,
    /// That it has ended, and nothing of what it says: its end is withheld from the reader.
    Emptied,
    /// Nothing, not even that it has ended: the reader had left before.
    Nothing,
}

/// The OPEN whose place an END has taken, with what that says as far as a reader learns it; `None` if it has taken none.
pub(crate) fn ended(frame: &Frame<'_>, end: &Message, told: EndTold) -> Option<Vec<u8>> {
    let body = frame.var(end.body).ok()?;
    let Opened { ts, device, flags, client_msg_id, expires_at, trace, target, ordinal } = archive::read(body).ok()?;
    let name = frame.var(end.sender_name).ok()?;
    let (payload, more) = match told {
        EndTold::Whole => (frame.var(end.payload).ok()?, MessageFlags::ENDED | end.flags.0 & MessageFlags::ABORTED),
        EndTold::Emptied => (&[][..], MessageFlags::ENDED | end.flags.0 & MessageFlags::ABORTED),
        EndTold::Nothing => (&[][..], 0),
    };
    let clear = body.get(Opened::LEN..)?;
    let mut out = Vec::new();
    let mut opened = FrameBuilder::<Message>::new(&mut out);
    let (sender_name, body, payload_span) = (opened.var(name), opened.var(clear), opened.var(payload));
    opened.finish(
        frame.header().request_id,
        &Message {
            seq: end.target,
            ts,
            sender_device: device,
            flags: MessageFlags(flags.0 | more),
            client_msg_id,
            expires_at,
            trace,
            payload_crc: Message::crc_of_content(clear, payload),
            sender_name,
            payload: payload_span,
            control: OPEN,
            target,
            ordinal,
            body,
            clear_crc: Message::crc_of_clear(name, clear),
            ..*end
        },
    );
    Some(out)
}
