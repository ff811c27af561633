//! What users do at rates of their own, besides what they send: kept only of those who did it not long ago.

use alloc::collections::BTreeMap;
use core::ops::Bound;

use super::{Homes, authentication::Scope, index::HomeKey};
use crate::{
    limits::{Bucket, HISTORY_RATE, Rate, SERVICE_HISTORY_RATE},
    slab::Key,
    time::Mono,
};

/// What has a rate. A user's sessions of another scope have another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Does {
    /// It says what may be lost if need be.
    SaysInPassing(Scope),
    /// It reads pages of history.
    Reads(Scope),
}

impl Does {
    fn rate(self) -> Rate {
        match self {
            Self::SaysInPassing(scope) => scope.ephemeral_rate(),
            Self::Reads(Scope::User) => HISTORY_RATE,
            Self::Reads(Scope::Service | Scope::Admin) => SERVICE_HISTORY_RATE,
        }
    }
}

/// The rates of those who are not at rest.
#[derive(Debug)]
pub(super) struct Rates {
    buckets: BTreeMap<(Key, Does), Bucket>,
    /// The last of them that was looked at.
    at: (Key, Does),
}

impl Default for Rates {
    fn default() -> Self {
        Self { buckets: BTreeMap::new(), at: (Key::NONE, Does::SaysInPassing(Scope::User)) }
    }
}

impl Rates {
    /// Forgets what nobody needs to remember, one at a time.
    fn forget_one(&mut self, now: Mono) {
        let next = self.buckets.range((Bound::Excluded(self.at), Bound::Unbounded)).next();
        let Some((key, bucket)) = next.or_else(|| self.buckets.first_key_value()).map(|(key, bucket)| (*key, *bucket))
        else {
            return;
        };
        self.at = key;
        if bucket.is_full(key.1.rate(), now) {
            self.buckets.remove(&key);
        }
    }
}

impl Homes {
    /// A user does something so many times.
    ///
    /// # Errors
    /// Milliseconds until it may.
    pub(super) fn take_rate(&mut self, home: HomeKey, does: Does, times: u32, now: Mono) -> Result<(), u32> {
        self.rates.buckets.entry((home.0, does)).or_default().take_many(does.rate(), now, times)
    }

    /// To be called once a turn.
    pub(super) fn forget_rate(&mut self, now: Mono) {
        self.rates.forget_one(now);
    }
}
