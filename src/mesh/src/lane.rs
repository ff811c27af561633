//! One lane: a ring of fixed slots, and an arena for the payloads that they point at.
//!
//! The producer fills slots and arena privately, then [`LaneSender::publish`]es once a turn; the consumer reads in place,
//! then [`LaneReceiver::release`]s once a turn. Both indices run freely and are masked on use. Arena space is given out
//! in the order of the slots, so the consumer's one index frees both.

use std::mem::MaybeUninit;

use crossbeam::utils::CachePadded;
use tidings_canary::{self as canary, Canary};

use crate::sync::{Arc, AtomicUsize, Ordering, UnsafeCell};

/// There is no room for a value or its payload: nothing was taken; ask again after the consumer released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoCredit;

/// A slot as it stands in the ring.
#[derive(Clone, Copy, Debug)]
struct Slot<T> {
    value: T,
    start: usize,
    len: usize,
}

#[derive(Debug)]
struct Shared<T> {
    /// Slots published by the producer, ever.
    tail: CachePadded<AtomicUsize>,
    /// Slots released by the consumer, ever.
    head: CachePadded<AtomicUsize>,
    slots: Box<[UnsafeCell<MaybeUninit<Slot<T>>>]>,
    /// Not a loom cell: an arena range is only touched by who owns its slot, whose cell loom does watch.
    arena: Box<[std::cell::UnsafeCell<u8>]>,
}

// SAFETY: producer and consumer are two handles that cannot be cloned. A slot and its arena range belong to the
// producer until `tail` is stored with Release past it, then to the consumer until `head` is stored with Release past
// it; each side loads the other's index with Acquire before it touches what it was given.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; the values themselves are Send.
unsafe impl<T: Send> Send for Shared<T> {}

/// The producer's end.
#[derive(Debug)]
pub struct LaneSender<T> {
    shared: Arc<Shared<T>>,
    /// Slots filled, ever; those past the shared `tail` are not published yet.
    tail: usize,
    published: usize,
    /// The consumer's index when we last looked.
    head: usize,
    /// Arena bytes given out, ever, skipped ends included.
    arena_tail: usize,
    /// `arena_tail` behind each slot: where the arena's free space begins once that slot is released.
    arena_ends: Box<[usize]>,
}

/// The consumer's end.
#[derive(Debug)]
pub struct LaneReceiver<T> {
    shared: Arc<Shared<T>>,
    /// Slots read, ever; those past the shared `head` are not released yet.
    head: usize,
    released: usize,
    /// The producer's index when we last looked.
    tail: usize,
}

/// Makes a lane of `slots` values with `arena` bytes for their payloads.
///
/// # Panics
/// Unless both are powers of two.
pub fn lane<T: Copy + Send>(slots: usize, arena: usize) -> (LaneSender<T>, LaneReceiver<T>) {
    assert!(slots.is_power_of_two() && arena.is_power_of_two(), "a lane's sizes are powers of two");
    let shared = Arc::new(Shared {
        tail: CachePadded::new(AtomicUsize::new(0)),
        head: CachePadded::new(AtomicUsize::new(0)),
        slots: (0..slots).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        arena: (0..arena).map(|_| std::cell::UnsafeCell::new(0)).collect(),
    });
    let arena_ends = vec![0; slots].into_boxed_slice();
    let sender = LaneSender { shared: Arc::clone(&shared), tail: 0, published: 0, head: 0, arena_tail: 0, arena_ends };
    (sender, LaneReceiver { shared, head: 0, released: 0, tail: 0 })
}

impl<T: Copy + Send> LaneSender<T> {
    /// Where the arena's used space begins.
    fn arena_head(&self) -> usize {
        match self.head {
            0 => 0,
            head => self.arena_ends[(head - 1) & (self.arena_ends.len() - 1)],
        }
    }

    /// Where a payload of `len` bytes would start, counted without wrapping, if it and `count` slots fit now.
    fn place(&self, count: usize, len: usize) -> Option<usize> {
        let size = self.shared.arena.len();
        let slots = self.shared.slots.len() + usize::from(canary::is(Canary::SlotReusedEarly));
        if self.tail - self.head + count > slots {
            return None;
        }
        let offset = self.arena_tail & (size - 1);
        let start = if offset + len <= size { self.arena_tail } else { self.arena_tail + size - offset };
        let used_from = if self.tail == self.head { start } else { self.arena_head() };
        (start + len - used_from <= size).then_some(start)
    }

    fn place_or_look(&mut self, count: usize, len: usize) -> Result<usize, NoCredit> {
        if let Some(start) = self.place(count, len) {
            return Ok(start);
        }
        self.head = self.shared.head.load(Ordering::Acquire);
        self.place(count, len).ok_or(NoCredit)
    }

    /// True if `count` values with payloads of `len` bytes in all can be sent now, wherever the arena's end falls between
    /// them (which may cost the largest of them once more).
    pub fn has_credit(&mut self, count: usize, len: usize) -> bool {
        let len = if count > 1 { 2 * len } else { len };
        self.place_or_look(count, len).is_ok()
    }

    /// Puts `value` and its payload, given in parts, behind what was sent before. Seen by the consumer after
    /// [`Self::publish`].
    ///
    /// # Errors
    /// [`NoCredit`].
    pub fn send(&mut self, value: T, payload: &[&[u8]]) -> Result<(), NoCredit> {
        let len = payload.iter().map(|part| part.len()).sum();
        let at = self.place_or_look(1, len)?;
        let start = at & (self.shared.arena.len() - 1);
        let mut to = start;
        for part in payload {
            let target = &self.shared.arena[to..to + part.len()];
            // SAFETY: place() put start..start + len inside the arena and outside every range whose slot is not
            // released, so only this producer touches it; `part` is a plain slice that cannot overlap it.
            unsafe {
                std::ptr::copy_nonoverlapping(part.as_ptr(), target.as_ptr().cast_mut().cast::<u8>(), part.len())
            };
            to += part.len();
        }
        let index = self.tail & (self.shared.slots.len() - 1);
        self.shared.slots[index].with_mut(|slot| {
            // SAFETY: the slot is released (tail - head < slots), so it is the producer's.
            unsafe { slot.write(MaybeUninit::new(Slot { value, start, len })) }
        });
        self.arena_tail = at + len;
        self.arena_ends[index] = self.arena_tail;
        self.tail += 1;
        Ok(())
    }

    /// Shows the consumer everything sent so far; false if that is nothing new.
    pub fn publish(&mut self) -> bool {
        if self.published == self.tail {
            return false;
        }
        self.shared.tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
        true
    }

    /// Values that the consumer has not released yet, as far as is known here.
    pub fn in_flight(&self) -> usize {
        self.tail - self.head
    }
}

impl<T: Copy + Send> LaneReceiver<T> {
    /// The next value and its payload, in place. Both stay the lane's until [`Self::release`].
    pub fn receive(&mut self) -> Option<(T, &[u8])> {
        if self.head == self.tail {
            self.tail = self.shared.tail.load(Ordering::Acquire);
            if self.head == self.tail {
                return None;
            }
        }
        let slot = self.shared.slots[self.head & (self.shared.slots.len() - 1)].with(|slot| {
            // SAFETY: head < tail and tail was loaded with Acquire: the producer wrote this slot and will not touch it
            // before we release it. T is Copy, so reading it leaves nothing to drop.
            unsafe { slot.read().assume_init() }
        });
        self.head += 1;
        let payload = &self.shared.arena[slot.start..slot.start + slot.len];
        // SAFETY: the range is this slot's, written before it was published, and not reused before release(), which
        // needs `&mut self` and so ends this borrow.
        Some((slot.value, unsafe { std::slice::from_raw_parts(payload.as_ptr().cast::<u8>(), slot.len) }))
    }

    /// Puts the last received value back: it is the next to be received again.
    ///
    /// # Panics
    /// If nothing was received since the last [`Self::release`].
    pub fn put_back(&mut self) {
        assert!(self.head > self.released, "only what is not released can be put back");
        self.head -= 1;
    }

    /// True if nothing is to be received now.
    pub fn is_empty(&mut self) -> bool {
        if self.head == self.tail {
            self.tail = self.shared.tail.load(Ordering::Acquire);
        }
        self.head == self.tail
    }

    /// Gives everything received so far back to the producer.
    pub fn release(&mut self) {
        if self.released != self.head {
            self.shared.head.store(self.head, Ordering::Release);
            self.released = self.head;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn values_and_payloads_come_out_in_order_and_in_place() {
        let (mut tx, mut rx) = lane::<u32>(4, 16);
        tx.send(1, &[b"ab", b"cde"]).unwrap();
        assert!(rx.receive().is_none(), "not published yet");
        assert!(tx.publish() && !tx.publish());
        for _ in 0..2 {
            assert_eq!(rx.receive().unwrap(), (1, &b"abcde"[..]));
            assert!(rx.receive().is_none());
            rx.put_back();
        }
    }

    #[test]
    fn credit_ends_with_slots_or_bytes_and_comes_back_with_release() {
        let (mut tx, mut rx) = lane::<u32>(2, 16);
        tx.send(1, &[&[0; 9]]).unwrap();
        assert_eq!(tx.send(2, &[&[0; 8]]), Err(NoCredit), "bytes");
        tx.send(3, &[]).unwrap();
        assert_eq!(tx.send(4, &[]), Err(NoCredit), "slots");
        tx.publish();
        rx.receive().unwrap();
        assert!(!tx.has_credit(1, 0), "received is not released");
        rx.receive().unwrap();
        rx.release();
        tx.send(5, &[&[7; 16]]).unwrap();
        tx.publish();
        assert_eq!(rx.receive().unwrap(), (5, &[7; 16][..]));
    }

    /// A million values of every length through a small lane between two threads: order and content hold.
    #[test]
    fn two_threads_agree() {
        let count = if cfg!(miri) { 1_000 } else { 1_000_000u32 };
        let (mut tx, mut rx) = lane::<u32>(64, 1024);
        let producer = std::thread::spawn(move || {
            for value in 0..count {
                let payload = [value as u8; 100];
                while tx.send(value, &[&payload[..value as usize % 101]]).is_err() {
                    tx.publish();
                    std::thread::yield_now();
                }
                if value % 7 == 0 {
                    tx.publish();
                }
            }
            tx.publish();
        });
        let mut expected = 0;
        while expected < count {
            while let Some((value, payload)) = rx.receive() {
                assert_eq!(value, expected);
                assert_eq!(payload.len(), value as usize % 101);
                assert!(payload.iter().all(|byte| *byte == value as u8));
                expected += 1;
            }
            rx.release();
            std::thread::yield_now();
        }
        producer.join().unwrap();
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    /// Every interleaving of three values through two slots: no slot is read before it was written or written before
    /// it was read (loom watches the cells), and they come in order.
    #[test]
    fn slots_change_hands_cleanly() {
        loom::model(|| {
            let (mut tx, mut rx) = lane::<u32>(2, 2);
            let producer = loom::thread::spawn(move || {
                for value in 0..3u32 {
                    while tx.send(value, &[&[value as u8]]).is_err() {
                        loom::thread::yield_now();
                    }
                    tx.publish();
                }
            });
            for expected in 0..3 {
                loop {
                    if let Some((value, payload)) = rx.receive() {
                        assert_eq!((value, payload), (expected, &[expected as u8][..]));
                        break;
                    }
                    loom::thread::yield_now();
                }
                rx.release();
            }
            producer.join().unwrap();
        });
    }
}
