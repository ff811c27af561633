//! How a log's writes become durable: measured once for a data directory, and kept in it.

use std::{error::Error, fmt, fs, io, os::unix::fs::MetadataExt, path::Path};

use serde::{Deserialize, Serialize};
use tidings_log::files::{WriteMethod, replace};
use tidings_reactor::write_probe::{LEN, Measured, measure};

/// What was measured, in the data directory. Whoever deletes it has it measured again.
const KEPT: &str = "sync.json";
/// What is measured with, while it is.
const PROBE: &str = "probe";

/// What `log.sync` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncSetting {
    /// What is faster on this disk.
    #[default]
    Probe,
    /// O_DSYNC.
    Dsync,
    /// An fdatasync behind each write.
    Fdatasync,
}

/// How writes become durable, and why so.
#[derive(Debug)]
pub struct Sync {
    /// How.
    pub method: WriteMethod,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Set,
    Measured(Measured),
    NotMeasured(String),
}

/// What is in the file: microseconds, and on which device. On another one they say nothing.
#[derive(Serialize, Deserialize)]
struct Kept {
    device: u64,
    dsync_us: u64,
    fdatasync_us: u64,
}

impl Sync {
    /// What is set, or what was or is measured in a data directory.
    pub(crate) fn choose(setting: SyncSetting, data: &Path) -> Self {
        let method = match setting {
            SyncSetting::Dsync => WriteMethod::Dsync,
            SyncSetting::Fdatasync => WriteMethod::Fdatasync,
            SyncSetting::Probe => return Self::measured(data),
        };
        Self { method, why: Why::Set }
    }

    fn measured(data: &Path) -> Self {
        let find = || -> Result<Measured, Box<dyn Error>> {
            let device = fs::metadata(data)?.dev();
            if let Some(known) = kept(&data.join(KEPT), device) {
                return Ok(known);
            }
            let measured = measure(&data.join(PROBE))?;
            let Measured { dsync_us, fdatasync_us } = measured;
            keep(&data.join(KEPT), &Kept { device, dsync_us, fdatasync_us })?;
            Ok(measured)
        };
        match find() {
            Ok(measured) => Self { method: measured.better(), why: Why::Measured(measured) },
            // A disk that is full now is measured at a later start.
            Err(error) => Self { method: WriteMethod::default(), why: Why::NotMeasured(error.to_string()) },
        }
    }
}

/// What was measured on this device; nothing if it was not, or cannot be read.
fn kept(path: &Path, device: u64) -> Option<Measured> {
    let kept: Kept = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let Kept { device: on, dsync_us, fdatasync_us } = kept;
    (on == device).then_some(Measured { dsync_us, fdatasync_us })
}

fn keep(path: &Path, kept: &Kept) -> io::Result<()> {
    replace(path, &serde_json::to_vec_pretty(kept)?)
}

impl fmt::Display for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.method {
            WriteMethod::Dsync => f.write_str("O_DSYNC")?,
            WriteMethod::Fdatasync => f.write_str("fdatasync")?,
        }
        match &self.why {
            Why::Set => f.write_str(" (log.sync says so)"),
            Why::Measured(Measured { dsync_us, fdatasync_us }) => {
                let kib = LEN >> 10;
                write!(f, " ({kib} KiB took {dsync_us} us with O_DSYNC and {fdatasync_us} us with fdatasync here)")
            }
            Why::NotMeasured(error) => write!(f, " (what is faster could not be measured: {error})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::TempDir;

    #[test]
    fn a_directory_is_measured_once_on_a_device_and_settings_win() {
        let dir = TempDir::new("sync").unwrap();
        let (data, file) = (dir.path(), dir.path().join(KEPT));
        let first = Sync::choose(SyncSetting::Probe, data).to_string();
        let found: Kept = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert!(found.dsync_us > 0 && found.fdatasync_us > 0, "{first}");
        assert!(first.contains(&format!("{} us with O_DSYNC", found.dsync_us)), "{first}");
        assert!(!data.join(PROBE).exists(), "nothing is left of it");
        let (dsync_us, fdatasync_us) = (5_000_000, 1_000_000);
        keep(&file, &Kept { device: found.device, dsync_us, fdatasync_us }).unwrap();
        let again = Sync::choose(SyncSetting::Probe, data);
        assert!(again.method == WriteMethod::Fdatasync && again.to_string().contains("5000000"), "{again}");
        let set = Sync::choose(SyncSetting::Dsync, data);
        assert_eq!((set.method, set.to_string().as_str()), (WriteMethod::Dsync, "O_DSYNC (log.sync says so)"));
        keep(&file, &Kept { device: found.device + 1, dsync_us, fdatasync_us }).unwrap();
        let moved = Sync::choose(SyncSetting::Probe, data).to_string();
        assert!(moved.contains("here") && !moved.contains("5000000"), "another device is measured: {moved}");
    }

    #[test]
    fn a_disk_that_cannot_be_measured_is_written_with_o_dsync() {
        let dir = TempDir::new("sync").unwrap();
        fs::write(dir.path().join(PROBE), "in the way").unwrap();
        let sync = Sync::choose(SyncSetting::Probe, dir.path());
        assert!(sync.method == WriteMethod::Dsync && !dir.path().join(KEPT).exists());
        assert!(sync.to_string().contains("could not be measured"), "{sync}");
    }
}
