//! What a session is made with.

use std::hash::{BuildHasher, RandomState};

use tidings_wire::{DeviceId, UserId, frames::Hello};

use crate::sync::SavedState;

/// Microseconds since some moment of the caller's choice; never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// This moment and `ms` milliseconds.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0 + ms * 1000)
    }
}

/// How much of a conversation that this device does not know is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// All that is stored.
    Everything,
    /// The last messages; older ones can be asked for.
    Recent(u64),
}

/// Who has a new token when the one of a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// Nobody: the session ends with it.
    Fixed,
    /// The application: it is asked by [`crate::Event::TokenNeeded`], and answers with [`crate::Session::renew`].
    Renewed,
}

/// Whether what is said travels compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// What is compressible, where that makes it shorter; and what others compressed comes so.
    Yes,
    /// Nothing: this client neither compresses nor undoes it.
    No,
}

/// What a session is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The user.
    pub user: UserId,
    /// The user's external name.
    pub name: String,
    /// The device.
    pub device: DeviceId,
    /// What the user calls the device, at most [`tidings_wire::limits::NAME_MAX`] bytes; empty: as before.
    pub device_name: String,
    /// The token.
    pub token: Vec<u8>,
    /// Who has a new one when it ends.
    pub tokens: Tokens,
    /// What the device knew when it last stopped.
    pub state: SavedState,
    /// How much of unknown conversations is fetched.
    pub history: History,
    /// Whether the session resumes: takes part in what the user's devices receive. A session that only sends does not.
    pub receive: bool,
    /// Whether the server is told that what the application took is delivered. A tool that only looks does not.
    pub confirm: bool,
    /// Whether what is said travels compressed.
    pub packing: Packing,
    /// Bytes that may wait to be sent, [`OUTBOX_BYTES`] unless something else is said. What is beyond them fails at once with
    /// [`tidings_wire::ErrorCode::Busy`].
    pub outbox_bytes: usize,
    /// Random; jitters reconnects.
    pub seed: u64,
    /// The clock in microseconds since the Unix epoch: where message ids start, so that they rise across restarts of a
    /// client without memory.
    pub wall_us: u64,
}

/// What may wait to be sent by default, in bytes: 64 MiB.
pub const OUTBOX_BYTES: usize = 64 << 20;

/// The tenant of users that are not in any other.
pub const DEFAULT_TENANT: &str = "default";

impl Config {
    /// For user `name` of the default tenant, with nothing known.
    pub fn new(name: &str, device: u32, token: Vec<u8>) -> Self {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let wall_us = wall.as_micros() as u64;
        Self {
            user: UserId::derive(DEFAULT_TENANT, name),
            name: name.into(),
            device: DeviceId(device),
            device_name: String::new(),
            token,
            tokens: Tokens::Fixed,
            state: SavedState::default(),
            history: History::Everything,
            receive: true,
            confirm: true,
            packing: Packing::Yes,
            outbox_bytes: OUTBOX_BYTES,
            seed: RandomState::new().hash_one(wall_us),
            wall_us,
        }
    }

    /// What HELLO says of it.
    pub(crate) fn capabilities(&self) -> u64 {
        let acknowledges = if self.confirm && self.receive { Hello::ACKNOWLEDGES } else { 0 };
        let unpacks = if self.packing == Packing::Yes { Hello::UNPACKS } else { 0 };
        acknowledges | unpacks
    }
}
