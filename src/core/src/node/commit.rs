//! A batch is committed: what waited for its records happens now, and only now does any of it leave.

use tidings_wire::archive::{self, Archived};

use super::{Node, Progress, Waiting};
use crate::{
    counters::Counter,
    effects::{CommittedBatch, Effects},
    index::Stored,
    lanes::{HeadUpdate, ToHome},
    records::ReceiptRecord,
    sequencer::ConversationKey,
    time::Now,
};

impl Node {
    /// Applies the records of a committed batch in their order. [`Progress::Stalled`] if a lane is full: call again with
    /// the same batch before any other.
    pub fn committed(&mut self, batch: &CommittedBatch<'_>, now: Now, fx: &mut impl Effects) -> Progress {
        while let Some((place, waiting)) = self.waiting.front() {
            if place.lsn > batch.lsn {
                break;
            }
            if !self.has_credit(waiting, fx) {
                self.counters.count(Counter::CommitStalls);
                return Progress::Stalled;
            }
            let (place, waiting) = self.waiting.pop_front().expect("it is the front");
            let loc = (batch.loc)(place.offset);
            let origin = self.origin(loc.log(), loc.generation());
            match waiting {
                Waiting::Message { len, conversation, .. } => {
                    let frame = batch.body(place, len);
                    self.sequencer.get_mut(conversation).base.add(origin);
                    self.apply_message(&waiting, Stored { loc, len: len as u32 }, frame, now, fx);
                }
                Waiting::Receipt { conversation, member } => {
                    let record = archive::read(batch.body(place, ReceiptRecord::LEN)).expect("written here");
                    self.sequencer.get_mut(conversation).base.add(origin);
                    self.apply_receipt(conversation, member, &record, now, fx);
                }
                Waiting::Home { home, upto } => {
                    let home = self.registry.get_mut(home);
                    home.base.add(origin);
                    home.durable = home.durable.max(upto);
                }
                Waiting::ConversationState { conversation } => {
                    self.sequencer.get_mut(conversation).base.restart(origin);
                    self.counters.count(Counter::Evacuated);
                }
                Waiting::HomeState { home, first } => {
                    // The first of several records may be in an earlier segment than this last one; if it is in an
                    // earlier batch, the segment before is the safe answer.
                    let base = &mut self.registry.get_mut(home).base;
                    base.restart(if first.lsn == place.lsn { origin } else { earlier(origin) });
                    self.counters.count(Counter::Evacuated);
                }
            }
        }
        self.committed = batch.lsn;
        Progress::Done
    }

    fn has_credit(&self, waiting: &Waiting, fx: &mut impl Effects) -> bool {
        let (conversation, len) = match waiting {
            Waiting::Message { conversation, len, .. } => (*conversation, *len),
            Waiting::Receipt { conversation, .. } => (*conversation, 0),
            _ => return true,
        };
        let homes = self.sequencer.get(conversation).members.each_ref();
        let mut homes = homes.map(|member| self.config.layout.home(&member.user)).into_iter();
        homes.all(|home| home == self.config.me || fx.has_home_credit(home, 4, 2 * len))
    }

    fn apply_message(&mut self, waiting: &Waiting, stored: Stored, frame: &[u8], now: Now, fx: &mut impl Effects) {
        let &Waiting::Message { conversation: key, seq, ts, client_msg_id, reactor, asker, .. } = waiting else {
            unreachable!("called for messages");
        };
        let (conversation, chunks) = self.sequencer.with_chunks(key);
        conversation.apply(seq);
        conversation.index.push(chunks, seq, stored);
        let id = conversation.id;
        self.counters.count(Counter::Committed);
        let sent = ToHome::Sent { asker, conversation: id, client_msg_id, seq, ts };
        self.send_home(reactor, sent, &[], now, fx);
        for member in 0..2 {
            let mut update = self.head_update(key, member);
            let home = self.config.layout.home(&update.user);
            update.origin = self.local_origin(reactor, home, asker);
            self.send_home(home, ToHome::HeadUpdate(update), frame, now, fx);
        }
    }

    /// What a member's home is to know of a conversation.
    pub(super) fn head_update(&self, key: ConversationKey, member: usize) -> HeadUpdate {
        let conversation = self.sequencer.get(key);
        let (own, peer) = (&conversation.members[member], conversation.peer_of(member));
        HeadUpdate {
            user: own.user,
            conversation: conversation.id,
            peer: peer.user,
            head: conversation.committed,
            own: own.committed,
            peers: peer.committed,
            origin: crate::gateway::SessionId::NONE,
        }
    }

    fn apply_receipt(
        &mut self,
        key: ConversationKey,
        member: usize,
        record: &ReceiptRecord,
        now: Now,
        fx: &mut impl Effects,
    ) {
        let conversation = self.sequencer.get_mut(key);
        conversation.members[member].committed.raise_to(record.watermarks());
        let watermarks = conversation.members[member].committed;
        let (id, user, peer) = (conversation.id, conversation.members[member].user, conversation.peer_of(member).user);
        self.counters.count(Counter::Receipts);
        let (own_home, peer_home) = (self.config.layout.home(&user), self.config.layout.home(&peer));
        self.send_home(own_home, ToHome::ReceiptOk { user, conversation: id, watermarks }, &[], now, fx);
        let receipt = ToHome::Receipt { user: peer, conversation: id, member: user, watermarks };
        self.send_home(peer_home, receipt, &[], now, fx);
    }
}

fn earlier(origin: crate::placement::Origin) -> crate::placement::Origin {
    use crate::placement::Origin;
    match origin {
        Origin::Own(generation) => Origin::Own(tidings_wire::Generation(generation.0.saturating_sub(1))),
        Origin::Elsewhere => Origin::Elsewhere,
    }
}
