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

/// What a turn does that would grow with what is there if nothing bounded it, as far as a reactor counts it, and how much of it one may do.
const WORK: [(Counter, &str, usize); 2] = [
    // When a start is over, and when a lane had no room before: conversations that are looked at, each of which tells two homes.
    (Counter::HeadUpdatesRepeated, "heads told again in a turn", 2 * ENTITIES_PER_TURN),
    (Counter::SegmentsDropped, "segments dropped in a turn", 1),
];

/// How much of it a reactor has done since it started.
#[derive(Clone, Copy, Debug)]
pub struct Work([u64; WORK.len()]);

impl Work {
    /// What its counters say.
    pub fn of(counters: &Counters) -> Self {
        Self(WORK.map(|(counter, ..)| counters.get(counter)))
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
}

impl Limits {
    /// Checks what one turn has done.
    ///
    /// # Errors
    /// What was too much, how much it was, and how much it may be.
    pub fn check_turn(
        &self,
        (before, after): (Work, Work),
        stats: &mut Stats,
    ) -> Result<(), (&'static str, usize, usize)> {
        for (at, (_, name, bound)) in WORK.into_iter().enumerate() {
            let done = (after.0[at] - before.0[at]) as usize;
            stats.peak(name, done);
            if done > bound {
                return Err((name, done, bound));
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
            ("records", gauge.waiting, (SEALED_MAX + 1) * self.batch / RECORD_MIN),
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
