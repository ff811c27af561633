//! `tidings-bench load storm`: everybody but some is cut off at once and comes back; what do those feel who stayed?

use std::{
    net::SocketAddr,
    sync::mpsc::{self, Receiver, Sender},
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;

use crate::{
    Failure,
    arrivals::Arrivals,
    cpu,
    idle::members,
    idlers::{Idlers, Member},
    load::Pairs,
    measure::Percentiles,
    offer::{Load, Mark, Offer, Phases},
    report::Machine,
    run::progress,
    target::{Place, Target},
    timeline::Second,
    values,
};

/// Arguments of `load storm`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Connections that are cut.
    #[arg(long, default_value_t = 14_000, value_parser = values::count)]
    connections: usize,
    /// Pairs that stay, and write.
    #[arg(long, default_value_t = 500, value_parser = values::count)]
    pairs: usize,
    /// Messages a second of those who stay.
    #[arg(long, default_value_t = 2_000.0, value_parser = values::positive)]
    rate: f64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 1024, value_parser = values::count)]
    payload: usize,
    /// Seconds measured of calm, and of the storm; the latter should be longer than it lasts.
    #[arg(long, default_value_t = 10.0, value_parser = values::positive)]
    seconds: f64,
    /// Print JSON instead of sentences.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Found {
    workload: &'static str,
    machine: Machine,
    connections: usize,
    staying: usize,
    rate_per_s: f64,
    /// SENT of those who stay, in calm.
    calm_sent_us: Percentiles,
    /// The 99th percentile of the worst second of the storm, from the cut until all were back.
    storm_sent_p99_us: u64,
    /// How late the load itself was, with the idlers on its core: part of it.
    storm_late_us: Percentiles,
    /// The same over calm's.
    ratio: f64,
    /// From the cut until all were back.
    back_s: f64,
    wrong: u64,
    /// Messages that were never answered.
    unfinished: u64,
    timeline: Vec<Second>,
}

/// Runs it.
///
/// # Errors
/// If somebody is not let in, or a message failed a check.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    cpu::pin(arguments.place.load_core);
    let bar = progress(4)?;
    let (dir, _temporary) = arguments.place.make_dir()?;
    bar.set_message("tidings");
    let target = Target::server(&arguments.place, &dir)?;
    let members = members(&target, arguments.connections, 1)?;
    let (addr, core) = (target.addr, arguments.place.load_core);
    let offer = Offer::Open { rate: arguments.rate, arrivals: Arrivals::Poisson };
    let phases = Phases { warm_up: Duration::from_secs(1), steady: Duration::from_secs_f64(arguments.seconds) };
    let (said, hear) = mpsc::channel();
    let (go, wait) = mpsc::channel();
    let (calm, mut storm, back) = std::thread::scope(|scope| {
        // On the core of the load: the server has its own for itself. What those who stay feel has the idlers's work in it.
        let idlers = scope.spawn(move || idlers(addr, members, core, &said, &wait).map_err(|error| error.to_string()));
        let both = || {
            // An error of the idlers's is told where it is joined.
            hear.recv()?;
            bar.inc(1);
            bar.set_message("calm");
            let mut load = Pairs::connect(addr, arguments.pairs, arguments.payload, &|user| target.token(user))?;
            let calm = load.run(offer, phases, &mut |_| ())?;
            bar.inc(1);
            bar.set_message("storm");
            let storm = load.run(offer, phases, &mut |mark| {
                if mark == Mark::Begin {
                    let _gone = go.send(()); // an error of the idlers's is told where it is joined
                }
            })?;
            Ok::<_, Failure>((calm, storm))
        };
        let measured = both();
        drop(go); // the idlers leaves once all was measured
        let back = idlers.join().map_err(|_| "the idlers's thread panicked")??;
        let (calm, storm) = measured?;
        Ok::<_, Failure>((calm, storm, back))
    })?;
    target.stop()?;
    bar.finish_and_clear();
    let calm_sent_us = Percentiles::from(&calm.measured.sent_us);
    let timeline = storm.measured.timeline.finish();
    let lasted = (back.as_secs_f64().ceil() as usize).clamp(1, timeline.len());
    let storm_sent_p99_us = timeline[..lasted].iter().map(|second| second.sent_p99_us).max().unwrap_or(0);
    let found = Found {
        workload: "storm",
        machine: Machine::here(),
        connections: arguments.connections,
        staying: 2 * arguments.pairs,
        rate_per_s: arguments.rate,
        calm_sent_us,
        storm_sent_p99_us,
        storm_late_us: Percentiles::from(&storm.measured.late_us),
        ratio: storm_sent_p99_us as f64 / calm_sent_us.p99.max(1) as f64,
        back_s: back.as_secs_f64(),
        wrong: calm.measured.wrong + storm.measured.wrong,
        unfinished: calm.unfinished + storm.unfinished,
        timeline,
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        println!(
            "{} of {} connections were cut and were back after {:.1} s\n\
             SENT of those who stayed, at {} messages a second: p99 {:.1} ms in calm, {:.1} ms in the storm's worst second: {:.1} times\n\
             the load itself was late by up to {:.1} ms in the storm",
            found.connections,
            found.connections + found.staying,
            found.back_s,
            found.rate_per_s,
            found.calm_sent_us.p99 as f64 / 1e3,
            found.storm_sent_p99_us as f64 / 1e3,
            found.ratio,
            found.storm_late_us.max as f64 / 1e3,
        );
    }
    if found.wrong + found.unfinished > 0 {
        let Found { wrong, unfinished, .. } = found;
        return Err(format!("{wrong} messages failed a check, {unfinished} were never answered").into());
    }
    Ok(())
}

/// The life of the idlers: it comes, says so, is cut when it is told to, comes back, and stays until nobody tells it more.
fn idlers(
    addr: SocketAddr,
    members: Vec<Member>,
    core: usize,
    said: &Sender<()>,
    wait: &Receiver<()>,
) -> Result<Duration, Failure> {
    cpu::pin(core);
    let within = Duration::from_secs(120);
    let mut idlers = Idlers::new(addr, members)?;
    idlers.come(within)?;
    said.send(())?;
    wait.recv()?;
    let cut = Instant::now();
    idlers.cut();
    idlers.come(within)?;
    let back = cut.elapsed();
    let _all_was_measured = wait.recv();
    Ok(back)
}
