//! `control.json`: what a data directory is, and where its logs end at least. Kept twice, each copy with a checksum, written one
//! after the other: a crash or damage takes one of them at most, and the one that was written later counts.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tidings_log::{Epoch, LogEnd, files::replace};
use tidings_reactor::Notes;
use tidings_wire::{Generation, Lineage, LogId, Lsn, Shards};

use super::{DataError, random};

/// The copies, in the order in which they are written.
pub(super) const COPIES: [&str; 2] = ["control.json", "control.copy.json"];
/// A copy's length is a multiple of this.
const FILLED_TO: usize = 4096;
/// Version of the directory's layout, and of what is in it: it rises with that of the log.
const FORMAT: u32 = 4;
const _: () = assert!(FORMAT == tidings_log::format::FORMAT as u32 + 1);

/// What a copy holds.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Control {
    format: u32,
    /// How often it was written.
    written: u64,
    /// What cursors belong to, in hexadecimal.
    lineage: String,
    shards: u32,
    /// Keys the log's checksums; never leaves the node.
    log_nonce: u64,
    /// How often the server was started on it.
    epoch: u32,
    /// Which of these starts was the last restore; 0: there was none.
    restored: u32,
    /// Where logs end at least, by their number.
    logs: BTreeMap<u8, End>,
    /// CRC-32C, in hexadecimal, of the copy with this field empty.
    checksum: String,
}

/// [`LogEnd`] in the file.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct End {
    first: u32,
    segment: u32,
    batch: u64,
}

impl From<LogEnd> for End {
    fn from(end: LogEnd) -> Self {
        Self { first: end.first.0, segment: end.generation.0, batch: end.batch.0 }
    }
}

impl From<End> for LogEnd {
    fn from(end: End) -> Self {
        Self { first: Generation(end.first), generation: Generation(end.segment), batch: Lsn(end.batch) }
    }
}

impl Control {
    fn new(shards: u32) -> io::Result<Self> {
        Ok(Self {
            format: FORMAT,
            written: 0,
            lineage: hex(&random()?),
            shards,
            log_nonce: u64::from_ne_bytes(random()?),
            epoch: 0,
            restored: 0,
            logs: BTreeMap::new(),
            checksum: String::new(),
        })
    }

    /// The bytes of a copy.
    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let blank = Self { checksum: String::new(), ..self.clone() };
        let sum = tidings_crc::crc32c(&serde_json::to_vec_pretty(&blank)?);
        let mut bytes = serde_json::to_vec_pretty(&Self { checksum: format!("{sum:08x}"), ..blank })?;
        // Filled up with empty lines, so that its length rarely changes.
        bytes.resize(bytes.len().next_multiple_of(FILLED_TO), b'\n');
        Ok(bytes)
    }

    /// What the bytes of a copy say, or what is wrong with them.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Format { format } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if format != FORMAT {
            return Err(format!("its format is {format}, this server knows {FORMAT}"));
        }
        let control: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let right = control.to_bytes().is_ok_and(|right| right == bytes);
        if right { Ok(control) } else { Err("it does not match its checksum".into()) }
    }
}

/// What every version of a copy has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The copies of one data directory, and what they say.
#[derive(Debug)]
pub struct ControlFile {
    dir: PathBuf,
    control: Mutex<Control>,
}

impl ControlFile {
    /// Reads the copies in `dir`, or begins new ones; nothing is written yet. `None`: there are none.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, DataError> {
        let (mut newest, mut broken): (Option<Control>, Option<DataError>) = (None, None);
        for copy in COPIES {
            let path = dir.join(copy);
            match fs::read(&path) {
                Ok(bytes) => match Control::parse(&bytes) {
                    Ok(control) => newest = newest.into_iter().chain([control]).max_by_key(|control| control.written),
                    Err(why) => broken = Some(DataError::Unreadable(path, why)),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => broken = Some(DataError::Io(path, error)),
            }
        }
        match (newest, broken) {
            (Some(control), _) => Ok(Some(Self { dir: dir.into(), control: Mutex::new(control) })),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// Of a new data directory.
    pub(super) fn new(dir: &Path, shards: u32) -> io::Result<Self> {
        Ok(Self { dir: dir.into(), control: Mutex::new(Control::new(shards)?) })
    }

    fn get(&self) -> MutexGuard<'_, Control> {
        // Whoever panicked in between left either the old or the new value.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what it says, durably.
    fn change(&self, change: impl FnOnce(&mut Control) -> io::Result<()>) -> io::Result<()> {
        let mut known = self.get();
        let mut next = known.clone();
        change(&mut next)?;
        next.written += 1;
        let bytes = next.to_bytes()?;
        let [first, second] = COPIES.map(|copy| self.dir.join(copy));
        overwrite(&first, &bytes)?;
        *known = next; // it is what counts from now on, whatever becomes of the second copy
        overwrite(&second, &bytes)
    }

    /// A start with this number may write from now on.
    pub(super) fn count_start(&self, epoch: Epoch) -> io::Result<()> {
        self.change(|control| {
            control.epoch = epoch.0;
            Ok(())
        })
    }

    /// Logs end where they were found to end.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn set_ends(&self, ends: &BTreeMap<LogId, LogEnd>) -> io::Result<()> {
        self.change(|control| {
            control.logs = ends.iter().map(|(log, end)| (log.0, (*end).into())).collect();
            Ok(())
        })
    }

    /// Another lineage begins with a start of this number: what cursors and numbers belong to is no more, and logs end where they were found
    /// to end.
    ///
    /// # Errors
    /// If it cannot be written, or there are no random bytes.
    pub fn begin_lineage(&self, epoch: Epoch, ends: &BTreeMap<LogId, LogEnd>) -> io::Result<()> {
        self.change(|control| {
            control.lineage = hex(&random()?);
            (control.epoch, control.restored) = (epoch.0, epoch.0);
            control.logs = ends.iter().map(|(log, end)| (log.0, (*end).into())).collect();
            Ok(())
        })
    }

    /// Where logs end at least.
    pub fn ends(&self) -> BTreeMap<LogId, LogEnd> {
        self.get().logs.iter().map(|(log, end)| (LogId(*log), (*end).into())).collect()
    }

    /// What cursors belong to; `None` if that is invalid.
    pub(super) fn lineage(&self) -> Option<Lineage> {
        parse_hex(&self.get().lineage).map(Lineage)
    }

    /// How many shards there are; `None` if that is invalid.
    pub(super) fn shards(&self) -> Option<Shards> {
        Shards::new(self.get().shards)
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.get().epoch)
    }

    /// The start that restored the directory last; 0: there was none.
    pub fn restored(&self) -> Epoch {
        Epoch(self.get().restored)
    }

    pub(super) fn log_nonce(&self) -> u64 {
        self.get().log_nonce
    }
}

impl Notes for ControlFile {
    fn note(&self, log: LogId, end: Option<LogEnd>) -> io::Result<()> {
        self.change(|control| {
            match end {
                Some(end) => {
                    let known = control.logs.entry(log.0).or_insert(end.into());
                    known.first = known.first.max(end.first.0);
                    known.segment = known.segment.max(end.generation.0);
                    known.batch = known.batch.max(end.batch.0);
                }
                None => drop(control.logs.remove(&log.0)),
            }
            Ok(())
        })
    }
}

/// Overwrites a copy in place, durably: the other one is valid meanwhile. A first one, which no other stands beside, is there as a whole or
/// not at all.
fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if !path.exists() {
        return replace(path, bytes);
    }
    let file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_data()
}

fn hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::TempDir;

    fn end(segment: u32) -> LogEnd {
        LogEnd { first: Generation(1), generation: Generation(segment), batch: Lsn(10 * u64::from(segment)) }
    }

    fn written(dir: &Path) -> ControlFile {
        let file = ControlFile::new(dir, 64).unwrap();
        file.count_start(Epoch(1)).unwrap();
        file.note(LogId(0), Some(end(1))).unwrap();
        file.note(LogId(3), Some(end(2))).unwrap();
        file
    }

    fn read(dir: &Path) -> Result<Option<ControlFile>, DataError> {
        ControlFile::read(dir)
    }

    #[test]
    fn either_copy_is_enough_and_the_later_one_counts() {
        let dir = TempDir::new("control").unwrap();
        let file = written(dir.path());
        let expected = BTreeMap::from([(LogId(0), end(1)), (LogId(3), end(2))]);
        let [first, second] = COPIES.map(|copy| dir.path().join(copy));
        let old = fs::read(&second).unwrap();
        file.note(LogId(3), None).unwrap();
        fs::write(&second, &old).unwrap(); // as a crash between the two leaves it
        assert_eq!(read(dir.path()).unwrap().unwrap().ends(), BTreeMap::from([(LogId(0), end(1))]));
        fs::remove_file(&first).unwrap();
        assert_eq!(read(dir.path()).unwrap().unwrap().ends(), expected);
        fs::write(&first, b"{").unwrap();
        let again = read(dir.path()).unwrap().unwrap();
        assert_eq!((again.ends(), again.lineage(), again.epoch()), (expected, file.lineage(), Epoch(1)));
    }

    #[test]
    fn damage_to_both_copies_is_refused_and_a_changed_digit_is_damage() {
        let dir = TempDir::new("control").unwrap();
        written(dir.path());
        for copy in COPIES {
            let text = fs::read_to_string(dir.path().join(copy)).unwrap();
            fs::write(dir.path().join(copy), text.replace("\"epoch\": 1", "\"epoch\": 2")).unwrap();
        }
        assert!(read(dir.path()).unwrap_err().to_string().contains("checksum"));
    }

    #[test]
    fn another_format_is_refused_in_one_line() {
        let dir = TempDir::new("control").unwrap();
        let old = r#"{ "format": 1, "history": "07", "partitions": 64, "log_nonce": 9, "epoch": 4 }"#;
        fs::write(dir.path().join(COPIES[0]), old).unwrap();
        let refused = read(dir.path()).unwrap_err().to_string();
        assert!(refused.ends_with("its format is 1, this server knows 4") && !refused.contains('\n'), "{refused}");
    }
}
