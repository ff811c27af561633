//! The 24 bytes that every frame begins with.

use crate::error::WireError;

/// Bytes of a header.
pub const HEADER_LEN: usize = 24;
/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $class:ident;)*) => {
        /// What a frame is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $value,)* }

        impl Kind {
            /// The kind with this number, if this version knows it.
            pub fn from_u8(value: u8) -> Option<Self> {
                match value { $($value => Some(Self::$name),)* _ => None }
            }

            /// The class that frames of this kind travel in.
            pub fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)* }
            }
        }
    };
}

kinds! {
    /// Client: who I am, what I speak.
    Hello = 1, Control;
    /// Server: you are in; these are the limits.
    Welcome = 2, Control;
    /// Client: a new message.
    Send = 3, Message;
    /// Server: it is durable, under this sequence number.
    Sent = 4, Message;
    /// Server: a message of a conversation.
    Message = 5, Message;
    /// Client: this device has everything up to here.
    Delivered = 6, Receipt;
    /// Client: the user has read everything up to here.
    Read = 7, Receipt;
    /// Server: another member's watermarks rose.
    Receipt = 8, Receipt;
    /// Server: your DELIVERED or READ is durable.
    ReceiptOk = 9, Receipt;
    /// Client: this is what I last knew; what changed?
    Resume = 10, Control;
    /// Server: the conversations that changed (an answer to RESUME, or to a device that was behind).
    Changed = 11, Control;
    /// Client: give me these messages.
    Fetch = 12, Control;
    /// Server: the end of what a FETCH asked for.
    Fetched = 13, Control;
    /// Client: are you there?
    Ping = 14, Control;
    /// Server: yes.
    Pong = 15, Control;
    /// Either side: I am leaving.
    Bye = 16, Control;
    /// Server: a request failed, or the connection did.
    Error = 17, Control;
    /// Client: a new token for this session.
    Reauth = 18, Control;
    /// Server: it counts from now on, until then.
    ReauthOk = 19, Control;
    /// Client: what is this conversation, and who is in it?
    Describe = 20, Control;
    /// Server: the answer to DESCRIBE.
    Described = 21, Control;
    /// Client: change a setting of this user's.
    Set = 22, Control;
    /// Server: it was changed, here or on another device.
    Setting = 23, Control;
    /// Client: which devices has this user?
    Devices = 24, Control;
    /// Server: the answer to DEVICES and REVOKE.
    DeviceList = 25, Control;
    /// Client: let a device in no more.
    Revoke = 26, Control;
    /// Server: everything has come that a RESUME with tails asked for.
    SyncDone = 27, Control;
    /// Either side: somebody is typing.
    Typing = 28, Ephemeral;
    /// Client: who is there?
    Watch = 29, Ephemeral;
    /// Server: whether a user is there.
    Presence = 30, Ephemeral;
    /// Client: whether somebody looks at this device.
    Activity = 31, Control;
    /// Client: messages that the user does not want to see any more.
    Forget = 32, Control;
    /// Server: which they are.
    Forgotten = 33, Control;
    /// Either side: more of what a message says that is being written.
    Fragment = 34, Ephemeral;
    /// Either side: what does it say from here on?
    More = 35, Ephemeral;
}

/// What is shed first when there is too much: the higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Handshake, synchronisation, errors.
    Control = 0,
    /// Messages and their acknowledgements.
    Message = 1,
    /// Delivered and read.
    Receipt = 2,
    /// Typing and presence.
    Ephemeral = 3,
}

/// A decoded header. Little-endian on the wire, at these offsets: length 0, kind 4, version 5, flags 6, class 8,
/// reserved 9, fixed length 10, checksum 12, request id 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole frame.
    pub len: u32,
    /// The kind's number, known or not.
    pub kind: u8,
    /// Flags; none is defined yet, unknown ones are ignored.
    pub flags: u16,
    /// The class's number.
    pub class: u8,
    /// Bytes of the fixed part.
    pub fixed_len: u16,
    /// Names a question; its answers carry the same. 0 for what was not asked for.
    pub request_id: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The checksum of a frame: CRC-32C over header bytes 0 to 11, then 16 to 23, then the fixed part.
fn checksum(frame: &[u8], fixed_end: usize) -> u32 {
    tidings_crc::of_parts([&frame[..12], &frame[16..fixed_end]])
}

impl Header {
    /// Reads the header at the start of `bytes` as far as they reach: `None` if more bytes are needed to judge it.
    ///
    /// # Errors
    /// As soon as the bytes at hand prove the frame bad, for example after the four of an impossible length.
    pub fn decode(bytes: &[u8], frame_max: u32) -> Result<Option<Self>, WireError> {
        if bytes.len() < 4 {
            return Ok(None);
        }
        let len = u32_at(bytes, 0);
        if (len as usize) < HEADER_LEN {
            return Err(WireError::Length);
        }
        if len > frame_max {
            return Err(WireError::TooLarge);
        }
        if bytes.len() < HEADER_LEN {
            return Ok(None);
        }
        if bytes[5] != VERSION {
            return Err(WireError::Version);
        }
        let fixed_len = u16_at(bytes, 10);
        let fixed_end = HEADER_LEN + fixed_len as usize;
        if fixed_end > len as usize || fixed_len as usize > crate::limits::FIXED_MAX {
            return Err(WireError::Length);
        }
        if bytes.len() < fixed_end {
            return Ok(None);
        }
        if checksum(bytes, fixed_end) != u32_at(bytes, 12) {
            return Err(WireError::Checksum);
        }
        let mut id = [0; 8];
        id.copy_from_slice(&bytes[16..24]);
        let (kind, flags, class) = (bytes[4], u16_at(bytes, 6), bytes[8]);
        Ok(Some(Self { len, kind, flags, class, fixed_len, request_id: u64::from_le_bytes(id) }))
    }

    /// Writes the header over the start of `frame`, whose fixed part is already in place, and its checksum.
    ///
    /// # Panics
    /// If `frame` is shorter than header and fixed part: the caller built it.
    pub fn encode(&self, frame: &mut [u8]) {
        frame[..4].copy_from_slice(&self.len.to_le_bytes());
        frame[4] = self.kind;
        frame[5] = VERSION;
        frame[6..8].copy_from_slice(&self.flags.to_le_bytes());
        frame[8] = self.class;
        frame[9] = 0;
        frame[10..12].copy_from_slice(&self.fixed_len.to_le_bytes());
        frame[16..24].copy_from_slice(&self.request_id.to_le_bytes());
        let sum = checksum(frame, HEADER_LEN + self.fixed_len as usize);
        frame[12..16].copy_from_slice(&sum.to_le_bytes());
    }
}
