//! `tidings-bench load doors`: the four ways to the server side by side. What a message costs, what an idle connection keeps, what a handshake costs (beside `openssl s_server`),
//! and what those feel who chat while thousands come in TLS.

mod handshakes;

use std::{fs, path::PathBuf, time::Duration};

use clap::Args;
use serde::Serialize;
use tidings::{front_door::SELF_SIGNED, process::TempDir};

use self::handshakes::{Handshake, OpenSsl, handshakes};
use super::{Workload, idle::There};
use crate::{
    Failure,
    clients::{
        Clients, members,
        pairs::Pairs,
        way::{Framing, Way},
    },
    cpu,
    drive::{Load, Mark, Offer, Phases, beside::beside, measure::measure, percentiles::Percentiles},
    progress::Progress,
    report::{Findings, all_is_right, median, ms},
    target::{Limits, Place, Target},
    values,
};

/// Arguments of `load doors`.
#[derive(Debug, Args)]
pub struct Doors {
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
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
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
#[derive(Debug, Default, Serialize)]
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
const RAW: usize = 0;
const TLS: usize = 2;
/// Devices of each user among idle connections.
const DEVICES: usize = 8;
/// How long all newcomers may take.
const HERE_WITHIN: Duration = Duration::from_secs(60);

/// A server that made its certificate in its data directory.
struct Serving {
    target: Target,
    data: PathBuf,
    _temporary: TempDir,
}

impl Serving {
    fn start(place: &Place) -> Result<Self, Failure> {
        let (dir, temporary) = place.make_dir()?;
        let target = Target::server(place, &dir, Limits::NoneInTls)?;
        let data = target.data.clone().ok_or("a server has a data directory")?;
        Ok(Self { target, data, _temporary: temporary })
    }

    /// The way to it of a name's place.
    fn way(&self, at: usize) -> Result<Way, Failure> {
        let framing = if at.is_multiple_of(2) { Framing::Raw } else { Framing::WebSocket };
        match at < TLS {
            true => Ok(Way::plain(framing)),
            false => Way::sealed(framing, &fs::read(self.data.join(SELF_SIGNED))?),
        }
    }
}

impl Workload for Doors {
    const NAME: &'static str = "doors";
    type Found = Found;

    fn steps(&self) -> usize {
        4 * self.rounds + 8
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<Found, Failure> {
        let mut ways: Vec<_> = NAMES.map(|name| OfWay { name, ..OfWay::default() }).into();
        for _ in 0..self.rounds {
            for (at, way) in ways.iter_mut().enumerate() {
                bar.step(NAMES[at]);
                self.round(place, at, way)?;
            }
        }
        let (raw, closed_raw) = (ways[RAW].cpu_us_per_msg.clone(), ways[RAW].closed_cpu_us_per_msg.clone());
        let ratio = |these: &[f64], raw: &[f64]| median(these.iter().zip(raw).map(|(this, raw)| this / raw));
        for (at, way) in ways.iter_mut().enumerate() {
            way.ratio = ratio(&way.cpu_us_per_msg, &raw);
            way.closed_ratio = ratio(&way.closed_cpu_us_per_msg, &closed_raw);
            bar.step("idle");
            let serving = Serving::start(place)?;
            let there = There::come(&serving.way(at)?, &serving.target, self.idle, DEVICES)?;
            way.bytes_per_idle_connection = there.bytes_each;
            drop(there);
            serving.target.stop()?;
        }
        bar.step("handshakes");
        let serving = Serving::start(place)?;
        let way = serving.way(TLS)?;
        let handshake = handshakes(self.handshakes, &way, serving.target.addr, serving.target.pid)?;
        bar.step("handshakes of openssl");
        let openssl = OpenSsl::start(&serving.data, place.first_core())?;
        let (addr, pid) = openssl.whereabouts();
        let theirs = handshakes(self.handshakes, &way, addr, pid)?;
        drop(openssl);
        serving.target.stop()?;
        let mut storms = Vec::new();
        for at in [RAW, TLS] {
            bar.step("storm");
            storms.push(self.storm(place, at)?);
        }
        let Self { pairs, rate: rate_per_s, payload, .. } = *self;
        Ok(Found { pairs, rate_per_s, payload, ways, handshake, openssl: theirs, storms })
    }
}

impl Doors {
    /// A rate, and as fast as it goes, in one way.
    fn round(&self, place: &Place, at: usize, found: &mut OfWay) -> Result<(), Failure> {
        let serving = Serving::start(place)?;
        let usage = || serving.target.usage();
        let mut load = Pairs::connect_by(&serving.way(at)?, &serving.target, self.pairs, self.payload)?;
        let phases = Phases::within(self.seconds);
        let run = measure(&mut load, &usage, Offer::open(self.rate), phases)?;
        let closed = measure(&mut load, &usage, Offer::Closed { depth: self.depth }, phases)?;
        drop(load);
        serving.target.stop()?;
        found.cpu_us_per_msg.push(run.cpu_us_per_msg);
        found.sent_p50_us.push(run.sent_us.p50);
        found.sent_p99_us.push(run.sent_us.p99);
        found.closed_cpu_us_per_msg.push(closed.cpu_us_per_msg);
        found.closed_per_s.push(closed.rate_per_s);
        found.wrong += run.wrong + run.unfinished + closed.wrong + closed.unfinished;
        Ok(())
    }

    /// People chat in frames as they are, without and with many who come in some way meanwhile.
    fn storm(&self, place: &Place, at: usize) -> Result<Storm, Failure> {
        let serving = Serving::start(place)?;
        let (target, way) = (&serving.target, serving.way(at)?);
        let newcomers = members(target, self.storm, 1)?;
        let offer = Offer::open(self.storm_rate);
        let mut load = Pairs::connect(target, self.pairs, self.payload)?;
        let calm = load.run(offer, Phases::after_a_second(self.seconds), &mut |_| ())?;
        let (warm_up, steady) = (Duration::from_millis(100), Duration::from_secs_f64(self.seconds));
        let (took, stormy) = beside(
            place.load_core,
            |others| {
                // Their half of the handshakes is work of the load's core: it must not delay those who chat.
                cpu::give_way();
                let mut clients = Clients::by(&way, target.addr, newcomers.len())?;
                others.wait_to_go()?;
                let took = clients.let_in(0..newcomers.len(), HERE_WITHIN, |at| Ok(newcomers[at].clone()))?;
                others.wait_for_the_end();
                Ok(took)
            },
            |here| {
                load.run(offer, Phases { warm_up, steady }, &mut |mark| {
                    if mark == Mark::Begin {
                        here.go();
                    }
                })
            },
        )?;
        drop(load);
        serving.target.stop()?;
        let (calm_sent_us, storm_sent_us) =
            (Percentiles::from(&calm.measured.sent_us), Percentiles::from(&stormy.measured.sent_us));
        Ok(Storm {
            way: NAMES[at],
            newcomers: self.storm,
            rate_per_s: self.storm_rate,
            all_in_s: took.as_secs_f64(),
            calm_sent_us,
            storm_sent_us,
            storm_late_us: Percentiles::from(&stormy.late_us),
            ratio_p99: storm_sent_us.p99 as f64 / calm_sent_us.p99.max(1) as f64,
            wrong: calm.measured.wrong + stormy.measured.wrong,
            unfinished: calm.unfinished + stormy.unfinished,
        })
    }
}

impl Findings for Found {
    fn sentences(&self) -> String {
        let mut out =
            format!("{} pairs, {:.0} messages of {} bytes a second\n", self.pairs, self.rate_per_s, self.payload);
        for way in &self.ways {
            let middle = |of: &[f64]| median(of.iter().copied());
            let middle_ms = |of: &[u64]| median(of.iter().map(|us| ms(*us)));
            out += &format!(
                "{:>16}: as fast as it goes {:.0} a second, {:.2} us of processor a message, {:.2} of raw; at that rate {:.2} us, {:.2} of raw; SENT p50 {:.2} ms, p99 {:.2} ms; {:.0} bytes an idle connection\n",
                way.name,
                middle(&way.closed_per_s),
                middle(&way.closed_cpu_us_per_msg),
                way.closed_ratio,
                middle(&way.cpu_us_per_msg),
                way.ratio,
                middle_ms(&way.sent_p50_us),
                middle_ms(&way.sent_p99_us),
                way.bytes_per_idle_connection
            );
        }
        out += &format!("a handshake: {}; openssl s_server: {}", self.handshake, self.openssl);
        for Storm { way, newcomers, all_in_s, calm_sent_us, storm_sent_us, ratio_p99, .. } in &self.storms {
            out += &format!(
                "\n{newcomers} came ({way}) within {all_in_s:.1} s: SENT p99 {:.1} ms before, {:.1} ms while they came: {ratio_p99:.1} times",
                ms(calm_sent_us.p99),
                ms(storm_sent_us.p99)
            );
        }
        out
    }

    fn check(&self) -> Result<(), Failure> {
        let wrong = |storm: &Storm| storm.wrong;
        let of_ways: u64 = self.ways.iter().map(|way| way.wrong).sum();
        let unfinished = self.storms.iter().map(|storm| storm.unfinished).sum();
        all_is_right(of_ways + self.storms.iter().map(wrong).sum::<u64>(), unfinished)
    }
}
