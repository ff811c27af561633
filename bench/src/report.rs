//! What a run found, as JSON and as a table.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Percentiles {
    /// Half are below.
    pub p50: u64,
    /// 99 of 100 are below.
    pub p99: u64,
    /// 999 of 1000 are below.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl From<&Histogram<u64>> for Percentiles {
    fn from(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: histogram.max() }
    }
}

/// One side of the comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// Messages a second.
    pub rate_per_s: f64,
    /// Server processor time a message.
    pub cpu_us_per_msg: f64,
    /// SEND to SENT.
    pub sent_us: Percentiles,
    /// SEND to MESSAGE.
    pub delivered_us: Percentiles,
    /// Resident memory of the server.
    pub rss_bytes: u64,
    /// Share of its core that the load used: near 1, the load was the limit.
    pub load_busy: f64,
}

/// The disk, and how the server used it.
#[derive(Debug, Clone, Serialize)]
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
#[derive(Debug, Clone, Serialize)]
pub struct Floor {
    /// The null relay.
    #[serde(flatten)]
    pub relay: Side,
    /// The disk alone: a durable write of 4 KiB at the pace of the log.
    pub dsync_p50_us: u64,
}

/// A whole run. Version 2 of the format: what the user felt is at the top.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Of this format.
    pub version: u32,
    /// What was offered.
    pub workload: String,
    /// Connections.
    pub connections: usize,
    /// Messages in flight a pair; with a rate, no limit.
    pub depth: usize,
    /// Payload bytes.
    pub payload: usize,
    /// Offered rate; 0: closed loop.
    pub offered_per_s: f64,
    /// Messages that failed a check.
    pub wrong: u64,
    /// Messages a second.
    pub rate_per_s: f64,
    /// SEND to SENT.
    pub sent_us: Percentiles,
    /// SEND to MESSAGE.
    pub delivered_us: Percentiles,
    /// Ours, with what it cost.
    pub server: Side,
    /// What it is measured against.
    pub floor: Floor,
    /// The disk.
    pub disk: Disk,
    /// The null relay's processor time a message over ours.
    pub ratio_to_floor: f64,
}

impl Report {
    /// Prints it for people.
    pub fn print(&self) {
        let mode = if self.offered_per_s > 0.0 {
            format!("{} msg/s offered", self.offered_per_s)
        } else {
            format!("{} in flight a pair", self.depth)
        };
        println!(
            "{}: {} connections, {} B, {mode}, {} wrong",
            self.workload, self.connections, self.payload, self.wrong
        );
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
