//! What a user keeps for itself: settings, and which devices it has. It is written down as a whole with every change, since it changes
//! seldom and is small. Conversations could not tell it again, and it says nothing of numbers: a restore keeps it.

use alloc::{boxed::Box, vec::Vec};

use rkyv::{Archive, Deserialize, Serialize};
use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    DeviceId, ErrorCode, Timestamp, UserId,
    archive::Archived,
    frames::{Changed, Visibility},
    limits::{DEVICES_MAX, NAME_MAX},
};

use super::authentication::Authenticated;
use crate::{
    conversation::state::ReplayError,
    limits::{BARRED_MAX, SEEN_STALE_S},
    narrow::to_u32,
    records::{listed_len, put, take},
};

/// A registered device.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) device: DeviceId,
    /// When it came first.
    pub(super) since: Second,
    /// When it connected last.
    pub(super) seen: Second,
    /// When the token was issued that it came with last: what tells its token from another device's.
    pub(super) issued: Timestamp,
    /// What its user calls it.
    pub(super) name: Box<str>,
}

/// A moment, to the second, small since every device has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Second(u32);

impl Second {
    fn of(time: Timestamp) -> Self {
        Self(u32::try_from(time.0 / 1_000_000).unwrap_or(u32::MAX))
    }

    /// When it began.
    pub(super) fn timestamp(self) -> Timestamp {
        Timestamp(u64::from(self.0) * 1_000_000)
    }
}

/// A device that is let in no more, and since when.
#[derive(Clone, Copy, Debug)]
struct Barred {
    device: DeviceId,
    at: Timestamp,
}

/// What came of a device that wants in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entrance {
    /// It is known, and nothing is to be written down.
    Known,
    /// It is to be written down that it is here.
    News,
    /// There are so many that are connected that none can make room for it.
    Full,
}

/// What a user keeps for itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    /// See [`Changed::settings`].
    pub(super) settings: u32,
    /// In the order in which they came.
    pub(super) devices: Vec<Known>,
    /// Oldest first.
    barred: Vec<Barred>,
    /// When a device was revoked last: from then on tokens that are older, and not of one device, open nothing for a device that is not known.
    revoked: Timestamp,
    /// The same for all tokens: devices that were barred until then are not remembered any more.
    floor: Timestamp,
    /// Rises with every change.
    pub(super) version: u32,
    /// The last version that was put into the log.
    pub(super) written: u32,
    /// The last one that is committed, and the settings in it: what may be told.
    pub(super) durable: u32,
    pub(super) told: u32,
}

/// The record; devices, each with its name after it, and barred ones follow.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
struct OwnRecord {
    user: UserId,
    settings: u32,
    revoked: Timestamp,
    floor: Timestamp,
    version: u32,
    devices: u32,
    barred: u32,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
struct KnownRecord {
    device: DeviceId,
    since: Timestamp,
    seen: Timestamp,
    name_len: u8,
    issued: Timestamp,
}

#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
struct BarredRecord {
    device: DeviceId,
    at: Timestamp,
}

impl Archived for OwnRecord {
    const FIRST_LEN: usize = 48;
}
const _: () = assert!(<OwnRecord as Archived>::LEN == 48);

impl Archived for KnownRecord {
    const FIRST_LEN: usize = 21;
}
const _: () = assert!(<KnownRecord as Archived>::LEN == 29);

impl Archived for BarredRecord {
    const FIRST_LEN: usize = 12;
}
const _: () = assert!(<BarredRecord as Archived>::LEN == 12);

/// The most bytes of a record.
pub(super) const OWN_RECORD_MAX: usize = listed_len::<OwnRecord>()
    + DEVICES_MAX * (listed_len::<KnownRecord>() + NAME_MAX)
    + BARRED_MAX * listed_len::<BarredRecord>();

impl Own {
    /// True if what the user reads is not shown to others, nor what others read to it.
    pub(super) fn is_private(&self) -> bool {
        self.settings & Changed::READ_PRIVATE != 0
    }

    /// Who is told whether the user is there.
    pub(super) fn visibility(&self) -> Visibility {
        Changed::visibility_in(self.settings)
    }

    fn known(&mut self, device: DeviceId) -> Option<&mut Known> {
        self.devices.iter_mut().find(|known| known.device == device)
    }

    /// True if a device is let in no more.
    pub(super) fn is_barred(&self, device: DeviceId) -> bool {
        self.barred.iter().any(|barred| barred.device == device) && !canary::is(Canary::RevokedLetIn)
    }

    /// True if a token opens nothing for a device that is not known.
    pub(super) fn is_too_old(&self, issued: Timestamp, bound: Bound) -> bool {
        let unbound = bound == Bound::ToNone && issued < self.revoked;
        (unbound || issued < self.floor) && !canary::is(Canary::RevokedLetIn)
    }

    fn is_known(&self, device: DeviceId) -> bool {
        self.devices.iter().any(|known| known.device == device)
    }

    /// A device wants in: whether it may.
    ///
    /// # Errors
    /// [`ErrorCode::DeviceRevoked`], [`ErrorCode::TokenRevoked`].
    pub(super) fn check(&self, who: &Authenticated) -> Result<(), ErrorCode> {
        if self.is_barred(who.device()) {
            return Err(ErrorCode::DeviceRevoked);
        }
        self.check_token(who.device(), who.issued(), who.bound())
    }

    /// Whether a token is good for a device. An old one that is not for one device only is good for the device that used it, and for no other.
    ///
    /// # Errors
    /// [`ErrorCode::TokenRevoked`].
    pub(super) fn check_token(&self, device: DeviceId, issued: Timestamp, bound: Bound) -> Result<(), ErrorCode> {
        let used = self.devices.iter().find(|known| known.device == device).map(|known| known.issued);
        // One that is for one device passes for that, unless all of its time were voided.
        let is_bound = bound == Bound::ToDevice && issued >= self.floor;
        let is_its_own = used.is_some_and(|used| used == issued || is_bound);
        if !is_its_own && self.is_too_old(issued, bound) { Err(ErrorCode::TokenRevoked) } else { Ok(()) }
    }

    /// A device's session goes on with another token: that is its own from now on.
    pub(super) fn renewed(&mut self, device: DeviceId, issued: Timestamp) {
        self.known(device).into_iter().for_each(|known| known.issued = issued);
    }

    /// True if a device that is known comes with another name.
    pub(super) fn is_renamed(&self, who: &Authenticated) -> bool {
        let known = self.devices.iter().find(|known| known.device == who.device());
        known.is_some_and(|known| !who.device_name().is_empty() && *known.name != *who.device_name())
    }

    /// True if a device is not known, and will be.
    pub(super) fn is_new(&self, device: DeviceId) -> bool {
        !device.is_guest() && !self.is_known(device)
    }

    /// The user was there until now. True if that is to be written down: the device that is known to have been there last stands for it.
    pub(super) fn left(&mut self, now: Timestamp) -> bool {
        let Some(last) = self.devices.iter_mut().max_by_key(|known| known.seen) else { return false };
        let stale = Second::of(now).0.saturating_sub(last.seen.0) >= SEEN_STALE_S;
        if stale {
            last.seen = Second::of(now);
        }
        stale
    }

    /// A device is let in. `is_connected` says which devices are.
    pub(super) fn enter(
        &mut self,
        who: &Authenticated,
        now: Timestamp,
        is_connected: impl Fn(DeviceId) -> bool,
    ) -> Entrance {
        let device = who.device();
        let renamed = self.is_renamed(who);
        if let Some(known) = self.known(device) {
            let stale = Second::of(now).0.saturating_sub(known.seen.0) >= SEEN_STALE_S;
            known.issued = who.issued();
            // Only what is written down counts: else one that comes every few minutes would never be.
            if renamed || stale {
                known.seen = known.seen.max(Second::of(now));
            }
            if renamed {
                known.name = who.device_name().into();
            }
            return if renamed || stale { Entrance::News } else { Entrance::Known };
        }
        if device.is_guest() {
            return Entrance::Known;
        }
        if self.devices.len() >= DEVICES_MAX {
            let unused = self.devices.iter().filter(|known| !is_connected(known.device));
            let Some(oldest) = unused.min_by_key(|known| known.seen).map(|known| known.device) else {
                return Entrance::Full;
            };
            self.bar(oldest, now);
        }
        let (since, seen, name) = (Second::of(now), Second::of(now), who.device_name().into());
        self.devices.reserve_exact(1);
        self.devices.push(Known { device, since, seen, issued: who.issued(), name });
        Entrance::News
    }

    /// A device is let in no more.
    fn bar(&mut self, device: DeviceId, now: Timestamp) {
        self.devices.retain(|known| known.device != device);
        self.barred.retain(|barred| barred.device != device);
        if self.barred.len() == BARRED_MAX {
            self.floor = self.floor.max(self.barred.remove(0).at);
        }
        self.barred.push(Barred { device, at: now });
    }

    /// A device is to be let in no more.
    pub(super) fn revoke(&mut self, device: DeviceId, now: Timestamp) {
        self.bar(device, now);
        self.revoked = self.revoked.max(now);
    }

    /// Nor are these, and no token that was issued before lets another in, whatever device it is for.
    pub(super) fn revoke_all(&mut self, devices: &[DeviceId], now: Timestamp) {
        devices.iter().for_each(|device| self.revoke(*device, now));
        (self.revoked, self.floor) = (self.revoked.max(now), self.floor.max(now));
    }

    /// Writes all of it.
    pub(super) fn write(&self, user: UserId, body: &mut Vec<u8>) {
        let Self { settings, revoked, floor, version, .. } = *self;
        let (devices, barred) = (to_u32(self.devices.len()), to_u32(self.barred.len()));
        put(body, &OwnRecord { user, settings, revoked, floor, version, devices, barred });
        for Known { device, since, seen, issued, name } in &self.devices {
            let name_len = u8::try_from(name.len()).expect("a name is of at most 64 bytes");
            let (since, seen) = (since.timestamp(), seen.timestamp());
            put(body, &KnownRecord { device: *device, since, seen, name_len, issued: *issued });
            body.extend_from_slice(name.as_bytes());
        }
        self.barred.iter().for_each(|Barred { device, at }| put(body, &BarredRecord { device: *device, at: *at }));
    }

    /// What [`Self::write`] wrote, and whose it is.
    ///
    /// # Errors
    /// [`ReplayError::Body`].
    pub(super) fn read(mut body: &[u8]) -> Result<(UserId, Self), ReplayError> {
        let rest = &mut body;
        let record: OwnRecord = take(rest).map_err(|_| ReplayError::Body)?;
        let OwnRecord { user, settings, revoked, floor, version, .. } = record;
        let (written, durable, told) = (version, version, settings);
        let mut own = Self { settings, revoked, floor, version, written, durable, told, ..Self::default() };
        for _ in 0..record.devices {
            let KnownRecord { device, since, seen, name_len, issued } = take(rest).map_err(|_| ReplayError::Body)?;
            let name = rest.split_off(..usize::from(name_len)).ok_or(ReplayError::Body)?;
            let name = core::str::from_utf8(name).map_err(|_| ReplayError::Body)?.into();
            own.devices.push(Known { device, since: Second::of(since), seen: Second::of(seen), issued, name });
        }
        for _ in 0..record.barred {
            let BarredRecord { device, at } = take(rest).map_err(|_| ReplayError::Body)?;
            own.barred.push(Barred { device, at });
        }
        Ok((user, own))
    }
}

/// For which devices a token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Any.
    ToNone,
    /// One.
    ToDevice,
}
