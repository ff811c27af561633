//! `tidings-bench floor`: what nothing on this machine can beat.

pub mod dsync;
pub mod relay;

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::{
    Failure,
    clients::pairs::Pairs,
    drive::{
        Offer, Phases,
        measure::{Run, measure},
        percentiles::Percentiles,
    },
    progress::Progress,
    report::{Findings, all_is_right, ms},
    target::{Place, Rooms, Target},
    values,
    workloads::Workload,
};

/// Arguments of `floor`.
#[derive(Debug, Args)]
pub struct Floor {
    /// Bytes of a payload.
    #[arg(long, default_value_t = 1024, value_parser = values::count)]
    payload: usize,
    /// Messages in flight a pair.
    #[arg(long, default_value_t = 8, value_parser = values::depth)]
    depth: u64,
    /// Seconds in all.
    #[arg(long, default_value_t = 20.0, value_parser = values::positive)]
    seconds: f64,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
    payload: usize,
    depth: u64,
    relay: Vec<Relayed>,
    disk: Vec<Written>,
}

/// The null relay with so many pairs.
#[derive(Debug, Serialize)]
struct Relayed {
    pairs: usize,
    run: Run,
}

/// Durable writes (O_DSYNC) to blocks written before, one in flight.
#[derive(Debug, Serialize)]
struct Written {
    bytes: usize,
    /// Writes a second that were due; 0: one after the other.
    offered_per_s: f64,
    rate_per_s: f64,
    took_us: Percentiles,
}

const PAIRS: [usize; 3] = [1, 50, 500];
/// Bytes, and how many a second (0: one after the other).
const PROBES: [(usize, f64); 4] = [(4096, 0.0), (4096, 1000.0), (64 << 10, 0.0), (1 << 20, 0.0)];

impl Workload for Floor {
    const NAME: &'static str = "floor";
    type Found = Found;

    fn steps(&self) -> usize {
        PAIRS.len() + PROBES.len()
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<Found, Failure> {
        let each = self.seconds / self.steps() as f64;
        let (dir, _temporary) = place.make_dir()?;
        let (mut relay, mut disk) = (Vec::new(), Vec::new());
        for pairs in PAIRS {
            bar.step(format!("the null relay, {pairs} pairs"));
            let target = Target::relay(place, Some(&dir), Rooms::Pairs)?;
            let mut load = Pairs::connect(&target, pairs, self.payload)?;
            let offer = Offer::Closed { depth: self.depth };
            relay.push(Relayed { pairs, run: measure(&mut load, &|| target.usage(), offer, Phases::within(each))? });
        }
        for (bytes, offered_per_s) in PROBES {
            bar.step(format!("the disk, {bytes} bytes"));
            let took = dsync::probe(&dir, bytes, offered_per_s, Duration::from_secs_f64(each))?;
            let (rate_per_s, took_us) = (took.len() as f64 / each, Percentiles::from(&took));
            disk.push(Written { bytes, offered_per_s, rate_per_s, took_us });
        }
        Ok(Found { payload: self.payload, depth: self.depth, relay, disk })
    }
}

impl Findings for Found {
    fn sentences(&self) -> String {
        let mut lines = vec![format!("the null relay, {} B, {} in flight a pair", self.payload, self.depth)];
        for Relayed { pairs, run } in &self.relay {
            lines.push(format!(
                "{:>6} connections: {:>9.0} msg/s, {:>6.2} us of processor a message, SENT {}; the load used {:.0}% of its core",
                2 * pairs,
                run.rate_per_s,
                run.cpu_us_per_msg,
                run.sent_us,
                100.0 * run.load_busy
            ));
        }
        lines.push("the disk: durable writes (O_DSYNC), one in flight, to blocks written before".into());
        for Written { bytes, offered_per_s, rate_per_s, took_us } in &self.disk {
            let pace =
                if *offered_per_s == 0.0 { "one after the other".into() } else { format!("{offered_per_s} a second") };
            lines.push(format!(
                "{bytes:>9} B, {pace}: {rate_per_s:>6.0} a second, {took_us}, p99.9 {:.2} ms, longest {:.2} ms",
                ms(took_us.p999),
                ms(took_us.max)
            ));
        }
        lines.join("\n")
    }

    fn check(&self) -> Result<(), Failure> {
        all_is_right(self.relay.iter().map(|relayed| relayed.run.wrong).sum(), 0)
    }
}
