//! Which reactor owns what.

use tidings_wire::{ConversationId, Generation, LogId, LogPosition, Shards, UserId};

use crate::effects::ReactorId;

/// The shards of the data directory, dealt out to the reactors of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The shards.
    pub shards: Shards,
    /// The reactors; at least one.
    pub reactors: u16,
}

impl Layout {
    /// Who owns a shard.
    pub fn reactor(&self, shard: u16) -> ReactorId {
        ReactorId(shard % self.reactors)
    }

    /// A user's shard.
    pub fn user_shard(&self, user: &UserId) -> u16 {
        self.shards.of(user.placement())
    }

    /// A conversation's shard.
    pub fn conversation_shard(&self, conversation: &ConversationId) -> u16 {
        self.shards.of(conversation.placement())
    }

    /// Where a user's home is.
    pub fn home(&self, user: &UserId) -> ReactorId {
        self.reactor(self.user_shard(user))
    }

    /// Where a conversation is.
    pub fn conversation(&self, conversation: &ConversationId) -> ReactorId {
        self.reactor(self.conversation_shard(conversation))
    }
}

/// From where on in the own log all state of a conversation or home can be rebuilt: what retention must know before it
/// drops a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Base {
    /// Nothing was ever logged.
    #[default]
    New,
    /// From this segment of the own log.
    Own(Generation),
    /// Some of it is in another log (the shard moved here since).
    Elsewhere,
}

/// Where a record was read or written, as seen from its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In this segment of the own log.
    Own(Generation),
    /// In another log.
    Elsewhere,
}

/// Where a record is, as seen from the owner of log `own`.
pub fn origin(own: LogId, at: LogPosition) -> Origin {
    if at.log() == own { Origin::Own(at.generation()) } else { Origin::Elsewhere }
}

impl Base {
    /// A record that adds to the state.
    pub fn add(&mut self, origin: Origin) {
        *self = match (*self, origin) {
            (Self::New, Origin::Own(generation)) => Self::Own(generation),
            (_, Origin::Elsewhere) => Self::Elsewhere,
            (known, Origin::Own(_)) => known,
        };
    }

    /// A record that is the whole state.
    pub fn restart(&mut self, origin: Origin) {
        *self = match origin {
            Origin::Own(generation) => Self::Own(generation),
            Origin::Elsewhere => Self::Elsewhere,
        };
    }

    /// True if the state must be written again before segments up to `generation` may go.
    pub fn is_within(&self, generation: Generation) -> bool {
        match self {
            Self::New => false,
            Self::Own(base) => *base <= generation,
            Self::Elsewhere => true,
        }
    }
}
