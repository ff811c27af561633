//! The batch decoder: its header, and the records of a batch whose checksum is right although nobody sane wrote it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_log::{
    BLOCK, Epoch, LogKey,
    format::{BATCH_HEADER, BatchHeader, BatchName, RECORD_HEADER, SegmentHeader},
    records,
};
use tidings_wire::{Generation, LogId, Lsn};

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

    // Sealed, so that the checksum is right and only the records are nonsense. Nothing may panic.
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
});
