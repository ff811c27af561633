//! The log's side of the machine: the writes in flight, the segments being prepared, and reads of history.

use std::{collections::VecDeque, io};

use tidings_canary::{self as canary, Canary};
use tidings_core::{JobId, Mono, Now};
use tidings_log::{
    AlignedBuf, Log, LogEnd, Sealed, SegmentInfo, SlotId, Solo,
    prepare::{Outcome, Preparer, READY_AIM, Step},
};
use tidings_wire::{Generation, LogId, LogPosition, Lsn};

use crate::{
    config::{GATHER_BATCH, ROOM_FOR_INPUT},
    machine::{Machine, Purpose},
    report::Report,
    write_time::WriteTime,
};

/// Files of dropped segments that wait to be used again.
const DROPPED_MAX: usize = 2;
/// Read buffers kept for reuse.
const SPARE_READS: usize = 64;
/// How long a failed preparation (a full disk) rests.
const PREPARE_RETRY_MS: u64 = 1000;

/// A log that another reactor writes, or that was written when there were more of them: its segments as found at the
/// start. Only read.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Which log.
    pub log: LogId,
    /// Its segments, oldest first.
    pub segments: Vec<SegmentInfo>,
    /// True if nobody writes it any more: who adopts it may delete its segments.
    pub orphaned: bool,
    /// The oldest segment that a start must find: those before it may be deleted.
    pub kept_from: Generation,
}

/// What came of dropping a segment of an orphaned log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archived {
    /// This one goes: nobody is to read it any more.
    Goes(LogId, Generation),
    /// One will be, and nothing else is to go instead.
    Waits,
    /// There is none, or it cannot be deleted.
    Nothing,
}

/// What is being written down outside of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noting {
    /// That a prepared segment is there.
    Prepared,
    /// That segments before this one may be gone.
    KeptFrom(Generation),
}

/// What a log's port is made with.
#[derive(Debug)]
pub struct LogParts {
    /// The reactor's own log.
    pub log: Log,
    /// Prepares its segments.
    pub preparer: Preparer,
    /// The other logs.
    pub archives: Vec<Archive>,
}

#[derive(Debug)]
pub(crate) struct LogPort {
    pub(crate) log: Log,
    /// The file that batches go to.
    active: Option<SlotId>,
    /// Files that are full, and the last batch that goes to each: closed when that is durable.
    full: VecDeque<(SlotId, Lsn)>,
    preparer: Preparer,
    prepare_after: Mono,
    /// A segment of an orphaned log is being deleted; when the next may be, after one could not.
    is_removing: bool,
    remove_after: Mono,
    pub(crate) prepare_failures: u64,
    /// The last attempt to prepare a segment failed.
    prepare_fails: bool,
    /// A prepared segment that may be used once it is written down that it is there.
    prepared: Option<SegmentInfo>,
    /// What is being written down, if something is.
    noting: Option<Noting>,
    /// The oldest segment that a start must find: those before it may be dropped.
    kept_from: Generation,
    archives: Vec<Archive>,
    /// Reads that cannot be done: their segment is gone.
    failed: VecDeque<JobId>,
    spare: Vec<Vec<u8>>,
    own: LogId,
    opened: Option<Mono>,
    idle_since: Mono,
    /// Batches that are being written, oldest first: when that began, and their bytes.
    writing: VecDeque<(Lsn, Mono, usize)>,
    /// How long a batch takes to be written.
    pub(crate) write_time: WriteTime,
    pub(crate) report: Report,
}

impl LogPort {
    /// Opens the files of segments that will be written.
    pub(crate) fn open(own: LogId, parts: LogParts, machine: &mut impl Machine, now: Mono) -> io::Result<Self> {
        let LogParts { log, preparer, archives } = parts;
        let ready = log.ready().map(|segment| segment.slot);
        let active = log.segments().last().map(|segment| segment.slot);
        for slot in active.into_iter().chain(ready) {
            machine.open(slot)?;
        }
        Ok(Self {
            log,
            active,
            full: VecDeque::new(),
            preparer,
            prepare_after: now,
            is_removing: false,
            remove_after: now,
            prepare_failures: 0,
            prepare_fails: false,
            prepared: None,
            noting: None,
            kept_from: Generation(0),
            archives,
            failed: VecDeque::new(),
            spare: Vec::new(),
            own,
            opened: None,
            idle_since: now,
            writing: VecDeque::new(),
            write_time: WriteTime::default(),
            report: Report::default(),
        })
    }

    /// A record was appended: the open batch waits from now on, if it did not already.
    pub(crate) fn touched(&mut self, now: Mono) {
        self.opened.get_or_insert(now);
    }

    /// True while batches wait for a segment, and the disk takes none: it is full, most likely.
    pub(crate) fn is_stuck(&self) -> bool {
        self.prepare_fails && self.log.is_starved()
    }

    /// True if input may be taken: there is room for what it may turn into, or nothing will come of it that needs room.
    pub(crate) fn takes_input(&self) -> bool {
        self.log.room() >= ROOM_FOR_INPUT || self.is_stuck()
    }

    /// True while something is being written.
    pub(crate) fn is_writing(&self) -> bool {
        !self.writing.is_empty()
    }

    /// How much longer it will take until another batch may be written, if writes take as long as others did. Zero if one may be
    /// now, or the oldest that is being written has less than `least` bytes.
    pub(crate) fn expected_ns(&self, least: usize, now: Mono) -> u64 {
        match self.writing.front() {
            Some((_, since, bytes)) if *bytes >= least && !self.log.may_write() => {
                self.write_time.ns().saturating_sub(now.since(*since))
            }
            _ => 0,
        }
    }

    /// Seals the open batch and submits its write, if another may be in flight. True if it did.
    pub(crate) fn submit(&mut self, machine: &mut impl Machine, replica: &mut Solo, now: Mono) -> bool {
        let before = self.active;
        let Some(write) = self.log.seal(replica) else { return false };
        self.active = Some(write.slot);
        if let Some(full) = before.filter(|slot| *slot != write.slot) {
            self.full.push_back((full, Lsn(write.lsn.0 - 1)));
        }
        if let Some(opened) = self.opened.take() {
            record(&mut self.report.queue_us, now.since(opened) / 1000);
        }
        record(&mut self.report.batch_bytes, write.buffer.len() as u64);
        self.preparer.appended(write.buffer.len() as u64);
        self.writing.push_back((write.lsn, now, write.buffer.len()));
        machine.write(Purpose::Batch(write.lsn), write.slot, write.offset, write.buffer);
        true
    }

    /// The next batch that is durable.
    pub(crate) fn take_durable(&mut self, machine: &mut impl Machine) -> Option<Sealed> {
        let sealed = self.log.take_durable()?;
        while let Some((slot, _)) = self.full.pop_front_if(|(_, last)| sealed.durable.covers(*last)) {
            machine.close(slot);
        }
        Some(sealed)
    }

    /// A write completed.
    ///
    /// # Errors
    /// If a batch could not be made durable: the log is poisoned and the node must stop.
    pub(crate) fn written(
        &mut self,
        purpose: Purpose,
        buffer: AlignedBuf,
        result: io::Result<usize>,
        now: Mono,
    ) -> io::Result<()> {
        let whole = result.and_then(|written| {
            if written == buffer.len() || canary::is(Canary::ShortWriteBelieved) {
                Ok(())
            } else {
                Err(io::ErrorKind::WriteZero.into())
            }
        });
        if let Purpose::Batch(lsn) = purpose {
            if let Err(error) = whole {
                self.log.poison();
                return Err(error);
            }
            let at = self.writing.iter().position(|(writing, ..)| *writing == lsn);
            let (_, since, bytes) = at.and_then(|at| self.writing.remove(at)).expect("a completion belongs to a write");
            let took_ns = now.since(since);
            if bytes >= GATHER_BATCH {
                self.write_time.ended(took_ns);
            }
            record(&mut self.report.batch_us, took_ns / 1000);
            self.idle_since = now;
            self.log.written(lsn, buffer);
            return Ok(());
        }
        let outcome = if whole.is_ok() { Outcome::Done } else { self.prepare_failed(now) };
        self.prepared = self.preparer.written(buffer, outcome, self.log.next_generation());
        Ok(())
    }

    fn prepare_failed(&mut self, now: Mono) -> Outcome {
        self.prepare_failures += 1;
        self.prepare_fails = true;
        self.prepare_after = now.plus_ms(PREPARE_RETRY_MS);
        Outcome::Failed
    }

    /// A file was created, or not.
    pub(crate) fn created(&mut self, result: &io::Result<()>, now: Mono) {
        let outcome = if result.is_ok() { Outcome::Done } else { self.prepare_failed(now) };
        self.preparer.created(outcome);
    }

    /// Where a log ends was written down, or not.
    pub(crate) fn noted(&mut self, log: LogId, result: &io::Result<()>, now: Mono) {
        let noting = self.noting.take().expect("something was to be written down");
        if result.is_err() {
            self.prepare_failed(now);
            return;
        }
        match noting {
            Noting::Prepared => {
                let segment = self.prepared.take().expect("it waits for that");
                self.log.add_ready(segment);
                self.prepare_fails = false;
            }
            Noting::KeptFrom(generation) if log == self.own => self.kept_from = generation,
            Noting::KeptFrom(generation) => {
                let archive = self.archives.iter_mut().find(|archive| archive.log == log);
                archive.expect("only a log that is known is dropped").kept_from = generation;
            }
        }
    }

    /// Which log is written here.
    pub(crate) fn log_id(&self) -> LogId {
        self.own
    }

    /// Takes the next step towards prepared segments, if one is due.
    pub(crate) fn prepare(&mut self, machine: &mut impl Machine, now: Mono) {
        // Files of dropped segments will be used again, unless enough wait for that: a log that ran ahead of its retention would
        // keep their room for ever. The oldest goes first: a hole among those whose headers are still there would look like damage.
        // Only once there is nothing to prepare: that may be waited for.
        if now >= self.remove_after
            && self.log.ready_segments() >= READY_AIM
            && let Some(slot) = self.preparer.delete_oldest_beyond(DROPPED_MAX)
        {
            machine.remove(self.own, slot);
        }
        if now < self.prepare_after || self.noting.is_some() {
            return;
        }
        if let Some(segment) = &self.prepared {
            // From then on it may hold batches, and a start must not take its absence for the end of the log.
            self.noting = Some(Noting::Prepared);
            let end = LogEnd { generation: segment.generation, ..self.log.end() };
            return machine.note(self.own, Some(end));
        }
        match self.preparer.next(now.0, self.log.ready_segments(), self.log.next_generation()) {
            Some(Step::Create(slot, len)) => machine.create(slot, len),
            Some(Step::Fill { slot, offset, buffer }) => machine.write(Purpose::Fill, slot, offset, buffer),
            // A recycled file was closed when its segment was full, or belongs to an earlier run.
            Some(Step::Write { slot, offset, buffer }) => match machine.open(slot) {
                Ok(()) => machine.write(Purpose::Header, slot, offset, buffer),
                Err(_gone) => {
                    let outcome = self.prepare_failed(now);
                    self.preparer.written(buffer, outcome, self.log.next_generation());
                }
            },
            None => {}
        }
    }

    /// True once it is written down that segments up to `last` may be gone.
    pub(crate) fn may_drop(&mut self, last: Generation, machine: &mut impl Machine, now: Mono) -> bool {
        if self.kept_from > last {
            return true;
        }
        if now >= self.prepare_after && self.noting.is_none() {
            let first = Generation(last.0 + 1);
            self.noting = Some(Noting::KeptFrom(first));
            machine.note(self.own, Some(LogEnd { first, ..self.log.end() }));
        }
        false
    }

    /// Drops the oldest segment of the own log; its file waits to be used again.
    pub(crate) fn drop_oldest(&mut self) -> Option<SegmentInfo> {
        let dropped = self.log.drop_oldest()?;
        self.preparer.recycle(dropped);
        Some(dropped)
    }

    /// Deletes the oldest segment of an orphaned log, once it is written down that it may be gone.
    pub(crate) fn drop_archived(&mut self, machine: &mut impl Machine, now: Mono) -> Archived {
        let archive = self.archives.iter_mut().find(|archive| archive.orphaned && !archive.segments.is_empty());
        let Some(archive) = archive else { return Archived::Nothing };
        let oldest = archive.segments[0].generation;
        if archive.kept_from <= oldest {
            // A start would miss it. Without the last of its segments the log is gone.
            if now >= self.prepare_after && self.noting.is_none() {
                let first = Generation(oldest.0 + 1);
                let newest = archive.segments.last().map_or(oldest, |segment| segment.generation);
                let end = LogEnd { first, generation: newest, batch: Lsn(0) };
                self.noting = Some(Noting::KeptFrom(first));
                machine.note(archive.log, (newest > oldest).then_some(end));
            }
            return Archived::Waits;
        }
        if self.is_removing {
            return Archived::Waits;
        }
        // In order, and not past one that cannot be deleted: a hole would look like damage.
        if now < self.remove_after {
            return Archived::Nothing;
        }
        machine.remove(archive.log, archive.segments[0].slot);
        self.is_removing = true;
        Archived::Goes(archive.log, oldest)
    }

    /// The file of a segment that was dropped was deleted, or could not be.
    pub(crate) fn removed(&mut self, log: LogId, result: &io::Result<()>, now: Mono) {
        let outcome = if result.is_ok() { Outcome::Done } else { Outcome::Failed };
        if outcome == Outcome::Failed {
            self.remove_after = now.plus_ms(PREPARE_RETRY_MS);
        }
        if log == self.own {
            return self.preparer.deleted(outcome);
        }
        self.is_removing = false;
        if outcome == Outcome::Failed {
            return;
        }
        let archive = self.archives.iter_mut().find(|archive| archive.log == log);
        archive.expect("only a log that is known is dropped").segments.remove(0);
    }

    /// Bytes of segments of orphaned logs that are still there.
    pub(crate) fn archived_bytes(&self) -> u64 {
        let orphaned = self.archives.iter().filter(|archive| archive.orphaned);
        orphaned.flat_map(|archive| &archive.segments).map(|segment| segment.len).sum()
    }

    /// Reads `len` bytes at `loc` for a job.
    pub(crate) fn read(&mut self, machine: &mut impl Machine, job: JobId, loc: LogPosition, len: usize) {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.resize(len, 0);
        let read = self.slot_of(loc.log(), loc.generation());
        let read = read.and_then(|slot| machine.read(job, loc.log(), slot, loc.offset(), buffer).ok());
        if read.is_none() {
            self.failed.push_back(job);
        }
    }

    fn slot_of(&self, log: LogId, generation: Generation) -> Option<SlotId> {
        if log == self.own {
            return self.log.slot_of(generation);
        }
        let archive = self.archives.iter().find(|archive| archive.log == log)?;
        archive.segments.iter().find(|segment| segment.generation == generation).map(|segment| segment.slot)
    }

    /// A job whose read failed before it began.
    pub(crate) fn take_failed(&mut self) -> Option<JobId> {
        self.failed.pop_front()
    }

    /// Keeps a read's buffer.
    pub(crate) fn keep(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < SPARE_READS {
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
