//! Frames as a client builds them, and what is in a stretch of frames.

use tidings_wire::{
    ClientMsgId, ConversationId, Frame, Kind, Seq, Timestamp, UserId,
    frame::{FrameBuilder, Span},
    frames::{Control, Message, MessageFlags, Send, TraceId},
    limits::FRAME_MAX,
    split,
};

/// A SEND of `payload` from one user to another. Its request id is the message's.
pub fn send(from: UserId, peer: UserId, id: u64, prev: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_send(&mut bytes, from, peer, id, prev, payload);
    bytes
}

/// Appends a SEND.
pub fn append_send(bytes: &mut Vec<u8>, from: UserId, peer: UserId, id: u64, prev: u64, payload: &[u8]) {
    let mut frame = FrameBuilder::<Send>::new(bytes);
    let payload_crc = crc32c::crc32c(payload);
    let payload = frame.var(payload);
    let (client_msg_id, prev, conversation) = (ClientMsgId(id), ClientMsgId(prev), ConversationId::direct(from, peer));
    let (expires_at, trace, flags) = (Timestamp(0), TraceId::default(), MessageFlags::default());
    let (control, target, body) = (Control::TEXT, Seq(0), Span::default());
    let send = Send {
        conversation,
        peer,
        client_msg_id,
        prev,
        expires_at,
        trace,
        flags,
        payload_crc,
        payload,
        control,
        target,
        body,
    };
    frame.finish(id, &send);
}

/// The frames of a stretch of output.
///
/// # Panics
/// If it is not whole frames.
pub fn frames(output: &[u8]) -> Vec<Frame<'_>> {
    let (mut rest, mut frames) = (output, Vec::new());
    while let Some(frame) = split(rest, FRAME_MAX).expect("a server says only what can be read") {
        rest = &rest[frame.bytes().len()..];
        frames.push(frame);
    }
    assert!(rest.is_empty(), "a server says only whole frames");
    frames
}

/// The messages of a stretch of output: their numbers and payloads.
pub fn messages(output: &[u8]) -> Vec<(Seq, Vec<u8>)> {
    let message = |frame: &Frame<'_>| {
        let message: Message = frame.fixed().unwrap();
        (message.seq, frame.var(message.payload).unwrap().to_vec())
    };
    frames(output).iter().filter(|frame| frame.kind() == Ok(Kind::Message)).map(message).collect()
}
