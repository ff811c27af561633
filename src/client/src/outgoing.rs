//! Own messages on their way: in order, each until its answer, again after a refusal or a reconnect; and receipts.

use tidings_wire::{
    ClientMsgId, ConversationId, ErrorCode, Timestamp, UserId, frame,
    frame::FrameBuilder,
    frames::{
        self, Control, Delivered, ErrorFrame, MessageFlags, Read, Send, Sent, SettingKey, TraceId,
        about::control as about, group::control as group, streamed::control::END,
    },
    limits::WINDOW,
    packed,
};

use crate::{
    content::Content,
    conversation::{Conversation, Outgoing},
    event::{Event, Message, Watermarks},
    own::ReadReceipts,
    session::Session,
};

/// A refusal that lasts so long is told to the application.
const DELAY_TOLD_MS: u32 = 1000;

/// What a message says, packed, if it may be and gets shorter by it.
fn packed(content: &Content) -> Option<Vec<u8>> {
    let may_be =
        content.flags & MessageFlags::COMPRESSIBLE != 0 && [Control::TEXT, about::EDIT].contains(&content.control);
    if may_be { packed::pack(&content.payload) } else { None }
}

impl Session {
    /// Puts a message into the outbox: it is sent, and sent again after a reconnect, until [`Event::Sent`] or
    /// [`Event::SendFailed`].
    pub fn send(&mut self, peer: UserId, payload: &[u8]) -> ClientMsgId {
        self.post_to(peer, Content::text(payload))
    }

    /// The same to a conversation that is there already, for example a group.
    pub fn send_to(&mut self, conversation: ConversationId, payload: &[u8]) -> ClientMsgId {
        self.post(conversation, Content::text(payload))
    }

    /// Messages are numbered from here on: for who must be able to send the same once more without memory. The number must be larger than
    /// that of any message of this device before, or that of the very message that is sent again. False if it is 0: that names none.
    pub fn number_from(&mut self, id: ClientMsgId) -> bool {
        if id > ClientMsgId(0) {
            self.next_id = id.0;
        }
        id > ClientMsgId(0)
    }

    pub(crate) fn peer_of(&self, conversation: ConversationId) -> UserId {
        self.conversations.get(&conversation).map_or(UserId::NONE, |known| known.peer)
    }

    pub(crate) fn put_out(&mut self, of: (ConversationId, UserId), content: Content) -> ClientMsgId {
        self.put_out_before(of, content, 0).0
    }

    /// Puts a message into the outbox that so many bytes will follow; what that takes it has from then on. If it cannot be, why.
    pub(crate) fn put_out_before(
        &mut self,
        (conversation, peer): (ConversationId, UserId),
        content: Content,
        more: usize,
    ) -> (ClientMsgId, Result<(), ErrorCode>) {
        let id = ClientMsgId(self.next_id);
        self.next_id += 1;
        let message = Outgoing { id, content, in_flight: false };
        let cost = message.cost() + more;
        // Whatever ends a message had its place when that was opened.
        let fits = self.outbox_bytes + cost <= self.config.outbox_bytes || message.content.control == END;
        let refusal = match message.content.len() <= self.payload_max {
            true if fits => None,
            true => Some(ErrorCode::Busy),
            false => Some(ErrorCode::PayloadTooLarge),
        };
        if let Some(code) = refusal {
            self.events.push_back(Event::SendFailed { conversation, id, code });
            return (id, Err(code));
        }
        self.outbox_bytes += cost;
        let known = self.conversations.entry(conversation).or_insert_with(|| Conversation::new(conversation, peer));
        known.outbox.push_back(message);
        self.touch(conversation);
        self.pump();
        (id, Ok(()))
    }

    /// Sends what is in a conversation's outbox and not in flight, as far as the window allows. `prev` chains attempts, so
    /// that one that is refused takes those behind it along: after that, nothing is sent before all answers are in.
    pub(crate) fn pump_outbox(&mut self, id: ConversationId) {
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        if let Some(at) = conversation.recovering {
            if conversation.in_flight() > 0 || at > self.now {
                return;
            }
            conversation.recovering = None;
            conversation.prev = conversation.acked;
        }
        // What is not allowed yet goes out with the next answers.
        // Whatever its session may have in flight, a conversation remembers so many until they are repeated.
        let allowed = conversation.allowed.min(WINDOW as usize).saturating_sub(conversation.in_flight());
        for message in conversation.outbox.iter_mut().filter(|message| !message.in_flight).take(allowed) {
            if self.in_flight >= self.window {
                // Its turn comes when answers free the window.
                return self.touch(id);
            }
            let request = self.next_request;
            self.next_request += 1;
            let mut send = FrameBuilder::<Send>::new(&mut self.out);
            let content = &message.content;
            let packed = packed(content).filter(|_| self.server_unpacks);
            let (said, more) = packed.as_ref().map_or((&content.payload, 0), |packed| (packed, MessageFlags::PACKED));
            let (body, payload) = (send.var(&content.body), send.var(said));
            send.finish(
                request,
                &Send {
                    conversation: id,
                    peer: conversation.peer,
                    client_msg_id: message.id,
                    prev: conversation.prev,
                    expires_at: content.expires_at,
                    trace: TraceId::default(),
                    flags: MessageFlags(content.flags | more),
                    payload_crc: frames::Message::crc_of_content(&content.body, said),
                    payload,
                    control: content.control,
                    target: content.target,
                    body,
                },
            );
            message.in_flight = true;
            conversation.prev = message.id;
            self.in_flight += 1;
        }
    }

    pub(crate) fn on_sent(&mut self, sent: &Sent) {
        let Some(conversation) = self.conversations.get_mut(&sent.conversation) else {
            // One that this device does not remember: the list of what changed says with whom it is.
            if self.config.receive {
                self.list_again();
            }
            return;
        };
        let Some(at) = conversation.outbox.iter().position(|message| message.id == sent.client_msg_id) else {
            // The session that sent a message is told SENT instead of MESSAGE: what it does not remember must be fetched.
            if self.config.receive {
                conversation.head = conversation.head.max(sent.seq);
                self.sync.may_have_gaps |= conversation.has_gap();
            }
            return;
        };
        let message = conversation.outbox.remove(at).expect("found above");
        if message.in_flight {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        self.outbox_bytes = self.outbox_bytes.saturating_sub(message.cost());
        conversation.allowed = conversation.allowed.saturating_add(1);
        conversation.acked = conversation.acked.max(message.id);
        self.backoff.reset();
        let peer = conversation.peer;
        let Content { control, target, flags, expires_at, body, payload } = message.content;
        let (id, conversation, seq, ts) = (sent.client_msg_id, sent.conversation, sent.seq, sent.ts);
        self.events.push_back(Event::Sent { conversation, id, seq, ts });
        self.stream_sent(id, seq);
        self.touch(conversation);
        // Somebody else may have withdrawn it before, which then was this: the message says who.
        let may_be_others = ts == Timestamp(0) && control == about::ERASE;
        if self.config.receive && may_be_others {
            if let Some(known) = self.conversations.get_mut(&conversation) {
                known.head = known.head.max(seq);
                self.sync.may_have_gaps |= known.has_gap();
            }
        } else if self.config.receive {
            self.place(Message {
                conversation,
                seq,
                ts,
                sender: self.config.user,
                sender_name: self.config.name.clone(),
                sender_device: self.config.device,
                peer,
                client_msg_id: id,
                flags: MessageFlags(flags).as_served(control).0,
                control,
                target,
                expires_at,
                ordinal: sent.ordinal,
                // A link's secret is in no message.
                body: if control == group::JOIN { Vec::new() } else { body },
                payload,
            });
        }
    }

    pub(crate) fn on_send_error(&mut self, error: &ErrorFrame, code: ErrorCode, again: bool) {
        let Some(conversation) = self.conversations.get_mut(&error.conversation) else { return };
        let Some(at) = conversation.outbox.iter().position(|message| message.id == error.client_msg_id) else { return };
        if std::mem::take(&mut conversation.outbox[at].in_flight) {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        if matches!(code, ErrorCode::OutOfOrder | ErrorCode::Stale) {
            conversation.acked = error.highest;
            // A clock that went back must not make every later attempt stale. Not just the next number: in another
            // conversation this device, before it lost its memory, may have begun at the same one, and a message that is
            // named as another was counts as that one's repeat.
            if self.next_id <= error.highest.0 {
                let skipped = 1 + self.backoff.random() % crate::session::NAMES_SKIPPED;
                self.next_id = error.highest.0.saturating_add(skipped);
            }
        }
        let until = self.now.plus_ms(u64::from(error.retry_after_ms));
        conversation.recovering = Some(conversation.recovering.map_or(until, |before| before.max(until)));
        if again {
            // A server that cannot take them all is not asked for all of them again at once. What is refused with it, since
            // it came behind it, says nothing more.
            if code != ErrorCode::OutOfOrder {
                conversation.allowed = 1;
            }
        } else {
            let message = conversation.outbox.remove(at).expect("found above");
            self.outbox_bytes = self.outbox_bytes.saturating_sub(message.cost());
        }
        self.touch(error.conversation);
        let (conversation, id, retry_ms) = (error.conversation, error.client_msg_id, error.retry_after_ms);
        if !again {
            self.events.push_back(Event::SendFailed { conversation, id, code });
            self.stream_refused(id, code);
        } else if retry_ms >= DELAY_TOLD_MS {
            self.events.push_back(Event::SendDelayed { conversation, id, code, retry_ms });
        }
    }

    /// Tells what this device has and the user read, if the server does not know.
    pub(crate) fn pump_receipts(&mut self, id: ConversationId) {
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        let Watermarks { delivered, read, ordinal } = conversation.own;
        let told = conversation.told;
        let rests = conversation.read_rests_until.is_some_and(|until| until > self.now);
        // What is to be read in private is not told before that counts.
        let private = (tidings_wire::ConversationId::NONE, SettingKey::READ_PRIVATE);
        let waits = self.wanted.get(&private) == Some(&1) && self.read_receipts == ReadReceipts::Shown;
        if waits {
            conversation.told.delivered = delivered;
        } else {
            conversation.told = conversation.own;
        }
        if delivered > told.delivered {
            let request = self.request_id();
            frame::append(&mut self.out, request, &Delivered { conversation: id, upto: delivered });
        }
        if !waits && !rests && (read > told.read || ordinal > told.ordinal) {
            let request = self.request_id();
            frame::append(&mut self.out, request, &Read { conversation: id, upto: read, ordinal });
        }
    }

    /// A READ was refused: tick() repeats it, and not before the server takes one.
    pub(crate) fn on_read_refused(&mut self, id: ConversationId, retry_ms: u32) {
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        conversation.read_rests_until = Some(self.now.plus_ms(u64::from(retry_ms)));
        if retry_ms >= DELAY_TOLD_MS {
            self.events.push_back(Event::ReadDelayed { conversation: id, retry_ms });
        }
    }

    /// The last attempt that was given a number here, for tests and tools.
    pub fn last_id(&self) -> ClientMsgId {
        ClientMsgId(self.next_id.saturating_sub(1))
    }
}
