//! Test only: a disk with a volatile cache, and a reactor that acknowledges what is only there. The crash test must notice
//! the second, and must not mind the first. And a reactor that is slow, which a comparison of two reports must notice.

use std::{collections::VecDeque, time::Instant};

use tidings_log::{AlignedBuf, SlotId};
use tidings_turn::{Completion, Purpose, machine::Event};
use tidings_wire::Lsn;

use crate::uring::{UNHEARD, Uring, token_of};

/// How the log is to misbehave.
#[derive(Debug, Clone, Copy, Default)]
pub struct Canary {
    /// Acknowledge a batch before it is durable.
    pub early_ack: bool,
    /// Keep writes in a volatile cache for this long: what was not synced when the process dies is lost.
    pub cache_ms: u64,
    /// Every turn takes this much longer: a slowed server, for the bench to notice.
    pub turn_us: u64,
}

/// Writes that the disk has taken and not yet made durable.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    canary: Canary,
    cached: VecDeque<(Instant, Lsn, SlotId, u64, AlignedBuf)>,
    acknowledged: Vec<(Lsn, AlignedBuf)>,
}

impl Cache {
    pub(crate) fn new(canary: Canary) -> Self {
        Self { canary, ..Self::default() }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.canary.cache_ms > 0
    }

    /// Takes a batch. An honest log waits until it is flushed, the canary does not.
    pub(crate) fn take(&mut self, lsn: Lsn, slot: SlotId, offset: u64, buffer: AlignedBuf) {
        let mut kept = buffer;
        if self.canary.early_ack {
            let mut copy = AlignedBuf::new(kept.len());
            copy.append(|bytes| bytes.extend_from_slice(kept.as_slice()));
            self.acknowledged.push((lsn, std::mem::replace(&mut kept, copy)));
        }
        self.cached.push_back((Instant::now(), lsn, slot, offset, kept));
    }
}

impl Uring {
    /// Writes what has been in the cache for long enough, and says what was acknowledged without being written. True while
    /// something is in the cache.
    pub(crate) fn run_cache(&mut self, into: &mut Vec<Event<Self>>) -> bool {
        for (lsn, buffer) in std::mem::take(&mut self.cache.acknowledged) {
            let result = Ok(buffer.len());
            into.push(Completion::Written { purpose: Purpose::Batch(lsn), buffer, result });
        }
        let canary = self.cache.canary;
        let slow = Instant::now();
        while slow.elapsed().as_micros() < u128::from(canary.turn_us) {
            std::hint::spin_loop();
        }
        let old = |at: &Instant| at.elapsed().as_millis() >= u128::from(canary.cache_ms);
        while self.cache.cached.front().is_some_and(|(at, ..)| old(at)) {
            let (_, lsn, slot, offset, buffer) = self.cache.cached.pop_front().expect("looked at above");
            let token = if canary.early_ack { UNHEARD } else { token_of(Purpose::Batch(lsn)) };
            self.write_now(token, slot, offset, buffer);
        }
        !self.cache.cached.is_empty()
    }
}
