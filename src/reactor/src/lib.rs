//! How a core runs: one pinned thread, one ring, one turn after the other.
//!
//! A [`Reactor`](reactor::Reactor) owns its connections, its share of the node ([`tidings_core::Node`]) and its log. It is
//! hosted by a glommio executor ([`host`]), whose other task queue does what must not happen on the turn. Reactors share
//! nothing but lanes, and the few atomics of [`shared`].
#![forbid(unsafe_code)]

pub mod address;
pub mod background;
pub mod clock;
pub mod config;
pub mod connections;
pub mod host;
mod input;
mod io;
mod log_port;
pub mod reactor;
pub mod report;
mod retention;
pub mod shared;
mod sweep;

pub use config::{ConnectionLimits, ReactorConfig};
pub use host::{Hosted, Seed, start};
pub use log_port::{Archive, Canary, LogFiles};
pub use reactor::ReactorError;
pub use report::Report;
pub use shared::Shared;
