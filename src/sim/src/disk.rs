//! The simulated block device: what was written, what is durable, and what a crash leaves.
//!
//! A write lands when it completes. Until then, and until a flush for what was written without one, a loss of power may
//! leave any subset of its sectors. A process that is killed loses nothing that the kernel has taken.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    io,
    ops::Range,
    rc::Rc,
};

use tidings_log::{AlignedBuf, SlotId, Storage, format::BatchHeader};
use tidings_turn::Purpose;
use tidings_wire::{LogId, archive::Archived};

use crate::random::{MILLION, Random};

/// What a device writes at once or not at all.
pub const SECTOR: usize = 512;

/// A file's name.
pub type FileId = (LogId, SlotId);

/// An operation that was submitted and has not completed.
#[derive(Debug)]
pub enum Pending {
    /// A new file.
    Create {
        /// Which.
        file: FileId,
        /// Its bytes.
        len: u64,
    },
    /// A write.
    Write {
        /// To which file.
        file: FileId,
        /// What for.
        purpose: Purpose,
        /// Where.
        offset: u64,
        /// What.
        bytes: AlignedBuf,
    },
}

impl Pending {
    /// Bytes that are written.
    #[allow(clippy::len_without_is_empty, reason = "an operation is not a collection")]
    pub fn len(&self) -> usize {
        match self {
            Self::Create { .. } => 0,
            Self::Write { bytes, .. } => bytes.len(),
        }
    }

    /// True if a batch is being written.
    pub fn is_batch(&self) -> bool {
        matches!(self, Self::Write { purpose: Purpose::Batch(_), .. })
    }
}

#[derive(Debug, Default)]
struct SimFile {
    bytes: Vec<u8>,
    /// What was there before writes that are not durable, oldest first.
    undo: Vec<(usize, Vec<u8>)>,
}

/// How the machine went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process was killed: what the kernel took is written.
    Killed,
    /// The power went: any sectors of what is not durable are lost.
    PowerLost,
}

/// A batch that was completed and that none vouches for yet: if it is damaged, it cannot be told from a torn tail on one node.
#[derive(Clone, Debug)]
struct Newest {
    lsn: u64,
    file: FileId,
    range: Range<usize>,
    /// It has no records: with it nothing is lost.
    tip: bool,
    damaged: bool,
}

/// The device.
#[derive(Debug, Default)]
pub struct Disk {
    files: BTreeMap<FileId, SimFile>,
    /// By log.
    newest: BTreeMap<LogId, Vec<Newest>>,
    /// Files in which a sector cannot be read, and which.
    unreadable: BTreeSet<(FileId, usize)>,
    /// Operations that recovery may still do before the power goes.
    patience: Option<Cell<u32>>,
    /// Media faults so far.
    pub media_faults: u64,
}

/// The device of a node, shared by everything that uses it.
pub type SharedDisk = Rc<RefCell<Disk>>;

impl Disk {
    /// Logs that have files.
    pub fn logs(&self) -> Vec<LogId> {
        let mut logs: Vec<_> = self.files.keys().map(|(log, _)| *log).collect();
        logs.dedup();
        logs
    }

    /// True if there is such a file.
    pub fn has(&self, file: FileId) -> bool {
        self.files.contains_key(&file)
    }

    /// A file is gone.
    pub fn remove(&mut self, file: FileId) {
        self.files.remove(&file);
        self.unreadable.retain(|(damaged, _)| *damaged != file);
    }

    /// An operation completed.
    pub fn land(&mut self, pending: &Pending) {
        match pending {
            Pending::Create { file, len } => {
                self.unreadable.retain(|(damaged, _)| damaged != file);
                let blank = vec![0; *len as usize];
                self.files.insert(*file, SimFile { bytes: blank, undo: Vec::new() });
            }
            Pending::Write { file, purpose, offset, bytes } => {
                let range = *offset as usize..*offset as usize + bytes.len();
                self.unreadable.retain(|(damaged, sector)| damaged != file || !range.contains(&(sector * SECTOR)));
                let found = self.files.get_mut(file).expect("a file is created before it is written");
                if *purpose == Purpose::Fill {
                    found.undo.push((range.start, found.bytes[range.clone()].to_vec()));
                } else {
                    found.undo.clear(); // a durable write to a file with unwritten metadata flushes all of it
                }
                found.bytes[range.clone()].copy_from_slice(bytes.as_slice());
                if matches!(purpose, Purpose::Batch(_)) {
                    self.completed(*file, range, bytes.as_slice(), false);
                }
            }
        }
    }

    /// The machine went down with these operations under way.
    pub fn crash(&mut self, how: Crash, pending: &[Pending], random: &mut Random) {
        self.patience = None;
        match how {
            Crash::Killed => pending.iter().for_each(|pending| self.land(pending)),
            Crash::PowerLost => {
                for file in self.files.values_mut() {
                    while let Some((start, old)) = file.undo.pop() {
                        tear(&mut file.bytes[start..][..old.len()], &old, random);
                    }
                }
                for pending in pending {
                    self.land_torn(pending, random);
                }
            }
        }
    }

    fn land_torn(&mut self, pending: &Pending, random: &mut Random) {
        match pending {
            Pending::Create { file, len } => {
                let len = *random.pick(&[None, Some(0), Some(*len)]);
                if let Some(len) = len {
                    self.land(&Pending::Create { file: *file, len });
                }
            }
            Pending::Write { file, offset, bytes, .. } => {
                if let Some(found) = self.files.get_mut(file) {
                    tear(&mut found.bytes[*offset as usize..][..bytes.len()], bytes.as_slice(), random);
                }
            }
        }
    }

    /// True if a write is on the disk as a whole.
    pub fn holds(&self, pending: &Pending) -> bool {
        let Pending::Write { file, offset, bytes, .. } = pending else { return false };
        let found = self.files.get(file).and_then(|found| found.bytes.get(*offset as usize..)?.get(..bytes.len()));
        found == Some(bytes.as_slice())
    }

    /// A write failed halfway, or ended after a part of it: what it says.
    ///
    /// # Errors
    /// If it failed.
    pub fn fail(&mut self, pending: &Pending, random: &mut Random) -> io::Result<usize> {
        self.land_torn(pending, random);
        let short = random.below(pending.len() as u64) as usize / SECTOR * SECTOR;
        if random.chance(MILLION / 2) { Ok(short) } else { Err(io::Error::other("a write fails")) }
    }

    /// The power goes after this many more operations of recovery.
    pub fn fail_recovery_after(&mut self, operations: u32) {
        self.patience = Some(Cell::new(operations));
    }

    /// True if the newest batch of some log is damaged: to recovery it looks like a torn tail.
    pub fn newest_is_damaged(&self) -> bool {
        self.newest.values().flatten().any(|newest| newest.damaged && !newest.tip)
    }

    /// A bit somewhere in what was written turns over.
    pub fn flip(&mut self, random: &mut Random) -> Option<FileId> {
        let (file, sector) = self.some_written_sector(random)?;
        let at = sector * SECTOR + random.below(SECTOR as u64) as usize;
        self.files.get_mut(&file).expect("chosen above").bytes[at] ^= 1 << random.below(8);
        self.damaged(file, at);
        Some(file)
    }

    /// A sector cannot be read any more.
    pub fn make_unreadable(&mut self, random: &mut Random) -> Option<FileId> {
        let (file, sector) = self.some_written_sector(random)?;
        self.unreadable.insert((file, sector));
        self.damaged(file, sector * SECTOR);
        Some(file)
    }

    /// A write that said that it was done and went elsewhere, or nowhere.
    pub fn lose(&mut self, pending: &Pending, misdirected: bool, random: &mut Random) {
        let Pending::Write { file, offset, bytes, .. } = pending else { return self.land(pending) };
        let range = *offset as usize..*offset as usize + bytes.len();
        self.media_faults += 1;
        if misdirected {
            let found = self.files.get_mut(file).expect("a file is created before it is written");
            let blocks = (found.bytes.len() - bytes.len()) / SECTOR;
            let start = random.below(blocks as u64 + 1) as usize * SECTOR;
            found.bytes[start..][..bytes.len()].copy_from_slice(bytes.as_slice());
        }
        self.completed(*file, range, bytes.as_slice(), true);
    }

    /// A batch was completed, and vouches for those that were durable when it was sealed.
    fn completed(&mut self, file: FileId, range: Range<usize>, bytes: &[u8], damaged: bool) {
        let Ok(header) = tidings_wire::archive::read::<BatchHeader>(&bytes[..BatchHeader::LEN]) else { return };
        let (lsn, durable) = (header.name().lsn.0, header.name().durable.0);
        let newest = self.newest.entry(file.0).or_default();
        if !damaged {
            newest.retain(|batch| batch.lsn > durable);
        }
        newest.push(Newest { lsn, file, range, tip: header.count == 0, damaged });
    }

    /// A file is not there any more. `None` if there is none that could be lost.
    pub fn lose_file(&mut self, random: &mut Random) -> Option<FileId> {
        let names: Vec<_> = self.files.keys().copied().collect();
        let lost = *names.get(random.below(names.len().max(1) as u64) as usize)?;
        self.remove(lost);
        self.media_faults += 1;
        Some(lost)
    }

    /// A file as it is. `None` if there is none that holds anything.
    pub fn copy(&self, random: &mut Random) -> Option<(FileId, Vec<u8>)> {
        let names: Vec<_> = self.files.iter().filter(|(_, file)| file.bytes.iter().any(|byte| *byte != 0)).collect();
        let (name, file) = *names.get(random.below(names.len().max(1) as u64) as usize)?;
        Some((*name, file.bytes.clone()))
    }

    /// A file is again as it was. False if it was not anything else, or is gone.
    pub fn put_back(&mut self, file: FileId, bytes: Vec<u8>) -> bool {
        let Some(found) = self.files.get_mut(&file).filter(|found| found.bytes != bytes) else { return false };
        *found = SimFile { bytes, undo: Vec::new() };
        self.media_faults += 1;
        true
    }

    fn damaged(&mut self, file: FileId, at: usize) {
        self.media_faults += 1;
        for newest in self.newest.values_mut().flatten() {
            newest.damaged |= newest.file == file && newest.range.contains(&at);
        }
    }

    /// A sector that holds something; those at a file's beginning, with its headers, more often.
    fn some_written_sector(&self, random: &mut Random) -> Option<(FileId, usize)> {
        let names: Vec<_> =
            self.files.iter().filter(|(_, file)| !file.bytes.is_empty()).map(|(name, _)| *name).collect();
        for _ in 0..64 {
            let name = *names.get(random.below(names.len().max(1) as u64) as usize)?;
            let bytes = &self.files[&name].bytes;
            let sector = random.below((bytes.len() / SECTOR) as u64) as usize;
            let near = sector >> random.below(8);
            if bytes[near * SECTOR..][..SECTOR].iter().any(|byte| *byte != 0) {
                return Some((name, near));
            }
        }
        None
    }

    fn check_readable(&self, file: FileId, range: &Range<usize>) -> io::Result<()> {
        let broken = self.unreadable.range((file, range.start / SECTOR)..(file, range.end.div_ceil(SECTOR))).next();
        broken.map_or(Ok(()), |_| Err(io::Error::other("a sector cannot be read")))
    }

    /// Reads; bytes past the end are zero.
    ///
    /// # Errors
    /// If there is no such file, or a sector cannot be read.
    pub fn read(&self, file: FileId, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let found = self.files.get(&file).ok_or(io::ErrorKind::NotFound)?;
        let start = (offset as usize).min(found.bytes.len());
        let len = into.len().min(found.bytes.len() - start);
        self.check_readable(file, &(start..start + len))?;
        into[..len].copy_from_slice(&found.bytes[start..][..len]);
        into[len..].fill(0);
        Ok(len)
    }

    /// One operation of recovery.
    fn step(&self) -> io::Result<()> {
        let Some(patience) = &self.patience else { return Ok(()) };
        let left = patience.get();
        patience.set(left.saturating_sub(1));
        if left == 0 { Err(io::Error::other("the power went during recovery")) } else { Ok(()) }
    }

    /// Recovery is over.
    pub fn survived(&mut self) {
        self.patience = None;
    }

    /// True if the power went during recovery.
    pub fn gave_out(&self) -> bool {
        self.patience.as_ref().is_some_and(|patience| patience.get() == 0)
    }
}

/// Some of the sectors of `new` replace those of `old`.
fn tear(old: &mut [u8], new: &[u8], random: &mut Random) {
    let sectors = old.len().div_ceil(SECTOR);
    let whole = random.below(4);
    let prefix = random.below(sectors as u64 + 1) as usize;
    let share = random.below(u64::from(MILLION)) as u32;
    for (at, (old, new)) in old.chunks_mut(SECTOR).zip(new.chunks(SECTOR)).enumerate() {
        let lands = match whole {
            0 => false,
            1 => at < prefix,
            2 => at >= prefix,
            _ => random.chance(share),
        };
        if lands {
            old.copy_from_slice(new);
        }
    }
}

/// One log's files, as recovery sees them.
#[derive(Clone, Debug)]
pub struct LogOnDisk {
    /// The device.
    pub disk: SharedDisk,
    /// Which log.
    pub log: LogId,
}

impl Storage for LogOnDisk {
    fn slots(&self) -> io::Result<Vec<SlotId>> {
        let disk = self.disk.borrow();
        disk.step()?;
        Ok(disk.files.keys().filter(|(log, _)| *log == self.log).map(|(_, slot)| *slot).collect())
    }

    fn len(&self, slot: SlotId) -> io::Result<u64> {
        let disk = self.disk.borrow();
        disk.files
            .get(&(self.log, slot))
            .map(|file| file.bytes.len() as u64)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self, slot: SlotId) -> io::Result<()> {
        let mut disk = self.disk.borrow_mut();
        disk.step()?;
        disk.files.get_mut(&(self.log, slot)).ok_or(io::ErrorKind::NotFound)?.undo.clear();
        Ok(())
    }

    fn read(&self, slot: SlotId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let disk = self.disk.borrow();
        disk.step()?;
        disk.read((self.log, slot), offset, buffer).map(drop)
    }

    fn write(&self, slot: SlotId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.borrow_mut();
        let survives = disk.step();
        let found = disk.files.get_mut(&(self.log, slot)).ok_or(io::ErrorKind::NotFound)?;
        if survives.is_ok() {
            found.undo.clear();
            found.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        } else {
            // The power goes while it is written: its first half is.
            let half = bytes.len() / 2 / SECTOR * SECTOR;
            found.bytes[offset as usize..][..half].copy_from_slice(&bytes[..half]);
        }
        survives
    }
}

#[cfg(test)]
mod tests {
    use tidings_wire::Lsn;

    use super::*;

    const FILE: FileId = (LogId(0), SlotId(0));

    fn write_at(purpose: Purpose, offset: usize, len: usize, byte: u8) -> Pending {
        let mut bytes = AlignedBuf::new(len);
        bytes.append(|bytes| bytes.extend(std::iter::repeat_n(byte, len)));
        Pending::Write { file: FILE, purpose, offset: offset as u64, bytes }
    }

    fn write(purpose: Purpose, byte: u8) -> Pending {
        write_at(purpose, 0, 8 * SECTOR, byte)
    }

    fn fresh() -> Disk {
        let mut disk = Disk::default();
        disk.land(&Pending::Create { file: FILE, len: 16 * SECTOR as u64 });
        disk
    }

    #[test]
    fn what_is_durable_survives_and_what_is_not_is_torn_by_sectors() {
        let mut torn = BTreeSet::new();
        for seed in 0..200 {
            let mut disk = fresh();
            disk.land(&write(Purpose::Batch(Lsn(1)), 1));
            disk.crash(Crash::PowerLost, &[write(Purpose::Batch(Lsn(2)), 2)], &mut Random::new(seed));
            let found = &disk.files[&FILE].bytes[..8 * SECTOR];
            assert!(found.chunks(SECTOR).all(|sector| sector.iter().all(|byte| *byte == sector[0]) && sector[0] > 0));
            torn.insert(found.chunks(SECTOR).filter(|sector| sector[0] == 2).count());
        }
        assert_eq!(torn.len(), 9, "everything from nothing to all");
        let mut disk = fresh();
        disk.crash(Crash::Killed, &[write(Purpose::Batch(Lsn(2)), 2)], &mut Random::new(1));
        assert!(disk.files[&FILE].bytes[..8 * SECTOR].iter().all(|byte| *byte == 2), "the kernel has it");
    }

    #[test]
    fn unflushed_writes_are_durable_with_the_next_header() {
        let lost = |flush: bool| {
            (0..50).any(|seed| {
                let mut disk = fresh();
                disk.land(&write(Purpose::Fill, 7));
                if flush {
                    disk.land(&write_at(Purpose::Header, 8 * SECTOR, SECTOR, 9));
                }
                disk.crash(Crash::PowerLost, &[], &mut Random::new(seed));
                disk.files[&FILE].bytes[..8 * SECTOR].contains(&0)
            })
        };
        assert!(lost(false) && !lost(true));
    }
}
