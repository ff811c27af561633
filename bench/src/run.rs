//! `tidings-bench load`: the server, then the null relay, then the disk alone, one after the other.

use std::{
    cell::Cell,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tidings::{
    process::{Launch, TempDir},
    tokens::Issuer,
};
use tidings_wire::Timestamp;

use crate::{
    Failure, cpu, dsync,
    load::{Load, Offer, Outcome},
    report::{Disk, Floor, Percentiles, Report, Side},
};

/// Arguments of `load`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Pairs of connections.
    #[arg(long, default_value_t = 50)]
    pairs: usize,
    /// Messages in flight a pair.
    #[arg(long, default_value_t = 8)]
    depth: usize,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 1024)]
    payload: usize,
    /// Messages a second over all pairs, at fixed times; without it, as many as come back.
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds measured, each of server, relay and disk; one more of each is not.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The core of the server and the relay.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The core of the load.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// The `tidings` binary [default: beside this one].
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Where the server's data goes [default: the system's temporary directory].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Messages of one user are not limited here; the log may take this much.
const SETTINGS: &str = "[limits]\nuser_per_second = 10000000\nuser_burst = 10000000\naddress_per_second = 100000\n\
                        address_burst = 1000000\n[retention]\nmax_bytes = 8589934592\n";

/// Runs it.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let offer = Offer {
        pairs: arguments.pairs,
        depth: arguments.depth,
        payload: arguments.payload,
        rate: arguments.rate.unwrap_or(0.0),
        warm_up: Duration::from_secs(1),
        time: Duration::from_secs(arguments.seconds),
    };
    cpu::pin(arguments.load_core);
    let bar = ProgressBar::new(4);
    bar.set_style(ProgressStyle::with_template("{bar:24} {msg}")?);
    let dir = TempDir::new("bench")?;
    let run = format!("run-{}", std::process::id());
    let dir = arguments.dir.clone().map_or_else(|| dir.path().to_path_buf(), |given| given.join(run));
    std::fs::create_dir_all(&dir)?;

    bar.set_message("tidings");
    let (server, counters, wrong) = measure_server(arguments, offer, &dir)?;
    bar.inc(1);
    bar.set_message("the null relay");
    let (floor, floor_wrong) = measure_relay(arguments, offer)?;
    bar.inc(1);

    let count = |name: &str| counters["counters"][name].as_f64().unwrap_or(0.0);
    let (batches, bytes, messages) = (count("log_batches"), count("log_bytes"), count("messages_committed").max(1.0));
    // The counters also cover the warm-up; rates are taken from their proportions.
    let batches_per_s = server.rate_per_s * batches / messages;
    let batch_bytes = bytes / batches.max(1.0);
    bar.set_message("the disk alone, same size and pace");
    let dsync_us = Percentiles::from(&dsync::probe(&dir, batch_bytes as usize, batches_per_s, offer.time)?);
    bar.inc(1);
    bar.set_message("the disk alone, 4 KiB at the same pace");
    let dsync_4k_us = Percentiles::from(&dsync::probe(&dir, 4096, batches_per_s, offer.time)?);
    bar.finish_and_clear();

    let report = Report {
        version: 2,
        workload: "pairs".into(),
        connections: 2 * offer.pairs,
        depth: offer.depth,
        payload: offer.payload,
        offered_per_s: offer.rate,
        wrong: wrong + floor_wrong,
        rate_per_s: server.rate_per_s,
        sent_us: server.sent_us,
        delivered_us: server.delivered_us,
        ratio_to_floor: floor.cpu_us_per_msg / server.cpu_us_per_msg,
        floor: Floor { relay: floor, dsync_p50_us: dsync_4k_us.p50 },
        disk: Disk { batches_per_s, batch_bytes, bytes_per_msg: bytes / messages, dsync_us, dsync_4k_us },
        server,
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    if report.wrong > 0 {
        return Err(format!("{} messages failed a check", report.wrong).into());
    }
    Ok(())
}

fn measure_server(
    arguments: &Arguments,
    offer: Offer,
    dir: &std::path::Path,
) -> Result<(Side, serde_json::Value, u64), Failure> {
    let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("tidings"));
    let config = dir.join("bench.toml");
    std::fs::write(&config, SETTINGS)?;
    let launch = Launch {
        binary: arguments.server.clone().map_or_else(beside, Ok)?,
        data: dir.join("data"),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        cores: arguments.server_core.to_string(),
        config: Some(config),
        canary: None,
    };
    let server = launch.start()?;
    let issuer = Issuer::load(&launch.data)?;
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let token = |user: &str| Ok(issuer.issue(user, None, Timestamp(wall.as_micros() as u64), 3600)?);
    let load = Load::connect(server.addr(), offer, token)?;
    let (outcome, side) = measure(load, server.id())?;
    let (status, said) = server.stop()?;
    if !status.success() {
        return Err(said.into());
    }
    let line = said.lines().rev().find(|line| line.starts_with('{')).ok_or("the server printed no counters")?;
    Ok((side, serde_json::from_str(line)?, outcome.wrong))
}

/// A child process that is killed when this goes.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

fn measure_relay(arguments: &Arguments, offer: Offer) -> Result<(Side, u64), Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["relay", "--core", &arguments.server_core.to_string()]).stdout(Stdio::piped());
    let mut relay = Killed(command.spawn()?);
    let mut line = String::new();
    BufReader::new(relay.0.stdout.as_mut().ok_or("the relay has no output")?).read_line(&mut line)?;
    let addr = line.trim().strip_prefix("ready listen=").ok_or("the relay did not start")?.parse()?;
    let load = Load::connect(addr, offer, |_| Ok("none".into()))?;
    let (outcome, side) = measure(load, relay.0.id())?;
    Ok((side, outcome.wrong))
}

fn measure(load: Load, pid: u32) -> Result<(Outcome, Side), Failure> {
    let usage = |pid| cpu::usage(pid).map_err(|error| format!("the processor time of {pid} cannot be read: {error}"));
    let (before, after) = (Cell::new(None), Cell::new(None));
    let me = std::process::id();
    let outcome =
        load.run(|| before.set(Some((usage(pid), usage(me)))), || after.set(Some((usage(pid), usage(me)))))?;
    let never = "the run was never measured";
    let ((server_before, load_before), (server_after, load_after)) =
        (before.take().ok_or(never)?, after.take().ok_or(never)?);
    let (server_before, (cpu, rss_bytes)) = (server_before?.0, server_after?);
    let load_us = load_after?.0 - load_before?.0;
    let side = Side {
        rate_per_s: outcome.acked as f64 / outcome.seconds,
        cpu_us_per_msg: cpu.saturating_sub(server_before) as f64 / outcome.acked.max(1) as f64,
        sent_us: Percentiles::from(&outcome.sent_us),
        delivered_us: Percentiles::from(&outcome.delivered_us),
        rss_bytes,
        load_busy: load_us as f64 / 1e6 / outcome.seconds,
    };
    Ok((outcome, side))
}
