//! `tidings-bench load pairs`: pairs of users who write; then the null relay at the same rate, then the disk alone, one after the other.

use std::{path::Path, time::Duration};

use clap::Args;
use serde_json::Value;

use super::Workload;
use crate::{
    Failure,
    clients::pairs::Pairs as Load,
    drive::{
        Load as _, Offer, Phases,
        arrivals::Arrivals,
        measure::{Run, measure},
        percentiles::Percentiles,
        seek::{Seek, Step, settle},
        slo::Slo,
    },
    floor::dsync,
    progress::Progress,
    report::pairs::{Disk, Floor, Report, VERSION, middle},
    target::{Limits, Place, Rooms, SMALL_LOG, Target},
    values,
};

/// Arguments of `load pairs`.
#[derive(Debug, Args)]
pub struct Pairs {
    /// Pairs of connections: one sends, the other receives and confirms.
    #[arg(long, default_value_t = 50, value_parser = values::count)]
    pairs: usize,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 1024, value_parser = values::count)]
    payload: usize,
    /// Messages a second over all pairs, due on a schedule, whatever comes back.
    #[arg(long, group = "mode", value_parser = values::positive)]
    rate: Option<f64>,
    /// A closed loop with so many messages in flight a pair.
    #[arg(long, group = "mode", value_name = "DEPTH", value_parser = values::depth)]
    closed: Option<u64>,
    /// Search the highest rate that keeps `--slo` (what happens without `--rate` and `--closed`, too).
    #[arg(long, group = "mode")]
    find_max: bool,
    /// What the highest rate must keep.
    #[arg(long, default_value_t = Slo::default())]
    slo: Slo,
    /// How messages with a rate arrive.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    arrivals: Arrivals,
    /// Measured runs of the server, one after the other.
    #[arg(long, default_value_t = 1, value_parser = values::count)]
    runs: usize,
    /// Write a log of 512 MiB round before anything is measured: the bytes of new files are written twice, those of used ones once.
    #[arg(long, conflicts_with = "at")]
    wrapped: bool,
    /// Seconds for everything that is measured: server, search, relay and disk.
    #[arg(long, default_value_t = 40.0, value_parser = values::positive)]
    seconds: f64,
}

/// How the seconds are shared: of the whole.
mod share {
    /// One step of the search; at most `seek::STEPS` of them, seldom more than 14.
    pub const STEP: f64 = 0.025;
    /// One try to hold what was found; seldom more than three.
    pub const CONFIRM: f64 = 0.08;
    /// All runs of the server, after a search.
    pub const RUN_FOUND: f64 = 0.2;
    /// All runs of the server.
    pub const RUN: f64 = 0.6;
    /// The relay.
    pub const RELAY: f64 = 0.15;
    /// Each probe of the disk.
    pub const PROBE: f64 = 0.06;
}

/// Messages in flight a pair while a log is written round.
const WRAPPING_DEPTH: u64 = 16;
/// A log was written round once so many times its bytes were: files that are new were then written twice.
const ROUND: u64 = 3;

impl Workload for Pairs {
    const NAME: &'static str = "pairs";
    type Found = Report;

    fn steps(&self) -> usize {
        self.runs + 4
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<Report, Failure> {
        let (dir, _temporary) = place.make_dir()?;
        bar.step("tidings");
        let limits = if self.wrapped { Limits::SmallLog } else { Limits::None };
        let mut target = Target::server(place, &dir, limits)?;
        let mut load = Load::connect(&target, self.pairs, self.payload)?;
        if self.wrapped {
            bar.say("the log is written round");
            wrap(&mut load, &target)?;
        }
        // What is said of the log is not of what was written before.
        let before = target.counters()?;
        let mut search = Vec::new();
        let offer = self.offer(&mut load, &target, &mut search, bar)?;
        let of_runs = if search.is_empty() { share::RUN } else { share::RUN_FOUND };
        let phases = Phases::within(of_runs * self.seconds / self.runs as f64);
        let mut runs = Vec::new();
        for at in 1..=self.runs {
            bar.step(format!("tidings, run {at}"));
            runs.push(measure(&mut load, &|| target.usage(), offer, phases)?);
        }
        drop(load);
        let after = target.stop()?;
        bar.step("the null relay");
        let relay = {
            let target = Target::relay(place, Some(&dir), Rooms::Pairs)?;
            let mut load = Load::connect(&target, self.pairs, self.payload)?;
            measure(&mut load, &|| target.usage(), offer, Phases::within(share::RELAY * self.seconds))?
        };
        let server = middle(&runs).cloned().ok_or("no run was asked for")?;
        let disk = disk((&before, &after), &server, &dir, share::PROBE * self.seconds, bar)?;
        Ok(self.report(offer, runs, server, relay, disk, search))
    }
}

impl Pairs {
    /// What is offered: what was asked for, or the highest rate that is found.
    fn offer(
        &self,
        load: &mut Load,
        target: &Target,
        search: &mut Vec<Step>,
        bar: &Progress,
    ) -> Result<Offer, Failure> {
        let arrivals = self.arrivals;
        if let Some(depth) = self.closed {
            return Ok(Offer::Closed { depth });
        }
        if let Some(rate) = self.rate {
            return Ok(Offer::Open { rate, arrivals });
        }
        let (step, confirm) =
            (Phases::within(share::STEP * self.seconds), Phases::within(share::CONFIRM * self.seconds));
        let seek = Seek { slo: self.slo, arrivals, step, confirm };
        let rate = seek.highest(load, &|| target.usage(), search, bar)?;
        let rate = rate.ok_or_else(|| format!("no rate keeps {}", self.slo))?;
        Ok(Offer::Open { rate, arrivals })
    }

    fn report(&self, offer: Offer, runs: Vec<Run>, server: Run, relay: Run, disk: Disk, search: Vec<Step>) -> Report {
        let (arrivals, offered_per_s, depth) = match offer {
            Offer::Closed { depth } => ("closed", 0.0, depth),
            Offer::Open { rate, arrivals } => (arrivals.name(), rate, u64::from(tidings_wire::limits::WINDOW)),
        };
        Report {
            version: VERSION,
            connections: 2 * self.pairs,
            depth,
            arrivals: arrivals.into(),
            payload: self.payload,
            wrapped: self.wrapped,
            offered_per_s,
            wrong: runs.iter().map(|run| run.wrong).sum::<u64>() + relay.wrong,
            rate_per_s: server.rate_per_s,
            sent_us: server.sent_us,
            delivered_us: server.delivered_us,
            ratio_to_floor: relay.cpu_us_per_msg / server.cpu_us_per_msg,
            floor: Floor { dsync_p50_us: disk.dsync_4k_us.p50, relay },
            disk,
            slo: (!search.is_empty()).then(|| self.slo.to_string()),
            server,
            runs,
            search,
        }
    }
}

/// Writes until no byte of the log is new.
fn wrap(load: &mut Load, target: &Target) -> Result<(), Failure> {
    while target.usage()?.written_bytes < ROUND * SMALL_LOG {
        let outcome = load.run(Offer::Closed { depth: WRAPPING_DEPTH }, Phases::within(1.0), &mut |_| ())?;
        if outcome.measured.acked == 0 {
            return Err("nothing is written: the log cannot be written round".into());
        }
    }
    settle(load)
}

/// What the log wrote, and the disk alone with writes of that size and of a block, at the same pace.
fn disk(
    (before, after): (&Value, &Value),
    server: &Run,
    dir: &Path,
    seconds: f64,
    bar: &Progress,
) -> Result<Disk, Failure> {
    let of = |counters: &Value, name: &str| counters["counters"][name].as_f64().unwrap_or(0.0);
    let count = |name: &str| of(after, name) - of(before, name);
    let (batches, bytes, messages) = (count("log_batches"), count("log_bytes"), count("messages_committed").max(1.0));
    // The counters also cover warm-up and search; rates are taken from their proportions.
    let batches_per_s = server.rate_per_s * batches / messages;
    let batch_bytes = bytes / batches.max(1.0);
    let time = Duration::from_secs_f64(seconds);
    bar.step("the disk alone, same size and pace");
    let dsync_us = Percentiles::from(&dsync::probe(dir, batch_bytes as usize, batches_per_s, time)?);
    bar.step("the disk alone, 4 KiB at the same pace");
    let dsync_4k_us = Percentiles::from(&dsync::probe(dir, 4096, batches_per_s, time)?);
    Ok(Disk { batches_per_s, batch_bytes, bytes_per_msg: bytes / messages, dsync_us, dsync_4k_us })
}
