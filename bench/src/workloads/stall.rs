//! `tidings-bench load stall`: a rate held for long, with durable writes of a probe beside it: a stall that the disk has, too, is the
//! disk's.

use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::Workload;
use crate::{
    Failure,
    clients::pairs::Pairs,
    drive::{
        Offer, Phases,
        beside::beside,
        measure::{Run, measure},
        percentiles::Percentiles,
    },
    floor::dsync,
    progress::Progress,
    report::{Findings, all_is_right, html, ms},
    target::{Limits, Place, Target},
    values,
};

/// Arguments of `load stall`.
#[derive(Debug, Args)]
pub struct Stall {
    /// Pairs of connections.
    #[arg(long, default_value_t = 500, value_parser = values::count)]
    pairs: usize,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 1024, value_parser = values::count)]
    payload: usize,
    /// Messages a second.
    #[arg(long, default_value_t = 50_000.0, value_parser = values::positive)]
    rate: f64,
    /// Durable writes of 4 KiB a second of the probe.
    #[arg(long, default_value_t = 100.0, value_parser = values::positive)]
    probes: f64,
    /// What counts as a stall.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 50)]
    stall: u64,
    /// Seconds.
    #[arg(long, default_value_t = 600.0, value_parser = values::positive)]
    seconds: f64,
}

/// The share of the rate that must be answered.
const SERVED: f64 = 0.98;
/// Stalls that are told one by one.
const TOLD: usize = 20;

/// A second with a stall.
#[derive(Debug, Serialize)]
struct Slow {
    second: usize,
    sent_max_us: u64,
    /// The slowest write of the probe that ended in that second or one beside it.
    probe_max_us: u64,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
    pairs: usize,
    seconds: f64,
    offered_per_s: f64,
    run: Run,
    probe_us: Percentiles,
    /// What counts as a stall.
    limit_ms: u64,
    /// Seconds in which a message took longer than the limit.
    stalls: Vec<Slow>,
    /// Those in which the probe did not.
    own_stalls: usize,
}

impl Workload for Stall {
    const NAME: &'static str = "stall";
    type Found = Found;

    fn steps(&self) -> usize {
        1
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<Found, Failure> {
        let (dir, _temporary) = place.make_dir()?;
        let target = Target::server(place, &dir, Limits::None)?;
        let mut load = Pairs::connect(&target, self.pairs, self.payload)?;
        bar.step(format!("{:.0} messages a second for {:.0} s", self.rate, self.seconds));
        let (begin, phases) = (Instant::now(), Phases::after_a_second(self.seconds));
        let time = phases.warm_up + phases.steady;
        let (probe, run) = beside(
            place.load_core,
            |_| dsync::probe_by_second(&dir, self.probes, begin + phases.warm_up, time),
            |_| measure(&mut load, &|| target.usage(), Offer::open(self.rate), phases),
        )?;
        drop(load);
        target.stop()?;
        let limit = self.stall * 1000;
        let near = |second: usize| {
            let (from, to) = (second.saturating_sub(1), (second + 2).min(probe.worst_us.len()));
            probe.worst_us[from.min(to)..to].iter().copied().max().unwrap_or(0)
        };
        let seconds = run.timeline.iter().enumerate();
        let stalls: Vec<Slow> = seconds
            .filter(|(_, of)| of.sent_max_us > limit)
            .map(|(second, of)| Slow { second, sent_max_us: of.sent_max_us, probe_max_us: near(second) })
            .collect();
        Ok(Found {
            pairs: self.pairs,
            seconds: self.seconds,
            offered_per_s: self.rate,
            run,
            probe_us: Percentiles::from(&probe.all),
            limit_ms: self.stall,
            own_stalls: stalls.iter().filter(|stall| stall.probe_max_us <= limit).count(),
            stalls,
        })
    }
}

impl Findings for Found {
    fn sentences(&self) -> String {
        let mut out = format!(
            "{:.0} messages a second for {:.0} s ({:.0} offered): SENT {}, longest {:.1} ms; the load itself was late by up to {:.1} ms\n\
             the probe beside it, 4 KiB: {}, longest {:.1} ms\n\
             {} seconds with a message over {} ms, {} of them without one of the probe",
            self.run.rate_per_s,
            self.seconds,
            self.offered_per_s,
            self.run.sent_us,
            ms(self.run.sent_us.max),
            ms(self.run.late_us.max),
            self.probe_us,
            ms(self.probe_us.max),
            self.stalls.len(),
            self.limit_ms,
            self.own_stalls,
        );
        for Slow { second, sent_max_us, probe_max_us } in self.stalls.iter().take(TOLD) {
            out += &format!("\n  second {second}: {:.1} ms, the probe {:.1} ms", ms(*sent_max_us), ms(*probe_max_us));
        }
        out
    }

    fn check(&self) -> Result<(), Failure> {
        all_is_right(self.run.wrong, self.run.unfinished)?;
        if self.run.rate_per_s < SERVED * self.offered_per_s {
            return Err(format!("only {:.0} messages a second were answered", self.run.rate_per_s).into());
        }
        Ok(())
    }

    fn body(&self) -> String {
        html::paragraphs(&self.sentences()) + "<h2>Second by second</h2>" + &html::seconds(&self.run.timeline)
    }
}
