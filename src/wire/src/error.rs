//! Errors: what a peer can be told, and what the decoder found.

use core::fmt;

/// What a client should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Retry {
    /// The same request will never succeed.
    Never = 0,
    /// Send it again on this connection after `retry_after_ms` (0: at once).
    Later = 1,
    /// The connection is closed: connect again after `retry_after_ms`, then repeat what is not answered.
    Reconnect = 2,
    /// The connection is closed and connecting again the same way will not help.
    Stop = 3,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $wire:literal, $retry:ident;)*) => {
        /// Every error that an ERROR frame can carry. `docs/protocol.md` lists them with their fields.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum ErrorCode { $($(#[$doc])* $name = $value,)* }

        impl ErrorCode {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code with this number, if this version knows it.
            pub fn from_u16(value: u16) -> Option<Self> {
                match value { $($value => Some(Self::$name),)* _ => None }
            }

            /// Its name in the documentation.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $wire,)* }
            }

            /// What the client should do.
            pub fn retry(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)* }
            }
        }
    };
}

codes! {
    // The peer broke the framing: the connection is closed, since what follows cannot be trusted.
    /// A length, offset or field makes no sense.
    Malformed = 1, "MALFORMED", Stop;
    /// The frame is longer than the limit in WELCOME.
    FrameTooLarge = 2, "FRAME_TOO_LARGE", Stop;
    /// Header or fixed part do not match their checksum.
    Checksum = 3, "CHECKSUM", Reconnect;
    /// The frame's or HELLO's version is not spoken here.
    Version = 4, "VERSION", Stop;
    /// A frame of a kind that this server does not know; it was skipped.
    UnknownKind = 5, "UNKNOWN_KIND", Never;
    /// A frame of a kind that clients do not send.
    UnexpectedKind = 6, "UNEXPECTED_KIND", Stop;
    /// Nothing but HELLO is allowed before WELCOME.
    HelloExpected = 7, "HELLO_EXPECTED", Stop;
    /// HELLO was already answered on this connection.
    HelloTwice = 8, "HELLO_TWICE", Stop;
    /// A handshake or a frame took too long to arrive.
    TooSlow = 9, "TOO_SLOW", Reconnect;
    /// What the connection speaks (frames without TLS, for example) is switched off here.
    NotSpoken = 10, "NOT_SPOKEN", Stop;

    // Who is asking.
    /// HELLO has no token.
    TokenMissing = 20, "TOKEN_MISSING", Stop;
    /// The token is not one, or its signature is wrong.
    TokenInvalid = 21, "TOKEN_INVALID", Stop;
    /// The token's time is over.
    TokenExpired = 22, "TOKEN_EXPIRED", Stop;
    /// The token is another user's.
    TokenWrongUser = 23, "TOKEN_WRONG_USER", Stop;
    /// The token is bound to another device.
    TokenWrongDevice = 24, "TOKEN_WRONG_DEVICE", Stop;
    /// The same device has a newer session.
    Superseded = 25, "SUPERSEDED", Stop;
    /// The token's tenant is not one of this server's.
    TenantUnknown = 26, "TENANT_UNKNOWN", Stop;
    /// The user revoked this device, or has so many that it had to go.
    DeviceRevoked = 27, "DEVICE_REVOKED", Stop;
    /// The token was issued before the user revoked a device, and this device was not known then.
    TokenRevoked = 28, "TOKEN_REVOKED", Stop;

    // What was asked.
    /// The conversation does not exist or the user is not in it; which of the two is not said.
    NotMember = 40, "NOT_MEMBER", Never;
    /// The peer named in SEND cannot be written to (for example the sender itself).
    BadPeer = 41, "BAD_PEER", Never;
    /// The payload is longer than the limit in WELCOME.
    PayloadTooLarge = 42, "PAYLOAD_TOO_LARGE", Never;
    /// The payload does not match its checksum.
    PayloadChecksum = 43, "PAYLOAD_CHECKSUM", Later;
    /// `prev` is not the highest `client_msg_id` of this device here: something before it was refused. Carries it.
    OutOfOrder = 44, "OUT_OF_ORDER", Later;
    /// So old a `client_msg_id` that its answer is forgotten: look in the history before sending under a new one.
    Stale = 45, "STALE", Never;
    /// More SENDs in flight than the window in WELCOME.
    WindowExceeded = 46, "WINDOW_EXCEEDED", Later;
    /// A sequence number past the conversation's head.
    FutureSeq = 47, "FUTURE_SEQ", Never;
    /// The message had expired when it arrived.
    Expired = 48, "EXPIRED", Never;
    /// A control that this server does not know.
    ControlUnknown = 49, "CONTROL_UNKNOWN", Never;
    /// The body is not what the control says, or too long.
    BodyInvalid = 50, "BODY_INVALID", Never;
    /// The group's settings, or the user's role, do not allow it.
    NotAllowed = 51, "NOT_ALLOWED", Never;
    /// The group was created before, with other members or settings.
    NonceConflict = 52, "NONCE_CONFLICT", Never;
    /// The group was deleted.
    Gone = 53, "GONE", Never;
    /// More members than a group may have, or ever had.
    GroupFull = 54, "GROUP_FULL", Never;
    /// An owner leaves only after it made somebody else the owner.
    LastOwner = 55, "LAST_OWNER", Never;
    /// Somebody who is named is no member.
    NoSuchMember = 56, "NO_SUCH_MEMBER", Never;
    /// Somebody who is named is a member already, or named twice.
    AlreadyMember = 57, "ALREADY_MEMBER", Never;
    /// A `client_msg_id` more than a day (in microseconds) above the server's clock.
    IdAhead = 58, "ID_AHEAD", Later;
    /// A setting that this server does not know, or a value that it cannot have.
    SettingInvalid = 59, "SETTING_INVALID", Never;

    // The server's state.
    /// A queue is full.
    Busy = 60, "BUSY", Later;
    /// Too many requests from this user or address.
    RateLimited = 61, "RATE_LIMITED", Later;
    /// The server takes no more connections.
    Full = 62, "FULL", Reconnect;
    /// Part of the history that was asked for could not be read.
    HistoryUnavailable = 63, "HISTORY_UNAVAILABLE", Later;
    /// This user, or its address, has filled as much of the log as it may.
    BudgetExceeded = 64, "BUDGET_EXCEEDED", Later;

    // What is said about an earlier message.
    /// There is no such message, the user cannot read it, it is not stored any more, or it is of a kind that this cannot be said about.
    TargetInvalid = 65, "TARGET_INVALID", Never;
    /// The message was withdrawn.
    TargetErased = 66, "TARGET_ERASED", Never;
    /// It is too long ago that the message was written.
    TooLate = 67, "TOO_LATE", Never;
    /// More is named than may be at once, or a user would begin more conversations than it may have.
    TooMany = 68, "TOO_MANY", Never;
    /// The server's disk is full, or takes nothing for another reason: what must be stored is not taken.
    StorageFull = 69, "STORAGE_FULL", Later;

    /// The user has no such device.
    NoSuchDevice = 70, "NO_SUCH_DEVICE", Never;
    /// Somebody who is named has blocked the sender, who cannot take it into a group.
    Blocked = 71, "BLOCKED", Never;
    /// A fragment, or END, says something else than what was shown of the message.
    StreamDiffers = 72, "STREAM_DIFFERS", Never;
    /// The server has more to do than it can: of each session it takes a few SENDs at a time.
    Overloaded = 73, "OVERLOADED", Later;
    /// The payload is not packed as its flag says, says too much, or is of something that may not be packed.
    PackedInvalid = 74, "PACKED_INVALID", Never;
    /// The server holds nearly as many conversations, or users, as it may: what would add to them is not taken from those who have many.
    NoRoom = 75, "NO_ROOM", Later;
}

impl ErrorCode {
    /// True if the server closes the connection after this error.
    pub fn closes(self) -> bool {
        matches!(self.retry(), Retry::Reconnect | Retry::Stop)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the decoder found wrong with bytes that a peer sent. All but [`WireError::Body`] and
/// [`WireError::UnknownKind`] mean that the framing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The length is below the header's, or the fixed part reaches past the frame.
    Length,
    /// The length is over the limit.
    TooLarge,
    /// The version is not this one.
    Version,
    /// The checksum of header and fixed part is wrong.
    Checksum,
    /// The kind is not known; the frame can be skipped.
    UnknownKind,
    /// The fixed part is too short, fails bytecheck, or points outside the frame.
    Body,
}

impl WireError {
    /// How the peer is told.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Length | Self::Body => ErrorCode::Malformed,
            Self::TooLarge => ErrorCode::FrameTooLarge,
            Self::Version => ErrorCode::Version,
            Self::Checksum => ErrorCode::Checksum,
            Self::UnknownKind => ErrorCode::UnknownKind,
        }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "the frame's lengths do not fit together",
            Self::TooLarge => "the frame is longer than the limit",
            Self::Version => "the frame's version is not spoken here",
            Self::Checksum => "the checksum of header and fixed part is wrong",
            Self::UnknownKind => "the frame's kind is not known",
            Self::Body => "the fixed part is invalid",
        })
    }
}

impl core::error::Error for WireError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_unique_numbers_that_read_back() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_u16(*code as u16), Some(*code));
        }
        assert!(ErrorCode::ALL.is_sorted());
        assert_eq!(ErrorCode::from_u16(0), None);
    }
}
