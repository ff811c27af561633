//! What makes conversations and homes that stay for good: who may begin more of them. Of what is there already nothing here is asked.

use tidings_wire::{
    ConversationId, ErrorCode,
    archive::Archived,
    frames::{
        Send,
        group::control::{ADD, CREATE},
    },
};

use super::{Homes, authentication::Scope, index::HomeKey, session::Session};
use crate::{
    limits::{ENTITIES_SCARCE, FEW_CONVERSATIONS, NO_ROOM_RETRY_MS, ROOM_KEPT, STATE_FULL, STATE_SCARCE},
    records::HomeEntryRecord,
};

/// What would begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// A one-to-one conversation.
    Direct,
    /// A group.
    Group,
    /// Nothing; but others are taken into a group, who may have no homes yet.
    Nothing,
}

impl Homes {
    /// How full the fullest reactor is, in hundredths: of its log, state that must be written again, and of its memory, conversations or homes.
    pub(crate) fn set_fullness(&mut self, state_share: u8, entities_share: u8) {
        (self.state_share, self.entities_share) = (state_share, entities_share);
    }

    /// How many homes there are.
    pub(crate) fn count(&self) -> usize {
        self.index.len()
    }

    /// About what the index takes in the log, in bytes.
    pub(crate) fn state_estimate(&self) -> u64 {
        (self.index.entries_len() * HomeEntryRecord::FIRST_LEN) as u64
    }

    /// Whether a user may make what stays for good.
    ///
    /// # Errors
    /// [`ErrorCode::NoRoom`], and milliseconds; [`ErrorCode::TooMany`].
    fn may_begin(&self, home: HomeKey, scope: Scope, what: Begins) -> Result<(), (ErrorCode, u32)> {
        let state = self.index.get(home);
        // Of those that others began it has any number: but there is one direct conversation with each user, and taking somebody into groups costs
        // whoever does it.
        let has = if what == Begins::Direct { state.direct } else { state.groups };
        let most = self.config.entities_max as usize;
        let is_scarce = self.index.len() >= most - most / ROOM_KEPT as usize
            || self.entities_share >= ENTITIES_SCARCE
            || self.state_share >= STATE_SCARCE;
        let has_many = scope == Scope::User && has >= FEW_CONVERSATIONS;
        if is_scarce && has_many || self.state_share >= STATE_FULL {
            return Err((ErrorCode::NoRoom, NO_ROOM_RETRY_MS));
        }
        if scope == Scope::User && what != Begins::Nothing && has >= self.config.user_conversations {
            return Err((ErrorCode::TooMany, 0));
        }
        Ok(())
    }

    /// A SEND names somebody with whom its user's home knows no conversation: whether it is that of the two, and may begin.
    ///
    /// # Errors
    /// [`ErrorCode::NotMember`], [`ErrorCode::NoRoom`], [`ErrorCode::TooMany`].
    #[cold]
    #[inline(never)]
    pub(super) fn check_begins(&self, session: &Session, send: &Send) -> Result<(), (ErrorCode, u32)> {
        if ConversationId::direct(session.user, send.peer) != send.conversation {
            return Err((ErrorCode::NotMember, 0));
        }
        self.may_begin(session.home, session.scope, Begins::Direct)
    }

    /// A SEND to what is no one-to-one conversation: whether it is a group, which its user may begin, or take others into.
    ///
    /// # Errors
    /// [`ErrorCode::NotMember`], [`ErrorCode::BadPeer`], [`ErrorCode::NoRoom`], [`ErrorCode::TooMany`].
    #[inline(never)]
    pub(super) fn check_group(&self, session: &Session, send: &Send) -> Result<(), (ErrorCode, u32)> {
        if !send.conversation.is_group() {
            return Err((ErrorCode::NotMember, 0));
        }
        if !send.peer.is_none() {
            return Err((ErrorCode::BadPeer, 0));
        }
        let begins = match send.control {
            CREATE if self.index.find(session.home, send.conversation).is_none() => Begins::Group,
            ADD => Begins::Nothing,
            _ => return Ok(()),
        };
        self.may_begin(session.home, session.scope, begins)
    }
}
