//! What sessions say of what their users do right now, TYPING and WATCH, and what they are told of others who type.

use tidings_wire::{
    ErrorCode, Frame, UserId, WireError,
    frame::{self},
    frames::{self, Watch},
};

use super::{Homes, SessionId, rates::Does};
use crate::{
    context::HomeContext,
    counters::Counter,
    ephemeral::{self, Ephemeral, Typing, Watcher, ids},
    lanes::{Asker, Refusal},
    limits::{EPHEMERAL_OUT, GROUP_WATCH_TOKENS, TYPING_TOKENS},
    narrow::to_u32,
    shedding::Stage,
};

impl Homes {
    /// A message that may be lost.
    pub(crate) fn hear(&mut self, message: &Ephemeral, payload: &[u8], cx: &mut impl HomeContext) {
        match *message {
            Ephemeral::Typed(typing) => self.on_typed(typing, payload, cx),
            Ephemeral::Grown { .. } => self.on_grown(message, payload, cx),
            Ephemeral::Watches { watcher } => ephemeral::watch(watcher, ids(payload), self.config.layout, cx),
            Ephemeral::Watched { user, watcher, relation } => self.on_watched(user, watcher, relation, cx),
            Ephemeral::Presence { user, state, last_seen } => {
                self.on_presence(frames::Presence { user, state, last_seen }, payload, cx);
            }
            Ephemeral::Administer { user, administrator, act } => self.administer(user, administrator, act, cx),
            Ephemeral::Administered { session } => {
                let conn = self.sessions.get(session).map(|session| session.conn);
                conn.into_iter().for_each(|conn| cx.out(conn).extend_from_slice(payload));
            }
            Ephemeral::Typing(_)
            | Ephemeral::WatchMembers { .. }
            | Ephemeral::Fragment(_)
            | Ephemeral::More { .. }
            | Ephemeral::Watch { .. } => {
                unreachable!("it is for conversations")
            }
        }
    }

    /// The user is typing. Nobody is told whether others hear of it.
    pub(super) fn on_typing(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        cx: &mut impl HomeContext,
    ) -> Result<(), WireError> {
        let frames::Typing { conversation, doing, .. } = frame.fixed()?;
        if self.is_shed(Stage::Typing, Counter::ShedTyping, cx) {
            return Ok(());
        }
        let Some(session) = self.sessions.get(id) else { return Ok(()) };
        let (home, scope) = (session.home, session.scope);
        let typing = Typing { conversation, user: session.user, doing };
        if let Err(wait_ms) = self.take_rate(home, Does::SaysInPassing(scope), TYPING_TOKENS, cx.now().mono) {
            self.refuse_limited(id, frame, wait_ms, cx);
            return Ok(());
        }
        cx.ephemeral(self.config.layout.conversation(&conversation), Ephemeral::Typing(typing), &[]);
        Ok(())
    }

    /// The user wants to know who is there.
    pub(super) fn on_watch(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        cx: &mut impl HomeContext,
    ) -> Result<(), WireError> {
        let watch: Watch = frame.fixed()?;
        let (users, rest) = frame.var(watch.users)?.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(WireError::Body);
        }
        if self.refuse_shed(id, frame, cx) {
            return Ok(());
        }
        let Some(session) = self.sessions.get(id) else { return Ok(()) };
        let (user, home, scope) = (session.user, session.home, session.scope);
        let is_strange = |other: &[u8; 16]| UserId(*other) == user || UserId(*other).tenant() != user.tenant();
        let refusal = match () {
            () if users.len() > Watch::USERS_MAX => Some(ErrorCode::TooMany),
            () if users.iter().any(is_strange) => Some(ErrorCode::BadPeer),
            () if !watch.conversation.is_none() && !watch.conversation.is_group() => Some(ErrorCode::NotMember),
            () => None,
        };
        if let Some(code) = refusal {
            self.refuse_frame(id, frame, code, cx);
            return Ok(());
        }
        let of_group = if watch.conversation.is_none() { 0 } else { GROUP_WATCH_TOKENS };
        if let Err(wait_ms) =
            self.take_rate(home, Does::SaysInPassing(scope), to_u32(users.len()) + of_group, cx.now().mono)
        {
            self.refuse_limited(id, frame, wait_ms, cx);
            return Ok(());
        }
        let watcher = Watcher { user, reactor: self.config.me, session: id };
        if !users.is_empty() {
            // It costs as much as many messages do, and nobody waits for it.
            cx.ephemeral(self.config.me, Ephemeral::Watches { watcher }, users.as_flattened());
        }
        if watch.conversation.is_group() {
            let conversation = watch.conversation;
            let message = Ephemeral::WatchMembers { conversation, watcher };
            cx.ephemeral(self.config.layout.conversation(&conversation), message, &[]);
        }
        Ok(())
    }

    pub(super) fn refuse_limited(&mut self, id: SessionId, frame: &Frame<'_>, wait_ms: u32, cx: &mut impl HomeContext) {
        let asker = Asker { session: id, request_id: frame.header().request_id };
        let Ok(kind) = frame.kind() else { return };
        self.write_refusal(asker, &Refusal::of(ErrorCode::RateLimited, kind).for_ms(wait_ms), cx);
    }

    /// Members are told that another one is doing something.
    fn on_typed(&mut self, typing: Typing, users: &[u8], cx: &mut impl HomeContext) {
        let Typing { conversation, user, doing } = typing;
        let told = frames::Typing { conversation, user, doing };
        for home in ids(users).filter_map(|user| self.index.find_home(user)) {
            for id in &self.index.get(home).sessions {
                let Some(session) = self.sessions.get(*id).filter(|session| session.is_there()) else { continue };
                if cx.buffered(session.conn) > EPHEMERAL_OUT {
                    cx.count(Counter::EphemeralDropped);
                    continue;
                }
                frame::append(cx.out_later(session.conn), 0, &told);
                cx.count(Counter::EphemeralTold);
            }
        }
    }
}
