//! What homes do without input: changes that are due go to the log, and state is written again before a segment is dropped.

use alloc::{boxed::Box, collections::BTreeMap};

use tidings_wire::{
    BatchPosition, ConversationId, EntryIndex, Generation, Lsn, UserId, Uv, archive::Archived, limits::TITLE_MAX,
};

use super::{
    HomeKey, Homes,
    barred::BARRED_RECORD_MAX,
    forgotten::FORGOTTEN_RECORD_MAX,
    index::{EntryKey, Listed},
    own::{OWN_RECORD_MAX, Own},
    settings::Until,
};
use crate::{
    context::{Context, HomeContext},
    conversation::state::ReplayError,
    counters::Counter,
    effects::{CommittedEntry, DurableBatch},
    limits::{HOME_FLUSH_MS, HOME_RECORD_ENTRIES, HOMES_PER_TURN},
    placement::origin,
    records::{HomeEntryRecord, HomeRecord, RecordKind, listed_len, put, put_prefix, take},
    replay::Replayed,
    time::Mono,
};

/// What a record of a home is for.
#[derive(Clone, Debug)]
pub(super) enum Waiting {
    /// Changes up to here.
    Changes { home: HomeKey, upto: Uv },
    /// What the user keeps, as of a version.
    Own { home: HomeKey, version: u32, settings: u32 },
    /// What the user does not want to see any more.
    Forgotten { home: HomeKey, conversation: ConversationId, changes: u32 },
    /// Who blocks the user.
    Barred { home: HomeKey },
    /// A shard's claim how far it has what others told.
    Claim { shard: u16, claim: BTreeMap<u16, EntryIndex> },
}

/// A row of a home that is written again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    home: HomeKey,
    /// It is the first of the home's rows.
    first: bool,
    /// It is the last.
    last: bool,
}

/// Rows of a home, in their order.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// What the user keeps.
    Own,
    /// What it does not want to see any more, of the conversation after this one.
    Forgotten(ConversationId),
    /// Who blocks it, after this one.
    Barred(UserId),
    /// Its conversations, after these.
    Entries(Listed),
}

/// Whether a home has rows that were written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    None,
    Some,
}

/// State that is being written again.
#[derive(Debug)]
pub(super) struct Evacuation {
    /// Segments up to this one are to be dropped.
    upto: Generation,
    next: u32,
    /// Which of the next home's rows is next.
    step: Step,
    /// Whether it has one already.
    rows: Rows,
    /// The batch of the last record.
    last: Lsn,
}

/// More than the largest row.
const ROW_MAX: usize = HOME_RECORD_MAX + OWN_RECORD_MAX + FORGOTTEN_RECORD_MAX + BARRED_RECORD_MAX;

/// More than the largest record of a home.
pub(crate) const HOME_RECORD_MAX: usize =
    listed_len::<HomeRecord>() + HOME_RECORD_ENTRIES * (listed_len::<HomeEntryRecord>() + TITLE_MAX);

impl Homes {
    pub(crate) fn next_timeout(&self) -> Option<Mono> {
        let (dirty, ends) = (self.dirty.front().map(|(_, due)| *due), self.expiring.first().map(|ending| ending.due()));
        let alarm = self.alarms.first().map(|alarm| alarm.due());
        dirty.into_iter().chain(ends).chain(alarm).chain(self.next_presence()).min()
    }

    pub(super) fn mark_dirty(&mut self, home: HomeKey, now: Mono) {
        let state = self.index.get_mut(home);
        if !core::mem::replace(&mut state.dirty, true) {
            self.dirty.push_back((home, now.plus_ms(HOME_FLUSH_MS)));
            self.dirtied += 1;
        }
    }

    /// Puts changes that are due into the log, and what may be claimed after that.
    pub(crate) fn flush(&mut self, cx: &mut impl HomeContext) {
        let now = cx.now().mono;
        for _ in 0..HOMES_PER_TURN {
            let Some((home, _)) = self.dirty.front().copied().filter(|(_, due)| *due <= now) else { break };
            if cx.room() < HOME_RECORD_MAX {
                return;
            }
            self.flush_home(home, cx);
            let state = self.index.get_mut(home);
            if state.flushed == state.uv {
                state.dirty = false;
                self.dirty.pop_front();
            }
        }
        self.flush_own(cx);
        self.flush_barred(cx);
        self.claim(cx);
    }

    /// Puts changes of a home into the log now, if there is room; else when they are due.
    pub(super) fn flush_soon(&mut self, home: HomeKey, cx: &mut impl HomeContext) {
        if cx.room() >= HOME_RECORD_MAX {
            self.flush_home(home, cx);
        }
    }

    /// Puts changes of a home into the log, as many as one record takes. There is room for that.
    pub(super) fn flush_home(&mut self, home: HomeKey, cx: &mut impl HomeContext) {
        let mut entries = core::mem::take(&mut self.entry_scratch);
        if let Some(record) = self.index.flush(home, HOME_RECORD_ENTRIES, &mut entries) {
            let (at, shard) = self.append(RecordKind::HomeDelta, &record, &entries, cx);
            self.waiting[shard as usize].push_back((at, Waiting::Changes { home, upto: record.uv }));
            cx.want_write();
        }
        self.entry_scratch = entries;
    }

    fn append(
        &self,
        kind: RecordKind,
        record: &HomeRecord,
        entries: &[(EntryKey, HomeEntryRecord)],
        cx: &mut impl Context,
    ) -> (BatchPosition, u16) {
        let shard = self.config.layout.user_shard(&record.user);
        let at = cx.append(kind, shard, |body| {
            put(body, record);
            for (key, entry) in entries {
                let known = self.index.entry_at(*key);
                // What few users set is not written where it is not set.
                let is_short = !known.preferences.are_unusual();
                put_prefix(
                    body,
                    entry,
                    if is_short { HomeEntryRecord::SHORT_LEN } else { <HomeEntryRecord as Archived>::LEN },
                );
                body.extend_from_slice(&known.name);
            }
        });
        (at, shard)
    }

    /// The home records of a committed entry count.
    pub(crate) fn committed(&mut self, batch: &CommittedEntry<'_>, cx: &mut impl HomeContext) {
        let shard = batch.committed.shard();
        let due = |(at, _): &mut (BatchPosition, Waiting)| batch.committed.covers(shard, at.lsn);
        while let Some((at, waiting)) = self.waiting[shard as usize].pop_front_if(due) {
            match waiting {
                Waiting::Changes { home, upto } => {
                    let state = self.index.get_mut(home);
                    state.base.add(origin(self.config.log, (batch.position)(at.offset)));
                    state.durable = state.durable.max(upto);
                    self.answer_asked(home, Until::Change(upto), cx);
                }
                Waiting::Own { home, version, settings } => {
                    let place = origin(self.config.log, (batch.position)(at.offset));
                    let state = self.index.get_mut(home);
                    state.base.add(place);
                    if let Some(own) = &mut state.own {
                        (own.durable, own.told) = (version, settings);
                    }
                    self.answer_asked(home, Until::Version(version), cx);
                }
                Waiting::Forgotten { home, conversation, changes } => {
                    let place = origin(self.config.log, (batch.position)(at.offset));
                    self.index.get_mut(home).base.add(place);
                    self.forgotten_is_durable(home, conversation, changes);
                }
                Waiting::Barred { home } => {
                    let place = origin(self.config.log, (batch.position)(at.offset));
                    self.index.get_mut(home).base.add(place);
                }
                Waiting::Claim { shard, claim } => self.claimed(shard, claim),
            }
        }
    }

    /// The rows of a durable batch count.
    pub(crate) fn durable(&mut self, batch: &DurableBatch<'_>, cx: &mut impl Context) {
        while let Some((at, row)) = self.rows.pop_front_if(|(at, _)| batch.durable.covers(at.lsn)) {
            // Homes are written one after the other.
            if row.first {
                self.rewritten = Some(origin(self.config.log, (batch.position)(at.offset)));
            }
            if row.last {
                let first = self.rewritten.take().expect("the first row is before the last");
                self.index.get_mut(row.home).base.restart(first);
                cx.count(Counter::Evacuated);
            }
        }
        self.durable = batch.lsn;
    }

    /// A home record that recovery read.
    pub(crate) fn replay(&mut self, record: &Replayed<'_>) -> Result<(), ReplayError> {
        let mut body = record.body;
        if record.kind == RecordKind::Sources {
            return self.replay_sources(record.shard, body);
        }
        if record.kind.is_of_numbers() {
            return self.replay_forgotten(record);
        }
        if matches!(record.kind, RecordKind::Barred | RecordKind::BarredRow) {
            return self.replay_barred(record);
        }
        if !record.kind.is_told() {
            return self.replay_own(record);
        }
        let changes: HomeRecord = take(&mut body).map_err(|_| ReplayError::Body)?;
        let home = self.index.home(changes.user);
        for _ in 0..changes.count {
            let entry: HomeEntryRecord = take(&mut body).map_err(|_| ReplayError::Body)?;
            let name = body.split_off(..usize::from(entry.name_len)).ok_or(ReplayError::Body)?;
            self.index.replay(home, changes.uv, &entry, name);
        }
        self.index.get_mut(home).base.add(origin(self.config.log, record.at));
        Ok(())
    }

    fn replay_own(&mut self, record: &Replayed<'_>) -> Result<(), ReplayError> {
        let (user, own) = Own::read(record.body)?;
        let home = self.index.home(user);
        let state = self.index.get_mut(home);
        // One that was written again may be read after a later one.
        if state.own.as_ref().is_none_or(|known| known.version <= own.version) {
            state.own = Some(Box::new(own));
        }
        state.base.add(origin(self.config.log, record.at));
        Ok(())
    }

    pub(crate) fn start_evacuation(&mut self, upto: Generation) {
        self.evacuation = Some(Evacuation { upto, next: 0, step: Step::Own, rows: Rows::None, last: Lsn(0) });
        self.claim_all();
    }

    /// True while there is state to be written again.
    pub(crate) fn is_busy(&self) -> bool {
        self.evacuation.as_ref().is_some_and(|evacuation| evacuation.next < self.index.places())
    }

    /// True once what [`Self::start_evacuation`] began is durable.
    pub(crate) fn is_evacuated(&self) -> bool {
        !self.is_busy() && self.evacuation.as_ref().is_none_or(|evacuation| self.durable >= evacuation.last)
    }

    /// Writes state again, of at most `most` homes or parts of them.
    pub(crate) fn evacuate(&mut self, most: usize, cx: &mut impl Context) {
        let Some(mut evacuation) = self.evacuation.take() else { return };
        for _ in 0..most {
            // State is written at leisure: half of a batch stays free for messages.
            if cx.room() < 2 * ROW_MAX || evacuation.next >= self.index.places() {
                break;
            }
            self.evacuate_home(&mut evacuation, cx);
        }
        self.evacuation = Some(evacuation);
    }

    fn evacuate_home(&mut self, evacuation: &mut Evacuation, cx: &mut impl Context) {
        let within = |home: &HomeKey| self.index.get(*home).base.is_within(evacuation.upto);
        let Some(home) = self.index.home_at(evacuation.next).filter(within) else {
            (evacuation.next, evacuation.step, evacuation.rows) = (evacuation.next + 1, Step::Own, Rows::None);
            return;
        };
        match evacuation.step {
            Step::Own => {
                let state = self.index.get(home);
                if let Some(own) = &state.own {
                    let (user, shard) = (state.user, self.config.layout.user_shard(&state.user));
                    let at = cx.append(RecordKind::OwnRow, shard, |body| own.write(user, body));
                    self.wait_for_row(evacuation, at, home, Last::No);
                }
                evacuation.step = Step::Forgotten(ConversationId::NONE);
            }
            Step::Forgotten(after) => match self.forgotten_again(home, after, cx) {
                Some((conversation, at)) => {
                    self.wait_for_row(evacuation, at, home, Last::No);
                    evacuation.step = Step::Forgotten(conversation);
                }
                None => evacuation.step = Step::Barred(UserId::NONE),
            },
            Step::Barred(after) => match self.barred_again(home, after, cx) {
                Some((last, at)) => {
                    self.wait_for_row(evacuation, at, home, Last::No);
                    evacuation.step = Step::Barred(last);
                }
                None => evacuation.step = Step::Entries(Listed::NOWHERE),
            },
            Step::Entries(after) => {
                let mut entries = core::mem::take(&mut self.entry_scratch);
                let (record, written) = self.index.again(home, after, HOME_RECORD_ENTRIES, &mut entries);
                let (at, _) = self.append(RecordKind::HomeRow, &record, &entries, cx);
                let last = if entries.len() < HOME_RECORD_ENTRIES { Last::Yes } else { Last::No };
                self.entry_scratch = entries;
                self.wait_for_row(evacuation, at, home, last);
                evacuation.step = Step::Entries(written);
                if last == Last::Yes {
                    (evacuation.next, evacuation.step, evacuation.rows) = (evacuation.next + 1, Step::Own, Rows::None);
                }
            }
        }
        cx.want_write();
    }

    fn wait_for_row(&mut self, evacuation: &mut Evacuation, at: BatchPosition, home: HomeKey, last: Last) {
        let first = core::mem::replace(&mut evacuation.rows, Rows::Some) == Rows::None;
        evacuation.last = at.lsn;
        self.rows.push_back((at, Row { home, first, last: last == Last::Yes }));
    }
}

/// Whether a row is the last of its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}
