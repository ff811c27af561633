//! What checks tokens, on each reactor.

use std::{fmt, sync::Arc};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, dangerous::insecure_decode_claims, decode, decode_header};
use tidings_core::{Claims, Scope, TokenFault, Verifier};
use tidings_wire::{DeviceId, Timestamp};

use super::{ADMIN, Payload, SERVICE, jwks::Trust};

/// Seconds that the clock of whoever signs may be ahead of the server's: a token counts so much before its `nbf`.
const CLOCK_SKEW_S: u64 = 60;

/// Checks tokens of the data directory's key, and of a login server's keys.
#[derive(Clone)]
pub struct TokenVerifier {
    own: Arc<[DecodingKey]>,
    own_validation: Validation,
    /// Those that are let in; none: all.
    tenants: Arc<[String]>,
    others: Option<Trust>,
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenVerifier")
    }
}

/// What is looked at of a token that is signed so. Time is the caller's; the algorithm is the key's, whatever a token's header says.
pub(super) fn validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.set_required_spec_claims(&["exp", "sub"]);
    validation
}

impl TokenVerifier {
    pub(super) fn new(own: Arc<[DecodingKey]>, tenants: &[String], others: Option<Trust>) -> Self {
        Self { own, own_validation: validation(Algorithm::EdDSA), tenants: tenants.into(), others }
    }

    /// What a token says that one of the keys has signed.
    fn signed(&self, token: &[u8], now_s: u64) -> Result<Payload, TokenFault> {
        if let Some(data) = self.own.iter().find_map(|key| decode::<Payload>(token, key, &self.own_validation).ok()) {
            // Nothing that a token calls critical is known here.
            return if data.header.crit.is_some() { Err(TokenFault::Invalid) } else { Ok(data.claims) };
        }
        let others = self.others.as_ref().ok_or(TokenFault::Invalid)?;
        let header = decode_header(token).map_err(|_| TokenFault::Invalid)?;
        if header.crit.is_some() {
            return Err(TokenFault::Invalid);
        }
        let keys = others.keys();
        for key in keys.of(header.kid.as_deref(), header.alg) {
            if let Ok(data) = decode::<Payload>(token, &key.key, &key.validation) {
                return Ok(data.claims);
            }
        }
        if keys.knows(header.kid.as_deref()) {
            return Err(TokenFault::Invalid);
        }
        // A key may have been added since they were fetched. Whether one was when this token was made, its own word decides: an invented one is told to
        // come again for as long as it likes, and nobody with a new key is turned away for good.
        let says = insecure_decode_claims::<Payload>(token).map_err(|_| TokenFault::Invalid)?;
        let issued_s = (says.iat.max(0.0) as u64).saturating_add(CLOCK_SKEW_S);
        if others.may_be_new(issued_s, now_s) { Err(TokenFault::TryAgain) } else { Err(TokenFault::Invalid) }
    }
}

impl Verifier for TokenVerifier {
    fn verify(&self, token: &[u8], now: Timestamp) -> Result<Claims, TokenFault> {
        let now_s = now.0 / 1_000_000;
        let Payload { sub, tenant, device, exp, nbf, iat, scope } = self.signed(token, now_s)?;
        if exp <= now_s {
            return Err(TokenFault::Expired);
        }
        if nbf > now_s.saturating_add(CLOCK_SKEW_S) {
            return Err(TokenFault::Invalid);
        }
        if !self.tenants.is_empty() && !self.tenants.contains(&tenant) {
            return Err(TokenFault::Tenant);
        }
        let until = Some(Timestamp(exp.saturating_mul(1_000_000)));
        // One of the future would be younger than what revokes it: then it does not say when it was issued.
        let issued = Timestamp((iat.max(0.0) * 1e6) as u64);
        let is_ahead = issued.0 > now.0.saturating_add(CLOCK_SKEW_S * 1_000_000);
        let issued = if is_ahead { Timestamp(0) } else { issued };
        let says = |what| scope.split(' ').any(|word| word == what);
        let scope = match (says(ADMIN), says(SERVICE)) {
            (true, _) => Scope::Admin,
            (false, true) => Scope::Service,
            (false, false) => Scope::User,
        };
        Ok(Claims { tenant: tenant.into(), name: sub.into(), device: device.map(DeviceId), until, issued, scope })
    }
}
