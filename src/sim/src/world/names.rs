//! Who somebody is: tokens that say it as they are.

use tidings_core::{Claims, Scope, TokenFault, Verifier};
use tidings_wire::{DeviceId, Timestamp};

/// How an administrator's token ends.
pub(super) const ADMINISTERS: &str = ":admin";
/// A token is the user's name and the device's number, and of administrators that they are.
#[derive(Debug)]
pub(super) struct Names;

impl Verifier for Names {
    fn verify(&self, token: &[u8], _: Timestamp) -> Result<Claims, TokenFault> {
        let token = std::str::from_utf8(token).ok().filter(|token| token.starts_with("user"));
        let (name, device) = token.and_then(|token| token.split_once(':')).ok_or(TokenFault::Invalid)?;
        let stripped = device.strip_suffix(ADMINISTERS);
        let (device, scope) = stripped.map_or((device, Scope::User), |device| (device, Scope::Admin));
        let device = device.parse().map(DeviceId).map_err(|_| TokenFault::Invalid)?;
        let (tenant, issued) = (tidings_client::DEFAULT_TENANT.into(), Timestamp(0));
        Ok(Claims { tenant, name: name.into(), device: Some(device), until: None, issued, scope })
    }
}
