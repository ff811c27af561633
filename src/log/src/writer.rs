//! The appending half of a log, without I/O: fills the open batch, hands out writes, says what is durable.
//!
//! *Natural group commit*: while as many writes are in flight as may be, records gather in the open batch; when one completes,
//! everything gathered goes out as the next. Nobody waits for a timer, and the busier the log the larger its batches.
//!
//! ```text
//! append*, seal -> LogWrite -> (device) -> written, take_durable* -> Sealed: apply its records, then recycle
//! ```
//! Writes may complete in any order; batches become durable in theirs.

use std::{collections::VecDeque, io};

use tidings_wire::{BatchPosition, Durable, Generation, LogPosition, Lsn, Minter, Term};

use crate::{
    batch::{OpenBatch, Parts, Placed, RecordMeta, SealedEntry},
    buffer::AlignedBuf,
    end::LogEnd,
    format::{BATCH_LEN_MAX, BLOCK, BatchName, Epoch, FIRST_BATCH, LogKey},
    recovery::Tail,
    replica::{Replica, Solo},
    storage::{SlotId, Storage},
};

/// Batches that are sealed and not recycled: in flight, waiting for their turn, or being applied.
pub const SEALED_MAX: usize = 8;

/// What a log is made with.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    /// Whose checksums.
    pub key: LogKey,
    /// This run of the node.
    pub epoch: Epoch,
    /// Bytes of a segment.
    pub segment_len: u64,
    /// Most bytes of a batch.
    pub batch_max: usize,
    /// Most writes in flight, from 1 to [`SEALED_MAX`].
    pub writes: usize,
}

/// One durable write to be done.
#[derive(Debug)]
pub struct LogWrite {
    /// The batch.
    pub lsn: Lsn,
    /// Which file.
    pub slot: SlotId,
    /// Where in it.
    pub offset: u64,
    /// What; give it back to [`Log::written`].
    pub buffer: AlignedBuf,
}

/// A durable batch, to be applied; give it back to [`Log::recycle`].
#[derive(Debug)]
pub struct Sealed {
    /// Proof that it is durable, and all before it.
    pub durable: Durable,
    /// Its number.
    pub lsn: Lsn,
    /// The entries in it, in the order of their first records.
    pub entries: Vec<SealedEntry>,
    /// Its bytes.
    pub buffer: AlignedBuf,
    records: Vec<Placed>,
    key: LogKey,
    generation: Generation,
    offset: u64,
}

impl Sealed {
    /// Where the body at `offset` of this batch is for good.
    pub fn loc(&self, offset: u32) -> LogPosition {
        LogPosition::new(self.key.log, self.generation, self.offset + u64::from(offset))
    }
}

/// A segment that holds batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its file.
    pub slot: SlotId,
    /// Its number.
    pub generation: Generation,
    /// Its bytes: those of the settings when it was made.
    pub len: u64,
}

#[derive(Debug)]
struct InFlight {
    lsn: Lsn,
    /// Its bytes, once they are on the device.
    written: Option<AlignedBuf>,
    records: Vec<Placed>,
    entries: Vec<SealedEntry>,
    generation: Generation,
    offset: u64,
    len: u64,
    durable: Lsn,
    /// It has no records: if it is lost nothing is, so it needs no covering.
    tip: bool,
}

/// Figures of the log, counted since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogStats {
    /// Batches made durable.
    pub batches: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of them that are padding.
    pub padding: u64,
    /// Times a batch had to wait for a prepared segment.
    pub segment_waits: u64,
}

/// The appending half of a log.
#[derive(Debug)]
pub struct Log {
    config: LogConfig,
    /// Oldest first; the last is the active one.
    segments: VecDeque<SegmentInfo>,
    /// Prepared and empty, in the order of their generations.
    ready: VecDeque<SegmentInfo>,
    next_offset: u64,
    open: OpenBatch,
    open_lsn: Lsn,
    wanted: bool,
    /// Sealed and not durable, oldest first.
    in_flight: VecDeque<InFlight>,
    /// Sealed and not recycled.
    sealed: usize,
    spare: Vec<(Parts, Vec<SealedEntry>)>,
    prev: u64,
    minter: Minter,
    /// Up to here, durability is written down in a later batch that is durable itself.
    covered: Lsn,
    poisoned: bool,
    /// A batch waits for a prepared segment.
    starved: bool,
    stats: LogStats,
}

impl Log {
    /// Continues a log where recovery found its tail.
    ///
    /// # Panics
    /// If a segment could not hold one batch, or a batch would be too long to be read back.
    pub fn open(config: LogConfig, tail: Tail) -> Self {
        assert!(config.segment_len >= FIRST_BATCH + (config.batch_max + BLOCK) as u64, "a segment holds a batch");
        assert!(config.segment_len <= LogPosition::SEGMENT_MAX, "locations reach all of a segment");
        assert!(config.batch_max + BLOCK <= BATCH_LEN_MAX, "batches of {} bytes", config.batch_max);
        assert!((1..=SEALED_MAX).contains(&config.writes), "{} writes in flight", config.writes);
        let open = OpenBatch::new(Parts::new(config.batch_max + BLOCK));
        Self {
            config,
            segments: tail.segments.into(),
            ready: tail.ready.into(),
            next_offset: tail.next_offset,
            open,
            open_lsn: tail.last.next(),
            wanted: false,
            in_flight: VecDeque::new(),
            sealed: 0,
            spare: Vec::new(),
            prev: tail.prev,
            minter: Minter::for_log(tail.last),
            covered: Lsn(0),
            poisoned: false,
            starved: false,
            stats: LogStats::default(),
        }
    }

    /// The largest body that [`Self::append`] takes now.
    pub fn room(&self) -> usize {
        if self.poisoned { 0 } else { self.open.room() }
    }

    /// Appends a record whose body `fill` writes. It rides along with the next batch; see [`Self::want`].
    ///
    /// # Panics
    /// If the body is larger than [`Self::room`]: the caller asked.
    pub fn append(&mut self, meta: RecordMeta, fill: impl FnOnce(&mut Vec<u8>)) -> BatchPosition {
        let offset = self.open.append(meta, fill);
        BatchPosition { lsn: self.open_lsn, offset: u32::try_from(offset).expect("a batch is below 4 GiB") }
    }

    /// The body of a record that is still in the open batch, to change in place; `None` if it was sealed.
    pub fn revise(&mut self, place: BatchPosition, len: usize) -> Option<&mut [u8]> {
        (place.lsn == self.open_lsn).then(|| self.open.body_mut(place.offset as usize, len))
    }

    /// A record that is still in the open batch becomes a local one of another kind; false if it was sealed.
    pub fn void(&mut self, place: BatchPosition, kind: u8) -> bool {
        let open = place.lsn == self.open_lsn;
        if open {
            self.open.void(place.offset as usize, kind);
        }
        open
    }

    /// Somebody waits for the open batch: it is to be written as soon as the device is free.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// True if somebody waits for the open batch.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// True if the open batch has records.
    pub fn has_records(&self) -> bool {
        !self.open.is_empty()
    }

    /// True if a batch waits for a prepared segment.
    pub fn is_starved(&self) -> bool {
        self.starved
    }

    /// True if all that was sealed is durable.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// True if another write may be in flight.
    pub fn may_write(&self) -> bool {
        let writing = self.in_flight.iter().filter(|write| write.written.is_none()).count();
        writing < self.config.writes && self.sealed < SEALED_MAX && !self.poisoned
    }

    /// True if the last durable batch is not yet written down as durable, so that after a crash damage to it would
    /// pass for a torn tail: time for a tip.
    pub fn needs_tip(&self) -> bool {
        self.minter.current().upto() > self.covered
    }

    /// The last batch that was sealed.
    pub fn last_sealed(&self) -> Lsn {
        Lsn(self.open_lsn.0 - 1)
    }

    /// What is durable.
    pub fn durable(&self) -> Durable {
        self.minter.current()
    }

    /// Where the log ends: its newest segment and its last durable batch.
    pub fn end(&self) -> LogEnd {
        let first = self.segments.front().or(self.ready.front()).map_or(Generation(0), |segment| segment.generation);
        LogEnd { first, generation: Generation(self.next_generation().0 - 1), batch: self.minter.current().upto() }
    }

    /// Seals the open batch, empty or not (an empty one is a *tip*), and hands out its write. `None` while as many writes are in
    /// flight as may be, while no segment is ready, or after an error.
    pub fn seal(&mut self, replica: &mut impl Replica) -> Option<LogWrite> {
        if !self.may_write() {
            return None;
        }
        let len = self.open.sealed_len() as u64;
        let fits = self.segments.back().is_some_and(|active| self.next_offset + len <= active.len);
        if !fits {
            let Some(segment) = self.ready.pop_front() else {
                self.stats.segment_waits += u64::from(!std::mem::replace(&mut self.starved, true));
                return None;
            };
            self.segments.push_back(segment);
            (self.next_offset, self.starved) = (FIRST_BATCH, false);
        }
        let active = *self.segments.back().expect("there is an active segment");
        let new = || (Parts::new(self.config.batch_max + BLOCK), Vec::new());
        let (spare, mut entries) = self.spare.pop().unwrap_or_else(new);
        let sealing = std::mem::replace(&mut self.open, OpenBatch::new(spare));
        let tip = sealing.is_empty();
        let (lsn, durable) = (self.open_lsn, self.minter.current().upto());
        let name = BatchName { generation: active.generation, epoch: self.config.epoch, lsn, durable, prev: self.prev };
        let (Parts { buffer, records }, used, checksum) = sealing.seal(self.config.key, name, replica, &mut entries);
        self.stats.padding += len - used as u64;
        let (generation, offset) = (active.generation, self.next_offset);
        self.in_flight.push_back(InFlight {
            lsn,
            written: None,
            records,
            entries,
            generation,
            offset,
            len,
            durable,
            tip,
        });
        self.sealed += 1;
        self.next_offset += len;
        self.prev = checksum;
        (self.open_lsn, self.wanted) = (lsn.next(), false);
        Some(LogWrite { lsn, slot: active.slot, offset, buffer })
    }

    /// Vouches for the last batch of a log that nobody writes any more, so that damage to it can be told from a torn tail. `false`
    /// if there is no room for that in the last segment.
    ///
    /// # Errors
    /// If the storage fails.
    pub fn vouch(config: LogConfig, tail: &Tail, storage: &impl Storage) -> io::Result<bool> {
        let room = tail.segments.last().is_some_and(|last| tail.next_offset + BLOCK as u64 <= last.len);
        if tail.tip || !room {
            return Ok(tail.tip);
        }
        let mut log = Self::open(config, tail.clone());
        let tip = log.seal(&mut Solo::new(0, Term(0))).expect("nothing is in flight and it fits");
        storage.write(tip.slot, tip.offset, tip.buffer.as_slice())?;
        Ok(true)
    }

    /// The write of a batch completed.
    ///
    /// # Panics
    /// If it was not in flight.
    pub fn written(&mut self, lsn: Lsn, buffer: AlignedBuf) {
        let write = self.in_flight.iter_mut().find(|write| write.lsn == lsn && write.written.is_none());
        write.expect("a completion belongs to a write").written = Some(buffer);
    }

    /// The next batch that is durable: it is written, and all before it are.
    pub fn take_durable(&mut self) -> Option<Sealed> {
        let done = self.in_flight.pop_front_if(|write| write.written.is_some())?;
        self.stats.batches += 1;
        self.stats.bytes += done.len;
        self.covered = if done.tip { done.lsn } else { done.durable };
        let InFlight { lsn, records, entries, generation, offset, written, .. } = done;
        let buffer = written.expect("it is written");
        let (durable, key) = (self.minter.mint(lsn), self.config.key);
        Some(Sealed { durable, lsn, entries, buffer, records, key, generation, offset })
    }

    /// The write failed. What the device holds now is unknown, so nothing may be appended or retried ever again: the
    /// node must stop and recover.
    pub fn poison(&mut self) {
        self.poisoned = true;
    }

    /// Takes back a batch whose records were applied.
    pub fn recycle(&mut self, batch: Sealed) {
        self.sealed -= 1;
        let Sealed { buffer, records, entries, .. } = batch;
        self.spare.push((Parts { buffer, records }, entries));
    }

    /// Segments that hold batches, oldest first.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &SegmentInfo> {
        self.segments.iter()
    }

    /// The file of a segment that is still there.
    pub fn slot_of(&self, generation: Generation) -> Option<SlotId> {
        let oldest = self.segments.front()?.generation.0;
        let index = generation.0.checked_sub(oldest)? as usize;
        self.segments.get(index).map(|segment| segment.slot)
    }

    /// Drops the oldest segment, which must not be the active one. Its live state records were appended again, durably.
    pub fn drop_oldest(&mut self) -> Option<SegmentInfo> {
        if self.segments.len() < 2 { None } else { self.segments.pop_front() }
    }

    /// Prepared segments that wait, in the order in which they will be used.
    pub fn ready(&self) -> impl ExactSizeIterator<Item = &SegmentInfo> {
        self.ready.iter()
    }

    /// How many prepared segments wait.
    pub fn ready_segments(&self) -> usize {
        self.ready.len()
    }

    /// Takes a prepared segment.
    ///
    /// # Panics
    /// If it is not the generation after the newest: segments are contiguous.
    pub fn add_ready(&mut self, segment: SegmentInfo) {
        assert_eq!(segment.generation, self.next_generation(), "segments are prepared in order");
        self.ready.push_back(segment);
    }

    /// The generation that the next prepared segment must have.
    pub fn next_generation(&self) -> Generation {
        let newest = self.ready.back().or(self.segments.back());
        Generation(newest.map_or(1, |segment| segment.generation.0 + 1))
    }

    /// Figures.
    pub fn stats(&self) -> LogStats {
        self.stats
    }
}
