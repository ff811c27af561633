//! Pairs of connections to a server that speaks our protocol: one sends, the other receives and confirms.

use std::time::Instant;

use tidings_wire::{
    ClientMsgId, ConversationId, Frame, Seq, Timestamp, UserId,
    frame::{FrameBuilder, Span},
    frames::{Control, Message, MessageFlags, Send, Sent, TraceId},
};

use crate::offers::{Measured, Offers};

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

/// Appends message `id` of this device in a conversation: its first is 1.
pub fn append_send(conversation: ConversationId, peer: UserId, id: u64, payload: &Payload, out: &mut Vec<u8>) {
    append_traced(conversation, peer, id, TraceId::default(), payload, out);
}

/// As [`append_send`], with a trace that comes with the message.
pub fn append_traced(
    conversation: ConversationId,
    peer: UserId,
    id: u64,
    trace: TraceId,
    payload: &Payload,
    out: &mut Vec<u8>,
) {
    let mut send = FrameBuilder::<Send>::new(out);
    let bytes = send.var(&payload.bytes);
    send.finish(
        id,
        &Send {
            conversation,
            peer: if id == 1 { peer } else { UserId::NONE },
            client_msg_id: ClientMsgId(id),
            prev: ClientMsgId(id - 1),
            expires_at: Timestamp(0),
            trace,
            flags: MessageFlags::default(),
            payload_crc: payload.crc,
            payload: bytes,
            control: Control::TEXT,
            target: Seq(0),
            body: Span::default(),
        },
    );
}

/// Appends a device's attempt, after the one that it names, to do something: its control, what the server must read, and the payload.
pub fn append_attempt(
    (conversation, peer): (ConversationId, UserId),
    (id, prev): (u64, u64),
    (control, target, body, payload): (Control, Seq, &[u8], &[u8]),
    out: &mut Vec<u8>,
) {
    let mut send = FrameBuilder::<Send>::new(out);
    let (body_span, payload_span) = (send.var(body), send.var(payload));
    send.finish(
        id,
        &Send {
            conversation,
            peer,
            client_msg_id: ClientMsgId(id),
            prev: ClientMsgId(prev),
            expires_at: Timestamp(0),
            trace: TraceId::default(),
            flags: MessageFlags::default(),
            payload_crc: Message::crc_of_content(body, payload),
            payload: payload_span,
            control,
            target,
            body: body_span,
        },
    );
}

/// One pair.
#[derive(Debug)]
pub struct Pair {
    conversation: ConversationId,
    peer: UserId,
    /// What was offered.
    pub offers: Offers,
}

impl Pair {
    /// Of two users.
    pub fn new(a: UserId, b: UserId) -> Self {
        Self { conversation: ConversationId::direct(a, b), peer: b, offers: Offers::new() }
    }

    /// The conversation.
    pub fn conversation(&self) -> ConversationId {
        self.conversation
    }

    /// Appends what is due and fits into a window. True if something did.
    pub fn pump(&mut self, window: u64, payload: &Payload, now: Instant, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        while let Some(id) = self.offers.next(window, now) {
            append_send(self.conversation, self.peer, id, payload, out);
        }
        before < out.len()
    }

    /// SENT came.
    pub fn on_sent(&mut self, frame: &Frame<'_>, now: Instant, measured: &mut Measured) {
        let Ok(sent) = frame.fixed::<Sent>() else { return measured.wrong += 1 };
        let id = sent.client_msg_id.0;
        let right = sent.seq.0 == id && id == self.offers.answered() + 1;
        self.offers.on_sent(id, right, now, measured);
    }

    /// MESSAGE came: up to where this is to be confirmed.
    pub fn on_message(
        &mut self,
        frame: &Frame<'_>,
        now: Instant,
        payload: &Payload,
        measured: &mut Measured,
    ) -> Option<Seq> {
        let read = frame.fixed::<Message>().ok().and_then(|message| Some((message, frame.var(message.payload).ok()?)));
        let Some((message, bytes)) = read else {
            measured.wrong += 1;
            return None;
        };
        let id = message.client_msg_id.0;
        self.offers.on_message(id, message.seq.0 == id && payload.is(bytes), now, measured);
        Some(message.seq)
    }
}
