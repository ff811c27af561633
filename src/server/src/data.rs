//! The data directory: who may use it, what it belongs to, how often it was started.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tidings_log::{
    Epoch,
    files::{replace, sync_dir},
};
use tidings_wire::{HistoryId, LogId, Partitions};

const CONTROL: &str = "control.json";
const LOCK: &str = "lock";
/// Version of the directory's layout.
const FORMAT: u32 = 1;

/// What `control.json` holds. Written anew, durably, at every start.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
struct Control {
    format: u32,
    /// What cursors belong to, in hexadecimal.
    history: String,
    partitions: u32,
    /// Keys the log's checksums; never leaves the node.
    log_nonce: u64,
    /// How often it was started.
    epoch: u32,
}

/// Why a data directory cannot be used.
#[derive(Debug)]
pub enum DataError {
    /// Another server uses it.
    Locked(PathBuf),
    /// It was written by another version, or is not one.
    Unreadable(PathBuf, String),
    /// The file system refuses.
    Io(PathBuf, io::Error),
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(dir) => write!(f, "another server uses {}: stop it, or choose another --data", dir.display()),
            Self::Unreadable(path, why) => write!(f, "{} cannot be used: {why}", path.display()),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for DataError {}

/// An open data directory: no other server can use it while this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    control: Control,
    history: HistoryId,
    partitions: Partitions,
    /// Holds the lock.
    _lock: fs::File,
}

/// Random bytes from the kernel.
///
/// # Errors
/// If it has none, which only happens early in a machine's life.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

impl DataDir {
    /// Opens a directory, or makes a new one with `partitions` partitions, and counts the start.
    ///
    /// # Errors
    /// If somebody else has it, or it cannot be read or written.
    pub fn open(path: &Path, partitions: u32) -> Result<Self, DataError> {
        let io = |error| DataError::Io(path.to_path_buf(), error);
        fs::create_dir_all(path).map_err(io)?;
        let lock = fs::File::create(path.join(LOCK)).map_err(io)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            rustix::io::Errno::WOULDBLOCK => DataError::Locked(path.to_path_buf()),
            errno => io(errno.into()),
        })?;
        let file = path.join(CONTROL);
        let mut control = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| DataError::Unreadable(file.clone(), error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                refuse_orphans(path)?;
                new_control(partitions).map_err(io)?
            }
            Err(error) => return Err(io(error)),
        };
        if control.format != FORMAT {
            let why = format!("its format is {}, this server knows {FORMAT}", control.format);
            return Err(DataError::Unreadable(file, why));
        }
        let damaged = |what: &str| DataError::Unreadable(file.clone(), format!("{what} is invalid"));
        let history = parse_hex(&control.history).map(HistoryId).ok_or_else(|| damaged("history"))?;
        let partitions = Partitions::new(control.partitions).ok_or_else(|| damaged("partitions"))?;
        control.epoch += 1;
        let bytes = serde_json::to_vec_pretty(&control).map_err(|error| io(error.into()))?;
        replace(&file, &bytes).map_err(io)?;
        sync_dir(path).map_err(io)?;
        Ok(Self { path: path.to_path_buf(), control, history, partitions, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What cursors belong to.
    pub fn history(&self) -> HistoryId {
        self.history
    }

    /// Its partitions.
    pub fn partitions(&self) -> Partitions {
        self.partitions
    }

    /// This start.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.control.epoch)
    }

    /// What its logs' checksums are keyed with.
    pub fn log_nonce(&self) -> u64 {
        self.control.log_nonce
    }

    /// Where a log is.
    pub fn log_dir(&self, log: LogId) -> PathBuf {
        self.path.join(format!("log-{:03}", log.0))
    }

    /// The logs that exist, in order.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub fn logs(&self) -> io::Result<Vec<LogId>> {
        let mut logs = log_numbers(&self.path)?;
        logs.sort_unstable();
        Ok(logs)
    }
}

fn log_numbers(path: &Path) -> io::Result<Vec<LogId>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("log-")).and_then(|number| number.parse().ok());
        logs.extend(number.map(LogId));
    }
    Ok(logs)
}

/// Without its control file, logs cannot be read: making a new one would throw them away.
fn refuse_orphans(path: &Path) -> Result<(), DataError> {
    let logs = log_numbers(path).map_err(|error| DataError::Io(path.to_path_buf(), error))?;
    if logs.is_empty() {
        return Ok(());
    }
    let why = format!("it holds logs, but {CONTROL} is missing: restore it from a backup");
    Err(DataError::Unreadable(path.to_path_buf(), why))
}

fn new_control(partitions: u32) -> io::Result<Control> {
    let history = random::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Control { format: FORMAT, history, partitions, log_nonce: u64::from_ne_bytes(random()?), epoch: 0 })
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

    #[test]
    fn a_directory_keeps_its_identity_counts_its_starts_and_has_one_user() {
        let path = std::env::temp_dir().join(format!("tidings-data-{}", std::process::id()));
        let first = DataDir::open(&path, 64).unwrap();
        assert_eq!((first.epoch(), first.partitions().count()), (Epoch(1), 64));
        assert!(matches!(DataDir::open(&path, 64), Err(DataError::Locked(_))));
        let history = first.history();
        drop(first);
        let second = DataDir::open(&path, 128).unwrap();
        assert_eq!((second.epoch(), second.partitions().count(), second.history()), (Epoch(2), 64, history));
        fs::create_dir(second.log_dir(LogId(0))).unwrap();
        fs::remove_file(path.join(CONTROL)).unwrap();
        drop(second);
        assert!(DataDir::open(&path, 64).unwrap_err().to_string().contains("restore"));
        fs::remove_dir_all(&path).unwrap();
    }
}
