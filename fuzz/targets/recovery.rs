//! Recovery over whatever a disk may hold: a log that was written honestly, then bytes changed, blocks moved, files cut or
//! exchanged. It ends in an error or in records that were written, in order; and never otherwise. A whole file that is gone at the
//! beginning looks like retention to the log: that it is not is for the node to see (a conversation that begins in its middle).
//! Whether a shorter log than was written must be an error is judged by the simulator, which knows what was acknowledged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_fuzz::{Choices, disk::Memory};
use tidings_log::{
    Epoch, Log, LogConfig, LogKey, RecordMeta, RecoverError, Scanner, SlotId, Storage, Tail,
    prepare::{Outcome, Preparer, Step},
    records,
};
use tidings_wire::LogId;

const SEGMENT: u64 = 32 * 1024;
const KEY: LogKey = LogKey { log: LogId(1), nonce: 0x1234_5678_9abc_def0 };

/// The numbers in the records, in order, and where the log ends.
fn scan(disk: &Memory) -> Result<(Vec<u64>, Tail), RecoverError> {
    let mut scanner = Scanner::open(disk.clone(), KEY)?;
    let mut numbers = Vec::new();
    while scanner.advance()? {
        let batch = scanner.batch();
        for record in records(&batch.header, batch.bytes) {
            numbers.push(record.expect("a verified batch has valid records").header.index);
        }
    }
    Ok((numbers, scanner.finish()?.0))
}

struct Writer {
    disk: Memory,
    log: Log,
    preparer: Preparer,
    next: u64,
}

impl Writer {
    fn new(disk: Memory, tail: Tail, next: u64, epoch: u32) -> Self {
        let next_slot = disk.0.borrow().keys().last().map_or(0, |slot| slot.0 + 1);
        let preparer = Preparer::new(KEY, SEGMENT, tail.raw.clone(), next_slot);
        let config = LogConfig { key: KEY, epoch: Epoch(epoch), segment_len: SEGMENT, batch_max: 16 * 1024 };
        Self { log: Log::open(config, tail), disk, preparer, next }
    }

    fn prepare(&mut self) {
        let mut now = 0;
        while self.log.ready_segments() < 2 {
            now += 1_000_000_000;
            match self.preparer.next(now, self.log.ready_segments(), self.log.next_generation()) {
                Some(Step::Create(slot, len)) => {
                    self.disk.0.borrow_mut().insert(slot, vec![0; len as usize]);
                    self.preparer.created(Outcome::Done);
                }
                Some(Step::Fill { slot, offset, buffer } | Step::Write { slot, offset, buffer }) => {
                    self.disk.write(slot, offset, buffer.as_slice()).expect("memory does not fail");
                    let ready = self.preparer.written(buffer, Outcome::Done, self.log.next_generation());
                    ready.into_iter().for_each(|segment| self.log.add_ready(segment));
                }
                None => {}
            }
        }
    }

    fn batch(&mut self, count: u64, len: usize) {
        self.prepare();
        for _ in 0..count {
            let meta = RecordMeta { kind: 1, version: 1, shard: 3, term: 1, index: self.next };
            self.next += 1;
            self.log.append(meta, |body| body.resize(body.len() + len, 0xab));
        }
        let write = self.log.seal().expect("nothing is in flight");
        self.disk.write(write.slot, write.offset, write.buffer.as_slice()).expect("memory does not fail");
        let sealed = self.log.written(write.buffer);
        self.log.recycle(sealed.buffer);
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
