//! What a session tells its application.

use tidings_wire::{
    ClientMsgId, ConversationId, DeviceId, ErrorCode, Seq, Timestamp, UserId,
    frames::{
        Clear, Control, DescribedMember, Doing, GroupSettings, MessageFlags, PresenceState, Visibility,
        streamed::control::{END, OPEN},
    },
};

use crate::own::{Device, ReadReceipts};

/// A message, in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub conversation: ConversationId,
    /// Its number.
    pub seq: Seq,
    /// Its time; 0 for an own message whose SENT answered a repeat.
    pub ts: Timestamp,
    /// Who wrote it.
    pub sender: UserId,
    /// The sender's external name.
    pub sender_name: String,
    /// The device that it was written on.
    pub sender_device: DeviceId,
    /// One to one: the member that did not write it.
    pub peer: UserId,
    /// The sender's attempt.
    pub client_msg_id: ClientMsgId,
    /// Flags, see [`tidings_wire::frames::MessageFlags`].
    pub flags: u32,
    /// What it does besides saying something.
    pub control: Control,
    /// The message that it is about; 0: none.
    pub target: Seq,
    /// When it disappears; 0: never.
    pub expires_at: Timestamp,
    /// How many messages with content there are up to and including this one; 0 for an own message if SENT answered a repeat: not known.
    pub ordinal: u64,
    /// What the server has read of it: an archive, as the control says.
    pub body: Vec<u8>,
    /// What it says.
    pub payload: Vec<u8>,
}

impl Message {
    /// True if what it says is held back: it was withdrawn, or its time was over before this device got it.
    pub fn is_emptied(&self) -> bool {
        self.flags & MessageFlags::EMPTIED > 0
    }

    /// True if the user does not want to see it any more ([`crate::Session::forget`]): what it says is held back.
    pub fn is_forgotten(&self) -> bool {
        self.flags & MessageFlags::FORGOTTEN > 0
    }

    /// True if nothing is told of it but its number: this user blocked who wrote it.
    pub fn is_withheld(&self) -> bool {
        self.flags & MessageFlags::WITHHELD > 0
    }

    /// True of a message that grew while it was written, and has ended: it says what it says for good.
    pub fn has_ended(&self) -> bool {
        self.control == OPEN && self.flags & MessageFlags::ENDED > 0
    }

    /// True if who wrote it fell silent before it was whole: of a message that grew, and of what ended it.
    pub fn was_aborted(&self) -> bool {
        [OPEN, END].contains(&self.control) && self.flags & MessageFlags::ABORTED > 0
    }

    /// Whom it mentions, that it is passed on, what goes with it: of texts and edits.
    pub fn clear(&self) -> Clear<'_> {
        Clear::read(&self.body).unwrap_or_default()
    }
}

/// What a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Which.
    pub conversation: ConversationId,
    /// Its last message.
    pub head: Seq,
    /// Its title.
    pub title: String,
    /// What members may do.
    pub settings: GroupSettings,
    /// Not 0: the message that deleted it.
    pub deleted: Seq,
    /// Others may join by a link.
    pub has_link: bool,
    /// Seconds after which messages disappear that are written now; 0: never.
    pub timer: u32,
    /// It is large: who has what is not told, and how many have read something is counted when somebody asks ([`crate::Session::count_readers`]).
    pub is_large: bool,
    /// How many are members.
    pub current: u32,
    /// Members, and those who were, in the order in which they came; of a large group perhaps the first of them only.
    pub members: Vec<DescribedMember>,
}

/// What a user wants of a conversation, on all its devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Preferences {
    /// Nobody is alerted until then, but for what mentions this user; [`Preferences::EVER`]: never.
    pub muted_until: Timestamp,
    /// Its place among those that are kept at the top, the highest first; 0: it is not.
    pub pinned: u64,
    /// It is put away.
    pub archived: bool,
    /// Messages up to this one are not shown any more.
    pub cleared: Seq,
    /// One to one: the other member is blocked.
    pub blocked: bool,
}

impl Preferences {
    /// See [`Self::muted_until`].
    pub const EVER: Timestamp = Timestamp(u64::MAX);
}

/// How far a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Watermarks {
    /// Some device has everything up to here.
    pub delivered: Seq,
    /// The user has read everything up to here.
    pub read: Seq,
    /// How many messages with content that makes; 0: not known, as of others always.
    pub ordinal: u64,
}

impl Watermarks {
    /// Raises all to at least `other`'s: right after a crash of the server a home may say less than it once did.
    pub(crate) fn raise(&mut self, other: Self) {
        self.delivered = self.delivered.max(other.delivered);
        self.read = self.read.max(other.read);
        self.ordinal = self.ordinal.max(other.ordinal);
    }
}

/// Why messages cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// They are not stored any more, or not for this user.
    Gone,
    /// The server cannot read some of what it has stored there: these, or some before them.
    Damaged,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server let us in.
    Connected,
    /// The connection is gone; it will be tried again.
    Disconnected,
    /// The server does not want this client: trying again will not help.
    Rejected {
        /// Why.
        code: ErrorCode,
    },
    /// It is over, whoever ended it: the server tells nothing more. A call that comes later may still be answered, for example by [`Event::SendFailed`]. The
    /// blocking client tells it; the stream of the one for tokio ends.
    Closed,
    /// The session's token is about to end, or has ended: [`crate::Session::renew`] is waited for. Only with
    /// [`crate::Tokens::Renewed`].
    TokenNeeded,
    /// A new token was refused: the one before still counts until it ends.
    TokenRefused {
        /// Why.
        code: ErrorCode,
    },
    /// Everything that was missed is here.
    Synced,
    /// The server has another history than this device knew (it was restored): every conversation begins anew.
    LineageChanged,
    /// A message is durable. Its [`Event::Message`] follows in the conversation's order.
    Sent {
        /// Where.
        conversation: ConversationId,
        /// What [`crate::Session::send`] gave.
        id: ClientMsgId,
        /// Its number.
        seq: Seq,
        /// Its time, or 0 if this answered a repeat.
        ts: Timestamp,
    },
    /// A message can never be sent.
    SendFailed {
        /// Where.
        conversation: ConversationId,
        /// What [`crate::Session::send`] gave.
        id: ClientMsgId,
        /// Why. [`ErrorCode::Busy`]: too much waits to be sent already ([`crate::Config::outbox_bytes`]); once some of it was sent there is room.
        code: ErrorCode,
    },
    /// A message is refused for a second or more: it is sent again after that, by itself.
    SendDelayed {
        /// Where.
        conversation: ConversationId,
        /// What [`crate::Session::send`] gave.
        id: ClientMsgId,
        /// Why.
        code: ErrorCode,
        /// Milliseconds until it may be sent again.
        retry_ms: u32,
    },
    /// The next message of a conversation, own ones included: numbers come without gap and repeat.
    Message(Message),
    /// Messages of a conversation cannot be had: retention dropped them before this device came, the user was no member then, or the server's disk
    /// has damaged one of them.
    Lost {
        /// Where.
        conversation: ConversationId,
        /// The first that is lost.
        from: Seq,
        /// The last that is lost.
        upto: Seq,
        /// Why.
        why: Loss,
    },
    /// An older message that [`crate::Session::history`] asked for.
    Older(Message),
    /// All that [`crate::Session::history`] or [`crate::Session::history_after`] asked for has come, as far as it can be had.
    HistoryDone {
        /// Where.
        conversation: ConversationId,
        /// The oldest message that can still be had.
        oldest: Seq,
        /// The conversation's head.
        head: Seq,
        /// The first number that this answers for: what was not told from here to `last` cannot be had any more.
        first: Seq,
        /// The last number that this answers for; less than `first`: none.
        last: Seq,
        /// A message in there that is stored, and that the server cannot read; 0: there is none.
        damaged: Seq,
    },
    /// What [`crate::Session::history`] or [`crate::Session::history_after`] asked for cannot be had: what was told of it is all.
    HistoryFailed {
        /// Where.
        conversation: ConversationId,
        /// Why.
        code: ErrorCode,
    },
    /// The server takes what the user has read in a large group later: it is told then, by itself.
    ReadDelayed {
        /// Where.
        conversation: ConversationId,
        /// When, in milliseconds.
        retry_ms: u32,
    },
    /// What [`crate::Session::describe`] asked for.
    Described(Group),
    /// What [`crate::Session::count_readers`] asked for.
    Counted {
        /// Where.
        conversation: ConversationId,
        /// The message.
        seq: Seq,
        /// How many have read it, as far as they let others know; `None` of one that is too old to be counted, or if this user reads in private.
        readers: Option<u32>,
        /// How many are members.
        members: u32,
    },
    /// What [`crate::Session::describe`] asked for cannot be had.
    DescribeFailed {
        /// Where.
        conversation: ConversationId,
        /// Why.
        code: ErrorCode,
    },
    /// What this device missed cannot be had at the moment. It is tried again, and nothing after it is told before.
    CatchUpDelayed {
        /// Where.
        conversation: ConversationId,
        /// Why.
        code: ErrorCode,
    },
    /// A conversation is known now, or its watermarks moved.
    Conversation {
        /// Where.
        conversation: ConversationId,
        /// One to one: the other member.
        peer: UserId,
        /// A group's title, or the other member's name; empty: not known.
        name: String,
        /// The last message that is known to exist.
        head: Seq,
        /// How far the other member is.
        peers: Watermarks,
        /// How far this user is, on all devices.
        own: Watermarks,
        /// Messages with content that the user has neither read nor written.
        unread: u64,
        /// The user does not want to see it until there is something new in it.
        hidden: bool,
        /// What else the user wants of it.
        preferences: Preferences,
    },
    /// Of a group in which this user wrote: a member has it, or has read it. Told while this device is connected; [`crate::Session::describe`] says how
    /// far all are.
    Receipt {
        /// Where.
        conversation: ConversationId,
        /// Who.
        member: UserId,
        /// How far it is.
        marks: Watermarks,
    },
    /// What [`crate::Session::devices`] or [`crate::Session::revoke`] asked for.
    Devices(Vec<Device>),
    /// What [`crate::Session::devices`] or [`crate::Session::revoke`] asked for cannot be had.
    DevicesFailed {
        /// Why.
        code: ErrorCode,
    },
    /// Whether what the user reads is shown to others was changed, on this device or another.
    ReadReceipts {
        /// To what.
        receipts: ReadReceipts,
    },
    /// Somebody else in a conversation is typing, or doing something else; forgotten if it is not told again within six seconds.
    Typing {
        /// Where.
        conversation: ConversationId,
        /// Who.
        user: UserId,
        /// What; [`Doing::NOTHING`]: not any more.
        doing: Doing,
    },
    /// A message of somebody else, or of another device of the user, says more: it was opened, and has not ended. What it says for good comes with its end.
    Grew {
        /// Where.
        conversation: ConversationId,
        /// The message.
        seq: Seq,
        /// How many bytes it said before; where that is 0 again, it is said anew.
        offset: u32,
        /// What it says after them.
        bytes: Vec<u8>,
    },
    /// A message that was opened with [`crate::Session::open_stream`] has ended, and is durable.
    StreamEnded {
        /// What [`crate::Session::open_stream`] gave.
        stream: ClientMsgId,
        /// Where.
        conversation: ConversationId,
        /// Its number.
        seq: Seq,
    },
    /// A message could not be opened, or did not end as it was written: what the server had was said, if anything.
    StreamFailed {
        /// What [`crate::Session::open_stream`] gave.
        stream: ClientMsgId,
        /// Where.
        conversation: ConversationId,
        /// Why.
        code: ErrorCode,
    },
    /// Whether somebody is there whom this device watches ([`crate::Session::watch`]).
    Presence {
        /// Who.
        user: UserId,
        /// Whether.
        state: PresenceState,
        /// When it was there last, if it is not; 0: not known.
        last_seen: Timestamp,
    },
    /// Who is told whether the user is there was changed, on this device or another.
    Visibility {
        /// To whom.
        visibility: Visibility,
    },
    /// The user does not want to see these messages any more, as it said on this device or another. A device may be told of the same ones again.
    Forgotten {
        /// Where.
        conversation: ConversationId,
        /// The first.
        first: Seq,
        /// The last.
        last: Seq,
    },
    /// Messages could not be forgotten.
    ForgetFailed {
        /// Where.
        conversation: ConversationId,
        /// Why.
        code: ErrorCode,
    },
    /// A setting cannot be changed.
    SettingFailed {
        /// Of which conversation; none: of the user.
        conversation: ConversationId,
        /// Why.
        code: ErrorCode,
    },
}
