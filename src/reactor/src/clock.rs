//! The clock, read once a turn.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tidings_core::{Mono, Now};
use tidings_wire::Timestamp;

/// Both clocks of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock {
    /// The time.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.mono(), wall: Timestamp(wall.as_micros() as u64) }
    }

    /// The time for durations. Begins above zero, so that zero is before everything.
    pub fn mono(&self) -> Mono {
        Mono(self.origin.elapsed().as_nanos() as u64 + 1_000_000_000)
    }
}
