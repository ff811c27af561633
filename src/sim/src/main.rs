//! The `tidings-sim` binary: seeds in, broken promises out.

use std::{
    fs::File,
    io::Write as _,
    ops::Range,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tidings_sim::{Campaign, End, Outcome, Profile, Stats, run, sometimes::never};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error>;

/// Runs whole nodes in simulated worlds where everything goes wrong, and checks every promise.
#[derive(Debug, Parser)]
#[command(name = "tidings-sim", version)]
struct Arguments {
    /// Run one seed, and print the hash of everything that happened.
    #[arg(long, value_name = "N", conflicts_with = "seeds", required_unless_present = "seeds")]
    seed: Option<u64>,
    /// Run all seeds of a range on every core.
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<Range<u64>>,
    /// What kind of world it is; if not given, the seed decides.
    #[arg(long, value_name = "NAME", value_parser = profile)]
    profile: Option<Profile>,
    /// Write everything that happens to a file, a line each.
    #[arg(long, value_name = "FILE", requires = "seed")]
    trace: Option<PathBuf>,
    /// Begin no more seeds after so many seconds.
    #[arg(long, value_name = "N", requires = "seeds")]
    seconds: Option<u64>,
    /// Fail if there is something that never happened in all of these seeds, and should now and then.
    #[arg(long, requires = "seeds")]
    sometimes: bool,
    /// Test only: let a deliberate bug in, which must be found.
    #[cfg(feature = "canary")]
    #[arg(long, value_name = "NAME", value_parser = canary)]
    canary: Option<tidings_canary::Canary>,
    /// Threads; all cores if not given.
    #[arg(long, value_name = "N", requires = "seeds")]
    threads: Option<usize>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text} is no range such as 0..1000");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let range = from.parse().map_err(|_| wrong())?..to.parse().map_err(|_| wrong())?;
    if range.is_empty() { Err(wrong()) } else { Ok(range) }
}

fn profile(text: &str) -> Result<Profile, String> {
    let names = || Profile::ALL.map(Profile::name).join(", ");
    Profile::named(text).ok_or_else(|| format!("there is no profile {text}; there are: {}", names()))
}

#[cfg(feature = "canary")]
fn canary(text: &str) -> Result<tidings_canary::Canary, String> {
    let names: Vec<_> = tidings_canary::Canary::ALL.iter().map(|canary| canary.name()).collect();
    tidings_canary::Canary::named(text)
        .ok_or_else(|| format!("there is no canary {text}; there are: {}", names.join(", ")))
}

fn main() -> ExitCode {
    say_which_seed_panics();
    match run_seeds(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("tidings-sim: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line, if somebody reads.
fn line(text: &str) {
    let _unread = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a line for people on standard error, if somebody reads.
fn note(text: &str) {
    let _unread = writeln!(std::io::stderr().lock(), "{text}");
}

fn run_seeds(arguments: &Arguments) -> Result<(), Failure> {
    #[cfg(feature = "canary")]
    if let Some(canary) = arguments.canary {
        note(&format!("tidings-sim: TEST ONLY: with the bug {}", canary.name()));
        tidings_canary::let_in(canary);
    }
    match (arguments.seed, &arguments.seeds) {
        (Some(seed), _) => run_one(seed, arguments),
        (None, Some(seeds)) => run_many(seeds.clone(), arguments),
        (None, None) => Err("--seed or --seeds".into()),
    }
}

fn run_one(seed: u64, arguments: &Arguments) -> Result<(), Failure> {
    let profile = arguments.profile.unwrap_or(Profile::of_seed(seed));
    let trace = arguments.trace.as_ref().map(File::create).transpose()?;
    let began = Instant::now();
    tidings_sim::campaign::at(seed, profile);
    let outcome = run(seed, profile, trace);
    let (took, simulated) = (began.elapsed(), Duration::from_nanos(outcome.simulated));
    line(&format!(
        "seed={seed} profile={} end={} events={} simulated={:.1}s messages={} faults={} starts={} hash={:016x}",
        profile.name(),
        end_name(&outcome.end),
        outcome.events,
        simulated.as_secs_f64(),
        outcome.stats.messages,
        outcome.stats.faults.values().sum::<u64>(),
        outcome.stats.starts,
        outcome.hash,
    ));
    note(&speed(outcome.events, simulated, took, 1));
    if let Some(path) = &arguments.trace {
        note(&format!("everything that happened is in {}", path.display()));
    }
    tell_if_broken(Some(&outcome))
}

fn run_many(seeds: Range<u64>, arguments: &Arguments) -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or(cores).max(1);
    let count = seeds.end - seeds.start;
    let bar = ProgressBar::new(count);
    bar.set_style(ProgressStyle::with_template("{bar:24} {pos}/{len} seeds  {elapsed} of about {duration}")?);
    let began = Instant::now();
    let until = arguments.seconds.map(|seconds| began + Duration::from_secs(seconds));
    let campaign = Campaign::run(seeds.clone(), arguments.profile, threads, |ended| {
        bar.set_position(ended);
        until.is_none_or(|until| Instant::now() < until)
    });
    bar.finish_and_clear();
    for row in table(&campaign.stats) {
        line(&row);
    }
    let simulated = Duration::from_nanos(campaign.simulated);
    line(&format!(
        "{} of {count} seeds from {}: {} events in {:.1} simulated hours, hash={:016x}",
        campaign.seeds,
        seeds.start,
        HumanCount(campaign.events),
        simulated.as_secs_f64() / 3600.0,
        campaign.hash
    ));
    line(&speed(campaign.events, simulated, began.elapsed(), threads));
    tell_if_broken(campaign.broken.as_ref())?;
    let never = if arguments.sometimes { never(&campaign.stats) } else { Vec::new() };
    if never.is_empty() { Ok(()) } else { Err(format!("this never happened: {}", never.join(", ")).into()) }
}

fn speed(events: u64, simulated: Duration, took: Duration, threads: usize) -> String {
    let seconds = took.as_secs_f64().max(1e-9);
    let (events, times) =
        (events as f64 / seconds / threads as f64, simulated.as_secs_f64() / seconds / threads as f64);
    format!("{events:.0} events a second a core, {times:.0} times real time a core, in {seconds:.1} s on {threads}")
}

fn end_name(end: &End) -> &'static str {
    match end {
        End::Held => "held",
        End::DamageReported => "damage-reported",
        End::Exempt => "newest-batch-damaged",
        End::Broken(_) => "broken",
    }
}

/// What was exercised, three to a line.
fn table(stats: &Stats) -> Vec<String> {
    let mut lines = vec!["What was exercised:".to_string()];
    rows(&mut lines, "", stats.reached().into_iter());
    rows(&mut lines, "Faults:", stats.faults.iter().map(|(name, count)| (*name, *count)));
    rows(&mut lines, "Counted by the nodes:", stats.counters.iter().map(|(name, count)| (*name, *count)));
    rows(&mut lines, "The most of what is bounded:", stats.peaks.iter().map(|(name, count)| (*name, *count)));
    lines
}

fn rows<'a>(lines: &mut Vec<String>, title: &str, rows: impl Iterator<Item = (&'a str, u64)>) {
    let cells: Vec<_> = rows.map(|(name, count)| format!("{name:<28} {:>13}", HumanCount(count).to_string())).collect();
    if !title.is_empty() && !cells.is_empty() {
        lines.push(title.into());
    }
    lines.extend(cells.chunks(2).map(|pair| format!("  {}", pair.join("    "))));
}

fn replay(seed: u64, profile: Profile) -> String {
    format!("tidings-sim --seed {seed} --profile {}", profile.name())
}

fn tell_if_broken(outcome: Option<&Outcome>) -> Result<(), Failure> {
    let Some(Outcome { seed, profile, end: End::Broken(violation), story, .. }) = outcome else { return Ok(()) };
    line(&format!("\nSeed {seed} breaks {}: {}", violation.invariant, violation.text));
    line("What happened last:");
    for happened in story {
        line(&format!("  {happened}"));
    }
    line(&format!("\nIt happens again with: {}", replay(*seed, *profile)));
    Err(format!("a promise was broken with seed {seed}").into())
}

/// An assertion that fails ends the process: it says in which world.
fn say_which_seed_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        if let Some((seed, profile)) = tidings_sim::campaign::here() {
            let again = replay(seed, profile);
            line(&format!("\nSeed {seed} breaks I0: an assertion failed, see above."));
            line(&format!("It happens again with: {again} --trace FILE"));
            std::process::exit(1);
        }
    }));
}
