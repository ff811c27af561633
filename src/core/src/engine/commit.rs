//! An entry is committed: what waited for its records happens now, and only now does any of it leave. Or it is dropped before its
//! batch was sealed.

use alloc::{collections::BTreeMap, vec::Vec};

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    BatchPosition, ClientMsgId, EntryIndex, ErrorCode, Kind, LogPosition, Seq, Timestamp,
    archive::{self, Archived},
    frames::Control,
};

use super::{
    ConversationKey, Conversations,
    dispatch::{refusal_of, refuse_attempt},
    index::{Stored, Written},
    keeping::Kept,
    outbox::{Titled, Told},
    replay::body_of,
};
use crate::{
    context::ConversationContext,
    conversation::{members::Member, state::MessageFact},
    counters::Counter,
    effects::{CommittedEntry, DurableBatch, ReactorId},
    features::{Nature, receipt},
    home::SessionId,
    lanes::{Asker, Author, ToHome},
    narrow::to_u32,
    placement::origin,
    records::{BlockRecord, ReceiptRecord},
    slab::Key,
};

/// A record that was appended and is not committed yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    Message { key: ConversationKey, len: usize, reactor: ReactorId, asker: Asker },
    Receipt { key: ConversationKey, member: usize },
    Block { key: ConversationKey, reactor: ReactorId, asker: Asker },
}

/// What was written again and is not durable yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row {
    /// State.
    State { key: ConversationKey, part: Part },
    /// A message, of so many bytes now.
    Kept { from: Kept, len: u32 },
}

/// Which of a conversation's rows it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    First,
    Middle,
    Last,
}

/// Where a record is for good.
type Place = LogPosition;

impl Conversations {
    /// Applies the records of a committed entry in their order.
    pub(crate) fn committed(&mut self, batch: &CommittedEntry<'_>, cx: &mut impl ConversationContext) {
        self.send_answers(cx);
        let (shard, entry) = (batch.committed.shard(), batch.committed.index());
        let due = |(at, _): &mut (BatchPosition, Waiting)| batch.committed.covers(shard, at.lsn);
        while let Some((at, waiting)) = self.waiting[shard as usize].pop_front_if(due) {
            let stored = (batch.position)(at.offset);
            match waiting {
                Waiting::Message { key, len, reactor, asker } => {
                    let frame = batch.body(at, len);
                    self.commit_message(key, (reactor, asker), (entry, stored), frame, cx);
                }
                Waiting::Receipt { key, member } => {
                    let record = archive::read(batch.body(at, ReceiptRecord::LEN)).expect("written here");
                    self.commit_receipt(key, member, (at, entry, stored), &record, cx);
                }
                Waiting::Block { key, asker, .. } => {
                    let record = archive::read(batch.body(at, BlockRecord::LEN)).expect("written here");
                    self.commit_block(key, (at, entry, stored), &record, asker, cx);
                }
            }
        }
    }

    /// Rows of a durable batch count.
    pub(crate) fn durable(&mut self, batch: &DurableBatch<'_>, cx: &mut impl ConversationContext) {
        while let Some((at, row)) = self.rows.pop_front_if(|(at, _)| batch.durable.covers(at.lsn)) {
            let (key, part) = match row {
                Row::State { key, part } => (key, part),
                Row::Kept { from, len } => {
                    self.kept((at, from, len), batch, cx);
                    continue;
                }
            };
            let place = origin(self.config.log, (batch.position)(at.offset));
            let conversation = self.get_mut(key);
            match part {
                Part::First => conversation.rewritten = Some(place),
                Part::Middle => {}
                Part::Last => {
                    let first = conversation.rewritten.take().expect("the first row is before the last");
                    conversation.base.restart(first);
                    cx.count(Counter::Evacuated);
                }
            }
        }
        self.durable = batch.lsn;
    }

    /// An answer to who asked, which is never dropped: it waits for its lane.
    pub(super) fn answer(&mut self, to: ReactorId, message: ToHome, cx: &mut impl ConversationContext) {
        let waiting = &mut self.answers[to.0 as usize];
        if waiting.is_empty() && cx.has_home_credit(to, 1, 0) {
            return cx.to_home(to, message, &[]);
        }
        cx.count(Counter::AnswersHeld);
        waiting.push_back(message);
    }

    /// Sends answers that wait, as far as lanes have room.
    pub(super) fn send_answers(&mut self, cx: &mut impl ConversationContext) {
        for (to, waiting) in (0..).map(ReactorId).zip(&mut self.answers) {
            while !waiting.is_empty() && cx.has_home_credit(to, 1, 0) {
                waiting.pop_front().into_iter().for_each(|message| cx.to_home(to, message, &[]));
            }
        }
    }

    fn commit_message(
        &mut self,
        key: ConversationKey,
        (reactor, asker): (ReactorId, Asker),
        (entry, at): (EntryIndex, Place),
        frame: &[u8],
        cx: &mut impl ConversationContext,
    ) {
        let conversation = &mut self.all[key.0];
        let fact = self.overlays.get_mut(&mut conversation.overlay).pop_first();
        self.overlays.release(&mut conversation.overlay);
        let body = if fact.control == Control::TEXT { &[][..] } else { body_of(frame) };
        let here = (self.config.features, conversation.id);
        let touched = conversation.state.apply_message(here, &fact, body);
        if canary::is(Canary::AppliedTwice) {
            conversation.state.skip_to(Seq(fact.seq.0 - 1));
            let later = MessageFact { ts: Timestamp(fact.ts.0 + 1), ..fact };
            let _touched = conversation.state.apply_message(here, &later, body);
        }
        conversation.base.add(origin(self.config.log, at));
        let written = Written::new(fact.member, fact.ts, Nature::of(fact.control, fact.weight), fact.expires_at);
        conversation.index.push(&mut self.chunks, fact.seq, Stored { loc: at, len: to_u32(frame.len()), written });
        if fact.control != Control::TEXT {
            self.follow_committed(key, frame, at, cx.now().mono);
        }
        let conversation = &self.all[key.0];
        let MessageFact { seq, ts, client_msg_id, ordinal, .. } = fact;
        let (conversation, shard) = (conversation.id, conversation.shard);
        let was_large = conversation.is_group() && self.get(key).large.is_some();
        if was_large && touched.is_empty() {
            self.passed_by(key, entry);
        } else {
            self.changed_by(key, entry);
        }
        if was_large {
            self.recount(key, seq, &touched);
        }
        cx.count(Counter::Committed);
        if asker.session != SessionId::NONE {
            self.answer(reactor, ToHome::Sent { asker, conversation, client_msg_id, seq, ts, ordinal }, cx);
        }
        if conversation.is_group() {
            // What may change it tells the title, too.
            let title = if fact.control.is_of_group() { Titled::Yes } else { Titled::No };
            let from = (reactor, asker.session);
            if self.is_large(key) {
                self.grow(key);
            }
            if !was_large {
                // If it becomes large by this message, all members' homes must know.
                return self.fan_out(key, (shard, entry), from, (fact.sender, frame, title), &Told::AllMembers, cx);
            }
            if !touched.is_empty() {
                self.fan_out(key, (shard, entry), from, (fact.sender, frame, title), &Told::These(touched), cx);
            }
            return self.post(key, from, (&fact, frame), cx);
        }
        // Most never keep anything, and so block nobody.
        if !self.get(key).state.settings.is_empty() {
            return self.tell_as_seen(key, (entry, fact.member), (reactor, asker.session), frame, cx);
        }
        let members = &self.get(key).state.members;
        let homes = [0, 1].map(|member| self.config.layout.home(&members[member].user));
        for (member, home) in homes.into_iter().enumerate() {
            let mut update = self.head_update(key, member, self.outboxes.source(shard, home, entry));
            update.author = if fact.member as usize == member { Author::User } else { Author::Other };
            // The session that sent it is told SENT instead, if it is of that reactor.
            update.origin = if reactor == home { asker.session } else { SessionId::NONE };
            self.tell((shard, entry), home, ToHome::HeadUpdate(update), frame, cx);
        }
    }

    fn commit_receipt(
        &mut self,
        key: ConversationKey,
        member: usize,
        (at, entry, stored): (BatchPosition, EntryIndex, Place),
        record: &ReceiptRecord,
        cx: &mut impl ConversationContext,
    ) {
        let conversation = &mut self.all[key.0];
        self.overlays.get_mut(&mut conversation.overlay).take_receipt(member, at);
        self.overlays.release(&mut conversation.overlay);
        let before = conversation.state.shown(member);
        receipt::apply(&mut conversation.state, member, record);
        let Member { ref membership, marks, .. } = conversation.state.members[member];
        if let Some(readers) = conversation.readers.as_mut().filter(|_| membership.is_current()) {
            readers.moved(before.read, marks.shown);
        }
        conversation.base.add(origin(self.config.log, stored));
        let (id, shard) = (conversation.id, conversation.shard);
        let Member { user, marks: watermarks, .. } = conversation.state.members[member];
        let own_home = self.config.layout.home(&user);
        cx.count(Counter::Receipts);
        let source = Some(self.outboxes.source(shard, own_home, entry));
        if self.asks_for_marks(key, member) {
            self.passed_by(key, entry);
            return self.answer(own_home, ToHome::ReceiptOk { user, conversation: id, watermarks, source }, cx);
        }
        self.changed_by(key, entry);
        self.answer(own_home, ToHome::ReceiptOk { user, conversation: id, watermarks, source }, cx);
        self.outboxes.miss_if_walking(shard, own_home, entry);
        if id.is_group() {
            // Of a large one it is counted when somebody asks.
            if !self.is_large(key) {
                self.receipt_rose(key, (member, before), cx.now().mono);
            }
            return;
        }
        // Whoever is blocked is shown nothing of it.
        let shown = self.get(key).state.shown(member);
        if shown == before && shown != watermarks.shown() {
            return;
        }
        let peer = self.get(key).state.members.other(member).user;
        let peer_home = self.config.layout.home(&peer);
        self.outboxes.miss_if_walking(shard, peer_home, entry);
        let source = self.outboxes.source(shard, peer_home, entry);
        let receipt = ToHome::Receipt { user: peer, conversation: id, member: user, watermarks: shown, source };
        self.tell((shard, entry), peer_home, receipt, &[], cx);
    }

    /// Everything that is proposed and whose batch is not sealed is dropped: its records are void, its numbers are free, whoever
    /// sent is told BUSY (a receipt is repeated until it is answered). Of what is sealed only the outcome is unknown: who asked is told BUSY, too, and a repeat decides.
    pub(crate) fn drop_proposed(&mut self, cx: &mut impl ConversationContext) {
        for shard in 0..self.waiting.len() {
            let mut dropped = 0;
            while let Some((at, waiting)) = self.waiting[shard].pop_back() {
                if !cx.void(at) {
                    self.waiting[shard].push_back((at, waiting));
                    break;
                }
                dropped += 1;
                self.drop_waiting(at, &waiting, cx);
            }
            self.disown_sealed(shard, cx);
            cx.counters().add(Counter::ProposalsDropped, dropped);
        }
        let mut kept = Vec::new();
        while let Some((at, row)) = self.rows.pop_back() {
            match row {
                // It says nothing of what was dropped.
                Row::Kept { .. } => kept.push((at, row)),
                Row::State { key, .. } if cx.void(at) => self.evacuate_again(key),
                Row::State { .. } => {
                    self.rows.push_back((at, row));
                    break;
                }
            }
        }
        self.rows.extend(kept.into_iter().rev());
    }

    /// Who waits for something that is sealed is told that its outcome is unknown.
    fn disown_sealed(&mut self, shard: usize, cx: &mut impl ConversationContext) {
        // A conversation's messages wait in the order in which they are in its overlay.
        let mut seen: BTreeMap<Key, usize> = BTreeMap::new();
        for place in 0..self.waiting[shard].len() {
            if let Waiting::Block { key, reactor, asker } = &mut self.waiting[shard][place].1 {
                let (key, reactor, asker) = (*key, *reactor, core::mem::replace(asker, Asker::NOBODY));
                if asker != Asker::NOBODY {
                    let busy = refusal_of(asker, self.get(key).id, ErrorCode::Busy, Kind::Set);
                    self.answer(reactor, busy, cx);
                }
                continue;
            }
            let Waiting::Message { key, reactor, asker, .. } = &mut self.waiting[shard][place].1 else { continue };
            let (key, reactor, asker) = (*key, *reactor, core::mem::replace(asker, Asker::NOBODY));
            let nth = seen.entry(key.0).or_default();
            let conversation = self.get(key);
            let fact = self.overlays.get(conversation.overlay).and_then(|overlay| overlay.nth(*nth));
            *nth += 1;
            if let Some(fact) = fact.filter(|_| asker != Asker::NOBODY) {
                let attempt = (conversation.id, fact.client_msg_id);
                self.answer(reactor, refuse_attempt(asker, attempt, ErrorCode::Busy, ClientMsgId(0)), cx);
            }
        }
    }

    fn drop_waiting(&mut self, at: BatchPosition, waiting: &Waiting, cx: &mut impl ConversationContext) {
        match *waiting {
            Waiting::Message { key, reactor, asker, .. } => {
                let conversation = &mut self.all[key.0];
                let overlay = self.overlays.get_mut(&mut conversation.overlay);
                let attempt = overlay.last().map_or(ClientMsgId(0), |fact| fact.client_msg_id);
                if !canary::is(Canary::OverlaySurvives) {
                    overlay.drop_last();
                }
                self.overlays.release(&mut conversation.overlay);
                let id = conversation.id;
                if asker != Asker::NOBODY {
                    self.answer(reactor, refuse_attempt(asker, (id, attempt), ErrorCode::Busy, ClientMsgId(0)), cx);
                }
            }
            Waiting::Receipt { key, member } => {
                let conversation = &mut self.all[key.0];
                self.overlays.get_mut(&mut conversation.overlay).take_receipt(member, at);
                self.overlays.release(&mut conversation.overlay);
            }
            Waiting::Block { key, reactor, asker } => {
                let conversation = &mut self.all[key.0];
                self.overlays.get_mut(&mut conversation.overlay).take_blocks(at);
                self.overlays.release(&mut conversation.overlay);
                let id = conversation.id;
                self.answer(reactor, refusal_of(asker, id, ErrorCode::Busy, Kind::Set), cx);
            }
        }
    }
}
