//! What tests, gates and fuzz targets share: a disk in memory, frames as a client builds them, tokens that are names, and nodes over a
//! real log with everything around them in memory. Nothing of it is in the server.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "whoever uses this is a test")]

pub mod cluster;
pub mod disk;
pub mod frames;
pub mod names;
pub mod reactor;
pub mod store;
pub mod world;

pub use cluster::{Cluster, Device, Output, in_all_layouts};
pub use disk::Memory;
pub use names::{ADDRESS, AnyToken, authenticated, numbered, user};
pub use reactor::Reactor;
pub use world::World;
