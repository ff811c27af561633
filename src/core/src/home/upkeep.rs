//! What homes do without input: changes that are due go to the log, and state is written again before a segment is dropped.

use tidings_wire::{BatchPosition, Generation, LogPosition, Lsn, Uv, archive::Archived};

use super::{HomeKey, Homes};
use crate::{
    context::{Context, HomeContext},
    conversation::ReplayError,
    counters::Counter,
    effects::CommittedBatch,
    limits::{HOME_FLUSH_MS, HOME_RECORD_ENTRIES, HOMES_PER_TURN},
    placement::{Origin, origin},
    records::{HomeEntryRecord, HomeRecord, RecordKind, put, take},
    time::Mono,
};

/// What a record of a home is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    /// Changes up to here.
    Changes { home: HomeKey, upto: Uv },
    /// The last record of a home that was written again as a whole.
    State { home: HomeKey, first: BatchPosition },
}

/// State that is being written again.
#[derive(Debug)]
pub(super) struct Evacuation {
    /// Segments up to this one are to be dropped.
    upto: Generation,
    next: u32,
    /// The last change of the next home that is written, and the first record's place.
    written: Option<Uv>,
    first: Option<BatchPosition>,
    /// The batch of the last record.
    last: Lsn,
}

/// More than the largest record of a home.
pub(crate) const HOME_RECORD_MAX: usize = HomeRecord::LEN + HOME_RECORD_ENTRIES * HomeEntryRecord::LEN;

impl Homes {
    pub(crate) fn next_timeout(&self) -> Option<Mono> {
        let (dirty, ends) = (self.dirty.front().map(|(_, due)| *due), self.expiring.first().map(|ending| ending.due()));
        dirty.into_iter().chain(ends).min()
    }

    pub(super) fn mark_dirty(&mut self, home: HomeKey, now: Mono) {
        let state = self.index.get_mut(home);
        if !core::mem::replace(&mut state.dirty, true) {
            self.dirty.push_back((home, now.plus_ms(HOME_FLUSH_MS)));
        }
    }

    /// Puts changes that are due into the log.
    pub(crate) fn flush(&mut self, cx: &mut impl HomeContext) {
        let now = cx.now().mono;
        for _ in 0..HOMES_PER_TURN {
            let Some((home, _)) = self.dirty.front().copied().filter(|(_, due)| *due <= now) else { return };
            if cx.room() < HOME_RECORD_MAX {
                return;
            }
            let mut entries = core::mem::take(&mut self.entry_scratch);
            if let Some(record) = self.index.flush(home, HOME_RECORD_ENTRIES, &mut entries) {
                let at = self.append(&record, &entries, cx);
                self.waiting.push_back((at, Waiting::Changes { home, upto: record.uv }));
                cx.want_write();
            }
            self.entry_scratch = entries;
            let state = self.index.get_mut(home);
            if state.flushed == state.uv {
                state.dirty = false;
                self.dirty.pop_front();
            }
        }
    }

    fn append(&self, record: &HomeRecord, entries: &[HomeEntryRecord], cx: &mut impl Context) -> BatchPosition {
        let shard = self.config.layout.user_shard(&record.user);
        cx.append(RecordKind::Home, shard, |body| {
            put(body, record);
            entries.iter().for_each(|entry| put(body, entry));
        })
    }

    /// The home records of a committed batch count.
    pub(crate) fn committed(&mut self, batch: &CommittedBatch<'_>, cx: &mut impl Context) {
        while let Some((at, waiting)) = self.waiting.pop_front_if(|(at, _)| at.lsn <= batch.lsn) {
            let origin = origin(self.config.log, (batch.loc)(at.offset));
            match waiting {
                Waiting::Changes { home, upto } => {
                    let home = self.index.get_mut(home);
                    home.base.add(origin);
                    home.durable = home.durable.max(upto);
                }
                Waiting::State { home, first } => {
                    // The first of several records may be in an earlier segment than this last one; if it is in an
                    // earlier batch, the segment before is the safe answer.
                    let base = &mut self.index.get_mut(home).base;
                    base.restart(if first.lsn == at.lsn { origin } else { earlier(origin) });
                    cx.count(Counter::Evacuated);
                }
            }
        }
        self.committed = batch.lsn;
    }

    /// A home record that recovery read.
    pub(crate) fn replay(&mut self, mut body: &[u8], at: LogPosition) -> Result<(), ReplayError> {
        let record: HomeRecord = take(&mut body).map_err(|_| ReplayError::Body)?;
        let home = self.index.home(record.user);
        for _ in 0..record.count {
            let entry: HomeEntryRecord = take(&mut body).map_err(|_| ReplayError::Body)?;
            self.index.replay(home, record.uv, &entry);
        }
        self.index.get_mut(home).base.add(origin(self.config.log, at));
        Ok(())
    }

    pub(crate) fn start_evacuation(&mut self, upto: Generation) {
        let (next, written, first, last) = (0, None, None, Lsn(0));
        self.evacuation = Some(Evacuation { upto, next, written, first, last });
    }

    /// True while there is state to be written again.
    pub(crate) fn is_busy(&self) -> bool {
        self.evacuation.as_ref().is_some_and(|evacuation| (evacuation.next as usize) < self.index.len())
    }

    /// True once what [`Self::start_evacuation`] began is durable.
    pub(crate) fn is_evacuated(&self) -> bool {
        !self.is_busy() && self.evacuation.as_ref().is_none_or(|evacuation| self.committed >= evacuation.last)
    }

    /// Writes state again, of at most `most` homes or parts of them.
    pub(crate) fn evacuate(&mut self, most: usize, cx: &mut impl Context) {
        let Some(mut evacuation) = self.evacuation.take() else { return };
        for _ in 0..most {
            // State is written at leisure: half of a batch stays free for messages.
            if cx.room() < 2 * HOME_RECORD_MAX || evacuation.next as usize >= self.index.len() {
                break;
            }
            self.evacuate_home(&mut evacuation, cx);
        }
        self.evacuation = Some(evacuation);
    }

    fn evacuate_home(&mut self, evacuation: &mut Evacuation, cx: &mut impl Context) {
        let home = HomeKey(evacuation.next);
        if !self.index.get(home).base.is_within(evacuation.upto) {
            evacuation.next += 1;
            return;
        }
        let mut entries = core::mem::take(&mut self.entry_scratch);
        let record = self.index.again(home, evacuation.written, HOME_RECORD_ENTRIES, &mut entries);
        let at = self.append(&record, &entries, cx);
        cx.want_write();
        let first = *evacuation.first.get_or_insert(at);
        evacuation.last = at.lsn;
        evacuation.written = entries.last().map(|entry| entry.uv).or(evacuation.written);
        if entries.len() < HOME_RECORD_ENTRIES {
            self.waiting.push_back((at, Waiting::State { home, first }));
            (evacuation.written, evacuation.first) = (None, None);
            evacuation.next += 1;
        }
        self.entry_scratch = entries;
    }
}

fn earlier(origin: Origin) -> Origin {
    match origin {
        Origin::Own(generation) => Origin::Own(Generation(generation.0.saturating_sub(1))),
        Origin::Elsewhere => Origin::Elsewhere,
    }
}
