//! Frames of sessions: checking what is asked, and sending it where it is decided.

use tidings_wire::{
    ClientMsgId, ConversationId, ErrorCode, Frame, Kind, Retry, Timestamp, UserId, WireError,
    frame::{self, Span},
    frames::{Bye, ByeReason, Delivered, ErrorFrame, Fetch, Ping, Pong, Read, ReceiptKind, Resume, Send, Welcome},
    limits,
};

use super::Node;
use crate::{
    authentication::Authenticated,
    counters::Counter,
    effects::{ConnId, Effects, NoCredit},
    gateway::{Session, SessionId, Sync},
    lanes::{Asker, ReceiptCommand, Refusal, SendCommand, ToConversation},
    limits::{BUSY_RETRY_MS, FETCHES_PER_SESSION, OUT_HARD, REFUSED_RETRY_MS, SESSIONS_PER_USER},
    time::Now,
};

impl Node {
    /// Lets an authenticated device in: WELCOME. An older session of the same device is told that it is superseded; so is
    /// this connection, if it is the older one and only arrived later.
    ///
    /// # Errors
    /// [`ErrorCode::Full`] or [`ErrorCode::Superseded`], already written to `conn`, which is to be closed.
    pub fn open_session(
        &mut self,
        who: &Authenticated,
        conn: ConnId,
        now: Now,
        fx: &mut impl Effects,
    ) -> Result<SessionId, ErrorCode> {
        if self.registry.len() >= self.config.entities_max as usize && !self.registry.has_home(who.user()) {
            return self.refuse_session(who, conn, ErrorCode::Full, "no more users fit on this server", fx);
        }
        let home = self.registry.home(who.user());
        let same_device = |id: &&SessionId| self.gateway.get(**id).is_some_and(|old| old.device == who.device());
        if let Some(old) = self.registry.get(home).sessions.iter().find(same_device).copied() {
            let newer = self
                .gateway
                .get(old)
                .is_some_and(|old| who.connection_number() != 0 && old.connection_number > who.connection_number());
            if newer {
                // Not for good: a device whose clock went back gets in once its old session is gone.
                let text = "a later connection of this device is there already";
                return self.refuse_session(who, conn, ErrorCode::Superseded, text, fx);
            }
            self.close_with(old, ErrorCode::Superseded, 0, 0, "this device has connected again", fx);
        }
        if self.registry.get(home).sessions.len() >= SESSIONS_PER_USER {
            return self.refuse_session(who, conn, ErrorCode::Full, "this user has too many sessions", fx);
        }
        let (user, device, connection_number) = (who.user(), who.device(), who.connection_number());
        let (in_flight, fetches, sync) = (0, 0, Sync::Fresh);
        let id = self.gateway.open(Session { conn, home, user, device, connection_number, in_flight, fetches, sync });
        let state = self.registry.get_mut(home);
        state.sessions.push(id);
        if *state.name != *who.name() {
            state.name = who.name().into();
        }
        self.counters.count(Counter::SessionsOpened);
        let welcome = Welcome {
            version: u16::from(tidings_wire::VERSION),
            idle_timeout_s: self.config.idle_timeout_s,
            frame_max: limits::FRAME_MAX,
            payload_max: limits::PAYLOAD_MAX,
            window: limits::WINDOW,
            user,
            device,
            lineage: self.config.lineage,
            session: id.0.to_u64(),
            server_time: now.wall,
            redirect: Span::default(),
        };
        frame::append(fx.out(conn), who.request_id(), &welcome);
        Ok(id)
    }

    fn refuse_session(
        &mut self,
        who: &Authenticated,
        conn: ConnId,
        code: ErrorCode,
        text: &str,
        fx: &mut impl Effects,
    ) -> Result<SessionId, ErrorCode> {
        self.counters.error(code);
        let retry = Retry::Reconnect as u8;
        let error = ErrorFrame { retry, retry_after_ms: REFUSED_RETRY_MS, ..ErrorFrame::new(code, Kind::Hello as u8) };
        error.append(fx.out(conn), who.request_id(), text);
        Err(code)
    }

    /// The connection of a session is gone, or is to go.
    pub fn close_session(&mut self, id: SessionId) {
        if let Some(session) = self.gateway.close(id) {
            self.registry.get_mut(session.home).sessions.retain(|other| *other != id);
            self.counters.count(Counter::SessionsClosed);
        }
    }

    /// Tells every session that the node stops, and ends it.
    pub fn drain(&mut self, fx: &mut impl Effects) {
        let open: alloc::vec::Vec<_> = self.gateway.iter().map(|(id, session)| (id, session.conn)).collect();
        for (id, conn) in open {
            frame::append(fx.out(conn), 0, &Bye { reason: ByeReason::Draining, retry_after_ms: 500 });
            fx.close(conn);
            self.close_session(id);
        }
    }

    /// Ends a session with an error of its connection.
    pub fn close_with(
        &mut self,
        id: SessionId,
        code: ErrorCode,
        of_kind: u8,
        request_id: u64,
        text: &str,
        fx: &mut impl Effects,
    ) {
        let Some(conn) = self.gateway.get(id).map(|session| session.conn) else { return };
        self.counters.error(code);
        ErrorFrame::new(code, of_kind).append(fx.out(conn), request_id, text);
        fx.close(conn);
        self.close_session(id);
    }

    /// A frame of a session. A session that ended meanwhile is ignored.
    pub fn frame(&mut self, id: SessionId, frame: &Frame<'_>, now: Now, fx: &mut impl Effects) {
        let Some(session) = self.gateway.get(id) else { return };
        self.counters.count(Counter::FramesIn);
        if fx.buffered(session.conn) > OUT_HARD {
            self.counters.count(Counter::SlowConsumers);
            fx.close(session.conn);
            return self.close_session(id);
        }
        if let Err(error) = self.dispatch(id, frame, now, fx) {
            let (kind, request_id) = (frame.header().kind, frame.header().request_id);
            if error.code().closes() {
                use alloc::string::ToString;
                self.close_with(id, error.code(), kind, request_id, &error.to_string(), fx);
            } else {
                self.refuse_frame(id, frame, error.code(), fx);
            }
        }
    }

    /// A frame needs something that is being loaded: refused for now, as when a queue is full.
    pub fn refuse_loading(&mut self, id: SessionId, frame: &Frame<'_>, fx: &mut impl Effects) {
        if frame.kind() == Ok(Kind::Send)
            && let Ok(send) = frame.fixed::<Send>()
        {
            return self.refuse_send(id, frame, &send, ErrorCode::Busy, BUSY_RETRY_MS, fx);
        }
        self.refuse_frame(id, frame, ErrorCode::Busy, fx);
    }

    fn dispatch(&mut self, id: SessionId, frame: &Frame<'_>, now: Now, fx: &mut impl Effects) -> Result<(), WireError> {
        let (kind, request_id) = (frame.kind()?, frame.header().request_id);
        match kind {
            Kind::Send => self.on_send_frame(id, frame, now, fx)?,
            Kind::Delivered => {
                let Delivered { conversation, upto } = frame.fixed()?;
                self.on_receipt_frame(id, frame, conversation, ReceiptKind::Delivered, upto, now, fx);
            }
            Kind::Read => {
                let Read { conversation, upto } = frame.fixed()?;
                self.on_receipt_frame(id, frame, conversation, ReceiptKind::Read, upto, now, fx);
            }
            Kind::Resume => {
                let resume: Resume = frame.fixed()?;
                self.resume(id, request_id, &resume, fx);
            }
            Kind::Fetch => {
                let fetch: Fetch = frame.fixed()?;
                let Some(session) = self.gateway.get_mut(id).filter(|session| session.fetches < FETCHES_PER_SESSION)
                else {
                    self.refuse_frame(id, frame, ErrorCode::Busy, fx);
                    return Ok(());
                };
                session.fetches += 1;
                let up = ToConversation::Fetch { asker: Asker { session: id, request_id }, user: session.user, fetch };
                if self.send_conversation(fetch.conversation, up, &[], &[], now, fx).is_err() {
                    self.fetch_ended(id);
                    self.refuse_frame(id, frame, ErrorCode::Busy, fx);
                }
            }
            Kind::Ping => {
                let ping: Ping = frame.fixed()?;
                let uv = self.uv_for(id);
                if let Some(session) = self.gateway.get(id) {
                    frame::append(
                        fx.out(session.conn),
                        request_id,
                        &Pong { opaque: ping.opaque, uv, server_time: now.wall },
                    );
                }
            }
            Kind::Bye => {
                let _bye: Bye = frame.fixed()?;
                if let Some(session) = self.gateway.get(id) {
                    fx.close(session.conn);
                }
                self.close_session(id);
            }
            Kind::Hello => {
                self.close_with(id, ErrorCode::HelloTwice, frame.header().kind, request_id, "HELLO comes once", fx);
            }
            _ => {
                let text = "clients do not send this kind";
                self.close_with(id, ErrorCode::UnexpectedKind, frame.header().kind, request_id, text, fx);
            }
        }
        Ok(())
    }

    fn on_send_frame(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        now: Now,
        fx: &mut impl Effects,
    ) -> Result<(), WireError> {
        let send: Send = frame.fixed()?;
        let payload = frame.var(send.payload)?;
        if let Err((code, retry_after_ms)) = self.check_send(id, &send, payload, now) {
            self.refuse_send(id, frame, &send, code, retry_after_ms, fx);
            return Ok(());
        }
        let Some(session) = self.gateway.get_mut(id) else { return Ok(()) };
        session.in_flight += 1;
        let (home, device, user) = (session.home, session.device, session.user);
        // The name leaves the registry for the call: taking and putting back a box moves two words.
        let name = core::mem::take(&mut self.registry.get_mut(home).name);
        let up = ToConversation::Send(SendCommand {
            asker: Asker { session: id, request_id: frame.header().request_id },
            sender: user,
            device,
            conversation: send.conversation,
            peer: send.peer,
            client_msg_id: send.client_msg_id,
            prev: send.prev,
            expires_at: send.expires_at,
            trace: send.trace,
            flags: send.flags,
            payload_crc: send.payload_crc,
            name_len: name.len() as u8,
        });
        let sent = self.send_conversation(send.conversation, up, name.as_bytes(), payload, now, fx);
        self.registry.get_mut(home).name = name;
        if sent == Err(NoCredit) {
            if let Some(session) = self.gateway.get_mut(id) {
                session.in_flight -= 1;
            }
            self.refuse_send(id, frame, &send, ErrorCode::Busy, BUSY_RETRY_MS, fx);
        }
        Ok(())
    }

    /// Everything about a SEND that can be judged without its conversation.
    fn check_send(&mut self, id: SessionId, send: &Send, payload: &[u8], now: Now) -> Result<(), (ErrorCode, u32)> {
        let refuse = |code| Err((code, 0));
        let Some(session) = self.gateway.get(id) else { return Ok(()) };
        if payload.len() > limits::PAYLOAD_MAX as usize {
            return refuse(ErrorCode::PayloadTooLarge);
        }
        if session.in_flight >= limits::WINDOW {
            return refuse(ErrorCode::WindowExceeded);
        }
        if send.client_msg_id == ClientMsgId(0) {
            return refuse(ErrorCode::Stale);
        }
        if !send.conversation.is_direct() {
            return refuse(ErrorCode::NotMember);
        }
        if !send.peer.is_none() {
            if send.peer == session.user {
                return refuse(ErrorCode::BadPeer);
            }
            if ConversationId::direct(session.user, send.peer) != send.conversation {
                return refuse(ErrorCode::NotMember);
            }
        }
        if send.expires_at != Timestamp(0) && send.expires_at <= now.wall {
            return refuse(ErrorCode::Expired);
        }
        if crc32c::crc32c(payload) != send.payload_crc {
            return refuse(ErrorCode::PayloadChecksum);
        }
        let rate = self.config.user_rate;
        let bucket = &mut self.registry.get_mut(session.home).bucket;
        bucket.take(rate, now.mono).map_err(|wait_ms| (ErrorCode::RateLimited, wait_ms))
    }

    #[allow(clippy::too_many_arguments, reason = "one call, two kinds of frame")]
    fn on_receipt_frame(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        conversation: ConversationId,
        kind: ReceiptKind,
        upto: tidings_wire::Seq,
        now: Now,
        fx: &mut impl Effects,
    ) {
        let Some(user) = self.gateway.get(id).map(|session| session.user) else { return };
        let asker = Asker { session: id, request_id: frame.header().request_id };
        let up = ToConversation::Receipt(ReceiptCommand { asker, user, conversation, kind, upto });
        if self.send_conversation(conversation, up, &[], &[], now, fx).is_err() {
            self.refuse_frame(id, frame, ErrorCode::Busy, fx);
        }
    }

    /// Sends up, through a lane or directly.
    fn send_conversation(
        &mut self,
        conversation: ConversationId,
        message: ToConversation,
        name: &[u8],
        payload: &[u8],
        now: Now,
        fx: &mut impl Effects,
    ) -> Result<(), NoCredit> {
        let to = self.config.layout.conversation(&conversation);
        if to != self.config.me {
            return fx.to_conversation(to, message, &[name, payload]);
        }
        self.handle_to_conversation(to, message, name, payload, now, fx);
        Ok(())
    }

    fn refuse_send(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        send: &Send,
        code: ErrorCode,
        retry_after_ms: u32,
        fx: &mut impl Effects,
    ) {
        let (conversation, client_msg_id) = (send.conversation, send.client_msg_id);
        let highest = ClientMsgId(0);
        let of_kind = Kind::Send as u8;
        let refusal = Refusal { code, conversation, client_msg_id, highest, retry_after_ms, of_kind };
        self.write_refusal(Asker { session: id, request_id: frame.header().request_id }, &refusal, fx);
    }

    fn refuse_frame(&mut self, id: SessionId, frame: &Frame<'_>, code: ErrorCode, fx: &mut impl Effects) {
        let refusal = Refusal {
            code,
            conversation: ConversationId::NONE,
            client_msg_id: ClientMsgId(0),
            highest: ClientMsgId(0),
            retry_after_ms: if code == ErrorCode::Busy { BUSY_RETRY_MS } else { 0 },
            of_kind: frame.header().kind,
        };
        self.write_refusal(Asker { session: id, request_id: frame.header().request_id }, &refusal, fx);
    }

    pub(super) fn fetch_ended(&mut self, id: SessionId) {
        if let Some(session) = self.gateway.get_mut(id) {
            session.fetches = session.fetches.saturating_sub(1);
        }
    }

    pub(super) fn write_refusal(&mut self, asker: Asker, refusal: &Refusal, fx: &mut impl Effects) {
        self.counters.error(refusal.code);
        let Some(session) = self.gateway.get(asker.session) else { return };
        let error = ErrorFrame {
            retry_after_ms: refusal.retry_after_ms,
            conversation: refusal.conversation,
            client_msg_id: refusal.client_msg_id,
            highest: refusal.highest,
            ..ErrorFrame::new(refusal.code, refusal.of_kind)
        };
        error.append(fx.out(session.conn), asker.request_id, "");
    }

    /// The user of a session, while it lives.
    pub fn user_of(&self, id: SessionId) -> Option<UserId> {
        self.gateway.get(id).map(|session| session.user)
    }
}
