//! io_uring behind a safe interface: sockets and durable writes on one ring, driven by one thread.
//!
//! One of the two homes of `unsafe` (the other is `mesh`). What makes it safe: the ring owns every buffer from submission
//! to completion and always gives it back (`ops`), received bytes live in a pool that the ring owns (`pool`), and a
//! [`Ring`] cannot leave its thread. File descriptors are borrowed for the call only; the kernel looks them up when
//! an operation is submitted (the next [`Ring::turn`]) and holds its own reference from then on. Closing one before that fails
//! the operation or sends it elsewhere, but cannot touch memory: callers close between turns.
//!
//! Needs Linux 6.1 (`DEFER_TASKRUN`); [`probe_kernel`] says in one sentence what is missing.

mod ops;
mod pool;
mod probe;
mod ring;
pub mod socket;
mod wake;

pub use pool::Chunk;
pub use probe::SetupError;
pub use ring::{Completion, Received, Ring, RingConfig, Token, Wait, probe_kernel};
pub use wake::Waker;
