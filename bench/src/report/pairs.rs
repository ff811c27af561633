//! What was found of pairs: ours, the null relay, the disk, and the rates that were tried.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    Filed, Findings, all_is_right, html, mib, ms,
    plot::{Axis, Scale, Series, chart, escape, number},
};
use crate::{
    Failure,
    drive::{measure::Run, percentiles::Percentiles, seek::Step},
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

/// A whole measurement. What the user felt is at the top: of the run in the middle, if there were several.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Of this format: [`VERSION`].
    pub version: u32,
    /// Connections.
    pub connections: usize,
    /// Messages in flight a pair; in an open loop, at most.
    pub depth: u64,
    /// How messages arrived: `closed`, `constant` or `poisson`.
    pub arrivals: String,
    /// Payload bytes.
    pub payload: usize,
    /// Whether the log was written round before, so that no byte of it was new.
    #[serde(default)]
    pub wrapped: bool,
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

/// Reads a report from a file.
///
/// # Errors
/// If it is none, or of another version.
pub fn read(path: &Path) -> Result<Filed<Report>, Failure> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| told(&error))?;
    let report: Filed<Report> = serde_json::from_str(&text).map_err(|error| told(&error))?;
    let version = report.found.version;
    if version != VERSION {
        return Err(told(&format!("a report of version {version}, not {VERSION}")).into());
    }
    Ok(report)
}

impl Findings for Report {
    fn sentences(&self) -> String {
        let mode = match self.offered_per_s {
            0.0 => format!("{} in flight a pair", self.depth),
            rate => format!("{rate:.0} msg/s offered ({})", self.arrivals),
        };
        let mut out = format!(
            "pairs: {} connections, {} B, {mode}, {}, {} wrong\n",
            self.connections,
            self.payload,
            self.log(),
            self.wrong
        );
        for step in &self.search {
            out += &format!(
                "  tried {:>9.0} msg/s: {:>9.0} served, SENT p99 {:>7.1} ms, MESSAGE p99 {:>7.1} ms  {}\n",
                step.offered_per_s,
                step.rate_per_s,
                ms(step.sent_us.p99),
                ms(step.delivered_us.p99),
                if step.holds { "holds" } else { "does not hold" },
            );
        }
        out += &format!(
            "{:<12} {:>10} {:>10} {:>28} {:>28} {:>9} {:>10}\n",
            "", "msg/s", "cpu us/msg", "SENT p50/p99/p999 us", "MESSAGE p50/p99/p999 us", "rss MiB", "load busy"
        );
        for (name, side) in [("tidings", &self.server), ("null relay", &self.floor.relay)] {
            let show = |p: &Percentiles| format!("{} / {} / {}", p.p50, p.p99, p.p999);
            out += &format!(
                "{name:<12} {:>10.0} {:>10.2} {:>28} {:>28} {:>9.1} {:>9.0}%\n",
                side.rate_per_s,
                side.cpu_us_per_msg,
                show(&side.sent_us),
                show(&side.delivered_us),
                mib(side.rss_bytes),
                100.0 * side.load_busy,
            );
        }
        let Disk { batches_per_s, batch_bytes, bytes_per_msg, dsync_us, dsync_4k_us } = &self.disk;
        out + &format!(
            "log: {batches_per_s:.0} batches/s of {batch_bytes:.0} B, {bytes_per_msg:.0} B a message; the disk alone at that size and \
             pace: p50 {} us, p99 {} us; with 4 KiB: p50 {} us, p99 {} us\n\
             ratio to floor (relay's cpu a message over ours): {:.2}",
            dsync_us.p50, dsync_us.p99, dsync_4k_us.p50, dsync_4k_us.p99, self.ratio_to_floor
        )
    }

    fn check(&self) -> Result<(), Failure> {
        all_is_right(self.wrong, 0)
    }

    fn body(&self) -> String {
        let offered = match self.offered_per_s {
            0.0 => format!("a closed loop, {} messages in flight a pair", self.depth),
            rate => format!("{} messages a second offered, {} arrivals", number(rate.round()), self.arrivals),
        };
        let mut out = format!(
            "<h2>{} messages a second</h2><p>{} connections, payloads of {} bytes, {offered}, {}. Every message was durable before \
             it was acknowledged; {} failed a check.</p>",
            number(self.rate_per_s.round()),
            number(self.connections as f64),
            number(self.payload as f64),
            self.log(),
            self.wrong,
        );
        out += &format!(
            "<div class=big><p><b>{:.2} ms</b>to be acknowledged, half of all</p><p><b>{:.2} ms</b>99 of 100</p><p><b>{:.2} us</b>of \
             processor a message</p><p><b>{:.2}</b>ratio to the floor</p></div>",
            ms(self.sent_us.p50),
            ms(self.sent_us.p99),
            self.server.cpu_us_per_msg,
            self.ratio_to_floor,
        );
        out += "<h2>Beside the floor</h2><p>The <em>null relay</em> moves the same frames over the same sockets, without log, checks or logic. \
                The ratio is its processor time a message over ours: 1 would be durability, order and receipts for nothing.</p>";
        out += &self.sides();
        out += "<h2>How long messages took</h2><p>From when a message was due (in an open loop that is before there was room for it). Each nine \
                takes as much room as the one before.</p>";
        out += &self.curves();
        if !self.search.is_empty() {
            out += &format!(
                "<h2>Rate against latency</h2><p>Rates that were tried for the highest one within {}.</p>",
                escape(self.slo.as_deref().unwrap_or("its limits"))
            );
            out += &self.rates();
        }
        out + "<h2>Second by second</h2>" + &html::seconds(&self.server.timeline)
    }
}

impl Report {
    fn log(&self) -> &'static str {
        if self.wrapped { "a log that was written round" } else { "a new log" }
    }

    fn sides(&self) -> String {
        let row = |name: &str, run: &Run| {
            let show =
                |of: &Percentiles| format!("{} / {} / {}", number(ms(of.p50)), number(ms(of.p99)), number(ms(of.p999)));
            format!(
                "<tr><td>{name}<td>{}<td>{:.2}<td>{}<td>{}<td>{:.0}",
                number(run.rate_per_s.round()),
                run.cpu_us_per_msg,
                show(&run.sent_us),
                show(&run.delivered_us),
                mib(run.rss_bytes),
            )
        };
        let disk = &self.disk;
        format!(
            "<table><tr><th><th>messages a second<th>processor us<th>SENT ms<th>MESSAGE ms<th>memory MiB{}{}</table>\
             <p class=n>Latencies: half / 99 of 100 / 999 of 1000. The log wrote {} batches a second of {} bytes, {} bytes a message. The disk \
             alone, at that size and pace: half within {} us, 99 of 100 within {} us; with 4 KiB {} and {} us.</p>",
            row("tidings", &self.server),
            row("null relay", &self.floor.relay),
            number(disk.batches_per_s.round()),
            number(disk.batch_bytes.round()),
            number(disk.bytes_per_msg.round()),
            disk.dsync_us.p50,
            disk.dsync_us.p99,
            disk.dsync_4k_us.p50,
            disk.dsync_4k_us.p99,
        )
    }

    fn curves(&self) -> String {
        let line = |name: &str, curve: &[(f64, u64)]| {
            let points = curve.iter().map(|(quantile, us)| (*quantile, ms(*us))).collect();
            Series { name: name.into(), points, loose: false }
        };
        let lines = [
            line("SENT", &self.server.sent_curve),
            line("MESSAGE", &self.server.delivered_curve),
            line("SENT, null relay", &self.floor.relay.sent_curve),
        ];
        let x = Axis { label: "messages that were faster", scale: Scale::Nines };
        chart(&x, &Axis { label: "milliseconds", scale: Scale::Log }, &lines)
    }

    fn rates(&self) -> String {
        let of = |name: &str, holds: bool, pick: fn(&Step) -> u64| {
            let mut steps: Vec<_> = self.search.iter().filter(|step| step.holds == holds).collect();
            steps.sort_by(|a, b| a.offered_per_s.total_cmp(&b.offered_per_s));
            let points = steps.into_iter().map(|step| (step.offered_per_s, ms(pick(step)))).collect();
            Series { name: name.into(), points, loose: !holds }
        };
        let lines = [
            of("SENT, 99 of 100", true, |step| step.sent_us.p99),
            of("SENT, 99 of 100, where it does not hold", false, |step| step.sent_us.p99),
            of("SENT, half", true, |step| step.sent_us.p50),
            of("MESSAGE, 99 of 100", true, |step| step.delivered_us.p99),
        ];
        let x = Axis { label: "messages offered a second", scale: Scale::Log };
        chart(&x, &Axis { label: "milliseconds", scale: Scale::Log }, &lines)
    }
}
