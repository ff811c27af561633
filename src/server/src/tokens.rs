//! Tokens: JWT. The server makes an Ed25519 key in the data directory; whoever can read that can issue. Where a login
//! server signs, its public key alone is enough here, or the set of its keys (JWKS).

mod jwks;
mod refresh;
mod verifier;

use std::{fs, io, path::Path};

use ed25519_dalek::{
    SigningKey, VerifyingKey,
    pkcs8::{
        DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes, spki::der::pem::LineEnding,
    },
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
pub use jwks::{Expected, JwksError, KeySet, Trust};
pub use refresh::{News, Refresher, Source};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
pub use tidings_core::Scope;
use tidings_wire::{DeviceId, Timestamp};
pub use verifier::TokenVerifier;

/// The private key: PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it.
pub const KEY_FILE: &str = "token.key";
/// The public key: SubjectPublicKeyInfo in PEM, as `openssl pkey -pubout` writes it.
pub const PUBLIC_FILE: &str = "token.pub";
/// What a token carries.
#[derive(Serialize, Deserialize)]
struct Payload {
    /// The user's external name.
    sub: String,
    /// The tenant.
    #[serde(default = "default_tenant")]
    tenant: String,
    /// The only device that may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<u32>,
    /// Seconds since the epoch.
    #[serde(deserialize_with = "seconds")]
    exp: u64,
    /// Seconds since the epoch before which it does not count.
    #[serde(default, deserialize_with = "seconds", skip_serializing_if = "is_zero")]
    nbf: u64,
    /// Seconds since the epoch, with a fraction.
    #[serde(default)]
    iat: f64,
    /// Words with blanks between them (RFC 8693): `service`, `admin`.
    #[serde(default, deserialize_with = "words", skip_serializing_if = "String::is_empty")]
    scope: String,
}

/// The word that makes a session a service's.
const SERVICE: &str = "service";
/// The word that makes it an administrator's.
const ADMIN: &str = "admin";

/// A scope as others write it, a list for example, says nothing here: such a token still lets its user in.
fn words<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Text(String),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Words::deserialize(from)? {
        Words::Text(words) => words,
        Words::Other(serde::de::IgnoredAny) => String::new(),
    })
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A time of a token: seconds, also with a fraction, which is cut off (RFC 7519, NumericDate).
fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Whole(u64),
        Fraction(f64),
    }
    match Seconds::deserialize(from)? {
        Seconds::Whole(seconds) => Ok(seconds),
        // Out of range it ends at the range's end.
        Seconds::Fraction(seconds) if seconds >= 0.0 => Ok(seconds as u64),
        Seconds::Fraction(_) => Err(D::Error::custom("a time before 1970")),
    }
}

fn default_tenant() -> String {
    "default".into()
}

/// Signs tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    key: SigningKey,
}

/// The keys of a data directory.
#[derive(Debug)]
pub struct Keys {
    /// Signs, where the private key is here.
    pub issuer: Option<Issuer>,
    public: VerifyingKey,
}

fn invalid(path: &Path, error: impl std::fmt::Display) -> io::Error {
    let why = format!("{}: {error} (an Ed25519 key in PEM is expected)", path.display());
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(invalid(path, error)),
    }
}

impl Keys {
    /// The keys of a data directory, `None` if there are none: `token.key`, or `token.pub` alone.
    ///
    /// # Errors
    /// If they cannot be read, are not keys, or are not a pair.
    pub fn load(data: &Path) -> io::Result<Option<Self>> {
        let (key, public) = (data.join(KEY_FILE), data.join(PUBLIC_FILE));
        let issuer = match read(&key)? {
            Some(pem) => {
                let key = SigningKey::from_pkcs8_pem(&pem).map_err(|error| invalid(&key, error))?;
                Some(Issuer { key })
            }
            None => None,
        };
        let told = match read(&public)? {
            Some(pem) => Some(VerifyingKey::from_public_key_pem(&pem).map_err(|error| invalid(&public, error))?),
            None => None,
        };
        let own = issuer.as_ref().map(|issuer| issuer.key.verifying_key());
        if let (Some(own), Some(told)) = (own, told)
            && own != told
        {
            return Err(invalid(&public, format!("it is not the public key of {KEY_FILE}")));
        }
        Ok(own.or(told).map(|public| Self { issuer, public }))
    }

    /// New keys for a data directory that has none.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn make(data: &Path) -> io::Result<Self> {
        let key = SigningKey::from_bytes(&crate::data::random()?);
        let (issuer, public) = (Issuer { key }, data.join(PUBLIC_FILE));
        let pem = issuer.key.verifying_key().to_public_key_pem(LineEnding::LF).map_err(io::Error::other)?;
        // The one that is enough by itself first: with the other alone nobody could ever make a token.
        tidings_log::files::replace(&data.join(KEY_FILE), issuer.to_pem()?.as_bytes())?;
        tidings_log::files::replace(&public, pem.as_bytes())?;
        Ok(Self { public: issuer.key.verifying_key(), issuer: Some(issuer) })
    }

    /// What checks tokens: of these tenants, or of any if there are none. It believes this key, that of `more`, and those that `others` has.
    pub fn verifier(&self, more: Option<&Issuer>, tenants: &[String], others: Option<Trust>) -> TokenVerifier {
        let own = std::iter::once(self.public).chain(more.map(|issuer| issuer.key.verifying_key()));
        let own = own.map(|key| DecodingKey::from_ed_der(key.as_bytes())).collect();
        TokenVerifier::new(own, tenants, others)
    }
}

impl Issuer {
    /// A key that nobody else has, and that is written nowhere: what it signs counts as long as this process is trusted with it.
    ///
    /// # Errors
    /// If there is nothing random to be had.
    pub fn fresh() -> io::Result<Self> {
        Ok(Self { key: SigningKey::from_bytes(&crate::data::random()?) })
    }

    /// The key of a data directory.
    ///
    /// # Errors
    /// If there is none (`serve` makes it), or it cannot be read.
    pub fn load(data: &Path) -> io::Result<Self> {
        let keys = Keys::load(data)?;
        keys.and_then(|keys| keys.issuer).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The private key alone: OpenSSL does not read the longer form that has the public key, too.
    fn to_pem(&self) -> io::Result<String> {
        let bytes = KeypairBytes { secret_key: self.key.to_bytes(), public_key: None };
        Ok(bytes.to_pkcs8_pem(LineEnding::LF).map_err(io::Error::other)?.to_string())
    }

    /// A token of `name` that is good for `ttl_s` seconds from `now`, on one device or on all.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub fn issue(&self, name: &str, device: Option<DeviceId>, now: Timestamp, ttl_s: u64) -> io::Result<String> {
        self.issue_scoped(name, (device, Scope::User), now, ttl_s)
    }

    /// The same for what a token of this scope lets its sessions do.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub fn issue_scoped(
        &self,
        name: &str,
        (device, scope): (Option<DeviceId>, Scope),
        now: Timestamp,
        ttl_s: u64,
    ) -> io::Result<String> {
        let device = device.map(|device| device.0);
        let scope = match scope {
            Scope::User => String::new(),
            Scope::Service => SERVICE.into(),
            Scope::Admin => ADMIN.into(),
        };
        let (exp, iat) = ((now.0 / 1_000_000).saturating_add(ttl_s), now.0 as f64 / 1e6);
        let payload = Payload { sub: name.into(), tenant: default_tenant(), device, exp, nbf: 0, iat, scope };
        let der = self.key.to_pkcs8_der().map_err(|error| io::Error::other(error.to_string()))?;
        let key = EncodingKey::from_ed_der(der.as_bytes());
        encode(&Header::new(Algorithm::EdDSA), &payload, &key).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::EncodingKey;
    use tidings_core::{TokenFault, Verifier};

    use super::*;
    use crate::process::TempDir;

    fn keys(n: u8) -> Keys {
        let key = SigningKey::from_bytes(&[n; 32]);
        Keys { public: key.verifying_key(), issuer: Some(Issuer { key }) }
    }

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn signed(keys: &Keys, payload: &Payload) -> String {
        let der = keys.issuer.as_ref().unwrap().key.to_pkcs8_der().unwrap();
        encode(&Header::new(Algorithm::EdDSA), payload, &EncodingKey::from_ed_der(der.as_bytes())).unwrap()
    }

    fn payload(tenant: &str, nbf: u64) -> Payload {
        Payload {
            sub: "alice".into(),
            tenant: tenant.into(),
            device: None,
            exp: 2000,
            nbf,
            iat: 0.0,
            scope: String::new(),
        }
    }

    #[test]
    fn tokens_of_this_key_are_believed_until_they_expire_and_no_others_are() {
        let (ours, theirs) = (keys(1), keys(2));
        let token = ours.issuer.as_ref().unwrap().issue("alice", Some(DeviceId(7)), NOW, 60).unwrap();
        let verifier = ours.verifier(None, &[], None);
        let claims = verifier.verify(token.as_bytes(), NOW).unwrap();
        assert_eq!((&*claims.name, &*claims.tenant, claims.device), ("alice", "default", Some(DeviceId(7))));
        assert_eq!((claims.until, claims.issued), (Some(Timestamp(1_060_000_000)), NOW));
        assert_eq!(verifier.verify(token.as_bytes(), Timestamp(1_060_000_000)), Err(TokenFault::Expired));
        assert_eq!(theirs.verifier(None, &[], None).verify(token.as_bytes(), NOW), Err(TokenFault::Invalid));
        let mut forged = token.into_bytes();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(verifier.verify(&forged, NOW), Err(TokenFault::Invalid));
        // A token without a signature, whose header says that it needs none.
        let none = b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6OTk5OTk5OTk5OX0.";
        assert_eq!(verifier.verify(none, NOW), Err(TokenFault::Invalid));
        assert_eq!(verifier.verify(b"\xff\xfe", NOW), Err(TokenFault::Invalid));
    }

    #[test]
    fn a_token_counts_from_its_nbf_on_and_for_the_tenants_of_this_server() {
        let keys = keys(1);
        let verify = |tenants: &[String], payload: &Payload| {
            keys.verifier(None, tenants, None)
                .verify(signed(&keys, payload).as_bytes(), NOW)
                .map(|claims| claims.tenant)
        };
        assert!(verify(&[], &payload("one", 1060)).is_ok(), "clocks differ by a minute");
        assert_eq!(verify(&[], &payload("one", 1061)), Err(TokenFault::Invalid));
        let tenants = ["one".to_string()];
        assert_eq!(verify(&tenants, &payload("one", 0)).as_deref(), Ok("one"));
        assert_eq!(verify(&tenants, &payload("two", 0)), Err(TokenFault::Tenant));
    }

    #[test]
    fn times_may_have_fractions_and_what_is_not_understood_is_not_believed() {
        let keys = keys(1);
        let der = keys.issuer.as_ref().unwrap().key.to_pkcs8_der().unwrap();
        let verify = |header: &Header, claims: serde_json::Value| {
            let token = encode(header, &claims, &EncodingKey::from_ed_der(der.as_bytes())).unwrap();
            keys.verifier(None, &[], None).verify(token.as_bytes(), NOW).map(|claims| claims.until)
        };
        let plain = Header::new(Algorithm::EdDSA);
        let fraction = serde_json::json!({ "sub": "alice", "exp": 2000.75, "nbf": 999.5, "iat": 999.5 });
        assert_eq!(verify(&plain, fraction), Ok(Some(Timestamp(2_000_000_000))));
        let good = serde_json::json!({ "sub": "alice", "exp": 2000 });
        assert!(verify(&plain, good.clone()).is_ok());
        // A scope that is no words is somebody else's: it makes nobody a service, and keeps nobody out.
        for scope in [serde_json::json!(["service"]), serde_json::json!(null), serde_json::json!({ "a": 1 })] {
            assert!(verify(&plain, serde_json::json!({ "sub": "alice", "exp": 2000, "scope": scope })).is_ok());
        }
        let critical = Header { crit: Some(vec!["b64".into()]), ..plain.clone() };
        assert_eq!(verify(&critical, good), Err(TokenFault::Invalid));
        for odd in [
            serde_json::json!({ "sub": "alice", "exp": -1.5 }),
            serde_json::json!({ "sub": "alice", "exp": "2000" }),
            serde_json::json!({ "sub": "alice", "exp": 2000, "aud": "somebody else" }),
        ] {
            assert_eq!(verify(&plain, odd.clone()), Err(TokenFault::Invalid), "{odd}");
        }
    }

    #[test]
    fn keys_read_back_and_the_public_one_alone_is_enough_to_check() {
        let dir = TempDir::new("keys").unwrap();
        assert!(Keys::load(dir.path()).unwrap().is_none());
        let made = Keys::make(dir.path()).unwrap();
        let token = made.issuer.unwrap().issue_scoped("alice", (None, Scope::Service), NOW, 60).unwrap();
        let again = Keys::load(dir.path()).unwrap().unwrap();
        let claims = again.verifier(None, &[], None).verify(token.as_bytes(), NOW).unwrap();
        assert!(again.issuer.is_some() && claims.scope == Scope::Service);
        fs::remove_file(dir.path().join(KEY_FILE)).unwrap();
        let public = Keys::load(dir.path()).unwrap().unwrap();
        assert!(public.issuer.is_none() && public.verifier(None, &[], None).verify(token.as_bytes(), NOW).is_ok());
        let other = Issuer { key: SigningKey::from_bytes(&[9; 32]) };
        fs::write(dir.path().join(KEY_FILE), other.to_pem().unwrap()).unwrap();
        assert!(Keys::load(dir.path()).unwrap_err().to_string().contains("not the public key"));
        fs::write(dir.path().join(KEY_FILE), "nonsense").unwrap();
        assert!(Keys::load(dir.path()).unwrap_err().to_string().contains("PEM"));
    }
}
