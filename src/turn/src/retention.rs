//! Keeping the log within its bytes: the oldest segments go, after the live state in them was written again, and as many of the messages that
//! somebody has not received as half of what goes can hold.

use tidings_core::{Counter, Effects, Node, node::Progress};
use tidings_wire::{EntryIndex, Generation, Lsn};

use crate::{
    config::AHEAD,
    io::Io,
    log_port::{Archived, LogPort},
    machine::Machine,
    shared::Shared,
};

/// Room in the open batch for a shard's row, and more.
const SHARD_ROW_ROOM: usize = 256;

/// Where a reactor is with dropping segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// After a start with another number of reactors: state in other logs is written into the own one first.
    Settling,
    /// Nothing to do, or waiting for others to settle.
    Idle,
    /// Segments up to this one are to go, once all that is sealed is applied: what is in flight may be in them.
    Waiting(Generation, Lsn),
    /// State and what was not delivered in segments up to this one, of so many bytes, is being written again.
    Evacuating(Generation, u64),
    /// Segments up to this one hold nothing that is needed, and go.
    Dropping(Generation),
}

/// The retention of one reactor.
#[derive(Debug)]
pub(crate) struct Retention {
    stage: Stage,
    bytes_max: u64,
    segment_len: u64,
    /// Bytes of the own log when what goes on began.
    own_before: u64,
    /// The next shard whose row is written again, and the batch of the last row.
    next_shard: u16,
    last_row: Lsn,
    /// How much was dropped and how much was written again for it, of late.
    dropped: u64,
    rewritten: u64,
    /// Bytes of rows that had been appended when state began to be written again.
    rows_before: u64,
}

/// What was dropped and written again counts until so many times of what is kept was dropped: half of it is forgotten then.
const REMEMBERED: u64 = 2;

/// Of what goes half may be messages that somebody has not received, which are written again.
const KEPT_OF_GOING: u64 = 2;
/// Of what is kept in all an eighth may be such messages that lie in other logs.
const KEPT_OF_OTHERS: u64 = 8;
/// Segments by which the log may grow meanwhile: reading is slower than writing may be.
const GROWS_BY: u64 = 2;

impl Retention {
    /// Keeps at most `bytes` in segments of at most `segment_len`.
    pub(crate) fn new(bytes: u64, segment_len: u64, node: &mut Node) -> Self {
        let bytes_max = bytes.saturating_sub(AHEAD * segment_len).max(2 * segment_len);
        node.start_evacuation(Generation(0));
        // Messages in other logs, whose segments may go at any time.
        node.start_keeping(Generation(0), bytes_max / KEPT_OF_OTHERS);
        let (next_shard, last_row, dropped, rewritten, rows_before) = (0, Lsn(0), 0, 0, 0);
        Self {
            stage: Stage::Settling,
            bytes_max,
            segment_len,
            own_before: u64::MAX / 2,
            next_shard,
            last_row,
            dropped,
            rewritten,
            rows_before,
        }
    }

    /// Segments went, and what had to be kept of them was written again.
    fn note(&mut self, dropped: u64, rewritten: u64) {
        if self.dropped > REMEMBERED * self.bytes_max {
            (self.dropped, self.rewritten) = (self.dropped / 2, self.rewritten / 2);
        }
        self.dropped += dropped;
        self.rewritten += rewritten;
    }

    /// How many hundredths of a log are state that must be written again: as was seen when segments went, and at least what is there takes.
    pub(crate) fn state_share(&self, node: &Node) -> u8 {
        // Before much was dropped little is known: the first segments may have held nothing else.
        let seen = self.rewritten * 100 / self.dropped.max(self.bytes_max / 4).max(1);
        let least = node.state_estimate() * 100 / self.bytes_max;
        u8::try_from(seen.max(least).min(100)).expect("at most a hundred")
    }

    /// Writes again how far shards' entries go, as far as there is room. True once all of that is durable.
    fn shards_written<S>(&mut self, node: &mut Node, io: &mut Io<S>) -> bool {
        let layout = node.config().layout;
        while u32::from(self.next_shard) < layout.shards.count() && io.room() >= SHARD_ROW_ROOM {
            let entry = io.replica.last(self.next_shard);
            if layout.reactor(self.next_shard) == node.config().me && entry.index > EntryIndex(0) {
                self.last_row = node.write_shard_row(entry, io).lsn;
            }
            self.next_shard += 1;
        }
        u32::from(self.next_shard) == layout.shards.count() && io.log.log.durable().covers(self.last_row)
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
                self.own_before = self.own_before.min(Self::own_len(&io.log));
                self.hurry(node, io);
                if self.shards_written(node, io) && node.evacuated() == Progress::Done {
                    shared.set_settled();
                    self.stage = Stage::Idle;
                }
            }
            Stage::Idle => {
                let excess = self.excess(&io.log);
                if !shared.all_settled() || excess == 0 {
                    return;
                }
                match io.log.drop_archived(machine, io.now) {
                    Archived::Goes(log, going) => {
                        shared.raise_floor(log, Generation(going.0 + 1));
                        node.counters.count(Counter::SegmentsDropped);
                    }
                    Archived::Waits => {}
                    Archived::Nothing => {
                        // Several at once: that state is written again takes a batch or two, in which a log can fill a segment. But
                        // not all that a smaller log has too many of: it would grow by the state of all of them before.
                        let last = Self::last_of(&io.log, excess.min(self.step_bytes()));
                        let sealed = io.log.log.last_sealed();
                        self.stage = last.map_or(Stage::Idle, |last| Stage::Waiting(last, sealed));
                    }
                }
            }
            Stage::Waiting(last, sealed) => {
                if io.log.log.durable().covers(sealed) {
                    let going = Self::len_upto(&io.log, last);
                    node.start_evacuation(last);
                    // State and messages that are written again are less than what goes, whatever state takes.
                    let spared = u64::from(100 - self.state_share(node));
                    node.start_keeping(last, going / KEPT_OF_GOING * spared / 100);
                    (self.next_shard, self.last_row, self.rows_before) = (0, sealed, io.row_bytes);
                    self.own_before = Self::own_len(&io.log);
                    self.stage = Stage::Evacuating(last, going);
                }
            }
            Stage::Evacuating(last, going) => {
                self.hurry(node, io);
                if self.shards_written(node, io) && node.evacuated() == Progress::Done {
                    let own = node.config().log;
                    self.note(going, io.row_bytes - self.rows_before);
                    shared.raise_floor(own, Generation(last.0 + 1));
                    node.set_floor(own, Generation(last.0 + 1));
                    self.stage = Stage::Dropping(last);
                }
            }
            Stage::Dropping(last) => {
                if !io.log.may_drop(last, machine, io.now) {
                    return;
                }
                let dropped = io.log.drop_oldest().expect("the active segment is not among them").generation;
                assert!(dropped <= last, "segments are dropped in order");
                node.counters.count(Counter::SegmentsDropped);
                if dropped == last {
                    self.stage = Stage::Idle;
                }
            }
        }
    }

    /// Bytes that go at once, at most.
    fn step_bytes(&self) -> u64 {
        (self.bytes_max / 4).max(2 * self.segment_len)
    }

    /// What is not kept yet is given up once the log has grown too much since that began.
    fn hurry<S>(&self, node: &mut Node, io: &Io<S>) {
        if Self::own_len(&io.log) > self.own_before + GROWS_BY * self.segment_len {
            node.stop_keeping();
        }
    }

    /// Bytes of the own segments.
    fn own_len(log: &LogPort) -> u64 {
        log.log.segments().map(|segment| segment.len).sum()
    }

    /// Bytes of the own segments up to this one.
    fn len_upto(log: &LogPort, last: Generation) -> u64 {
        log.log.segments().filter(|segment| segment.generation <= last).map(|segment| segment.len).sum()
    }

    /// Bytes that are too many, those of other logs among them.
    fn excess(&self, log: &LogPort) -> u64 {
        (Self::own_len(log) + log.archived_bytes()).saturating_sub(self.bytes_max)
    }

    /// The last of the oldest segments of the own log that hold so many bytes. The active one stays.
    fn last_of(log: &LogPort, mut excess: u64) -> Option<Generation> {
        let may_go = log.log.segments().len().saturating_sub(1);
        let beyond = log.log.segments().take(may_go).take_while(|segment| {
            let is_beyond = excess > 0;
            excess = excess.saturating_sub(segment.len);
            is_beyond
        });
        beyond.last().map(|segment| segment.generation)
    }
}
