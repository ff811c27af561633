//! How a log's writes become durable: measured once for a data directory, and kept in it.

use std::fmt;

use serde::Deserialize;
use tidings_log::files::WriteMethod;
use tidings_reactor::write_probe::{Measured, measure};

use crate::data::DataDir;

/// What the settings say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteSetting {
    /// What is faster on this disk.
    #[default]
    Probe,
    /// O_DSYNC.
    Dsync,
    /// An fdatasync behind each write.
    Fdatasync,
}

/// How writes are made, and why so.
#[derive(Debug)]
pub struct Writes {
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

impl Writes {
    /// What is set, or what was or is measured.
    pub(crate) fn choose(setting: WriteSetting, data: &DataDir) -> Self {
        let method = match setting {
            WriteSetting::Dsync => WriteMethod::Dsync,
            WriteSetting::Fdatasync => WriteMethod::Fdatasync,
            WriteSetting::Probe => return Self::measured(data),
        };
        Self { method, why: Why::Set }
    }

    fn measured(data: &DataDir) -> Self {
        let find = || -> Result<Measured, Box<dyn std::error::Error>> {
            if let Some(known) = data.control().writes() {
                return Ok(known);
            }
            let measured = measure(&data.path().join("probe"))?;
            data.control().set_writes(measured)?;
            Ok(measured)
        };
        match find() {
            Ok(measured) => Self { method: measured.better(), why: Why::Measured(measured) },
            // A disk that is full now is measured at a later start.
            Err(error) => Self { method: WriteMethod::default(), why: Why::NotMeasured(error.to_string()) },
        }
    }
}

impl fmt::Display for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.method {
            WriteMethod::Dsync => "O_DSYNC",
            WriteMethod::Fdatasync => "fdatasync",
        };
        match &self.why {
            Why::Set => write!(f, "{how} (log.write is {:?})", self.method.name()),
            Why::Measured(Measured { dsync_us, fdatasync_us }) => {
                write!(f, "{how} (16 KiB took {dsync_us} us with O_DSYNC and {fdatasync_us} us with fdatasync here)")
            }
            Why::NotMeasured(error) => write!(f, "{how} (what is faster could not be measured: {error})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::TempDir;

    #[test]
    fn a_directory_is_measured_once_and_settings_win() {
        let dir = TempDir::new("writes").unwrap();
        let path = dir.path().join("data");
        let data = DataDir::open(&path, 64).unwrap();
        let first = Writes::choose(WriteSetting::Probe, &data).to_string();
        let kept = data.control().writes().expect("it is kept");
        assert!(
            kept.dsync_us > 0 && kept.fdatasync_us > 0 && first.contains(&format!("{} us", kept.dsync_us)),
            "{first}"
        );
        assert!(!path.join("probe").exists(), "nothing is left of it");
        let faster = Measured { dsync_us: 500, fdatasync_us: 100 };
        data.control().set_writes(faster).unwrap();
        drop(data);
        let data = DataDir::open(&path, 64).unwrap();
        let again = Writes::choose(WriteSetting::Probe, &data);
        assert_eq!(
            (again.method, data.control().writes()),
            (WriteMethod::Fdatasync, Some(faster)),
            "not measured again"
        );
        let set = Writes::choose(WriteSetting::Dsync, &data);
        assert_eq!((set.method, set.to_string().as_str()), (WriteMethod::Dsync, "O_DSYNC (log.write is \"dsync\")"));
    }

    #[test]
    fn a_disk_that_cannot_be_measured_is_written_with_o_dsync() {
        let dir = TempDir::new("writes").unwrap();
        let path = dir.path().join("data");
        let data = DataDir::open(&path, 64).unwrap();
        std::fs::write(path.join("probe"), "in the way").unwrap();
        let writes = Writes::choose(WriteSetting::Probe, &data);
        assert_eq!((writes.method, data.control().writes()), (WriteMethod::Dsync, None));
        assert!(writes.to_string().contains("could not be measured"), "{writes}");
    }
}
