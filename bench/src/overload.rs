//! `tidings-bench load overload`: more messages than the server can take, with people who type and watch each other on top. What is shed, in which order, and what is left of what the
//! server can do; and how soon it is calm afterwards.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::{
    Failure,
    arrivals::Arrivals,
    cpu,
    crowd::{self, Crowd},
    idlers::Member,
    load::Pairs,
    measure::Percentiles,
    offer::{Load, Offer, Outcome, Phases},
    report::Machine,
    run::progress,
    target::{Place, Target},
    values,
};

/// Arguments of `load overload`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Pairs that write.
    #[arg(long, default_value_t = 500, value_parser = values::count)]
    pairs: usize,
    /// People who type and watch each other.
    #[arg(long, default_value_t = 10_000, value_parser = values::count)]
    watchers: usize,
    /// What they do in a second, all together: one in eight is to come or to go, the rest to type.
    #[arg(long, default_value_t = 4_000.0, value_parser = values::positive)]
    acts: f64,
    /// Messages in flight a pair, while it is measured what the server can do.
    #[arg(long, default_value_t = 8, value_parser = values::depth)]
    depth: u64,
    /// Threads that take their share of the server's core, all the time.
    #[arg(long, default_value_t = 3, value_name = "N")]
    hogs: usize,
    /// How many times what the server can do is offered.
    #[arg(long, default_value_t = 2.0, value_parser = values::positive)]
    times: f64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 1024, value_parser = values::count)]
    payload: usize,
    /// Seconds of each part: what it can do, more than that, and calm.
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
    pairs: usize,
    watchers: usize,
    hogs: usize,
    acts_per_s: f64,
    payload: usize,
    /// What the server can do.
    capacity: Part,
    /// What it does when more is offered, after what was offered before.
    overload: Part,
    /// A tenth of it.
    calm: Part,
    /// Answers a second in the overload over those of what it can do.
    goodput: f64,
    /// Seconds from the end of the overload until typing is heard as before it.
    calm_again_s: Option<f64>,
    /// What the server shed, in its order.
    shed: Vec<(&'static str, u64)>,
    crowd: Vec<crowd::Second>,
}

/// A part of the run.
#[derive(Debug, Serialize)]
struct Part {
    offered_per_s: Option<f64>,
    rate_per_s: f64,
    cpu_us_per_msg: f64,
    sent_us: Percentiles,
    refused: u64,
    unfinished: u64,
    wrong: u64,
    /// The crowd's seconds in it.
    seconds: (usize, usize),
}

/// Counters of what is shed, in its order.
const SHED: [&str; 4] = ["shed_typing", "shed_presence", "shed_receipts", "OVERLOADED"];
/// How long the crowd is alone first.
const CALM_FIRST: Duration = Duration::from_secs(3);
/// Typing is heard as before if it is heard so often.
const AS_BEFORE: f64 = 0.9;

/// Runs it.
///
/// # Errors
/// If somebody is not let in, or a message failed a check.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    cpu::pin(arguments.place.load_core);
    let bar = progress(4)?;
    let (dir, _temporary) = arguments.place.make_dir()?;
    let target = Target::server_that_sheds(&arguments.place, &dir)?;
    bar.set_message("the crowd comes");
    let member = |at| Ok::<_, Failure>(Member { device: 1, token: target.token(&crowd::name(at))? });
    let members = (0..arguments.watchers & !1).map(member).collect::<Result<Vec<_>, _>>()?;
    let _hogs = Hogs::start(arguments.hogs, arguments.place.first_core().parse()?);
    let (stop, core) = (AtomicBool::new(false), arguments.place.load_core);
    let (said, hear) = mpsc::channel();
    let phases = Phases { warm_up: Duration::from_secs(1), steady: Duration::from_secs_f64(arguments.seconds) };
    let (parts, seconds) = std::thread::scope(|scope| {
        let (addr, acts, members, stop) = (target.addr, arguments.acts, &members, &stop);
        // A ring stays on its thread.
        let lives = scope.spawn(move || {
            cpu::pin(core);
            let crowd = Crowd::come(addr, members).map_err(|error| error.to_string())?;
            let begin = Instant::now();
            let _gone = said.send(begin);
            crowd.live(acts, begin, stop).map_err(|error| error.to_string())
        });
        let parts = || {
            // An error of the crowd's is told where it is joined.
            let begin = hear.recv()?;
            std::thread::sleep(CALM_FIRST);
            let mut load = Pairs::connect(target.addr, arguments.pairs, arguments.payload, &|user| target.token(user))?;
            let mut part = |name: &'static str, offer: Offer| {
                bar.inc(1);
                bar.set_message(name);
                let (from, before) = (begin.elapsed().as_secs() as usize, target.usage()?);
                let outcome = load.run(offer, phases, &mut |_| ())?;
                let (upto, after) = (begin.elapsed().as_secs() as usize, target.usage()?);
                Ok::<_, Failure>(Part::of(offer, &outcome, (from, upto), after.cpu_us - before.cpu_us))
            };
            let open = |rate| Offer::Open { rate, arrivals: Arrivals::Poisson };
            let capacity = part("what it can do", Offer::Closed { depth: arguments.depth })?;
            let can = capacity.rate_per_s;
            let overload = part("more than that", open(arguments.times * can))?;
            let calm = part("calm", open(can / 10.0))?;
            Ok::<_, Failure>([capacity, overload, calm])
        };
        let parts = parts();
        drop(hear);
        stop.store(true, Ordering::Relaxed);
        let seconds = lives.join().map_err(|_| "the crowd's thread panicked")??;
        Ok::<_, Failure>((parts?, seconds))
    })?;
    let counted = target.stop()?;
    bar.finish_and_clear();
    let [capacity, overload, calm] = parts;
    let shed = SHED.map(|name| (name, counted["counters"].get(name).and_then(Value::as_u64).unwrap_or(0)));
    let found = Found {
        workload: "overload",
        machine: Machine::here(),
        pairs: arguments.pairs,
        watchers: members.len(),
        hogs: arguments.hogs,
        acts_per_s: arguments.acts,
        payload: arguments.payload,
        goodput: overload.rate_per_s / capacity.rate_per_s,
        calm_again_s: calm_again(&seconds, overload.seconds.1),
        shed: shed.to_vec(),
        capacity,
        overload,
        calm,
        crowd: seconds,
    };
    print(&found, arguments.json)
}

/// From this second on, how many it takes until typing is heard again as often as it is said.
fn calm_again(seconds: &[crowd::Second], from: usize) -> Option<f64> {
    let is_heard = |second: &crowd::Second| second.heard_typing as f64 >= AS_BEFORE * second.typed as f64;
    let whole = seconds.len().saturating_sub(1); // the last one is cut off
    (from..whole).find(|at| is_heard(&seconds[*at])).map(|at| (at - from) as f64)
}

/// Threads that take their share of the server's core, so that the load's core can offer more than the server can do.
struct Hogs {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hogs {
    fn start(count: usize, core: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let hog = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                cpu::pin(core);
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        Self { threads: (0..count).map(hog).collect(), stop }
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Part {
    fn of(offer: Offer, outcome: &Outcome, seconds: (usize, usize), cpu_us: u64) -> Self {
        let measured = &outcome.measured;
        let offered_per_s = match offer {
            Offer::Closed { .. } => None,
            Offer::Open { rate, .. } => Some(rate),
        };
        Self {
            offered_per_s,
            rate_per_s: measured.acked as f64 / outcome.seconds,
            cpu_us_per_msg: cpu_us as f64 / measured.acked.max(1) as f64,
            sent_us: Percentiles::from(&measured.sent_us),
            refused: measured.refused,
            unfinished: outcome.unfinished,
            wrong: measured.wrong,
            seconds,
        }
    }
}

fn print(found: &Found, json: bool) -> Result<(), Failure> {
    let parts = [("can do", &found.capacity), ("more", &found.overload), ("calm", &found.calm)];
    if json {
        println!("{}", serde_json::to_string_pretty(found)?);
    } else {
        println!(
            "{} pairs, {} people who type and watch each other, {} acts a second",
            found.pairs, found.watchers, found.acts_per_s
        );
        for (name, part) in parts {
            let offered = part.offered_per_s.map_or("closed".into(), |rate| format!("{rate:.0} offered"));
            println!(
                "{name:>8}: {:.0} messages a second answered ({offered}), {:.2} us of processor each; SENT p50 {:.1} ms, p99 {:.1} ms; {} refused",
                part.rate_per_s,
                part.cpu_us_per_msg,
                part.sent_us.p50 as f64 / 1e3,
                part.sent_us.p99 as f64 / 1e3,
                part.refused
            );
        }
        let shed: Vec<_> = found.shed.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let calm = found.calm_again_s.map_or("not again".into(), |seconds| format!("again after {seconds:.0} s"));
        println!("goodput {:.2}; shed: {}; typing is heard as before {calm}", found.goodput, shed.join(", "));
    }
    let wrong: u64 = parts.iter().map(|(_, part)| part.wrong).sum();
    if wrong > 0 || found.calm.unfinished > 0 {
        return Err(format!("{wrong} messages failed a check, {} were never answered", found.calm.unfinished).into());
    }
    Ok(())
}
