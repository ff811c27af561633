//! What clients send: frames of SEND, and the payload that every message has.

use tidings_wire::{
    ClientMsgId, ConversationId, Seq, Timestamp, UserId,
    frame::{FrameBuilder, Span},
    frames::{Control, Message, MessageFlags, Send, TraceId},
};

/// The payload of every message, and its checksum.
#[derive(Debug)]
pub struct Payload {
    bytes: Vec<u8>,
    crc: u32,
}

impl Payload {
    /// Of a length.
    pub fn new(len: usize) -> Self {
        let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
        Self { crc: crc32c::crc32c(&bytes), bytes }
    }

    /// It.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether these bytes are it.
    pub fn is(&self, bytes: &[u8]) -> bool {
        crc32c::crc32c(bytes) == self.crc
    }
}

/// Appends message `id` of this device in a conversation with a peer: its first is 1.
pub fn append_send(to: (ConversationId, UserId), id: u64, payload: &Payload, out: &mut Vec<u8>) {
    append_traced(to, id, TraceId::default(), payload, out);
}

/// As [`append_send`], with a trace that comes with the message.
pub fn append_traced(
    (conversation, peer): (ConversationId, UserId),
    id: u64,
    trace: TraceId,
    payload: &Payload,
    out: &mut Vec<u8>,
) {
    let peer = if id == 1 { peer } else { UserId::NONE };
    let (text, crc) = ((Control::TEXT, Seq(0), &[][..], payload.bytes()), payload.crc);
    append((conversation, peer), (id, id - 1), text, (trace, crc), out);
}

/// Appends a device's attempt, after the one that it names, to do something: its control, what it is about, what the server must
/// read, and the payload.
pub fn append_attempt(
    to: (ConversationId, UserId),
    attempt: (u64, u64),
    what: (Control, Seq, &[u8], &[u8]),
    out: &mut Vec<u8>,
) {
    let crc = Message::crc_of_content(what.2, what.3);
    append(to, attempt, what, (TraceId::default(), crc), out);
}

fn append(
    (conversation, peer): (ConversationId, UserId),
    (id, prev): (u64, u64),
    (control, target, body, payload): (Control, Seq, &[u8], &[u8]),
    (trace, payload_crc): (TraceId, u32),
    out: &mut Vec<u8>,
) {
    let mut send = FrameBuilder::<Send>::new(out);
    let body = if body.is_empty() { Span::default() } else { send.var(body) };
    let payload = send.var(payload);
    let (client_msg_id, prev) = (ClientMsgId(id), ClientMsgId(prev));
    let (expires_at, flags) = (Timestamp(0), MessageFlags::default());
    send.finish(
        id,
        &Send {
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
        },
    );
}
