//! The server's settings: embedded defaults, a TOML file over them, the command line over that.

mod tokens;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tidings_core::{
    Budget, Everything, StateStore,
    budget::{CONVERSATION_COST, SEND_COST},
    features::Windows,
    limits::{Rate, STATE_FULL},
    node::Overload,
};
#[cfg(feature = "canary")]
use tidings_reactor::Canary;
use tidings_wire::TenantId;

pub use self::tokens::TokenSettings;
use crate::{
    front_door::{DoorSettings, TlsSettings},
    sync::SyncSetting,
};

/// Every setting, with its default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// The data directory.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Cores, one reactor each; empty: all that this process may use.
    pub cores: Vec<usize>,
    /// Take connections without TLS from beyond loopback.
    pub insecure: bool,
    /// For trying things out on one machine: whoever asks for a token gets one.
    pub development: bool,
    /// TLS.
    pub tls: TlsSettings,
    /// What is spoken.
    pub door: DoorSettings,
    /// Tenants whose users are let in; none: all that a signed token names.
    pub tenants: Vec<String>,
    /// Shards of a new data directory: a power of two.
    pub shards: u32,
    /// Longest that an idle reactor spins before it sleeps, in microseconds.
    pub spin_us: u64,
    /// Longest that a reactor lets input gather while a batch of several messages is being written, in microseconds; 0: not at all.
    pub gather_us: u64,
    /// The log.
    pub log: LogSettings,
    /// Whose tokens are believed.
    pub tokens: TokenSettings,
    /// How much of the log is kept.
    pub retention: RetentionSettings,
    /// What clients may do.
    pub limits: LimitSettings,
    /// Receive buffers.
    pub receive: ReceiveSettings,
    /// Test only.
    #[serde(skip)]
    #[cfg(feature = "canary")]
    pub canary: Canary,
    /// Makes each reactor's state store. There is one kind so far; tests bring their own.
    #[serde(skip, default = "everything_in_memory")]
    pub store: fn() -> Box<dyn StateStore + Send>,
}

fn everything_in_memory() -> fn() -> Box<dyn StateStore + Send> {
    || Box::new(Everything)
}

/// `[log]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Most writes of a log in flight, from 1 to 8.
    pub writes: usize,
    /// How they become durable.
    pub sync: SyncSetting,
}

/// `[retention]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSettings {
    /// Bytes of log on disk, over all reactors. Whole oldest segments are dropped beyond that. 0: a quarter of the disk, 64 GiB at most.
    pub max_bytes: u64,
    /// Seconds in which nobody may fill more of the log than [`LimitSettings::user_bytes`] and [`LimitSettings::address_bytes`].
    pub window_s: u32,
}

/// `[limits]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Connections, over all reactors.
    pub connections_max: usize,
    /// SENDs a second of one user.
    pub user_per_second: u32,
    /// SENDs that a user may save up.
    pub user_burst: u32,
    /// Bytes of each reactor's log that a user may fill in `retention.window_s`; 0: a sixteenth of it.
    pub user_bytes: u64,
    /// Bytes of each reactor's log that an address other than loopback may fill in `retention.window_s`; 0: a quarter of it.
    pub address_bytes: u64,
    /// Members of a group beyond which it is large: its messages are told to those who are connected, and to others when they come. A group that became
    /// large stays so.
    pub group_small_max: u32,
    /// Whether things are left undone where a core has more to do than it can: who types, who is there, receipts, and at last messages beyond a few of each session.
    pub shed: bool,
    /// Messages a second in one large group.
    pub group_per_second: u32,
    /// Messages that a large group may save up.
    pub group_burst: u32,
    /// Seconds in which whoever wrote a message may edit it.
    pub edit_s: u32,
    /// Seconds in which whoever wrote a message may withdraw it. Admins of a group always may.
    pub erase_s: u32,
    /// Connections a second from one address, on each reactor.
    pub address_per_second: u32,
    /// Connections that an address may save up.
    pub address_burst: u32,
    /// Milliseconds from accept to a whole HELLO.
    pub handshake_timeout_ms: u64,
    /// Milliseconds from a frame's first byte to its last.
    pub frame_timeout_ms: u64,
    /// Milliseconds that a peer may take to read what was sent.
    pub send_timeout_ms: u64,
    /// Seconds of silence of a session.
    pub idle_timeout_s: u16,
    /// Conversations and homes in memory, each, on each reactor.
    pub entities_max: u32,
    /// Conversations that a user may have and still begin another; of those that others begin it may have any number. Services have no limit.
    pub user_conversations: u32,
}

/// By default a user may fill this part of a reactor's log in a window, so that no one account can empty it.
const USER_SHARE: u64 = 16;
/// The part of a disk that logs take by default, and the most that they do.
const DISK_SHARE: u64 = 4;
const RETENTION_DEFAULT_MAX: u64 = 64 << 30;
/// By default an address may.
const ADDRESS_SHARE: u64 = 4;
/// Most shards of a data directory here; the format has room for more.
const SHARDS_SENSIBLE: u32 = 1024;
/// More members than this make a group large, whatever the settings say: each message is a row in each of their homes.
const GROUP_SMALL_LIMIT: u32 = 1000;
/// Less than this would refuse a single large message for good.
const BUDGET_MIN: u64 = 4 * (SEND_COST + CONVERSATION_COST + tidings_wire::limits::PAYLOAD_MAX as u64);

/// `[receive]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReceiveSettings {
    /// Receive buffers of each reactor: a power of two.
    pub buffers: u16,
    /// Bytes of each.
    pub buffer_bytes: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            data: "./tidings-data".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7600)),
            cores: Vec::new(),
            insecure: false,
            development: false,
            tls: TlsSettings::default(),
            door: DoorSettings::default(),
            shards: 64,
            tenants: Vec::new(),
            spin_us: 20,
            gather_us: 200,
            log: LogSettings::default(),
            tokens: TokenSettings::default(),
            retention: RetentionSettings::default(),
            limits: LimitSettings::default(),
            receive: ReceiveSettings::default(),
            #[cfg(feature = "canary")]
            canary: Canary::default(),
            store: everything_in_memory(),
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, writes: 1, sync: SyncSetting::default() }
    }
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self { max_bytes: 0, window_s: 7 * 24 * 3600 }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            connections_max: 1_000_000,
            user_per_second: 1000,
            user_burst: 2000,
            user_bytes: 0,
            address_bytes: 0,
            shed: true,
            group_small_max: 200,
            group_per_second: 10,
            group_burst: 100,
            edit_s: 24 * 3600,
            erase_s: 3 * 24 * 3600,
            address_per_second: 1000,
            address_burst: 20_000,
            handshake_timeout_ms: 10_000,
            frame_timeout_ms: 20_000,
            send_timeout_ms: 60_000,
            idle_timeout_s: 90,
            entities_max: 4_000_000,
            user_conversations: 20_000,
        }
    }
}

impl Default for ReceiveSettings {
    fn default() -> Self {
        Self { buffers: 1024, buffer_bytes: 8192 }
    }
}

impl LimitSettings {
    /// The rate of a user.
    pub fn user_rate(&self) -> Rate {
        Rate { per_second: self.user_per_second, burst: self.user_burst }
    }

    /// The rate of a large group.
    pub fn group_rate(&self) -> Rate {
        Rate { per_second: self.group_per_second, burst: self.group_burst }
    }

    /// How long messages may be changed.
    pub fn windows(&self) -> Windows {
        Windows { edit_s: self.edit_s, erase_s: self.erase_s }
    }

    /// What is done where there is more to do than can be done.
    pub fn overload(&self) -> Overload {
        if self.shed { Overload::Sheds } else { Overload::Waits }
    }

    /// The rate of an address.
    pub fn address_rate(&self) -> Rate {
        Rate { per_second: self.address_per_second, burst: self.address_burst }
    }
}

/// Reads a list of cores like `0,2-3`, as the kernel writes them too.
///
/// # Errors
/// If it is not one.
pub fn parse_cores(text: &str) -> Result<Vec<usize>, &'static str> {
    let wrong = "a list like 0,1 or 0-3 is expected";
    let mut cores = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| wrong)?;
        let last: usize = last.trim().parse().map_err(|_| wrong)?;
        if first > last || last > 1023 {
            return Err(wrong);
        }
        cores.extend(first..=last);
    }
    Ok(cores)
}

/// The machine's cores, if the kernel says. (A process may be kept to some of them, but a reactor pins itself.)
fn online_cores() -> Option<Vec<usize>> {
    parse_cores(&std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?).ok()
}

/// A setting that cannot be.
#[derive(Debug)]
pub struct ConfigError(String);

impl ConfigError {
    /// In these words.
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl ServerConfig {
    /// Reads a TOML file over the defaults.
    ///
    /// # Errors
    /// If it cannot be read, or says what is not known.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |error: &dyn std::fmt::Display| ConfigError(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        toml::from_str(&text).map_err(|error| failed(&error))
    }

    /// Bytes below which nothing could be kept: six segments a reactor.
    fn least_retention(&self) -> u64 {
        self.log.segment_bytes * 6 * self.cores.len().max(1) as u64
    }

    /// What is kept if the setting leaves it open, on a disk of so many bytes.
    pub fn settle_retention(&mut self, disk_bytes: u64) {
        if self.retention.max_bytes == 0 {
            let share = (disk_bytes / DISK_SHARE).min(RETENTION_DEFAULT_MAX);
            self.retention.max_bytes = share.max(self.least_retention());
        }
    }

    /// Whether what is kept of a log can hold the state in it, of which there are about so many bytes.
    ///
    /// # Errors
    /// If it would do nothing but write that again.
    pub fn check_state(&self, state: u64) -> Result<(), ConfigError> {
        let (reactors, ahead) = (self.cores.len().max(1) as u64, tidings_turn::config::AHEAD * self.log.segment_bytes);
        let needed = (state * 100 / u64::from(STATE_FULL) + ahead) * reactors;
        if needed <= self.retention.max_bytes {
            return Ok(());
        }
        Err(ConfigError(format!(
            "retention.max_bytes = {}: the conversations and homes in the data directory need {needed} at least; give it twice that",
            self.retention.max_bytes
        )))
    }

    /// Bytes of a reactor's log.
    fn log_bytes(&self) -> u64 {
        self.retention.max_bytes / self.cores.len().max(1) as u64
    }

    /// What a user may fill of a reactor's log.
    pub fn user_budget(&self) -> Budget {
        self.budget(self.limits.user_bytes, USER_SHARE)
    }

    /// What an address may.
    pub fn address_budget(&self) -> Budget {
        self.budget(self.limits.address_bytes, ADDRESS_SHARE)
    }

    fn budget(&self, bytes: u64, share: u64) -> Budget {
        let bytes = if bytes == 0 { (self.log_bytes() / share).max(BUDGET_MIN) } else { bytes };
        Budget::new(bytes, self.retention.window_s)
    }

    /// Whether connections without TLS are taken.
    pub fn takes_plain(&self) -> bool {
        self.listen.ip().is_loopback() || self.insecure
    }

    /// Checks what no type can.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |text: String| Err(ConfigError(text));
        if self.development && !self.listen.ip().is_loopback() {
            return refuse(format!(
                "{} can be reached from other machines, and in development mode whoever asks gets the token of any user: listen on 127.0.0.1, \
                 or leave out --development",
                self.listen
            ));
        }
        let has_tls = self.tls.certificate.is_some() || self.tls.self_signed;
        if !self.takes_plain() && !has_tls {
            return refuse(format!(
                "{} can be reached from other machines, and there is no certificate to encrypt connections with: name one \
                 (--tls-certificate and --tls-key, or --self-signed to try things out), listen on 127.0.0.1, or say --insecure if the \
                 network is trusted",
                self.listen
            ));
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return refuse("tls.certificate and tls.key belong together: name both".into());
        }
        if self.tls.certificate.is_some() && self.tls.self_signed {
            return refuse("tls.self_signed makes a certificate, tls.certificate names one: take one of them".into());
        }
        if !self.door.raw && !self.door.websocket {
            return refuse("door.raw and door.websocket are both off: nobody could speak to the server".into());
        }
        let smallest = 2 * tidings_turn::config::BATCH_MAX as u64;
        if self.log.segment_bytes < smallest
            || !self.log.segment_bytes.is_multiple_of(tidings_log::prepare::CHUNK as u64)
        {
            return refuse(format!(
                "log.segment_bytes is {}: it must be at least {smallest} and a multiple of {}",
                self.log.segment_bytes,
                tidings_log::prepare::CHUNK
            ));
        }
        let most = tidings_log::writer::SEALED_MAX;
        if !(1..=most).contains(&self.log.writes) {
            return refuse(format!("log.writes is {}: it must be from 1 to {most}", self.log.writes));
        }
        let least = self.least_retention();
        if (1..least).contains(&self.retention.max_bytes) {
            return refuse(format!(
                "retention.max_bytes is {}: with {} reactors it must be at least six segments each, {least}",
                self.retention.max_bytes,
                self.cores.len()
            ));
        }
        for (name, bytes) in [("user", self.limits.user_bytes), ("address", self.limits.address_bytes)] {
            if (1..BUDGET_MIN).contains(&bytes) {
                return refuse(format!("limits.{name}_bytes is {bytes}: it must be 0 or at least {BUDGET_MIN}"));
            }
        }
        let small = self.limits.group_small_max;
        if !(2..=GROUP_SMALL_LIMIT).contains(&small) {
            return refuse(format!("limits.group_small_max is {small}: it must be from 2 to {GROUP_SMALL_LIMIT}"));
        }
        if self.retention.window_s == 0 {
            return refuse("retention.window_s must be at least 1".into());
        }
        if !self.receive.buffers.is_power_of_two() || self.receive.buffers > 1 << 15 || self.receive.buffer_bytes < 512
        {
            return refuse("receive.buffers must be a power of two up to 32768, of at least 512 bytes each".into());
        }
        // Each shard claims how far it has what every other one tells: the cost grows with the square.
        if tidings_wire::Shards::new(self.shards).is_none() || self.shards > SHARDS_SENSIBLE {
            return refuse(format!("shards is {}: a power of two up to {SHARDS_SENSIBLE} is expected", self.shards));
        }
        for (at, tenant) in self.tenants.iter().enumerate() {
            let same = |other: &&String| TenantId::derive(other) == TenantId::derive(tenant);
            if let Some(other) = self.tenants[..at].iter().find(same) {
                return refuse(format!("tenants {other} and {tenant} have the same id: rename one of them"));
            }
        }
        if self.limits.idle_timeout_s < 3 {
            return refuse("limits.idle_timeout_s must be at least 3".into());
        }
        if let Some(online) = online_cores()
            && let Some(core) = self.cores.iter().find(|core| !online.contains(core))
        {
            return refuse(format!("core {core} is not there: this machine has {online:?}"));
        }
        if self.cores.iter().enumerate().any(|(at, core)| self.cores[..at].contains(core)) {
            return refuse("each core can have one reactor".into());
        }
        if self.cores.is_empty() || self.cores.len() > 255 {
            return refuse(format!("{} reactors: there must be 1 to 255", self.cores.len()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused_and_what_is_not_said_is_the_default() {
        let config: ServerConfig = toml::from_str("spin_us = 5\n[limits]\nuser_burst = 7").unwrap();
        assert_eq!((config.spin_us, config.limits.user_burst, config.limits.user_per_second), (5, 7, 1000));
        assert!(toml::from_str::<ServerConfig>("[limits]\nuser_brust = 7").is_err());
    }

    #[test]
    fn beyond_loopback_needs_a_word() {
        let mut config = ServerConfig { cores: vec![0], listen: "0.0.0.0:1".parse().unwrap(), ..Default::default() };
        assert!(config.check().unwrap_err().to_string().contains("--insecure"));
        config.insecure = true;
        config.check().unwrap();
        // Whoever can reach it would be whoever it likes.
        config.development = true;
        assert!(config.check().unwrap_err().to_string().contains("--development"));
        config.listen = "[::1]:1".parse().unwrap();
        config.check().unwrap();
    }

    #[test]
    fn what_cannot_hold_its_state_is_refused_with_what_it_needs() {
        let mut config = ServerConfig { cores: vec![0, 1], ..Default::default() };
        (config.log.segment_bytes, config.retention.max_bytes) = (4 << 20, 64 << 20);
        config.check_state(12 << 20).unwrap();
        let refused = config.check_state((12 << 20) + 3).unwrap_err().to_string();
        assert!(refused.contains("67108872 at least"), "{refused}");
    }

    #[test]
    fn cores_are_lists_and_ranges() {
        assert_eq!(parse_cores("0,2-4").unwrap(), [0, 2, 3, 4]);
        for wrong in ["", "a", "3-1", "0,,1", "0-99999"] {
            assert!(parse_cores(wrong).is_err(), "{wrong}");
        }
    }
}
