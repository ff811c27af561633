//! Recovery over whatever a disk may hold: a log that was written honestly, then bytes changed, blocks moved, files cut or
//! exchanged. It ends in an error or in records that were written, in order; and never otherwise. A whole file that is gone at the
//! beginning looks like retention to the log: that it is not is for the node to see (a conversation that begins in its middle).
//! Whether a shorter log than was written must be an error is judged by the simulator, which knows what was acknowledged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_fuzz::Choices;
use tidings_log::{LogKey, RecordMeta, RecoverError, Scanner, Scope, SlotId, Solo, Tail, records};
use tidings_testkit::{
    Memory,
    store::{Store, log_config},
};
use tidings_wire::{LogId, Term};

const SEGMENT: u64 = 32 * 1024;
const KEY: LogKey = LogKey { log: LogId(1), nonce: 0x1234_5678_9abc_def0 };

/// The numbers in the records, in order, and where the log ends.
fn scan(disk: &Memory) -> Result<(Vec<u64>, Tail), RecoverError> {
    let mut scanner = Scanner::open(disk.clone(), KEY)?;
    let mut numbers = Vec::new();
    while scanner.advance()? {
        let batch = scanner.batch();
        for record in records(&batch.header, batch.bytes) {
            numbers.push(record.expect("a verified batch has valid records").header.ts);
        }
    }
    Ok((numbers, scanner.finish()?.0))
}

struct Writer {
    store: Store,
    replica: Solo,
    next: u64,
}

impl Writer {
    fn new(disk: Memory, tail: Tail, next: u64, epoch: u32) -> Self {
        let store = Store::open(disk, log_config(KEY, epoch, SEGMENT, 16 * 1024), tail);
        Self { store, replica: Solo::new(8, Term(epoch)), next }
    }

    fn batch(&mut self, count: u64, len: usize) {
        for _ in 0..count {
            let meta = RecordMeta { kind: 16, version: 1, scope: Scope::Entry, shard: 3, ts: self.next };
            self.next += 1;
            self.store.log.append(meta, |body| body.resize(body.len() + len, 0xab));
        }
        let write = self.store.seal(&mut self.replica);
        self.store.land(write);
        let sealed = self.store.log.take_durable().expect("it is written");
        self.store.log.recycle(sealed);
    }
}

fn harm(disk: &Memory, choices: &mut Choices<'_>) {
    let mut files = disk.0.borrow_mut();
    let slots: Vec<SlotId> = files.keys().copied().collect();
    let slot = slots[choices.below(slots.len() as u64) as usize];
    let other = slots[choices.below(slots.len() as u64) as usize];
    let file = files.get_mut(&slot).expect("listed above");
    let blocks = (file.len() / 4096) as u64;
    match choices.below(6) {
        0 if !file.is_empty() => {
            let at = choices.below(file.len() as u64) as usize;
            file[at] ^= choices.byte().max(1);
        }
        1 => {
            let (at, bytes) = (choices.below(blocks.max(1)) as usize * 4096, choices.bytes(64));
            if let Some(target) = file.get_mut(at..at + bytes.len()) {
                target.copy_from_slice(bytes);
            }
        }
        2 if blocks > 0 => {
            let (from, to) = (choices.below(blocks) as usize * 4096, choices.below(blocks) as usize * 4096);
            file.copy_within(from..from + 4096, to);
        }
        3 => file.truncate(choices.below(SEGMENT) as usize),
        4 if blocks > 0 => {
            let at = choices.below(blocks) as usize * 4096;
            file[at..at + 4096].fill(0);
        }
        _ => {
            let copy = file.clone();
            files.insert(other, copy);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let disk = Memory::default();
    let mut writer = Writer::new(disk.clone(), Tail::default(), 1, 1);
    for _ in 0..1 + choices.below(8) {
        writer.batch(choices.below(4), choices.below(3000) as usize);
    }
    let written = writer.next - 1;
    for _ in 0..1 + choices.below(4) {
        harm(&disk, &mut choices);
    }
    let Ok((numbers, tail)) = scan(&disk) else { return };
    let in_order = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
    assert!(in_order && numbers.last().is_none_or(|last| *last <= written), "{numbers:?}");
    // Recovering again finds the same, and the log goes on from there.
    let (again, same) = scan(&disk).expect("what was recovered once can be recovered again");
    assert!(again == numbers && same.next_offset == tail.next_offset && same.last == tail.last);
    let mut writer = Writer::new(disk.clone(), same, numbers.last().map_or(1, |last| last + 1), 2);
    writer.batch(2, 10);
    let (more, _) = scan(&disk).expect("what was written after recovery can be read");
    assert_eq!(more.len(), numbers.len() + 2);
});
