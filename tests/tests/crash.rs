//! The server is killed with SIGKILL at random moments, under load from many connections; nothing that was acknowledged is
//! lost, repeated or out of order. And a server that acknowledges too early is caught.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tidings::{
    chatting::{Chatting, Member, Pace},
    data::random,
    front_door::SELF_SIGNED,
    process::{Launch, TempDir},
    tokens::Issuer,
    transcript::{DeviceLog, Verdict, check},
};
use tidings_client::blocking::Server;
use tidings_tests::{
    binary,
    serving::{Way, now},
};

const SETTINGS: &str = "log.segment_bytes = 4194304\n[retention]\nmax_bytes = 1073741824\n[limits]\nuser_bytes = 1000000000000\n\
     [tls]\nself_signed = true\n";
const PACE: Pace = Pace { depth: 16, rest: Duration::from_millis(1), patience: Duration::from_secs(60) };

fn launch(dir: &TempDir, binary: PathBuf, cores: &str) -> Launch {
    let config = dir.path().join("test.toml");
    settings(&config, "dsync");
    let (data, listen) = (dir.path().join("data"), SocketAddr::from(([127, 0, 0, 1], 0)));
    Launch { binary, data, listen, cores: cores.into(), config: Some(config), canary: None }
}

/// Settings with one way in which writes become durable.
fn settings(config: &Path, sync: &str) {
    std::fs::write(config, format!("log.sync = \"{sync}\"\n{SETTINGS}")).unwrap();
}

/// Where the server is, in each of some ways; all of them trust its certificate.
fn servers(launch: &Launch, addr: SocketAddr, ways: &[Way]) -> Vec<Server> {
    let trusted = std::fs::read(launch.data.join(SELF_SIGNED)).unwrap();
    ways.iter().map(|way| way.to(addr, || trusted.clone())).collect()
}

/// `users` users with two devices each; each writes to the next two. Devices take the ways to the server by turns.
fn members(issuer: &Issuer, users: usize, servers: &[Server]) -> Vec<Member> {
    let name = |at: usize| format!("user{}", at % users);
    let member = |at: usize, device: u32| Member {
        user: name(at),
        device,
        token: issuer.issue(&name(at), None, now(), 3600).unwrap(),
        server: servers[(2 * at + device as usize) % servers.len()].clone(),
        peers: vec![name(at + 1), name(at + 2)],
        writers: vec![name(at + users - 1), name(at + users - 2)],
    };
    (0..users).flat_map(|at| [member(at, 1), member(at, 2)]).collect()
}

/// Kills the server `kills` times under load from two devices of each of `users` users, which come in `ways`, then lets everybody catch up.
fn run(mut launch: Launch, (users, ways): (usize, &[Way]), kills: u32, pace: Pace) -> Verdict {
    let mut server = launch.start().unwrap();
    launch.listen = server.addr();
    let servers = servers(&launch, server.addr(), ways);
    let chatting = Chatting::start(&members(&Issuer::load(&launch.data).unwrap(), users, &servers), pace);
    for kill in 1..=kills {
        let before = chatting.progress().acked;
        // At a random moment, but not before something happened.
        std::thread::sleep(Duration::from_millis(30 + u64::from_ne_bytes(random().unwrap()) % 220));
        let until = Instant::now() + pace.patience;
        while chatting.progress().acked == before && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        server.kill().unwrap();
        // What one way wrote the other goes on with.
        settings(launch.config.as_ref().unwrap(), if kill % 2 == 0 { "dsync" } else { "fdatasync" });
        if kill % 3 == 0 {
            // And once more while it recovers, erases a torn tail or writes its first tip.
            launch.start_and_kill(Duration::from_millis(u64::from_ne_bytes(random().unwrap()) % 40)).unwrap();
        }
        server = launch.start().unwrap_or_else(|error| panic!("start after kill {kill}: {error}"));
    }
    let verdict = check(&chatting.finish());
    let (status, said) = server.stop().unwrap();
    assert!(status.success(), "{said}");
    verdict
}

/// 30 kills, 24 connections, two reactors.
#[test]
fn thirty_kills_lose_repeat_and_reorder_nothing() {
    let dir = TempDir::new("crash").unwrap();
    let verdict = run(launch(&dir, binary::tidings(), "0,1"), (12, &[Way::Raw]), 30, PACE);
    println!("{verdict:?}");
    assert!(verdict.holds(), "{verdict:?}");
    assert!(verdict.acked > 1000, "there was load");
}

/// The same where devices come in TLS, in WebSockets, in both, and as they are, each to write to the others.
#[test]
fn kills_lose_repeat_and_reorder_nothing_whichever_way_devices_come() {
    let dir = TempDir::new("crash-ways").unwrap();
    let verdict = run(launch(&dir, binary::tidings(), "0,1"), (8, &Way::ALL), 12, PACE);
    println!("{verdict:?}");
    assert!(verdict.holds(), "{verdict:?}");
    assert!(verdict.acked > 400, "there was load");
}

/// The crash test would notice: over a disk that forgets what was not synced, a server that acknowledges a batch when it is
/// handed to the disk, not when it is durable, breaks its promises; the same disk under an honest server does not.
#[test]
fn a_server_that_acknowledges_too_early_is_caught() {
    let Some(binary) = binary::canary() else {
        println!("skipped: TIDINGS_CANARY_BIN names no binary with the feature `canary`; tools/check builds one");
        return;
    };
    let verdict = |canary: &str| {
        let dir = TempDir::new("canary").unwrap();
        let mut launch = launch(&dir, binary.clone(), "0,1");
        launch.canary = Some(canary.into());
        run(launch, (4, &[Way::Raw]), 6, Pace { patience: Duration::from_secs(8), ..PACE })
    };
    let honest = verdict("cache_ms=5");
    assert!(honest.holds(), "{honest:?}");
    let early = std::panic::catch_unwind(|| verdict("cache_ms=5,early_ack"));
    match early {
        Ok(verdict) => {
            println!("caught: {verdict:?}");
            let broken = verdict.lost + verdict.gaps + verdict.repeats + verdict.disorder + verdict.disagreements;
            assert!(broken > 0, "acknowledging early went unnoticed");
        }
        // Where the kill hits a segment's end, it has noted in `control.json` what was not durable, and the next start says so.
        Err(why) => {
            let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
            assert!(why.contains("was durable"), "the early server did not start again, which shows nothing: {why}");
            println!("caught at the start: {why}");
        }
    }
}

/// Starting with 2, then 1, then 2 reactors on the same data loses nothing.
#[test]
fn two_then_one_then_two_reactors() {
    let dir = TempDir::new("cores").unwrap();
    let mut acked: Vec<DeviceLog> = Vec::new();
    let mut seen = Vec::new();
    for cores in ["0,1", "0", "0,1"] {
        let launch = launch(&dir, binary::tidings(), cores);
        let server = launch.start().unwrap();
        let issuer = Issuer::load(&dir.path().join("data")).unwrap();
        let mut members = members(&issuer, 6, &servers(&launch, server.addr(), &Way::ALL));
        // A text names its device and is unique: later phases write on other devices.
        members.iter_mut().for_each(|member| member.device += 10 * acked.len() as u32);
        let chatting = Chatting::start(&members, PACE);
        let goal = 500;
        while chatting.progress().acked < goal {
            std::thread::sleep(Duration::from_millis(5));
        }
        seen = chatting.finish();
        let (status, said) = server.stop().unwrap();
        assert!(status.success(), "{said}");
        for log in &seen {
            acked.push(DeviceLog { acked: log.acked.clone(), ..DeviceLog::default() });
        }
    }
    // The devices of the last phase knew nothing, and so saw everything; what was acknowledged in any phase is there.
    let verdict = check(&seen.into_iter().chain(acked).collect::<Vec<_>>());
    assert!(verdict.holds(), "{verdict:?}");
}
