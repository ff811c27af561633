//! What a core does in one turn: everything that is decided between the kernel and [`tidings_core::Node`].
//!
//! A [`Turn`] owns a reactor's connections, its share of the node, its log and its retention. What it needs of the world is
//! behind one trait, [`Machine`]: io_uring in the reactor, simulated disks and networks in the simulator. Neither time
//! nor waiting is here: whoever runs the turn gives it both clocks and the completions, and is told how long it may rest.
#![forbid(unsafe_code)]

pub mod address;
pub mod config;
pub mod connections;
mod input;
mod io;
mod log_port;
pub mod machine;
mod parking;
pub mod recover;
pub mod report;
mod retention;
pub mod shared;
mod suffix;
mod sweep;
pub mod turn;
mod write_time;

pub use config::{ConnectionLimits, RECEIVES_PER_TURN, TurnConfig};
pub use log_port::{Archive, LogParts};
pub use machine::{Completion, Machine, Purpose, Received, Receiving, Wake};
pub use parking::{PARKED_CARRY_MAX, PARKED_MESSAGES_MAX};
pub use report::Report;
pub use shared::{Handover, Shared};
pub use turn::{Gauge, Outcome, Seed, Turn};
