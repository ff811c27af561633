//! The *ephemeral* lane, from either half of a reactor to either half of another: for what may be lost, such as that somebody is typing. It never refuses and nobody waits
//! for it: what finds no room is dropped and counted. So it can hold up nothing, whatever the other lanes do.

use crate::{LaneReceiver, LaneSender, lane};

/// The producer's end.
#[derive(Debug)]
pub struct LossySender<T> {
    lane: LaneSender<T>,
    dropped: u64,
}

/// Makes an ephemeral lane of `slots` values with `arena` bytes for their payloads.
///
/// # Panics
/// Unless both are powers of two.
pub fn lossy<T: Copy + Send>(slots: usize, arena: usize) -> (LossySender<T>, LaneReceiver<T>) {
    let (lane, receiver) = lane(slots, arena);
    (LossySender { lane, dropped: 0 }, receiver)
}

impl<T: Copy + Send> LossySender<T> {
    /// Puts `value` and its payload behind what was sent before, or drops it if there is no room. Seen by the consumer after
    /// [`Self::publish`]. False if it is dropped.
    pub fn send(&mut self, value: T, payload: &[&[u8]]) -> bool {
        let sent = self.lane.send(value, payload).is_ok();
        self.dropped += u64::from(!sent);
        sent
    }

    /// Shows the consumer everything sent so far; false if that is nothing new.
    pub fn publish(&mut self) -> bool {
        self.lane.publish()
    }

    /// Values that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_dropped_and_counted_and_later_values_pass() {
        let (mut tx, mut rx) = lossy::<u32>(2, 16);
        tx.send(1, &[b"a"]);
        tx.send(2, &[&[0; 16]]); // no bytes
        tx.send(3, &[]);
        tx.send(4, &[]); // no slot
        assert_eq!(tx.dropped(), 2);
        tx.publish();
        assert_eq!(rx.receive().unwrap(), (1, &b"a"[..]));
        assert_eq!(rx.receive().unwrap(), (3, &[][..]));
        rx.release();
        tx.send(5, &[&[7; 16]]);
        tx.publish();
        assert_eq!((rx.receive().unwrap().0, tx.dropped()), (5, 2));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    /// Every interleaving of three values through one slot while the consumer comes and goes: what arrives is in order and whole, what
    /// does not was counted, and the producer never waits.
    #[test]
    fn what_arrives_is_in_order_and_the_rest_is_counted() {
        loom::model(|| {
            let (mut tx, mut rx) = lossy::<u32>(1, 2);
            let producer = loom::thread::spawn(move || {
                for value in 1..=3u32 {
                    tx.send(value, &[&[value as u8]]);
                    tx.publish();
                }
                tx.dropped()
            });
            let (mut last, mut received) = (0, 0);
            let mut take = |rx: &mut LaneReceiver<u32>| {
                while let Some((value, payload)) = rx.receive() {
                    assert!(value > last && payload == [value as u8]);
                    (last, received) = (value, received + 1);
                }
                rx.release();
            };
            take(&mut rx);
            loom::thread::yield_now();
            let dropped = producer.join().unwrap();
            take(&mut rx);
            assert_eq!(received + dropped, 3);
        });
    }
}
