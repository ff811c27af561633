//! How load is offered, whoever offers it, and what comes of it.

use std::time::Duration;

use crate::{Failure, arrivals::Arrivals, offers::Measured};

/// How messages are offered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Offer {
    /// So many in flight a pair, always: as many as come back.
    Closed {
        /// Messages in flight a pair.
        depth: u64,
    },
    /// So many a second over all pairs, whatever comes back.
    Open {
        /// Messages a second.
        rate: f64,
        /// How they arrive.
        arrivals: Arrivals,
    },
}

/// How long.
#[derive(Debug, Clone, Copy)]
pub struct Phases {
    /// Offered, not measured.
    pub warm_up: Duration,
    /// Measured.
    pub steady: Duration,
}

/// Longest that answers are waited for once nothing more is offered.
pub const COOL_DOWN: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Latencies and checks.
    pub measured: Measured,
    /// Messages that were due and were not both answered and delivered when the cool-down was over.
    pub unfinished: u64,
    /// How long was measured.
    pub seconds: f64,
}

/// When a run tells its caller that time to look at the server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The measured time begins.
    Begin,
    /// It ends.
    End,
}

/// Pairs that are connected to a server, and write when they are told to.
pub trait Load {
    /// Offers the load, measures, and waits for what is in flight.
    ///
    /// # Errors
    /// If a connection ends.
    fn run(&mut self, offer: Offer, phases: Phases, mark: &mut dyn FnMut(Mark)) -> Result<Outcome, Failure>;

    /// Messages that were due and are not both answered and delivered.
    fn unfinished(&self) -> u64;
}
