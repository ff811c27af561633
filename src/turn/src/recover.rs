//! From logs to reactors: reads every log of a node and rebuilds each reactor's share.
//!
//! Logs have ids, not cores. In any one run (*epoch*) a shard's records go to one log; with another number of reactors
//! in the next run they go to another. So the logs are merged by epoch: within one, the order between logs does not
//! matter, since no two of them hold records of the same shard.

use std::{collections::BTreeMap, fmt};

use tidings_canary::{self as canary, Canary};
use tidings_core::{Node, ReplayError, records::RecordKind};
use tidings_log::{
    BatchRef, Epoch, Log, LogConfig, LogEnd, LogKey, RecoverError, Scanner, Storage, Tail, prepare::Preparer, records,
};
use tidings_wire::{LogId, LogPosition, Lsn};

use crate::log_port::{Archive, LogParts};

/// Why a data directory cannot be recovered.
#[derive(Debug)]
pub enum RecoveryError {
    /// A log cannot be read, or is damaged.
    Log(LogId, RecoverError),
    /// A record makes no sense.
    Record(LogId, LogPosition, ReplayError),
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(log, error) => write!(f, "log {}: {error}", log.0),
            Self::Record(log, loc, error) => {
                write!(f, "log {}, segment {}, offset {}: {error}", log.0, loc.generation().0, loc.offset())
            }
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
    /// Most bytes of a batch.
    pub batch_max: usize,
}

impl LogSettings {
    fn key(&self, log: LogId) -> LogKey {
        LogKey { log, nonce: self.nonce }
    }

    fn config(&self, log: LogId) -> LogConfig {
        let Self { epoch, segment_len, batch_max, .. } = *self;
        LogConfig { key: self.key(log), epoch, segment_len, batch_max }
    }
}

/// Reads every log into the nodes of this run, one a reactor: `nodes` are new, `storages` are all logs that there are or
/// will be, `known` is where they end at least.
///
/// # Errors
/// If acknowledged data is missing or cannot be understood: then nothing is served.
pub fn recover<S: Storage>(
    mut nodes: Vec<Node>,
    storages: Vec<(LogId, S)>,
    known: &BTreeMap<LogId, LogEnd>,
    settings: LogSettings,
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
        let newest = LogEnd { generation: scanner.newest(), batch: Lsn(u64::MAX) };
        let end = known.get(&id).copied().unwrap_or_default();
        end.check(newest).map_err(|damage| failed(RecoverError::Damaged(damage)))?;
        let more = scanner.advance().map_err(failed)?;
        scanners.push((id, scanner, more));
    }

    let mut count = 0;
    // The earliest epoch first; every log gives all its batches of that epoch.
    while let Some(epoch) = scanners.iter().filter(|(.., more)| *more).map(|(_, scanner, _)| scanner.epoch()).min() {
        for (id, scanner, more) in &mut scanners {
            while *more && scanner.epoch() == epoch {
                count += replay(*id, &scanner.batch(), &mut nodes)?;
                *more = scanner.advance().map_err(|error| RecoveryError::Log(*id, error))?;
            }
        }
    }

    for (at, node) in nodes.iter().enumerate() {
        node.check_replayed().map_err(|error| RecoveryError::Record(LogId(at as u8), LogPosition::default(), error))?;
    }
    let mut logs = BTreeMap::new();
    for (id, scanner, _) in scanners {
        let next_slot = scanner.next_slot();
        let failed = |error| RecoveryError::Log(id, error);
        let (end, found) = (known.get(&id).copied().unwrap_or_default(), scanner.end());
        end.check(found).map_err(|damage| failed(RecoverError::Damaged(damage)))?;
        let (tail, storage) = scanner.finish().map_err(failed)?;
        if id.0 as usize >= nodes.len() {
            // No reactor will write the tip that vouches for the last batch of this log.
            Log::vouch(settings.config(id), &tail, &storage).map_err(|error| failed(error.into()))?;
        }
        logs.insert(id, FoundLog { tail, next_slot });
    }
    let torn = logs.values().filter(|log| log.tail.torn).count();
    Ok(Recovered { nodes, logs, records: count, torn })
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
            given_up: false,
        };
        let FoundLog { tail, next_slot } = &logs[&own];
        LogParts {
            log: Log::open(settings.config(own), tail.clone()),
            preparer: Preparer::new(settings.key(own), settings.segment_len, tail.raw.clone(), *next_slot),
            archives: logs.iter().filter(|(log, _)| **log != own).map(archive).collect(),
        }
    };
    (0..reactors).map(parts).collect()
}

fn replay(log: LogId, batch: &BatchRef<'_>, nodes: &mut [Node]) -> Result<u64, RecoveryError> {
    let mut count = 0;
    for record in records(&batch.header, batch.bytes) {
        let start = batch.loc(0);
        let record = record.map_err(|_| RecoveryError::Record(log, start, ReplayError::Body))?;
        let loc = batch.loc(record.offset);
        let failed = |error| RecoveryError::Record(log, loc, error);
        let kind = RecordKind::from_u8(record.header.kind).ok_or_else(|| failed(ReplayError::Body))?;
        let shard = record.header.shard;
        let owner = nodes[0].config().layout.reactor(shard);
        let node = &mut nodes[owner.0 as usize];
        node.replay(kind, shard, record.header.index, record.body, loc).map_err(failed)?;
        count += 1;
    }
    Ok(count)
}
