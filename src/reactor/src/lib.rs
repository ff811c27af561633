//! How a core runs: one pinned thread, one ring, one turn after the other.
//!
//! A [`Reactor`](reactor::Reactor) runs a [`Turn`](tidings_turn::Turn) on the machine that io_uring makes of a core
//! ([`uring`]). It is hosted by a glommio executor ([`host`]), whose other task queue does what must not happen on the turn.
#![forbid(unsafe_code)]

mod background;
#[cfg(feature = "canary")]
mod canary;
mod clock;
pub mod host;
pub mod reactor;
mod scribe;
pub mod uring;
pub mod write_probe;

#[cfg(feature = "canary")]
pub use canary::Canary;
pub use host::{Hosted, start};
pub use reactor::{ReactorConfig, ReactorError, Seed};
pub use scribe::{Desk, Notes, Scribe};
pub use tidings_turn::Report;
pub use uring::{Uring, Wake};

/// What all reactors of a node share.
pub type Shared = tidings_turn::Shared<Uring>;

impl Wake {
    /// A waker for a reactor that does not run yet.
    ///
    /// # Errors
    /// If the process is out of file descriptors.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(tidings_ring::Waker::new()?))
    }
}
