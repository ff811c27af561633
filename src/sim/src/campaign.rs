//! Many seeds, on every core.

use std::{
    any::Any,
    cell::Cell,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use crate::{
    agenda::Nanos,
    oracle::Violation,
    plan::Profile,
    stats::Stats,
    world::{End, Outcome, run},
};

thread_local! {
    static HERE: Cell<Option<(u64, Profile)>> = const { Cell::new(None) };
}

/// The seed and profile that this thread runs, for whoever reports a panic.
pub fn here() -> Option<(u64, Profile)> {
    HERE.get()
}

/// This thread runs a seed.
pub fn at(seed: u64, profile: Profile) {
    HERE.set(Some((seed, profile)));
}

/// Runs a seed; an assertion of the code under test that fails is a broken promise, too.
pub fn run_guarded(seed: u64, profile: Option<Profile>) -> Outcome {
    let profile = profile.unwrap_or(Profile::of_seed(seed));
    at(seed, profile);
    catch_unwind(AssertUnwindSafe(|| run(seed, profile, None))).unwrap_or_else(|panic| Outcome {
        seed,
        profile,
        end: End::Broken(Violation { invariant: "I0", text: format!("an assertion failed: {}", words(&*panic)) }),
        hash: 0,
        events: 0,
        simulated: 0,
        stats: Stats::default(),
        story: vec!["(the story ends with the panic above; `--trace FILE` writes down what led to it)".into()],
    })
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Campaign {
    /// Seeds that ran.
    pub seeds: u64,
    /// Events of all.
    pub events: u64,
    /// Simulated time of all.
    pub simulated: Nanos,
    /// What was exercised.
    pub stats: Stats,
    /// The hash of all hashes, in the order of the seeds.
    pub hash: u64,
    /// The broken promise of the lowest seed, if one was broken.
    pub broken: Option<Outcome>,
}

impl Campaign {
    /// Runs seeds on `threads` threads until all are done, one breaks a promise, or `go_on` says no. `go_on` is called with
    /// the number of seeds that ended.
    pub fn run(
        seeds: Range<u64>,
        profile: Option<Profile>,
        threads: usize,
        mut go_on: impl FnMut(u64) -> bool,
    ) -> Self {
        let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
        let (sender, outcomes) = mpsc::channel();
        let mut all = Self::default();
        let mut ended: Vec<(u64, u64)> = Vec::new();
        thread::scope(|scope| {
            for _ in 0..threads {
                let (sender, next, stop) = (sender.clone(), &next, &stop);
                let (profile, end) = (profile, seeds.end);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end || sender.send(run_guarded(seed, profile)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            for outcome in outcomes {
                ended.push((outcome.seed, outcome.hash));
                all.add(outcome);
                if all.broken.is_some() || !go_on(all.seeds) {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        });
        ended.sort_unstable();
        let fold = |hash: u64, (_, next): &(u64, u64)| (hash ^ next).wrapping_mul(0x0000_0100_0000_01b3);
        all.hash = ended.iter().fold(0xcbf2_9ce4_8422_2325, fold);
        all
    }

    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.events += outcome.events;
        self.simulated += outcome.simulated;
        self.stats.add(&outcome.stats);
        let lower = self.broken.as_ref().is_none_or(|broken| outcome.seed < broken.seed);
        if matches!(outcome.end, End::Broken(_)) && lower {
            self.broken = Some(outcome);
        }
    }
}
