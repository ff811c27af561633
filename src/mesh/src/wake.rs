//! How a reactor goes to sleep without missing a lane: store, fence, look, on both sides.
//!
//! The sleeper says that it sleeps, fences, and looks at every lane once more; the producer publishes, fences, and looks
//! whether the other sleeps. Whatever the order, at least one of the two sees the other. Without the fences both may look
//! too early (store buffering), and a message would lie in a lane until something else happens: the loom tests show it.

use crate::sync::{AtomicBool, Ordering, fence};

/// A reactor's flag that it sleeps, or is about to.
#[derive(Debug)]
pub struct Sleeper {
    sleeping: AtomicBool,
}

impl Default for Sleeper {
    fn default() -> Self {
        Self { sleeping: AtomicBool::new(false) }
    }
}

/// The producer's fence: once, between its last publish and its first [`Sleeper::take_wake`].
pub fn fence_before_look() {
    fence(Ordering::SeqCst);
}

impl Sleeper {
    /// The sleeper: announces sleep. Every lane must be looked at once more between this and sleeping.
    pub fn announce(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The sleeper: awake again, or not going to sleep after all.
    pub fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// The producer, after [`fence_before_look`]: true if the sleeper must be woken, and nobody else is doing it.
    pub fn take_wake(&self) -> bool {
        self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::Relaxed)
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::{lane, sync::Arc};

    /// One message, one sleeper: it must have seen the message or have been woken.
    fn nothing_is_missed(announce: fn(&Sleeper), look: fn()) {
        loom::model(move || {
            let sleeper = Arc::new(Sleeper::default());
            let (mut tx, mut rx) = lane::<u32>(2, 2);
            let producer = {
                let sleeper = Arc::clone(&sleeper);
                loom::thread::spawn(move || {
                    tx.send(1, &[]).unwrap();
                    tx.publish();
                    look();
                    sleeper.take_wake()
                })
            };
            announce(&sleeper);
            let seen = !rx.is_empty();
            let woken = producer.join().unwrap();
            assert!(seen || woken, "asleep with a message in the lane");
        });
    }

    #[test]
    fn with_both_fences_nothing_is_missed() {
        nothing_is_missed(Sleeper::announce, fence_before_look);
    }

    #[test]
    #[should_panic(expected = "asleep with a message")]
    fn without_the_producers_fence_loom_finds_the_lost_wake_up() {
        nothing_is_missed(Sleeper::announce, || ());
    }

    #[test]
    #[should_panic(expected = "asleep with a message")]
    fn without_the_sleepers_fence_loom_finds_the_lost_wake_up() {
        nothing_is_missed(|sleeper| sleeper.sleeping.store(true, Ordering::Relaxed), fence_before_look);
    }
}
