//! One measured run against a target: what users felt, and what it cost.

use std::{cell::Cell, io};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{
    Failure, cpu,
    cpu::Usage,
    offer::{Load, Mark, Offer, Outcome, Phases},
    timeline::Second,
};

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
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

/// A curve: quantiles and microseconds.
pub type Curve = Vec<(f64, u64)>;

/// The quantiles of a curve.
const QUANTILES: [f64; 14] = [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 0.99999];

fn curve(histogram: &Histogram<u64>) -> Curve {
    QUANTILES.iter().map(|quantile| (*quantile, histogram.value_at_quantile(*quantile))).collect()
}

/// A run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Run {
    /// Messages answered a second.
    pub rate_per_s: f64,
    /// Messages due a second, in an open loop.
    #[serde(default)]
    pub due_per_s: f64,
    /// Processor time of the server a message.
    pub cpu_us_per_msg: f64,
    /// Bytes that the server wrote to the disk a message, from the operating system's accounting.
    #[serde(default)]
    pub written_bytes_per_msg: f64,
    /// From when it was due to SENT.
    pub sent_us: Percentiles,
    /// From when it was due to MESSAGE.
    pub delivered_us: Percentiles,
    /// How late the load itself was, in an open loop: part of both, and not the server's.
    pub late_us: Percentiles,
    /// Resident memory of the server.
    pub rss_bytes: u64,
    /// Share of its core that the load used. In an open loop it spins, and this says nothing; in a closed one, near 1 means
    /// that the load was the limit.
    pub load_busy: f64,
    /// Messages that failed a check.
    pub wrong: u64,
    /// Messages that were not both answered and delivered some seconds after the last was due.
    pub unfinished: u64,
    /// SENT by quantile.
    pub sent_curve: Curve,
    /// MESSAGE by quantile.
    pub delivered_curve: Curve,
    /// By second.
    pub timeline: Vec<Second>,
}

/// Measures: `usage` is what the server used so far.
///
/// # Errors
/// If a connection ends, or the server's process is gone.
pub fn measure(
    load: &mut dyn Load,
    usage: &dyn Fn() -> io::Result<Usage>,
    offer: Offer,
    phases: Phases,
) -> Result<Run, Failure> {
    let both = || Ok::<_, io::Error>((usage()?, cpu::usage(std::process::id())?));
    let (before, after) = (Cell::new(None), Cell::new(None));
    let outcome = load.run(offer, phases, &mut |mark| {
        let place = if mark == Mark::Begin { &before } else { &after };
        place.set(Some(both()));
    })?;
    let of = |cell: Cell<Option<io::Result<(Usage, Usage)>>>| -> Result<(Usage, Usage), Failure> {
        let read = cell.take().ok_or("the run was never measured")?;
        Ok(read.map_err(|error| format!("what a process used cannot be read: {error}"))?)
    };
    let ((server_before, load_before), (server, load)) = (of(before)?, of(after)?);
    let Outcome { mut measured, unfinished, seconds } = outcome;
    let a_message = |now: u64, before: u64| now.saturating_sub(before) as f64 / measured.acked.max(1) as f64;
    Ok(Run {
        rate_per_s: measured.acked as f64 / seconds,
        due_per_s: measured.due as f64 / seconds,
        cpu_us_per_msg: a_message(server.cpu_us, server_before.cpu_us),
        written_bytes_per_msg: a_message(server.written_bytes, server_before.written_bytes),
        sent_us: Percentiles::from(&measured.sent_us),
        delivered_us: Percentiles::from(&measured.delivered_us),
        late_us: Percentiles::from(&measured.late_us),
        rss_bytes: server.rss_bytes,
        load_busy: (load.cpu_us - load_before.cpu_us) as f64 / 1e6 / seconds,
        wrong: measured.wrong,
        unfinished,
        sent_curve: curve(&measured.sent_us),
        delivered_curve: curve(&measured.delivered_us),
        timeline: measured.timeline.finish(),
    })
}
