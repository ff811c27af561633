//! `tidings-bench load idle`: what a connection costs that only is there, and apart from it what a user with conversations
//! costs.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::{
    Failure, cpu,
    idlers::{Idlers, Member},
    load::Pairs,
    measure::measure,
    offer::Offer,
    report::Machine,
    run::{phases, progress},
    target::{Place, Target},
    values,
};

/// Arguments of `load idle`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Connections.
    #[arg(long, default_value_t = 15_000, value_parser = values::count)]
    connections: usize,
    /// Devices of each user among them: many, so that users' state hardly counts.
    #[arg(long, default_value_t = 8, value_parser = values::count)]
    devices: usize,
    /// Conversations that are made afterwards, each of two users of its own.
    #[arg(long, default_value_t = 2_000, value_parser = values::count)]
    conversations: usize,
    /// Seconds that idle processor time is measured for.
    #[arg(long, default_value_t = 10.0, value_parser = values::positive)]
    seconds: f64,
    /// Print JSON instead of sentences.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Of the connections, one in so many comes before memory is looked at.
const FIRST_PART: usize = 3;

/// How long the server is left alone before its memory is looked at, so that nobody is being let in or going any more.
const CALM: Duration = Duration::from_secs(2);

/// What was found.
#[derive(Debug, Serialize)]
struct Found {
    workload: &'static str,
    machine: Machine,
    connections: usize,
    /// Anonymous memory of the server with a third of them.
    first_bytes: u64,
    /// More of it for each that came then.
    bytes_per_connection: f64,
    /// More of it for two users' homes, their connections and the conversation between them.
    bytes_per_pair: f64,
    /// Share of a core that the server uses while nobody says anything.
    idle_cpu: f64,
    /// Connections a second that were let in.
    connects_per_s: f64,
}

/// Runs it.
///
/// # Errors
/// If somebody is not let in.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    cpu::pin(arguments.place.load_core);
    let bar = progress(4)?;
    let (dir, _temporary) = arguments.place.make_dir()?;
    bar.set_message("tidings");
    let target = Target::server(&arguments.place, &dir)?;
    let mut members = members(&target, arguments.connections, arguments.devices)?;
    // A part of them first: what a reactor keeps in any case, like its receive buffers, is there then.
    let rest = members.split_off(members.len() / FIRST_PART);
    let mut first = Idlers::new(target.addr, members)?;
    first.come(Duration::from_secs(120))?;
    std::thread::sleep(CALM);
    let first_bytes = cpu::anonymous(target.pid)?;
    bar.inc(1);
    bar.set_message("connections");
    let came = rest.len() as f64;
    let mut idlers = Idlers::new(target.addr, rest)?;
    let took = idlers.come(Duration::from_secs(120))?;
    std::thread::sleep(CALM);
    let full = cpu::anonymous(target.pid)?;
    bar.inc(1);
    bar.set_message("silence");
    let before = target.usage()?.cpu_us;
    std::thread::sleep(Duration::from_secs_f64(arguments.seconds));
    let idle_cpu = (target.usage()?.cpu_us - before) as f64 / 1e6 / arguments.seconds;
    bar.inc(1);
    bar.set_message("conversations");
    for mut gone in [first, idlers] {
        gone.cut();
    }
    std::thread::sleep(CALM);
    let before_pairs = cpu::anonymous(target.pid)?;
    let mut load = Pairs::connect(target.addr, arguments.conversations, 64, &|user| target.token(user))?;
    measure(&mut load, &|| target.usage(), Offer::Closed { depth: 1 }, phases(1.0))?;
    std::thread::sleep(CALM);
    let with_pairs = cpu::anonymous(target.pid)?;
    drop(load);
    target.stop()?;
    bar.finish_and_clear();
    let found = Found {
        workload: "idle",
        machine: Machine::here(),
        connections: arguments.connections,
        first_bytes,
        bytes_per_connection: full.saturating_sub(first_bytes) as f64 / came,
        bytes_per_pair: with_pairs.saturating_sub(before_pairs) as f64 / arguments.conversations as f64,
        idle_cpu,
        connects_per_s: came / took.as_secs_f64(),
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        println!(
            "{} idle connections ({} devices a user): {:.0} bytes of the server's memory each, {:.2}% of a core in silence, {:.0} let in a second\n\
             two users, their two connections and the conversation between them: {:.0} bytes more (memory of those that left is used again)\n\
             a server with {} connections has {:.1} MiB of its own, most of it buffers",
            found.connections,
            arguments.devices,
            found.bytes_per_connection,
            100.0 * found.idle_cpu,
            found.connects_per_s,
            found.bytes_per_pair,
            arguments.connections / FIRST_PART,
            found.first_bytes as f64 / f64::from(1 << 20),
        );
    }
    Ok(())
}

/// So many devices, some of each user.
///
/// # Errors
/// If no tokens can be had.
pub fn members(target: &Target, count: usize, devices: usize) -> Result<Vec<Member>, Failure> {
    let mut members: Vec<Member> = Vec::with_capacity(count);
    for at in 0..count {
        let (user, device) = (at / devices, at % devices);
        let token = match device {
            0 => target.token(&format!("idle{user}"))?,
            _ => members[at - 1].token.clone(),
        };
        members.push(Member { device: device as u32 + 1, token });
    }
    Ok(members)
}
