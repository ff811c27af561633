//! Limits of the protocol, in one place; relations between them are asserted at compile time.

/// Longest frame, header included. Announced in WELCOME.
pub const FRAME_MAX: u32 = 72 * 1024;
/// Longest payload of one message, with its body.
pub const PAYLOAD_MAX: u32 = 64 * 1024;
/// Longest fixed part that a frame may have, known fields or not.
pub const FIXED_MAX: usize = 512;
/// Longest external name of a user or tenant, in bytes of UTF-8.
pub const NAME_MAX: usize = 64;
/// Longest clear part of a text, in bytes.
pub const CLEAR_MAX: usize = 4 * 1024;
/// Users whom one text mentions.
pub const MENTIONS_MAX: usize = 50;
/// Longest name of what an application's payload is, in bytes.
pub const KIND_MAX: usize = 64;
/// Longest type of a media reference, in bytes.
pub const MEDIA_TYPE_MAX: usize = 64;
/// Bytes of one fragment of a message that is being written.
pub const FRAGMENT_MAX: usize = 4 * 1024;
/// Messages that are being written at once, in one conversation.
pub const STREAMS_MAX: usize = 16;
/// The same of one member.
pub const STREAMS_OF_MEMBER: usize = 4;
/// Longest media reference, in bytes.
pub const MEDIA_REFERENCE_MAX: usize = 512;
/// Longest reaction, in bytes: an emoji of several parts, encrypted.
pub const REACTION_MAX: usize = 256;
/// Longest time after which a conversation's messages disappear: a year.
pub const TIMER_MAX_S: u32 = 365 * 24 * 3600;
/// Longest title of a group, in bytes.
pub const TITLE_MAX: usize = 256;
/// Registered devices of a user; the longest unused is let in no more when there is another.
pub const DEVICES_MAX: usize = 64;
/// Most members of a group.
pub const GROUP_MAX: usize = 100_000;
/// Most members that a group ever had: they are remembered for ever.
pub const GROUP_EVER_MAX: usize = 200_000;
/// Most users that one message names: a larger group is made by several.
pub const NAMED_MAX: usize = 1_000;
/// Large groups of a user that its devices are told of; the newest, if it is in more.
pub const LARGE_GROUPS_MAX: usize = 256;
/// The newest messages of a group of which the server counts who has read them.
pub const COUNTED_MAX: usize = 256;
/// Members in one page of DESCRIBED.
pub const DESCRIBED_MAX: u32 = 256;
/// Longest token in HELLO.
pub const TOKEN_MAX: usize = 4 * 1024;
/// Longest HELLO: before WELCOME nothing longer is taken.
pub const HELLO_MAX: u32 = (crate::HEADER_LEN + FIXED_MAX + TOKEN_MAX) as u32;
/// SENDs that a session may have in flight. Announced in WELCOME.
pub const WINDOW: u32 = 64;
/// The same of a session of a service; more than [`WINDOW`] of them in one conversation may not be remembered until they are repeated.
pub const SERVICE_WINDOW: u32 = 512;
/// (client message id, sequence) pairs that are remembered per device and conversation.
pub const REMEMBERED: usize = 128;
/// Ranges of messages of a conversation that a user does not want to see any more.
pub const FORGOTTEN_MAX: usize = 1_000;
/// The same in all conversations of a user.
pub const FORGOTTEN_OF_USER_MAX: usize = 10_000;
/// Messages that one FETCH may ask for.
pub const FETCH_MAX: u32 = 256;
/// Bytes of MESSAGE frames that one FETCH is answered with, unless a single one is longer.
pub const PAGE_BYTES: u32 = 256 * 1024;
/// Conversations of a page of CHANGED whose last messages may come with it.
pub const TAILS_MAX: u16 = 8;
/// Conversations in one page of CHANGED.
pub const PAGE_MAX: u32 = 256;
/// Longest text of an ERROR.
pub const ERROR_TEXT_MAX: usize = 256;
/// Most shards of a data directory: their numbers and their count fit 16 bits.
pub const SHARDS_MAX: u32 = 1 << 15;

const _: () = {
    assert!(REMEMBERED >= 2 * WINDOW as usize, "a full window of repeats must still be remembered");
    // END has a body of the server's besides.
    assert!(FRAME_MAX as usize >= PAYLOAD_MAX as usize + 2 * FIXED_MAX + CLEAR_MAX + NAME_MAX + crate::HEADER_LEN);
    assert!(HELLO_MAX < FRAME_MAX);
};
