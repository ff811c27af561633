//! Whom a user does not want to hear of. The conversation decides and tells both homes: the user's devices are told whom it blocks; who is blocked is
//! not told so, but cannot take the user into groups, nor see whether it is there.

use tidings_wire::{
    ConversationId, ErrorCode, UserId,
    frames::{GroupAct, Send, Set, Setting, SettingKey},
};

use super::{
    Command, Homes, SessionId,
    index::HomeKey,
    preferences::Preferences,
    settings::{Answer, Until},
};
use crate::{
    context::HomeContext,
    lanes::{Asker, BlockCommand, Blocks, Named, ToConversation, Wish},
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
    pub(super) fn on_blocks(&mut self, blocks: &Blocks, cx: &mut impl HomeContext) {
        let Blocks { asker, user, conversation, peer, own, peers, .. } = *blocks;
        let home = self.index.home(user);
        let entry = self.index.entry(home, conversation, peer);
        let before = self.index.entry_at(entry).preferences.get();
        let after = Preferences { blocks: before.blocks.max(own), barred: before.barred.max(peers), ..before };
        if self.index.change(home, entry, |entry| entry.preferences.set(after)) {
            self.mark_dirty(home, cx.now().mono);
        }
        if after.blocks == before.blocks && asker == Asker::NOBODY {
            return;
        }
        if after.blocks.is_on() {
            self.hide_presence(home, peer, cx);
        }
        // Somebody waits: it is written down at once, if there is room.
        self.flush_soon(home, cx);
        let value = u64::from(after.blocks.is_on());
        let setting = Setting { conversation, key: SettingKey::BLOCKED, value, peer };
        let until = Until::Change(self.index.entry_at(entry).uv);
        self.answer_at(home, until, asker, Answer::Setting(setting), cx);
    }

    /// True if a home's user blocks somebody.
    pub(super) fn blocks(&self, home: HomeKey, other: UserId) -> bool {
        let between = ConversationId::direct(self.index.get(home).user, other);
        let entry = self.index.find(home, between);
        entry.is_some_and(|entry| self.index.entry_at(entry).preferences.get().blocks.is_on())
    }

    /// Whether those whom a message takes into a group let its sender do that.
    pub(super) fn named(&self, (home, user): (HomeKey, UserId), send: &Send, body: &[u8]) -> Named {
        let Ok(Some(GroupAct::Create { members: users, .. } | GroupAct::Add(users))) =
            GroupAct::read(send.control, body)
        else {
            return Named::Willing;
        };
        let is_barred_by = |other: UserId| {
            let entry = self.index.find(home, ConversationId::direct(user, other));
            entry.is_some_and(|entry| self.index.entry_at(entry).preferences.get().barred.is_on())
        };
        if users.iter().any(is_barred_by) { Named::Blocking } else { Named::Willing }
    }
}
