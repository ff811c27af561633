//! `tidings-bench floor`: what nothing on this machine can beat.

use std::time::Duration;

use clap::Args;

use crate::{
    Failure, cpu, dsync,
    load::Pairs,
    measure::{Percentiles, measure},
    offer::Offer,
    run::{phases, progress},
    target::{Place, Target},
    values,
};

/// Arguments of `floor`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Bytes of a payload.
    #[arg(long, default_value_t = 1024, value_parser = values::count)]
    payload: usize,
    /// Messages in flight a pair.
    #[arg(long, default_value_t = 8, value_parser = values::depth)]
    depth: u64,
    /// Seconds in all.
    #[arg(long, default_value_t = 20.0, value_parser = values::positive)]
    seconds: f64,
    #[command(flatten)]
    place: Place,
}

/// Runs it.
///
/// # Errors
/// If the relay or the disk fails.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    cpu::pin(arguments.place.load_core);
    let pairs = [1, 50, 500];
    let probes = [(4096, 0.0), (4096, 1000.0), (64 << 10, 0.0), (1 << 20, 0.0)];
    let each = arguments.seconds / (pairs.len() + probes.len()) as f64;
    let (dir, _temporary) = arguments.place.make_dir()?;
    let bar = progress((pairs.len() + probes.len()) as u64)?;
    let mut lines = vec![format!("the null relay, {} B, {} in flight a pair", arguments.payload, arguments.depth)];
    for pairs in pairs {
        bar.set_message(format!("the null relay, {pairs} pairs"));
        let target = Target::relay(&arguments.place, Some(&dir))?;
        let mut load = Pairs::connect(target.addr, pairs, arguments.payload, &|user| target.token(user))?;
        let run = measure(&mut load, &|| target.usage(), Offer::Closed { depth: arguments.depth }, phases(each))?;
        lines.push(format!(
            "{:>6} connections: {:>9.0} msg/s, {:>6.2} us of processor a message, SENT p50 {} us, p99 {} us; the load used {:.0}% of its core",
            2 * pairs, run.rate_per_s, run.cpu_us_per_msg, run.sent_us.p50, run.sent_us.p99, 100.0 * run.load_busy
        ));
        bar.inc(1);
    }
    lines.push("the disk: durable writes (O_DSYNC), one in flight, to blocks written before".into());
    for (size, pace) in probes {
        bar.set_message(format!("the disk, {size} bytes"));
        let histogram = dsync::probe(&dir, size, pace, Duration::from_secs_f64(each))?;
        let Percentiles { p50, p99, p999, max } = Percentiles::from(&histogram);
        let pace = if pace == 0.0 { "one after the other".into() } else { format!("{pace} a second") };
        let rate = histogram.len() as f64 / each;
        lines.push(format!(
            "{size:>9} B, {pace}: {rate:>6.0} a second, p50 {p50} us, p99 {p99} us, p99.9 {p999} us, longest {max} us"
        ));
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!("{}", lines.join("\n"));
    Ok(())
}
