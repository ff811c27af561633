//! `tidings-bench load pairs`: the server, then the null relay at the same rate, then the disk alone, one after the other.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    Failure,
    arrivals::Arrivals,
    cpu, dsync, html,
    load::Pairs,
    measure::{Percentiles, Run, measure},
    offer::{Offer, Phases},
    report::{Disk, Floor, Machine, Report, VERSION, middle},
    seek::Seek,
    slo::Slo,
    target::{Place, Target},
    values,
};

/// Arguments of `load pairs`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Pairs of connections: one sends, the other receives and confirms.
    #[arg(long, default_value_t = 50, value_parser = values::count)]
    pub pairs: usize,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 1024, value_parser = values::count)]
    pub payload: usize,
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
    #[arg(long, default_value_t = 1)]
    runs: u32,
    /// Seconds for everything that is measured: server, search, relay and disk.
    #[arg(long, default_value_t = 40.0, value_parser = values::positive)]
    seconds: f64,
    /// Where the parts are.
    #[command(flatten)]
    pub place: Place,
    /// How it is shown.
    #[command(flatten)]
    pub show: Show,
}

/// How a report is shown.
#[derive(Debug, Args)]
pub struct Show {
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Write a page with plots, too.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// How the seconds are shared: of the whole.
mod share {
    /// One step of the search; at most `search::STEPS` of them, seldom more than 14.
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

/// So many seconds, some of which warm up.
pub fn phases(seconds: f64) -> Phases {
    let warm_up = (seconds / 5.0).min(1.0);
    Phases { warm_up: Duration::from_secs_f64(warm_up), steady: Duration::from_secs_f64(seconds - warm_up) }
}

/// A bar for something of so many steps.
///
/// # Errors
/// Never: the template is right.
pub fn progress(steps: u64) -> Result<ProgressBar, Failure> {
    let bar = ProgressBar::new(steps);
    bar.set_style(ProgressStyle::with_template("{bar:24} {elapsed} {msg}")?);
    bar.enable_steady_tick(Duration::from_millis(200));
    Ok(bar)
}

/// Runs it.
///
/// # Errors
/// If something does not start or ends early, or a message failed a check.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    cpu::pin(arguments.place.load_core);
    let bar = progress(u64::from(arguments.runs) + 4)?;
    let (dir, _temporary) = arguments.place.make_dir()?;
    bar.set_message("tidings");
    let target = Target::server(&arguments.place, &dir)?;
    let mut load = Pairs::connect(target.addr, arguments.pairs, arguments.payload, &|user| target.token(user))?;
    let mut search = Vec::new();
    let offer = match (arguments.closed, arguments.rate) {
        (Some(depth), _) => Offer::Closed { depth },
        (None, Some(rate)) => Offer::Open { rate, arrivals: arguments.arrivals },
        (None, None) => {
            let seek = Seek {
                slo: arguments.slo,
                arrivals: arguments.arrivals,
                step: phases(share::STEP * arguments.seconds),
                confirm: phases(share::CONFIRM * arguments.seconds),
            };
            let rate = seek.highest(&mut load, &|| target.usage(), &mut search, &bar)?;
            let rate = rate.ok_or_else(|| format!("no rate keeps {}", arguments.slo))?;
            Offer::Open { rate, arrivals: arguments.arrivals }
        }
    };
    let of_runs = if search.is_empty() { share::RUN } else { share::RUN_FOUND };
    let mut runs = Vec::new();
    for at in 1..=arguments.runs {
        bar.set_message(format!("tidings, run {at}"));
        let seconds = of_runs * arguments.seconds / f64::from(arguments.runs);
        runs.push(measure(&mut load, &|| target.usage(), offer, phases(seconds))?);
        bar.inc(1);
    }
    drop(load);
    let counters = target.stop()?;

    bar.set_message("the null relay");
    let relay = measure_relay(arguments, &dir, offer)?;
    bar.inc(1);
    let server = middle(&runs).cloned().ok_or("no run was asked for")?;
    let disk = measure_disk(&counters, &server, &dir, share::PROBE * arguments.seconds, &bar)?;
    bar.finish_and_clear();

    let (arrivals, offered_per_s, depth) = match offer {
        Offer::Closed { depth } => ("closed", 0.0, depth),
        Offer::Open { rate, arrivals } => (arrivals.name(), rate, u64::from(tidings_wire::limits::WINDOW)),
    };
    let report = Report {
        version: VERSION,
        workload: "pairs".into(),
        machine: Machine::here(),
        connections: 2 * arguments.pairs,
        depth,
        arrivals: arrivals.into(),
        payload: arguments.payload,
        offered_per_s,
        wrong: runs.iter().map(|run| run.wrong).sum::<u64>() + relay.wrong,
        rate_per_s: server.rate_per_s,
        sent_us: server.sent_us,
        delivered_us: server.delivered_us,
        ratio_to_floor: relay.cpu_us_per_msg / server.cpu_us_per_msg,
        floor: Floor { dsync_p50_us: disk.dsync_4k_us.p50, relay },
        disk,
        slo: (!search.is_empty()).then(|| arguments.slo.to_string()),
        server,
        runs,
        search,
    };
    show(&report, &arguments.show)
}

/// Shows a report.
///
/// # Errors
/// If the page cannot be written, or a message failed a check.
pub fn show(report: &Report, how: &Show) -> Result<(), Failure> {
    if how.json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        report.print();
    }
    if let Some(path) = &how.html {
        std::fs::write(path, html::page(std::slice::from_ref(report)))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if report.wrong > 0 {
        return Err(format!("{} messages failed a check", report.wrong).into());
    }
    Ok(())
}

fn measure_relay(arguments: &Arguments, dir: &std::path::Path, offer: Offer) -> Result<Run, Failure> {
    let target = Target::relay(&arguments.place, Some(dir))?;
    let mut load = Pairs::connect(target.addr, arguments.pairs, arguments.payload, &|user| target.token(user))?;
    measure(&mut load, &|| target.usage(), offer, phases(share::RELAY * arguments.seconds))
}

/// What the log wrote, and the disk alone with writes of that size and of a block, at the same pace.
fn measure_disk(
    counters: &serde_json::Value,
    server: &Run,
    dir: &std::path::Path,
    seconds: f64,
    bar: &ProgressBar,
) -> Result<Disk, Failure> {
    let count = |name: &str| counters["counters"][name].as_f64().unwrap_or(0.0);
    let (batches, bytes, messages) = (count("log_batches"), count("log_bytes"), count("messages_committed").max(1.0));
    // The counters also cover warm-up and search; rates are taken from their proportions.
    let batches_per_s = server.rate_per_s * batches / messages;
    let batch_bytes = bytes / batches.max(1.0);
    let time = Duration::from_secs_f64(seconds);
    bar.set_message("the disk alone, same size and pace");
    let dsync_us = Percentiles::from(&dsync::probe(dir, batch_bytes as usize, batches_per_s, time)?);
    bar.inc(1);
    bar.set_message("the disk alone, 4 KiB at the same pace");
    let dsync_4k_us = Percentiles::from(&dsync::probe(dir, 4096, batches_per_s, time)?);
    bar.inc(1);
    Ok(Disk { batches_per_s, batch_bytes, bytes_per_msg: bytes / messages, dsync_us, dsync_4k_us })
}
