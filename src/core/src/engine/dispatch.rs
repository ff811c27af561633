//! What comes to a conversation from homes: attempts to send, receipts, fetches. Records and messages to homes come of it.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ClientMsgId, ConversationId, ErrorCode, HEADER_LEN, Kind, Seq, Timestamp, UserId,
    archive::{self, Archived},
    frame::FrameBuilder,
    frames::{Control, GroupAct, Message, MessageFlags, ReceiptKind, Role, group::control, streamed::control::END},
};

use super::{ConversationKey, Conversations, SentFrom, commit::Waiting};
use crate::{
    budget::{CONVERSATION_COST, MEMBER_COST, NAMED_COST},
    context::ConversationContext,
    conversation::{
        changes::{Change, Changes},
        dedup::Origin,
        membership::Membership,
        state::{MessageFact, Size, State, changes_of},
        view::{Attempt, Verdict, View},
    },
    counters::Counter,
    effects::ReactorId,
    features::{self, Actors, Nature, Situation, receipt, timer},
    lanes::{Asker, Parts, ReceiptCommand, Refusal, SendCommand, ToConversation, ToHome, Watermarks},
    limits::{RECEIPT_DELAY_MS, STORAGE_RETRY_MS, retry_ms},
    narrow::{to_u32, to_usize},
    records::{ReceiptRecord, RecordKind, append},
};

impl Conversations {
    /// A message from a home, of this reactor or another.
    pub(crate) fn take(
        &mut self,
        from: ReactorId,
        message: &ToConversation,
        parts: Parts<'_>,
        cx: &mut impl ConversationContext,
    ) {
        match message {
            ToConversation::Send(send) => self.on_send(from, send, parts, cx),
            ToConversation::Receipt(receipt) => self.on_receipt(from, receipt, cx),
            ToConversation::Block(block) => self.on_block(from, block, parts.payload, cx),
            ToConversation::Fetch { asker, user, fetch } => self.on_fetch(from, *asker, *user, fetch, cx),
            ToConversation::Describe { asker, user, describe, privacy } => {
                self.on_describe((from, *asker), (*user, *privacy), describe, cx);
            }
            ToConversation::Heads { asker, user } => self.on_heads((from, *asker, *user), parts.payload, cx),
            ToConversation::Listen => self.on_listen(from, parts.payload, cx),
            ToConversation::Leave { conversation } => self.on_leave(from, *conversation),
            ToConversation::Reached(reached) => self.on_reached(from, *reached),
        }
    }

    /// A message from a home cannot be taken now.
    pub(crate) fn refuse(&mut self, from: ReactorId, message: &ToConversation, cx: &mut impl ConversationContext) {
        let (busy, none) = (ErrorCode::Busy, ClientMsgId(0));
        let refused = match message {
            ToConversation::Send(send) => {
                refuse_attempt(send.asker, (send.conversation, send.client_msg_id), busy, none)
            }
            ToConversation::Receipt(receipt) => {
                let of_kind = if receipt.kind == ReceiptKind::Read { Kind::Read } else { Kind::Delivered };
                refusal_of(receipt.asker, receipt.conversation, busy, of_kind)
            }
            ToConversation::Block(block) => refusal_of(block.asker, block.conversation, busy, Kind::Set),
            ToConversation::Fetch { asker, fetch, .. } => refusal_of(*asker, fetch.conversation, busy, Kind::Fetch),
            ToConversation::Describe { asker, describe, .. } => {
                refusal_of(*asker, describe.conversation, busy, Kind::Describe)
            }
            // These wait for nothing.
            ToConversation::Heads { .. }
            | ToConversation::Listen
            | ToConversation::Leave { .. }
            | ToConversation::Reached(_) => return,
        };
        self.answer(from, refused, cx);
    }

    fn on_send(&mut self, from: ReactorId, send: &SendCommand, parts: Parts<'_>, cx: &mut impl ConversationContext) {
        let found = self.find_near(send.places.conversation, send.conversation);
        let verdict = self.judge(from, send, found, &parts, cx.now().wall);
        match verdict {
            Verdict::Refused(code, highest) => refuse(from, send.asker, send, code, highest, cx),
            // Whoever did it first waits for that answer.
            Verdict::Done(seq) if found.is_some_and(|key| seq > self.get(key).state.head) => {
                refuse(from, send.asker, send, ErrorCode::Busy, ClientMsgId(0), cx);
            }
            Verdict::Repeat(seq) | Verdict::Done(seq) => {
                let key = found.expect("a repeat is of a message");
                let member = to_u32(self.view(key).member(send.sender).expect("judged"));
                let highest = self.view(key).highest(member, send.device).unwrap_or(ClientMsgId(0));
                let sent = self.get_mut(key).seen_from(member, send.device, origin(from, send));
                if matches!(verdict, Verdict::Done(_)) && send.client_msg_id > highest {
                    (sent.done, sent.done_after) = (send.client_msg_id, highest);
                }
                self.on_repeat(from, send, key, seq, cx);
            }
            Verdict::New if send.control == END => self.on_end(from, send, found, parts, cx),
            Verdict::New => self.on_new::<Often>(from, send, found, parts, cx),
        }
    }

    /// An attempt that is allowed: it gets a number, if there is room for it and it is paid for.
    pub(super) fn on_new<How>(
        &mut self,
        from: ReactorId,
        send: &SendCommand,
        found: Option<ConversationKey>,
        parts: Parts<'_>,
        cx: &mut impl ConversationContext,
    ) {
        // Room that is left is for what is written down besides messages.
        if cx.is_stuck() {
            let (attempt, none) = ((send.conversation, send.client_msg_id), ClientMsgId(0));
            let why = (ErrorCode::StorageFull, none);
            return cx.to_home(from, refuse_for(send.asker, attempt, why, STORAGE_RETRY_MS), &[]);
        }
        if cx.room() < HEADER_LEN + Message::LEN + parts.name.len() + parts.body.len() + parts.payload.len() {
            return refuse(from, send.asker, send, ErrorCode::Busy, ClientMsgId(0), cx);
        }
        let limited = found.filter(|key| self.is_rate_limited(*key, send));
        let (rate, now) = (self.config.group_rate, cx.now().mono);
        let large = limited.and_then(|key| self.large_mut(key));
        if let Some(Err(wait_ms)) = large.map(|large| large.rate.check(rate, now)) {
            let attempt = (send.conversation, send.client_msg_id);
            let why = (ErrorCode::RateLimited, ClientMsgId(0));
            return cx.to_home(from, refuse_for(send.asker, attempt, why, wait_ms), &[]);
        }
        let begins = if found.is_none() { CONVERSATION_COST } else { 0 };
        let named = if send.control.is_of_group() { self.cost_of_names(send.control, parts.body) } else { 0 };
        let told = found.map_or(0, |key| self.get(key).told_beyond_two()) * MEMBER_COST;
        let len = (parts.body.len() + parts.payload.len()) as u64 + begins + told + named;
        let who = (send.sender, parts.name);
        if let Err(wait_ms) = self.budgets.pay(who, send.network, len, cx.now().mono) {
            let attempt = (send.conversation, send.client_msg_id);
            let why = (ErrorCode::BudgetExceeded, ClientMsgId(0));
            return cx.to_home(from, refuse_for(send.asker, attempt, why, wait_ms), &[]);
        }
        // What is refused for another reason takes nothing from the others.
        if let Some(large) = limited.and_then(|key| self.large_mut(key)) {
            large.rate.take(rate, now).expect("it was looked at");
        }
        let key = found.unwrap_or_else(|| {
            let shard = self.config.layout.conversation_shard(&send.conversation);
            self.entry(send.conversation, shard, || first_state(send))
        });
        self.propose::<How>(from, send, key, parts, cx);
    }

    /// What those cost who are taken into a group, each of whom may be somebody who never was here and whose home stays for good; or out of it.
    #[cold]
    #[inline(never)]
    fn cost_of_names(&self, control: Control, body: &[u8]) -> u64 {
        let cost = match GroupAct::read(control, body) {
            Ok(Some(GroupAct::Create { members, .. } | GroupAct::Add(members))) => members.len() as u64 * NAMED_COST,
            Ok(Some(GroupAct::Remove(members))) => members.len() as u64 * MEMBER_COST,
            _ => 0,
        };
        // Whatever the budget is, a message can be paid for.
        cost.min(self.budgets.quarter())
    }

    /// True of what members write in a large group, all together. Its admins can always act.
    fn is_rate_limited(&self, key: ConversationKey, send: &SendCommand) -> bool {
        let role = || self.view(key).membership(send.sender).map_or(Role::None, |membership| membership.role);
        self.is_large(key) && (send.control.has_content() || role() < Role::Admin)
    }

    /// Judges an attempt: new or a repeat, or why it is refused. What is refused leaves nothing behind.
    fn judge(
        &self,
        from: ReactorId,
        send: &SendCommand,
        found: Option<ConversationKey>,
        parts: &Parts<'_>,
        now: Timestamp,
    ) -> Verdict {
        let target = found.filter(|_| send.target > Seq(0)).and_then(|key| self.target(key, send.target));
        let situation = Situation { now, payload_len: parts.payload.len(), target, windows: self.config.windows };
        let said = (parts.body, &situation);
        let refuse = |code| Verdict::Refused(code, ClientMsgId(0));
        let attempt = |member: usize, sent: Option<&SentFrom>| Attempt {
            member: to_u32(member),
            device: send.device,
            id: send.client_msg_id,
            prev: send.prev,
            is_first: sent.is_none(),
            done: sent.map_or_else(Default::default, |sent| (sent.done, sent.done_after)),
        };
        let Some(key) = found else {
            let may_begin = if send.conversation.is_group() { begins_group(send) } else { !send.peer.is_none() };
            if !may_begin {
                return refuse(ErrorCode::NotMember);
            }
            if self.is_full() {
                return refuse(ErrorCode::NoRoom);
            }
            let nothing = first_state(send);
            let view = View { state: &nothing, overlay: None };
            return self.allowed(&view, send, said, view.judge(&attempt(0, None)));
        };
        let view = self.view(key);
        // Who does not name the other member must know that there is a conversation.
        let may_be_unknown = view.state.head == Seq(0) && send.peer.is_none();
        if may_be_unknown && !self.may_be_known(key, send.sender) {
            return refuse(ErrorCode::NotMember);
        }
        let is_open =
            || features::find(self.config.features, send.control).is_some_and(|row| row.actors == Actors::Anybody);
        let member = match view.member(send.sender) {
            Some(member) => member,
            // The place that it will have.
            None if send.conversation.is_group() && is_open() => {
                // Whoever is not let in learns nothing else.
                match self.allowed(&view, send, said, Verdict::New) {
                    Verdict::Refused(ErrorCode::BodyInvalid, none) => {
                        return Verdict::Refused(ErrorCode::NotMember, none);
                    }
                    refused @ Verdict::Refused(..) => return refused,
                    _ => view.members(),
                }
            }
            None => return refuse(ErrorCode::NotMember),
        };
        let sent = self.get(key).sent_from(to_u32(member), send.device, origin(from, send));
        self.allowed(&view, send, said, view.judge(&attempt(member, sent)))
    }

    /// Numbers a message and appends its record: the MESSAGE frame that every device will get.
    #[allow(clippy::extra_unused_type_parameters, reason = "see `Often`")]
    pub(super) fn propose<How>(
        &mut self,
        from: ReactorId,
        send: &SendCommand,
        key: ConversationKey,
        parts: Parts<'_>,
        cx: &mut impl ConversationContext,
    ) {
        let shard = self.get(key).shard;
        let ts = if canary::is(Canary::TimeGoesBack) { cx.now().wall } else { cx.ts(shard) };
        let view = self.view(key);
        let seq = view.head().next();
        let row = features::find(self.config.features, send.control).expect("judged");
        let weight = row.weight;
        let member = view.member(send.sender).unwrap_or(view.members());
        let is_group = send.conversation.is_group();
        let peer = if is_group { UserId::NONE } else { view.state.members.other(member).user };
        // What is withheld from the other one is not something that it has not read.
        let is_withheld = !is_group && view.is_blocked(send.sender, peer);
        let ordinal = view.ordinal() + if is_withheld { 0 } else { weight.counts() };
        let (device, client_msg_id) = (send.device, send.client_msg_id);
        let (sender, control, target) = (send.sender, send.control, send.target);
        let (mut parts, mut payload_crc) = (parts, send.payload_crc);
        if control != Control::TEXT {
            let told = row.feature.told(parts.body);
            if told.len() != parts.body.len() {
                payload_crc = Message::crc_of_content(told, parts.payload);
                parts.body = told;
            }
        }
        let expires_at = match Nature::of(control, weight) {
            Nature::Content => timer::until(&view, ts, send.expires_at),
            // It goes with what it is about.
            _ if control.is_about_target() => {
                let until = self.target(key, target).map_or(Timestamp(0), |target| target.expires_at);
                timer::earlier(until, send.expires_at)
            }
            Nature::About | Nature::Act => send.expires_at,
        };
        let member = to_u32(member);
        let size = view.size();
        let mut fact = MessageFact {
            seq,
            ts,
            sender,
            member,
            device,
            client_msg_id,
            control,
            target,
            weight,
            ordinal,
            size,
            expires_at,
        };
        let changes = changes_of(self.config.features, send.conversation, &view, &fact, parts.body);
        if is_group {
            fact.size = size.max(self.size_with(&view, &changes));
        }
        let conversation = &mut self.all[key.0];
        conversation.seen_from(member, device, origin(from, send));
        conversation.note_entry(member as usize, send.places.entry);
        self.overlays.get_mut(&mut conversation.overlay).push(fact, changes, &conversation.state.members);
        let own = if control == END { self.streams.flags_of_end((key.0, target), client_msg_id) } else { 0 };
        let large = if fact.size == Size::Large { MessageFlags::LARGE } else { 0 };
        let withheld = if is_withheld { MessageFlags::WITHHELD } else { 0 };
        let flags = MessageFlags(send.flags.as_served(control).0 | own | large | withheld);
        if canary::is(Canary::JudgeChangesState) {
            conversation.state.remember(&fact);
        }
        let mut len = 0;
        let at = cx.append(RecordKind::Message, shard, |body| {
            let start = body.len();
            let mut frame = FrameBuilder::<Message>::new(body);
            let sender_name = frame.var(parts.name);
            let clear = frame.var(parts.body);
            let payload = frame.var(parts.payload);
            frame.finish(
                0,
                &Message {
                    conversation: send.conversation,
                    seq,
                    ts,
                    sender,
                    peer,
                    sender_device: if canary::is(Canary::FirstDeviceTold) { tidings_wire::DeviceId(1) } else { device },
                    flags,
                    client_msg_id,
                    expires_at,
                    trace: send.trace,
                    payload_crc,
                    sender_name,
                    payload,
                    control,
                    target,
                    ordinal,
                    body: clear,
                    clear_crc: Message::crc_of_clear(parts.name, parts.body),
                },
            );
            len = body.len() - start;
        });
        if at.lsn > self.paid_batch {
            self.paid_batch = at.lsn;
            self.budgets.pay_batch(send.sender, send.network, cx.now().mono);
        }
        cx.want_write();
        if canary::is(Canary::AckBeforeDurable) {
            let (asker, conversation) = (send.asker, send.conversation);
            cx.to_home(from, ToHome::Sent { asker, conversation, client_msg_id, seq, ts, ordinal }, &[]);
        }
        cx.count(Counter::Proposed);
        if is_withheld {
            cx.count(Counter::Withheld);
        }
        let waiting = Waiting::Message { key, len, reactor: from, asker: send.asker };
        self.waiting[shard as usize].push_back((at, waiting));
    }

    /// What a group is with changes that are proposed. The setting counts now; the record says it for good.
    fn size_with(&self, view: &View<'_>, changes: &Changes) -> Size {
        let comes = |change: &&Change| match change {
            Change::Member(user, membership) => {
                membership.is_current() && !view.membership(*user).is_some_and(Membership::is_current)
            }
            Change::Keep(..) | Change::Erase(_) => false,
        };
        let members = view.current() + changes.iter().filter(comes).count();
        if members > self.config.group_small_max as usize { Size::Large } else { Size::Small }
    }

    /// A repeat: answered with the first answer, at once if that is committed, else when it is.
    fn on_repeat(
        &mut self,
        from: ReactorId,
        send: &SendCommand,
        key: ConversationKey,
        first: Seq,
        cx: &mut impl ConversationContext,
    ) {
        cx.count(Counter::Repeats);
        let head = self.get(key).state.head;
        if first <= head {
            let (asker, conversation, client_msg_id) = (send.asker, send.conversation, send.client_msg_id);
            let seq = if canary::is(Canary::RepeatAnsweredWithHead) { head } else { first };
            let sent = ToHome::Sent { asker, conversation, client_msg_id, seq, ts: Timestamp(0), ordinal: 0 };
            return cx.to_home(from, sent, &[]);
        }
        // Proposed messages wait in the order of their numbers.
        let from_last = to_usize(self.view(key).head().0 - first.0);
        let shard = self.get(key).shard as usize;
        let mut of_conversation = self.waiting[shard].iter_mut().rev().filter_map(|(_, waiting)| match waiting {
            Waiting::Message { key: of, reactor, asker, .. } if *of == key => Some((reactor, asker)),
            _ => None,
        });
        let waits = of_conversation.nth(from_last);
        let (reactor, asker) = waits.expect("a message that is proposed and not committed waits");
        let before = (core::mem::replace(reactor, from), core::mem::replace(asker, send.asker));
        if before.1.session == send.asker.session && before.0 == from {
            // The same session asked twice and both count as in flight: the earlier question ends here.
            refuse(from, before.1, send, ErrorCode::Busy, ClientMsgId(0), cx);
        }
    }

    fn on_receipt(&mut self, from: ReactorId, command: &ReceiptCommand, cx: &mut impl ConversationContext) {
        let ReceiptCommand { asker, user, conversation: id, places, kind, upto, ordinal, privacy } = *command;
        let of_kind = if kind == ReceiptKind::Read { Kind::Read } else { Kind::Delivered };
        let known = self.known_near(places.conversation, id, user);
        let found = known.and_then(|key| Some((key, self.get(key).state.member(user)?)));
        let Some((key, member)) = found else {
            return refuse_other(from, asker, id, ErrorCode::NotMember, of_kind, cx);
        };
        self.get_mut(key).note_entry(member, places.entry);
        let view = self.view(key);
        let marks = match receipt::judge(&view, member, kind, (upto, ordinal), privacy) {
            Err(code) => return refuse_other(from, asker, id, code, of_kind, cx),
            Ok(receipt::Verdict::Known(committed)) => {
                let watermarks = view.state.members[member].marks;
                if committed {
                    cx.to_home(from, ToHome::ReceiptOk { user, conversation: id, watermarks, source: None }, &[]);
                }
                return;
            }
            Ok(receipt::Verdict::New(marks)) => marks,
        };
        if view.state.size == Size::Large {
            if kind == ReceiptKind::Delivered {
                // Nobody is told of it: it is answered, and not kept.
                let watermarks = Watermarks { delivered: marks.delivered, ..view.state.members[member].marks };
                return cx.to_home(from, ToHome::ReceiptOk { user, conversation: id, watermarks, source: None }, &[]);
            }
            if cx.room() < ReceiptRecord::LEN {
                return refuse_other(from, asker, id, ErrorCode::Busy, of_kind, cx);
            }
            let now = cx.now().mono;
            if let Some(Err(wait_ms)) = self.large_mut(key).map(|large| large.read(to_u32(member), now)) {
                let refusal = Refusal { conversation: id, ..Refusal::of(ErrorCode::RateLimited, of_kind) };
                return cx.to_home(from, ToHome::Refused { asker, refusal: refusal.for_ms(wait_ms) }, &[]);
            }
        }
        let view = self.view(key);
        let record = receipt::record(id, &view, member, marks);
        // A receipt whose record is still in the open batch takes the new value along.
        // Not if somebody is blocked from after that record on.
        let before_blocks = view.overlay.filter(|overlay| !overlay.changes_blocks());
        let open = before_blocks.and_then(|overlay| overlay.open_receipt(member));
        let mut own = None;
        if let Some(body) = open.and_then(|at| cx.revise(at, ReceiptRecord::LEN)) {
            archive::write(&record, body);
        } else {
            if cx.room() < ReceiptRecord::LEN {
                return refuse_other(from, asker, id, ErrorCode::Busy, of_kind, cx);
            }
            let shard = self.get(key).shard;
            let at = cx.append(RecordKind::Receipt, shard, |body| append(body, &record));
            self.waiting[shard as usize].push_back((at, Waiting::Receipt { key, member }));
            own = Some(at);
        }
        self.overlays.get_mut(&mut self.all[key.0].overlay).push_receipt(member, marks, own);
        if canary::is(Canary::ReceiptOkBeforeDurable) {
            cx.to_home(from, ToHome::ReceiptOk { user, conversation: id, watermarks: marks, source: None }, &[]);
        }
        self.receipts_due.get_or_insert(cx.now().mono.plus_ms(RECEIPT_DELAY_MS));
    }
}

/// How [`Conversations::propose`] is used: it is compiled for each, so that what every message passes stays one piece of code, whoever else proposes something.
pub(super) struct Often;
/// See [`Often`].
pub(super) struct Seldom;

/// True if a message may be the first of a group.
fn begins_group(send: &SendCommand) -> bool {
    send.control == control::CREATE
}

/// A conversation before its first message.
fn first_state(send: &SendCommand) -> State {
    if send.conversation.is_group() { State::group(send.sender) } else { State::direct(send.sender, send.peer) }
}

fn origin(from: ReactorId, send: &SendCommand) -> Origin {
    Origin { reactor: from.0, session: send.asker.session.0.to_u64() }
}

/// Refuses a SEND.
pub(super) fn refuse(
    to: ReactorId,
    asker: Asker,
    send: &SendCommand,
    code: ErrorCode,
    highest: ClientMsgId,
    cx: &mut impl ConversationContext,
) {
    let refused = refuse_attempt(asker, (send.conversation, send.client_msg_id), code, highest);
    cx.to_home(to, refused, &[]);
}

/// The refusal of a SEND of which only its names are known.
pub(super) fn refuse_attempt(
    asker: Asker,
    attempt: (ConversationId, ClientMsgId),
    code: ErrorCode,
    highest: ClientMsgId,
) -> ToHome {
    let retry_after_ms = retry_ms(code);
    refuse_for(asker, attempt, (code, highest), retry_after_ms)
}

/// The refusal of a SEND for so long.
fn refuse_for(
    asker: Asker,
    (conversation, client_msg_id): (ConversationId, ClientMsgId),
    (code, highest): (ErrorCode, ClientMsgId),
    retry_after_ms: u32,
) -> ToHome {
    let of_kind = Kind::Send as u8;
    ToHome::Refused { asker, refusal: Refusal { code, conversation, client_msg_id, highest, retry_after_ms, of_kind } }
}

/// Refuses something other than a SEND.
pub(super) fn refuse_other(
    to: ReactorId,
    asker: Asker,
    conversation: ConversationId,
    code: ErrorCode,
    of_kind: Kind,
    cx: &mut impl ConversationContext,
) {
    cx.to_home(to, refusal_of(asker, conversation, code, of_kind), &[]);
}

/// The refusal of something other than a SEND.
pub(super) fn refusal_of(asker: Asker, conversation: ConversationId, code: ErrorCode, of_kind: Kind) -> ToHome {
    let (client_msg_id, highest) = (ClientMsgId(0), ClientMsgId(0));
    let retry_after_ms = retry_ms(code);
    let of_kind = of_kind as u8;
    ToHome::Refused { asker, refusal: Refusal { code, conversation, client_msg_id, highest, retry_after_ms, of_kind } }
}
