//! What goes wrong, and when it is over.

use tidings_log::format::BatchHeader;
use tidings_turn::Purpose;
use tidings_wire::{Lsn, archive};

use super::{Event, World, links::Side, links::Who, settle::Phase};
use crate::{
    agenda::{MS, Nanos, SECOND},
    disk::{Crash, FileId},
    machine::LinkId,
    plan::Fault,
    random::{MILLION, Random},
    trace::Moment,
};

/// What a write is for that something happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteOf {
    Batch,
    Fill,
    Header,
}

impl WriteOf {
    pub(super) fn is_of(self, purpose: Purpose) -> bool {
        let of = match purpose {
            Purpose::Batch(_) => Self::Batch,
            Purpose::Fill => Self::Fill,
            Purpose::Header => Self::Header,
        };
        self == of
    }
}

/// A copy of a file.
#[derive(Debug)]
pub(super) struct OldFile {
    pub(super) file: FileId,
    bytes: Vec<u8>,
    /// The first batch that was written to the file since, and the last for which one vouches that was written to another file of its log.
    first: Option<Lsn>,
    vouched: Lsn,
}

/// What is wrong at the moment.
#[derive(Debug, Default)]
pub(super) struct Weather {
    /// The disk takes up to so much longer.
    slow_disk: Nanos,
    /// Nothing can be created.
    pub(super) full: bool,
    /// The next write for this purpose fails.
    pub(super) fail_write: Option<WriteOf>,
    /// The machine goes down in the middle of the next write for this purpose.
    pub(super) crash_in_write: Option<(WriteOf, Crash)>,
    /// The next batch is lost (false) or lands elsewhere (true).
    pub(super) lose_write: Option<bool>,
    /// A file is gone at the next start.
    pub(super) lose_file: bool,
    /// A file as it is now, which it is again at the next start.
    pub(super) old_file: Option<OldFile>,
    /// The next recovery is interrupted.
    pub(super) crash_recovery: bool,
    /// The next read of history brings less than was asked for.
    pub(super) short_read: bool,
    /// Reads that came short: two in a row of the same bytes may be told to who asked for them.
    pub(super) short_reads: u32,
    /// The next connection is refused by the kernel.
    pub(super) refuse_accept: bool,
    /// The next output is taken only in part.
    pub(super) short_send: bool,
    /// Lanes take up to so long.
    pub(super) slow_lanes: Nanos,
    /// The next reactor that has proposals loses them.
    pub(super) lose_lead: bool,
    /// Nobody reaches the node.
    pub(super) partitioned: bool,
    /// How far the node's wall clock is off.
    pub(super) wall_offset_us: i64,
}

impl Weather {
    /// A batch is written to a file.
    pub(super) fn note_batch(&mut self, file: FileId, bytes: &[u8]) {
        let Ok(name) = archive::read::<BatchHeader>(bytes).map(|header| header.name()) else { return };
        match &mut self.old_file {
            Some(old) if old.file == file => old.first = Some(old.first.map_or(name.lsn, |first| first.min(name.lsn))),
            Some(old) if old.file.0 == file.0 => old.vouched = old.vouched.max(name.durable),
            _ => {}
        }
    }

    /// What the disk takes on top.
    pub(super) fn disk_delay(&self, random: &mut Random) -> Nanos {
        if self.slow_disk > 0 { random.between(MS, self.slow_disk) } else { 0 }
    }

    /// Everything is well, but for a clock that is off, and for what is still under way.
    pub(super) fn clear(&mut self) {
        *self = Self { wall_offset_us: self.wall_offset_us, short_reads: self.short_reads, ..Self::default() };
    }
}

impl World {
    /// The file of which there is an older copy is as that is. True if no node could tell: what it lacks is the newest of its log, no batch that is there
    /// vouches for it, and nobody wrote down that there was any.
    pub(super) fn put_old_file_back(&mut self) -> bool {
        let Some(OldFile { file, bytes, first, vouched }) = self.weather.old_file.take() else { return false };
        let noted = self.ends.get(&file.0).map_or(Lsn(0), |end| end.batch);
        let lacks = first.is_some_and(|first| first > noted && first > vouched);
        self.disk.borrow_mut().put_back(file, bytes) && lacks
    }

    pub(super) fn plan_faults(&mut self) {
        for at in 0..self.plan.faults.len() {
            let (_, mean) = self.plan.faults[at];
            let after = self.random.around(mean);
            self.agenda.plan(self.now + after, Event::Fault(at));
        }
    }

    pub(super) fn fault(&mut self, at: usize) {
        if self.phase != Phase::Stormy {
            return;
        }
        let (fault, mean) = self.plan.faults[at];
        let after = self.random.around(mean);
        self.agenda.plan(self.now + after, Event::Fault(at));
        if let Some(of) = self.strike(fault) {
            self.stats.fault(fault.name());
            self.tell(Moment::Fault(fault, of));
        }
    }

    /// Makes it happen; of what, or `None` if there is nothing that it could happen to.
    fn strike(&mut self, fault: Fault) -> Option<u64> {
        let lasts = self.random.around(3 * SECOND);
        match fault {
            Fault::Kill | Fault::PowerLoss | Fault::Restart => return self.strike_node(fault),
            Fault::CrashInRecovery => {
                self.weather.crash_recovery = self.node.is_some();
                return self.strike_node(Fault::PowerLoss);
            }
            Fault::SlowDisk => {
                self.weather.slow_disk = *self.random.pick(&[5 * MS, 50 * MS, 500 * MS, 10 * SECOND]);
                self.agenda.plan(self.now + lasts, Event::Over(fault, 0));
            }
            Fault::FullDisk => {
                self.weather.full = true;
                self.agenda.plan(self.now + lasts, Event::Over(fault, 0));
            }
            Fault::WriteError => self.weather.fail_write = Some(self.some_purpose()),
            Fault::ShortRead => self.weather.short_read = true,
            Fault::AcceptError => self.weather.refuse_accept = true,
            Fault::ShortSend => self.weather.short_send = true,
            Fault::SlowLanes => {
                self.weather.slow_lanes = *self.random.pick(&[MS, 30 * MS, SECOND]);
                self.agenda.plan(self.now + lasts, Event::Over(fault, 0));
            }
            Fault::LostWrite => self.weather.lose_write = Some(false),
            Fault::MisdirectedWrite => self.weather.lose_write = Some(true),
            Fault::LostLead => self.weather.lose_lead = true,
            Fault::LostFile => self.weather.lose_file = true,
            Fault::OldFile => {
                let (file, bytes) = self.disk.borrow().copy(&mut self.random)?;
                self.weather.old_file = Some(OldFile { file, bytes, first: None, vouched: Lsn(0) });
            }
            Fault::BitFlip => {
                let (log, slot) = self.disk.borrow_mut().flip(&mut self.random)?;
                self.someone_reads_again();
                return Some(u64::from(log.0) << 32 | u64::from(slot.0));
            }
            Fault::UnreadableSector => {
                let (log, slot) = self.disk.borrow_mut().make_unreadable(&mut self.random)?;
                self.someone_reads_again();
                return Some(u64::from(log.0) << 32 | u64::from(slot.0));
            }
            Fault::Cut | Fault::HalfOpen | Fault::StallReader | Fault::SlowLink => {
                return self.strike_link(fault, lasts);
            }
            Fault::Partition => {
                self.weather.partitioned = true;
                for link in self.links.keys().copied().collect::<Vec<_>>() {
                    self.cut_link(link);
                }
                self.agenda.plan(self.now + lasts, Event::Over(fault, 0));
            }
            Fault::DeviceCrash | Fault::DeviceForgets | Fault::DeviceLeaves => {
                let at = self.random.below(self.devices.len() as u64) as usize;
                if !self.devices[at].online {
                    return None;
                }
                self.stop_device(at, fault == Fault::DeviceForgets);
                let lasts = if fault == Fault::DeviceLeaves { 4 * lasts } else { lasts / 4 };
                self.agenda.plan(self.now + lasts, Event::Over(fault, at as u64));
                return Some(at as u64);
            }
            Fault::DeviceCloned => {
                let at = self.random.below(self.devices.len() as u64) as usize;
                return self.clone_device(at).then_some(at as u64);
            }
            Fault::DeviceSleeps => {
                let at = self.random.below(self.devices.len() as u64) as usize;
                if !self.suspend_device(at) {
                    return None;
                }
                self.agenda.plan(self.now + 4 * lasts, Event::Over(fault, at as u64));
                return Some(at as u64);
            }
            Fault::Stranger => return self.invite_stranger(),
            Fault::ClockJump => {
                let hours = self.random.between(0, 48) as i64 - 24;
                self.weather.wall_offset_us = hours * 3_600_000_000;
            }
            Fault::Starve => {
                let reactors = self.node.as_ref()?.reactors();
                let reactor = self.random.below(reactors as u64) as usize;
                let until = self.now + *self.random.pick(&[5 * MS, 100 * MS, 2 * SECOND]);
                self.node.as_mut()?.starve(reactor, until);
                return Some(reactor as u64);
            }
        }
        Some(0)
    }

    /// Devices without memory read everything again: where somebody damaged something, that is found before the node starts again.
    fn someone_reads_again(&mut self) {
        for at in 0..self.devices.len() {
            if self.devices[at].online && self.random.chance(MILLION / 2) {
                self.stop_device(at, true);
                self.agenda.plan(self.now + MS, Event::Over(Fault::DeviceForgets, at as u64));
            }
        }
    }

    fn strike_node(&mut self, fault: Fault) -> Option<u64> {
        self.node.as_ref()?;
        let how = if fault == Fault::Kill { Crash::Killed } else { Crash::PowerLost };
        if fault == Fault::Restart {
            self.drain();
        } else if self.random.chance(3 * MILLION / 4) {
            // Most of the time a disk does nothing: what happens in the middle of a write is worth more.
            self.weather.crash_in_write = Some((self.some_purpose(), how));
        } else {
            self.down(how, u8::from(how == Crash::PowerLost));
        }
        Some(0)
    }

    fn some_purpose(&mut self) -> WriteOf {
        *self.random.pick(&[WriteOf::Batch, WriteOf::Batch, WriteOf::Batch, WriteOf::Fill, WriteOf::Header])
    }

    fn strike_link(&mut self, fault: Fault, lasts: Nanos) -> Option<u64> {
        let links: Vec<_> = self.links.iter().filter(|(_, link)| link.open).map(|(id, _)| *id).collect();
        let id = *links.get(self.random.below(links.len().max(1) as u64) as usize)?;
        let directions = *self.random.pick(&[(true, true), (true, false), (false, true)]);
        let link = self.links.get_mut(&id)?;
        match fault {
            Fault::Cut => self.cut_link(id),
            Fault::HalfOpen => {
                link.to_node.dead |= directions.0;
                link.to_device.dead |= directions.1;
            }
            Fault::StallReader => {
                link.to_device.stalled = true;
                self.agenda.plan(self.now + 5 * lasts, Event::Over(fault, id.0));
            }
            _ => link.slowness = *self.random.pick(&[100, 10_000, 300_000]),
        }
        Some(id.0)
    }

    pub(super) fn over(&mut self, fault: Fault, of: u64) {
        match fault {
            Fault::SlowDisk => self.weather.slow_disk = 0,
            Fault::SlowLanes => self.weather.slow_lanes = 0,
            Fault::DeviceSleeps => self.wake_suspended(of as usize),
            Fault::FullDisk => self.weather.full = false,
            Fault::Partition => self.weather.partitioned = false,
            Fault::StallReader => self.heal(LinkId(of)),
            _ => self.wake_device(of as usize),
        }
    }

    /// A connection is as good as it can be; one that is dead stays so.
    pub(super) fn heal(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.slowness = 0;
            link.to_device.stalled = false;
            self.read_by_device(id);
        }
    }

    /// Somebody who connects and is no client of ours.
    fn invite_stranger(&mut self) -> Option<u64> {
        let reactors = self.node.as_ref()?.accepting();
        let reactor = *reactors.get(self.random.below(reactors.len().max(1) as u64) as usize)?;
        let link = self.open_link(Who::Stranger, reactor);
        self.accept(reactor, link, std::net::IpAddr::from([10, 9, 9, 9]));
        self.agenda.plan(self.now + MS, Event::Strange { link });
        Some(link.0)
    }

    /// A stranger says something, stops reading, or leaves.
    pub(super) fn strange(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.open && link.who == Who::Stranger) else { return };
        match self.random.below(8) {
            0 => return self.close_by_device(id),
            1 => link.to_device.stalled = true,
            2 => {} // silence
            3 => {
                // Something that was once a frame.
                let mut bytes = Vec::new();
                tidings_wire::frame::append(&mut bytes, 1, &tidings_wire::frames::Ping { opaque: 1 });
                let at = self.random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << self.random.below(8);
                self.put_on_link(id, Side::Node, bytes);
            }
            _ => {
                let len = self.random.below(3000) as usize;
                let bytes = (0..len).map(|_| self.random.bits() as u8).collect();
                self.put_on_link(id, Side::Node, bytes);
            }
        }
        let after = self.random.around(2 * SECOND);
        self.agenda.plan(self.now + after, Event::Strange { link: id });
    }
}
