//! Frames as a client builds them, and what is in a stretch of frames.

use tidings_wire::{
    ClientMsgId, ConversationId, Frame, Kind, Seq, Timestamp, UserId,
    frame::FrameBuilder,
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

/// A SEND, as far as tests want to say it.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Where to.
    pub conversation: ConversationId,
    /// The other user; none in a group.
    pub peer: UserId,
    /// Its name, and that of the one before.
    pub id: (u64, u64),
    /// What it does.
    pub control: Control,
    /// The message that it is about.
    pub target: u64,
    /// How it is to be shown.
    pub flags: MessageFlags,
    /// What the server must read.
    pub body: &'a [u8],
    /// What people write.
    pub payload: &'a [u8],
}

impl Attempt<'_> {
    /// A text without words to a conversation.
    pub fn to(conversation: ConversationId, peer: UserId, id: (u64, u64)) -> Self {
        Self {
            conversation,
            peer,
            id,
            control: Control::TEXT,
            target: 0,
            flags: MessageFlags(0),
            body: &[],
            payload: &[],
        }
    }

    /// Appends the SEND. Its request id is the message's.
    pub fn append(&self, bytes: &mut Vec<u8>) {
        let mut frame = FrameBuilder::<Send>::new(bytes);
        let (payload, body) = (frame.var(self.payload), frame.var(self.body));
        let send = Send {
            conversation: self.conversation,
            peer: self.peer,
            client_msg_id: ClientMsgId(self.id.0),
            prev: ClientMsgId(self.id.1),
            expires_at: Timestamp(0),
            trace: TraceId::default(),
            flags: self.flags,
            payload_crc: Message::crc_of_content(self.body, self.payload),
            payload,
            control: self.control,
            target: Seq(self.target),
            body,
        };
        frame.finish(self.id.0, &send);
    }

    /// The SEND.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.append(&mut bytes);
        bytes
    }
}

/// Appends a SEND.
pub fn append_send(bytes: &mut Vec<u8>, from: UserId, peer: UserId, id: u64, prev: u64, payload: &[u8]) {
    Attempt { payload, ..Attempt::to(ConversationId::direct(from, peer), peer, (id, prev)) }.append(bytes);
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
