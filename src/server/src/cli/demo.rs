//! `tidings demo`

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, connect::wall_clock};
use crate::{
    chatting::{Chatting, FleetProgress, Member, Pace},
    data::random,
    process::{Launch, ServerProcess, TempDir},
    tokens::Issuer,
    transcript::{Verdict, check},
};

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How often the server is killed.
    #[arg(long, value_name = "N", default_value_t = 5)]
    kills: u64,
}

const PACE: Pace = Pace { depth: 8, rest: Duration::from_millis(2), patience: Duration::from_secs(30) };
/// How long the server lives between kills: this, and up to as much again.
const LIFE_MS: u64 = 400;

/// Small segments, so that the demonstration starts at once and leaves little behind. In so small a log its two users would soon have
/// filled what a user may.
const SETTINGS: &str =
    "[log]\nsegment_bytes = 8388608\n[retention]\nmax_bytes = 1073741824\n[limits]\nuser_bytes = 1000000000000\n";

/// Runs the demonstration.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let dir = TempDir::new("demo")?;
    let config = dir.path().join("demo.toml");
    std::fs::write(&config, SETTINGS)?;
    let mut launch = Launch {
        binary: std::env::current_exe()?,
        data: dir.path().join("data"),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        cores: cores(),
        config: Some(config),
        canary: None,
    };
    println!(
        "A server with its data in a temporary directory; alice and bob, with two devices each, write to each other."
    );
    let mut server = launch.start()?;
    launch.listen = server.addr();
    println!(
        "It listens on {}. It will be killed with SIGKILL {} times while they write.\n",
        server.addr(),
        arguments.kills
    );

    let chatting = Chatting::start(&members(&Issuer::load(&launch.data)?, &server.addr().into())?, PACE);
    let bar = ProgressBar::new(arguments.kills + 1);
    bar.set_style(ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}")?);
    for kill in 1..=arguments.kills {
        let life = Duration::from_millis(LIFE_MS + u64::from_ne_bytes(random()?) % LIFE_MS);
        watch(&bar, &chatting, life);
        let before = chatting.progress();
        server = kill_and_restart(server, &launch)?;
        say(&bar, &format!("kill {kill}: {} acknowledged so far; the server is back on the same data", before.acked));
        bar.inc(1);
    }
    watch(&bar, &chatting, Duration::from_millis(LIFE_MS));
    bar.set_message("everybody resumes and gets what is missing");
    let last = chatting.progress();
    let verdict = check(&chatting.finish());
    bar.finish_and_clear();
    let (status, said) = server.stop()?;
    print_table(arguments.kills, &last, &verdict);
    if !status.success() {
        return Err(format!("the server did not stop cleanly: {said}").into());
    }
    if verdict.acked == 0 || last.reconnects == 0 && arguments.kills > 0 {
        return Err("nothing was shown: no message was acknowledged, or no device noticed a kill".into());
    }
    if !verdict.holds() {
        return Err("a promise was broken".into());
    }
    println!("\nEvery promise held.");
    Ok(())
}

fn cores() -> String {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let numbers: Vec<_> = cores.iter().take(2).map(|core| core.id.to_string()).collect();
    if numbers.is_empty() { "0".into() } else { numbers.join(",") }
}

/// Each with a device that speaks frames as they are, and one that speaks them in a WebSocket.
fn members(issuer: &Issuer, server: &tidings_client::blocking::Server) -> Result<Vec<Member>, Failure> {
    let mut members = Vec::new();
    for (user, peer) in [("alice", "bob"), ("bob", "alice")] {
        for device in 1..=2 {
            let token = issuer.issue(user, None, wall_clock(), 3600)?;
            members.push(Member {
                user: user.into(),
                device,
                token,
                server: if device == 1 { server.clone() } else { server.clone().by_websocket() },
                peers: vec![peer.into()],
                writers: vec![peer.into()],
            });
        }
    }
    Ok(members)
}

fn kill_and_restart(server: ServerProcess, launch: &Launch) -> Result<ServerProcess, Failure> {
    server.kill()?;
    Ok(launch.start()?)
}

/// Shows progress for a while.
fn watch(bar: &ProgressBar, chatting: &Chatting, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        let FleetProgress { acked, seen, connected, .. } = chatting.progress();
        bar.set_message(format!("{acked} acknowledged, {seen} delivered, {connected} of 4 devices connected"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Prints a line above the bar, also where there is no terminal to draw a bar on.
fn say(bar: &ProgressBar, text: &str) {
    if bar.is_hidden() {
        println!("{text}");
    } else {
        bar.println(text);
    }
}

fn print_table(kills: u64, last: &FleetProgress, verdict: &Verdict) {
    let rows = [
        ("server killed (SIGKILL)", kills as usize, None),
        ("devices had to reconnect", last.reconnects, None),
        ("messages acknowledged", verdict.acked, None),
        ("messages delivered, all devices", verdict.seen, None),
        ("acknowledged and lost", verdict.lost, Some(0)),
        ("numbers missing (gaps)", verdict.gaps, Some(0)),
        ("messages repeated", verdict.repeats, Some(0)),
        ("messages out of order", verdict.disorder, Some(0)),
        ("devices that disagree", verdict.disagreements, Some(0)),
        ("other surprises", verdict.surprises.len(), Some(0)),
    ];
    println!("\n{:<34} {:>8}  expected", "", "found");
    for (name, found, expected) in rows {
        let expected = expected.map_or(String::new(), |expected: usize| expected.to_string());
        println!("{name:<34} {found:>8}  {expected}");
    }
    verdict.surprises.iter().for_each(|surprise| println!("  {surprise}"));
}
