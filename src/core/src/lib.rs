//! What it means: sessions, numbering, delivery, limits; state machines without I/O, clock, threads or randomness.
//!
//! [`node::Node`] is one reactor's share of the node: it is given frames, lane messages, commits and the time, and acts
//! through [`effects::Effects`]. Three things are kept apart inside it:
//! - [`gateway`]: who is connected, and what a frame asks for;
//! - [`sequencer`]: what number a message gets, and whether it was here before;
//! - [`registry`]: each user's *home*, which knows the live sessions and what changed for the user.
//!
//! They talk in [`lanes`] messages, whether they live on one reactor or on two. The loop that drives a node:
//! ```text
//! input  -> node.frame / up / down / read_done      (appends records, answers what needs no commit)
//! log    -> node.committed(batch)                   (everything that waited for it leaves now)
//! clock  -> node.timeout(now) at node.next_timeout()
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod authentication;
pub mod counters;
pub mod dedup;
pub mod effects;
pub mod gateway;
pub mod history;
pub mod index;
pub mod lanes;
pub mod limits;
pub mod node;
pub mod placement;
pub mod records;
pub mod registry;
pub mod residency;
pub mod sequencer;
pub mod slab;
pub mod table;
pub mod time;

pub use authentication::{Authenticated, Claims, TokenFault, Verifier};
pub use counters::{Counter, Counters};
pub use effects::{CommittedBatch, ConnId, Effects, JobId, NoCredit, ReactorId, RecordMeta};
pub use gateway::SessionId;
pub use lanes::{ToConversation, ToHome};
pub use node::{Node, NodeConfig};
pub use placement::Layout;
pub use residency::{Entity, Everything, Residency, StateStore};
pub use time::{Mono, Now};
