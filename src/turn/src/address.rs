//! The rate of handshakes from each address.

use std::{collections::HashMap, net::IpAddr};

use tidings_core::{
    Mono,
    limits::{Bucket, Rate},
};

use crate::config::ADDRESSES_MAX;

/// The buckets of the addresses that connected lately.
#[derive(Debug, Default)]
pub struct Addresses {
    buckets: HashMap<IpAddr, Bucket>,
}

impl Addresses {
    /// Takes one handshake of `address`.
    ///
    /// # Errors
    /// Milliseconds until there is one. Also when more addresses come at once than can be remembered.
    pub fn take(&mut self, address: IpAddr, rate: Rate, now: Mono) -> Result<(), u32> {
        if self.buckets.len() >= ADDRESSES_MAX && !self.buckets.contains_key(&address) {
            self.buckets.retain(|_, bucket| !bucket.is_full(rate, now));
            if self.buckets.len() >= ADDRESSES_MAX {
                return Err(1000);
            }
        }
        self.buckets.entry(address).or_default().take(rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_limited_apart_and_forgotten_when_they_are_quiet() {
        let (mut addresses, rate) = (Addresses::default(), Rate { per_second: 1, burst: 2 });
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
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
}
