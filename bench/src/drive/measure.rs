//! One measured run against a target: what users felt, and what it cost.

use std::io;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{Load, Mark, Offer, Outcome, Phases, percentiles::Percentiles, timeline::Second};
use crate::{Failure, cpu, cpu::Usage};

/// A curve: quantiles and microseconds.
pub type Curve = Vec<(f64, u64)>;

/// The quantiles of a curve.
const QUANTILES: [f64; 14] = [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 0.99999];

fn curve(histogram: &Histogram<u64>) -> Curve {
    QUANTILES.iter().map(|quantile| (*quantile, histogram.value_at_quantile(*quantile))).collect()
}

/// What a process used so far.
pub type Used<'a> = &'a dyn Fn() -> io::Result<Usage>;

/// What a process used in the measured time.
pub struct Window<'a> {
    used: Used<'a>,
    before: Option<io::Result<Usage>>,
    after: Option<io::Result<Usage>>,
}

impl<'a> Window<'a> {
    /// Of a process: `used` is what it used so far.
    pub fn new(used: Used<'a>) -> Self {
        Self { used, before: None, after: None }
    }

    /// Looks at it: to be called at each mark.
    pub fn look(&mut self, mark: Mark) {
        let place = if mark == Mark::Begin { &mut self.before } else { &mut self.after };
        *place = Some((self.used)());
    }

    /// What it used between the marks, and its memory at the second.
    ///
    /// # Errors
    /// If there were no marks, or it was gone.
    pub fn used(self) -> Result<Usage, Failure> {
        let of = |read: Option<io::Result<Usage>>| -> Result<Usage, Failure> {
            let read = read.ok_or("the run was never measured")?;
            Ok(read.map_err(|error| format!("what a process used cannot be read: {error}"))?)
        };
        let (before, after) = (of(self.before)?, of(self.after)?);
        Ok(Usage {
            cpu_us: after.cpu_us.saturating_sub(before.cpu_us),
            written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
            rss_bytes: after.rss_bytes,
        })
    }
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
    /// Attempts that were refused for now.
    #[serde(default)]
    pub refused: u64,
    /// Messages that were not both answered and delivered some seconds after the last was due.
    pub unfinished: u64,
    /// SENT by quantile.
    pub sent_curve: Curve,
    /// MESSAGE by quantile.
    pub delivered_curve: Curve,
    /// By second.
    pub timeline: Vec<Second>,
}

/// Measures what a load does to the process that `used` tells of.
///
/// # Errors
/// If a connection ends, or the server's process is gone.
pub fn measure(load: &mut dyn Load, used: Used<'_>, offer: Offer, phases: Phases) -> Result<Run, Failure> {
    measure_beside(load, used, offer, phases, &mut |_| ())
}

/// The same, and tells when the measured time begins and ends.
///
/// # Errors
/// See [`measure`].
pub fn measure_beside(
    load: &mut dyn Load,
    used: Used<'_>,
    offer: Offer,
    phases: Phases,
    tell: &mut dyn FnMut(Mark),
) -> Result<Run, Failure> {
    let own = || cpu::usage(std::process::id());
    let (mut server, mut itself) = (Window::new(used), Window::new(&own));
    let outcome = load.run(offer, phases, &mut |mark| {
        server.look(mark);
        itself.look(mark);
        tell(mark);
    })?;
    let (server, itself) = (server.used()?, itself.used()?);
    let Outcome { mut measured, due, late_us, unfinished, seconds } = outcome;
    let a_message = |used: u64| used as f64 / measured.acked.max(1) as f64;
    Ok(Run {
        rate_per_s: measured.acked as f64 / seconds,
        due_per_s: due as f64 / seconds,
        cpu_us_per_msg: a_message(server.cpu_us),
        written_bytes_per_msg: a_message(server.written_bytes),
        sent_us: Percentiles::from(&measured.sent_us),
        delivered_us: Percentiles::from(&measured.delivered_us),
        late_us: Percentiles::from(&late_us),
        rss_bytes: server.rss_bytes,
        load_busy: itself.cpu_us as f64 / 1e6 / seconds,
        wrong: measured.wrong,
        refused: measured.refused,
        unfinished,
        sent_curve: curve(&measured.sent_us),
        delivered_curve: curve(&measured.delivered_us),
        timeline: measured.timeline.finish(),
    })
}
