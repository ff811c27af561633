//! From logs to reactors: reads every log of a node and rebuilds each reactor's share.
//!
//! Logs have ids, not cores. In any one run (*epoch*) a shard's records go to one log; with another number of reactors
//! in the next run they go to another. So the logs are merged by epoch: within one, the order between logs does not
//! matter, since no two of them hold records of the same shard.

use std::{collections::BTreeMap, fmt, io};

use tidings_canary::{self as canary, Canary};
use tidings_core::{
    Node, ReplayError, Replayed,
    records::{RecordKind, ShardRow},
};
use tidings_log::{
    BatchRef, Epoch, Log, LogConfig, LogEnd, LogKey, Record, RecoverError, Scanner, Solo, Storage, Tail,
    prepare::{Lengths, Preparer},
    records,
};
use tidings_wire::{Entry, EntryIndex, Generation, LogId, LogPosition, Lsn, Term, Timestamp, archive};

use crate::{
    io::RECORD_VERSION,
    log_port::{Archive, LogParts},
    suffix::Suffixes,
};

/// Why a data directory cannot be recovered.
#[derive(Debug)]
pub enum RecoveryError {
    /// A log cannot be read, or is damaged.
    Log(LogId, RecoverError),
    /// A record makes no sense.
    Record(LogId, LogPosition, ReplayError),
    /// A log was written in this run or a later one: whoever counted this run did not know of those.
    Written(LogId, Epoch),
    /// It cannot be written down that this run begins.
    NotCounted(io::Error),
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(log, error) => write!(f, "log {}: {error}", log.0),
            Self::Record(log, loc, error) => {
                write!(f, "log {}, segment {}, offset {}: {error}", log.0, loc.generation().0, loc.offset())
            }
            Self::Written(log, epoch) => write!(
                f,
                "log {} was written in start {}, and control.json knows of fewer: it is older than the logs; put back the newer one, \
                 or, if that cannot be had any more, say so with `tidings restore`",
                log.0, epoch.0
            ),
            Self::NotCounted(error) => write!(f, "the start cannot be counted: {error}"),
        }
    }
}

impl std::error::Error for RecoveryError {}

/// A log as it was found.
#[derive(Debug)]
pub struct FoundLog {
    /// Where it ends.
    pub tail: Tail,
    /// The first slot number that was never used.
    pub next_slot: u32,
}

/// What a data directory holds.
#[derive(Debug)]
pub struct Recovered {
    /// One node a reactor, in order.
    pub nodes: Vec<Node>,
    /// The shards' part in replication: where their entries go on.
    pub replica: Solo,
    /// Every log, also those that no reactor of this run writes.
    pub logs: BTreeMap<LogId, FoundLog>,
    /// Records read.
    pub records: u64,
    /// Logs whose tail was torn.
    pub torn: usize,
}

impl Recovered {
    /// Where every log that has segments ends.
    pub fn ends(&self) -> BTreeMap<LogId, LogEnd> {
        let ends = self.logs.iter().map(|(log, found)| (*log, LogEnd::found(&found.tail)));
        ends.filter(|(_, end)| *end != LogEnd::default()).collect()
    }
}

/// What the logs of a run are made with.
#[derive(Clone, Copy, Debug)]
pub struct LogSettings {
    /// Random, of the data directory: goes into every checksum.
    pub nonce: u64,
    /// This run.
    pub epoch: Epoch,
    /// Bytes of a new segment.
    pub segment_len: u64,
    /// Bytes of the first segment of a log.
    pub first_segment_len: u64,
    /// Most bytes of a batch.
    pub batch_max: usize,
    /// Most writes of a log in flight.
    pub writes: usize,
    /// The run in which the data directory was restored last. Until then homes may have heard of messages that are no more, so what
    /// they wrote is passed over, and conversations tell them what there is; 0: it never was.
    pub restored: Epoch,
}

impl LogSettings {
    fn key(&self, log: LogId) -> LogKey {
        LogKey { log, nonce: self.nonce }
    }

    fn lengths(&self) -> Lengths {
        Lengths { first: self.first_segment_len, most: self.segment_len }
    }

    fn config(&self, log: LogId) -> LogConfig {
        let Self { epoch, segment_len, batch_max, writes, .. } = *self;
        LogConfig { key: self.key(log), epoch, segment_len, batch_max, writes }
    }
}

/// Reads every log into the nodes of this run, one a reactor: `nodes` are new, `storages` are all logs that there are or
/// will be, `known` is where they end at least. Once everything was read and nothing is missing `count` writes down that this run begins: it comes
/// before the first change of a log.
///
/// # Errors
/// If acknowledged data is missing or cannot be understood, or this run's number was given before: then nothing is served, and nothing was
/// changed. If the storage fails while torn tails are erased.
pub fn recover<S: Storage>(
    mut nodes: Vec<Node>,
    storages: Vec<(LogId, S)>,
    known: &BTreeMap<LogId, LogEnd>,
    settings: LogSettings,
    count: impl FnOnce() -> io::Result<()>,
) -> Result<Recovered, RecoveryError> {
    let known = if canary::is(Canary::MissingUnnoticed) { &BTreeMap::new() } else { known };
    for (log, end) in known.iter().filter(|(log, _)| storages.iter().all(|(id, _)| id != *log)) {
        end.check(LogEnd::default()).map_err(|damage| RecoveryError::Log(*log, RecoverError::Damaged(damage)))?;
    }
    let mut scanners = Vec::new();
    for (id, storage) in storages {
        let failed = |error: RecoverError| RecoveryError::Log(id, error);
        let mut scanner = Scanner::open(storage, settings.key(id)).map_err(failed)?;
        // Before anything is cut off: a missing segment must not make what is before it look like a torn tail.
        let (first, generation) = (scanner.oldest(), scanner.newest());
        let newest = LogEnd { first, generation, batch: Lsn(u64::MAX) };
        let end = known.get(&id).copied().unwrap_or_default();
        if let Err(damage) = end.check(newest) {
            // Whoever knows of less than there is may also know of more: then it is not the log that is wrong.
            while scanner.advance().is_ok_and(|more| more) {
                if scanner.epoch() >= settings.epoch {
                    return Err(RecoveryError::Written(id, scanner.epoch()));
                }
            }
            return Err(failed(RecoverError::Damaged(damage)));
        }
        let more = scanner.advance().map_err(failed)?;
        scanners.push((id, scanner, more));
    }

    let shards = nodes[0].config().layout.shards.count();
    let new = || Replay::new(shards, settings);
    let mut replay = new();
    read_all(&mut scanners, |id, batch| replay.batch(id, batch, &mut nodes))?;
    if replay.found_replaced {
        let mut suffixes = std::mem::take(&mut replay.suffixes);
        suffixes.begin_again();
        replay = Replay { suffixes, knows_replaced: true, ..new() };
        nodes.iter_mut().for_each(|node| *node = Node::new(*node.config()));
        for (id, scanner, more) in &mut scanners {
            scanner.rewind();
            *more = scanner.advance().map_err(|error| RecoveryError::Log(*id, error))?;
        }
        read_all(&mut scanners, |id, batch| replay.batch(id, batch, &mut nodes))?;
    }
    let Replay { count: records, replica, latest, .. } = replay;
    if let Some((epoch, log)) = latest.filter(|(epoch, _)| *epoch >= settings.epoch) {
        return Err(RecoveryError::Written(log, epoch));
    }

    for (at, node) in nodes.iter().enumerate() {
        node.check_replayed().map_err(|error| RecoveryError::Record(LogId(at as u8), LogPosition::default(), error))?;
    }
    for (id, scanner, _) in &scanners {
        let end = known.get(id).copied().unwrap_or_default();
        end.check(scanner.end()).map_err(|damage| RecoveryError::Log(*id, RecoverError::Damaged(damage)))?;
    }
    count().map_err(RecoveryError::NotCounted)?;
    let mut logs = BTreeMap::new();
    for (id, scanner, _) in scanners {
        let next_slot = scanner.next_slot();
        let failed = |error| RecoveryError::Log(id, error);
        let (tail, storage) = scanner.finish().map_err(failed)?;
        if id.0 as usize >= nodes.len() {
            // No reactor will write the tip that vouches for the last batch of this log.
            Log::vouch(settings.config(id), &tail, &storage).map_err(|error| failed(error.into()))?;
        }
        logs.insert(id, FoundLog { tail, next_slot });
    }
    let torn = logs.values().filter(|log| log.tail.torn).count();
    Ok(Recovered { nodes, replica, logs, records, torn })
}

/// The log of each reactor, in order, made of what was found.
///
/// # Panics
/// If the log of a reactor was not among those that were recovered.
pub fn log_parts(logs: &BTreeMap<LogId, FoundLog>, reactors: usize, settings: LogSettings) -> Vec<LogParts> {
    let parts = |at: usize| {
        let own = LogId(at as u8);
        let archive = |(log, found): (&LogId, &FoundLog)| Archive {
            log: *log,
            segments: found.tail.segments.clone(),
            orphaned: log.0 as usize >= reactors && log.0 as usize % reactors == at,
            kept_from: Generation(0),
        };
        let FoundLog { tail, next_slot } = &logs[&own];
        LogParts {
            log: Log::open(settings.config(own), tail.clone()),
            preparer: Preparer::new(settings.key(own), settings.lengths(), tail.raw.clone(), *next_slot),
            archives: logs.iter().filter(|(log, _)| **log != own).map(archive).collect(),
        }
    };
    (0..reactors).map(parts).collect()
}

type Scanners<S> = [(LogId, Scanner<S>, bool)];

/// Gives all batches of all logs to `take`: the earliest epoch first, and of each epoch log after log.
fn read_all<S: Storage>(
    scanners: &mut Scanners<S>,
    mut take: impl FnMut(LogId, &BatchRef<'_>) -> Result<(), RecoveryError>,
) -> Result<(), RecoveryError> {
    while let Some(epoch) = scanners.iter().filter(|(.., more)| *more).map(|(_, scanner, _)| scanner.epoch()).min() {
        for (id, scanner, more) in &mut *scanners {
            while *more && scanner.epoch() == epoch {
                take(*id, &scanner.batch())?;
                *more = scanner.advance().map_err(|error| RecoveryError::Log(*id, error))?;
            }
        }
    }
    Ok(())
}

/// Records on their way to their nodes.
struct Replay {
    replica: Solo,
    suffixes: Suffixes,
    /// Something was replaced by what was read later: everything must be read again.
    found_replaced: bool,
    /// What is replaced is known, and passed over.
    knows_replaced: bool,
    /// What homes wrote in runs up to this one is passed over.
    restored: Epoch,
    /// The latest run in which a log was written, and that log.
    latest: Option<(Epoch, LogId)>,
    count: u64,
}

impl Replay {
    fn new(shards: u32, settings: LogSettings) -> Self {
        let LogSettings { epoch, restored, .. } = settings;
        let (replica, suffixes) = (Solo::new(shards, Term(epoch.0)), Suffixes::default());
        Self { replica, suffixes, found_replaced: false, knows_replaced: false, restored, latest: None, count: 0 }
    }

    fn batch(&mut self, log: LogId, batch: &BatchRef<'_>, nodes: &mut [Node]) -> Result<(), RecoveryError> {
        self.latest = self.latest.max(Some((batch.header.name().epoch, log)));
        for record in records(&batch.header, batch.bytes) {
            let start = batch.loc(0);
            let record = record.map_err(|_| RecoveryError::Record(log, start, ReplayError::Body))?;
            let at = batch.loc(record.offset);
            self.record(&record, (at, batch.header.name().epoch), nodes)
                .map_err(|error| RecoveryError::Record(log, at, error))?;
        }
        Ok(())
    }

    fn record(
        &mut self,
        record: &Record<'_>,
        (at, epoch): (LogPosition, Epoch),
        nodes: &mut [Node],
    ) -> Result<(), ReplayError> {
        self.count += 1;
        if self.knows_replaced && self.suffixes.is_replaced(&record.header) {
            return Ok(());
        }
        if !self.knows_replaced {
            self.found_replaced |= self.suffixes.look(&record.header);
            if self.found_replaced {
                return Ok(()); // only the rest of what is replaced is of interest
            }
        }
        let header = &record.header;
        if u32::from(header.shard) >= nodes[0].config().layout.shards.count() {
            return Err(ReplayError::Body);
        }
        let owner = nodes[0].config().layout.reactor(header.shard);
        let node = &mut nodes[owner.0 as usize];
        let known = (header.version == RECORD_VERSION).then(|| RecordKind::from_u8(header.kind)).flatten();
        let kind = known.ok_or(ReplayError::Kind)?;
        header.entry().into_iter().for_each(|entry| self.replica.recovered(entry));
        if kind == RecordKind::ShardRow {
            let row: ShardRow = archive::read(record.body).map_err(|_| ReplayError::Body)?;
            self.replica.recovered(Entry { shard: header.shard, term: Term(row.term), index: EntryIndex(row.last) });
        }
        let is_of_before = kind.is_told() || kind.is_of_numbers();
        let kind = if is_of_before && epoch <= self.restored { RecordKind::Void } else { kind };
        node.replay(&replayed(record, kind, at))
    }
}

/// What a node is told of a record.
pub fn replayed<'a>(record: &Record<'a>, kind: RecordKind, at: LogPosition) -> Replayed<'a> {
    let Record { header, body, .. } = *record;
    let entry = header.entry().map(|entry| entry.index);
    Replayed { kind, shard: header.shard, entry, ts: Timestamp(header.ts), body, at }
}
