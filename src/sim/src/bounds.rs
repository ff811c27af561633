//! The bounds of everything that could grow, checked after every turn.

use tidings_core::limits::{ENTITIES_PER_TURN, FETCHES, OUT_HARD, STREAM_BYTES_MAX, WATCHERS_MAX};
use tidings_core::{Counter, Counters};
use tidings_log::{prepare::READY_AIM, writer::SEALED_MAX};
use tidings_turn::{Gauge, PARKED_CARRY_MAX, PARKED_MESSAGES_MAX};
use tidings_wire::limits::FRAME_MAX;

use crate::stats::Stats;

/// Connections over the limit that are told so.
const TOLD_FULL: usize = 64;
/// The least that a record takes of a batch.
const RECORD_MIN: usize = 32;
/// Output that one input can add to a connection before it counts as slow: a page of changes, and a window of answers.
const OUT_SLACK: usize = 2 * FRAME_MAX as usize;
/// Segments that a log may have beyond its share while state of others is being taken over.
const SEGMENTS_SLACK: usize = 8;
/// What one turn does of anything that has no bound of its own.
const COUNTED_PER_TURN: u64 = 4096;

/// How much one turn may do of each thing that a reactor counts: nothing that it does may grow with what is there.
fn most_in_a_turn(counter: Counter, limits: &Limits) -> Option<u64> {
    Some(match counter {
        // When a start is over, and when a lane had no room before: conversations that are looked at, each of which tells two homes or, of a
        // group, each reactor at most twice.
        Counter::HeadUpdatesRepeated => (2 * limits.reactors * ENTITIES_PER_TURN) as u64,
        // They are counted when their batches are durable.
        Counter::Evacuated | Counter::Committed => limits.records() as u64,
        // Each message of a batch, to each device that may have it.
        Counter::Pushed => (limits.records() * limits.connections) as u64,
        Counter::SegmentsDropped => 1,
        Counter::BatchBytes | Counter::BatchPadding => return None,
        _ => COUNTED_PER_TURN,
    })
}

/// What a reactor has done since it started.
#[derive(Clone, Copy, Debug)]
pub struct Work([u64; Counter::ALL.len()]);

impl Work {
    /// What its counters say.
    pub fn of(counters: &Counters) -> Self {
        Self(std::array::from_fn(|at| counters.get(Counter::ALL[at])))
    }
}

/// What a reactor was configured with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections.
    pub connections: usize,
    /// Receive buffers.
    pub buffers: usize,
    /// Bytes of a batch.
    pub batch: usize,
    /// Segments.
    pub segments: usize,
    /// Reactors.
    pub reactors: usize,
}

impl Limits {
    /// Records that wait for their batches.
    fn records(&self) -> usize {
        (SEALED_MAX + 1) * self.batch / RECORD_MIN
    }

    /// Checks what one turn has done.
    ///
    /// # Errors
    /// What was too much, how much it was, and how much it may be.
    pub fn check_turn(
        &self,
        (before, after): (Work, Work),
        stats: &mut Stats,
    ) -> Result<(), (&'static str, usize, usize)> {
        for (at, counter) in Counter::ALL.iter().enumerate() {
            let (done, bound) = (after.0[at] - before.0[at], most_in_a_turn(*counter, self));
            let Some(bound) = bound.filter(|_| done > 0) else { continue };
            stats.peak(counter.name(), done as usize);
            if done > bound {
                return Err((counter.name(), done as usize, bound as usize));
            }
        }
        Ok(())
    }

    /// Checks a gauge.
    ///
    /// # Errors
    /// What is too large, how large, and how large it may be.
    pub fn check(&self, gauge: &Gauge, stats: &mut Stats) -> Result<(), (&'static str, usize, usize)> {
        let rows = [
            ("connections", gauge.connections, self.connections + TOLD_FULL),
            ("received chunks", gauge.inbox, self.buffers + self.connections + TOLD_FULL),
            ("bytes of output", gauge.output, OUT_HARD + OUT_SLACK),
            ("bytes of unparsed frames", gauge.carry, PARKED_CARRY_MAX + FRAME_MAX as usize + crate::CHUNK),
            ("fetches", gauge.fetches, FETCHES),
            ("watchers", gauge.watchers, WATCHERS_MAX),
            ("bytes of what is being written", gauge.stream_bytes, STREAM_BYTES_MAX),
            ("records", gauge.waiting, self.records()),
            ("parked messages", gauge.parked, PARKED_MESSAGES_MAX),
            ("segments", gauge.segments, self.segments.max(2) + SEGMENTS_SLACK),
            ("prepared segments", gauge.ready, READY_AIM + SEGMENTS_SLACK),
        ];
        for (name, size, bound) in rows {
            stats.peak(name, size);
            if size > bound {
                return Err((name, size, bound));
            }
        }
        Ok(())
    }
}
