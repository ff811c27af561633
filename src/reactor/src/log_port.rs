//! The log's side of the ring: its files, the write in flight, the segments being prepared, and reads of history.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io,
    os::fd::AsFd,
};

use tidings_core::{JobId, Mono, Now};
use tidings_log::{
    AlignedBuf, Log, Sealed, SegmentInfo, SlotId,
    files::Files,
    prepare::{Outcome, Preparer, Step},
};
use tidings_ring::{Ring, Token};
use tidings_wire::{Generation, Loc, LogId};

use crate::{background::Background, report::Report};

/// A write of the log, rather than of a segment that is being prepared.
const BATCH: Token = Token(0);
/// A write of a segment that is being prepared.
const PREPARE: Token = Token(1);
/// Files of history that are kept open.
const OPEN_FILES: usize = 64;
/// How long a failed preparation (a full disk) rests.
const PREPARE_RETRY_MS: u64 = 1000;

/// A log that another reactor writes, or that was written when there were more of them: its segments as found at the
/// start. Only read.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Which log.
    pub log: LogId,
    /// Its files.
    pub files: Files,
    /// Its segments, oldest first.
    pub segments: Vec<SegmentInfo>,
    /// True if nobody writes it any more: who adopts it may delete its segments.
    pub orphaned: bool,
}

/// How a test wants the log to misbehave. Without the feature `canary` there is only one way: not at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Canary {
    /// Acknowledge a batch before it is durable.
    #[cfg(feature = "canary")]
    pub early_ack: bool,
    /// Keep writes in a volatile cache for this long: what was not synced when the process dies is lost.
    #[cfg(feature = "canary")]
    pub cache_ms: u64,
}

/// What a log's port is made with.
#[derive(Debug)]
pub struct LogFiles {
    /// The reactor's own log.
    pub log: Log,
    /// Its files.
    pub files: Files,
    /// Prepares its segments.
    pub preparer: Preparer,
    /// The other logs.
    pub archives: Vec<Archive>,
    /// Test only.
    pub canary: Canary,
}

/// How a completed write ended.
#[derive(Debug)]
pub(crate) enum Write {
    /// A batch is durable.
    Batch(Sealed),
    /// A segment moved on.
    Prepared,
}

#[derive(Debug)]
pub(crate) struct LogPort {
    pub(crate) log: Log,
    files: Files,
    append: HashMap<SlotId, File>,
    /// The file that batches go to.
    active: Option<SlotId>,
    /// The file that is being written through.
    fill: Option<File>,
    preparer: Preparer,
    prepare_after: Mono,
    pub(crate) prepare_failures: u64,
    pub(crate) archives: Vec<Archive>,
    readers: HashMap<(LogId, Generation), File>,
    /// Reads that cannot be done: their segment is gone.
    failed: VecDeque<JobId>,
    spare: Vec<Vec<u8>>,
    own: LogId,
    submitted: Mono,
    opened: Option<Mono>,
    pub(crate) idle_since: Mono,
    pub(crate) report: Report,
    #[cfg_attr(not(feature = "canary"), expect(dead_code, reason = "test only"))]
    canary: Canary,
    #[cfg(feature = "canary")]
    cached: VecDeque<(Mono, tidings_log::LogWrite)>,
}

impl LogPort {
    /// Opens the files of segments that will be written.
    pub(crate) fn open(own: LogId, parts: LogFiles, now: Mono) -> io::Result<Self> {
        let LogFiles { log, files, preparer, archives, canary } = parts;
        let mut append = HashMap::new();
        let ready = log.ready().map(|segment| segment.slot);
        let active = log.segments().last().map(|segment| segment.slot);
        for slot in active.into_iter().chain(ready) {
            append.insert(slot, files.open_for_append(slot)?);
        }
        Ok(Self {
            log,
            files,
            append,
            active,
            fill: None,
            preparer,
            prepare_after: now,
            prepare_failures: 0,
            archives,
            readers: HashMap::new(),
            failed: VecDeque::new(),
            spare: Vec::new(),
            own,
            submitted: now,
            opened: None,
            idle_since: now,
            report: Report::default(),
            canary,
            #[cfg(feature = "canary")]
            cached: VecDeque::new(),
        })
    }

    /// A record was appended: the open batch waits from now on, if it did not already.
    pub(crate) fn touched(&mut self, now: Mono) {
        self.opened.get_or_insert(now);
    }

    /// Seals the open batch and submits its write, if the device is free.
    pub(crate) fn submit(&mut self, ring: &mut Ring, now: Mono) -> Option<Write> {
        let before = self.active;
        let write = self.log.seal()?;
        self.active = Some(write.slot);
        #[cfg(feature = "canary")]
        let before = before.filter(|_| self.canary.cache_ms == 0); // the cache still writes to it
        if let Some(full) = before.filter(|slot| *slot != write.slot) {
            self.append.remove(&full);
        }
        if let Some(opened) = self.opened.take() {
            record(&mut self.report.queue_us, now.since(opened) / 1000);
        }
        record(&mut self.report.batch_bytes, write.buffer.len() as u64);
        self.preparer.appended(write.buffer.len() as u64);
        self.submitted = now;
        #[cfg(feature = "canary")]
        if self.canary.cache_ms > 0 {
            return self.cache(write, now);
        }
        let file = self.append.get(&write.slot).expect("a segment's file was opened when it became ready");
        let (bytes, start) = write.buffer.into_parts();
        ring.write(file.as_fd(), BATCH, write.offset, bytes, start);
        None
    }

    /// The disk's volatile cache takes the write. An honest log waits until it is flushed, the canary does not.
    #[cfg(feature = "canary")]
    fn cache(&mut self, write: tidings_log::LogWrite, now: Mono) -> Option<Write> {
        if !self.canary.early_ack {
            self.cached.push_back((now, write));
            return None;
        }
        let mut copy = AlignedBuf::new(write.buffer.len());
        copy.append(|bytes| bytes.extend_from_slice(write.buffer.as_slice()));
        self.cached.push_back((now, tidings_log::LogWrite { slot: write.slot, offset: write.offset, buffer: copy }));
        Some(self.batch_written(write.buffer, now))
    }

    /// Writes what has been in the cache for long enough.
    #[cfg(feature = "canary")]
    pub(crate) fn flush_cache(&mut self, ring: &mut Ring, now: Mono) -> bool {
        let (canary, mut flushed) = (self.canary, false);
        while self.cached.front().is_some_and(|(at, _)| at.plus_ms(canary.cache_ms) <= now) {
            let (_, write) = self.cached.pop_front().expect("looked at above");
            let file = self.append.get(&write.slot).expect("a segment's file was opened when it became ready");
            let (bytes, start) = write.buffer.into_parts();
            let token = if canary.early_ack { Token(2) } else { BATCH };
            ring.write(file.as_fd(), token, write.offset, bytes, start);
            flushed = true;
        }
        flushed || !self.cached.is_empty()
    }

    /// A write completed.
    ///
    /// # Errors
    /// If a batch could not be made durable: the log is poisoned and the node must stop.
    pub(crate) fn written(
        &mut self,
        token: Token,
        bytes: Vec<u8>,
        start: usize,
        result: io::Result<usize>,
        now: Mono,
    ) -> io::Result<Write> {
        let buffer = AlignedBuf::from_parts(bytes, start);
        let whole = result
            .and_then(|written| if written == buffer.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) });
        match token {
            BATCH => match whole {
                Ok(()) => Ok(self.batch_written(buffer, now)),
                Err(error) => {
                    self.log.poison();
                    Err(error)
                }
            },
            PREPARE => {
                let outcome = if whole.is_ok() { Outcome::Done } else { self.prepare_failed(now) };
                if let Some(segment) = self.preparer.written(buffer, outcome, self.log.next_generation()) {
                    self.log.add_ready(segment);
                }
                Ok(Write::Prepared)
            }
            _ => Ok(Write::Prepared), // a canary's write, acknowledged long ago
        }
    }

    fn batch_written(&mut self, buffer: AlignedBuf, now: Mono) -> Write {
        record(&mut self.report.batch_us, now.since(self.submitted) / 1000);
        self.idle_since = now;
        Write::Batch(self.log.written(buffer))
    }

    fn prepare_failed(&mut self, now: Mono) -> Outcome {
        self.prepare_failures += 1;
        self.prepare_after = now.plus_ms(PREPARE_RETRY_MS);
        Outcome::Failed
    }

    /// Takes the next step towards prepared segments, if one is due.
    pub(crate) fn prepare(&mut self, ring: &mut Ring, background: &mut Background, now: Mono) {
        while let Some((slot, created)) = background.take_created() {
            let outcome = match created {
                Ok((fill, append)) => {
                    self.fill = Some(fill);
                    self.append.insert(slot, append);
                    Outcome::Done
                }
                Err(_full) => self.prepare_failed(now),
            };
            self.preparer.created(outcome);
        }
        if now < self.prepare_after {
            return;
        }
        match self.preparer.next(now.0, self.log.ready_segments(), self.log.next_generation()) {
            Some(Step::Create(slot, len)) => background.create(&self.files, slot, len),
            Some(Step::Fill { offset, buffer, .. }) => {
                let file = self.fill.as_ref().expect("created before it is filled");
                let (bytes, start) = buffer.into_parts();
                ring.write(file.as_fd(), PREPARE, offset, bytes, start);
            }
            Some(Step::Write { slot, offset, buffer }) => {
                // A recycled file was closed when its segment was full, or belongs to an earlier run.
                if let std::collections::hash_map::Entry::Vacant(vacant) = self.append.entry(slot) {
                    match self.files.open_for_append(slot) {
                        Ok(file) => drop(vacant.insert(file)),
                        Err(_gone) => {
                            let outcome = self.prepare_failed(now);
                            self.preparer.written(buffer, outcome, self.log.next_generation());
                            return;
                        }
                    }
                }
                let (bytes, start) = buffer.into_parts();
                ring.write(self.append[&slot].as_fd(), PREPARE, offset, bytes, start);
            }
            None => {}
        }
    }

    /// Drops the oldest segment of the own log: its file will be used again.
    pub(crate) fn drop_oldest(&mut self) -> Option<SegmentInfo> {
        let dropped = self.log.drop_oldest()?;
        self.readers.remove(&(self.own, dropped.generation));
        self.preparer.recycle(dropped);
        Some(dropped)
    }

    /// Deletes the oldest segment of an orphaned log; `None` if there is none.
    pub(crate) fn drop_archived(&mut self) -> Option<(LogId, Generation)> {
        let archive = self.archives.iter_mut().find(|archive| archive.orphaned && !archive.segments.is_empty())?;
        // In order, and not past one that cannot be deleted: a hole would look like damage.
        archive.files.remove(archive.segments[0].slot).ok()?;
        let dropped = archive.segments.remove(0);
        self.readers.remove(&(archive.log, dropped.generation));
        Some((archive.log, dropped.generation))
    }

    /// Segments of orphaned logs that are still there.
    pub(crate) fn archived_segments(&self) -> usize {
        self.archives.iter().filter(|archive| archive.orphaned).map(|archive| archive.segments.len()).sum()
    }

    /// Closes files of history if there are many. Only to be called while every read was submitted: the kernel holds its own
    /// reference then, but looks a descriptor up when a read is submitted.
    pub(crate) fn trim_readers(&mut self) {
        if self.readers.len() >= OPEN_FILES {
            self.readers.clear();
        }
    }

    /// Reads `len` bytes at `loc` for a job.
    pub(crate) fn read(&mut self, ring: &mut Ring, job: JobId, loc: Loc, len: usize) {
        let mut buffer = self.spare.pop().unwrap_or_default();
        match self.reader(loc.log(), loc.generation()) {
            Ok(file) => {
                buffer.resize(len, 0);
                ring.read(file.as_fd(), Token(u64::from(job.0)), loc.offset(), buffer);
            }
            Err(_gone) => self.failed.push_back(job),
        }
    }

    fn reader(&mut self, log: LogId, generation: Generation) -> io::Result<&File> {
        match self.readers.entry((log, generation)) {
            std::collections::hash_map::Entry::Occupied(found) => Ok(found.into_mut()),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                let archive = self.archives.iter().find(|archive| archive.log == log);
                let (files, slot) = if log == self.own {
                    (&self.files, self.log.slot_of(generation))
                } else {
                    let archive = archive.ok_or(io::ErrorKind::NotFound)?;
                    let segment = archive.segments.iter().find(|segment| segment.generation == generation);
                    (&archive.files, segment.map(|segment| segment.slot))
                };
                Ok(vacant.insert(files.open_for_read(slot.ok_or(io::ErrorKind::NotFound)?)?))
            }
        }
    }

    /// A job whose read failed before it began.
    pub(crate) fn take_failed(&mut self) -> Option<JobId> {
        self.failed.pop_front()
    }

    /// Keeps a read's buffer.
    pub(crate) fn keep(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < OPEN_FILES {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// When a tip is due, if one is.
    pub(crate) fn tip_due(&self) -> Option<Mono> {
        let idle = self.log.is_idle() && self.log.needs_tip() && !self.log.is_starved();
        idle.then(|| self.idle_since.plus_ms(crate::config::TIP_DELAY_MS))
    }

    /// True if the open batch should be written now.
    pub(crate) fn wants_seal(&self, now: Now) -> bool {
        let wanted = self.log.is_wanted() && self.log.has_records();
        wanted || self.tip_due().is_some_and(|due| due <= now.mono)
    }
}

fn record(histogram: &mut hdrhistogram::Histogram<u64>, value: u64) {
    histogram.saturating_record(value);
}
