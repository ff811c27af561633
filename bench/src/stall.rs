//! `tidings-bench load stall`: a rate held for long, with durable writes of a probe beside it: a stall that the disk has, too, is the
//! disk's.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::{
    Failure,
    arrivals::Arrivals,
    cpu, dsync,
    load::Pairs,
    measure::{Percentiles, measure},
    offer::{Offer, Phases},
    report::Machine,
    run::progress,
    target::{Place, Target},
    values,
};

/// Arguments of `load stall`.
#[derive(Debug, Args)]
pub struct Arguments {
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
    /// Print JSON instead of sentences.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// The share of the rate that must be answered.
const SERVED: f64 = 0.98;

/// A second with a stall.
#[derive(Debug, Serialize)]
struct Stall {
    second: usize,
    sent_max_us: u64,
    /// The slowest write of the probe that ended in that second or one beside it.
    probe_max_us: u64,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Found {
    workload: &'static str,
    machine: Machine,
    pairs: usize,
    seconds: f64,
    offered_per_s: f64,
    rate_per_s: f64,
    sent_us: Percentiles,
    delivered_us: Percentiles,
    /// How late the load itself was.
    late_us: Percentiles,
    probe_us: Percentiles,
    /// Seconds in which a message took longer than the limit.
    stalls: Vec<Stall>,
    /// Those in which the probe did not.
    own_stalls: usize,
    wrong: u64,
    /// Messages that were never answered: the longest stall of all.
    unfinished: u64,
}

/// Runs it.
///
/// # Errors
/// If a connection ends, or a message failed a check.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    cpu::pin(arguments.place.load_core);
    let bar = progress(1)?;
    let (dir, _temporary) = arguments.place.make_dir()?;
    let target = Target::server(&arguments.place, &dir)?;
    let mut load = Pairs::connect(target.addr, arguments.pairs, arguments.payload, &|user| target.token(user))?;
    bar.set_message(format!("{:.0} messages a second for {:.0} s", arguments.rate, arguments.seconds));
    let phases = Phases { warm_up: Duration::from_secs(1), steady: Duration::from_secs_f64(arguments.seconds) };
    let (begin, rate) = (Instant::now(), arguments.probes);
    let (run, probe) = std::thread::scope(|scope| {
        let probe = scope.spawn(|| {
            let time = phases.warm_up + phases.steady;
            dsync::probe_by_second(&dir, rate, begin + phases.warm_up, time).map_err(|error| error.to_string())
        });
        let offer = Offer::Open { rate: arguments.rate, arrivals: Arrivals::Poisson };
        let run = measure(&mut load, &|| target.usage(), offer, phases);
        let probe = probe.join().map_err(|_| "the probe's thread panicked")??;
        Ok::<_, Failure>((run?, probe))
    })?;
    drop(load);
    target.stop()?;
    bar.finish_and_clear();
    let limit = arguments.stall * 1000;
    let near = |second: usize| {
        let (from, to) = (second.saturating_sub(1), (second + 2).min(probe.worst_us.len()));
        probe.worst_us[from.min(to)..to].iter().copied().max().unwrap_or(0)
    };
    let seconds = run.timeline.iter().enumerate();
    let stalls: Vec<Stall> = seconds
        .filter(|(_, of)| of.sent_max_us > limit)
        .map(|(second, of)| Stall { second, sent_max_us: of.sent_max_us, probe_max_us: near(second) })
        .collect();
    let found = Found {
        workload: "stall",
        machine: Machine::here(),
        pairs: arguments.pairs,
        seconds: arguments.seconds,
        offered_per_s: arguments.rate,
        rate_per_s: run.rate_per_s,
        sent_us: run.sent_us,
        delivered_us: run.delivered_us,
        late_us: run.late_us,
        probe_us: Percentiles::from(&probe.all),
        own_stalls: stalls.iter().filter(|stall| stall.probe_max_us <= limit).count(),
        stalls,
        wrong: run.wrong,
        unfinished: run.unfinished,
    };
    print(&found, arguments)
}

fn print(found: &Found, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(found)?);
    } else {
        let show = |of: &Percentiles| {
            format!(
                "p50 {:.2}, p99 {:.2}, longest {:.1} ms",
                of.p50 as f64 / 1e3,
                of.p99 as f64 / 1e3,
                of.max as f64 / 1e3
            )
        };
        println!(
            "{:.0} messages a second for {:.0} s ({:.0} offered): SENT {}; the load itself was late by up to {:.1} ms\n\
             the probe beside it, 4 KiB: {}\n\
             {} seconds with a message over {} ms, {} of them without one of the probe",
            found.rate_per_s,
            found.seconds,
            found.offered_per_s,
            show(&found.sent_us),
            found.late_us.max as f64 / 1e3,
            show(&found.probe_us),
            found.stalls.len(),
            arguments.stall,
            found.own_stalls,
        );
        for stall in found.stalls.iter().take(20) {
            println!(
                "  second {}: {:.1} ms, the probe {:.1} ms",
                stall.second,
                stall.sent_max_us as f64 / 1e3,
                stall.probe_max_us as f64 / 1e3
            );
        }
    }
    match (found.wrong, found.unfinished, found.rate_per_s < SERVED * found.offered_per_s) {
        (0, 0, false) => Ok(()),
        (0, 0, true) => Err(format!("only {:.0} messages a second were answered", found.rate_per_s).into()),
        (wrong, unfinished, _) => {
            Err(format!("{wrong} messages failed a check, {unfinished} were never answered").into())
        }
    }
}
