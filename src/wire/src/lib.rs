//! What travels: frames, ids, errors, versions and the witnesses of what is durable and committed.
//!
//! This crate is pure (`no_std`, no I/O, no clock) and knows nothing of how frames are carried. The layout of every
//! frame is written down byte by byte in `docs/protocol.md`; the golden vectors under `docs/vectors/` hold both to it.
//!
//! A frame is a fixed [`Header`], a *fixed part* (an rkyv archive of plain numbers, ids and [`Span`]s, which evolves
//! by appending fields, see [`archive`]) and variable bytes that the spans point at.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod archive;
pub mod commit;
pub mod error;
pub mod frame;
pub mod frames;
pub mod header;
pub mod ids;
pub mod limits;
pub mod packed;
pub mod position;
pub mod stream;

pub use commit::{Committed, Durable, Entry, Minter};
pub use error::{ErrorCode, Retry, WireError};
pub use frame::{Frame, FrameBuilder, Span, split};
pub use header::{Class, HEADER_LEN, Header, Kind, VERSION};
pub use ids::{ClientMsgId, ConversationId, DeviceId, Lineage, Seq, Shards, TenantId, Timestamp, UserId, Uv};
pub use position::{BatchPosition, EntryIndex, Generation, LogId, LogPosition, Lsn, Term};
pub use stream::{Frames, Stretch};
