//! How far a run is.

use std::{borrow::Cow, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Failure;

/// What whoever watches sees.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Of so many steps.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn new(steps: usize) -> Result<Self, Failure> {
        let bar = ProgressBar::new(steps as u64);
        bar.set_style(ProgressStyle::with_template("{bar:24} {elapsed} {msg}")?);
        bar.enable_steady_tick(Duration::from_millis(200));
        Ok(Self(bar))
    }

    /// The next step begins.
    pub fn step(&self, what: impl Into<Cow<'static, str>>) {
        self.0.inc(1);
        self.say(what);
    }

    /// What is done in a step.
    pub fn say(&self, what: impl Into<Cow<'static, str>>) {
        self.0.set_message(what);
    }

    /// All is done.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}
