//! *Prefetch, then apply*: an input is applied only once the entity that it touches is in memory; until then it is parked
//! (`turn/parking.rs`). Who loads entities is behind [`StateStore`]. So what is applied finds an entity or knows that there is none.

use tidings_wire::{
    ConversationId, Frame, Kind, UserId,
    frames::{Set, SettingKey},
};

use crate::{
    lanes::{BlocksTold, HeadUpdate, ToConversation, ToHome},
    node::Node,
};

/// Something that an input touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// A user's home.
    Home(UserId),
    /// A conversation.
    Conversation(ConversationId),
}

/// Whether an entity can be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// It is in memory, or does not exist at all.
    Resident,
    /// It is being loaded: [`StateStore::take_loaded`] says when it is there.
    Loading,
}

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// The entity is in memory, or it is known that it does not exist.
    Here,
    /// It could not be loaded, this time.
    Failed,
}

/// Where entities come from that are not in memory.
pub trait StateStore {
    /// True of one that never loads anything, since everything is in memory. It is asked once.
    fn holds_all(&self) -> bool {
        false
    }

    /// Whether `entity` is in memory; begins to load it if it is not.
    fn prefetch(&mut self, entity: Entity) -> Residency;

    /// A load that ended since this was asked last.
    fn take_loaded(&mut self) -> Option<(Entity, Loaded)>;
}

/// Recovery put everything into memory: the store of today.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everything;

impl StateStore for Everything {
    fn holds_all(&self) -> bool {
        true
    }

    fn prefetch(&mut self, _: Entity) -> Residency {
        Residency::Resident
    }

    fn take_loaded(&mut self) -> Option<(Entity, Loaded)> {
        None
    }
}

impl Node {
    /// What must be in memory before [`Router::frame`](crate::Router::frame) of a live session, whose home is: the conversation, if it is here.
    #[inline]
    pub fn entity_of(&self, frame: &Frame<'_>) -> Option<Entity> {
        match frame.kind().ok()? {
            Kind::Send | Kind::Delivered | Kind::Read | Kind::Fetch | Kind::Describe => {}
            Kind::Set if frame.fixed::<Set>().is_ok_and(|set| set.key == SettingKey::BLOCKED) => {}
            _ => return None,
        }
        // The fixed parts of all of them begin with it; one that is too short is refused when it is applied.
        let conversation = ConversationId(*frame.fixed_bytes().first_chunk::<16>()?);
        let here = self.config().layout.conversation(&conversation) == self.config().me;
        here.then_some(Entity::Conversation(conversation))
    }
}

impl ToConversation {
    /// What must be in memory before it is taken. Who listens to large groups is said in order, and must not wait for one of them.
    pub fn entity(&self) -> Option<Entity> {
        match self {
            Self::Leave { .. } => None,
            _ => self.conversation().map(Entity::Conversation),
        }
    }
}

impl ToHome {
    /// What must be in memory before it is taken. What is about a session, or about all homes of a reactor, needs nothing: a home is in memory while it has
    /// sessions. Neither does what many homes are told at once: it must not wait for all of them, and no home leaves memory yet.
    pub fn entity(&self) -> Option<Entity> {
        match self {
            Self::HeadUpdate(HeadUpdate { user, .. })
            | Self::Receipt { user, .. }
            | Self::ReceiptOk { user, .. }
            | Self::Blocks(BlocksTold { user, .. }) => Some(Entity::Home(*user)),
            Self::Fanout(_)
            | Self::Posted(_)
            | Self::Bell(_)
            | Self::Heads { .. }
            | Self::AskHeadsAgain { .. }
            | Self::Sent { .. }
            | Self::Refused { .. }
            | Self::AskReached { .. }
            | Self::Reached(_)
            | Self::GroupReceipts { .. }
            | Self::Answer { .. }
            | Self::Data { .. }
            | Self::Fetched { .. } => None,
        }
    }
}
