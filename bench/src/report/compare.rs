//! `tidings-bench compare A.json B.json`: whether B is better or worse, outside of the noise of both.

use std::path::PathBuf;

use clap::Args;

use super::pairs::{Report, read};
use crate::{Failure, drive::measure::Run};

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The report to compare with.
    before: PathBuf,
    /// The report in question.
    after: PathBuf,
}

/// Differences below this are not told even of runs that agree: a machine differs from itself.
const LEAST: f64 = 0.05;
/// One start of a server differs from another by more than its runs do from each other: by about this many times.
const STARTS: f64 = 2.0;
/// Noise from which on nothing can be told.
const TOO_MUCH: f64 = 0.5;
/// Runs that a verdict needs on either side.
const RUNS: usize = 3;

/// What a figure came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Better,
    Worse,
    /// No more than the noise, which would hide a small change.
    Noise,
    /// The noise would hide a large change, too.
    Unknown,
}

/// A figure: its name, whether more is better, and where it stands in a run.
type Figure = (&'static str, Direction, fn(&Run) -> f64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    MoreIsBetter,
    LessIsBetter,
}

const FIGURES: [Figure; 6] = [
    ("messages a second", Direction::MoreIsBetter, |run| run.rate_per_s),
    ("processor us a message", Direction::LessIsBetter, |run| run.cpu_us_per_msg),
    ("SENT p50, us", Direction::LessIsBetter, |run| run.sent_us.p50 as f64),
    ("SENT p99, us", Direction::LessIsBetter, |run| run.sent_us.p99 as f64),
    ("MESSAGE p50, us", Direction::LessIsBetter, |run| run.delivered_us.p50 as f64),
    ("MESSAGE p99, us", Direction::LessIsBetter, |run| run.delivered_us.p99 as f64),
];

/// The median, and how far runs are apart from it, as a share of it.
fn median_and_noise(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    // Half of the runs around the median: one that was disturbed does not make everything noise.
    let (low, high) = (values[values.len() / 4], values[(3 * values.len() - 1) / 4]);
    (median, ((high - low) / median.max(1e-9)).abs())
}

/// Whether `after` differs from `before` by more than both differ from themselves.
fn judge(direction: Direction, before: (f64, f64), after: (f64, f64)) -> (f64, Verdict) {
    let change = after.0 / before.0.max(1e-9) - 1.0;
    let better = (change > 0.0) == (direction == Direction::MoreIsBetter);
    let noise = STARTS * (before.1 + after.1);
    let verdict = match change.abs() > LEAST.max(noise) {
        false if noise > TOO_MUCH => Verdict::Unknown,
        false => Verdict::Noise,
        true if better => Verdict::Better,
        true => Verdict::Worse,
    };
    (change, verdict)
}

/// Runs it.
///
/// # Errors
/// If a file is no report, they cannot be compared, or something became worse.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (before, after) = (read(&arguments.before)?, read(&arguments.after)?);
    if before.workload != after.workload {
        return Err(format!("these are of {} and {}", before.workload, after.workload).into());
    }
    let (before, after) = (before.found, after.found);
    let what =
        |report: &Report| (report.connections, report.payload, report.depth, report.arrivals.clone(), report.wrapped);
    if what(&before) != what(&after) {
        return Err(format!("these measured different things: {:?} and {:?}", what(&before), what(&after)).into());
    }
    let (few, many) = (before.runs.len().min(after.runs.len()), before.runs.len().max(after.runs.len()));
    if few < RUNS {
        return Err(format!("{few} of {many} runs say nothing about noise: `load --runs {RUNS}` or more").into());
    }
    println!("{:<26} {:>12} {:>12} {:>9} {:>8}  verdict", "", "before", "after", "change", "noise");
    let mut worse = Vec::new();
    for (name, direction, pick) in FIGURES {
        let of = |report: &Report| median_and_noise(report.runs.iter().map(pick));
        let (a, b) = (of(&before), of(&after));
        let (change, verdict) = judge(direction, a, b);
        let said = match verdict {
            Verdict::Better => "better",
            Verdict::Worse => "WORSE",
            Verdict::Noise => "within the noise",
            Verdict::Unknown => "cannot tell",
        };
        println!(
            "{name:<26} {:>12.1} {:>12.1} {:>+8.1}% {:>7.1}%  {said}",
            a.0,
            b.0,
            100.0 * change,
            100.0 * STARTS * (a.1 + b.1)
        );
        if verdict == Verdict::Worse {
            worse.push(name);
        }
    }
    if worse.is_empty() { Ok(()) } else { Err(format!("worse: {}", worse.join(", ")).into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_counts_once_it_is_larger_than_the_noise() {
        use {Direction::*, Verdict::*};
        let of = |values: [f64; 5]| median_and_noise(values.into_iter());
        let (calm, noisy) = (of([100.0, 101.0, 99.0, 100.0, 300.0]), of([70.0, 100.0, 130.0, 80.0, 120.0]));
        assert!(calm.0 == 100.0 && calm.1 < 0.03, "one disturbed run is no noise: {calm:?}");
        assert_eq!(judge(LessIsBetter, calm, of([120.0; 5])).1, Worse);
        assert_eq!(judge(MoreIsBetter, calm, of([120.0; 5])).1, Better);
        assert_eq!(judge(LessIsBetter, calm, of([102.0; 5])).1, Noise);
        assert_eq!(judge(LessIsBetter, noisy, of([120.0; 5])).1, Unknown, "twice as much would be hidden, too");
        let restless = of([90.0, 100.0, 110.0, 95.0, 105.0]);
        assert_eq!(judge(LessIsBetter, restless, of([115.0; 5])).1, Noise);
    }
}
