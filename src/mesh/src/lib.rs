//! Lanes between cores: single producer, single consumer, bounded, without locks.
//!
//! Every ordered pair of reactors has two lanes, from homes to conversations and from conversations to homes; a third kind, *ephemeral*
//! ([`lossy`]), drops what it has no room for. A lane
//! carries small fixed values and, beside them, payload bytes in an arena of the same lane: one copy in, read in place,
//! freed by the consumer's index. See [`mod@lane`] for one lane, [`mesh`] for all of them, [`wake`] for how an idle
//! reactor sleeps without missing anything.
//!
//! One of the two homes of `unsafe` (the other is `ring`); the protocols are proven with loom
//! (`RUSTFLAGS="--cfg loom" cargo test -p tidings-mesh --release`).

pub mod lane;
pub mod lossy;
pub mod mesh;
mod sync;
pub mod wake;

pub use lane::{LaneReceiver, LaneSender, NoCredit, lane};
pub use mesh::{LaneSize, Port, connect};
pub use wake::{Sleeper, fence_before_look};
