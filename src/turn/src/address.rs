//! The rate of connections from each address.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use tidings_core::{
    Mono, Network,
    limits::{Bucket, Rate},
    slab::Key,
};

use crate::config::{ADDRESSES_MAX, LINGER_MS, TOLD_RATE};

/// The buckets of the addresses that connected lately, and the connections that are one too many.
#[derive(Debug, Default)]
pub struct Addresses {
    buckets: HashMap<Network, Bucket>,
    told: Bucket,
    /// Connections that are to be told when to come again, once they have said what they speak; in the order in which they came.
    unwelcome: VecDeque<Unwelcome>,
}

#[derive(Debug)]
struct Unwelcome {
    key: Key,
    wait_ms: u32,
    until: Mono,
}

impl Addresses {
    /// Takes one connection of `address`.
    ///
    /// # Errors
    /// Milliseconds until there is one. Also when more addresses come at once than can be remembered.
    pub fn take(&mut self, address: IpAddr, rate: Rate, now: Mono) -> Result<(), u32> {
        // Of an IPv6 address the part that its owner cannot choose.
        let address = Network::of(address);
        if self.buckets.len() >= ADDRESSES_MAX && !self.buckets.contains_key(&address) {
            self.buckets.retain(|_, bucket| !bucket.is_full(rate, now));
            if self.buckets.len() >= ADDRESSES_MAX {
                return Err(1000);
            }
        }
        self.buckets.entry(address).or_default().take(rate, now)
    }

    /// Whether one more can be told when its address may come again.
    pub fn may_tell(&mut self, now: Mono) -> bool {
        self.told.take(TOLD_RATE, now).is_ok()
    }

    /// A connection is to be told when its address may come again.
    pub fn will_tell(&mut self, key: Key, wait_ms: u32, now: Mono) {
        self.unwelcome.push_back(Unwelcome { key, wait_ms, until: now.plus_ms(LINGER_MS) });
    }

    /// Milliseconds after which the address of a connection may come again, if that is one too many. There are few: they are told within two seconds.
    pub fn unwelcome(&mut self, key: Key) -> Option<u32> {
        let at = self.unwelcome.iter().position(|unwelcome| unwelcome.key == key)?;
        self.unwelcome.remove(at).map(|unwelcome| unwelcome.wait_ms)
    }

    /// The next that has said nothing for too long, or has gone, with the same.
    pub fn next_silent(&mut self, now: Mono) -> Option<(Key, u32)> {
        let next = self.unwelcome.pop_front_if(|unwelcome| unwelcome.until <= now)?;
        Some((next.key, next.wait_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_limited_apart_and_forgotten_when_they_are_quiet() {
        let (mut addresses, rate) = (Addresses::default(), Rate { per_second: 1, burst: 2 });
        let address = |n: u32| IpAddr::from((n + (10 << 24)).to_be_bytes());
        let now = Mono(1_000_000_000);
        assert!(addresses.take(address(1), rate, now).is_ok() && addresses.take(address(1), rate, now).is_ok());
        assert_eq!(addresses.take(address(1), rate, now), Err(1000));
        assert!(addresses.take(address(2), rate, now).is_ok());
        for n in 0..ADDRESSES_MAX as u32 + 1 {
            let _crowded = addresses.take(address(100 + n), rate, now);
        }
        assert_eq!(addresses.take(address(9), rate, now), Err(1000));
        assert!(addresses.take(address(9), rate, now.plus_ms(5000)).is_ok());
        assert_eq!(addresses.buckets.len(), 1);
    }

    #[test]
    fn who_is_one_too_many_is_told_when_it_speaks_or_has_been_silent() {
        let mut addresses = Addresses::default();
        let now = Mono(1_000_000_000);
        let keys = (0..TOLD_RATE.burst + 1).map(|at| Key::from_u64(u64::from(at)));
        let mut kept = 0;
        for key in keys {
            if addresses.may_tell(now) {
                addresses.will_tell(key, 7, now);
                kept += 1;
            }
        }
        assert_eq!(kept, TOLD_RATE.burst as usize, "and the last is not told");
        let spoke = Key::from_u64(3);
        assert_eq!((addresses.unwelcome(spoke), addresses.unwelcome(spoke)), (Some(7), None));
        assert_eq!(addresses.next_silent(now), None);
        let later = now.plus_ms(LINGER_MS);
        let silent = std::iter::from_fn(|| addresses.next_silent(later)).count();
        assert_eq!(silent, kept - 1);
    }
}
