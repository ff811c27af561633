//! The highest rate that a server holds: searched in short steps, then confirmed for longer.

use std::io;

use indicatif::ProgressBar;

use crate::{
    Failure,
    arrivals::Arrivals,
    cpu::Usage,
    measure::{Run, measure},
    offer::{Load, Offer, Phases},
    report::Step,
    run::phases,
    search,
    slo::Slo,
};

/// How often a rate is tried before it counts as too high: a stall of a disk that others use, too, says nothing about it.
const TRIES: u32 = 2;
/// By how much a rate is lowered that did not hold for longer, and how often.
const LOWER: f64 = 0.9;
const CONFIRMED_WITHIN: u32 = 24;
/// The rate that a search begins with.
const FIRST_RATE: f64 = 4_000.0;
/// How often what a step left over is waited for, each time for the load's cool-down.
const SETTLED_WITHIN: u32 = 20;

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
        usage: &dyn Fn() -> io::Result<Usage>,
        steps: &mut Vec<Step>,
        bar: &ProgressBar,
    ) -> Result<Option<f64>, Failure> {
        let found = search::highest(FIRST_RATE, |rate| {
            bar.set_message(format!("trying {rate:.0} messages a second"));
            for _ in 0..TRIES {
                let step = self.attempt(load, usage, rate, self.step)?;
                steps.push(step);
                if step.holds {
                    return Ok(true);
                }
            }
            Ok::<_, Failure>(false)
        })?;
        let Some(mut rate) = found else { return Ok(None) };
        for _ in 0..CONFIRMED_WITHIN {
            bar.set_message(format!("confirming {rate:.0} messages a second"));
            let step = self.attempt(load, usage, rate, self.confirm)?;
            steps.push(step);
            if step.holds {
                return Ok(Some(rate));
            }
            rate *= LOWER;
        }
        Ok(None)
    }

    /// Tries a rate, and works off what it left over, so that it does not count against the next one.
    fn attempt(
        &self,
        load: &mut dyn Load,
        usage: &dyn Fn() -> io::Result<Usage>,
        rate: f64,
        phases: Phases,
    ) -> Result<Step, Failure> {
        let run = measure(load, usage, Offer::Open { rate, arrivals: self.arrivals }, phases)?;
        settle(load)?;
        if run.wrong > 0 {
            return Err(format!("{} messages failed a check at {rate:.0} a second", run.wrong).into());
        }
        let holds = self.slo.holds(&run);
        let Run { rate_per_s, sent_us, delivered_us, .. } = run;
        Ok(Step { offered_per_s: rate, rate_per_s, sent_us, delivered_us, holds })
    }
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
        let late = load.run(Offer::Closed { depth: 0 }, phases(0.1), &mut |_| ())?;
        if late.measured.wrong > 0 {
            return Err(format!("{} messages failed a check", late.measured.wrong).into());
        }
    }
    Err(format!("{} messages were never finished", load.unfinished()).into())
}
