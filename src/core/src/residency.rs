//! *Prefetch, then apply*: an input is applied only once the entities that it touches are in memory; until then it waits where
//! it came in, and what is behind it waits too. Who loads them is behind [`StateStore`].

use tidings_wire::{ConversationId, Frame, Kind, UserId};

use crate::{
    lanes::{HeadUpdate, ToConversation, ToHome},
    node::Node,
};

/// Something that an input touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// It is being loaded: ask again.
    Loading,
}

/// Where entities come from that are not in memory.
pub trait StateStore {
    /// Whether `entity` is in memory; begins to load it if it is not.
    fn prefetch(&mut self, entity: Entity) -> Residency;
}

/// Recovery put everything into memory: the store of today.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everything;

impl StateStore for Everything {
    fn prefetch(&mut self, _: Entity) -> Residency {
        Residency::Resident
    }
}

impl Node {
    /// What must be in memory before [`Router::frame`](crate::Router::frame) of a live session, whose home is: the conversation, if it is here.
    pub fn prefetch_frame(&self, frame: &Frame<'_>, store: &mut dyn StateStore) -> Residency {
        let about_conversation = [Kind::Send, Kind::Delivered, Kind::Read, Kind::Fetch];
        if !frame.kind().is_ok_and(|kind| about_conversation.contains(&kind)) {
            return Residency::Resident;
        }
        // The fixed parts of all four begin with it; one that is too short is refused when it is applied.
        let Some(id) = frame.fixed_bytes().first_chunk::<16>() else { return Residency::Resident };
        let conversation = ConversationId(*id);
        let here = self.config().layout.conversation(&conversation) == self.config().me;
        if here { store.prefetch(Entity::Conversation(conversation)) } else { Residency::Resident }
    }

    /// What must be in memory before [`Router::to_conversation`](crate::Router::to_conversation).
    pub fn prefetch_to_conversation(message: &ToConversation, store: &mut dyn StateStore) -> Residency {
        let conversation = message.conversation();
        conversation.map_or(Residency::Resident, |conversation| store.prefetch(Entity::Conversation(conversation)))
    }

    /// What must be in memory before [`Router::to_home`](crate::Router::to_home).
    pub fn prefetch_to_home(message: &ToHome, store: &mut dyn StateStore) -> Residency {
        match message {
            ToHome::HeadUpdate(HeadUpdate { user, .. })
            | ToHome::Receipt { user, .. }
            | ToHome::ReceiptOk { user, .. } => store.prefetch(Entity::Home(*user)),
            // About a session, whose home is in memory while it lives.
            ToHome::Sent { .. } | ToHome::Refused { .. } | ToHome::Data { .. } | ToHome::Fetched { .. } => {
                Residency::Resident
            }
            // About a reactor's homes, not one of them.
            ToHome::AskReached { .. } | ToHome::Reached(_) => Residency::Resident,
        }
    }
}
