//! Bytes on disk: segment header, batch header, record header, and what their checksums are keyed with.
//!
//! All are archives of the form described in [`tidings_wire::archive`]: they evolve by appending.

use rkyv::{Archive, Deserialize, Serialize};
use tidings_wire::{Entry, EntryIndex, Generation, LogId, Lsn, Term, archive::Archived};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::batch::{record_size, records};

/// Bytes of a block: batches start and end on one, direct I/O is done in them.
pub const BLOCK: usize = 4096;
/// Bodies of records start on multiples of this.
pub const RECORD_ALIGN: usize = 16;
/// A segment's header is kept twice, each copy in a block of its own, written one after the other.
pub const HEADER_COPIES: u64 = 2;
/// Where a segment's first batch starts.
pub const FIRST_BATCH: u64 = HEADER_COPIES * BLOCK as u64;
/// Most bytes of a batch: what claims to be longer is none.
pub const BATCH_LEN_MAX: usize = 4 << 20;
/// Bytes that a batch's header takes, room to grow included.
pub const BATCH_HEADER: usize = 104;
/// Bytes that a record's header takes, room to grow included.
pub const RECORD_HEADER: usize = 40;
/// Version of the formats in this file.
pub const FORMAT: u16 = 3;

const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"tdsegmt1");
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"tdb1");

/// Which run of the node: counted in the data directory, raised at every start. The local stand-in for a leader's term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The run after it.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What a log's checksums are keyed with. The nonce is random and never leaves the node, so nobody can make a payload
/// that passes for a batch, and a batch of another log or generation does not pass either.
#[derive(Clone, Copy)]
pub struct LogKey {
    /// The log.
    pub log: LogId,
    /// The data directory's nonce.
    pub nonce: u64,
}

impl std::fmt::Debug for LogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogKey({:?})", self.log) // the nonce stays out of logs
    }
}

impl LogKey {
    fn seed(self, generation: Generation) -> u64 {
        let context = u64::from(self.log.0) << 32 | u64::from(generation.0);
        xxh3_64_with_seed(&context.to_le_bytes(), self.nonce)
    }

    fn checksum(self, generation: Generation, bytes: &[u8]) -> u64 {
        xxh3_64_with_seed(bytes, self.seed(generation))
    }
}

/// What stands at a segment's start, twice.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    checksum: u64,
    magic: u64,
    format: u16,
    log: u8,
    generation: u32,
    /// Bytes of the whole segment.
    pub len: u64,
}

impl Archived for SegmentHeader {
    const FIRST_LEN: usize = 31;
}

impl SegmentHeader {
    /// One block that holds the header of `generation`.
    pub fn block(key: LogKey, generation: Generation, len: u64) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let header =
            Self { checksum: 0, magic: SEGMENT_MAGIC, format: FORMAT, log: key.log.0, generation: generation.0, len };
        tidings_wire::archive::write(&header, &mut block);
        let sum = key.checksum(generation, &block[8..]);
        block[..8].copy_from_slice(&sum.to_le_bytes());
        block
    }

    /// Reads one copy; `None` if it is not a valid header of this log.
    pub fn parse(key: LogKey, block: &[u8; BLOCK]) -> Option<Self> {
        let header: Self = tidings_wire::archive::read(&block[..Self::LEN]).ok()?;
        let valid = header.magic == SEGMENT_MAGIC
            && header.format == FORMAT
            && header.log == key.log.0
            && header.checksum == key.checksum(header.generation(), &block[8..]);
        valid.then_some(header)
    }

    /// Which segment this is.
    pub fn generation(&self) -> Generation {
        Generation(self.generation)
    }
}

/// What stands at a batch's start.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Keyed, over the rest of this header and the headers of all records. Those hold checksums of the bodies, so that a
    /// payload is hashed once.
    pub checksum: u64,
    pub(crate) magic: u32,
    pub(crate) format: u16,
    /// No bit is defined yet.
    pub(crate) flags: u16,
    pub(crate) log: u8,
    pub(crate) generation: u32,
    pub(crate) epoch: u32,
    pub(crate) lsn: u64,
    /// The last batch known durable when this one was sealed.
    pub(crate) durable: u64,
    /// Bytes in all: a multiple of the block.
    pub len: u32,
    /// Bytes up to the end of the last record.
    pub used: u32,
    /// Records.
    pub count: u32,
    /// Checksum of the batch before, so that a batch of an abandoned future cannot follow another past.
    pub(crate) prev: u64,
}

impl Archived for BatchHeader {
    const FIRST_LEN: usize = 61;
}
const _: () = assert!(BatchHeader::LEN <= BATCH_HEADER && (BATCH_HEADER + RECORD_HEADER).is_multiple_of(RECORD_ALIGN));

/// What a sealed batch says of itself, besides its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchName {
    /// Its segment.
    pub generation: Generation,
    /// The run of the node that wrote it.
    pub epoch: Epoch,
    /// Its number.
    pub lsn: Lsn,
    /// The last batch known durable when it was sealed.
    pub durable: Lsn,
    /// Checksum of the batch before.
    pub prev: u64,
}

impl BatchHeader {
    /// Fills in the header of the batch in `bytes`, which are padded to whole blocks and have stamped records at `starts`; gives its
    /// checksum.
    pub fn seal(
        key: LogKey,
        name: BatchName,
        bytes: &mut [u8],
        used: usize,
        starts: impl ExactSizeIterator<Item = usize>,
    ) -> u64 {
        let as_u32 = |value: usize| u32::try_from(value).expect("a batch is below 4 GiB");
        let mut header = Self {
            checksum: 0,
            magic: BATCH_MAGIC,
            format: FORMAT,
            flags: 0,
            log: key.log.0,
            generation: name.generation.0,
            epoch: name.epoch.0,
            lsn: name.lsn.0,
            durable: name.durable.0,
            len: as_u32(bytes.len()),
            used: as_u32(used),
            count: as_u32(starts.len()),
            prev: name.prev,
        };
        tidings_wire::archive::write(&header, bytes);
        let of_header = Self::checksum_of_header(key, name.generation, bytes);
        header.checksum = starts.fold(of_header, |sum, start| chained(sum, &bytes[start..]));
        bytes[..8].copy_from_slice(&header.checksum.to_le_bytes());
        header.checksum
    }

    /// Reads the header at the start of `bytes` if it looks like a batch of this log and segment. Nothing is proven
    /// before [`Self::verify`].
    pub fn peek(key: LogKey, generation: Generation, bytes: &[u8]) -> Option<Self> {
        let header: Self = tidings_wire::archive::read(bytes.get(..Self::LEN)?).ok()?;
        let plausible = header.magic == BATCH_MAGIC
            && header.format == FORMAT
            && header.log == key.log.0
            && header.generation == generation.0
            && (header.len as usize).is_multiple_of(BLOCK)
            && header.len >= header.used
            && header.len as usize <= BATCH_LEN_MAX
            && header.used as usize >= BATCH_HEADER;
        plausible.then_some(header)
    }

    /// The segment that a batch at the start of `bytes` says that it is in, unproven.
    pub(crate) fn claimed(bytes: &[u8]) -> Option<Generation> {
        let header: Self = tidings_wire::archive::read(bytes.get(..Self::LEN)?).ok()?;
        (header.magic == BATCH_MAGIC).then_some(Generation(header.generation))
    }

    /// True if `bytes`, the whole batch, are as they were sealed: every bit of them is looked at.
    pub fn verify(&self, key: LogKey, bytes: &[u8]) -> bool {
        if bytes.len() != self.len as usize {
            return false;
        }
        let zeros = |range: std::ops::Range<usize>| bytes[range].iter().all(|byte| *byte == 0);
        let mut sum = Self::checksum_of_header(key, Generation(self.generation), bytes);
        let mut end = BATCH_HEADER;
        for record in records(self, bytes) {
            let Ok(record) = record else { return false };
            let (start, filled) = (end, end + record.bytes.len());
            end = start + record_size(record.body.len());
            if end > bytes.len() || !RecordHeader::matches(record.bytes) || !zeros(filled..end) {
                return false;
            }
            sum = chained(sum, record.bytes);
        }
        sum == self.checksum && end == self.used as usize && zeros(end..bytes.len())
    }

    fn checksum_of_header(key: LogKey, generation: Generation, bytes: &[u8]) -> u64 {
        key.checksum(generation, &bytes[8..BATCH_HEADER])
    }

    /// What the batch says of itself.
    pub fn name(&self) -> BatchName {
        BatchName {
            generation: Generation(self.generation),
            epoch: Epoch(self.epoch),
            lsn: Lsn(self.lsn),
            durable: Lsn(self.durable),
            prev: self.prev,
        }
    }
}

/// The keyed checksum of what came before and of the header of the record at the start of `bytes`.
fn chained(before: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(&bytes[..RECORD_HEADER], before)
}

/// What stands before a record's body. Its first three fields and the checksum are filled in when the batch is sealed.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// CRC32C over the header from `len` on and the body, then over `term`, `index` and `position`, which are known last. A record
    /// can be checked wherever it is, without its batch.
    pub crc: u32,
    /// The term of the shard's leader.
    pub term: u32,
    /// The record's entry in its shard; 0 if it is local.
    pub index: u64,
    /// Its place in the entry, from 0.
    pub position: u16,
    /// Bytes of header and body.
    pub len: u32,
    /// The shard.
    pub shard: u16,
    /// [`LOCAL`].
    pub flags: u8,
    /// What it is; the log does not look.
    pub kind: u8,
    /// Version of the body.
    pub version: u8,
    /// Microseconds since 1970, never less than those of the shard's record before.
    pub ts: u64,
}

/// Flag of a record that belongs to this node alone: it takes no place in an entry.
pub const LOCAL: u8 = 1;

impl Archived for RecordHeader {
    const FIRST_LEN: usize = 35;
}
const _: () = assert!(RecordHeader::LEN <= RECORD_HEADER);

/// Where in the header `crc` ends, and where the part begins that is filled in when a batch is sealed, and ends.
const AFTER_CRC: usize = 4;
const STAMP: std::ops::Range<usize> = AFTER_CRC..18;

impl RecordHeader {
    /// Puts the checksum of all but the stamp into `record`, a header and its body: while they are in the processor's cache.
    pub fn sum(record: &mut [u8]) {
        let crc = tidings_crc::crc32c(&record[STAMP.end..]);
        record[..AFTER_CRC].copy_from_slice(&crc.to_le_bytes());
    }

    /// Fills in what is known when a batch is sealed, in the header of a record that has its sum.
    pub fn stamp(record: &mut [u8], term: Term, index: EntryIndex, position: u16) {
        let mut stamp = [0; STAMP.end - STAMP.start];
        stamp[..4].copy_from_slice(&term.0.to_le_bytes());
        stamp[4..12].copy_from_slice(&index.0.to_le_bytes());
        stamp[12..].copy_from_slice(&position.to_le_bytes());
        record[STAMP].copy_from_slice(&stamp);
        let sum = u32::from_le_bytes(*record.first_chunk().expect("a record has a header"));
        let crc = tidings_crc::append(sum, &stamp);
        record[..AFTER_CRC].copy_from_slice(&crc.to_le_bytes());
    }

    /// True if `record`, a header and its body, matches the checksum in it.
    ///
    /// # Panics
    /// If it is shorter than a header.
    pub fn matches(record: &[u8]) -> bool {
        let crc = tidings_crc::of_parts([&record[STAMP.end..], &record[STAMP]]);
        record[..AFTER_CRC] == crc.to_le_bytes()
    }

    /// True if the record takes no place in an entry.
    pub fn is_local(&self) -> bool {
        self.flags & LOCAL != 0
    }

    /// The entry that the record is in; `None` if it is local.
    pub fn entry(&self) -> Option<Entry> {
        let (shard, term, index) = (self.shard, Term(self.term), EntryIndex(self.index));
        (!self.is_local()).then_some(Entry { shard, term, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamped_record_says_where_it_belongs_and_every_byte_is_checked() {
        let mut record = vec![0; RECORD_HEADER + 9];
        let (kind, version, ts, len) = (7, 1, 12, record.len() as u32);
        let header =
            RecordHeader { crc: 0, term: 0, index: 0, position: 0, len, shard: 3, flags: 0, kind, version, ts };
        tidings_wire::archive::write(&header, &mut record);
        RecordHeader::sum(&mut record);
        RecordHeader::stamp(&mut record, Term(5), EntryIndex(1 << 40), 6);
        let read: RecordHeader = tidings_wire::archive::read(&record[..RECORD_HEADER]).unwrap();
        assert_eq!(read, RecordHeader { crc: read.crc, term: 5, index: 1 << 40, position: 6, ..header });
        assert_eq!(read.entry(), Some(Entry { shard: 3, term: Term(5), index: EntryIndex(1 << 40) }));
        for at in 0..record.len() {
            assert!(RecordHeader::matches(&record));
            record[at] ^= 1;
            assert!(!RecordHeader::matches(&record), "byte {at}");
            record[at] ^= 1;
        }
    }
}
