//! HELLO, WELCOME, PING, PONG, BYE and ERROR.

use alloc::vec::Vec;

use rkyv::{Archive, Deserialize, Serialize};

use super::fixed_parts;
use crate::{
    error::ErrorCode,
    frame::{FrameBuilder, Span},
    ids::{ClientMsgId, ConversationId, DeviceId, Lineage, Timestamp, UserId, Uv},
    limits,
};

/// The first frame of a connection.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lowest protocol version that the client speaks.
    pub version_min: u16,
    /// Highest protocol version that the client speaks.
    pub version_max: u16,
    /// The device. From [`DeviceId::FIRST_GUEST`] up it is a guest.
    pub device: DeviceId,
    /// The user that the client believes the token to be for, or none: a guard against mixed-up tokens.
    pub user: UserId,
    /// What the client can do, a bit each: see [`Hello::ACKNOWLEDGES`].
    pub capabilities: u64,
    /// The token.
    pub token: Span,
    /// Rises with every connection of the device, so that an earlier one that arrives late does not take a later one's place.
    /// 0: the newest, as far as the client knows.
    pub connection_number: u64,
    /// What the user calls the device, at most [`limits::NAME_MAX`] bytes; empty: as before.
    pub device_name: Span,
}

impl Hello {
    /// Everything that is pushed and is not this user's own is acknowledged by DELIVERED or READ. What is not is pushed again.
    pub const ACKNOWLEDGES: u64 = 1;
    /// Packed payloads are taken as they are. Others get them unpacked.
    pub const UNPACKS: u64 = 2;
}

/// The answer to HELLO.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The protocol version of this connection.
    pub version: u16,
    /// Seconds of silence after which the server closes; send PING before that.
    pub idle_timeout_s: u16,
    /// Longest frame.
    pub frame_max: u32,
    /// Longest payload.
    pub payload_max: u32,
    /// SENDs that may be in flight.
    pub window: u32,
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// What cursors belong to.
    pub lineage: Lineage,
    /// Names this session in the server's logs.
    pub session: u64,
    /// The server's clock.
    pub server_time: Timestamp,
    /// Where to connect instead (`host:port`); empty: here.
    pub redirect: Span,
    /// When the token ends, and with it the session unless REAUTH comes before; 0: never.
    pub token_until: Timestamp,
    /// What the server can do, a bit each: see [`Welcome::UNPACKS`].
    pub capabilities: u64,
}

impl Welcome {
    /// SEND may have a packed payload.
    pub const UNPACKS: u64 = 2;
}

/// A new token for this session: of the same user, and good for the same device.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reauth {
    /// The token.
    pub token: Span,
}

/// The new token counts. If it is refused instead (ERROR), the one before still does.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReauthOk {
    /// When it ends; 0: never.
    pub token_until: Timestamp,
}

/// Are you there?
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Comes back in PONG.
    pub opaque: u64,
}

/// Yes.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// PING's.
    pub opaque: u64,
    /// A durable change number: everything up to it was pushed on this connection before this frame. 0: nothing new
    /// can be said (the device is behind, or has not resumed).
    pub uv: Uv,
    /// The server's clock.
    pub server_time: Timestamp,
}

/// Why a side leaves.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ByeReason {
    /// The client is done.
    Done = 0,
    /// The server is stopping; connect again after `retry_after_ms`.
    Draining = 1,
}

/// I am leaving.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bye {
    /// Why.
    pub reason: ByeReason,
    /// When to come back.
    pub retry_after_ms: u32,
}

/// A request failed, or the connection did.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorFrame {
    /// An [`ErrorCode`], known to the reader or not.
    pub code: u16,
    /// A [`Retry`](crate::Retry) as a number, so that unknown codes can be handled too.
    pub retry: u8,
    /// The kind of the frame that it answers; 0: the connection itself.
    pub of_kind: u8,
    /// How long to wait.
    pub retry_after_ms: u32,
    /// The conversation of the refused SEND, or none.
    pub conversation: ConversationId,
    /// The `client_msg_id` of the refused SEND, or 0.
    pub client_msg_id: ClientMsgId,
    /// OUT_OF_ORDER and STALE: this device's highest accepted `client_msg_id` in the conversation.
    pub highest: ClientMsgId,
    /// A sentence for people.
    pub text: Span,
}

impl ErrorFrame {
    /// An error that is about nothing more specific than a kind of frame.
    pub fn new(code: ErrorCode, of_kind: u8) -> Self {
        Self {
            code: code as u16,
            retry: code.retry() as u8,
            of_kind,
            retry_after_ms: 0,
            conversation: ConversationId::NONE,
            client_msg_id: ClientMsgId(0),
            highest: ClientMsgId(0),
            text: Span::default(),
        }
    }

    /// Appends it to `out` with a sentence, which is cut at [`limits::ERROR_TEXT_MAX`] bytes.
    pub fn append(mut self, out: &mut Vec<u8>, request_id: u64, text: &str) {
        let mut frame = FrameBuilder::<Self>::new(out);
        let mut cut = text.len().min(limits::ERROR_TEXT_MAX);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        self.text = frame.var(&text.as_bytes()[..cut]);
        frame.finish(request_id, &self);
    }
}

fixed_parts! {
    Hello: Hello, first 40, now 56;
    Welcome: Welcome, first 76, now 92;
    Reauth: Reauth, first 8, now 8;
    ReauthOk: ReauthOk, first 8, now 8;
    Ping: Ping, first 8, now 8;
    Pong: Pong, first 24, now 24;
    Bye: Bye, first 5, now 5;
    ErrorFrame: Error, first 48, now 48;
}
