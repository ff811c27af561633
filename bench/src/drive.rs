//! How load is offered, whoever offers it, and what comes of it.

pub mod arrivals;
pub mod beside;
pub mod measure;
pub mod offers;
pub mod pace;
pub mod percentiles;
pub mod seek;
pub mod slo;
pub mod timeline;

use std::time::Duration;

use hdrhistogram::Histogram;

use self::{arrivals::Arrivals, offers::Measured};
use crate::Failure;

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

impl Offer {
    /// So many a second, as independent users write.
    pub fn open(rate: f64) -> Self {
        Self::Open { rate, arrivals: Arrivals::Poisson }
    }
}

/// How long.
#[derive(Debug, Clone, Copy)]
pub struct Phases {
    /// Offered, not measured.
    pub warm_up: Duration,
    /// Measured.
    pub steady: Duration,
}

impl Phases {
    /// So many seconds in all, some of which warm up.
    pub fn within(seconds: f64) -> Self {
        let warm_up = (seconds / 5.0).min(1.0);
        Self { warm_up: Duration::from_secs_f64(warm_up), steady: Duration::from_secs_f64(seconds - warm_up) }
    }

    /// So many seconds that are measured, after one that warms up.
    pub fn after_a_second(seconds: f64) -> Self {
        Self { warm_up: Duration::from_secs(1), steady: Duration::from_secs_f64(seconds) }
    }
}

/// Longest that answers are waited for once nothing more is offered.
pub const COOL_DOWN: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// Latencies and checks.
    pub measured: Measured,
    /// Messages that were due in the measured time.
    pub due: u64,
    /// How late the load itself came to what was due, microseconds: part of all latencies, and not the server's.
    pub late_us: Histogram<u64>,
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
