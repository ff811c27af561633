//! What recovery, and later a follower, tells a node of a record.

use tidings_wire::{EntryIndex, LogPosition, Timestamp};

use crate::records::RecordKind;

/// A record that was read back.
#[derive(Clone, Copy, Debug)]
pub struct Replayed<'a> {
    /// What it is.
    pub kind: RecordKind,
    /// Its shard.
    pub shard: u16,
    /// Its entry; `None` if it is one node's alone.
    pub entry: Option<EntryIndex>,
    /// Its time.
    pub ts: Timestamp,
    /// Its body.
    pub body: &'a [u8],
    /// Where that is.
    pub at: LogPosition,
}
