//! A batch is committed: what waited for its records happens now, and only now does any of it leave. Or it is dropped before its batch
//! was sealed.

use alloc::collections::BTreeMap;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    BatchPosition, ClientMsgId, ErrorCode, LogPosition, Seq, Timestamp,
    archive::{self, Archived},
};

use super::{ConversationKey, Conversations, commands::refuse_attempt, index::Stored, state::MessageFact};
use crate::{
    context::ConversationContext,
    counters::Counter,
    effects::{CommittedBatch, ReactorId},
    home::SessionId,
    lanes::{Asker, ToHome},
    node::Progress,
    placement::origin,
    records::ReceiptRecord,
};

/// A record that was appended and is not committed yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    Message { key: ConversationKey, len: usize, reactor: ReactorId, asker: Asker },
    Receipt { key: ConversationKey, member: usize },
    State { key: ConversationKey },
}

impl Conversations {
    /// Applies the records of a committed batch in their order. [`Progress::Stalled`] if a lane is full: call again with
    /// the same batch before any other.
    pub(crate) fn committed(&mut self, batch: &CommittedBatch<'_>, cx: &mut impl ConversationContext) -> Progress {
        while let Some((at, waiting)) = self.waiting.front().copied().filter(|(at, _)| at.lsn <= batch.lsn) {
            if !self.has_credit(&waiting, cx) {
                cx.count(Counter::CommitStalls);
                return Progress::Stalled;
            }
            self.waiting.pop_front();
            let stored = (batch.loc)(at.offset);
            match waiting {
                Waiting::Message { key, len, reactor, asker } => {
                    let frame = batch.body(at, len);
                    self.commit_message(key, (reactor, asker), stored, frame, cx);
                }
                Waiting::Receipt { key, member } => {
                    let record = archive::read(batch.body(at, ReceiptRecord::LEN)).expect("written here");
                    self.commit_receipt(key, member, (at, stored), &record, cx);
                }
                Waiting::State { key } => {
                    let origin = origin(self.config.log, stored);
                    self.get_mut(key).base.restart(origin);
                    cx.count(Counter::Evacuated);
                }
            }
        }
        self.committed = batch.lsn;
        Progress::Done
    }

    fn has_credit(&self, waiting: &Waiting, cx: &mut impl ConversationContext) -> bool {
        let (key, len) = match waiting {
            Waiting::Message { key, len, .. } => (*key, *len),
            Waiting::Receipt { key, .. } => (*key, 0),
            Waiting::State { .. } => return true,
        };
        let homes = self.get(key).state.members.each_ref().map(|member| self.config.layout.home(&member.user));
        homes.into_iter().all(|home| cx.has_home_credit(home, 4, 2 * len))
    }

    fn commit_message(
        &mut self,
        key: ConversationKey,
        (reactor, asker): (ReactorId, Asker),
        at: LogPosition,
        frame: &[u8],
        cx: &mut impl ConversationContext,
    ) {
        let conversation = &mut self.all[key.0 as usize];
        let fact = self.overlays.get_mut(&mut conversation.overlay).pop_first();
        self.overlays.release(&mut conversation.overlay);
        conversation.state.apply_message(&fact);
        if canary::is(Canary::AppliedTwice) {
            conversation.state.skip_to(Seq(fact.seq.0 - 1));
            conversation.state.apply_message(&MessageFact { ts: Timestamp(fact.ts.0 + 1), ..fact });
        }
        conversation.base.add(origin(self.config.log, at));
        conversation.index.push(&mut self.chunks, fact.seq, Stored { loc: at, len: frame.len() as u32 });
        let MessageFact { seq, ts, client_msg_id, .. } = fact;
        let conversation = conversation.id;
        cx.count(Counter::Committed);
        if asker.session != SessionId::NONE {
            cx.to_home(reactor, ToHome::Sent { asker, conversation, client_msg_id, seq, ts }, &[]);
        }
        for member in 0..2 {
            let mut update = self.head_update(key, member);
            let home = self.config.layout.home(&update.user);
            // The session that sent it is told SENT instead, if it is of that reactor.
            update.origin = if reactor == home { asker.session } else { SessionId::NONE };
            cx.to_home(home, ToHome::HeadUpdate(update), frame);
        }
    }

    fn commit_receipt(
        &mut self,
        key: ConversationKey,
        member: usize,
        (at, stored): (BatchPosition, LogPosition),
        record: &ReceiptRecord,
        cx: &mut impl ConversationContext,
    ) {
        let conversation = &mut self.all[key.0 as usize];
        self.overlays.get_mut(&mut conversation.overlay).pop_receipt(member, at);
        self.overlays.release(&mut conversation.overlay);
        conversation.state.apply_receipt(member, record.watermarks());
        conversation.base.add(origin(self.config.log, stored));
        let (id, members) = (conversation.id, &conversation.state.members);
        let (user, peer, watermarks) = (members[member].user, members[1 - member].user, members[member].marks);
        let (own_home, peer_home) = (self.config.layout.home(&user), self.config.layout.home(&peer));
        cx.count(Counter::Receipts);
        cx.to_home(own_home, ToHome::ReceiptOk { user, conversation: id, watermarks }, &[]);
        cx.to_home(peer_home, ToHome::Receipt { user: peer, conversation: id, member: user, watermarks }, &[]);
    }

    /// Everything that is proposed and whose batch is not sealed is dropped: its records are void, its numbers are free, whoever
    /// asked is told BUSY. Of what is sealed only the outcome is unknown: who asked is told BUSY, too, and a repeat decides.
    /// Nothing happens while lanes have no room to say so.
    pub(crate) fn drop_proposed(&mut self, cx: &mut impl ConversationContext) {
        let mut answers: BTreeMap<ReactorId, usize> = BTreeMap::new();
        for (_, waiting) in &self.waiting {
            if let Waiting::Message { reactor, .. } = waiting {
                *answers.entry(*reactor).or_default() += 1;
            }
        }
        if !answers.into_iter().all(|(reactor, count)| cx.has_home_credit(reactor, count, 0)) {
            return;
        }
        let mut kept = core::mem::take(&mut self.waiting);
        let mut dropped = 0;
        while let Some((at, waiting)) = kept.pop_back() {
            if !cx.void(at) {
                kept.push_back((at, waiting));
                break;
            }
            dropped += 1;
            self.drop_waiting(at, &waiting, cx);
        }
        // A conversation's messages wait in the order in which they are in its overlay.
        let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
        for (_, waiting) in &mut kept {
            let Waiting::Message { key, reactor, asker, .. } = waiting else { continue };
            let nth = seen.entry(key.0).or_default();
            let conversation = self.get(*key);
            let fact = self.overlays.get(conversation.overlay).and_then(|overlay| overlay.nth(*nth));
            *nth += 1;
            let nobody = SessionId::NONE;
            let asker = core::mem::replace(asker, Asker { session: nobody, request_id: 0 });
            if let Some(fact) = fact.filter(|_| asker.session != nobody) {
                let attempt = (conversation.id, fact.client_msg_id);
                refuse_attempt(*reactor, asker, attempt, ErrorCode::Busy, ClientMsgId(0), cx);
            }
        }
        self.waiting = kept;
        cx.counters().add(Counter::ProposalsDropped, dropped);
    }

    fn drop_waiting(&mut self, at: BatchPosition, waiting: &Waiting, cx: &mut impl ConversationContext) {
        match *waiting {
            Waiting::Message { key, reactor, asker, .. } => {
                let conversation = &mut self.all[key.0 as usize];
                let overlay = self.overlays.get_mut(&mut conversation.overlay);
                let attempt = overlay.last().map_or(ClientMsgId(0), |fact| fact.client_msg_id);
                if !canary::is(Canary::OverlaySurvives) {
                    overlay.drop_last();
                }
                self.overlays.release(&mut conversation.overlay);
                let id = conversation.id;
                refuse_attempt(reactor, asker, (id, attempt), ErrorCode::Busy, ClientMsgId(0), cx);
            }
            Waiting::Receipt { key, member } => {
                let conversation = &mut self.all[key.0 as usize];
                let overlay = self.overlays.get_mut(&mut conversation.overlay);
                overlay.pop_receipt(member, at);
                // What an earlier record of the member raises it to is judged when it is committed.
                overlay.marks[member] = conversation.state.members[member].marks;
                self.overlays.release(&mut conversation.overlay);
            }
            Waiting::State { key } => self.evacuate_again(key),
        }
    }
}
