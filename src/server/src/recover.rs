//! From logs to reactors: reads every log of the data directory and rebuilds each reactor's node.
//!
//! Logs have ids, not cores. In any one run (*epoch*) a partition's records go to one log; with another number of reactors
//! in the next run they go to another. So the logs are merged by epoch: within one, the order between logs does not
//! matter, since no two of them hold records of the same partition.

use std::{collections::BTreeMap, fmt};

use tidings_core::{Layout, Node, NodeConfig, ReactorId, records::RecordKind, sequencer::ReplayError};
use tidings_log::{BatchRef, LogKey, RecoverError, Scanner, Tail, files::Files, records};
use tidings_wire::{Loc, LogId};

use crate::{config::ServerConfig, data::DataDir};

/// Why a data directory cannot be recovered.
#[derive(Debug)]
pub enum RecoveryError {
    /// A log cannot be read, or is damaged.
    Log(LogId, RecoverError),
    /// A record makes no sense.
    Record(LogId, Loc, ReplayError),
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
    /// Its files.
    pub files: Files,
    /// Where it ends.
    pub tail: Tail,
    /// The first slot number that was never used.
    pub next_slot: u32,
}

/// What recovery found.
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

/// Reads everything.
///
/// # Errors
/// If acknowledged data is missing or cannot be understood: then nothing is served.
pub fn recover(data: &DataDir, config: &ServerConfig) -> Result<Recovered, RecoveryError> {
    let reactors = config.cores.len() as u16;
    let layout = Layout { partitions: data.partitions(), reactors };
    let mut nodes: Vec<Node> = (0..reactors).map(|at| Node::new(node_config(at, layout, data, config))).collect();

    let existing = data.logs().map_err(|error| RecoveryError::Log(LogId(0), error.into()))?;
    let mut ids: Vec<LogId> = (0..reactors).map(|at| LogId(at as u8)).chain(existing).collect();
    ids.sort_unstable();
    ids.dedup();

    let mut scanners = Vec::new();
    for id in ids {
        let failed = |error: RecoverError| RecoveryError::Log(id, error);
        let files = Files::open(&data.log_dir(id)).map_err(|error| failed(error.into()))?;
        let key = LogKey { log: id, nonce: data.log_nonce() };
        let mut scanner = Scanner::open(files.clone(), key).map_err(failed)?;
        let more = scanner.advance().map_err(failed)?;
        scanners.push((id, files, scanner, more));
    }

    let mut count = 0;
    // The earliest epoch first; every log gives all its batches of that epoch.
    while let Some(epoch) = scanners.iter().filter(|(.., more)| *more).map(|(_, _, scanner, _)| scanner.epoch()).min() {
        for (id, _, scanner, more) in &mut scanners {
            while *more && scanner.epoch() == epoch {
                count += replay(*id, &scanner.batch(), layout, &mut nodes)?;
                *more = scanner.advance().map_err(|error| RecoveryError::Log(*id, error))?;
            }
        }
    }

    for (at, node) in nodes.iter().enumerate() {
        node.check_replayed().map_err(|error| RecoveryError::Record(LogId(at as u8), Loc::default(), error))?;
    }
    let mut logs = BTreeMap::new();
    for (id, files, scanner, _) in scanners {
        let next_slot = scanner.next_slot();
        let tail = scanner.finish().map_err(|error| RecoveryError::Log(id, error))?;
        logs.insert(id, FoundLog { files, tail, next_slot });
    }
    let torn = logs.values().filter(|log| log.tail.torn).count();
    Ok(Recovered { nodes, logs, records: count, torn })
}

fn node_config(at: u16, layout: Layout, data: &DataDir, config: &ServerConfig) -> NodeConfig {
    NodeConfig {
        me: ReactorId(at),
        log: LogId(at as u8),
        layout,
        history: data.history(),
        user_rate: config.limits.user_rate(),
        idle_timeout_s: config.limits.idle_timeout_s,
        entities_max: config.limits.entities_max,
        seed: data.log_nonce() ^ u64::from(at),
    }
}

fn replay(log: LogId, batch: &BatchRef<'_>, layout: Layout, nodes: &mut [Node]) -> Result<u64, RecoveryError> {
    let mut count = 0;
    for record in records(&batch.header, batch.bytes) {
        let start = batch.loc(0);
        let record = record.map_err(|_| RecoveryError::Record(log, start, ReplayError::Body))?;
        let loc = batch.loc(record.offset);
        let failed = |error| RecoveryError::Record(log, loc, error);
        let kind = RecordKind::from_u8(record.header.kind).ok_or_else(|| failed(ReplayError::Body))?;
        let partition = record.header.partition;
        let node = &mut nodes[layout.reactor(partition).0 as usize];
        node.replay(kind, partition, record.header.index, record.body, loc).map_err(failed)?;
        count += 1;
    }
    Ok(count)
}
