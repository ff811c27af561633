//! Frames of sessions: checking what is asked. What a conversation must decide is given back as a message to it.

use tidings_wire::{
    ClientMsgId, ConversationId, ErrorCode, Frame, Kind, Timestamp, WireError,
    frame::{self},
    frames::{
        Bye, Control, Delivered, ErrorFrame, Fetch, Message, MessageFlags, Ping, Pong, Read, ReceiptKind, Resume, Send,
        about::control::EDIT,
    },
    limits, packed,
};

use super::{
    Homes, SessionId,
    index::{EntryKey, HomeKey, Index},
    rates::Does,
    session::Session,
};
use crate::{
    context::HomeContext,
    counters::Counter,
    lanes::{Asker, Named, Privacy, ReceiptCommand, Refusal, SendCommand, ToConversation},
    limits::{
        BUSY_RETRY_MS, FETCHES_PER_SESSION, FETCHES_PER_USER, ID_AHEAD_RETRY_MS, IDS_AHEAD_US, LONG_SEND, OUT_HARD,
        OUT_HARD_TEXT, retry_ms,
    },
    narrow::to_u32,
    shedding::Stage,
    time::Now,
};

/// A message to a conversation, and what goes with it.
#[derive(Debug)]
pub(crate) struct Command<'f> {
    /// The message.
    pub(crate) message: ToConversation,
    /// The home whose user's name goes with it, if one does.
    pub(crate) named: Option<HomeKey>,
    /// What the server must read of it.
    pub(crate) body: &'f [u8],
    /// The payload.
    pub(crate) payload: &'f [u8],
}

/// True of a payload that is packed, of something of which the server need not read what it says.
fn may_be_packed(control: Control, (body, payload): (&[u8], &[u8])) -> bool {
    // A device that does not unpack gets both together unpacked.
    let most = (limits::PAYLOAD_MAX as usize).saturating_sub(body.len());
    [Control::TEXT, EDIT].contains(&control) && packed::unpack(payload, most).is_ok()
}

/// The entry of a one-to-one conversation in the home of a session, if there is one.
fn entry_of(session: &Session, conversation: ConversationId, index: &Index) -> Option<EntryKey> {
    let is_direct = conversation.is_direct();
    is_direct.then(|| index.find_near(session.entry, session.home, conversation)).flatten()
}

impl Homes {
    /// A frame of a session: the message to a conversation that comes of it, if one does. A session that ended meanwhile is
    /// ignored.
    pub(crate) fn frame<'f>(
        &mut self,
        id: SessionId,
        frame: &Frame<'f>,
        cx: &mut impl HomeContext,
    ) -> Option<Command<'f>> {
        let conn = self.sessions.get(id).filter(|session| !session.ending)?.conn;
        cx.count(Counter::FramesIn);
        if cx.buffered(conn) > OUT_HARD {
            cx.count(Counter::SlowConsumers);
            let (kind, request_id) = (frame.header().kind, frame.header().request_id);
            self.close_with(id, ErrorCode::TooSlow, kind, request_id, OUT_HARD_TEXT, cx);
            return None;
        }
        match self.dispatch(id, frame, cx) {
            Ok(command) => command,
            Err(error) if error.code().closes() => {
                use alloc::string::ToString;
                let (kind, request_id) = (frame.header().kind, frame.header().request_id);
                self.close_with(id, error.code(), kind, request_id, &error.to_string(), cx);
                None
            }
            Err(error) => {
                self.refuse_frame(id, frame, error.code(), cx);
                None
            }
        }
    }

    #[inline]
    fn dispatch<'f>(
        &mut self,
        id: SessionId,
        frame: &Frame<'f>,
        cx: &mut impl HomeContext,
    ) -> Result<Option<Command<'f>>, WireError> {
        let (kind, request_id) = (frame.kind()?, frame.header().request_id);
        match kind {
            Kind::Send => self.on_send(id, frame, cx),
            Kind::Delivered => {
                let Delivered { conversation, upto } = frame.fixed()?;
                self.note_acknowledged(id);
                let receipt = self.receipt(id, request_id, (conversation, ReceiptKind::Delivered, upto, 0));
                Ok(receipt.filter(|_| !self.is_shed(Stage::Receipts, Counter::ShedReceipts, cx)))
            }
            Kind::Read => {
                let Read { conversation, upto, ordinal } = frame.fixed()?;
                self.note_acknowledged(id);
                let receipt = self.receipt(id, request_id, (conversation, ReceiptKind::Read, upto, ordinal));
                Ok(receipt.filter(|_| !self.is_shed(Stage::Receipts, Counter::ShedReceipts, cx)))
            }
            Kind::Fetch => self.on_fetch(id, frame, cx),
            _ => self.dispatch_other(id, frame, kind, cx),
        }
    }

    /// The same of what comes seldom.
    #[inline(never)]
    fn dispatch_other<'f>(
        &mut self,
        id: SessionId,
        frame: &Frame<'f>,
        kind: Kind,
        cx: &mut impl HomeContext,
    ) -> Result<Option<Command<'f>>, WireError> {
        let request_id = frame.header().request_id;
        match kind {
            Kind::Describe => {
                let (describe, user) = (frame.fixed()?, self.user_of(id));
                let asker = Asker { session: id, request_id };
                let privacy = self.sessions.get(id).map_or(Privacy::Shown, |session| self.privacy(session.home));
                let message = user.map(|user| ToConversation::Describe { asker, user, describe, privacy });
                return Ok(message.map(|message| Command { message, named: None, body: &[], payload: &[] }));
            }
            Kind::Set => return self.on_set(id, frame, cx),
            Kind::Devices => self.on_devices(id, frame, cx)?,
            Kind::Revoke => self.on_revoke(id, frame, cx)?,
            Kind::Resume => self.on_resume(id, request_id, &frame.fixed::<Resume>()?, cx),
            Kind::Typing => self.on_typing(id, frame, cx)?,
            Kind::Watch => self.on_watch(id, frame, cx)?,
            Kind::Fragment => self.on_fragment(id, frame, cx)?,
            Kind::More => self.on_more(id, frame, cx)?,
            Kind::Activity => self.on_activity(id, frame, cx)?,
            Kind::Forget => self.on_forget(id, frame, cx)?,
            Kind::Ping => {
                let Ping { opaque } = frame.fixed()?;
                let (uv, server_time) = (self.uv_for(id), cx.now().wall);
                if let Some(conn) = self.conn_of(id) {
                    frame::append(cx.out(conn), request_id, &Pong { opaque, uv, server_time });
                }
            }
            Kind::Bye => {
                let _bye: Bye = frame.fixed()?;
                if let Some(conn) = self.conn_of(id) {
                    cx.close(conn);
                }
                self.close_session(id, cx.counters());
            }
            Kind::Hello => {
                self.close_with(id, ErrorCode::HelloTwice, frame.header().kind, request_id, "HELLO comes once", cx);
            }
            _ => {
                let text = "clients do not send this kind";
                self.close_with(id, ErrorCode::UnexpectedKind, frame.header().kind, request_id, text, cx);
            }
        }
        Ok(None)
    }

    #[inline]
    fn on_send<'f>(
        &mut self,
        id: SessionId,
        frame: &Frame<'f>,
        cx: &mut impl HomeContext,
    ) -> Result<Option<Command<'f>>, WireError> {
        let send: Send = frame.fixed()?;
        let (payload, body) = (frame.var(send.payload)?, frame.var(send.body)?);
        let entry = match self.check_send(id, &send, (body, payload), cx.now()) {
            Ok(entry) => entry,
            Err((code, retry_after_ms)) => {
                self.refuse_send(id, frame, &send, code, retry_after_ms, cx);
                return Ok(None);
            }
        };
        let Some(session) = self.sessions.get_mut(id) else { return Ok(None) };
        session.in_flight += 1;
        if let Some(entry) = entry {
            session.entry = entry;
        }
        let (home, user, device, network) = (session.home, session.user, session.device, session.network);
        let named = if send.control.is_of_group() { self.named(home, &send, body) } else { Named::Willing };
        let message = ToConversation::Send(SendCommand {
            asker: Asker { session: id, request_id: frame.header().request_id },
            sender: user,
            device,
            network,
            conversation: send.conversation,
            places: self.index.places_of(entry),
            peer: send.peer,
            client_msg_id: send.client_msg_id,
            prev: send.prev,
            expires_at: send.expires_at,
            trace: send.trace,
            flags: send.flags,
            payload_crc: send.payload_crc,
            control: send.control,
            target: send.target,
            named,
            name_len: u8::try_from(self.index.get(home).name.len()).expect("a name is of at most 255 bytes"),
            body_len: to_u32(body.len()),
        });
        Ok(Some(Command { message, named: Some(home), body, payload }))
    }

    /// Everything about a SEND that can be judged without its conversation. Gives the conversation's entry, if it is one to one and known.
    fn check_send(
        &mut self,
        id: SessionId,
        send: &Send,
        (body, payload): (&[u8], &[u8]),
        now: Now,
    ) -> Result<Option<EntryKey>, (ErrorCode, u32)> {
        let refuse = |code| Err((code, 0));
        let Some(session) = self.sessions.get(id) else { return Ok(None) };
        if body.len() + payload.len() > limits::PAYLOAD_MAX as usize {
            return refuse(ErrorCode::PayloadTooLarge);
        }
        if session.in_flight >= self.window
            && let Some(why) = self.over_window(session)
        {
            return Err(why);
        }
        if send.client_msg_id == ClientMsgId(0) {
            return refuse(ErrorCode::Stale);
        }
        // One that no clock has reached would bar every device that is forgotten from its conversation.
        if send.client_msg_id.0 > now.wall.0.saturating_add(IDS_AHEAD_US) {
            // The clock that is wrong may be the server's: it is asked again.
            return Err((ErrorCode::IdAhead, ID_AHEAD_RETRY_MS));
        }
        if !send.conversation.is_direct() {
            self.check_group(session, send)?;
        }
        let entry = entry_of(session, send.conversation, &self.index);
        if !send.peer.is_none() {
            if send.peer == session.user || send.peer.tenant() != session.user.tenant() {
                return refuse(ErrorCode::BadPeer);
            }
            // An entry that names this peer proves that the conversation is theirs. Else the ids are hashed, which costs more than all else here.
            let known = entry.is_some_and(|entry| self.index.entry_at(entry).peer == send.peer);
            if !known {
                self.check_begins(session, send)?;
            }
        }
        if send.expires_at != Timestamp(0) && send.expires_at <= now.wall {
            return refuse(ErrorCode::Expired);
        }
        if Message::crc_of_content(body, payload) != send.payload_crc {
            return refuse(ErrorCode::PayloadChecksum);
        }
        let (rate, scope) = (self.config.user_rate, session.scope);
        let bucket = &mut self.index.get_mut(session.home).bucket;
        let taken = match body.len() + payload.len() >= LONG_SEND {
            true => scope.take_long(bucket, rate, now.mono, body.len() + payload.len()),
            false => scope.take_send(bucket, rate, now.mono),
        };
        taken.map_err(|wait_ms| (ErrorCode::RateLimited, wait_ms))?;
        if send.flags.0 & MessageFlags::PACKED != 0 && !may_be_packed(send.control, (body, payload)) {
            return refuse(ErrorCode::PackedInvalid);
        }
        Ok(entry)
    }

    fn receipt<'f>(
        &mut self,
        id: SessionId,
        request_id: u64,
        (conversation, kind, upto, ordinal): (ConversationId, ReceiptKind, tidings_wire::Seq, u64),
    ) -> Option<Command<'f>> {
        let session = self.sessions.get_mut(id)?;
        let entry = entry_of(session, conversation, &self.index);
        if let Some(entry) = entry {
            session.entry = entry;
        }
        let (user, home, asker) = (session.user, session.home, Asker { session: id, request_id });
        let (places, privacy) = (self.index.places_of(entry), self.privacy(home));
        let receipt = ReceiptCommand { asker, user, conversation, places, kind, upto, ordinal, privacy };
        let message = ToConversation::Receipt(receipt);
        Some(Command { message, named: None, body: &[], payload: &[] })
    }

    fn on_fetch<'f>(
        &mut self,
        id: SessionId,
        frame: &Frame<'f>,
        cx: &mut impl HomeContext,
    ) -> Result<Option<Command<'f>>, WireError> {
        let (fetch, request_id): (Fetch, _) = (frame.fixed()?, frame.header().request_id);
        let Some(session) = self.sessions.get(id) else { return Ok(None) };
        if session.fetches >= FETCHES_PER_SESSION || self.fetches_of(session.home) >= FETCHES_PER_USER {
            self.refuse_frame(id, frame, ErrorCode::Busy, cx);
            return Ok(None);
        }
        let (home, does) = (session.home, Does::Reads(session.scope));
        if let Err(wait_ms) = self.take_rate(home, does, 1, cx.now().mono) {
            self.refuse_limited(id, frame, wait_ms, cx);
            return Ok(None);
        }
        let Some(session) = self.sessions.get_mut(id) else { return Ok(None) };
        session.fetches += 1;
        let (asker, user) = (Asker { session: id, request_id }, session.user);
        let message = self.admit(asker, user, fetch, cx);
        Ok(message.map(|message| Command { message, named: None, body: &[], payload: &[] }))
    }

    /// The lane did not take what [`Self::frame`] gave back for `frame`.
    pub(crate) fn not_taken(
        &mut self,
        id: SessionId,
        message: &ToConversation,
        frame: &Frame<'_>,
        cx: &mut impl HomeContext,
    ) {
        match message {
            ToConversation::Send(_) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.in_flight -= 1;
                }
            }
            // The FETCH that the lane did not take may be one that waited before it.
            ToConversation::Fetch { asker, fetch, .. } => {
                let to = self.config.layout.conversation(&fetch.conversation);
                return self.fetch_refused(*asker, fetch, to, cx);
            }
            ToConversation::Receipt(_) | ToConversation::Describe { .. } | ToConversation::Block(_) => {}
            ToConversation::Heads { .. }
            | ToConversation::Listen
            | ToConversation::Leave { .. }
            | ToConversation::Reached(_) => unreachable!("no frame becomes it"),
        }
        self.refuse_busy(id, frame, cx);
    }

    /// Something that a frame needs has no room or is being loaded: it may come again.
    pub(crate) fn refuse_busy(&mut self, id: SessionId, frame: &Frame<'_>, cx: &mut impl HomeContext) {
        if frame.kind() == Ok(Kind::Send)
            && let Ok(send) = frame.fixed::<Send>()
        {
            return self.refuse_send(id, frame, &send, ErrorCode::Busy, BUSY_RETRY_MS, cx);
        }
        self.refuse_frame(id, frame, ErrorCode::Busy, cx);
    }

    fn refuse_send(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        send: &Send,
        code: ErrorCode,
        retry_after_ms: u32,
        cx: &mut impl HomeContext,
    ) {
        let (conversation, client_msg_id) = (send.conversation, send.client_msg_id);
        let highest = ClientMsgId(0);
        let of_kind = Kind::Send as u8;
        let refusal = Refusal { code, conversation, client_msg_id, highest, retry_after_ms, of_kind };
        self.write_refusal(Asker { session: id, request_id: frame.header().request_id }, &refusal, cx);
    }

    pub(super) fn refuse_frame(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        code: ErrorCode,
        cx: &mut impl HomeContext,
    ) {
        let refusal = Refusal {
            code,
            conversation: ConversationId::NONE,
            client_msg_id: ClientMsgId(0),
            highest: ClientMsgId(0),
            retry_after_ms: retry_ms(code),
            of_kind: frame.header().kind,
        };
        self.write_refusal(Asker { session: id, request_id: frame.header().request_id }, &refusal, cx);
    }

    /// FETCHes of a user under way, over its sessions.
    pub(super) fn fetches_of(&self, home: HomeKey) -> u32 {
        let of = |id: &SessionId| self.sessions.get(*id).map_or(0, |session| u32::from(session.fetches));
        self.index.get(home).sessions.iter().map(of).sum()
    }

    pub(super) fn fetch_ended(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.fetches = session.fetches.saturating_sub(1);
        }
    }

    pub(super) fn write_refusal(&mut self, asker: Asker, refusal: &Refusal, cx: &mut impl HomeContext) {
        cx.counters().error(refusal.code);
        let Some(session) = self.sessions.get(asker.session) else { return };
        let error = ErrorFrame {
            retry_after_ms: refusal.retry_after_ms,
            conversation: refusal.conversation,
            client_msg_id: refusal.client_msg_id,
            highest: refusal.highest,
            ..ErrorFrame::new(refusal.code, refusal.of_kind)
        };
        error.append(cx.out(session.conn), asker.request_id, "");
    }
}
