//! Budgets: how many bytes of a reactor's log a user, or an address, may fill in a window of time, so that nobody can make others'
//! messages leave the log before their time. Rates count messages; budgets count what messages take. They are kept where the log
//! is, beside the conversations that it holds, and only what is accepted is charged.
//!
//! Half of a budget may be spent at once, and half comes back over the window: no window holds more than all of it, and one
//! [`BATCH_COST`] that is only known afterwards. What was spent is kept in memory, in tables of a fixed size: users or addresses that
//! fall together share a budget, a restart forgets it.

use alloc::{boxed::Box, vec};
use core::{hash::BuildHasher, net::IpAddr};

use tidings_canary::{self as canary, Canary};
use tidings_wire::UserId;

use crate::{node::NodeConfig, table::Seed, time::Mono};

/// What a message is charged besides its payload and body: its header, and its share of what it causes.
pub const SEND_COST: u64 = 4 << 10;

/// What the first message in a batch is charged besides. On a server that has little else to do a message takes its own batch, those of its
/// receipts and of its homes' changes, and a tip after each, of 4 KiB each; in a stream of messages many share them.
pub const BATCH_COST: u64 = 28 << 10;

/// What the first message of a conversation is charged besides: its state is kept for good, and written again whenever its segment is dropped.
pub const CONVERSATION_COST: u64 = 64 << 10;
/// What a message costs its user for each member that is told: about what its home writes down for it.
pub const MEMBER_COST: u64 = 160;

/// What each user costs whom a message takes into a group: it may be somebody who never was here, whose home stays for good.
pub const NAMED_COST: u64 = 4 << 10;

/// Most users, and most addresses, that are told apart on a reactor.
const USERS_MAX: u32 = 1 << 20;
const NETWORKS: u32 = 1 << 14;

/// How long nothing more is said of somebody who was named.
const QUIET_MS: u64 = 60_000;

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
        if budget == Budget::UNLIMITED {
            return Ok(self);
        }
        let after = self.and(bytes, budget, now);
        let over = after.0.0.saturating_sub(now.0.saturating_add(budget.window_ns));
        if over > 0 {
            return Err(u32::try_from(over.div_ceil(1_000_000)).unwrap_or(u32::MAX));
        }
        Ok(after)
    }

    /// What it would be with `bytes` more, be it too much.
    fn and(self, bytes: u64, budget: Budget, now: Mono) -> Self {
        let cost_ns = u128::from(bytes) * u128::from(budget.kib_ns) / 1024;
        Self(Mono(self.0.max(now).0.saturating_add(u64::try_from(cost_ns).unwrap_or(u64::MAX))))
    }
}

/// Where somebody connects from, as far as budgets tell places apart: an IPv4 address, or the 56 bits that an IPv6 customer has at least
/// for itself. The machine itself is no place: a proxy there stands for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// The machine itself.
    Local,
    /// An IPv4 address.
    V4(u32),
    /// The first 56 bits of an IPv6 address.
    V6(u64),
}

impl Network {
    /// That of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            address if address.is_loopback() => Self::Local,
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6(u64::try_from(address.to_bits() >> 72).expect("56 bits")),
        }
    }
}

impl core::fmt::Display for Network {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Local => f.write_str("this machine"),
            Self::V4(bits) => write!(f, "{}", core::net::Ipv4Addr::from_bits(*bits)),
            Self::V6(bits) => write!(f, "{}/56", core::net::Ipv6Addr::from_bits(u128::from(*bits) << 72)),
        }
    }
}

/// Somebody who has filled as much of the log as it may, and was refused for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverBudget {
    /// A user, with its external name.
    User(UserId, Box<str>),
    /// An address, and the user who was refused.
    Network(Network, UserId),
}

/// What users and addresses have spent on a reactor.
#[derive(Debug)]
pub(crate) struct Budgets {
    user: Budget,
    network: Budget,
    users: Box<[u64]>,
    networks: Box<[u64]>,
    seed: Seed,
    over: Option<OverBudget>,
    /// Who was named last, by its hash, and until when it is not named again.
    named: (u64, Mono),
}

fn table(most: u32) -> Box<[u64]> {
    // Zeros from the system: what is never used takes no memory.
    vec![0; crate::narrow::to_usize(u64::from(most.next_power_of_two()))].into_boxed_slice()
}

fn at(table: &mut [u64], hash: u64) -> &mut u64 {
    let place = crate::narrow::to_usize((hash >> 32) % table.len() as u64);
    &mut table[place]
}

impl Budgets {
    /// Nothing yet.
    pub(crate) fn new(config: &NodeConfig) -> Self {
        Self {
            user: config.user_budget,
            network: config.address_budget,
            users: table((config.entities_max / 4).clamp(1024, USERS_MAX)),
            networks: table(NETWORKS),
            seed: Seed(config.seed),
            over: None,
            named: (0, Mono(0)),
        }
    }

    fn budget_of(&self, network: Network) -> Budget {
        if network == Network::Local { Budget::UNLIMITED } else { self.network }
    }

    /// A message of `len` bytes of payload and body is paid for: by its user and by where it comes from, or by none.
    ///
    /// # Errors
    /// Milliseconds until it can be.
    pub(crate) fn pay(
        &mut self,
        (user, name): (UserId, &[u8]),
        network: Network,
        len: u64,
        now: Mono,
    ) -> Result<(), u32> {
        if canary::is(Canary::BudgetForgotten) {
            return Ok(());
        }
        let cost = SEND_COST + len;
        let of_network = self.budget_of(network);
        let user_hash = self.seed.hash_one(user);
        let user_spent = at(&mut self.users, user_hash);
        let after = |spent: u64, budget| Spent(Mono(spent)).after(cost, budget, now);
        let by_user = after(*user_spent, self.user);
        if let Ok(spent) = by_user
            && of_network == Budget::UNLIMITED
        {
            *user_spent = spent.0.0;
            return Ok(());
        }
        let network_hash = self.seed.hash_one(network);
        let network_spent = at(&mut self.networks, network_hash);
        match (by_user, after(*network_spent, of_network)) {
            (Ok(user), Ok(network)) => {
                *user_spent = user.0.0;
                *network_spent = network.0.0;
                Ok(())
            }
            (by_user, by_network) => {
                let wait_ms = by_user.err().into_iter().chain(by_network.err()).max().unwrap_or(0);
                let hash = if by_user.is_err() { user_hash } else { network_hash };
                if self.named.0 != hash || self.named.1 <= now {
                    self.named = (hash, now.plus_ms(QUIET_MS));
                    self.over = Some(match by_user {
                        Err(_) => OverBudget::User(user, alloc::string::String::from_utf8_lossy(name).into()),
                        Ok(_) => OverBudget::Network(network, user),
                    });
                }
                Err(wait_ms)
            }
        }
    }

    /// A message that was paid for is the first in its batch: that is charged, too, and may be more than there was.
    pub(crate) fn pay_batch(&mut self, user: UserId, network: Network, now: Mono) {
        let of_network = self.budget_of(network);
        let (user_hash, network_hash) = (self.seed.hash_one(user), self.seed.hash_one(network));
        let more = |spent: &mut u64, budget: Budget| *spent = Spent(Mono(*spent)).and(BATCH_COST, budget, now).0.0;
        more(at(&mut self.users, user_hash), self.user);
        if of_network != Budget::UNLIMITED {
            more(at(&mut self.networks, network_hash), of_network);
        }
    }

    /// A quarter of what a user may spend at once.
    pub(crate) fn quarter(&self) -> u64 {
        match self.user {
            Budget::UNLIMITED => u64::MAX,
            Budget { kib_ns, window_ns } => window_ns / kib_ns.max(1) * 256,
        }
    }

    /// Somebody who was refused since the last call, and was not named within a minute.
    pub(crate) fn take_over(&mut self) -> Option<OverBudget> {
        self.over.take()
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
        let spent = Spent::default().and(1 << 30, Budget::new(1 << 20, 1000), now);
        assert!(
            spent.after(1, Budget::new(1 << 20, 1000), now).is_err() && spent.after(1, Budget::UNLIMITED, now).is_ok()
        );
    }

    #[test]
    fn a_network_of_a_customer_is_one_address_and_the_machine_itself_is_none() {
        let network = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:ff:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:102::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_eq!([network("127.0.0.9"), network("::1"), network("::ffff:127.0.0.1")], [Network::Local; 3]);
        let shown = ["192.0.2.1", "2001:db8:1:2::1"].map(|text| alloc::string::ToString::to_string(&network(text)));
        assert_eq!(shown, ["192.0.2.1", "2001:db8:1::/56"]);
    }
}
