//! The keys of a login server: a JWK set (RFC 7517), and what its tokens must say.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crossbeam::channel::Sender;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};

use super::verifier::validation;

/// Keys of a set.
pub const KEYS_MAX: usize = 64;
/// Keys that are tried for one token.
const TRIED_MAX: usize = 2;
/// Bytes of a set.
pub const JWKS_MAX: u64 = 256 << 10;
/// A set is fetched at most so often because of a key that is not in it, in seconds.
const ASK_EVERY_S: u64 = 10;

/// What the tokens of a login server must say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// `aud` has it; none: `aud` must not be there.
    pub audience: Option<String>,
    /// `iss` is it.
    pub issuer: Option<String>,
}

/// Why a set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksError {
    /// It is not a set of keys.
    Format(String),
    /// More than 64.
    TooMany(usize),
    /// None of its keys can be used: Ed25519 and P-256 can.
    Empty,
}

impl fmt::Display for JwksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(error) => write!(f, "this is no JWK set: {error}"),
            Self::TooMany(count) => write!(f, "{count} keys, where {KEYS_MAX} are the most"),
            Self::Empty => {
                f.write_str("there is no key that can be used: Ed25519 (EdDSA) or P-256 (ES256) is expected")
            }
        }
    }
}

impl std::error::Error for JwksError {}

/// One key.
pub(super) struct Key {
    kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
    pub(super) validation: Validation,
}

/// The keys that are trusted now.
#[derive(Default)]
pub struct KeySet(Vec<Key>);

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({})", self.0.len())
    }
}

/// The algorithm of a key, if it is one that is understood here.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let signs = jwk.common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    let fits = jwk.common.key_algorithm.is_none_or(|other| other == named);
    (signs && fits).then_some(algorithm)
}

impl KeySet {
    /// Reads a set. Keys of other kinds, or for something else, are passed over.
    ///
    /// # Errors
    /// If it is none, or has no key that can be used.
    pub fn parse(json: &[u8], expected: &Expected) -> Result<Self, JwksError> {
        #[derive(serde::Deserialize)]
        struct Loose {
            keys: Vec<serde_json::Value>,
        }
        let set: Loose = serde_json::from_slice(json).map_err(|error| JwksError::Format(error.to_string()))?;
        if set.keys.len() > KEYS_MAX {
            return Err(JwksError::TooMany(set.keys.len()));
        }
        // One that is not understood does not spoil the others (RFC 7517, 5).
        let understood = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok()).collect();
        let JwkSet { keys } = JwkSet { keys: understood };
        let key = |jwk: &Jwk| {
            let algorithm = algorithm(jwk)?;
            let mut validation = validation(algorithm);
            let mut needed = vec!["exp", "sub"];
            if let Some(audience) = &expected.audience {
                validation.set_audience(&[audience]);
                needed.push("aud");
            }
            if let Some(issuer) = &expected.issuer {
                validation.set_issuer(&[issuer]);
                needed.push("iss");
            }
            validation.set_required_spec_claims(&needed);
            let key = DecodingKey::from_jwk(jwk).ok()?;
            Some(Key { kid: jwk.common.key_id.clone(), algorithm, key, validation })
        };
        let keys: Vec<_> = keys.iter().filter_map(key).collect();
        if keys.is_empty() { Err(JwksError::Empty) } else { Ok(Self(keys)) }
    }

    /// The keys of a kind that may have signed a token which names this one, or none: the first few, since each costs as much as a handshake.
    pub(super) fn of<'a>(&'a self, kid: Option<&'a str>, algorithm: Algorithm) -> impl Iterator<Item = &'a Key> {
        let may = move |key: &&Key| key.algorithm == algorithm && (kid.is_none() || key.kid.as_deref() == kid);
        self.0.iter().filter(may).take(TRIED_MAX)
    }

    /// True if a token that names this key, or none, could have been signed by one of these.
    pub(super) fn knows(&self, kid: Option<&str>) -> bool {
        self.0.iter().any(|key| kid.is_none() || key.kid.as_deref() == kid)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What all reactors share of the keys of a login server.
#[derive(Debug)]
struct Shared {
    keys: RwLock<Arc<KeySet>>,
    /// When they were asked for last because of a key that is not among them, in seconds since 1970.
    asked_s: AtomicU64,
    /// When what is there was fetched.
    fetched_s: AtomicU64,
    /// They were, and could not be had yet: nobody knows whether such a key is good.
    pending: AtomicBool,
    ask: Sender<()>,
}

/// The keys of a login server, which change while it runs.
#[derive(Clone, Debug)]
pub struct Trust(Arc<Shared>);

impl Trust {
    /// These keys, which were asked for at a time; whoever asks for newer ones says so on the channel.
    pub(super) fn new(keys: KeySet, begun_s: u64, ask: Sender<()>) -> Self {
        let (keys, asked_s) = (RwLock::new(Arc::new(keys)), AtomicU64::new(0));
        let (fetched_s, pending) = (AtomicU64::new(begun_s), AtomicBool::new(false));
        Self(Arc::new(Shared { keys, asked_s, fetched_s, pending, ask }))
    }

    /// The keys that are trusted now.
    pub(super) fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// These were fetched; when that began, in seconds since 1970.
    pub(super) fn replace(&self, keys: KeySet, begun_s: u64) {
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        self.0.fetched_s.store(begun_s, Ordering::Relaxed);
        // Who asked while it was under way may have asked for something newer.
        if self.0.asked_s.load(Ordering::Relaxed) <= begun_s {
            self.0.pending.store(false, Ordering::Relaxed);
        }
    }

    /// Whether a key may be new that a token names and nobody here knows: the token was issued after the keys were fetched, or they are being fetched for
    /// such a reason. Asks for newer ones, unless that was done a moment ago.
    pub(super) fn may_be_new(&self, issued_s: u64, now_s: u64) -> bool {
        let Shared { asked_s, fetched_s, pending, ask, .. } = &*self.0;
        let before = asked_s.load(Ordering::Relaxed);
        let is_time = now_s >= before.saturating_add(ASK_EVERY_S) || before > now_s;
        if is_time {
            asked_s.store(now_s, Ordering::Relaxed);
            pending.store(true, Ordering::Relaxed);
            // Several reactors may ask at once: the channel has room for one.
            let _asked_already = ask.try_send(());
        }
        pending.load(Ordering::Relaxed) || issued_s >= fetched_s.load(Ordering::Relaxed)
    }
}
