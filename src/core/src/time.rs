//! Time as an argument: nobody in this crate reads a clock.

use tidings_wire::Timestamp;

/// Nanoseconds since some moment before the process started; never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mono(pub u64);

impl Mono {
    /// This moment and `ms` milliseconds.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0 + ms * 1_000_000)
    }

    /// Nanoseconds since `earlier`; 0 if that is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The time of a turn: read once, used for all of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// For durations.
    pub mono: Mono,
    /// For people; may jump.
    pub wall: Timestamp,
}
