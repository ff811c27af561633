//! What was found: as JSON, in sentences, and as a page.

pub mod compare;
pub mod html;
pub mod pairs;
pub mod plot;

use std::{fmt, fs, path::PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{Failure, drive::percentiles::Percentiles};

/// How what was found is shown.
#[derive(Debug, Clone, Args)]
pub struct Show {
    /// Print JSON instead of sentences.
    #[arg(long)]
    json: bool,
    /// Write a page, too, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Something that was found.
pub trait Findings: Serialize {
    /// In sentences.
    fn sentences(&self) -> String;

    /// That it counts: whatever was wrong or never came makes it void.
    ///
    /// # Errors
    /// What was wrong.
    fn check(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// What the page shows above the figures: the sentences, unless there are better words or plots.
    fn body(&self) -> String {
        html::paragraphs(&self.sentences())
    }
}

/// A report: what was found, by which workload and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Filed<F> {
    /// What was offered.
    pub workload: String,
    /// Where.
    pub machine: Machine,
    /// What was found.
    #[serde(flatten)]
    pub found: F,
}

impl<F: Findings> Filed<F> {
    /// Here and now.
    pub fn new(workload: &str, found: F) -> Self {
        Self { workload: workload.into(), machine: Machine::here(), found }
    }

    /// Shows it.
    ///
    /// # Errors
    /// If the page cannot be written, or what was found does not count.
    pub fn show(&self, how: &Show) -> Result<(), Failure> {
        if how.json {
            println!("{}", serde_json::to_string_pretty(self)?);
        } else {
            println!("{}", self.found.sentences());
        }
        if let Some(path) = &how.html {
            fs::write(path, html::page(self)?).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        self.found.check()
    }
}

/// Nothing, unless something failed a check or never came.
///
/// # Errors
/// How much.
pub fn all_is_right(wrong: u64, unfinished: u64) -> Result<(), Failure> {
    match (wrong, unfinished) {
        (0, 0) => Ok(()),
        (wrong, unfinished) => Err(format!("{wrong} were wrong, {unfinished} never came").into()),
    }
}

/// Milliseconds.
pub fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

/// MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The one in the middle.
///
/// # Panics
/// If there are none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.2} ms, p99 {:.2} ms", ms(self.p50), ms(self.p99))
    }
}

/// Where and of what.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name, and how many cores there are.
    pub processor: String,
    /// The kernel.
    pub kernel: String,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// The commit that the bench was built of, if it is known.
    pub commit: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let name = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
        let name = name.trim_start_matches(['\t', ' ', ':']);
        let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
        let memory = read("/proc/meminfo");
        let kib = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        Self {
            processor: format!("{name}, {cores} cores"),
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            memory_bytes: kib.unwrap_or(0) * 1024,
            commit: env!("TIDINGS_COMMIT").into(),
        }
    }
}
