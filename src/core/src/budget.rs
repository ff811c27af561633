//! Budgets: how many bytes of the log a user, or an address, may fill in a window of time, so that nobody can make others' messages
//! leave the log before their time. Rates count messages; budgets count what messages take.
//!
//! Half of a budget may be spent at once, and half comes back over the window: no window holds more than all of it. What was
//! spent is kept in memory: a restart forgets it.

use alloc::{boxed::Box, vec};
use core::{hash::BuildHasher, net::IpAddr};

use crate::{table::Seed, time::Mono};

/// What a message takes of the log besides its payload and body, at most: it may be alone in its batch of 4 KiB, and what it causes
/// (receipts, changes of homes) mostly shares theirs with others.
pub const SEND_COST: u64 = 8 << 10;

/// Addresses that are told apart on a reactor: those that fall together share one budget, so that nothing grows with addresses.
const ADDRESSES: u16 = 1 << 14;

const NS_PER_S: u128 = 1_000_000_000;

/// How much somebody may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Nanoseconds until 1 KiB has come back; 0: no limit.
    kib_ns: u64,
    window_ns: u64,
}

impl Budget {
    /// Without limit.
    pub const UNLIMITED: Self = Self { kib_ns: 0, window_ns: 0 };

    /// `bytes` in `window_s` seconds, and no more in any such time.
    pub fn new(bytes: u64, window_s: u32) -> Self {
        let window_ns = u128::from(window_s) * NS_PER_S;
        let kib_ns = window_ns * 1024 / u128::from((bytes / 2).max(1));
        let fits = |ns: u128| u64::try_from(ns).unwrap_or(u64::MAX);
        Self { kib_ns: fits(kib_ns), window_ns: fits(window_ns) }
    }
}

/// What somebody has spent, as the moment when all of it will have come back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent(Mono);

impl Spent {
    /// What it would be after spending `bytes` more.
    ///
    /// # Errors
    /// Milliseconds until so much has come back.
    pub fn after(self, bytes: u64, budget: Budget, now: Mono) -> Result<Self, u32> {
        let cost_ns = u128::from(bytes) * u128::from(budget.kib_ns) / 1024;
        let whole = u128::from(self.0.max(now).0) + cost_ns;
        let over = whole.saturating_sub(u128::from(now.0) + u128::from(budget.window_ns));
        if over > 0 {
            return Err(u32::try_from(over.div_ceil(1_000_000)).unwrap_or(u32::MAX));
        }
        Ok(Self(Mono(u64::try_from(whole).unwrap_or(u64::MAX))))
    }
}

/// Where an address's budget is; the networks of 64 bits that IPv6 gives to one customer are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressSlot(u16);

/// What addresses have spent on this reactor.
#[derive(Debug)]
pub(crate) struct AddressBudgets {
    spent: Box<[Spent]>,
    seed: Seed,
}

impl AddressBudgets {
    /// Nothing yet. `seed` decides which addresses fall together.
    pub(crate) fn new(seed: u64) -> Self {
        Self { spent: vec![Spent::default(); usize::from(ADDRESSES)].into_boxed_slice(), seed: Seed(seed) }
    }

    /// Where an address's is.
    pub(crate) fn slot(&self, address: IpAddr) -> AddressSlot {
        let network = match address.to_canonical() {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        // Any sixteen bits of it: the cast is meant to cut.
        #[allow(clippy::cast_possible_truncation)]
        let slot = AddressSlot((self.seed.hash_one(network) >> 40) as u16 % ADDRESSES);
        slot
    }

    /// What an address has spent.
    pub(crate) fn spent(&mut self, slot: AddressSlot) -> &mut Spent {
        &mut self.spent[slot.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_there_at_once_and_no_window_holds_more_than_all() {
        let (budget, mut spent) = (Budget::new(1 << 20, 1000), Spent::default());
        let mut total = 0;
        for second in 0..=1000 {
            let now = Mono(7_000_000_000).plus_ms(second * 1000);
            while let Ok(after) = spent.after(1 << 10, budget, now) {
                (spent, total) = (after, total + (1 << 10));
            }
            if second == 0 {
                assert_eq!(total, 512 << 10);
            }
        }
        assert!((1023 << 10..=1 << 20).contains(&total), "{total}");
    }

    #[test]
    fn who_has_spent_all_is_told_when_there_is_more() {
        let (budget, now) = (Budget::new(2 << 20, 1024), Mono(1));
        let spent = Spent::default().after(1 << 20, budget, now).unwrap();
        let wait_ms = spent.after(3 << 10, budget, now).unwrap_err();
        assert_eq!(wait_ms, 3000);
        assert!(spent.after(3 << 10, budget, now.plus_ms(2999)).is_err());
        spent.after(3 << 10, budget, now.plus_ms(3000)).unwrap();
    }

    #[test]
    fn a_budget_can_be_larger_than_anything_and_smaller_than_a_message() {
        let now = Mono(1 << 60);
        let mut spent = Spent::default();
        for budget in [Budget::UNLIMITED, Budget::new(u64::MAX, 1), Budget::new(u64::MAX, u32::MAX)] {
            for _ in 0..1000 {
                spent = spent.after(u64::from(u32::MAX), budget, now).unwrap();
            }
        }
        assert!(Spent::default().after(1 << 16, Budget::new(0, u32::MAX), now).is_err());
    }

    #[test]
    fn a_network_of_a_customer_is_one_address() {
        let budgets = AddressBudgets::new(3);
        let slot = |text: &str| budgets.slot(text.parse().unwrap());
        assert_eq!(slot("2001:db8:1:2::1"), slot("2001:db8:1:2:ffff::9"));
        assert_ne!(slot("2001:db8:1:2::1"), slot("2001:db8:1:3::1"));
        assert_eq!(slot("::ffff:192.0.2.1"), slot("192.0.2.1"));
        assert_ne!(slot("192.0.2.2"), slot("192.0.2.1"));
    }
}
