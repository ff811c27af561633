//! The highest rate that a server holds: doubled until it does not and halved in between, in short steps, then confirmed for longer.

use serde::{Deserialize, Serialize};

use super::{
    Load, Offer, Phases,
    arrivals::Arrivals,
    measure::{Run, Used, measure},
    percentiles::Percentiles,
    slo::Slo,
};
use crate::{Failure, progress::Progress};

/// How often a rate is tried before it counts as too high: a stall of a disk that others use, too, says nothing about it.
const TRIES: u32 = 2;
/// By how much a rate is lowered that did not hold for longer, and how often.
const LOWER: f64 = 0.9;
const CONFIRMED_WITHIN: u32 = 24;
/// The rate that a search begins with.
const FIRST_RATE: f64 = 4_000.0;
/// Rates that are told apart, as a ratio.
const PRECISION: f64 = 1.05;
/// Steps at most.
const STEPS: usize = 24;
/// How often what a step left over is waited for, each time for the load's cool-down.
const SETTLED_WITHIN: u32 = 20;

/// A rate that was tried.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Step {
    /// Messages a second that were due.
    pub offered_per_s: f64,
    /// That were answered.
    pub rate_per_s: f64,
    /// SENT.
    pub sent_us: Percentiles,
    /// MESSAGE.
    pub delivered_us: Percentiles,
    /// Whether it was within the limits.
    pub holds: bool,
}

/// How a rate is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Seek {
    /// What it must keep.
    pub slo: Slo,
    /// How messages arrive.
    pub arrivals: Arrivals,
    /// How long a step of the search takes.
    pub step: Phases,
    /// And a try to hold what was found.
    pub confirm: Phases,
}

impl Seek {
    /// The highest rate that holds, if one does, and in `steps` all that were tried.
    ///
    /// # Errors
    /// If a connection ends, or a message failed a check: no rate is worth that.
    pub fn highest(
        &self,
        load: &mut dyn Load,
        used: Used<'_>,
        steps: &mut Vec<Step>,
        bar: &Progress,
    ) -> Result<Option<f64>, Failure> {
        let found = highest(FIRST_RATE, |rate| {
            bar.say(format!("trying {rate:.0} messages a second"));
            for _ in 0..TRIES {
                let step = self.attempt(load, used, rate, self.step)?;
                steps.push(step);
                if step.holds {
                    return Ok(true);
                }
            }
            Ok::<_, Failure>(false)
        })?;
        let Some(mut rate) = found else { return Ok(None) };
        for _ in 0..CONFIRMED_WITHIN {
            bar.say(format!("confirming {rate:.0} messages a second"));
            let step = self.attempt(load, used, rate, self.confirm)?;
            steps.push(step);
            if step.holds {
                return Ok(Some(rate));
            }
            rate *= LOWER;
        }
        Ok(None)
    }

    /// Tries a rate, and works off what it left over, so that it does not count against the next one.
    fn attempt(&self, load: &mut dyn Load, used: Used<'_>, rate: f64, phases: Phases) -> Result<Step, Failure> {
        let run = measure(load, used, Offer::Open { rate, arrivals: self.arrivals }, phases)?;
        settle(load)?;
        if run.wrong > 0 {
            return Err(format!("{} messages failed a check at {rate:.0} a second", run.wrong).into());
        }
        let holds = self.slo.holds(&run);
        let Run { rate_per_s, sent_us, delivered_us, .. } = run;
        Ok(Step { offered_per_s: rate, rate_per_s, sent_us, delivered_us, holds })
    }
}

/// Searches from `first`. `holds` tries a rate.
///
/// # Errors
/// What `holds` fails with.
fn highest<E>(first: f64, mut holds: impl FnMut(f64) -> Result<bool, E>) -> Result<Option<f64>, E> {
    let (mut good, mut bad): (Option<f64>, Option<f64>) = (None, None);
    let mut rate = first;
    for _ in 0..STEPS {
        if holds(rate)? {
            good = Some(rate);
        } else {
            bad = Some(rate);
        }
        rate = match (good, bad) {
            (Some(good), Some(bad)) if bad / good <= PRECISION => break,
            (Some(good), Some(bad)) => (good * bad).sqrt(),
            (Some(good), None) => 2.0 * good,
            (None, Some(bad)) if bad < 2.0 => break,
            (None, Some(bad)) => bad / 2.0,
            (None, None) => break,
        };
    }
    Ok(good)
}

/// Waits until nothing is in flight.
///
/// # Errors
/// If messages are left over for good, or failed a check.
pub fn settle(load: &mut dyn Load) -> Result<(), Failure> {
    for _ in 0..SETTLED_WITHIN {
        if load.unfinished() == 0 {
            return Ok(());
        }
        let late = load.run(Offer::Closed { depth: 0 }, Phases::within(0.1), &mut |_| ())?;
        if late.measured.wrong > 0 {
            return Err(format!("{} messages failed a check", late.measured.wrong).into());
        }
    }
    Err(format!("{} messages were never finished", load.unfinished()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_found_from_below_and_from_above() {
        for limit in [3.0, 150.0, 99_000.0] {
            let mut tried = 0;
            let found = highest(1000.0, |rate| {
                tried += 1;
                Ok::<_, ()>(rate <= limit)
            });
            let found = found.unwrap().unwrap();
            assert!(found <= limit && found * PRECISION >= limit && tried <= STEPS, "{found} of {limit}");
        }
        assert_eq!(highest(10.0, |_| Ok::<_, ()>(false)), Ok(None));
        assert_eq!(highest(10.0, |_| Err("gone")), Err("gone"));
    }
}
