//! The simulator: whole nodes, one thread, one seed, every fault.
//!
//! A seed decides everything: how many users, devices and reactors there are, what people write, what breaks and when.
//! The node's code is the real one, [`tidings_turn::Turn`] and all below it, and so is the devices' SDK; simulated are
//! time, the disk, the network, and the moment at which anything happens. An [`oracle`] knows what was promised to
//! whom, and the first broken promise ends the run, with a story that the same seed tells again. See
//! `docs/simulation.md`.
#![forbid(unsafe_code)]

pub mod agenda;
pub mod bounds;
pub mod campaign;
pub mod disk;
pub mod machine;
pub mod oracle;
pub mod plan;
pub mod random;
pub mod relay;
pub mod sometimes;
pub mod stats;
pub mod trace;
mod world;

pub use campaign::Campaign;
pub use oracle::Violation;
pub use plan::Profile;
pub use stats::Stats;
pub use world::{End, Outcome, RUNS_FOR, run};

/// Bytes of a simulated receive buffer.
pub(crate) const CHUNK: usize = 4096;
