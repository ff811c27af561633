//! Reading a log back: which batches are there, where it ends, and whether it is damaged.
//!
//! A batch is taken if it stands where it must, matches its keyed checksum, has the next number and names the checksum
//! of the batch before. The first place where that fails is the end of the segment, the end of the log, or damage; the
//! [`decide`] table says which. The rule: an acknowledged batch is *durable*, and every later batch says up to where
//! the log was durable when it was sealed. So a later valid batch that vouches for the bad one proves damage. Without
//! such a witness the bad batch cannot have been acknowledged (or it is the very last one, before its tip: the one
//! exemption of a single node), and the tail is torn. This holds for any number of writes in flight.

use std::{fmt, io};

use tidings_canary::{self as canary, Canary};
use tidings_wire::{Generation, LogId, LogPosition, Lsn};

use crate::{
    end::LogEnd,
    format::{BLOCK, BatchHeader, Epoch, FIRST_BATCH, HEADER_COPIES, LogKey, SegmentHeader},
    storage::{SlotId, Storage},
    writer::SegmentInfo,
};

/// What stands where the next batch should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// The next batch.
    Batch,
    /// Nothing of this segment: zeros, or what a recycled file held before.
    Blank,
    /// Something that is not the next batch.
    Broken,
}

/// What the segment behind this one begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextSegment {
    /// The next batch.
    Continues,
    /// Something else, or it does not exist.
    DoesNot,
}

/// What is found further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Further {
    /// No valid batch.
    Nothing,
    /// Valid batches, none of which vouches for the one that is missing here.
    Unvouched,
    /// A valid batch that was sealed when the one missing here was known durable.
    Vouched,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Take the batch.
    Take,
    /// Go on in the next segment.
    NextSegment,
    /// The log ends here, cleanly.
    End,
    /// The log ends here; what was being written is erased.
    TornEnd,
    /// Acknowledged data is lost: refuse to start.
    Damaged,
}

/// The recovery decision table.
pub fn decide(here: Here, next: NextSegment, further: Further) -> Decision {
    match (here, next, further) {
        (Here::Batch, _, _) => Decision::Take,
        (Here::Blank | Here::Broken, NextSegment::Continues, _) => Decision::NextSegment,
        (Here::Blank | Here::Broken, NextSegment::DoesNot, Further::Vouched) => Decision::Damaged,
        (Here::Blank, NextSegment::DoesNot, Further::Nothing) => Decision::End,
        (Here::Broken, NextSegment::DoesNot, Further::Nothing) => Decision::TornEnd,
        (Here::Blank | Here::Broken, NextSegment::DoesNot, Further::Unvouched) => Decision::TornEnd,
    }
}

/// Why a log cannot be opened: acknowledged data is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// A segment between others, or the newest one, is gone or its headers are unreadable.
    SegmentMissing(Generation),
    /// No segment is left of a log that had some.
    LogMissing(LogEnd),
    /// The log ends before a batch that was durable: its last file may be an older copy.
    Shorter {
        /// Its last batch now.
        found: Lsn,
        /// A batch that was durable.
        known: Lsn,
    },
    /// A batch that later ones vouch for is gone or unreadable.
    Batch {
        /// The file.
        slot: SlotId,
        /// Where in it.
        offset: u64,
        /// The batch's number, if an earlier batch was read.
        lsn: Option<Lsn>,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SegmentMissing(generation) => write!(f, "segment {} is missing or unreadable", generation.0),
            Self::LogMissing(LogEnd { generation, batch, .. }) => {
                write!(f, "all of it is missing, up to segment {} and batch {}", generation.0, batch.0)
            }
            Self::Shorter { found, known } => {
                write!(f, "it ends with batch {}, and batch {} was durable", found.0, known.0)
            }
            Self::Batch { slot, offset, lsn } => {
                write!(f, "an acknowledged batch is unreadable: file {:06}.seg, offset {offset}", slot.0)?;
                lsn.map_or(Ok(()), |lsn| write!(f, ", number {}", lsn.0))
            }
        }
    }
}

/// Why recovery failed.
#[derive(Debug)]
pub enum RecoverError {
    /// The storage failed.
    Io(io::Error),
    /// The log is damaged.
    Damaged(Damage),
}

impl From<io::Error> for RecoverError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the log cannot be read: {error}"),
            Self::Damaged(damage) => write!(
                f,
                "the log is damaged: {damage}; restore this data directory from a backup, or, if what is missing cannot be had \
                 any more, say so with `tidings restore`"
            ),
        }
    }
}

impl std::error::Error for RecoverError {}

/// Where a log ends and what it consists of: what [`crate::Log::open`] continues from.
#[derive(Debug, Default, Clone)]
pub struct Tail {
    /// Segments with batches, oldest first.
    pub segments: Vec<SegmentInfo>,
    /// Prepared segments without batches.
    pub ready: Vec<SegmentInfo>,
    /// Files that belong to no segment; they can be prepared anew.
    pub raw: Vec<SlotId>,
    /// Where the next batch goes in the last segment.
    pub next_offset: u64,
    /// The last batch.
    pub last: Lsn,
    /// Its checksum.
    pub prev: u64,
    /// The last batch is a tip, or there is none: nothing is lost with it.
    pub tip: bool,
    /// True if something unacknowledged was cut off.
    pub torn: bool,
}

/// Reads one log's batches in order.
#[derive(Debug)]
pub struct Scanner<S> {
    storage: S,
    key: LogKey,
    segments: Vec<SegmentInfo>,
    raw: Vec<SlotId>,
    /// Index of the segment that is being read.
    at: usize,
    offset: u64,
    last: Option<(Lsn, u64)>,
    torn: bool,
    batch: Vec<u8>,
    window: Window,
}

/// A batch that was read back.
#[derive(Clone, Copy, Debug)]
pub struct BatchRef<'a> {
    /// Its header.
    pub header: BatchHeader,
    /// All of it.
    pub bytes: &'a [u8],
    log: LogId,
    offset: u64,
}

impl BatchRef<'_> {
    /// Where the body at `offset` of this batch is.
    pub fn loc(&self, offset: u32) -> LogPosition {
        LogPosition::new(self.log, self.header.name().generation, self.offset + u64::from(offset))
    }
}

/// A stretch of a file in memory, so that scanning reads large pieces: the further it goes in a file, the larger they are.
#[derive(Debug, Default)]
struct Window {
    slot: Option<SlotId>,
    start: u64,
    /// How much of `bytes` is of the file.
    len: usize,
    bytes: Vec<u8>,
}

/// The first piece of a file: a scan that only looks whether something is there reads no more.
const WINDOW_MIN: usize = 64 << 10;
/// The largest piece.
const WINDOW_MAX: usize = 4 << 20;

impl Window {
    /// `len` bytes at `offset` of a slot.
    fn get<S: Storage>(&mut self, storage: &S, slot: SlotId, offset: u64, len: usize) -> io::Result<&[u8]> {
        let end = offset + len as u64;
        if self.slot != Some(slot) || offset < self.start || end > self.start + self.len as u64 {
            let goes_on = self.slot == Some(slot) && offset >= self.start;
            let ahead = if goes_on { (2 * self.len).min(WINDOW_MAX) } else { WINDOW_MIN };
            let left = storage.len(slot)?.saturating_sub(offset);
            let piece = len.max(usize::try_from(left).map_or(ahead, |left| left.min(ahead)));
            if self.bytes.len() < piece {
                self.bytes.resize(piece, 0);
            }
            self.slot = None; // not valid if the read fails
            storage.read(slot, offset, &mut self.bytes[..piece])?;
            (self.slot, self.start, self.len) = (Some(slot), offset, piece);
        }
        let from = usize::try_from(offset - self.start).expect("inside the window");
        Ok(&self.bytes[from..from + len])
    }
}

impl<S: Storage> Scanner<S> {
    /// Finds the log's segments.
    ///
    /// # Errors
    /// If the storage fails, or a segment is missing.
    pub fn open(storage: S, key: LogKey) -> Result<Self, RecoverError> {
        let (mut segments, mut raw) = (Vec::new(), Vec::new());
        for slot in storage.slots()? {
            storage.sync(slot)?;
            match segment_header(&storage, key, slot)? {
                Some(header) => segments.push(SegmentInfo { slot, generation: header.generation(), len: header.len }),
                None => raw.push(slot),
            }
        }
        segments.sort_by_key(|segment| segment.generation);
        for pair in segments.windows(2) {
            let expected = Generation(pair[0].generation.0 + 1);
            if pair[1].generation != expected {
                return Err(RecoverError::Damaged(Damage::SegmentMissing(expected)));
            }
        }
        let mut scanner = Self {
            storage,
            key,
            segments,
            raw,
            at: 0,
            offset: FIRST_BATCH,
            last: None,
            torn: false,
            batch: Vec::new(),
            window: Window::default(),
        };
        scanner.refuse_headless()?;
        Ok(scanner)
    }

    /// A file without a header that holds a batch was a segment: new files hold none, and a recycled one keeps a valid copy of
    /// its header while the other is written. So losing both copies is damage, whatever else was lost with them.
    fn refuse_headless(&mut self) -> Result<(), RecoverError> {
        for slot in self.raw.clone() {
            let len = self.storage.len(slot)?;
            let mut offset = 0;
            while offset + BLOCK as u64 <= len {
                let block = self.window.get(&self.storage, slot, offset, BLOCK)?;
                if let Some(generation) = BatchHeader::claimed(block)
                    && self.valid_batch(slot, generation, offset, len)?.is_some()
                {
                    return Err(RecoverError::Damaged(Damage::SegmentMissing(generation)));
                }
                offset += BLOCK as u64;
            }
        }
        Ok(())
    }

    /// The header of the verified batch at `offset`, if there is one that ends before `end`.
    fn valid_batch(
        &mut self,
        slot: SlotId,
        generation: Generation,
        offset: u64,
        end: u64,
    ) -> Result<Option<BatchHeader>, RecoverError> {
        let block = self.window.get(&self.storage, slot, offset, BLOCK)?;
        let believed = canary::is(Canary::RecycledBelieved).then(|| BatchHeader::claimed(block)).flatten();
        let generation = believed.unwrap_or(generation);
        let Some(header) = BatchHeader::peek(self.key, generation, block) else { return Ok(None) };
        if offset + u64::from(header.len) > end.min(self.storage.len(slot)?) {
            return Ok(None);
        }
        let bytes = self.window.get(&self.storage, slot, offset, header.len as usize)?;
        Ok(header.verify(self.key, bytes).then_some(header))
    }

    fn follows(&self, header: &BatchHeader) -> bool {
        canary::is(Canary::RecycledBelieved)
            || self.last.is_none_or(|(lsn, checksum)| header.name().lsn == lsn.next() && header.name().prev == checksum)
    }

    /// Reads the next batch into memory: its header and bytes are [`Self::batch`]. False at the end of the log.
    ///
    /// # Errors
    /// If the storage fails or the log is damaged.
    pub fn advance(&mut self) -> Result<bool, RecoverError> {
        loop {
            let Some(&segment) = self.segments.get(self.at) else { return Ok(false) };
            let (here, header) = self.look_here(segment)?;
            let decision = match here {
                Here::Batch => Decision::Take,
                _ => decide(here, self.look_next()?, self.look_further()?),
            };
            match decision {
                Decision::Take => {
                    let header = header.expect("a batch has a header");
                    let bytes = self.window.get(&self.storage, segment.slot, self.offset, header.len as usize)?;
                    self.batch.clear();
                    self.batch.extend_from_slice(bytes);
                    self.last = Some((header.name().lsn, header.checksum));
                    self.offset += u64::from(header.len);
                    return Ok(true);
                }
                Decision::NextSegment => (self.at, self.offset) = (self.at + 1, FIRST_BATCH),
                Decision::End => return Ok(false),
                Decision::TornEnd => {
                    self.torn = true;
                    return Ok(false);
                }
                Decision::Damaged if canary::is(Canary::DamageTakenForTorn) => {
                    self.torn = true;
                    return Ok(false);
                }
                Decision::Damaged => {
                    let (slot, offset, lsn) = (segment.slot, self.offset, self.last.map(|(lsn, _)| lsn.next()));
                    return Err(RecoverError::Damaged(Damage::Batch { slot, offset, lsn }));
                }
            }
        }
    }

    fn look_here(&mut self, segment: SegmentInfo) -> Result<(Here, Option<BatchHeader>), RecoverError> {
        if self.offset + BLOCK as u64 > segment.len {
            return Ok((Here::Blank, None));
        }
        match self.valid_batch(segment.slot, segment.generation, self.offset, segment.len)? {
            Some(header) if self.follows(&header) => Ok((Here::Batch, Some(header))),
            Some(_) => Ok((Here::Broken, None)),
            None => {
                let block = self.window.get(&self.storage, segment.slot, self.offset, BLOCK)?;
                let broken = BatchHeader::peek(self.key, segment.generation, block).is_some();
                Ok((if broken { Here::Broken } else { Here::Blank }, None))
            }
        }
    }

    fn look_next(&mut self) -> Result<NextSegment, RecoverError> {
        let Some(&next) = self.segments.get(self.at + 1) else { return Ok(NextSegment::DoesNot) };
        let first = self.valid_batch(next.slot, next.generation, FIRST_BATCH, next.len)?;
        // Before any batch was read there is no order to continue: an unreadable start of the oldest segment is damage.
        let continues = first.is_some_and(|header| self.last.is_some() && self.follows(&header));
        Ok(if continues { NextSegment::Continues } else { NextSegment::DoesNot })
    }

    /// Looks at every block of the rest of this segment and of the next two, and at the first batch of all others; if that is not
    /// there, it may still have been in flight when another was written, so all of such a segment is looked at.
    fn look_further(&mut self) -> Result<Further, RecoverError> {
        // Before any batch was read the missing one has a number that is not known, or it is 1: a log begins with that, also in a later segment if all before
        // was dropped while nobody wrote it. Who knows that anything was durable vouches for it: of a log whose beginning was
        // dropped, the oldest segment's first batch was durable.
        let missing = self.last.map_or(Lsn(1), |(lsn, _)| lsn.next());
        let mut found = Further::Nothing;
        let mut from = self.offset;
        for at in self.at..self.segments.len() {
            let SegmentInfo { slot, generation, len } = self.segments[at];
            let is_far = at > self.at + 2;
            let first_is_enough = is_far && self.valid_batch(slot, generation, FIRST_BATCH, len)?.is_some();
            let end = if first_is_enough { FIRST_BATCH + BLOCK as u64 } else { len };
            let mut offset = from;
            while offset + BLOCK as u64 <= end {
                if let Some(header) = self.valid_batch(slot, generation, offset, len)?
                    && header.name().lsn >= missing
                {
                    if header.name().durable >= missing {
                        return Ok(Further::Vouched);
                    }
                    found = Further::Unvouched;
                }
                offset += BLOCK as u64;
            }
            from = FIRST_BATCH;
        }
        Ok(found)
    }

    /// The batch that [`Self::advance`] read.
    ///
    /// # Panics
    /// If it did not.
    pub fn batch(&self) -> BatchRef<'_> {
        let header: BatchHeader = tidings_wire::archive::read(&self.batch[..BLOCK]).expect("advance() read a batch");
        let offset = self.offset - self.batch.len() as u64;
        BatchRef { header, bytes: &self.batch, log: self.key.log, offset }
    }

    /// Begins again with the oldest batch.
    pub fn rewind(&mut self) {
        (self.at, self.offset, self.last, self.torn) = (0, FIRST_BATCH, None, false);
        self.batch.clear();
    }

    /// The newest segment, with batches or prepared for them; 0: there is none.
    pub fn newest(&self) -> Generation {
        self.segments.last().map_or(Generation(0), |segment| segment.generation)
    }

    /// The oldest segment; 0: there is none.
    pub fn oldest(&self) -> Generation {
        self.segments.first().map_or(Generation(0), |segment| segment.generation)
    }

    /// Where the log ends, once [`Self::advance`] has read all of it.
    pub fn end(&self) -> LogEnd {
        LogEnd { first: self.oldest(), generation: self.newest(), batch: self.last.map_or(Lsn(0), |(lsn, _)| lsn) }
    }

    /// The first slot number that was never used.
    pub fn next_slot(&self) -> u32 {
        let used = self.segments.iter().map(|segment| segment.slot).chain(self.raw.iter().copied());
        used.map(|slot| slot.0 + 1).max().unwrap_or(0)
    }

    /// The run of the node that wrote the batch that [`Self::advance`] read.
    pub fn epoch(&self) -> Epoch {
        self.batch().header.name().epoch
    }

    /// Erases what a torn tail left in the segments from `first` on, so that it is no witness of anything later.
    fn erase_batches(&mut self, first: usize) -> Result<(), RecoverError> {
        for at in first..self.segments.len() {
            let SegmentInfo { slot, generation, len } = self.segments[at];
            let mut offset = FIRST_BATCH;
            while offset + BLOCK as u64 <= len {
                if self.valid_batch(slot, generation, offset, len)?.is_some() {
                    self.storage.write(slot, offset, &[0; BLOCK])?;
                    self.window = Window::default();
                }
                offset += BLOCK as u64;
            }
        }
        Ok(())
    }

    /// After the last batch: erases a torn tail, durably, and says where the log ends.
    ///
    /// # Errors
    /// If the storage fails.
    pub fn finish(mut self) -> Result<(Tail, S), RecoverError> {
        let used = if self.last.is_some() { self.at + 1 } else { 0 };
        if self.torn {
            self.erase_batches(used)?;
        }
        // What was torn may be in the next segment only: then there is nothing behind the last batch to be erased.
        if self.torn && self.offset + BLOCK as u64 <= self.segments[self.at].len {
            self.storage.write(self.segments[self.at].slot, self.offset, &[0; BLOCK])?;
        }
        let (segments, ready) = self.segments.split_at(used);
        let tip = self.last.is_none() || self.batch().header.count == 0;
        let (last, prev) = self.last.unwrap_or_default();
        let back = if self.torn && canary::is(Canary::WrongHead) { self.batch.len() as u64 } else { 0 };
        let tail = Tail {
            segments: segments.to_vec(),
            ready: ready.to_vec(),
            raw: self.raw,
            next_offset: self.offset - back,
            last,
            prev,
            tip,
            torn: self.torn,
        };
        Ok((tail, self.storage))
    }
}

/// The newest valid copy of a slot's segment header.
fn segment_header<S: Storage>(storage: &S, key: LogKey, slot: SlotId) -> Result<Option<SegmentHeader>, RecoverError> {
    let mut newest: Option<SegmentHeader> = None;
    for copy in 0..HEADER_COPIES {
        let mut block = [0; BLOCK];
        storage.read(slot, copy * BLOCK as u64, &mut block)?;
        let header = SegmentHeader::parse(key, &block);
        newest = newest.into_iter().chain(header).max_by_key(SegmentHeader::generation);
    }
    let len = storage.len(slot)?;
    Ok(newest.filter(|header| header.len <= len))
}
