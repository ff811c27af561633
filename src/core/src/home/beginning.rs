//! What makes conversations and homes that stay for good: who may begin more of them. Of what is there already nothing here is asked.

use tidings_wire::{
    ConversationId, ErrorCode,
    frames::{
        Send,
        group::control::{ADD, CREATE},
    },
};

use super::{Homes, authentication::Scope, index::HomeKey, session::Session};
use crate::{
    limits::{FEW_CONVERSATIONS, NO_ROOM_RETRY_MS, ROOM_KEPT, STATE_FULL, STATE_SCARCE},
    records::{HomeEntryRecord, listed_len},
};

impl Homes {
    pub(crate) fn set_state_share(&mut self, share: u8) {
        self.state_share = share;
    }

    /// The least that the index takes in the log, in bytes.
    pub(crate) fn least_state(&self) -> u64 {
        (self.index.entries_len() * listed_len::<HomeEntryRecord>()) as u64
    }

    /// Whether a user may write to somebody it has no conversation with, or begin a group, or take users into one, who may have no homes yet.
    ///
    /// # Errors
    /// [`ErrorCode::TooMany`]; [`ErrorCode::NoRoom`], and milliseconds.
    #[cold]
    #[inline(never)]
    pub(super) fn may_begin(&self, home: HomeKey, scope: Scope) -> Result<(), (ErrorCode, u32)> {
        if scope != Scope::User {
            return Ok(());
        }
        let has = self.index.get(home).conversations;
        if has >= self.config.user_conversations {
            return Err((ErrorCode::TooMany, 0));
        }
        // Users are spread evenly, so this reactor knows how much room the others have.
        let most = self.config.entities_max as usize;
        let is_scarce = self.index.len() >= most - most / ROOM_KEPT as usize || self.state_share >= STATE_SCARCE;
        if is_scarce && has >= FEW_CONVERSATIONS || self.state_share >= STATE_FULL {
            return Err((ErrorCode::NoRoom, NO_ROOM_RETRY_MS));
        }
        Ok(())
    }

    /// A SEND names somebody with whom its user's home knows no conversation: whether it is that of the two, and may begin.
    ///
    /// # Errors
    /// [`ErrorCode::NotMember`], and as [`Self::may_begin`].
    #[cold]
    #[inline(never)]
    pub(super) fn check_begins(&self, session: &Session, send: &Send) -> Result<(), (ErrorCode, u32)> {
        if ConversationId::direct(session.user, send.peer) != send.conversation {
            return Err((ErrorCode::NotMember, 0));
        }
        self.may_begin(session.home, session.scope)
    }

    /// A SEND to what is no one-to-one conversation: whether it is a group, which its user may begin, or take others into.
    ///
    /// # Errors
    /// [`ErrorCode::NotMember`], [`ErrorCode::BadPeer`], and as [`Self::may_begin`].
    #[inline(never)]
    pub(super) fn check_group(&self, session: &Session, send: &Send) -> Result<(), (ErrorCode, u32)> {
        if !send.conversation.is_group() {
            return Err((ErrorCode::NotMember, 0));
        }
        if !send.peer.is_none() {
            return Err((ErrorCode::BadPeer, 0));
        }
        if !send.control.is_of_group() {
            return Ok(());
        }
        let begins = send.control == CREATE && self.index.find(session.home, send.conversation).is_none();
        match self.may_begin(session.home, session.scope) {
            Err((ErrorCode::TooMany, _)) if !begins => Ok(()),
            Err(why) if begins || send.control == ADD => Err(why),
            _ => Ok(()),
        }
    }
}
