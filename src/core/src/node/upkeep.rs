//! What happens without input: deadlines, heads told again after a start, state written again before a segment is dropped.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{BatchPosition, Generation, Lsn, Uv, archive::Archived};

use super::{Node, Progress, Waiting};
use crate::{
    counters::Counter,
    effects::Effects,
    lanes::ToHome,
    limits::{ENTITIES_PER_TURN, HOME_RECORD_ENTRIES, HOMES_PER_TURN},
    records::{HomeEntryRecord, HomeRecord, RecordKind, put},
    registry::HomeKey,
    sequencer::ConversationKey,
    time::{Mono, Now},
};

/// State that is being written again.
#[derive(Debug)]
pub(super) struct Evacuation {
    /// Segments up to this one are to be dropped.
    upto: Generation,
    next_conversation: u32,
    next_home: u32,
    /// The last change of the next home that is written, and the first record's place.
    written: Option<Uv>,
    first: Option<BatchPosition>,
    /// The batch of the last record.
    last: Lsn,
}

const HOME_RECORD_MAX: usize = HomeRecord::LEN + HOME_RECORD_ENTRIES * HomeEntryRecord::LEN;

impl Node {
    /// When [`Self::timeout`] has something to do, at the latest.
    pub fn next_timeout(&self) -> Option<Mono> {
        let homes = self.dirty.front().map(|(_, due)| *due);
        homes.into_iter().chain(self.receipts_due).min()
    }

    /// The open batch was sealed: what rides in it has no deadline any more.
    pub fn sealed(&mut self) {
        self.receipts_due = None;
    }

    /// Does what is due, a bounded share of it, and whatever waited for room. To be called once a turn.
    pub fn timeout(&mut self, now: Now, fx: &mut impl Effects) {
        if self.receipts_due.is_some_and(|due| due <= now.mono) {
            self.receipts_due = None;
            fx.want_write();
        }
        self.flush_homes(now, fx);
        self.repeat_heads(now, fx);
        self.continue_fetches(now, fx);
        self.evacuate(fx);
    }

    /// True if a FETCH waits for a lane to have room.
    pub fn waits_for_credit(&self) -> bool {
        let mut at = 0;
        while let Some(id) = self.jobs.next_waiting(at) {
            if self.jobs.get(id).reactor != self.config.me {
                return true;
            }
            at = id.0 + 1;
        }
        false
    }

    /// True if [`Self::timeout`] has more to do than it does in one turn.
    pub fn is_busy(&self) -> bool {
        self.replaying.is_some() || self.evacuation.as_ref().is_some_and(|evacuation| !self.is_written(evacuation))
    }

    fn flush_homes(&mut self, now: Now, fx: &mut impl Effects) {
        for _ in 0..HOMES_PER_TURN {
            let Some((home, _)) = self.dirty.front().copied().filter(|(_, due)| *due <= now.mono) else { return };
            if fx.room() < HOME_RECORD_MAX {
                return;
            }
            let mut entries = core::mem::take(&mut self.scratch);
            if let Some(record) = self.registry.flush(home, HOME_RECORD_ENTRIES, &mut entries) {
                let place = self.append_home(&record, &entries, fx);
                self.waiting.push_back((place, Waiting::Home { home, upto: record.uv }));
                fx.want_write();
            }
            self.scratch = entries;
            let state = self.registry.get_mut(home);
            if state.flushed == state.uv {
                state.dirty = false;
                self.dirty.pop_front();
            }
        }
    }

    fn append_home(
        &mut self,
        record: &HomeRecord,
        entries: &[HomeEntryRecord],
        fx: &mut impl Effects,
    ) -> BatchPosition {
        let shard = self.config.layout.user_shard(&record.user);
        let meta = self.record(RecordKind::Home, shard);
        fx.append(meta, |body| {
            put(body, record);
            entries.iter().for_each(|entry| put(body, entry));
        })
    }

    /// After a start: homes may have forgotten head updates that were not durable. The log did not forget the messages.
    pub fn start_repeating_heads(&mut self) {
        self.replaying = (!canary::is(Canary::HeadUpdatesForgotten)).then_some(0);
    }

    fn repeat_heads(&mut self, now: Now, fx: &mut impl Effects) {
        let Some(mut next) = self.replaying.take() else { return };
        for _ in 0..ENTITIES_PER_TURN {
            if next as usize >= self.sequencer.len() {
                return;
            }
            let key = ConversationKey(next);
            let updates = [self.head_update(key, 0), self.head_update(key, 1)];
            let homes = updates.map(|update| self.config.layout.home(&update.user));
            if homes.iter().any(|home| *home != self.config.me && !fx.has_home_credit(*home, 4, 0)) {
                break;
            }
            for (update, home) in updates.into_iter().zip(homes) {
                self.counters.count(Counter::HeadUpdatesRepeated);
                self.send_home(home, ToHome::HeadUpdate(update), &[], now, fx);
            }
            next += 1;
        }
        self.replaying = Some(next);
    }

    /// Begins to write again all state that lies in segments up to `upto` of the own log, or in other logs.
    pub fn start_evacuation(&mut self, upto: Generation) {
        let forget = upto > Generation(0) && canary::is(Canary::EvacuationForgotten);
        let next = if forget { u32::MAX } else { 0 };
        let (next_conversation, next_home) = (next, next);
        let (written, first, last) = (None, None, Lsn(0));
        self.evacuation = Some(Evacuation { upto, next_conversation, next_home, written, first, last });
    }

    /// [`Progress::Done`] once everything that [`Self::start_evacuation`] began is durable.
    pub fn evacuated(&self) -> Progress {
        match &self.evacuation {
            Some(evacuation) if !self.is_written(evacuation) || self.committed < evacuation.last => Progress::Stalled,
            _ => Progress::Done,
        }
    }

    fn is_written(&self, evacuation: &Evacuation) -> bool {
        evacuation.next_conversation as usize >= self.sequencer.len()
            && evacuation.next_home as usize >= self.registry.len()
    }

    fn evacuate(&mut self, fx: &mut impl Effects) {
        let Some(mut evacuation) = self.evacuation.take() else { return };
        for _ in 0..ENTITIES_PER_TURN {
            // State is written at leisure: half of a batch stays free for messages.
            if fx.room() < 2 * HOME_RECORD_MAX.max(STATE_MAX) {
                break;
            }
            if (evacuation.next_conversation as usize) < self.sequencer.len() {
                self.evacuate_conversation(&mut evacuation, fx);
            } else if (evacuation.next_home as usize) < self.registry.len() {
                self.evacuate_home(&mut evacuation, fx);
            } else {
                break;
            }
        }
        self.evacuation = Some(evacuation);
    }

    fn evacuate_conversation(&mut self, evacuation: &mut Evacuation, fx: &mut impl Effects) {
        let key = ConversationKey(evacuation.next_conversation);
        evacuation.next_conversation += 1;
        self.drop_unreachable(key);
        let conversation = self.sequencer.get(key);
        if !conversation.base.is_within(evacuation.upto) {
            return;
        }
        let meta = {
            let shard = conversation.shard;
            self.record(RecordKind::Conversation, shard)
        };
        let place = fx.append(meta, |body| self.sequencer.get(key).write_state(body));
        fx.want_write();
        evacuation.last = place.lsn;
        self.waiting.push_back((place, Waiting::ConversationState { conversation: key }));
    }

    fn evacuate_home(&mut self, evacuation: &mut Evacuation, fx: &mut impl Effects) {
        let home = HomeKey(evacuation.next_home);
        if !self.registry.get(home).base.is_within(evacuation.upto) {
            evacuation.next_home += 1;
            return;
        }
        let mut entries = core::mem::take(&mut self.scratch);
        let record = self.registry.again(home, evacuation.written, HOME_RECORD_ENTRIES, &mut entries);
        let place = self.append_home(&record, &entries, fx);
        fx.want_write();
        let first = *evacuation.first.get_or_insert(place);
        evacuation.last = place.lsn;
        evacuation.written = entries.last().map(|entry| entry.uv).or(evacuation.written);
        if entries.len() < HOME_RECORD_ENTRIES {
            self.waiting.push_back((place, Waiting::HomeState { home, first }));
            (evacuation.written, evacuation.first) = (None, None);
            evacuation.next_home += 1;
        }
        self.scratch = entries;
    }
}

/// More than the largest state of a conversation.
const STATE_MAX: usize = {
    use crate::{
        limits::{DEVICES_PER_MEMBER, GUESTS_PER_MEMBER},
        records::{ConversationRecord, DeviceRecord, PairRecord},
    };
    let device = DeviceRecord::LEN + tidings_wire::limits::REMEMBERED * PairRecord::LEN;
    ConversationRecord::LEN + 2 * (DEVICES_PER_MEMBER + GUESTS_PER_MEMBER) * device
};
