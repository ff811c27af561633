//! What comes up to a conversation: attempts to send, receipts, fetches. Only log records and *down* come of it.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ClientMsgId, ConversationId, ErrorCode, HEADER_LEN, Kind, Seq, Timestamp,
    archive::{self, Archived},
    frame::FrameBuilder,
    frames::{Message, ReceiptKind},
};

use super::{Node, Waiting};
use crate::{
    counters::Counter,
    dedup::{DeviceAttempts, Judgement, Origin},
    effects::{Effects, ReactorId},
    lanes::{Asker, ReceiptCommand, Refusal, SendCommand, ToConversation, ToHome},
    limits::{BUSY_RETRY_MS, RECEIPT_DELAY_MS},
    records::{ReceiptRecord, RecordKind, put},
    sequencer::ConversationKey,
    time::Now,
};

impl Node {
    /// A message from the home of another reactor. The caller made sure that the log has room for a frame and that the
    /// lane back has credit for one answer.
    pub fn to_conversation(
        &mut self,
        from: ReactorId,
        message: ToConversation,
        payload: &[u8],
        now: Now,
        fx: &mut impl Effects,
    ) {
        let name_len = if let ToConversation::Send(send) = &message { send.name_len as usize } else { 0 };
        let (name, payload) = payload.split_at(name_len);
        self.handle_to_conversation(from, message, name, payload, now, fx);
    }

    pub(super) fn handle_to_conversation(
        &mut self,
        from: ReactorId,
        message: ToConversation,
        name: &[u8],
        payload: &[u8],
        now: Now,
        fx: &mut impl Effects,
    ) {
        match message {
            ToConversation::Send(send) => self.on_send(from, &send, name, payload, now, fx),
            ToConversation::Receipt(receipt) => self.on_receipt(from, &receipt, now, fx),
            ToConversation::Fetch { asker, user, fetch } => self.on_fetch(from, asker, user, &fetch, now, fx),
        }
    }

    fn on_send(
        &mut self,
        from: ReactorId,
        send: &SendCommand,
        name: &[u8],
        payload: &[u8],
        now: Now,
        fx: &mut impl Effects,
    ) {
        match self.judge(from, send, now) {
            Err((code, highest)) => self.refuse(from, send.asker, send, code, highest, now, fx),
            Ok((key, Judgement::Repeat(seq))) => self.on_repeat(from, send, key, seq, now, fx),
            Ok((key, _)) => {
                if fx.room() < HEADER_LEN + Message::LEN + name.len() + payload.len() {
                    return self.refuse(from, send.asker, send, ErrorCode::Busy, ClientMsgId(0), now, fx);
                }
                self.propose(from, send, key, name, payload, now, fx);
            }
        }
    }

    /// Finds the conversation and judges the attempt: new or a repeat, or why it is refused.
    fn judge(
        &mut self,
        from: ReactorId,
        send: &SendCommand,
        now: Now,
    ) -> Result<(ConversationKey, Judgement), (ErrorCode, ClientMsgId)> {
        let refuse = |code| Err((code, ClientMsgId(0)));
        let origin = Origin { reactor: from.0, session: send.asker.session.0.to_u64() };
        let blank = DeviceAttempts::new(0, send.device);
        let found = self.sequencer.find(send.conversation);
        // Judged before anything is made: what is refused leaves nothing behind.
        let memory = match found {
            Some(key) => {
                let conversation = self.sequencer.get(key);
                let Some(member) = conversation.member(send.sender) else { return refuse(ErrorCode::NotMember) };
                conversation.find_device(member, send.device).unwrap_or(&blank)
            }
            None if send.peer.is_none() => return refuse(ErrorCode::NotMember),
            None if self.sequencer.len() >= self.config.entities_max as usize => return refuse(ErrorCode::Busy),
            None => &blank,
        };
        let judgement = memory.judge(send.client_msg_id, send.prev, origin);
        match judgement {
            Judgement::OutOfOrder => return Err((ErrorCode::OutOfOrder, memory.highest())),
            Judgement::Stale => return Err((ErrorCode::Stale, memory.highest())),
            Judgement::New | Judgement::Repeat(_) => {}
        }
        let key = found.unwrap_or_else(|| {
            let shard = self.config.layout.conversation_shard(&send.conversation);
            self.sequencer.entry(send.conversation, shard, send.sender, send.peer)
        });
        let conversation = self.sequencer.get_mut(key);
        let member = conversation.member(send.sender).expect("judged");
        match conversation.device(member, send.device, now.mono) {
            Ok(memory) => memory.seen_from(origin, now.mono),
            Err(_too_many) => return refuse(ErrorCode::TooManyDevices),
        }
        Ok((key, judgement))
    }

    /// Numbers a message and appends its record: the MESSAGE frame that every device will get.
    #[allow(clippy::too_many_arguments, reason = "the parts of one message")]
    fn propose(
        &mut self,
        from: ReactorId,
        send: &SendCommand,
        key: ConversationKey,
        name: &[u8],
        payload: &[u8],
        now: Now,
        fx: &mut impl Effects,
    ) {
        let conversation = self.sequencer.get_mut(key);
        let member = conversation.member(send.sender).expect("judged");
        let ts = if canary::is(Canary::TimeGoesBack) { now.wall } else { conversation.last_ts.max(now.wall) };
        let seq = conversation.propose(ts);
        conversation.device(member, send.device, now.mono).expect("judged").accept(send.client_msg_id, seq);
        let peer = conversation.peer_of(member).user;
        let meta = {
            let shard = conversation.shard;
            self.record(RecordKind::Message, shard)
        };
        let mut len = 0;
        let place = fx.append(meta, |body| {
            let start = body.len();
            let mut frame = FrameBuilder::<Message>::new(body);
            let sender_name = frame.var(name);
            let payload = frame.var(payload);
            frame.finish(
                0,
                &Message {
                    conversation: send.conversation,
                    seq,
                    ts,
                    sender: send.sender,
                    peer,
                    sender_device: send.device,
                    flags: send.flags,
                    client_msg_id: send.client_msg_id,
                    expires_at: send.expires_at,
                    trace: send.trace,
                    payload_crc: send.payload_crc,
                    sender_name,
                    payload,
                },
            );
            len = body.len() - start;
        });
        fx.want_write();
        if canary::is(Canary::AckBeforeDurable) {
            let (asker, conversation, client_msg_id) = (send.asker, send.conversation, send.client_msg_id);
            self.send_home(from, ToHome::Sent { asker, conversation, client_msg_id, seq, ts }, &[], now, fx);
        }
        self.counters.count(Counter::Proposed);
        let (client_msg_id, reactor, asker) = (send.client_msg_id, from, send.asker);
        let waiting = Waiting::Message { conversation: key, seq, ts, client_msg_id, len, reactor, asker };
        self.waiting.push_back((place, waiting));
    }

    /// A repeat: answered with the first answer, at once if that is committed, else when it is.
    fn on_repeat(
        &mut self,
        from: ReactorId,
        send: &SendCommand,
        key: ConversationKey,
        first: Seq,
        now: Now,
        fx: &mut impl Effects,
    ) {
        self.counters.count(Counter::Repeats);
        if first <= self.sequencer.get(key).committed {
            let (asker, conversation, client_msg_id) = (send.asker, send.conversation, send.client_msg_id);
            let head = self.sequencer.get(key).committed;
            let seq = if canary::is(Canary::RepeatAnsweredWithHead) { head } else { first };
            let sent = ToHome::Sent { asker, conversation, client_msg_id, seq, ts: Timestamp(0) };
            return self.send_home(from, sent, &[], now, fx);
        }
        let same = |waiting: &&mut Waiting| matches!(waiting, Waiting::Message { conversation, seq, .. } if (*conversation, *seq) == (key, first));
        let waiting = self.waiting.iter_mut().map(|(_, waiting)| waiting).rfind(same);
        let Some(Waiting::Message { reactor, asker, .. }) = waiting else {
            panic!("a message that is proposed and not committed waits");
        };
        let before = (core::mem::replace(reactor, from), core::mem::replace(asker, send.asker));
        if before.1.session == send.asker.session && before.0 == from {
            // The same session asked twice and both count as in flight: the earlier question ends here.
            let (code, highest) = (ErrorCode::Busy, ClientMsgId(0));
            self.refuse(from, before.1, send, code, highest, now, fx);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "an answer and where it goes")]
    fn refuse(
        &mut self,
        to: ReactorId,
        asker: Asker,
        send: &SendCommand,
        code: ErrorCode,
        highest: ClientMsgId,
        now: Now,
        fx: &mut impl Effects,
    ) {
        let refusal = Refusal {
            code,
            conversation: send.conversation,
            client_msg_id: send.client_msg_id,
            highest,
            retry_after_ms: if code == ErrorCode::Busy { BUSY_RETRY_MS } else { 0 },
            of_kind: Kind::Send as u8,
        };
        self.send_home(to, ToHome::Refused { asker, refusal }, &[], now, fx);
    }

    /// Refuses something other than a SEND.
    #[allow(clippy::too_many_arguments, reason = "an answer and where it goes")]
    pub(super) fn refuse_other(
        &mut self,
        to: ReactorId,
        asker: Asker,
        conversation: ConversationId,
        code: ErrorCode,
        of_kind: Kind,
        now: Now,
        fx: &mut impl Effects,
    ) {
        let (client_msg_id, highest) = (ClientMsgId(0), ClientMsgId(0));
        let retry_after_ms = if code == ErrorCode::Busy { BUSY_RETRY_MS } else { 0 };
        let refusal = Refusal { code, conversation, client_msg_id, highest, retry_after_ms, of_kind: of_kind as u8 };
        self.send_home(to, ToHome::Refused { asker, refusal }, &[], now, fx);
    }

    fn on_receipt(&mut self, from: ReactorId, receipt: &ReceiptCommand, now: Now, fx: &mut impl Effects) {
        let ReceiptCommand { asker, user, conversation: id, kind, upto } = *receipt;
        let of_kind = if kind == ReceiptKind::Read { Kind::Read } else { Kind::Delivered };
        let found = self.sequencer.find(id).and_then(|key| Some((key, self.sequencer.get(key).member(user)?)));
        let Some((key, member)) = found else {
            return self.refuse_other(from, asker, id, ErrorCode::NotMember, of_kind, now, fx);
        };
        let conversation = self.sequencer.get_mut(key);
        if upto > conversation.committed {
            return self.refuse_other(from, asker, id, ErrorCode::FutureSeq, of_kind, now, fx);
        }
        let upto = if canary::is(Canary::ReceiptOfEverything) { conversation.committed } else { upto };
        let shard = conversation.shard;
        let state = &mut conversation.members[member];
        if !state.proposed.raise(kind, upto) {
            let watermarks = state.committed;
            if watermarks.reach(state.proposed) {
                self.send_home(from, ToHome::ReceiptOk { user, conversation: id, watermarks }, &[], now, fx);
            }
            return;
        }
        let (delivered, read) = (state.proposed.delivered, state.proposed.read);
        let record = ReceiptRecord { conversation: id, member: user, delivered, read };
        // A receipt whose record is still in the open batch takes the new value along.
        let open = state.receipt.and_then(|place| fx.revise(place, ReceiptRecord::LEN));
        if let Some(body) = open {
            return archive::write(&record, body);
        }
        if fx.room() < ReceiptRecord::LEN {
            state.proposed = state.committed;
            return self.refuse_other(from, asker, id, ErrorCode::Busy, of_kind, now, fx);
        }
        let meta = self.record(RecordKind::Receipt, shard);
        let place = fx.append(meta, |body| put(body, &record));
        self.sequencer.get_mut(key).members[member].receipt = Some(place);
        self.waiting.push_back((place, Waiting::Receipt { conversation: key, member }));
        if canary::is(Canary::ReceiptOkBeforeDurable) {
            let watermarks = record.watermarks();
            self.send_home(from, ToHome::ReceiptOk { user, conversation: id, watermarks }, &[], now, fx);
        }
        self.receipts_due.get_or_insert(now.mono.plus_ms(RECEIPT_DELAY_MS));
    }
}
