//! What it means: sessions, numbering, delivery, limits; state machines without I/O, clock, threads or randomness.
//!
//! [`node::Node`] is one reactor's share of the node: it is given frames, lane messages, commits and the time, and acts
//! through [`effects::Effects`]. It has two halves under a router, and each can do only what its context lets it:
//! - `home`: who is connected, what a frame asks for, and what changed for each user;
//! - `engine`: what number a message gets, whether it was here before, what is stored, and who is told; what a conversation is, is in
//!   `conversation`, and what messages may do in [`features`].
//!
//! They talk in [`lanes`] messages, whether they live on one reactor or on two. The loop that drives a node:
//! ```text
//! input  -> node.at(now, world).frame / to_conversation / to_home / read_done   (appends records, answers what needs no commit)
//! log    -> node.at(now, world).durable(batch), committed(entry) of each       (everything that waited for it leaves now)
//! clock  -> node.at(now, world).timeout() at node.next_timeout()
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::cast_possible_truncation))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod budget;
mod context;
mod conversation;
pub mod counters;
mod digest;
pub mod effects;
mod emptied;
mod engine;
pub mod ephemeral;
pub mod features;
mod home;
pub mod lanes;
pub mod limits;
mod narrow;
pub mod node;
pub mod placement;
pub mod records;
pub mod replay;
pub mod residency;
pub mod shedding;
pub mod slab;
pub mod table;
pub mod time;

pub use budget::{Budget, Network, OverBudget};
pub use conversation::state::ReplayError;
pub use counters::{Counter, Counters};
pub use effects::{CommittedEntry, ConnId, DurableBatch, Effects, JobId, NoCredit, Passage, ReactorId, RecordMeta};
pub use engine::Damage;
pub use ephemeral::Ephemeral;
pub use home::{
    Authenticated, Bound, COME_AGAIN_MS, Claims, Renewal, Scope, SessionId, TokenFault, Verifier, authenticate,
    reauthenticate,
};
pub use lanes::{ToConversation, ToHome};
pub use node::{Node, NodeConfig, Router};
pub use placement::Layout;
pub use replay::Replayed;
pub use residency::{Entity, Everything, Loaded, Residency, StateStore};
pub use time::{Mono, Now};
