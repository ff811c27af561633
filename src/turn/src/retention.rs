//! Keeping the log within its bytes: the oldest segments go, after the live state in them was written again.

use tidings_core::{Counter, Node, node::Progress};
use tidings_wire::Generation;

use crate::{io::Io, log_port::LogPort, machine::Machine, shared::Shared};

/// Segments beyond those with batches that a log needs: two prepared, one being prepared, one that was just dropped.
const AHEAD: u64 = 4;

/// Where a reactor is with dropping segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// After a start with another number of reactors: state in other logs is written into the own one first.
    Settling,
    /// Nothing to do, or waiting for others to settle.
    Idle,
    /// State in segments up to this one is being written again.
    Evacuating(Generation),
}

/// The retention of one reactor.
#[derive(Debug)]
pub(crate) struct Retention {
    stage: Stage,
    segments_max: u64,
}

impl Retention {
    /// Keeps at most `bytes` in segments of `segment_len`.
    pub(crate) fn new(bytes: u64, segment_len: u64, node: &mut Node) -> Self {
        node.start_evacuation(Generation(0));
        Self { stage: Stage::Settling, segments_max: (bytes / segment_len).saturating_sub(AHEAD).max(2) }
    }

    /// One step a turn.
    pub(crate) fn step<M: Machine>(
        &mut self,
        machine: &mut M,
        node: &mut Node,
        io: &mut Io<M::Socket>,
        shared: &Shared<M>,
    ) {
        match self.stage {
            Stage::Settling => {
                if node.evacuated() == Progress::Done {
                    shared.set_settled();
                    self.stage = Stage::Idle;
                }
            }
            Stage::Idle => {
                if !shared.all_settled() || self.within(&io.log) {
                    return;
                }
                if let Some((log, dropped)) = io.log.drop_archived(machine) {
                    shared.raise_floor(log, Generation(dropped.0 + 1));
                    node.counters.count(Counter::SegmentsDropped);
                } else if let Some(oldest) = io.log.log.segments().next().map(|segment| segment.generation) {
                    node.start_evacuation(oldest);
                    self.stage = Stage::Evacuating(oldest);
                }
            }
            Stage::Evacuating(oldest) => {
                if node.evacuated() == Progress::Done {
                    let own = node.config().log;
                    shared.raise_floor(own, Generation(oldest.0 + 1));
                    node.set_floor(own, Generation(oldest.0 + 1));
                    let dropped = io.log.drop_oldest(machine);
                    assert_eq!(dropped.map(|segment| segment.generation), Some(oldest));
                    node.counters.count(Counter::SegmentsDropped);
                    self.stage = Stage::Idle;
                }
            }
        }
    }

    fn within(&self, log: &LogPort) -> bool {
        let own = log.log.segments().len();
        own < 2 || (own + log.archived_segments()) as u64 <= self.segments_max
    }
}
