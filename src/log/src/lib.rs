//! What is kept: a segmented write-ahead log, which is also the message store.
//!
//! A log is a row of *segments* (files of one size, written once with zeros before use, recycled afterwards). A segment
//! holds *batches*, each one durable write; a batch holds *records*. [`writer::Log`] is a state machine without I/O: it
//! fills the open batch, hands out writes, and says what is durable; [`replica::Replica`] numbers the entries of shards and says what
//! is committed. [`recovery`] reads a log
//! back after a crash over the [`storage::Storage`] trait, whose real files are in [`files`].
//!
//! The formats are in [`mod@format`]; the reasons in `docs/decisions/`.
#![forbid(unsafe_code)]

pub mod batch;
pub mod buffer;
pub mod end;
pub mod files;
pub mod format;
pub mod prepare;
pub mod recovery;
pub mod replica;
pub mod storage;
pub mod writer;

pub use batch::{Record, RecordMeta, Scope, SealedEntry, records};
pub use buffer::AlignedBuf;
pub use end::LogEnd;
pub use format::{BLOCK, Epoch, LogKey};
pub use recovery::{BatchRef, Damage, RecoverError, Scanner, Tail};
pub use replica::{Replica, Solo};
pub use storage::{SlotId, Storage};
pub use writer::{Log, LogConfig, LogWrite, Sealed, SegmentInfo};
