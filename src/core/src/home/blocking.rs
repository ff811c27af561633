//! Whom a user does not want to hear of. The conversation decides and tells both homes: the user's devices are told whom it blocks; who is blocked is
//! not told so (`barred.rs`), nor whether the user is there.

use tidings_wire::{
    ConversationId, ErrorCode, UserId, Uv,
    frames::{Set, Setting, SettingKey},
};

use super::{
    Command, Homes, SessionId,
    index::HomeKey,
    preferences::Preferences,
    settings::{Answer, Until},
};
use crate::{
    context::HomeContext,
    lanes::{Asker, BlockCommand, Blocking, BlocksTold, ToConversation, Wish},
};

impl Homes {
    /// A user blocks somebody, or stops: what its conversation with it is asked.
    pub(super) fn block<'f>(
        &mut self,
        id: SessionId,
        asker: Asker,
        set: &Set,
        cx: &mut impl HomeContext,
    ) -> Result<Option<Command<'f>>, ErrorCode> {
        let Some(session) = self.sessions.get(id) else { return Ok(None) };
        let (home, user, network) = (session.home, session.user, session.network);
        let Set { conversation, value, peer, .. } = *set;
        let wish = match value {
            0 => Wish::Unblock,
            1 => Wish::Block,
            _ => return Err(ErrorCode::SettingInvalid),
        };
        if !conversation.is_direct() {
            return Err(ErrorCode::NotMember);
        }
        if peer == user || !peer.is_none() && peer.tenant() != user.tenant() {
            return Err(ErrorCode::BadPeer);
        }
        if !peer.is_none() && ConversationId::direct(user, peer) != conversation {
            return Err(ErrorCode::NotMember);
        }
        let (rate, now) = (self.config.user_rate, cx.now().mono);
        self.index.get_mut(home).bucket.take(rate, now).map_err(|_| ErrorCode::Busy)?;
        let message = ToConversation::Block(BlockCommand { asker, user, peer, conversation, network, wish });
        Ok(Some(Command { message, named: Some(home), body: &[], payload: &[] }))
    }

    /// Who blocks whom is committed.
    pub(super) fn on_blocks(&mut self, blocks: &BlocksTold, cx: &mut impl HomeContext) {
        let BlocksTold { asker, user, conversation, peer, own, peers, .. } = *blocks;
        let home = self.index.home(user);
        self.bar(home, peer, peers, cx);
        // Whoever is blocked has an entry only of what was written.
        let found = self.index.find(home, conversation);
        let before = found.map_or(Blocking(0), |entry| self.index.entry_at(entry).preferences.get().blocks);
        let mut until = found.map_or(Uv(0), |entry| self.index.entry_at(entry).uv);
        if own > before {
            let entry = self.index.entry(home, conversation, peer);
            self.index.change(home, entry, |entry| {
                entry.preferences.set(Preferences { blocks: own, ..entry.preferences.get() })
            });
            until = self.index.entry_at(entry).uv;
            self.mark_dirty(home, cx.now().mono);
            if own.is_on() {
                self.hide_presence(home, peer, cx);
            }
        }
        if own <= before && asker == Asker::NOBODY {
            return;
        }
        // Somebody waits: it is written down at once, if there is room.
        self.flush_soon(home, cx);
        let value = u64::from(own.max(before).is_on());
        let setting = Setting { conversation, key: SettingKey::BLOCKED, value, peer };
        self.answer_at(home, Until::Change(until), asker, Answer::Setting(setting), cx);
    }

    /// True if a home's user blocks somebody.
    pub(super) fn does_block(&self, home: HomeKey, other: UserId) -> bool {
        let between = ConversationId::direct(self.index.get(home).user, other);
        let entry = self.index.find(home, between);
        entry.is_some_and(|entry| self.index.entry_at(entry).preferences.get().blocks.is_on())
    }
}
