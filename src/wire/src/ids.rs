//! Ids, sequence numbers and placement: a newtype each, so that none can stand in for another.

use core::fmt;

use rkyv::{Archive, Deserialize, Serialize};

use crate::limits;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Archive, Serialize, Deserialize, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub struct $name(pub [u8; 16]);

        // Two words, and no length before them, as an array of bytes would have.
        impl core::hash::Hash for $name {
            fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
                let (words, _) = self.0.as_chunks();
                words.iter().for_each(|word| state.write_u64(u64::from_le_bytes(*word)));
            }
        }

        impl $name {
            /// All zero: "none" where a field is optional. No derivation yields it in practice.
            pub const NONE: Self = Self([0; 16]);

            /// True if this is [`Self::NONE`].
            pub fn is_none(&self) -> bool {
                *self == Self::NONE
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

number! {
    /// A message's number in its conversation: 1, 2, 3, ... without a gap. 0 means "before the first".
    Seq(u64)
}
number! {
    /// Names one attempt to send, chosen by the sending device; rises per device and conversation. 0 means "none".
    ClientMsgId(u64)
}
number! {
    /// A position in a home's change index; rises with every change that the user's devices should learn of.
    Uv(u64)
}
number! {
    /// A device of a user.
    DeviceId(u32)
}
number! {
    /// Microseconds since the Unix epoch.
    Timestamp(u64)
}
id! {
    /// A user: derived from tenant and external name, see [`UserId::derive`].
    UserId
}
id! {
    /// A conversation. The two lowest bits of the last byte are its tag: 01 is one to one, 10 a group.
    ConversationId
}
id! {
    /// What a cursor belongs to. A data directory has one; a restore from a backup makes a new one.
    Lineage
}

impl Seq {
    /// The number after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl DeviceId {
    /// Devices from here up are guests: chosen at random, forgotten some time after their session ends.
    pub const FIRST_GUEST: u32 = 0x8000_0000;

    /// True if this device is a guest.
    pub fn is_guest(self) -> bool {
        self.0 >= Self::FIRST_GUEST
    }
}

/// BLAKE3 `derive_key` context of [`TenantId::derive`].
pub const TENANT_CONTEXT: &str = "tidings v1 tenant id";
/// BLAKE3 `derive_key` context of [`UserId::derive`].
pub const USER_CONTEXT: &str = "tidings v1 user id";
/// BLAKE3 `derive_key` context of [`ConversationId::group`].
pub const GROUP_CONTEXT: &str = "tidings v1 group id";
/// BLAKE3 `derive_key` context of [`ConversationId::direct`].
pub const DIRECT_CONTEXT: &str = "tidings v1 direct conversation id";

pub(crate) fn first_16(context: &str, parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    id
}

/// Which tenant an id belongs to: a hash of the tenant's name, which stands in bytes 2 to 5 of every user id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub [u8; 4]);

impl TenantId {
    /// The id of a tenant: the first 4 bytes of BLAKE3 (`derive_key`) over its name.
    pub fn derive(tenant: &str) -> Self {
        let [a, b, c, d, ..] = first_16(TENANT_CONTEXT, &[tenant.as_bytes()]);
        Self([a, b, c, d])
    }
}

impl UserId {
    /// The id of `name` in `tenant`: the first 16 bytes of BLAKE3 (`derive_key`) over the tenant's length as a
    /// little-endian u16, the tenant, and the name; then bytes 2 to 5 are replaced by the tenant's id.
    ///
    /// # Panics
    /// If `tenant` is longer than 65,535 bytes; [`limits::NAME_MAX`] is far below that.
    pub fn derive(tenant: &str, name: &str) -> Self {
        let len = u16::try_from(tenant.len()).expect("a tenant's name fits 64 KiB");
        let mut id = first_16(USER_CONTEXT, &[&len.to_le_bytes(), tenant.as_bytes(), name.as_bytes()]);
        id[2..6].copy_from_slice(&TenantId::derive(tenant).0);
        Self(id)
    }

    /// The tenant that the user belongs to.
    pub fn tenant(&self) -> TenantId {
        let [_, _, a, b, c, d, ..] = self.0;
        TenantId([a, b, c, d])
    }

    /// The two bytes that decide the user's shard.
    pub fn placement(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }
}

impl ConversationId {
    const TAG_MASK: u8 = 0b11;
    const TAG_DIRECT: u8 = 0b01;
    const TAG_GROUP: u8 = 0b10;

    /// The conversation of two users, the same in either order: BLAKE3 over the lesser and the greater id, with the
    /// first two bytes (the placement) of the lesser and the tag of one-to-one conversations.
    pub fn direct(a: UserId, b: UserId) -> Self {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let mut id = first_16(DIRECT_CONTEXT, &[&low.0, &high.0]);
        id[..2].copy_from_slice(&low.0[..2]);
        id[15] = id[15] & !Self::TAG_MASK | Self::TAG_DIRECT;
        Self(id)
    }

    /// The group that a user creates under a nonce of its own choice: BLAKE3 over the creator's id and the nonce, with the tag of
    /// groups. Creating it twice is creating it once.
    pub fn group(creator: UserId, nonce: &[u8; 16]) -> Self {
        let mut id = first_16(GROUP_CONTEXT, &[&creator.0, nonce]);
        id[15] = id[15] & !Self::TAG_MASK | Self::TAG_GROUP;
        Self(id)
    }

    /// True if the tag says that it is a group.
    pub fn is_group(&self) -> bool {
        self.0[15] & Self::TAG_MASK == Self::TAG_GROUP
    }

    /// True if the tag says one to one.
    pub fn is_direct(&self) -> bool {
        self.0[15] & Self::TAG_MASK == Self::TAG_DIRECT
    }

    /// The two bytes that decide the conversation's shard.
    pub fn placement(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }
}

/// How many shards a data directory has: a power of two, so that it can double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards(u32);

impl Shards {
    /// `count` shards, or `None` unless it is a power of two of at most [`limits::SHARDS_MAX`].
    pub fn new(count: u32) -> Option<Self> {
        (count.is_power_of_two() && count <= limits::SHARDS_MAX).then_some(Self(count))
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.0
    }

    /// All of them.
    pub fn all(self) -> impl Iterator<Item = u16> {
        (0..u16::MAX).zip(0..self.0).map(|(shard, _)| shard)
    }

    /// The shard of a placement: its top bits.
    pub fn of(self, placement: u16) -> u16 {
        let bits = self.0.trailing_zeros();
        (u32::from(placement) >> (16 - bits)) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_conversation_is_the_same_from_both_sides_and_lives_with_the_lesser_user() {
        let (a, b) = (UserId::derive("t", "alice"), UserId::derive("t", "bob"));
        let id = ConversationId::direct(a, b);
        assert_eq!(id, ConversationId::direct(b, a));
        assert_eq!(id.placement(), a.min(b).placement());
        assert!(id.is_direct());
    }

    #[test]
    fn a_user_id_says_which_tenant_it_belongs_to() {
        let (alice, bob) = (UserId::derive("one", "alice"), UserId::derive("one", "bob"));
        assert_eq!((alice.tenant(), bob.tenant()), (TenantId::derive("one"), TenantId::derive("one")));
        assert_ne!(UserId::derive("two", "alice").tenant(), alice.tenant());
    }

    #[test]
    fn tenant_and_name_cannot_be_shifted_into_each_other() {
        assert_ne!(UserId::derive("ab", "c"), UserId::derive("a", "bc"));
    }

    #[test]
    fn shards_split_in_two_when_their_count_doubles() {
        let (few, many) = (Shards::new(1024).unwrap(), Shards::new(2048).unwrap());
        for placement in [0u16, 1, 63, 64, 0x7fff, 0xffff] {
            assert_eq!(many.of(placement) / 2, few.of(placement));
        }
        assert_eq!(Shards::new(1).unwrap().of(0xffff), 0);
        assert!(Shards::new(3).is_none() && Shards::new(1 << 17).is_none());
    }
}
