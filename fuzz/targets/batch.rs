//! The batch decoder: its header, and the records of a batch whose checksum is right although nobody sane wrote it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_log::{
    BLOCK, Epoch, LogKey,
    batch::record_size,
    format::{BATCH_HEADER, BatchHeader, BatchName, RECORD_HEADER, RecordHeader, SegmentHeader},
    records,
};
use tidings_wire::{EntryIndex, Generation, LogId, Lsn, Term};

const KEY: LogKey = LogKey { log: LogId(1), nonce: 7 };
const GENERATION: Generation = Generation(3);

fuzz_target!(|bytes: &[u8]| {
    // As it is.
    if let Some(header) = BatchHeader::peek(KEY, GENERATION, bytes)
        && header.verify(KEY, bytes)
    {
        records(&header, bytes).for_each(drop);
    }
    let mut block = [0; BLOCK];
    let len = bytes.len().min(BLOCK);
    block[..len].copy_from_slice(&bytes[..len]);
    let _header = SegmentHeader::parse(KEY, &block);

    // Sealed, with right checksums over nonsense where records begin. Nothing may panic.
    let mut batch = vec![0; BATCH_HEADER];
    batch.extend_from_slice(bytes);
    let used = batch.len();
    batch.resize(used.next_multiple_of(BLOCK), 0);
    let name = BatchName { generation: GENERATION, epoch: Epoch(1), lsn: Lsn(9), durable: Lsn(8), prev: 1 };
    let count = bytes.first().map_or(0, |first| usize::from(*first)).min(batch.len() / RECORD_HEADER - 1);
    BatchHeader::seal(KEY, name, &mut batch, used, (0..count).map(|at| at * RECORD_HEADER));
    let header = BatchHeader::peek(KEY, GENERATION, &batch).expect("sealed above");
    let _whole = header.verify(KEY, &batch);
    let mut last = 0;
    for record in records(&header, &batch).flatten() {
        assert!(record.offset as usize > last && record.offset as usize + record.body.len() <= used);
        last = record.offset as usize;
    }

    // As the log writes it: whole, and with any bit changed it is not.
    let Some((&at, rest)) = bytes.split_first_chunk().map(|(at, rest): (&[u8; 2], _)| (at, rest)) else { return };
    let (mut batch, mut starts) = (vec![0; BATCH_HEADER], Vec::new());
    for body in rest.chunks(usize::from(at[0]) + 1) {
        let (start, len) = (batch.len(), (RECORD_HEADER + body.len()) as u32);
        let (crc, term, index, position, shard, flags, kind, version, ts) = (0, 0, 0, 0, 1, 0, 16, 1, 9);
        let header = RecordHeader { crc, term, index, position, len, shard, flags, kind, version, ts };
        batch.resize(start + RECORD_HEADER, 0);
        tidings_wire::archive::write(&header, &mut batch[start..]);
        batch.extend_from_slice(body);
        RecordHeader::sum(&mut batch[start..]);
        RecordHeader::stamp(&mut batch[start..], Term(1), EntryIndex(7), starts.len() as u16);
        batch.resize(start + record_size(body.len()), 0);
        starts.push(start);
    }
    let used = batch.len();
    batch.resize(used.next_multiple_of(BLOCK), 0);
    BatchHeader::seal(KEY, name, &mut batch, used, starts.into_iter());
    let header = BatchHeader::peek(KEY, GENERATION, &batch).expect("sealed above");
    assert!(header.verify(KEY, &batch));
    let bit = usize::from(u16::from_le_bytes(at)) % (8 * batch.len());
    batch[bit / 8] ^= 1 << (bit % 8);
    assert!(!BatchHeader::peek(KEY, GENERATION, &batch).is_some_and(|header| header.verify(KEY, &batch)));
});
