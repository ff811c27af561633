//! Messages on their way in: released strictly as `last + 1`, whatever order they come in; and what others have read.

use tidings_wire::{
    ConversationId, ErrorCode, Frame, Seq, UserId, WireError,
    archive::Archived,
    frame,
    frames::{self, Fetch, FetchOrder, Fetched, Receipt, ReceiptOk},
    limits, packed,
};

use crate::{
    config::{History, Time},
    conversation::{AHEAD_MAX, Conversation},
    event::{Event, Loss, Message, Watermarks},
    session::{Request, Session},
};

/// FETCHes for gaps that are under way at once.
const GAPS_MAX: usize = 8;
/// How long to wait after a gap could not be filled.
const GAP_RETRY_MS: u64 = 200;
/// How often that doubles: up to a minute and more.
const GAP_DOUBLINGS: u32 = 9;

impl Session {
    pub(crate) fn on_message(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let fixed: frames::Message = frame.fixed()?;
        let payload = frame.var(fixed.payload)?;
        let name = frame.var(fixed.sender_name)?;
        let body = frame.var(fixed.body)?;
        // A server of before the body has no checksum of it.
        let clear = frame.fixed_bytes().len() < frames::Message::LEN
            || frames::Message::crc_of_clear(name, body) == fixed.clear_crc;
        if frames::Message::crc_of_content(body, payload) != fixed.payload_crc || !clear {
            return Err(WireError::Checksum); // harmed on the way: connect again, and fetch it
        }
        let is_packed = fixed.flags.0 & frames::MessageFlags::PACKED != 0 && self.server_unpacks;
        // The server has looked at it.
        let unpacked = is_packed.then(|| packed::unpack(payload, limits::PAYLOAD_MAX as usize)).transpose();
        let unpacked = unpacked.map_err(|packed::NotPacked| WireError::Checksum)?;
        let message = Message {
            conversation: fixed.conversation,
            seq: fixed.seq,
            ts: fixed.ts,
            sender: fixed.sender,
            sender_name: String::from_utf8_lossy(name).into_owned(),
            sender_device: fixed.sender_device,
            peer: fixed.peer,
            client_msg_id: fixed.client_msg_id,
            flags: fixed.flags.0 & !if is_packed { frames::MessageFlags::PACKED } else { 0 },
            control: fixed.control,
            target: fixed.target,
            expires_at: fixed.expires_at,
            ordinal: fixed.ordinal,
            body: body.to_vec(),
            payload: unpacked.unwrap_or_else(|| payload.to_vec()),
        };
        match self.requests.get_mut(&frame.header().request_id) {
            Some(Request::History(reading)) => self.events.extend(reading.take(message)),
            _ => self.place(message),
        }
        Ok(())
    }

    /// Puts a message in its place and releases what is next.
    pub(crate) fn place(&mut self, message: Message) {
        let id = message.conversation;
        let own = message.sender == self.config.user;
        let peer = match (id.is_group(), own) {
            (true, _) => UserId::NONE,
            (false, true) => message.peer,
            (false, false) => message.sender,
        };
        let conversation = self.conversations.entry(id).or_insert_with(|| Conversation::new(id, peer));
        if !conversation.placed {
            // The first that is heard of it: nothing before it is known.
            place_at(conversation, self.config.history, message.seq.0.saturating_sub(1));
        }
        conversation.head = conversation.head.max(message.seq);
        if message.seq > conversation.last {
            conversation.ahead.insert(message.seq, message);
            if conversation.ahead.len() > AHEAD_MAX {
                // The farthest goes, never the next: it is fetched when its turn comes.
                conversation.ahead.pop_last();
            }
        }
        self.release(id);
        let has_gap = self.conversations.get(&id).is_some_and(Conversation::has_gap);
        self.sync.may_have_gaps |= has_gap;
        self.touch(id);
    }

    /// Tells of the messages that are next, as far as they are here.
    fn release(&mut self, id: ConversationId) {
        let user = self.config.user;
        while let Some(next) = self.conversations.get_mut(&id).and_then(|known| known.release_next(user)) {
            self.follow(&next);
            self.events.push_back(Event::Message(next));
        }
    }

    /// Asks for what is missing.
    pub(crate) fn pump_gaps(&mut self) {
        if !self.sync.may_have_gaps {
            return self.check_synced();
        }
        let under_way = self.requests.values().filter(|request| matches!(request, Request::Gap(_))).count();
        if under_way >= GAPS_MAX {
            return;
        }
        let mut gaps: Vec<_> = self.conversations.values().filter(|conversation| conversation.has_gap()).collect();
        gaps.sort_unstable_by_key(|conversation| conversation.id);
        self.sync.may_have_gaps = !gaps.is_empty();
        let now = self.now;
        let wanted: Vec<_> = gaps
            .into_iter()
            .filter(|conversation| !conversation.fetching && conversation.gap_retry.is_none_or(|at| at <= now))
            .map(|conversation| (conversation.id, conversation.last.next()))
            .take(GAPS_MAX - under_way)
            .collect();
        for (id, from) in wanted {
            let request = self.request_id();
            self.requests.insert(request, Request::Gap(id));
            if let Some(conversation) = self.conversations.get_mut(&id) {
                conversation.fetching = true;
            }
            let fetch = Fetch { conversation: id, from, upto: Seq(0), limit: 0, order: FetchOrder::Upward };
            frame::append(&mut self.out, request, &fetch);
        }
        self.check_synced();
    }

    /// When gaps that could not be filled are tried again.
    pub(crate) fn gap_retries(&self) -> impl Iterator<Item = Time> {
        self.conversations
            .values()
            .filter(|known| known.has_gap() && !known.fetching)
            .filter_map(|known| known.gap_retry)
    }

    pub(crate) fn on_fetched(&mut self, request: u64, fetched: &Fetched) {
        match self.requests.remove(&request) {
            Some(Request::Gap(id)) => {
                let Some(conversation) = self.conversations.get_mut(&id) else { return };
                conversation.fetching = false;
                let before = conversation.last;
                conversation.head = conversation.head.max(fetched.head);
                self.pass_what_is_gone(id, fetched);
                self.gap_was_fetched(id, before, fetched);
                self.sync.may_have_gaps = true;
            }
            Some(Request::History(reading)) => self.on_history_page(*reading, fetched),
            Some(Request::Tails) => {
                self.requests.insert(request, Request::Tails); // more may come
                self.on_tail(request, fetched);
            }
            Some(Request::Description(_) | Request::Devices | Request::Setting(..) | Request::Forget(_)) | None => {}
        }
    }

    /// A FETCH for a gap was answered. One that brought nothing is not asked again at once: what is known of may not be there for this user.
    fn gap_was_fetched(&mut self, id: ConversationId, before: Seq, fetched: &Fetched) {
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        let brought_something = fetched.last > Seq(0) || conversation.last > before;
        if brought_something || !conversation.has_gap() {
            (conversation.gap_retry, conversation.gap_failures) = (None, 0);
            return;
        }
        let wait_ms = GAP_RETRY_MS << conversation.gap_failures.min(GAP_DOUBLINGS);
        conversation.gap_failures += 1;
        conversation.gap_retry = Some(self.now.plus_ms(wait_ms));
    }

    /// A page answers for more than it brought: what is missing in it cannot be had, and what comes after it is released.
    pub(crate) fn pass_what_is_gone(&mut self, id: ConversationId, fetched: &Fetched) {
        let answered = fetched.answered();
        loop {
            self.release(id);
            let Some(conversation) = self.conversations.get_mut(&id) else { return };
            let from = conversation.last.next();
            let upto = match conversation.ahead.keys().next() {
                Some(next) => Seq(next.0 - 1).min(Seq(*answered.end())),
                // It was brought, and there was no room for it: it is fetched again.
                None if from <= fetched.last => return,
                None => Seq(*answered.end()),
            };
            if !answered.contains(&from.0) || upto < from {
                return;
            }
            conversation.pass(upto);
            // Only the first is named: what is missing after it may be another.
            let is_damaged = (Seq(1)..=upto).contains(&fetched.damaged);
            let why = if is_damaged { Loss::Damaged } else { Loss::Gone };
            self.events.push_back(Event::Lost { conversation: id, from, upto, why });
        }
    }

    pub(crate) fn on_request_error(&mut self, request: Request, code: ErrorCode, retry_ms: Option<u64>) {
        match request {
            Request::Gap(id) => {
                if let Some(conversation) = self.conversations.get_mut(&id) {
                    conversation.fetching = false;
                    let doubled_ms = GAP_RETRY_MS << conversation.gap_failures.min(GAP_DOUBLINGS);
                    // What may be damaged the server looks at again when it says.
                    let wait_ms = match (code, retry_ms) {
                        (ErrorCode::HistoryUnavailable, Some(wait_ms)) if wait_ms > 0 => wait_ms,
                        _ => doubled_ms,
                    };
                    conversation.gap_failures += 1;
                    conversation.gap_retry = Some(self.now.plus_ms(wait_ms));
                    if conversation.gap_failures == 1 {
                        self.events.push_back(Event::CatchUpDelayed { conversation: id, code });
                    }
                }
                self.sync.may_have_gaps = true;
            }
            Request::History(reading) => self.on_history_refused(reading, code, retry_ms),
            Request::Description(description) => self.on_describe_refused(*description, code, retry_ms),
            Request::Tails => {} // the list itself was refused
            Request::Devices => self.events.push_back(Event::DevicesFailed { code }),
            Request::Forget(wish) => self.on_forget_refused(wish, code, retry_ms.is_some()),
            Request::Setting(conversation, key) => {
                self.on_setting_refused((conversation, key), code, retry_ms.is_some());
            }
        }
    }

    /// The user has read everything up to a message, of which its number and its `ordinal` are given ([`crate::Message::ordinal`]; 0: not
    /// known, then what is unread stays so unless it is the last message).
    pub fn read(&mut self, conversation: ConversationId, upto: Seq, ordinal: u64) {
        if let Some(known) = self.conversations.get_mut(&conversation) {
            known.read(upto, ordinal);
            self.touch(conversation);
            self.pump();
        }
    }

    /// How many messages with content of a conversation the user has neither read nor written. What came before it was a member counts as
    /// read.
    pub fn unread(&self, conversation: ConversationId) -> u64 {
        self.conversations.get(&conversation).map_or(0, Conversation::unread)
    }

    pub(crate) fn on_receipt(&mut self, receipt: &Receipt) {
        let (id, peer) = (receipt.conversation, receipt.member);
        if id.is_group() {
            let Receipt { conversation, member, delivered, read } = *receipt;
            let marks = Watermarks { delivered, read, ordinal: 0 };
            self.events.push_back(Event::Receipt { conversation, member, marks });
            return;
        }
        let conversation = self.conversations.entry(id).or_insert_with(|| Conversation::new(id, peer));
        conversation.peers.raise(Watermarks { delivered: receipt.delivered, read: receipt.read, ordinal: 0 });
        self.tell_conversation(id);
    }

    pub(crate) fn on_receipt_ok(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let ok: ReceiptOk = frame.fixed()?;
        self.sync.told(ok.uv);
        let Some(known) = self.conversations.get_mut(&ok.conversation) else { return Ok(()) };
        let before = (known.own.read, known.seen);
        known.own.read = known.own.read.max(ok.read.min(known.head));
        known.seen = known.seen.max(ok.seen);
        known.delivered = known.delivered.max(ok.delivered);
        // A server of before this number was counted does not confirm it.
        let counted = if frame.fixed_bytes().len() < ReceiptOk::LEN { u64::MAX } else { ok.seen };
        let Watermarks { delivered, read, ordinal } = known.own;
        known.durable = Watermarks {
            delivered: delivered.min(ok.delivered),
            read: read.min(ok.read),
            ordinal: ordinal.min(counted),
        };
        known.told.raise(Watermarks { delivered: Seq(0), ..known.durable });
        if (known.own.read, known.seen) != before {
            self.tell_conversation(ok.conversation);
        }
        Ok(())
    }

    pub(crate) fn tell_conversation(&mut self, id: ConversationId) {
        if let Some(known) = self.conversations.get(&id) {
            let Conversation { peer, head, peers, .. } = *known;
            let (own, unread, hidden) = (known.everywhere(), known.unread(), known.is_hidden());
            let (name, preferences) = (known.name.clone(), known.preferences);
            let told =
                Event::Conversation { conversation: id, peer, name, head, peers, own, unread, hidden, preferences };
            self.events.push_back(told);
        }
    }
}

/// Decides where a device that knows nothing of a conversation with `head` messages begins.
pub(crate) fn place_at(conversation: &mut Conversation, history: History, head: u64) {
    conversation.placed = true;
    conversation.last = match history {
        History::Everything => Seq(0),
        History::Recent(count) => Seq(head.saturating_sub(count)),
    };
}
