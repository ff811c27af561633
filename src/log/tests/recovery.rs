//! The log over a disk in memory: what was written and completed comes back, whatever a crash left of the rest.

use proptest::prelude::*;
use tidings_log::{
    BLOCK, Damage, LogConfig, LogKey, LogWrite, RecordMeta, RecoverError, Scanner, Scope, Solo, Storage, Tail,
    format::{BatchHeader, FIRST_BATCH, RecordHeader},
    records,
    recovery::{Decision, Further, Here, NextSegment, decide},
};
use tidings_testkit::{
    Memory,
    store::{Store, log_config},
};
use tidings_wire::{LogId, Lsn, Term, archive::Archived as _};

const SEGMENT: u64 = 64 * 1024;
const KEY: LogKey = LogKey { log: LogId(1), nonce: 0x1234_5678_9abc_def0 };

/// A log and its disk, driven by hand.
struct Node {
    store: Store,
    replica: Solo,
    next: u64,
}

/// Recovers: the numbers in the records, in order, and the tail.
fn scan(disk: &Memory) -> Result<(Vec<u64>, Tail), RecoverError> {
    let mut scanner = Scanner::open(disk.clone(), KEY)?;
    let mut numbers = Vec::new();
    while scanner.advance()? {
        let batch = scanner.batch();
        for record in records(&batch.header, batch.bytes) {
            let record = record.expect("a verified batch has valid records");
            assert!(RecordHeader::matches(record.bytes) && record.header.ts.to_le_bytes() == record.body[..8]);
            numbers.push(record.header.ts);
        }
    }
    Ok((numbers, scanner.finish()?.0))
}

impl Node {
    fn start(disk: Memory, epoch: u32) -> (Self, Vec<u64>) {
        Self::start_with(disk, log_config(KEY, epoch, SEGMENT, 32 * 1024))
    }

    fn start_with(disk: Memory, config: LogConfig) -> (Self, Vec<u64>) {
        let (numbers, tail) = scan(&disk).expect("recovery");
        let next = numbers.last().map_or(1, |n| n + 1);
        (Self { store: Store::open(disk, config, tail), replica: Solo::new(8, Term(1)), next }, numbers)
    }

    /// Appends a batch of `count` records with bodies of `len` bytes, and hands out its write.
    fn batch(&mut self, count: u64, len: usize) -> LogWrite {
        for _ in 0..count {
            let number = self.next;
            self.next += 1;
            let meta = RecordMeta { kind: 16, version: 1, scope: Scope::Entry, shard: 3, ts: number };
            self.store.log.append(meta, |body| {
                body.extend(number.to_le_bytes());
                body.resize(body.len() + len, 0xab);
            });
        }
        self.store.seal(&mut self.replica)
    }

    fn complete(&mut self, write: LogWrite) {
        let lsn = write.lsn;
        self.store.land(write);
        let sealed = self.store.log.take_durable().expect("it is the next one");
        assert!(sealed.durable.covers(lsn) && !sealed.durable.covers(lsn.next()));
        self.store.log.recycle(sealed);
        self.store.prepare();
    }

    fn tip(&mut self) {
        let tip = self.store.seal(&mut self.replica);
        self.complete(tip);
        assert!(!self.store.log.needs_tip());
    }
}

fn expect_damage(disk: &Memory) -> Damage {
    match scan(disk) {
        Err(RecoverError::Damaged(damage)) => damage,
        other => panic!("expected damage, got {other:?}"),
    }
}

#[test]
fn the_decision_table_is_exhaustive_and_never_loses_what_is_vouched_for() {
    for here in [Here::Batch, Here::Blank, Here::Broken] {
        for next in [NextSegment::Continues, NextSegment::DoesNot] {
            for further in [Further::Nothing, Further::Unvouched, Further::Vouched] {
                let decision = decide(here, next, further);
                let ends = matches!(decision, Decision::End | Decision::TornEnd);
                assert_eq!(decision == Decision::Take, here == Here::Batch);
                assert!(!(ends && further == Further::Vouched), "{here:?} {next:?} {further:?}");
                assert_eq!(ends && further == Further::Nothing && here == Here::Blank, decision == Decision::End);
                if decision == Decision::NextSegment {
                    assert_eq!(next, NextSegment::Continues);
                }
            }
        }
    }
}

#[test]
fn an_empty_log_is_empty() {
    let (node, numbers) = Node::start(Memory::default(), 1);
    assert!(numbers.is_empty());
    drop(node);
    let disk = Memory::default();
    Node::start(disk.clone(), 1);
    let (numbers, tail) = scan(&disk).unwrap();
    assert!(numbers.is_empty() && tail.segments.is_empty() && tail.ready.len() == 2);
}

#[test]
fn damage_that_a_later_batch_vouches_for_is_reported_with_its_place() {
    let disk = Memory::default();
    let (mut node, _) = Node::start(disk.clone(), 1);
    let mut places = Vec::new();
    for _ in 0..3 {
        let write = node.batch(2, 100);
        places.push((write.slot, write.offset));
        node.complete(write);
    }
    node.tip();
    for (index, (slot, offset)) in places.into_iter().enumerate() {
        disk.0.borrow_mut().get_mut(&slot).unwrap()[offset as usize + 200] ^= 1;
        let Damage::Batch { slot: at, offset: from, lsn } = expect_damage(&disk) else { panic!("a batch") };
        assert_eq!((at, from), (slot, offset));
        assert_eq!(lsn, (index > 0).then_some(Lsn(index as u64 + 1)));
        disk.0.borrow_mut().get_mut(&slot).unwrap()[offset as usize + 200] ^= 1;
    }
    assert_eq!(scan(&disk).unwrap().0, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn damage_to_the_last_batch_is_a_torn_tail_before_the_tip_and_damage_after_it() {
    for with_tip in [false, true] {
        let disk = Memory::default();
        let (mut node, _) = Node::start(disk.clone(), 1);
        let write = node.batch(1, 100);
        node.complete(write);
        let write = node.batch(1, 100);
        let (slot, offset) = (write.slot, write.offset);
        node.complete(write);
        assert!(node.store.log.needs_tip());
        if with_tip {
            node.tip();
        }
        disk.0.borrow_mut().get_mut(&slot).unwrap()[offset as usize + 200] ^= 1;
        if with_tip {
            expect_damage(&disk);
        } else {
            let (numbers, tail) = scan(&disk).unwrap();
            assert!(numbers == [1] && tail.torn);
        }
    }
}

#[test]
fn a_lost_segment_and_a_segment_with_lost_headers_are_damage() {
    let disk = Memory::default();
    let (mut node, _) = Node::start(disk.clone(), 1);
    for _ in 0..8 {
        let write = node.batch(1, 24 * 1024);
        node.complete(write);
    }
    assert!(node.store.log.segments().len() > 2);
    let slots: Vec<_> = node.store.log.segments().map(|segment| segment.slot).collect();

    let kept = disk.0.borrow_mut().remove(&slots[1]).unwrap();
    assert!(matches!(expect_damage(&disk), Damage::SegmentMissing(_)));
    disk.0.borrow_mut().insert(slots[1], kept);

    // Only one header copy is lost: nothing happens.
    disk.0.borrow_mut().get_mut(&slots[1]).unwrap()[..BLOCK].fill(0xff);
    assert_eq!(scan(&disk).unwrap().0.len(), 8);
    // Both are, and it is the newest.
    disk.0.borrow_mut().retain(|slot, _| slots.contains(slot));
    disk.0.borrow_mut().get_mut(slots.last().unwrap()).unwrap()[..2 * BLOCK].fill(0xff);
    assert!(matches!(expect_damage(&disk), Damage::SegmentMissing(_)));
}

#[test]
fn recycled_segments_do_not_show_their_old_batches() {
    let disk = Memory::default();
    let (mut node, _) = Node::start(disk.clone(), 1);
    for round in 0..40 {
        let write = node.batch(1, 20 * 1024);
        node.complete(write);
        while node.store.log.segments().len() > 2 {
            let dropped = node.store.log.drop_oldest().unwrap();
            node.store.preparer.recycle(dropped);
        }
        let (numbers, tail) = scan(&disk).unwrap();
        assert_eq!(numbers.last(), Some(&(round + 1)));
        assert!(numbers.is_sorted_by(|a, b| a + 1 == *b) && !tail.torn);
    }
    assert!(disk.0.borrow().len() <= 6, "files are reused");
}

/// Segments keep the length that they were made with, whatever the settings say later.
#[test]
fn another_segment_length_is_for_new_segments() {
    let disk = Memory::default();
    let (mut node, _) = Node::start(disk.clone(), 1);
    let write = node.batch(1, 100);
    node.complete(write);
    let mut expected = vec![1];
    for (epoch, len) in [(2, 2 * SEGMENT), (3, SEGMENT)] {
        let (mut node, numbers) = Node::start_with(disk.clone(), log_config(KEY, epoch, len, 32 * 1024));
        assert_eq!(numbers, expected);
        for _ in 0..12 {
            let write = node.batch(1, 24 * 1024);
            node.complete(write);
            while node.store.log.segments().len() > 3 {
                let dropped = node.store.log.drop_oldest().unwrap();
                node.store.preparer.recycle(dropped);
            }
        }
        expected = scan(&disk).unwrap().0;
        assert_eq!(expected.last(), Some(&(node.next - 1)));
        assert!(expected.is_sorted_by(|a, b| a + 1 == *b) && expected.len() >= 4);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Several runs; each ends in a crash that leaves any subset of the blocks being written. What completed is there,
    /// once and in order; what was in flight is there whole or not at all.
    #[test]
    fn any_crash_leaves_a_prefix(
        runs in prop::collection::vec((prop::collection::vec((1u64..5, 0usize..9000), 0..6), any::<u64>(), any::<bool>()), 1..5),
    ) {
        let disk = Memory::default();
        let mut expected = Vec::new();
        for (epoch, (batches, kept_blocks, tip)) in runs.into_iter().enumerate() {
            let (mut node, numbers) = Node::start(disk.clone(), epoch as u32 + 1);
            prop_assert_eq!(&numbers, &expected);
            let last = batches.len();
            for (index, (count, len)) in batches.into_iter().enumerate() {
                let first = node.next;
                let write = node.batch(count, len);
                if index + 1 < last {
                    node.complete(write);
                    expected.extend(first..node.next);
                    continue;
                }
                if tip {
                    // Whole after all, but the completion was never seen.
                    disk.write(write.slot, write.offset, write.buffer.as_slice()).unwrap();
                    expected.extend(first..node.next);
                    break;
                }
                let blocks: Vec<&[u8]> = write.buffer.as_slice().chunks(BLOCK).collect();
                for (at, block) in blocks.iter().enumerate().filter(|(at, _)| kept_blocks >> (at % 64) & 1 == 1) {
                    disk.write(write.slot, write.offset + (at * BLOCK) as u64, block).unwrap();
                }
                // A block that was not written may hold the same bytes from an earlier torn attempt.
                let mut left = vec![0; write.buffer.len()];
                disk.read(write.slot, write.offset, &mut left).unwrap();
                if left == write.buffer.as_slice() {
                    expected.extend(first..node.next);
                }
            }
        }
        prop_assert_eq!(scan(&disk).unwrap().0, expected);
    }

    /// With several writes in flight they land in any order, and a crash leaves any of them: what is there up to the first that is
    /// missing comes back, and the log goes on from there.
    #[test]
    fn any_of_several_writes_in_flight_may_be_lost(
        runs in prop::collection::vec((prop::collection::vec((1u64..4, 0usize..12_000), 1..9), any::<u64>(), 2usize..5), 1..5),
    ) {
        let disk = Memory::default();
        let mut expected = Vec::new();
        for (epoch, (batches, chance, writes)) in runs.into_iter().enumerate() {
            let config = LogConfig { writes, ..log_config(KEY, epoch as u32 + 1, SEGMENT, 48 * 1024) };
            let (mut node, numbers) = Node::start_with(disk.clone(), config);
            prop_assert_eq!(&numbers, &expected);
            let mut flying: Vec<(Vec<u64>, LogWrite)> = Vec::new();
            for (at, (count, len)) in batches.into_iter().enumerate() {
                let numbers = (node.next..node.next + count).collect();
                flying.push((numbers, node.batch(count, len)));
                while flying.len() == writes {
                    // One of them lands; those that are durable are taken, in their order.
                    let (numbers, write) = flying.remove((chance >> at) as usize % writes);
                    node.store.land(write);
                    expected.extend(numbers);
                    while let Some(sealed) = node.store.log.take_durable() {
                        node.store.log.recycle(sealed);
                    }
                }
            }
            // Of those in flight some are there and some are not.
            for (at, (numbers, write)) in flying.into_iter().enumerate() {
                if chance >> (32 + at) & 1 == 1 {
                    expected.extend(numbers);
                    disk.write(write.slot, write.offset, write.buffer.as_slice()).unwrap();
                }
            }
            expected.sort_unstable();
            let whole = expected.iter().zip(1..).take_while(|(number, place)| *number == place).count();
            expected.truncate(whole);
        }
        prop_assert_eq!(scan(&disk).unwrap().0, expected);
    }

    /// Recovery of arbitrary bytes ends: with a log, or with an error.
    #[test]
    fn arbitrary_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..3 * BLOCK)) {
        let disk = Memory::default();
        let (mut node, _) = Node::start(disk.clone(), 1);
        let write = node.batch(1, 10);
        let (slot, offset) = (write.slot, write.offset as usize);
        node.complete(write);
        disk.0.borrow_mut().get_mut(&slot).unwrap()[offset..][..bytes.len()].copy_from_slice(&bytes);
        let _ended = scan(&disk);
    }
}

/// Both copies of a segment's header and its first batch are gone: what is left of it still proves that it was a segment.
#[test]
fn a_segment_without_header_and_beginning_is_damage() {
    let (mut node, _) = Node::start(Memory::default(), 1);
    for _ in 0..3 {
        let write = node.batch(1, 100);
        node.complete(write);
    }
    let slot = node.store.log.segments().next().unwrap().slot;
    node.store.disk.0.borrow_mut().get_mut(&slot).unwrap()[..3 * BLOCK].fill(0);
    assert!(matches!(scan(&node.store.disk), Err(RecoverError::Damaged(Damage::SegmentMissing(_)))));
}

/// The only segment with batches was dropped (nobody wrote the log any more), and the log is written again from a prepared one on: its first
/// batches may be lost like any others that were in flight, and are missed like any others once one vouches for them.
#[test]
fn a_log_that_begins_again_in_a_later_segment_may_lose_what_was_in_flight() {
    for durable in [false, true] {
        let (mut before, _) = Node::start(Memory::default(), 1);
        let write = before.batch(3, 100);
        let dropped = write.slot;
        before.complete(write);
        before.tip();
        let disk = before.store.disk.copied();
        disk.0.borrow_mut().remove(&dropped);
        let config = LogConfig { writes: 2, ..log_config(KEY, 2, SEGMENT, 32 * 1024) };
        let (mut node, numbers) = Node::start_with(disk, config);
        assert!(numbers.is_empty());
        let first = node.batch(2, 100);
        let (slot, offset) = (first.slot, first.offset);
        if durable {
            node.complete(first);
        }
        let second = node.batch(1, 100);
        node.store.land(second);
        let disk = node.store.disk.copied();
        disk.write(slot, offset, &[0; BLOCK]).unwrap();
        match scan(&disk) {
            Ok((numbers, tail)) => assert!(!durable && numbers.is_empty() && tail.torn),
            Err(error) => assert!(durable, "{error}"),
        }
    }
}

/// Retention dropped the oldest segments; the first batch of the oldest that is left was durable then.
#[test]
fn the_first_batch_after_dropped_segments_is_missed() {
    let disk = Memory::default();
    let (mut node, _) = Node::start(disk.clone(), 1);
    while node.store.log.segments().len() < 3 {
        let write = node.batch(3, 9000);
        node.complete(write);
    }
    let kept = *node.store.log.segments().nth(1).unwrap();
    let dropped = node.store.log.drop_oldest().unwrap();
    disk.0.borrow_mut().remove(&dropped.slot);
    assert!(scan(&disk).is_ok());
    disk.write(kept.slot, FIRST_BATCH, &[0; BLOCK]).unwrap();
    assert_eq!(expect_damage(&disk), Damage::Batch { slot: kept.slot, offset: FIRST_BATCH, lsn: None });
}

/// Of two writes in flight the second landed, in the next segment, and the first was lost: what is left of the second is erased, or it would be taken for a witness
/// once the segment before is dropped.
#[test]
fn what_a_torn_tail_left_in_the_next_segment_is_erased() {
    let config = |epoch| LogConfig { writes: 2, ..log_config(KEY, epoch, SEGMENT, 32 * 1024) };
    let (mut node, _) = Node::start_with(Memory::default(), config(1));
    let mut write = node.batch(3, 9000);
    let first = write.slot;
    loop {
        node.complete(write);
        write = node.batch(3, 9000);
        let second = node.batch(1, 9000);
        if second.slot != first {
            node.store.land(second); // and not the first of them
            break;
        }
        node.complete(write);
        write = second;
    }
    let disk = node.store.disk.copied();
    let (numbers, tail) = scan(&disk).unwrap();
    assert!(!numbers.is_empty() && tail.torn);
    disk.0.borrow_mut().remove(&first);
    let (numbers, tail) = scan(&disk).expect("nothing is missed");
    assert!(numbers.is_empty() && tail.segments.is_empty() && !tail.ready.is_empty());
}

#[test]
fn every_byte_of_a_batch_is_checked_also_of_records_that_were_changed_in_place() {
    let (mut node, _) = Node::start(Memory::default(), 1);
    let meta = RecordMeta { kind: 16, version: 1, scope: Scope::Entry, shard: 3, ts: 1 };
    let mut append = |body: &[u8]| node.store.log.append(meta, |bytes| bytes.extend_from_slice(body));
    let (changed, voided, _) = (append(&[1; 100]), append(&[2; 33]), append(&[3; 7]));
    node.store.log.revise(changed, 100).expect("it is in the open batch")[40] = 9;
    assert!(node.store.log.void(voided, 22));
    let write = node.store.seal(&mut node.replica);
    let mut bytes = write.buffer.as_slice().to_vec();
    let claimed: BatchHeader = tidings_wire::archive::read(&bytes[..BatchHeader::LEN]).unwrap();
    let found: Vec<_> = records(&claimed, &bytes).map(|record| record.unwrap().body.to_vec()).collect();
    assert_eq!((found.len(), found[0][40], found[2].as_slice()), (3, 9, &[3; 7][..]));
    let valid = |bytes: &[u8]| {
        let header = BatchHeader::peek(KEY, claimed.name().generation, bytes);
        header.is_some_and(|header| header.verify(KEY, bytes))
    };
    assert!(valid(&bytes));
    for at in 0..bytes.len() {
        bytes[at] ^= 0x10;
        assert!(!valid(&bytes), "byte {at}");
        bytes[at] ^= 0x10;
    }
}
