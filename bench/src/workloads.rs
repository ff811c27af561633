//! What can be offered to a server. A workload says what it wants to know, measures, and gives what it found; everything else is the
//! same for all: where the parts run, how long it takes to be seen, how it is shown.

pub mod copies;
pub mod day;
pub mod doors;
pub mod groups;
pub mod history;
pub mod hostile;
pub mod huge;
pub mod idle;
pub mod overload;
pub mod pairs;
pub mod resume;
pub mod stall;
pub mod storm;
pub mod stream;

use clap::Args;

use crate::{
    Failure, cpu,
    progress::Progress,
    report::{Filed, Findings, Show},
    target::Place,
};

/// A workload: its arguments, and what is done with them.
pub trait Workload: Args {
    /// Its name in reports.
    const NAME: &'static str;
    /// What it finds.
    type Found: Findings;

    /// Into how many steps it is cut, for whoever watches.
    fn steps(&self) -> usize;

    /// Measures, on a thread that is pinned to the load's core.
    ///
    /// # Errors
    /// If something does not start, somebody is not let in, or a connection ends.
    fn measure(&self, place: &Place, bar: &Progress) -> Result<Self::Found, Failure>;
}

/// A workload with what all have.
#[derive(Debug, Args)]
pub struct Run<W: Workload> {
    #[command(flatten)]
    workload: W,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    show: Show,
}

impl<W: Workload> Run<W> {
    /// Runs it, and shows what was found.
    ///
    /// # Errors
    /// If it fails, or what it found does not count.
    pub fn run(&self) -> Result<(), Failure> {
        cpu::pin(self.place.load_core);
        let bar = Progress::new(self.workload.steps())?;
        let found = self.workload.measure(&self.place, &bar)?;
        bar.end();
        Filed::new(W::NAME, found).show(&self.show)
    }
}
