//! How far the homes here have what shards of conversations tell. What was told and is not in the log is lost in a crash, so what may be
//! claimed is written down only after every home that changed was: [`RecordKind::Sources`]. A shard that starts asks for it, and tells
//! the rest again.
//!
//! A *snapshot* is taken of what was told; once every home that was dirty then is in the log, it may be claimed. Each home shard
//! claims for itself: one a second, and all of them when the server stops or drops segments. Who claims less is only told more.

use alloc::{boxed::Box, collections::BTreeMap, vec, vec::Vec};

use tidings_canary::{self as canary, Canary};
use tidings_wire::EntryIndex;

use super::{Homes, upkeep::Waiting};
use crate::{
    context::HomeContext,
    conversation::state::ReplayError,
    counters::{Counter, Counters},
    effects::ReactorId,
    lanes::{BlocksTold, Fanout, HeadUpdate, Reached, Source, ToHome},
    limits::{ASKED_MAX, HOME_FLUSH_MS},
    narrow::to_u32,
    records::{RecordKind, SourceRecord, SourcesRecord, listed_len, put, take},
    time::Mono,
};

/// By shard: nothing of it is missing up to an entry.
type Claim = BTreeMap<u16, EntryIndex>;

/// The sources of a reactor's homes.
#[derive(Debug)]
pub(super) struct Sources {
    /// Up to where nothing that was told is missing here, by shard, and whether there is anything new since the last snapshot.
    told: Box<[EntryIndex]>,
    news: bool,
    /// Up to where nothing is missing once what waits for a load is here, too.
    heard: Box<[EntryIndex]>,
    /// By shard, what was not missing before each message that waits for a load.
    held: BTreeMap<u16, Vec<EntryIndex>>,
    /// What had been told when the snapshot was taken, and the first dirty home after it.
    snapshot: Option<(Claim, u64)>,
    /// What may be claimed: all changes that come of it are in the log.
    claimable: Claim,
    /// What each home shard has claimed, durably.
    claimed: BTreeMap<u16, Claim>,
    /// What each home shard has written last.
    written: BTreeMap<u16, Claim>,
    /// Home shards of this reactor that claim as soon as there is room.
    due: Vec<u16>,
    /// When they do next.
    next_at: Mono,
    owned: Box<[u16]>,
    /// Who asked, and of which shard.
    asked: Vec<(ReactorId, u16)>,
    /// How often something of a shard was lost on its way, and whether it was told again since.
    lost: BTreeMap<u16, (u32, Again)>,
}

/// Whether what was lost was told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Told,
    NotYet,
}

impl Sources {
    /// Of the homes in some of so many shards.
    pub(super) fn new(shards: u32, owned: impl Iterator<Item = u16>) -> Self {
        Self {
            told: vec![EntryIndex(0); shards as usize].into_boxed_slice(),
            news: false,
            heard: vec![EntryIndex(0); shards as usize].into_boxed_slice(),
            held: BTreeMap::new(),
            snapshot: None,
            claimable: Claim::new(),
            claimed: BTreeMap::new(),
            written: BTreeMap::new(),
            due: Vec::new(),
            next_at: Mono(0),
            owned: owned.collect(),
            asked: Vec::new(),
            lost: BTreeMap::new(),
        }
    }

    /// Something of a shard was told.
    pub(super) fn told(&mut self, source: Source) {
        if self.lost.get(&source.shard).is_some_and(|(_, again)| *again == Again::NotYet) {
            return; // it does not know yet what is missing here
        }
        let heard = &mut self.heard[source.shard as usize];
        *heard = (*heard).max(source.reached);
        self.raise(source.shard);
    }

    fn raise(&mut self, shard: u16) {
        let heard = self.heard[shard as usize];
        let held = self.held.get(&shard).and_then(|held| held.iter().min().copied());
        let reached = held.map_or(heard, |held| held.min(heard));
        if reached > self.told[shard as usize] {
            (self.told[shard as usize], self.news) = (reached, true);
        }
    }

    /// Something that a shard told waits for a load: what is told after it leaves a gap.
    fn hold(&mut self, source: Source) {
        self.held.entry(source.shard).or_default().push(source.reached);
    }

    /// It waits no more.
    fn release(&mut self, source: Source) {
        if let Some(held) = self.held.get_mut(&source.shard) {
            held.iter().position(|reached| *reached == source.reached).map(|at| held.swap_remove(at));
            if held.is_empty() {
                self.held.remove(&source.shard);
            }
        }
    }

    /// What was claimed before the start is not missing after it.
    pub(super) fn start(&mut self) {
        for shard in (0..).take(self.told.len()) {
            let reached = self.reached(shard);
            (self.told[shard as usize], self.heard[shard as usize]) = (reached, reached);
        }
        self.claimable = self.snapshot();
    }

    /// Everything of a shard was told.
    pub(super) fn told_all(&mut self, reached: Reached) {
        if let Some((losses, again)) = self.lost.get_mut(&reached.source.shard)
            && *losses == reached.losses
        {
            *again = Again::Told;
        }
        self.told(reached.source);
    }

    /// Something that a shard told was lost on its way: it is asked for again.
    pub(super) fn lose(&mut self, from: ReactorId, shard: u16) {
        let (losses, again) = self.lost.entry(shard).or_insert((0, Again::Told));
        (*losses, *again) = (losses.wrapping_add(1), Again::NotYet);
        self.ask(from, shard);
    }

    /// All that was told of any shard.
    fn snapshot(&self) -> Claim {
        (0..).zip(self.told.iter().copied()).filter(|(_, reached)| *reached > EntryIndex(0)).collect()
    }

    /// Somebody asks.
    pub(super) fn ask(&mut self, from: ReactorId, shard: u16) {
        if !self.asked.contains(&(from, shard)) && self.asked.len() < ASKED_MAX {
            self.asked.push((from, shard));
        }
    }

    /// All home shards claim what they can: the server stops.
    pub(super) fn claim_all(&mut self) {
        self.due = self.owned.to_vec();
    }

    /// True if a home shard may claim more than it has written.
    fn has_news(&self, shard: u16) -> bool {
        !self.claimable.is_empty() && self.written.get(&shard) != Some(&self.claimable)
    }

    /// How far all homes here have what a shard told, durably.
    fn reached(&self, shard: u16) -> EntryIndex {
        let of =
            |home: &u16| self.claimed.get(home).and_then(|reached| reached.get(&shard)).copied().unwrap_or_default();
        self.owned.iter().map(of).min().unwrap_or_default()
    }
}

impl Homes {
    /// The next answer to who asked; given back with [`Self::ask_again`] if there is no room for it.
    pub(crate) fn next_answer(&mut self) -> Option<(ReactorId, Reached)> {
        let (to, shard) = self.sources.asked.pop()?;
        let losses = self.sources.lost.get(&shard).map_or(0, |(losses, _)| *losses);
        Some((to, Reached { source: Source { shard, reached: self.sources.reached(shard) }, losses }))
    }

    /// Recovery is over.
    pub(crate) fn start(&mut self) {
        self.sources.start();
    }

    /// A message from a conversation waits for its home to be loaded.
    pub(crate) fn hold(&mut self, message: &ToHome) {
        source_of(message).into_iter().for_each(|source| self.sources.hold(source));
    }

    /// It waits no more: it is given to [`Homes::told`] or to [`Homes::lose`] next.
    pub(crate) fn release(&mut self, message: &ToHome) {
        source_of(message).into_iter().for_each(|source| self.sources.release(source));
    }

    /// A message from a reactor's conversation could not wait for its home to be loaded. What is known of a conversation is told
    /// again; an answer that is lost is asked for again by the device.
    pub(crate) fn lose(&mut self, from: ReactorId, message: &ToHome, counters: &mut Counters) {
        counters.count(Counter::HeadUpdatesDropped);
        source_of(message).into_iter().for_each(|source| self.sources.lose(from, source.shard));
    }

    /// True if somebody asked who was not answered.
    pub(crate) fn has_answers(&self) -> bool {
        !self.sources.asked.is_empty()
    }

    /// Somebody asks how far homes have what a shard told.
    pub(crate) fn ask_again(&mut self, from: ReactorId, shard: u16) {
        self.sources.ask(from, shard);
    }

    /// All home shards claim what they can: the server stops.
    pub(crate) fn claim_all(&mut self) {
        self.sources.claim_all();
    }

    /// Takes and completes snapshots, and writes claims down.
    pub(super) fn claim(&mut self, cx: &mut impl HomeContext) {
        if !self.unwritten_barred.is_empty() {
            return; // what was told is not all in the log
        }
        let (first_dirty, last_dirty) = (self.dirtied - self.dirty.len() as u64, self.dirtied);
        let sources = &mut self.sources;
        let early = canary::is(Canary::ClaimedEarly);
        if let Some((reached, _)) = sources.snapshot.take_if(|(_, until)| first_dirty >= *until || early) {
            sources.claimable = reached;
        }
        if sources.snapshot.is_none() && core::mem::take(&mut sources.news) {
            sources.snapshot = Some((sources.snapshot(), last_dirty));
        }
        if sources.next_at <= cx.now().mono {
            // All together: each alone would take a batch for a few hundred bytes.
            sources.next_at = cx.now().mono.plus_ms(HOME_FLUSH_MS * sources.owned.len() as u64);
            sources.due.clear();
            sources.due.extend(&sources.owned);
        }
        while let Some(shard) = self.sources.due.pop() {
            if !self.sources.has_news(shard) {
                continue;
            }
            let len = listed_len::<SourcesRecord>() + self.sources.claimable.len() * listed_len::<SourceRecord>();
            if cx.room() < len {
                return self.sources.due.push(shard);
            }
            self.write_claim(shard, cx);
        }
    }

    fn write_claim(&mut self, shard: u16, cx: &mut impl HomeContext) {
        let claim = self.sources.claimable.clone();
        let at = cx.append(RecordKind::Sources, shard, |body| {
            put(body, &SourcesRecord { count: to_u32(claim.len()) });
            for (shard, reached) in &claim {
                put(body, &SourceRecord { shard: *shard, reached: reached.0 });
            }
        });
        cx.want_write();
        self.sources.written.insert(shard, claim.clone());
        self.waiting[shard as usize].push_back((at, Waiting::Claim { shard, claim }));
    }

    /// A claim is committed.
    pub(super) fn claimed(&mut self, shard: u16, claim: Claim) {
        self.sources.claimed.insert(shard, claim);
    }

    /// A claim that recovery read.
    pub(super) fn replay_sources(&mut self, shard: u16, mut body: &[u8]) -> Result<(), ReplayError> {
        let record: SourcesRecord = take(&mut body).map_err(|_| ReplayError::Body)?;
        let mut claim = Claim::new();
        for _ in 0..record.count {
            let source: SourceRecord = take(&mut body).map_err(|_| ReplayError::Body)?;
            claim.insert(source.shard, EntryIndex(source.reached));
        }
        self.sources.written.insert(shard, claim.clone());
        self.sources.claimed.insert(shard, claim);
        Ok(())
    }
}

/// Where a message comes from, if it says what a shard has committed.
fn source_of(message: &ToHome) -> Option<Source> {
    match message {
        ToHome::HeadUpdate(HeadUpdate { source, .. })
        | ToHome::Fanout(Fanout { source, .. })
        | ToHome::Receipt { source, .. } => Some(*source),
        ToHome::ReceiptOk { source, .. } | ToHome::Blocks(BlocksTold { source, .. }) => *source,
        // What is told to reactors that listen is owed to them if it is not told.
        ToHome::Posted(_) | ToHome::Bell(_) | ToHome::Heads { .. } | ToHome::AskHeadsAgain { .. } => None,
        // Answers, which a device asks for again, what it may ask for at any time, and what is about sources itself.
        ToHome::Sent { .. }
        | ToHome::Refused { .. }
        | ToHome::AskReached { .. }
        | ToHome::Reached(_)
        | ToHome::Answer { .. }
        | ToHome::GroupReceipts { .. }
        | ToHome::Data { .. }
        | ToHome::Fetched { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_homes_of_a_reactor_have_what_the_least_of_its_shards_claims() {
        let mut sources = Sources::new(8, [3, 7].into_iter());
        assert_eq!(sources.reached(1), EntryIndex(0));
        sources.claimed.insert(3, Claim::from([(1, EntryIndex(9))]));
        assert_eq!(sources.reached(1), EntryIndex(0));
        sources.claimed.insert(7, Claim::from([(1, EntryIndex(4)), (2, EntryIndex(8))]));
        assert_eq!((sources.reached(1), sources.reached(2)), (EntryIndex(4), EntryIndex(0)));
    }
}
