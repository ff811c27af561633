//! `tidings-bench load storm`: everybody but some is cut off at once and comes back; what do those feel who stayed?

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::Workload;
use crate::{
    Failure,
    clients::{Clients, members, pairs::Pairs},
    drive::{
        Load, Mark, Offer, Phases,
        beside::{Beside, beside},
        percentiles::Percentiles,
        timeline::Second,
    },
    progress::Progress,
    report::{Findings, all_is_right, html, ms},
    target::{Limits, Place, Target},
    values,
};

/// Arguments of `load storm`.
#[derive(Debug, Args)]
pub struct Storm {
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
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
    connections: usize,
    staying: usize,
    rate_per_s: f64,
    /// SENT of those who stay, in calm.
    calm_sent_us: Percentiles,
    /// The 99th percentile of the worst second of the storm, from the cut until all were back.
    storm_sent_p99_us: u64,
    /// How late the load itself was, with those who come back on its core: part of it.
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

/// How long everybody may take to be let in.
const HERE_WITHIN: Duration = Duration::from_secs(120);

impl Workload for Storm {
    const NAME: &'static str = "storm";
    type Found = Found;

    fn steps(&self) -> usize {
        3
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<Found, Failure> {
        let (dir, _temporary) = place.make_dir()?;
        bar.step("tidings");
        let target = Target::server(place, &dir, Limits::None)?;
        let (offer, phases) = (Offer::open(self.rate), Phases::after_a_second(self.seconds));
        // On the core of the load: the server has its own for itself. What those who stay feel has the others' work in it.
        let (back, (calm, mut storm)) = beside(
            place.load_core,
            |others| self.cut_and_come_back(&target, others),
            |here| {
                here.wait()?;
                bar.step("calm");
                let mut load = Pairs::connect(&target, self.pairs, self.payload)?;
                let calm = load.run(offer, phases, &mut |_| ())?;
                bar.step("storm");
                let storm = load.run(offer, phases, &mut |mark| {
                    if mark == Mark::Begin {
                        here.go();
                    }
                })?;
                Ok((calm, storm))
            },
        )?;
        target.stop()?;
        let calm_sent_us = Percentiles::from(&calm.measured.sent_us);
        let timeline = storm.measured.timeline.finish();
        if timeline.is_empty() {
            return Err("--seconds: a storm takes longer than that".into());
        }
        let lasted = timeline.len().min(back.as_secs_f64().ceil() as usize);
        let storm_sent_p99_us = timeline[..lasted].iter().map(|second| second.sent_p99_us).max().unwrap_or(0);
        Ok(Found {
            connections: self.connections,
            staying: 2 * self.pairs,
            rate_per_s: self.rate,
            calm_sent_us,
            storm_sent_p99_us,
            storm_late_us: Percentiles::from(&storm.late_us),
            ratio: storm_sent_p99_us as f64 / calm_sent_us.p99.max(1) as f64,
            back_s: back.as_secs_f64(),
            wrong: calm.measured.wrong + storm.measured.wrong,
            unfinished: calm.unfinished + storm.unfinished,
            timeline,
        })
    }
}

impl Storm {
    /// The others: they come, say so, are cut when it is said, come back, and stay until all was measured.
    fn cut_and_come_back(&self, target: &Target, others: &Beside<'_>) -> Result<Duration, Failure> {
        let members = members(target, self.connections, 1)?;
        let (everybody, member) = (0..self.connections, |at: usize| Ok(members[at].clone()));
        let mut clients = Clients::new(target.addr, self.connections)?;
        clients.let_in(everybody.clone(), HERE_WITHIN, member)?;
        others.is_ready();
        others.wait_to_go()?;
        let cut = Instant::now();
        clients.cut();
        clients.let_in(everybody, HERE_WITHIN, member)?;
        let back = cut.elapsed();
        others.wait_for_the_end();
        Ok(back)
    }
}

impl Findings for Found {
    fn sentences(&self) -> String {
        format!(
            "{} of {} connections were cut and were back after {:.1} s\n\
             SENT of those who stayed, at {} messages a second: p99 {:.1} ms in calm, {:.1} ms in the storm's worst second: {:.1} times\n\
             the load itself was late by up to {:.1} ms in the storm",
            self.connections,
            self.connections + self.staying,
            self.back_s,
            self.rate_per_s,
            ms(self.calm_sent_us.p99),
            ms(self.storm_sent_p99_us),
            self.ratio,
            ms(self.storm_late_us.max),
        )
    }

    fn check(&self) -> Result<(), Failure> {
        all_is_right(self.wrong, self.unfinished)
    }

    fn body(&self) -> String {
        html::paragraphs(&self.sentences()) + "<h2>The storm, second by second</h2>" + &html::seconds(&self.timeline)
    }
}
