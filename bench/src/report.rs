//! What was found, as JSON and as a table.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    measure::{Percentiles, Run},
};

/// Of this format. 3: runs, curves, timelines, the search for the highest rate, the machine.
pub const VERSION: u32 = 3;

/// The disk, and how the server used it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Disk {
    /// Batches a second.
    pub batches_per_s: f64,
    /// Bytes of a batch, on average.
    pub batch_bytes: f64,
    /// Log bytes a message.
    pub bytes_per_msg: f64,
    /// The disk alone: writes of the same size at the same pace.
    pub dsync_us: Percentiles,
    /// The disk alone: 4 KiB at the same pace.
    pub dsync_4k_us: Percentiles,
}

/// What nothing on this machine can beat.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Floor {
    /// The null relay.
    #[serde(flatten)]
    pub relay: Run,
    /// The disk alone: a durable write of 4 KiB at the pace of the log.
    pub dsync_p50_us: u64,
}

/// A rate that was tried.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Step {
    /// Messages a second that were due.
    pub offered_per_s: f64,
    /// That were answered.
    pub rate_per_s: f64,
    /// SENT.
    pub sent_us: Percentiles,
    /// MESSAGE.
    pub delivered_us: Percentiles,
    /// Whether it was within the limits.
    pub holds: bool,
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

/// A whole measurement. What the user felt is at the top: of the run in the middle, if there were several.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Of this format: [`VERSION`].
    pub version: u32,
    /// What was offered.
    pub workload: String,
    /// Where.
    pub machine: Machine,
    /// Connections.
    pub connections: usize,
    /// Messages in flight a pair; in an open loop, at most.
    pub depth: u64,
    /// How messages arrived: `closed`, `constant` or `poisson`.
    pub arrivals: String,
    /// Payload bytes.
    pub payload: usize,
    /// Offered rate; 0: closed loop.
    pub offered_per_s: f64,
    /// Messages that failed a check, in all runs.
    pub wrong: u64,
    /// Messages a second.
    pub rate_per_s: f64,
    /// From when it was due to SENT.
    pub sent_us: Percentiles,
    /// From when it was due to MESSAGE.
    pub delivered_us: Percentiles,
    /// Ours, with what it cost.
    pub server: Run,
    /// All runs of ours.
    pub runs: Vec<Run>,
    /// What it is measured against.
    pub floor: Floor,
    /// The disk.
    pub disk: Disk,
    /// The null relay's processor time a message over ours, at the same rate and depth.
    pub ratio_to_floor: f64,
    /// The limits of the search, if there was one.
    pub slo: Option<String>,
    /// The rates that it tried, in its order.
    pub search: Vec<Step>,
}

/// The run in the middle, by how long SENT took.
pub fn middle(runs: &[Run]) -> Option<&Run> {
    let mut sorted: Vec<_> = runs.iter().collect();
    sorted.sort_by_key(|run| run.sent_us.p50);
    sorted.get(sorted.len() / 2).copied()
}

impl Report {
    /// Reads one from a file.
    ///
    /// # Errors
    /// If it is none, or of another version.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let report: Self = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        if report.version != VERSION {
            return Err(format!("{}: a report of version {}, not {VERSION}", path.display(), report.version).into());
        }
        Ok(report)
    }

    /// Prints it for people.
    pub fn print(&self) {
        let mode = match self.offered_per_s {
            0.0 => format!("{} in flight a pair", self.depth),
            rate => format!("{rate:.0} msg/s offered ({})", self.arrivals),
        };
        println!(
            "{}: {} connections, {} B, {mode}, {} wrong",
            self.workload, self.connections, self.payload, self.wrong
        );
        for step in &self.search {
            println!(
                "  tried {:>9.0} msg/s: {:>9.0} served, SENT p99 {:>7.1} ms, MESSAGE p99 {:>7.1} ms  {}",
                step.offered_per_s,
                step.rate_per_s,
                step.sent_us.p99 as f64 / 1e3,
                step.delivered_us.p99 as f64 / 1e3,
                if step.holds { "holds" } else { "does not hold" },
            );
        }
        println!(
            "{:<12} {:>10} {:>10} {:>28} {:>28} {:>9} {:>10}",
            "", "msg/s", "cpu us/msg", "SENT p50/p99/p999 us", "MESSAGE p50/p99/p999 us", "rss MiB", "load busy"
        );
        for (name, side) in [("tidings", &self.server), ("null relay", &self.floor.relay)] {
            let show = |p: &Percentiles| format!("{} / {} / {}", p.p50, p.p99, p.p999);
            println!(
                "{name:<12} {:>10.0} {:>10.2} {:>28} {:>28} {:>9.1} {:>9.0}%",
                side.rate_per_s,
                side.cpu_us_per_msg,
                show(&side.sent_us),
                show(&side.delivered_us),
                side.rss_bytes as f64 / f64::from(1 << 20),
                100.0 * side.load_busy,
            );
        }
        let Disk { batches_per_s, batch_bytes, bytes_per_msg, dsync_us, dsync_4k_us } = &self.disk;
        println!(
            "log: {batches_per_s:.0} batches/s of {batch_bytes:.0} B, {bytes_per_msg:.0} B a message; the disk alone at that size and \
             pace: p50 {} us, p99 {} us; with 4 KiB: p50 {} us, p99 {} us",
            dsync_us.p50, dsync_us.p99, dsync_4k_us.p50, dsync_4k_us.p99
        );
        println!("ratio to floor (relay's cpu a message over ours): {:.2}\n", self.ratio_to_floor);
    }
}
