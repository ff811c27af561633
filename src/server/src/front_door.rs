//! The front door's settings: what may be spoken to the server, and the files that TLS needs.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use tidings_door::{
    Rules, Speaks,
    tls::{CertificateError, Certificates, SECRET_LEN, Tickets, Versions, certified, server_config},
};

use crate::{
    config::{ConfigError, ServerConfig},
    pages::WebPages,
    tokens::Issuer,
};

/// `[tls]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// The certificate's chain, in PEM, the server's own first.
    pub certificate: Option<PathBuf>,
    /// Its private key, in PEM.
    pub key: Option<PathBuf>,
    /// Make a certificate in the data directory that signs itself, and use it: to try things out.
    pub self_signed: bool,
    /// The oldest version that is spoken.
    pub oldest: OldestTls,
    /// A file of 32 random bytes from which the keys of tickets follow: nodes that share it take each other's. Without it the data directory has one.
    pub tickets: Option<PathBuf>,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub enum OldestTls {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[default]
    #[serde(rename = "1.3")]
    Tls13,
}

/// `[door]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DoorSettings {
    /// Whether frames are taken as they are, in TLS or without.
    pub raw: bool,
    /// Whether WebSockets are.
    pub websocket: bool,
    /// Whether the web client is served, at `/`.
    pub pages: bool,
    /// Origins of pages that may connect, besides those of the server itself: `https://app.example`.
    pub origins: Vec<String>,
}

impl Default for DoorSettings {
    fn default() -> Self {
        Self { raw: true, websocket: true, pages: true, origins: Vec::new() }
    }
}

/// The certificate that signs itself, and its key.
pub const SELF_SIGNED: &str = "tls.crt";
/// Its key.
pub const SELF_SIGNED_KEY: &str = "tls.key";
/// The secret from which the keys of tickets follow.
const TICKET_SECRET: &str = "tls.tickets";

/// What a server needs of its front door.
#[derive(Debug)]
pub struct FrontDoor {
    /// What its reactors go by.
    pub rules: Arc<Rules>,
    tls: Option<Files>,
}

/// The certificate, and where it came from.
#[derive(Debug)]
struct Files {
    certificates: Arc<Certificates>,
    chain: PathBuf,
    key: PathBuf,
}

/// Why a file cannot be used.
fn unusable(path: &Path, why: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::new(format!("{}: {why}", path.display()))
}

impl FrontDoor {
    /// Loads what the settings name; what is to be made is made in the data directory. In development mode an issuer signs tokens for whoever asks.
    ///
    /// # Errors
    /// If a file cannot be read or made, or is not what is expected.
    pub fn open(config: &ServerConfig, data: &Path, development: Option<Issuer>) -> Result<Self, ConfigError> {
        let (tls, door) = (&config.tls, &config.door);
        let files = match (&tls.certificate, &tls.key) {
            (Some(chain), Some(key)) => Some((chain.clone(), key.clone())),
            _ if tls.self_signed => {
                let (chain, key) = (data.join(SELF_SIGNED), data.join(SELF_SIGNED_KEY));
                if !chain.exists() || !key.exists() {
                    make_self_signed(&chain, &key, config.listen.ip()).map_err(|error| unusable(&chain, &error))?;
                }
                Some((chain, key))
            }
            _ => None,
        };
        let mut speaks = Vec::new();
        speaks.extend(door.raw.then_some(Speaks::Raw));
        speaks.extend(door.websocket.then_some(Speaks::Http));
        let mut rules = Rules {
            tls: None,
            plain: if config.takes_plain() { speaks.clone() } else { Vec::new() },
            sealed: speaks,
            origins: door.origins.clone(),
            pages: None,
        };
        if door.pages && door.websocket {
            rules.pages = Some(Arc::new(WebPages::new(development)));
        }
        let mut loaded = None;
        if let Some((chain, key)) = files {
            let certificates = Arc::new(Certificates::new(load(&chain, &key)?));
            let tickets = Arc::new(Tickets::new(&ticket_secret(tls.tickets.as_deref(), data)?, seconds));
            let versions = match tls.oldest {
                OldestTls::Tls12 => Versions::Tls12And13,
                OldestTls::Tls13 => Versions::Tls13,
            };
            let made = server_config(Arc::clone(&certificates), tickets, versions);
            rules.tls = Some(made.map_err(|error| unusable(&chain, &error))?);
            loaded = Some(Files { certificates, chain, key });
        }
        Ok(Self { rules: Arc::new(rules), tls: loaded })
    }

    /// Reads the certificate's files again: connections that come from now on are shown what is there. `None`: there is no TLS.
    ///
    /// # Errors
    /// If they cannot be read; then the old one stays.
    pub fn reload(&self) -> Option<Result<(), ConfigError>> {
        let files = self.tls.as_ref()?;
        Some(load(&files.chain, &files.key).map(|certified| files.certificates.replace(certified)))
    }
}

/// The clock of tickets, in seconds since 1970.
fn seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn load(chain: &Path, key: &Path) -> Result<rustls::sign::CertifiedKey, ConfigError> {
    let read = |path: &Path| fs::read(path).map_err(|error| unusable(path, &error));
    certified(&read(chain)?, &read(key)?).map_err(|error| {
        let path = if matches!(error, CertificateError::Key(_)) { key } else { chain };
        unusable(path, &error)
    })
}

/// The secret of tickets: what the operator shares among nodes, or one of this node's own.
fn ticket_secret(shared: Option<&Path>, data: &Path) -> Result<[u8; SECRET_LEN], ConfigError> {
    let path = shared.map_or_else(|| data.join(TICKET_SECRET), Path::to_path_buf);
    let failed = |error: io::Error| unusable(&path, &error);
    if shared.is_none() && !path.exists() {
        let secret: [u8; SECRET_LEN] = crate::data::random().map_err(failed)?;
        tidings_log::files::replace(&path, &secret).map_err(failed)?;
        return Ok(secret);
    }
    let read = fs::read(&path).map_err(failed)?;
    <[u8; SECRET_LEN]>::try_from(read).map_err(|read| {
        let why = format!(
            "{} bytes, where {SECRET_LEN} random ones are expected: head -c {SECRET_LEN} /dev/urandom makes them",
            read.len()
        );
        unusable(&path, &why)
    })
}

fn make_self_signed(chain: &Path, key: &Path, listen: IpAddr) -> io::Result<()> {
    let mut names = vec!["localhost".to_string(), "127.0.0.1".into(), "::1".into()];
    if !listen.is_unspecified() && !listen.is_loopback() {
        names.push(listen.to_string());
    }
    names.push(rustix::system::uname().nodename().to_string_lossy().into_owned());
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    // The key first: with the other alone nothing would be made again.
    tidings_log::files::replace(key, made.signing_key.serialize_pem().as_bytes())?;
    tidings_log::files::replace(chain, made.cert.pem().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("tidings-front-door-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_certificate_that_signs_itself_is_made_once_and_a_wrong_file_is_named() {
        let dir = scratch("made");
        let mut config = ServerConfig::default();
        config.tls.self_signed = true;
        let door = FrontDoor::open(&config, &dir, None).unwrap();
        assert!(door.rules.tls.is_some());
        let made = fs::read(dir.join(SELF_SIGNED)).unwrap();
        FrontDoor::open(&config, &dir, None).unwrap();
        assert_eq!(fs::read(dir.join(SELF_SIGNED)).unwrap(), made);
        fs::write(dir.join(SELF_SIGNED), "nothing").unwrap();
        let why = door.reload().unwrap().unwrap_err().to_string();
        assert!(why.contains(SELF_SIGNED) && why.contains("chain in PEM"), "{why}");
        fs::write(dir.join(TICKET_SECRET), "short").unwrap();
        fs::write(dir.join(SELF_SIGNED), made).unwrap();
        door.reload().unwrap().unwrap();
        let why = FrontDoor::open(&config, &dir, None).unwrap_err().to_string();
        assert!(why.contains(TICKET_SECRET) && why.contains("5 bytes"), "{why}");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn beyond_loopback_nothing_is_spoken_without_tls() {
        let dir = scratch("plain");
        let mut config = ServerConfig::default();
        config.tls.self_signed = true;
        let spoken = |config: &ServerConfig| FrontDoor::open(config, &dir, None).unwrap().rules.plain.clone();
        assert_eq!(spoken(&config), [Speaks::Raw, Speaks::Http]);
        config.listen = "0.0.0.0:1".parse().unwrap();
        assert_eq!(spoken(&config), []);
        (config.insecure, config.door.websocket) = (true, false);
        assert_eq!(spoken(&config), [Speaks::Raw]);
        fs::remove_dir_all(dir).unwrap();
    }
}
