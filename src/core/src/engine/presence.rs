//! Typing and presence: what a conversation knows about them is who is with whom. It keeps nothing of it.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{ClientMsgId, ConversationId, Seq, UserId, frames::Control};

use super::Conversations;
use crate::{
    context::ConversationContext,
    conversation::{
        members::Member,
        state::{Size, State},
        view::View,
    },
    counters::Counter,
    ephemeral::{Ephemeral, Relation, Typing, Watcher, ids, spread, watch},
    features::{self, Seen},
    residency::Entity,
};

impl Conversations {
    /// A message that may be lost.
    pub(crate) fn hear(&mut self, message: &Ephemeral, payload: &[u8], cx: &mut impl ConversationContext) {
        match message {
            Ephemeral::Typing(typing) => self.on_typing(*typing, cx),
            Ephemeral::WatchMembers { conversation, watcher } => self.on_watch_members(*conversation, *watcher, cx),
            Ephemeral::Fragment(fragment) => self.on_fragment(fragment, payload, cx),
            Ephemeral::More { reader, offset } => self.on_more(reader, *offset, cx),
            Ephemeral::Watch { watcher } => self.on_watch(*watcher, ids(payload), cx),
            Ephemeral::Typed(_)
            | Ephemeral::Grown { .. }
            | Ephemeral::Watches { .. }
            | Ephemeral::Watched { .. }
            | Ephemeral::Administer { .. }
            | Ephemeral::Administered { .. }
            | Ephemeral::Presence { .. } => {
                unreachable!("it is for homes")
            }
        }
    }

    /// What is committed of a conversation in which nobody is told of everything that happens: not of a large group.
    fn small(&self, conversation: ConversationId) -> Option<&State> {
        let key = self.find(conversation)?;
        Some(&self.get(key).state).filter(|state| state.size == Size::Small)
    }

    /// Who may write is heard by all others.
    fn on_typing(&self, typing: Typing, cx: &mut impl ConversationContext) {
        let Typing { conversation, user, .. } = typing;
        let Some(state) = self.small(conversation) else { return };
        let view = View { state, overlay: None };
        let seen = Seen::new(view, (conversation, user), Control::TEXT);
        let is_member = state.member(user).is_some_and(|at| state.members[at].membership.is_current());
        let may_write = is_member && features::may_write(&seen).is_ok();
        if !may_write && !canary::is(Canary::StrangerTypes) {
            return;
        }
        // Who blocks and who is blocked hear nothing of each other.
        if state.blocks().is_any() && !canary::is(Canary::BlockedShown) {
            return;
        }
        let others = state.members.iter().filter(|member| member.user != user && member.membership.is_current());
        let others = others.map(|member| (self.config.layout.home(&member.user), member.user.0));
        spread(others.collect(), Ephemeral::Typed(typing), cx);
    }

    fn on_watch_members(&self, conversation: ConversationId, watcher: Watcher, cx: &mut impl ConversationContext) {
        let Some(state) = self.small(conversation) else { return };
        let is_current = |at: usize| state.members[at].membership.is_current();
        if !state.member(watcher.user).is_some_and(is_current) {
            return;
        }
        let others =
            state.members.iter().filter(|member| member.user != watcher.user && member.membership.is_current());
        watch(watcher, others.map(|member| member.user), self.config.layout, cx);
    }

    /// What is between a user and whoever asks for it is in their conversation.
    fn on_watch(&self, watcher: Watcher, users: impl Iterator<Item = UserId>, cx: &mut impl ConversationContext) {
        for user in users {
            let between = ConversationId::direct(watcher.user, user);
            if !cx.is_here(Entity::Conversation(between)) {
                cx.count(Counter::EphemeralDropped);
                continue;
            }
            let found = self.find(between);
            let state = found.map(|key| &self.get(key).state);
            let own = state.and_then(|state| state.member(user).map(|at| &state.members[at]));
            let relation = if own.is_some_and(has_written) { Relation::WrittenTo } else { Relation::Stranger };
            cx.ephemeral(self.config.layout.home(&user), Ephemeral::Watched { user, watcher, relation }, &[]);
        }
    }
}

/// True if a member has ever written something.
fn has_written(member: &Member) -> bool {
    member.last_own() > Seq(0) || member.floor > ClientMsgId(0)
}
