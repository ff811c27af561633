//! How a device's clocks are off.

use tidings_client::Time;

use crate::agenda::Nanos;

/// How a device's clocks are off.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DeviceClock {
    /// Parts in a million by which time runs faster for it.
    pub(super) drift: i64,
    /// How far its wall clock will be behind when its session begins, in microseconds. The network sets it right by the next
    /// time: a device whose memory and clock both go back twice names two messages alike, and no server can tell.
    pub(super) behind_us: u64,
    /// It was behind once, when the device had lost its memory: it may not know how it named its messages.
    pub(super) was_behind: bool,
}

impl DeviceClock {
    /// Its time at a moment.
    pub(super) fn at(self, now: Nanos) -> Time {
        let off = i128::from(now) * i128::from(self.drift) / 1_000_000;
        Time((i128::from(now) + off) as u64 / 1000)
    }

    /// The moment at which it is that time for it.
    pub(super) fn moment(self, time: Time) -> Nanos {
        let own = u128::from(time.0) * 1000;
        (own * 1_000_000).div_ceil((1_000_000 + self.drift) as u128) as Nanos
    }
}
