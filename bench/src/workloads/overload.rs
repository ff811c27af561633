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

use super::Workload;
use crate::{
    Failure,
    clients::{
        crowd::{self, Crowd},
        pairs::Pairs,
    },
    cpu,
    drive::{
        Offer, Phases,
        beside::beside,
        measure::{Run, measure},
    },
    progress::Progress,
    report::{Findings, all_is_right, html, plot::Scale},
    target::{Limits, Place, Target},
    values,
};

/// Arguments of `load overload`.
#[derive(Debug, Args)]
pub struct Overload {
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
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
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
    #[serde(flatten)]
    run: Run,
    /// The crowd's seconds in it.
    seconds: (usize, usize),
}

/// Counters of what is shed, in its order.
const SHED: [&str; 4] = ["shed_typing", "shed_presence", "shed_receipts", "OVERLOADED"];
/// How long the crowd is alone first.
const CALM_FIRST: Duration = Duration::from_secs(3);
/// Typing is heard as before if it is heard so often.
const AS_BEFORE: f64 = 0.9;

impl Workload for Overload {
    const NAME: &'static str = "overload";
    type Found = Found;

    fn steps(&self) -> usize {
        4
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<Found, Failure> {
        let (dir, _temporary) = place.make_dir()?;
        let target = Target::server(place, &dir, Limits::Shedding)?;
        let watchers = self.watchers & !1;
        bar.step("the crowd comes");
        let _hogs = Hogs::start(self.hogs, place.first_core().parse()?);
        let (said, hear) = mpsc::channel();
        let (seconds, [capacity, overload, calm]) = beside(
            place.load_core,
            |crowd| {
                let here = Crowd::come(&target, watchers)?;
                let begin = Instant::now();
                // Nobody hears it any more if the measuring thread has failed.
                let _gone = said.send(begin);
                here.live(self.acts, begin, crowd.over())
            },
            |_| {
                let begin = hear.recv()?;
                std::thread::sleep(CALM_FIRST);
                self.parts(&target, begin, bar)
            },
        )?;
        let counted = target.stop()?;
        let shed = SHED.map(|name| (name, counted["counters"].get(name).and_then(Value::as_u64).unwrap_or(0)));
        Ok(Found {
            pairs: self.pairs,
            watchers,
            hogs: self.hogs,
            acts_per_s: self.acts,
            payload: self.payload,
            goodput: overload.run.rate_per_s / capacity.run.rate_per_s,
            calm_again_s: calm_again(&seconds, overload.seconds.1),
            shed: shed.to_vec(),
            capacity,
            overload,
            calm,
            crowd: seconds,
        })
    }
}

impl Overload {
    /// What the server can do, more than that, and calm. Seconds are the crowd's, whose life began at `begin`.
    fn parts(&self, target: &Target, begin: Instant, bar: &Progress) -> Result<[Part; 3], Failure> {
        let mut load = Pairs::connect(target, self.pairs, self.payload)?;
        let mut part = |name: &'static str, offer: Offer| {
            bar.step(name);
            let from = begin.elapsed().as_secs() as usize;
            let run = measure(&mut load, &|| target.usage(), offer, Phases::after_a_second(self.seconds))?;
            let offered_per_s = if let Offer::Open { rate, .. } = offer { Some(rate) } else { None };
            Ok::<_, Failure>(Part { offered_per_s, run, seconds: (from, begin.elapsed().as_secs() as usize) })
        };
        let capacity = part("what it can do", Offer::Closed { depth: self.depth })?;
        let can = capacity.run.rate_per_s;
        let overload = part("more than that", Offer::open(self.times * can))?;
        let calm = part("calm", Offer::open(can / 10.0))?;
        Ok([capacity, overload, calm])
    }
}

impl Found {
    fn parts(&self) -> [(&'static str, &Part); 3] {
        [("can do", &self.capacity), ("more", &self.overload), ("calm", &self.calm)]
    }
}

impl Findings for Found {
    fn sentences(&self) -> String {
        let mut out = format!(
            "{} pairs, {} people who type and watch each other, {} acts a second\n",
            self.pairs, self.watchers, self.acts_per_s
        );
        for (name, Part { offered_per_s, run, .. }) in self.parts() {
            let offered = offered_per_s.map_or("closed".into(), |rate| format!("{rate:.0} offered"));
            out += &format!(
                "{name:>8}: {:.0} messages a second answered ({offered}), {:.2} us of processor each; SENT {}; {} refused\n",
                run.rate_per_s, run.cpu_us_per_msg, run.sent_us, run.refused
            );
        }
        let shed: Vec<_> = self.shed.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let calm = self.calm_again_s.map_or("not again".into(), |seconds| format!("again after {seconds:.0} s"));
        out + &format!("goodput {:.2}; shed: {}; typing is heard as before {calm}", self.goodput, shed.join(", "))
    }

    fn check(&self) -> Result<(), Failure> {
        all_is_right(self.parts().iter().map(|(_, part)| part.run.wrong).sum(), self.calm.run.unfinished)
    }

    fn body(&self) -> String {
        // The last one is cut off, which would look like a fall.
        let whole = &self.crowd[..self.crowd.len().saturating_sub(1)];
        let of = |pick: fn(&crowd::Second) -> u64| whole.iter().map(|second| pick(second) as f64).collect();
        let lines = [
            ("somebody typed", of(|second| second.typed)),
            ("and somebody heard it", of(|second| second.heard_typing)),
            ("somebody came or went", of(|second| second.moved)),
            ("somebody was told of it", of(|second| second.told_presence)),
        ];
        html::paragraphs(&self.sentences())
            + "<h2>The crowd, second by second</h2>"
            + &html::by_second("a second", Scale::Linear, &lines)
    }
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
