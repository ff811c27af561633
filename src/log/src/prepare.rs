//! Preparing segments ahead of need: new files are written once with zeros (an O_DSYNC write to blocks never written
//! costs twice as much), recycled ones only get new headers. Paced, so that it does not show in the log's latency.

use std::collections::VecDeque;

use tidings_wire::Generation;

use crate::{
    buffer::AlignedBuf,
    format::{BLOCK, FIRST_BATCH, HEADER_COPIES, LogKey, SegmentHeader},
    storage::SlotId,
    writer::SegmentInfo,
};

/// Prepared segments that are kept ahead.
pub const READY_AIM: usize = 2;
/// Bytes of one write of zeros.
pub const CHUNK: usize = 256 * 1024;
/// Bytes a second that are prepared whatever the log does.
const CALM_BYTES_PER_S: u64 = 16 << 20;
/// Bytes prepared for four bytes appended: above four, so that the log never catches up, and little above, since the log
/// waits for the same disk.
const PER_FOUR_APPENDED: u64 = 5;
/// The same while segments grow: the one that is prepared is twice as long as the one that is written.
const PER_FOUR_WHILE_GROWING: u64 = 9;
/// Most bytes that can be saved up.
const BUDGET_MAX: u64 = 4 << 20;

/// How long segments are: the first of a log are short, so that one which nobody writes to takes little, and each is twice as long as the last but one until
/// they are as long as they may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Bytes of the first.
    pub first: u64,
    /// Bytes of later ones.
    pub most: u64,
}

impl Lengths {
    /// Bytes of the segment of a generation.
    pub fn of(self, generation: Generation) -> u64 {
        let doublings = generation.0.saturating_sub(1) / 2;
        let len = 1_u64.checked_shl(doublings).and_then(|times| self.first.checked_mul(times));
        len.map_or(self.most, |len| len.min(self.most))
    }
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Create the file of this slot with this length, off the turn.
    Create(SlotId, u64),
    /// Write zeros; they become durable with the header.
    Fill {
        /// Which file.
        slot: SlotId,
        /// Where.
        offset: u64,
        /// What; give it back to [`Preparer::written`].
        buffer: AlignedBuf,
    },
    /// Write durably, and with it everything that was written to the file before.
    Write {
        /// Which file.
        slot: SlotId,
        /// Where.
        offset: u64,
        /// What; give it back to [`Preparer::written`].
        buffer: AlignedBuf,
    },
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As asked.
    Done,
    /// Not; for example the disk is full. The file is started anew.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// The file of the oldest dropped segment is being deleted.
    Deleting,
    /// A file of a length.
    Creating(SlotId, u64),
    /// It, from an offset on.
    Filling(SlotId, u64, u64),
    /// Its header for a generation; which copy.
    Header(SlotId, u64, Generation, u64),
}

/// The preparer of one log.
#[derive(Debug)]
pub struct Preparer {
    key: LogKey,
    lengths: Lengths,
    state: State,
    /// Files of dropped segments: those of the right length only need headers. Used in the order in which they were dropped: until
    /// a file has its new header it is still the oldest segment to recovery, which wants no gap.
    dropped: VecDeque<SegmentInfo>,
    /// Files of unknown content.
    raw: Vec<SlotId>,
    next_slot: u32,
    buffer: Option<AlignedBuf>,
    budget: u64,
    per_four: u64,
    refilled_ns: u64,
}

impl Preparer {
    /// A preparer for a log that has the slots below `next_slot`, of which `raw` belong to no segment.
    pub fn new(key: LogKey, lengths: Lengths, raw: Vec<SlotId>, next_slot: u32) -> Self {
        let buffer = Some(AlignedBuf::new(CHUNK));
        let (state, dropped) = (State::Idle, VecDeque::new());
        let (budget, per_four) = (0, PER_FOUR_APPENDED);
        Self { key, lengths, state, dropped, raw, next_slot, buffer, budget, per_four, refilled_ns: 0 }
    }

    /// A dropped segment's file can be used again.
    pub fn recycle(&mut self, dropped: SegmentInfo) {
        self.dropped.push_back(dropped);
    }

    /// The file of the oldest dropped segment, which is to be deleted, if more than `most` wait to be used again: nothing is prepared until [`Self::deleted`]. Not while
    /// one is being prepared: to recovery that one is still the oldest until its new header is there, and a hole behind it would look like damage.
    pub fn delete_oldest_beyond(&mut self, most: usize) -> Option<SlotId> {
        let next = self.dropped.front().filter(|_| self.state == State::Idle && self.dropped.len() > most)?;
        self.state = State::Deleting;
        Some(next.slot)
    }

    /// The file of the oldest dropped segment was deleted, or could not be.
    ///
    /// # Panics
    /// If none was to be.
    pub fn deleted(&mut self, outcome: Outcome) {
        assert_eq!(self.state, State::Deleting, "a file was to be deleted");
        self.state = State::Idle;
        if outcome == Outcome::Done {
            self.dropped.pop_front();
        }
    }

    /// The log appended `bytes`.
    pub fn appended(&mut self, bytes: u64) {
        self.budget = (self.budget + bytes * self.per_four / 4).min(BUDGET_MAX);
    }

    /// The next step, if one is due: `ready` segments are prepared and the next gets `generation`. Nothing more is due
    /// until the step was reported done.
    pub fn next(&mut self, now_ns: u64, ready: usize, generation: Generation) -> Option<Step> {
        let elapsed_ns = now_ns.saturating_sub(self.refilled_ns);
        self.refilled_ns = now_ns;
        let refill = u128::from(elapsed_ns) * u128::from(CALM_BYTES_PER_S) / 1_000_000_000;
        self.budget = (self.budget + refill.min(u128::from(BUDGET_MAX)) as u64).min(BUDGET_MAX);
        if self.state == State::Idle && ready < READY_AIM {
            let len = self.lengths.of(generation);
            let grows = len > self.lengths.of(Generation(generation.0.saturating_sub(2)));
            self.per_four = if grows { PER_FOUR_WHILE_GROWING } else { PER_FOUR_APPENDED };
            self.state = match (self.dropped.pop_front(), self.raw.pop()) {
                (Some(dropped), raw) => {
                    self.raw.extend(raw);
                    if dropped.len == len {
                        State::Header(dropped.slot, len, generation, 0)
                    } else {
                        State::Creating(dropped.slot, len)
                    }
                }
                (None, Some(slot)) => State::Creating(slot, len),
                (None, None) => {
                    self.next_slot += 1;
                    State::Creating(SlotId(self.next_slot - 1), len)
                }
            };
        }
        match self.state {
            State::Idle | State::Deleting => None,
            State::Creating(slot, len) => {
                self.buffer.as_ref()?; // creation in flight: the buffer stands for the one step at a time
                self.buffer = None;
                Some(Step::Create(slot, len))
            }
            State::Filling(slot, len, offset) => {
                if ready > 0 && self.budget < CHUNK as u64 {
                    return None;
                }
                let mut buffer = self.buffer.take()?;
                self.budget = self.budget.saturating_sub(CHUNK as u64);
                // It is new, or was written as it is: what is in it is zeros already.
                buffer.zero_to(CHUNK.min(usize::try_from(len - offset).unwrap_or(CHUNK)));
                Some(Step::Fill { slot, offset, buffer })
            }
            State::Header(slot, len, generation, copy) => {
                let mut buffer = self.buffer.take()?;
                buffer.clear();
                let block = SegmentHeader::block(self.key, generation, len);
                buffer.append(|bytes| bytes.extend_from_slice(&block));
                Some(Step::Write { slot, offset: copy * BLOCK as u64, buffer })
            }
        }
    }

    /// A [`Step::Create`] ended.
    ///
    /// # Panics
    /// If no creation was under way.
    pub fn created(&mut self, outcome: Outcome) {
        let State::Creating(slot, len) = self.state else { panic!("no creation was under way") };
        self.buffer = Some(AlignedBuf::new(CHUNK));
        if outcome == Outcome::Done {
            self.state = State::Filling(slot, len, 0);
        }
    }

    /// A [`Step::Fill`] or [`Step::Write`] ended. Gives the segment once it is ready; `generation` is what the next one must have.
    ///
    /// # Panics
    /// If no write was under way.
    pub fn written(&mut self, buffer: AlignedBuf, outcome: Outcome, generation: Generation) -> Option<SegmentInfo> {
        let written = buffer.len() as u64;
        self.buffer = Some(buffer);
        match self.state {
            State::Filling(slot, len, _) | State::Header(slot, len, ..) if outcome == Outcome::Failed => {
                self.state = State::Creating(slot, len);
                None
            }
            State::Filling(slot, len, offset) if offset + written < len => {
                self.state = State::Filling(slot, len, offset + written);
                None
            }
            State::Filling(slot, len, _) => {
                self.state = State::Header(slot, len, generation, 0);
                None
            }
            State::Header(slot, len, generation, copy) if copy + 1 < HEADER_COPIES => {
                self.state = State::Header(slot, len, generation, copy + 1);
                None
            }
            State::Header(slot, len, generation, _) => {
                self.state = State::Idle;
                Some(SegmentInfo { slot, generation, len })
            }
            State::Idle | State::Deleting | State::Creating(..) => panic!("no write was under way"),
        }
    }
}

const _: () = assert!(FIRST_BATCH == HEADER_COPIES * BLOCK as u64);

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u64 = 1 << 20;
    const SAME: Lengths = Lengths { first: LEN, most: LEN };

    #[test]
    fn segments_grow_from_the_first_to_the_longest() {
        let lengths = Lengths { first: 4, most: 60 };
        let all: Vec<_> = (1..=12).map(|at| lengths.of(Generation(at))).collect();
        assert_eq!(all, [4, 4, 8, 8, 16, 16, 32, 32, 60, 60, 60, 60]);
        assert_eq!((lengths.of(Generation(0)), lengths.of(Generation(u32::MAX))), (4, 60));
    }

    #[test]
    fn a_new_file_is_filled_with_zeros_to_its_end_and_again_after_a_failure() {
        let key = LogKey { log: tidings_wire::LogId(0), nonce: 1 };
        let len = LEN + BLOCK as u64;
        let mut preparer = Preparer::new(key, Lengths { first: len, most: len }, Vec::new(), 0);
        for outcome in [Outcome::Failed, Outcome::Done] {
            let Some(Step::Create(SlotId(0), _)) = preparer.next(0, 0, Generation(1)) else { panic!("it is created") };
            preparer.created(Outcome::Done);
            let mut filled = 0;
            while let Some(Step::Fill { offset, buffer, .. }) = preparer.next(0, 0, Generation(1)) {
                assert!(offset == filled && buffer.as_slice().iter().all(|byte| *byte == 0));
                filled += buffer.len() as u64;
                assert!(preparer.written(buffer, Outcome::Done, Generation(1)).is_none());
                if filled == len {
                    break;
                }
            }
            assert_eq!(filled, len);
            // The header is in the buffer then: nothing of it is in the zeros of a file that is begun anew.
            let Some(Step::Write { buffer, .. }) = preparer.next(0, 0, Generation(1)) else { panic!("its header") };
            assert!(preparer.written(buffer, outcome, Generation(1)).is_none());
        }
    }

    #[test]
    fn of_dropped_files_the_oldest_is_deleted_but_not_behind_one_that_is_being_prepared() {
        let key = LogKey { log: tidings_wire::LogId(0), nonce: 1 };
        let mut preparer = Preparer::new(key, SAME, Vec::new(), 9);
        let dropped = |at: u32| SegmentInfo { slot: SlotId(at), generation: Generation(at), len: LEN };
        (1..=2).for_each(|at| preparer.recycle(dropped(at)));
        assert_eq!(preparer.delete_oldest_beyond(2), None, "as many as may wait");
        let Some(Step::Write { slot: SlotId(1), buffer: first, .. }) = preparer.next(0, 1, Generation(7)) else {
            panic!("the oldest is used again")
        };
        (3..=4).for_each(|at| preparer.recycle(dropped(at)));
        assert_eq!(preparer.delete_oldest_beyond(2), None, "1 has its old header still");
        assert_eq!(preparer.written(first, Outcome::Done, Generation(7)).map(|done| done.slot), None);
        assert_eq!(preparer.delete_oldest_beyond(2), None, "and its second copy");
        let Some(Step::Write { buffer: second, .. }) = preparer.next(0, 1, Generation(7)) else { panic!("two copies") };
        assert_eq!(preparer.written(second, Outcome::Done, Generation(7)).map(|done| done.slot), Some(SlotId(1)));
        assert_eq!(preparer.delete_oldest_beyond(2), Some(SlotId(2)));
        assert!(preparer.next(0, 0, Generation(8)).is_none(), "3 is not used again while 2 is still there");
        preparer.deleted(Outcome::Failed);
        assert_eq!(preparer.delete_oldest_beyond(2), Some(SlotId(2)));
        preparer.deleted(Outcome::Done);
        assert_eq!(preparer.delete_oldest_beyond(2), None);
    }
}
