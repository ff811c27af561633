//! What sessions say of what their users do right now: TYPING, WATCH and ACTIVITY; and what they are told of others who type.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ErrorCode, Frame, UserId, WireError,
    frame::{self},
    frames::{self, Activity, SetActivity, Watch},
};

use super::{Homes, SessionId, session::Sync};
use crate::{
    context::HomeContext,
    counters::Counter,
    ephemeral::{self, Ephemeral, Typing, Watcher, ids},
    lanes::{Asker, Refusal},
    limits::{EPHEMERAL_OUT, GROUP_WATCH_TOKENS, TYPING_TOKENS},
    narrow::to_u32,
};

impl Homes {
    /// A message that may be lost.
    pub(crate) fn hear(&mut self, message: &Ephemeral, payload: &[u8], cx: &mut impl HomeContext) {
        match *message {
            Ephemeral::Typed(typing) => self.on_typed(typing, payload, cx),
            Ephemeral::Watches { watcher } => ephemeral::watch(watcher, ids(payload), self.config.layout, cx),
            Ephemeral::Watched { user, watcher, relation } => self.on_watched(user, watcher, relation, cx),
            Ephemeral::Presence { user, state, last_seen } => {
                self.on_presence(frames::Presence { user, state, last_seen }, payload, cx);
            }
            Ephemeral::Typing(_) | Ephemeral::WatchMembers { .. } | Ephemeral::Watch { .. } => {
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
        let Some(session) = self.sessions.get(id) else { return Ok(()) };
        let (typing, home) = (Typing { conversation, user: session.user, doing }, session.home);
        if let Err(wait_ms) = self.take_ephemeral(home, TYPING_TOKENS, cx.now().mono) {
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
        let Some(session) = self.sessions.get(id) else { return Ok(()) };
        let (user, home) = (session.user, session.home);
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
        if let Err(wait_ms) = self.take_ephemeral(home, to_u32(users.len()) + of_group, cx.now().mono) {
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

    fn refuse_limited(&mut self, id: SessionId, frame: &Frame<'_>, wait_ms: u32, cx: &mut impl HomeContext) {
        let of_kind = frame.header().kind;
        let asker = Asker { session: id, request_id: frame.header().request_id };
        let refusal = Refusal { of_kind, ..Refusal::of(ErrorCode::RateLimited, tidings_wire::Kind::Typing) };
        self.write_refusal(asker, &refusal.for_ms(wait_ms), cx);
    }

    /// Somebody looks at the device, or does not any more.
    pub(super) fn on_activity(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        cx: &mut impl HomeContext,
    ) -> Result<(), WireError> {
        let SetActivity { activity } = frame.fixed()?;
        let Some(session) = self.sessions.get_mut(id) else { return Ok(()) };
        if session.activity == activity {
            return Ok(());
        }
        let home = session.home;
        if activity == Activity::Active
            && let Err(wait_ms) = self.index.get_mut(home).bucket.take(self.config.user_rate, cx.now().mono)
        {
            // What came meanwhile is listed, as by RESUME.
            self.refuse_limited(id, frame, wait_ms, cx);
            return Ok(());
        }
        session.activity = activity;
        session.rung = None;
        // What is not durable yet is told when it is, to those at whom somebody looks: of others the list has it.
        let durable = self.index.get(home).durable;
        session.sync = match (activity, session.sync) {
            // Nothing is pushed to it that it would have to acknowledge; what it has not is listed, too.
            (Activity::Inactive, Sync::Live) => {
                Sync::Dozing(session.unacknowledged.forget().map_or(durable, |since| since.min(durable)))
            }
            (Activity::Active, Sync::Dozing(_)) if canary::is(Canary::DozedForgotten) => Sync::Live,
            (Activity::Active, Sync::Dozing(since)) => Sync::Behind(since),
            (_, sync) => sync,
        };
        self.stir(home);
        // What came meanwhile is listed.
        self.output_gone(id, cx);
        Ok(())
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
