//! `tidings-bench load doors`: the four ways to the server side by side. What a message costs, what an idle connection keeps, what a handshake costs (beside `openssl s_server`),
//! and what those feel who chat while thousands come in TLS.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;
use tidings::front_door::{SELF_SIGNED, SELF_SIGNED_KEY};

use crate::{
    Failure,
    arrivals::Arrivals,
    cpu,
    idle::members,
    idlers::Idlers,
    load::Pairs,
    measure::{Percentiles, measure},
    offer::{Load, Mark, Offer, Phases},
    report::Machine,
    run::{phases, progress},
    target::{Place, Target},
    values,
    ways::{Framing, Way},
};

/// Arguments of `load doors`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Pairs that write.
    #[arg(long, default_value_t = 100, value_parser = values::count)]
    pairs: usize,
    /// Messages a second, the same in each way.
    #[arg(long, default_value_t = 20_000.0, value_parser = values::positive)]
    rate: f64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 256, value_parser = values::count)]
    payload: usize,
    /// Rounds of the four ways, by turns.
    #[arg(long, default_value_t = 3, value_parser = values::count)]
    rounds: usize,
    /// Messages in flight a pair, in the closed loop.
    #[arg(long, default_value_t = 8, value_parser = values::depth)]
    depth: u64,
    /// Seconds of each.
    #[arg(long, default_value_t = 5.0, value_parser = values::positive)]
    seconds: f64,
    /// Idle connections of each way.
    #[arg(long, default_value_t = 9_000, value_parser = values::count)]
    idle: usize,
    /// Handshakes that are counted, one after the other.
    #[arg(long, default_value_t = 2_000, value_parser = values::count)]
    handshakes: usize,
    /// Connections that come in TLS at once.
    #[arg(long, default_value_t = 5_000, value_parser = values::count)]
    storm: usize,
    /// Messages a second of those who chat meanwhile.
    #[arg(long, default_value_t = 2_000.0, value_parser = values::positive)]
    storm_rate: f64,
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
    pairs: usize,
    rate_per_s: f64,
    payload: usize,
    ways: Vec<OfWay>,
    /// A whole handshake of TLS 1.3, with the connection around it.
    handshake: Handshake,
    openssl: Handshake,
    /// With frames as they are, and in TLS.
    storms: Vec<Storm>,
}

/// One way.
#[derive(Debug, Serialize)]
struct OfWay {
    name: &'static str,
    /// Processor time of the server a message at that rate, round by round.
    cpu_us_per_msg: Vec<f64>,
    /// The median of its rounds' over that of frames as they are in the same round.
    ratio: f64,
    /// The same as fast as it goes, in a closed loop.
    closed_cpu_us_per_msg: Vec<f64>,
    closed_ratio: f64,
    closed_per_s: Vec<f64>,
    sent_p50_us: Vec<u64>,
    sent_p99_us: Vec<u64>,
    bytes_per_idle_connection: f64,
    wrong: u64,
}

/// Connects, handshakes and ends, one after the other.
#[derive(Debug, Serialize)]
struct Handshake {
    count: usize,
    cpu_us_each: f64,
    /// What a core could do of them.
    per_s_and_core: f64,
}

/// Those who chat while many come.
#[derive(Debug, Serialize)]
struct Storm {
    way: &'static str,
    newcomers: usize,
    rate_per_s: f64,
    all_in_s: f64,
    calm_sent_us: Percentiles,
    /// While they came.
    storm_sent_us: Percentiles,
    /// How late the load itself was meanwhile: part of it, and not the server's.
    storm_late_us: Percentiles,
    ratio_p99: f64,
    wrong: u64,
    unfinished: u64,
}

const NAMES: [&str; 4] = ["raw", "websocket", "tls", "websocket in tls"];

/// The ways to a server that made its certificate in its data directory.
fn ways(data: &Path) -> Result<[Way; 4], Failure> {
    let certificate = fs::read(data.join(SELF_SIGNED))?;
    let (raw, socket) = (Framing::Raw, Framing::WebSocket);
    Ok([Way::plain(raw), Way::plain(socket), Way::sealed(raw, &certificate)?, Way::sealed(socket, &certificate)?])
}

fn serve(place: &Place) -> Result<(Target, std::path::PathBuf, tidings::process::TempDir), Failure> {
    let (dir, temporary) = place.make_dir()?;
    let target = Target::server_with_tls(place, &dir)?;
    let data = target.data.clone().ok_or("a server has a data directory")?;
    Ok((target, data, temporary))
}

/// Runs it.
///
/// # Errors
/// If somebody is not let in, a message failed a check, or there is no `openssl`.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    cpu::pin(arguments.place.load_core);
    let bar = progress(4 * arguments.rounds as u64 + 8)?;
    let mut found: Vec<_> = NAMES.map(OfWay::new).into();
    let offer = Offer::Open { rate: arguments.rate, arrivals: Arrivals::Poisson };
    for _ in 0..arguments.rounds {
        for at in 0..NAMES.len() {
            bar.set_message(NAMES[at]);
            let (target, data, _temporary) = serve(&arguments.place)?;
            let way = &ways(&data)?[at];
            let token = |user: &str| target.token(user);
            let mut load = Pairs::connect_by(way, target.addr, arguments.pairs, arguments.payload, &token)?;
            let run = measure(&mut load, &|| target.usage(), offer, phases(arguments.seconds))?;
            let depth = Offer::Closed { depth: arguments.depth };
            let closed = measure(&mut load, &|| target.usage(), depth, phases(arguments.seconds))?;
            drop(load);
            target.stop()?;
            found[at].cpu_us_per_msg.push(run.cpu_us_per_msg);
            found[at].sent_p50_us.push(run.sent_us.p50);
            found[at].sent_p99_us.push(run.sent_us.p99);
            found[at].closed_cpu_us_per_msg.push(closed.cpu_us_per_msg);
            found[at].closed_per_s.push(closed.rate_per_s);
            found[at].wrong += run.wrong + run.unfinished + closed.wrong + closed.unfinished;
            bar.inc(1);
        }
    }
    let (raw, closed_raw) = (found[0].cpu_us_per_msg.clone(), found[0].closed_cpu_us_per_msg.clone());
    let ratio = |these: &[f64], raw: &[f64]| median(these.iter().zip(raw).map(|(this, raw)| this / raw).collect());
    for (at, way) in found.iter_mut().enumerate() {
        way.ratio = ratio(&way.cpu_us_per_msg, &raw);
        way.closed_ratio = ratio(&way.closed_cpu_us_per_msg, &closed_raw);
        bar.set_message("idle");
        way.bytes_per_idle_connection = idle(arguments, at)?;
        bar.inc(1);
    }
    bar.set_message("handshakes");
    let (target, data, _temporary) = serve(&arguments.place)?;
    let handshake = handshakes(arguments.handshakes, &ways(&data)?[2], target.addr, target.pid)?;
    bar.inc(1);
    let openssl = {
        let openssl = OpenSsl::start(&data, arguments.place.first_core())?;
        handshakes(arguments.handshakes, &ways(&data)?[2], openssl.addr, openssl.child.id())?
    };
    bar.inc(1);
    target.stop()?;
    bar.set_message("storm");
    let mut storms = Vec::new();
    for at in [0, 2] {
        let (target, data, _temporary) = serve(&arguments.place)?;
        storms.push(storm(arguments, &target, NAMES[at], &ways(&data)?[at])?);
        target.stop()?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let Arguments { pairs, rate, payload, .. } = *arguments;
    let machine = Machine::here();
    let found =
        Found { workload: "doors", machine, pairs, rate_per_s: rate, payload, ways: found, handshake, openssl, storms };
    print(&found, arguments.json)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl OfWay {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            cpu_us_per_msg: Vec::new(),
            ratio: 1.0,
            closed_cpu_us_per_msg: Vec::new(),
            closed_ratio: 1.0,
            closed_per_s: Vec::new(),
            sent_p50_us: Vec::new(),
            sent_p99_us: Vec::new(),
            bytes_per_idle_connection: 0.0,
            wrong: 0,
        }
    }
}

/// How long the server is left alone before its memory is looked at.
const CALM: Duration = Duration::from_secs(2);

/// Memory of the server that each connection takes which only is there: what the last two thirds of them add.
fn idle(arguments: &Arguments, at: usize) -> Result<f64, Failure> {
    let (target, data, _temporary) = serve(&arguments.place)?;
    let way = ways(&data)?[at].clone();
    let mut all = members(&target, arguments.idle, 8)?;
    let rest = all.split_off(all.len() / 3);
    let came = rest.len() as f64;
    let mut first = Idlers::by(way.clone(), target.addr, all)?;
    first.come(Duration::from_secs(60))?;
    std::thread::sleep(CALM);
    let before = cpu::anonymous(target.pid)?;
    let mut rest = Idlers::by(way, target.addr, rest)?;
    rest.come(Duration::from_secs(60))?;
    std::thread::sleep(CALM);
    let after = cpu::anonymous(target.pid)?;
    drop((first, rest));
    target.stop()?;
    Ok(after.saturating_sub(before) as f64 / came)
}

/// Whole handshakes, one after the other; what they cost the process at the other end.
fn handshakes(count: usize, way: &Way, addr: SocketAddr, pid: u32) -> Result<Handshake, Failure> {
    let one = || {
        let mut tcp = TcpStream::connect(addr)?;
        tcp.set_nodelay(true)?;
        let mut client = way.client()?;
        while client.is_handshaking() {
            client.complete_io(&mut tcp)?;
        }
        client.send_close_notify();
        while client.wants_write() {
            client.write_tls(&mut tcp)?;
        }
        tcp.flush()?;
        // Until the other end is done, too.
        let _reset = tcp.read_to_end(&mut Vec::new());
        Ok::<_, Failure>(())
    };
    (0..count / 10).try_for_each(|_| one())?;
    let before = cpu::usage(pid)?.cpu_us;
    (0..count).try_for_each(|_| one())?;
    let cpu_us_each = (cpu::usage(pid)?.cpu_us - before) as f64 / count as f64;
    Ok(Handshake { count, cpu_us_each, per_s_and_core: 1e6 / cpu_us_each })
}

/// `openssl s_server` with the same certificate, on the server's core.
struct OpenSsl {
    child: Child,
    addr: SocketAddr,
}

impl OpenSsl {
    fn start(data: &Path, core: &str) -> Result<Self, Failure> {
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new("taskset");
        command.args(["-c", core, "openssl", "s_server", "-quiet", "-tls1_3", "-num_tickets", "1", "-accept"]);
        command.arg(addr.port().to_string());
        command.arg("-cert").arg(data.join(SELF_SIGNED)).arg("-key").arg(data.join(SELF_SIGNED_KEY));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let until = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(addr).is_err() {
            if Instant::now() > until {
                return Err("openssl s_server does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { child, addr })
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn storm(arguments: &Arguments, target: &Target, name: &'static str, way: &Way) -> Result<Storm, Failure> {
    let newcomers = members(target, arguments.storm, 1)?;
    let (addr, core) = (target.addr, arguments.place.load_core);
    let offer = Offer::Open { rate: arguments.storm_rate, arrivals: Arrivals::Poisson };
    let mut load = Pairs::connect(addr, arguments.pairs, arguments.payload, &|user| target.token(user))?;
    let steady = Duration::from_secs_f64(arguments.seconds);
    let calm = load.run(offer, Phases { warm_up: Duration::from_secs(1), steady }, &mut |_| ())?;
    let (go, wait) = mpsc::channel::<()>();
    let (stormy, took) = std::thread::scope(|scope| {
        let way = way.clone();
        let idlers = scope.spawn(move || {
            cpu::pin(core);
            // Their half of the handshakes is work of the load's core: it must not delay those who chat.
            rustix::process::setpriority_process(None, 19).map_err(|error| error.to_string())?;
            let come = || {
                let mut idlers = Idlers::by(way, addr, newcomers)?;
                wait.recv()?;
                let took = idlers.come(Duration::from_secs(60))?;
                let _all_was_measured = wait.recv();
                Ok::<_, Failure>(took)
            };
            come().map_err(|error| error.to_string())
        });
        let stormy = load.run(offer, Phases { warm_up: Duration::from_millis(100), steady }, &mut |mark| {
            if mark == Mark::Begin {
                let _gone = go.send(()); // an error of the newcomers' is told where they are joined
            }
        });
        drop(go);
        let took = idlers.join().map_err(|_| "the newcomers' thread panicked")??;
        Ok::<_, Failure>((stormy?, took))
    })?;
    let calm_sent_us = Percentiles::from(&calm.measured.sent_us);
    let wrong = calm.measured.wrong + stormy.measured.wrong;
    let storm_sent_us = Percentiles::from(&stormy.measured.sent_us);
    Ok(Storm {
        way: name,
        newcomers: arguments.storm,
        rate_per_s: arguments.storm_rate,
        all_in_s: took.as_secs_f64(),
        calm_sent_us,
        storm_sent_us,
        storm_late_us: Percentiles::from(&stormy.measured.late_us),
        ratio_p99: storm_sent_us.p99 as f64 / calm_sent_us.p99.max(1) as f64,
        wrong,
        unfinished: calm.unfinished + stormy.unfinished,
    })
}

fn print(found: &Found, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(found)?);
    } else {
        println!("{} pairs, {:.0} messages of {} bytes a second", found.pairs, found.rate_per_s, found.payload);
        for way in &found.ways {
            println!(
                "{:>16}: as fast as it goes {:.0} a second, {:.2} us of processor a message, {:.2} of raw; at that rate {:.2} us, {:.2} of raw; SENT p50 {:.2} ms, p99 {:.2} ms; {:.0} bytes an idle connection",
                way.name,
                median(way.closed_per_s.clone()),
                median(way.closed_cpu_us_per_msg.clone()),
                way.closed_ratio,
                median(way.cpu_us_per_msg.clone()),
                way.ratio,
                median(way.sent_p50_us.iter().map(|us| *us as f64 / 1e3).collect()),
                median(way.sent_p99_us.iter().map(|us| *us as f64 / 1e3).collect()),
                way.bytes_per_idle_connection
            );
        }
        println!(
            "a handshake: {:.0} us, {:.0} a second and core; openssl s_server: {:.0} us, {:.0}",
            found.handshake.cpu_us_each,
            found.handshake.per_s_and_core,
            found.openssl.cpu_us_each,
            found.openssl.per_s_and_core
        );
        for Storm { way, newcomers, all_in_s, calm_sent_us, storm_sent_us, ratio_p99, .. } in &found.storms {
            println!(
                "{newcomers} came ({way}) within {all_in_s:.1} s: SENT p99 {:.1} ms before, {:.1} ms while they came: {ratio_p99:.1} times",
                calm_sent_us.p99 as f64 / 1e3,
                storm_sent_us.p99 as f64 / 1e3
            );
        }
    }
    let wrong: u64 = found.ways.iter().map(|way| way.wrong).sum::<u64>()
        + found.storms.iter().map(|storm| storm.wrong + storm.unfinished).sum::<u64>();
    if wrong > 0 {
        return Err(format!("{wrong} messages failed a check or were never answered").into());
    }
    Ok(())
}
