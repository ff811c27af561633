//! Operations of the disk: they take time, fail, and are interrupted when the machine goes down.

use std::collections::BTreeMap;

use tidings_core::Counter;
use tidings_log::{AlignedBuf, LogEnd, SlotId};
use tidings_turn::{Completion, Purpose};
use tidings_wire::LogId;

use super::{Event, World};
use crate::{
    agenda::Nanos,
    disk::{Crash, Pending},
    random::MILLION,
    trace::Moment,
};

/// An operation of the disk.
#[derive(Debug)]
pub(super) struct Operation {
    pending: Option<Pending>,
    then: Then,
}

#[derive(Debug)]
pub(super) enum Then {
    Created(SlotId),
    Removed(LogId, SlotId),
    Written(Purpose),
    Read(tidings_core::JobId, LogId, SlotId, u64, Vec<u8>),
    Noted(LogId, Option<LogEnd>),
}

/// The control file is written: as a whole or not at all.
fn note(ends: &mut BTreeMap<LogId, LogEnd>, log: LogId, end: Option<LogEnd>) {
    match end {
        Some(end) => {
            let known = ends.entry(log).or_insert(end);
            known.first = known.first.max(end.first);
            known.generation = known.generation.max(end.generation);
            known.batch = known.batch.max(end.batch);
        }
        None => drop(ends.remove(&log)),
    }
}

impl World {
    pub(super) fn submit_write(
        &mut self,
        reactor: usize,
        purpose: Purpose,
        slot: SlotId,
        offset: u64,
        bytes: AlignedBuf,
    ) {
        let log = LogId(reactor as u8);
        if purpose != Purpose::Fill {
            let crc = crc32c::crc32c(bytes.as_slice());
            self.tell(Moment::Write(log.0, slot.0, offset, bytes.len(), crc));
        }
        let pending = Pending::Write { file: (log, slot), purpose, offset, bytes };
        let latency = self.submit(reactor, Some(pending), Then::Written(purpose));
        if self.weather.crash_in_write.as_ref().is_some_and(|(of, _)| of.is_of(purpose))
            && let Some((_, how)) = self.weather.crash_in_write.take()
        {
            let after = self.random.below(latency);
            self.agenda.plan(self.now + after, Event::Crash { run: self.run, how });
        }
    }

    /// What retention dropped is remembered: the node itself forgets it with its process.
    pub(super) fn learn_floors(&mut self) {
        let Some(process) = &self.node else { return };
        for (log, oldest) in process.floors() {
            self.oracle.durable.drop_below(log, oldest);
        }
        let (lost, counted) = (self.oracle.durable.lost_unreceived(), process.count(Counter::UndeliveredDropped));
        if lost > counted {
            let text = format!("{lost} messages went unreceived with their segments, of which {counted} were given up");
            self.oracle.violate("I25", text);
        }
    }

    /// Begins an operation; how long it will take.
    pub(super) fn submit(&mut self, reactor: usize, pending: Option<Pending>, then: Then) -> Nanos {
        let latency = self.random.around(self.plan.disk_latency) + self.weather.disk_delay(&mut self.random);
        let id = self.id();
        self.operations.insert(id, Operation { pending, then });
        self.agenda.plan(self.now + latency, Event::Disk { run: self.run, reactor, id });
        latency
    }

    pub(super) fn disk_done(&mut self, run: u32, reactor: usize, id: u64) {
        if run != self.run || self.node.is_none() {
            return;
        }
        let Some(Operation { pending, then }) = self.operations.remove(&id) else { return };
        let mut disk = self.disk.borrow_mut();
        let completion = match (then, pending) {
            (Then::Created(slot), Some(pending)) => {
                let result = if self.weather.full { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) };
                if result.is_ok() {
                    disk.land(&pending);
                }
                Completion::Created { slot, result }
            }
            (Then::Removed(log, slot), _) => {
                // Now and then the file system does not want to.
                let result =
                    if self.random.chance(MILLION / 20) { Err(std::io::ErrorKind::Other.into()) } else { Ok(()) };
                if result.is_ok() {
                    disk.remove((log, slot));
                }
                Completion::Removed { log, result }
            }
            (Then::Written(purpose), Some(pending)) => {
                let (mut result, mut landed) = (Ok(pending.len()), true);
                if self.weather.fail_write.take_if(|of| of.is_of(purpose)).is_some() {
                    result = disk.fail(&pending, &mut self.random);
                    landed = disk.holds(&pending);
                } else if let Some(misdirected) =
                    self.weather.lose_write.take_if(|_| matches!(purpose, Purpose::Batch(_)))
                {
                    disk.lose(&pending, misdirected, &mut self.random);
                } else {
                    disk.land(&pending);
                }
                let is_there = disk.holds(&pending);
                let Pending::Write { file, bytes: buffer, .. } = pending else { unreachable!("it was a write") };
                if matches!(purpose, Purpose::Batch(_)) && is_there {
                    self.weather.note_batch(file, buffer.as_slice());
                }
                if matches!(purpose, Purpose::Batch(_))
                    && landed
                    && let Err(wrong) = self.oracle.durable.add(LogId(reactor as u8), buffer.as_slice())
                {
                    self.oracle.violate("I2", wrong);
                }
                Completion::Written { purpose, buffer, result }
            }
            (Then::Noted(log, end), _) => {
                let result = if self.weather.full { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) };
                if result.is_ok() {
                    note(&mut self.ends, log, end);
                }
                Completion::Noted { log, result }
            }
            (Then::Read(job, log, slot, offset, mut buffer), _) => {
                let mut result = disk.read((log, slot), offset, &mut buffer);
                if std::mem::take(&mut self.weather.short_read) {
                    self.weather.short_reads += 1;
                    result = result.map(|len| self.random.below(len.max(1) as u64) as usize);
                }
                Completion::Read { job, buffer, result }
            }
            (_, None) => unreachable!("only reads change nothing"),
        };
        drop(disk);
        self.complete(reactor, completion);
    }

    /// The machine went down: what was under way is there as a whole, in part or not at all.
    pub(super) fn interrupt_disk(&mut self, how: Crash) {
        let operations = std::mem::take(&mut self.operations);
        for operation in operations.values() {
            if let Then::Noted(log, end) = operation.then
                && self.random.chance(MILLION / 2)
            {
                note(&mut self.ends, log, end);
            }
        }
        let pending: Vec<_> = operations.into_values().filter_map(|operation| operation.pending).collect();
        self.stats.crashes_in_writes += u64::from(pending.iter().any(Pending::is_batch));
        self.disk.borrow_mut().crash(how, &pending, &mut self.random);
        // What is there as a whole will be recovered, although nobody was told.
        for pending in pending {
            let Pending::Write { file, purpose: Purpose::Batch(_), bytes, .. } = &pending else { continue };
            if !self.disk.borrow().holds(&pending) {
                continue;
            }
            self.weather.note_batch(*file, bytes.as_slice());
            if let Err(wrong) = self.oracle.durable.add(file.0, bytes.as_slice()) {
                self.oracle.violate("I2", wrong);
            }
        }
    }
}
