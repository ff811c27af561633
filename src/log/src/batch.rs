//! The open batch, and reading the records of a closed one.

use tidings_wire::{WireError, archive};

use crate::{
    buffer::AlignedBuf,
    format::{BATCH_HEADER, BLOCK, BatchHeader, BatchName, LogKey, RECORD_ALIGN, RECORD_HEADER, RecordHeader},
};

/// What the writer of a record says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMeta {
    /// What it is; the log does not look.
    pub kind: u8,
    /// Version of the body.
    pub version: u8,
    /// The shard.
    pub shard: u16,
    /// The term.
    pub term: u32,
    /// The record's number in its shard.
    pub index: u64,
}

/// A batch that is being filled.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    buffer: AlignedBuf,
    count: u32,
}

/// Bytes that a record with a body of `body` bytes takes in a batch at most.
pub fn record_size(body: usize) -> usize {
    (RECORD_HEADER + body).next_multiple_of(RECORD_ALIGN)
}

impl OpenBatch {
    pub(crate) fn new(mut buffer: AlignedBuf) -> Self {
        buffer.clear();
        buffer.zero_to(BATCH_HEADER);
        Self { buffer, count: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The largest body that still fits, with padding to whole blocks.
    pub(crate) fn room(&self) -> usize {
        self.buffer.room().saturating_sub(BLOCK + RECORD_HEADER + RECORD_ALIGN)
    }

    /// Bytes it will take on disk.
    pub(crate) fn sealed_len(&self) -> usize {
        self.buffer.len().next_multiple_of(BLOCK)
    }

    /// Appends a record whose body `fill` writes; gives the body's offset in the batch.
    pub(crate) fn append(&mut self, meta: RecordMeta, fill: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = self.buffer.len();
        self.buffer.zero_to(start + RECORD_HEADER);
        let body = self.buffer.append(fill);
        let len = u32::try_from(RECORD_HEADER + body).expect("a record is below 4 GiB");
        let RecordMeta { kind, version, shard, term, index } = meta;
        let header = RecordHeader { len, kind, version, shard, term, index };
        archive::write(&header, &mut self.buffer.as_mut_slice()[start..]);
        self.buffer.zero_to(self.buffer.len().next_multiple_of(RECORD_ALIGN));
        self.count += 1;
        start + RECORD_HEADER
    }

    /// Changes the kind of the record whose body is at `offset`.
    pub(crate) fn set_kind(&mut self, offset: usize, kind: u8) {
        let start = offset - RECORD_HEADER;
        let bytes = &mut self.buffer.as_mut_slice()[start..];
        let header: RecordHeader = archive::read(&bytes[..RECORD_HEADER]).expect("written by append()");
        archive::write(&RecordHeader { kind, ..header }, bytes);
    }

    /// `len` bytes of the body at `offset`, to change in place.
    pub(crate) fn body_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        &mut self.buffer.as_mut_slice()[offset..][..len]
    }

    /// Pads and seals it: the buffer, bytes used, and checksum.
    pub(crate) fn seal(mut self, key: LogKey, name: BatchName) -> (AlignedBuf, usize, u64) {
        let used = self.buffer.len();
        self.buffer.zero_to(self.sealed_len());
        let checksum = BatchHeader::seal(key, name, self.buffer.as_mut_slice(), used, self.count);
        (self.buffer, used, checksum)
    }
}

/// A record in place.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its header.
    pub header: RecordHeader,
    /// Offset of the body in the batch.
    pub offset: u32,
    /// Its body.
    pub body: &'a [u8],
}

/// The record at `offset` of `bytes`.
///
/// # Errors
/// [`WireError::Body`] if there is none.
pub fn record_at(bytes: &[u8], offset: usize) -> Result<Record<'_>, WireError> {
    let rest = bytes.get(offset..).ok_or(WireError::Body)?;
    let header: RecordHeader = archive::read(rest.get(..RECORD_HEADER).ok_or(WireError::Body)?)?;
    let body = rest.get(RECORD_HEADER..header.len as usize).ok_or(WireError::Body)?;
    let offset = u32::try_from(offset + RECORD_HEADER).map_err(|_| WireError::Body)?;
    Ok(Record { header, offset, body })
}

/// The records of a batch whose checksum was verified, in order.
pub fn records<'a>(header: &BatchHeader, batch: &'a [u8]) -> impl Iterator<Item = Result<Record<'a>, WireError>> {
    let used = &batch[..(header.used as usize).min(batch.len())];
    let (mut offset, mut left) = (BATCH_HEADER, header.count);
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let record = record_at(used, offset);
        match &record {
            Ok(record) => offset += record_size(record.body.len()),
            Err(_) => left = 0,
        }
        Some(record)
    })
}
