//! The data directory: who may use it, what it belongs to, how often it was started.

mod control;
mod private;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FlockOperation, flock};
use tidings_log::{
    Epoch,
    files::{make_dir, private_file},
};
use tidings_wire::{Lineage, LogId, Shards};

pub use control::ControlFile;

const LOCK: &str = "lock";

/// Why a data directory cannot be used.
#[derive(Debug)]
pub enum DataError {
    /// Another server uses it.
    Locked(PathBuf),
    /// Others may read it or something in it, with this mode.
    OpenToOthers {
        /// The data directory.
        dir: PathBuf,
        /// What others may read.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It was written by another version, or is not one.
    Unreadable(PathBuf, String),
    /// The file system refuses.
    Io(PathBuf, io::Error),
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(dir) => write!(f, "another server uses {}: stop it, or choose another --data", dir.display()),
            Self::OpenToOthers { dir, path, mode } => {
                let (path, dir) = (path.display(), dir.display());
                write!(f, "{path} is open to other users of this machine (mode {mode:04o}): chmod -R go-rwx {dir}")
            }
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
    control: Arc<ControlFile>,
    epoch: Epoch,
    lineage: Lineage,
    shards: Shards,
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
    /// Opens a directory, or makes a new one with `shards` shards. The start counts from [`Self::count_start`] on.
    ///
    /// # Errors
    /// If somebody else has it, or it cannot be read or written, or others may read it.
    pub fn open(path: &Path, shards: u32) -> Result<Self, DataError> {
        let io = |error| DataError::Io(path.to_path_buf(), error);
        make_dir(path).map_err(io)?;
        if let Some((found, mode)) = private::open_to_others(path).map_err(io)? {
            return Err(DataError::OpenToOthers { dir: path.into(), path: found, mode });
        }
        let lock = private_file(&path.join(LOCK)).map_err(io)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            rustix::io::Errno::WOULDBLOCK => DataError::Locked(path.to_path_buf()),
            errno => io(errno.into()),
        })?;
        let control = match ControlFile::read(path)? {
            Some(control) => control,
            None => {
                refuse_orphans(path)?;
                // Before any log is made: without it, logs belong to nobody.
                let control = ControlFile::new(path, shards).map_err(io)?;
                control.count_start(Epoch(0)).map_err(io)?;
                control
            }
        };
        let damaged = |what: &str| DataError::Unreadable(path.join(control::COPIES[0]), format!("{what} is invalid"));
        let lineage = control.lineage().ok_or_else(|| damaged("lineage"))?;
        let shards = control.shards().ok_or_else(|| damaged("shards"))?;
        let epoch = control.epoch().next();
        Ok(Self { path: path.to_path_buf(), control: Arc::new(control), epoch, lineage, shards, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its logs end, for whoever writes them.
    pub fn control(&self) -> &Arc<ControlFile> {
        &self.control
    }

    /// What cursors belong to.
    pub fn lineage(&self) -> Lineage {
        self.lineage
    }

    /// Its shards.
    pub fn shards(&self) -> Shards {
        self.shards
    }

    /// This start.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Everything that is there was read, and this start is about to write. What ends before that is not counted: enough of such starts
    /// would pass for one that knows of all before it.
    ///
    /// # Errors
    /// If that cannot be written down.
    pub fn count_start(&self) -> io::Result<()> {
        self.control.count_start(self.epoch)
    }

    /// What its logs' checksums are keyed with.
    pub fn log_nonce(&self) -> u64 {
        self.control.log_nonce()
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
    let why = format!("it holds logs, but {} is missing: restore it from a backup", control::COPIES.join(" and "));
    Err(DataError::Unreadable(path.to_path_buf(), why))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::process::TempDir;

    #[test]
    fn a_directory_keeps_its_identity_counts_its_starts_and_has_one_user() {
        let dir = TempDir::new("data").unwrap();
        let path = dir.path().join("data");
        let first = DataDir::open(&path, 64).unwrap();
        assert_eq!((first.epoch(), first.shards().count()), (Epoch(1), 64));
        assert!(matches!(DataDir::open(&path, 64), Err(DataError::Locked(_))));
        let lineage = first.lineage();
        drop(first);
        let again = DataDir::open(&path, 64).unwrap();
        assert_eq!((again.epoch(), again.lineage()), (Epoch(1), lineage), "a start that did not write is not counted");
        again.count_start().unwrap();
        drop(again);
        let second = DataDir::open(&path, 128).unwrap();
        assert_eq!((second.epoch(), second.shards().count(), second.lineage()), (Epoch(2), 64, lineage));
        make_dir(&second.log_dir(LogId(0))).unwrap();
        control::COPIES.iter().for_each(|copy| fs::remove_file(path.join(copy)).unwrap());
        drop(second);
        assert!(DataDir::open(&path, 64).unwrap_err().to_string().contains("restore"));
    }

    #[test]
    fn a_directory_that_others_may_read_is_refused_with_the_command_that_mends_it() {
        let dir = TempDir::new("data").unwrap();
        let path = dir.path().join("data");
        drop(DataDir::open(&path, 64).unwrap());
        let log = path.join("log-000");
        make_dir(&log).unwrap();
        drop(private_file(&log.join("000000.seg")).unwrap());
        for (wide, mode) in [(path.clone(), 0o750), (path.join(LOCK), 0o604), (log.join("000000.seg"), 0o620)] {
            let before = fs::metadata(&wide).unwrap().permissions();
            fs::set_permissions(&wide, fs::Permissions::from_mode(mode)).unwrap();
            let refused = DataDir::open(&path, 64).unwrap_err().to_string();
            assert!(refused.starts_with(&*wide.to_string_lossy()), "{refused}");
            assert!(refused.ends_with(&format!("chmod -R go-rwx {}", path.display())), "{refused}");
            fs::set_permissions(&wide, before).unwrap();
        }
        drop(DataDir::open(&path, 64).unwrap());
    }
}
