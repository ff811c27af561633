//! What is sent: texts with what goes with them, and what is said about earlier messages.

use tidings_wire::{
    ClientMsgId, ConversationId, Seq, Timestamp, UserId,
    frames::{Clear, Control, MessageFlags, Timer, Users, about::control},
};

use crate::session::Session;

/// What one message is, whatever conversation it goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Content {
    /// What it does besides saying something.
    pub control: Control,
    /// The message that it is about, or answers; 0: none.
    pub target: Seq,
    /// Flags, see [`MessageFlags`].
    pub flags: u32,
    /// When it disappears; 0: never.
    pub expires_at: Timestamp,
    /// What the server reads of it: an archive, as the control says.
    pub body: Vec<u8>,
    /// What it says.
    pub payload: Vec<u8>,
}

impl Content {
    /// A text.
    pub fn text(payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..Self::default() }
    }

    /// Bytes of it.
    pub(crate) fn len(&self) -> usize {
        self.body.len() + self.payload.len()
    }

    /// It answers an earlier message.
    #[must_use]
    pub fn answering(self, target: Seq) -> Self {
        Self { target, ..self }
    }

    /// It disappears at this time.
    #[must_use]
    pub fn until(self, expires_at: Timestamp) -> Self {
        Self { expires_at, ..self }
    }

    /// What it says is plain, so it may be compressed on the way. Never say that of something that is encrypted: how well it compresses would tell of it.
    #[must_use]
    pub fn compressible(self) -> Self {
        Self { flags: self.flags | MessageFlags::COMPRESSIBLE, ..self }
    }

    /// Nobody is alerted.
    #[must_use]
    pub fn silent(self) -> Self {
        Self { flags: self.flags | MessageFlags::SILENT, ..self }
    }

    /// What others on the way may read of it: whom it mentions, that it is passed on, what goes with it.
    ///
    /// # Panics
    /// If something is over its limit.
    #[must_use]
    pub fn with_clear(self, clear: &Clear<'_>) -> Self {
        let mut body = Vec::new();
        clear.write(&mut body);
        Self { body, ..self }
    }

    /// A text that mentions users.
    ///
    /// # Panics
    /// If there are more than [`tidings_wire::limits::MENTIONS_MAX`].
    #[must_use]
    pub fn mentioning(self, users: &[UserId]) -> Self {
        let ids: Vec<_> = users.iter().map(|user| user.0).collect();
        self.with_clear(&Clear { mentions: Users::new(&ids), ..Clear::default() })
    }

    /// Messages that are written from now on disappear after so many seconds; 0: they stay.
    pub fn timer(seconds: u32) -> Self {
        Self { body: Timer { seconds }.to_bytes().to_vec(), ..about(control::TIMER, Seq(0)) }
    }

    /// This, instead of what an earlier message of the same user says.
    #[must_use]
    pub fn as_edit_of(self, target: Seq) -> Self {
        Self { control: control::EDIT, target, ..self }
    }
}

/// What a message with a control is about.
fn about(control: Control, target: Seq) -> Content {
    Content { control, target, ..Content::default() }
}

impl Session {
    /// Sends something to a user: see [`Session::send`].
    pub fn post_to(&mut self, peer: UserId, content: Content) -> ClientMsgId {
        let conversation = self.conversation_with(peer);
        self.put_out((conversation, peer), content)
    }

    /// Sends something to a conversation that is there already.
    pub fn post(&mut self, conversation: ConversationId, content: Content) -> ClientMsgId {
        let peer = self.peer_of(conversation);
        self.put_out((conversation, peer), content)
    }

    /// Replaces what an own message says. Others are told by a message of its own, whose `target` names the edited one.
    pub fn edit(&mut self, conversation: ConversationId, target: Seq, payload: &[u8]) -> ClientMsgId {
        self.post(conversation, Content::text(payload).as_edit_of(target))
    }

    /// Withdraws a message, for everybody: an own one, or in a group one of somebody whom this user may remove. The server serves it empty from
    /// then on, and what was said about it, too.
    pub fn erase(&mut self, conversation: ConversationId, target: Seq) -> ClientMsgId {
        self.post(conversation, about(control::ERASE, target))
    }

    /// Says what the user thinks of a message, instead of what it said before; empty: nothing any more.
    pub fn react(&mut self, conversation: ConversationId, target: Seq, reaction: &[u8]) -> ClientMsgId {
        let payload = reaction.to_vec();
        self.post(conversation, Content { payload, ..about(control::REACT, target) })
    }

    /// Lets messages disappear that are written from now on; 0 seconds: they stay.
    pub fn set_timer(&mut self, conversation: ConversationId, seconds: u32) -> ClientMsgId {
        self.post(conversation, Content::timer(seconds))
    }
}
