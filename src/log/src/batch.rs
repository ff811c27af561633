//! The open batch, and reading the records of a closed one.

use tidings_wire::{Entry, EntryIndex, Term, WireError, archive};

use crate::{
    buffer::AlignedBuf,
    format::{BATCH_HEADER, BLOCK, BatchHeader, BatchName, LOCAL, LogKey, RECORD_ALIGN, RECORD_HEADER, RecordHeader},
    replica::Replica,
};

/// Whether a record is part of its shard's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It is: every replica of the shard has it.
    Entry,
    /// It is housekeeping of this node.
    Local,
}

/// What the writer of a record says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMeta {
    /// What it is; the log does not look.
    pub kind: u8,
    /// Version of the body.
    pub version: u8,
    /// Whether it is part of an entry.
    pub scope: Scope,
    /// The shard.
    pub shard: u16,
    /// Microseconds since 1970.
    pub ts: u64,
}

/// An entry in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedEntry {
    /// Which.
    pub entry: Entry,
    /// How many records it has.
    pub records: u16,
}

/// A record of the open batch: where it begins, and what its place in an entry depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    start: u32,
    len: u32,
    shard: u16,
    scope: Scope,
    sum: Sum,
}

/// Whether a record's checksum is that of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sum {
    Right,
    /// The record was changed in place.
    Stale,
}

/// What a batch is made of, used again and again.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) buffer: AlignedBuf,
    pub(crate) records: Vec<Placed>,
}

impl Parts {
    /// For batches of at most `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { buffer: AlignedBuf::new(capacity), records: Vec::new() }
    }
}

/// A batch that is being filled.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    buffer: AlignedBuf,
    records: Vec<Placed>,
}

/// Bytes that a record with a body of `body` bytes takes in a batch at most.
pub fn record_size(body: usize) -> usize {
    (RECORD_HEADER + body).next_multiple_of(RECORD_ALIGN)
}

impl OpenBatch {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { mut buffer, mut records } = parts;
        records.clear();
        buffer.clear();
        buffer.zero_to(BATCH_HEADER);
        Self { buffer, records }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
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
        // A length that is known when it is compiled: a few stores, and no call.
        self.buffer.append(|bytes| bytes.extend_from_slice(&[0; RECORD_HEADER]));
        let body = self.buffer.append(fill);
        let len = u32::try_from(RECORD_HEADER + body).expect("a record is below 4 GiB");
        let RecordMeta { kind, version, scope, shard, ts } = meta;
        let flags = if scope == Scope::Local { LOCAL } else { 0 };
        let (crc, term, index, position) = (0, 0, 0, 0);
        let header = RecordHeader { crc, term, index, position, len, shard, flags, kind, version, ts };
        let record = &mut self.buffer.as_mut_slice()[start..];
        archive::write(&header, record);
        RecordHeader::sum(record);
        self.buffer.zero_to(start + record_size(body));
        self.records.push(Placed { start: start as u32, len, shard, scope, sum: Sum::Right });
        start + RECORD_HEADER
    }

    /// The record whose body is at `offset` becomes a local one of another kind.
    pub(crate) fn void(&mut self, offset: usize, kind: u8) {
        let start = offset - RECORD_HEADER;
        let bytes = &mut self.buffer.as_mut_slice()[start..];
        let header: RecordHeader = archive::read(&bytes[..RECORD_HEADER]).expect("written by append()");
        archive::write(&RecordHeader { kind, flags: header.flags | LOCAL, ..header }, bytes);
        let place = self.place_mut(offset);
        (place.scope, place.sum) = (Scope::Local, Sum::Stale);
    }

    /// Of the record whose body is at `offset`.
    fn place_mut(&mut self, offset: usize) -> &mut Placed {
        let place = self.records.binary_search_by_key(&(offset - RECORD_HEADER), |record| record.start as usize);
        &mut self.records[place.expect("it was appended")]
    }

    /// `len` bytes of the body at `offset`, to change in place.
    pub(crate) fn body_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        self.place_mut(offset).sum = Sum::Stale;
        &mut self.buffer.as_mut_slice()[offset..][..len]
    }

    /// Gives each record its place in its shard's entry, pads and seals: the buffer, bytes used, and checksum. `entries` are those
    /// in it, in the order of their first records.
    pub(crate) fn seal(
        mut self,
        key: LogKey,
        name: BatchName,
        replica: &mut impl Replica,
        entries: &mut Vec<SealedEntry>,
    ) -> (Parts, usize, u64) {
        self.stamp(replica, entries);
        let used = self.buffer.len();
        self.buffer.zero_to(self.sealed_len());
        let starts = self.records.iter().map(|record| record.start as usize);
        let checksum = BatchHeader::seal(key, name, self.buffer.as_mut_slice(), used, starts);
        let Self { buffer, records } = self;
        (Parts { buffer, records }, used, checksum)
    }

    fn stamp(&mut self, replica: &mut impl Replica, entries: &mut Vec<SealedEntry>) {
        entries.clear();
        let bytes = self.buffer.as_mut_slice();
        for &Placed { start, len, shard, scope, sum } in &self.records {
            let record = &mut bytes[start as usize..][..len as usize];
            if sum == Sum::Stale {
                RecordHeader::sum(record);
            }
            if scope == Scope::Local {
                RecordHeader::stamp(record, Term(0), EntryIndex(0), 0);
                continue;
            }
            // Few shards have records in one batch, and most often the last one has the next.
            let at = entries.iter().rposition(|sealed| sealed.entry.shard == shard).unwrap_or_else(|| {
                entries.push(SealedEntry { entry: replica.propose(shard), records: 0 });
                entries.len() - 1
            });
            let SealedEntry { entry, records } = &mut entries[at];
            RecordHeader::stamp(record, entry.term, entry.index, *records);
            *records += 1;
        }
    }
}

/// A record in place.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its header.
    pub header: RecordHeader,
    /// Header and body.
    pub bytes: &'a [u8],
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
    let bytes = rest.get(..header.len as usize).ok_or(WireError::Body)?;
    let body = bytes.get(RECORD_HEADER..).ok_or(WireError::Body)?;
    let offset = u32::try_from(offset + RECORD_HEADER).map_err(|_| WireError::Body)?;
    Ok(Record { header, bytes, offset, body })
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
