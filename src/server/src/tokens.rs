//! Tokens: JWT, signed with Ed25519. The server makes its key in the data directory; whoever can read that can issue.

use std::{fs, io, path::Path};

use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use tidings_core::{Claims, TokenFault, Verifier};
use tidings_wire::{DeviceId, Timestamp};

const KEY_FILE: &str = "token.key";

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
    exp: u64,
    #[serde(default)]
    iat: u64,
}

fn default_tenant() -> String {
    "default".into()
}

/// Signs tokens.
#[derive(Debug)]
pub struct Issuer {
    key: SigningKey,
}

impl Issuer {
    /// The key of a data directory.
    ///
    /// # Errors
    /// If there is none (`serve` makes it), or it cannot be read.
    pub fn load(data: &Path) -> io::Result<Self> {
        let path = data.join(KEY_FILE);
        let der = fs::read(&path)?;
        let key = SigningKey::from_pkcs8_der(&der)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))?;
        Ok(Self { key })
    }

    /// The key of a data directory, made if there is none.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn load_or_make(data: &Path) -> io::Result<Self> {
        match Self::load(data) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(&data.join(KEY_FILE)),
            loaded => loaded,
        }
    }

    fn make(path: &Path) -> io::Result<Self> {
        let key = SigningKey::from_bytes(&crate::data::random()?);
        let der = key.to_pkcs8_der().map_err(|error| io::Error::other(error.to_string()))?;
        tidings_log::files::replace(path, der.as_bytes())?;
        Ok(Self { key })
    }

    /// A token of `name` that is good for `ttl_s` seconds from `now`, on one device or on all.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub fn issue(&self, name: &str, device: Option<DeviceId>, now: Timestamp, ttl_s: u64) -> io::Result<String> {
        let iat = now.0 / 1_000_000;
        let device = device.map(|device| device.0);
        let payload =
            Payload { sub: name.into(), tenant: default_tenant(), device, exp: iat.saturating_add(ttl_s), iat };
        let der = self.key.to_pkcs8_der().map_err(|error| io::Error::other(error.to_string()))?;
        let key = EncodingKey::from_ed_der(der.as_bytes());
        encode(&Header::new(Algorithm::EdDSA), &payload, &key).map_err(io::Error::other)
    }

    /// What checks this key's tokens.
    pub fn verifier(&self) -> TokenVerifier {
        let key = DecodingKey::from_ed_der(self.key.verifying_key().as_bytes());
        // The algorithm is the key's, whatever a token's header says. Time is the caller's.
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.validate_exp = false;
        validation.set_required_spec_claims(&["exp", "sub"]);
        TokenVerifier { key, validation }
    }
}

/// Checks tokens of one key.
#[derive(Clone)]
pub struct TokenVerifier {
    key: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenVerifier")
    }
}

impl Verifier for TokenVerifier {
    fn verify(&self, token: &[u8], now: Timestamp) -> Result<Claims, TokenFault> {
        let data = decode::<Payload>(token, &self.key, &self.validation).map_err(|_| TokenFault::Invalid)?;
        let Payload { sub, tenant, device, exp, .. } = data.claims;
        if exp <= now.0 / 1_000_000 {
            return Err(TokenFault::Expired);
        }
        Ok(Claims { tenant: tenant.into(), name: sub.into(), device: device.map(DeviceId) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_this_key_are_believed_until_they_expire_and_no_others_are() {
        let make = |n: u8| Issuer { key: SigningKey::from_bytes(&[n; 32]) };
        let (ours, theirs, now) = (make(1), make(2), Timestamp(1_000_000_000));
        let token = ours.issue("alice", Some(DeviceId(7)), now, 60).unwrap();
        let verifier = ours.verifier();
        let claims = verifier.verify(token.as_bytes(), now).unwrap();
        assert_eq!((&*claims.name, &*claims.tenant, claims.device), ("alice", "default", Some(DeviceId(7))));
        assert_eq!(verifier.verify(token.as_bytes(), Timestamp(1_060_000_000)), Err(TokenFault::Expired));
        assert_eq!(theirs.verifier().verify(token.as_bytes(), now), Err(TokenFault::Invalid));
        let mut forged = token.into_bytes();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(verifier.verify(&forged, now), Err(TokenFault::Invalid));
        // A token without a signature, whose header says that it needs none.
        let none = b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6OTk5OTk5OTk5OX0.";
        assert_eq!(verifier.verify(none, now), Err(TokenFault::Invalid));
        assert_eq!(verifier.verify(b"\xff\xfe", now), Err(TokenFault::Invalid));
    }
}
