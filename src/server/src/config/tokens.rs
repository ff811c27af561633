//! `[tokens]`: whose tokens are believed besides those of the data directory's key.

use std::{path::Path, time::Duration};

use serde::Deserialize;

use super::ConfigError;
use crate::tokens::{Expected, Refresher, Source};

/// `[tokens]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenSettings {
    /// The keys of a login server (a JWK set): a file, or an `https://` address. None: the data directory's key is the only one.
    pub jwks: Option<String>,
    /// What `aud` of its tokens must have.
    pub audience: Option<String>,
    /// What `iss` of its tokens must be.
    pub issuer: Option<String>,
    /// Seconds after which its keys are fetched again; sooner if a token names one that is not known.
    pub refresh_s: u64,
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self { jwks: None, audience: None, issuer: None, refresh_s: 300 }
    }
}

impl TokenSettings {
    /// What keeps the keys fresh, if there are any.
    ///
    /// # Errors
    /// If they are in a file that cannot be used, or at an address that nobody should trust.
    pub(crate) fn refresher(&self, data: &Path) -> Result<Option<Refresher>, ConfigError> {
        let wrong = |why: String| ConfigError::new(format!("tokens.jwks: {why}"));
        let Some(jwks) = &self.jwks else { return Ok(None) };
        if self.refresh_s == 0 {
            return Err(ConfigError::new("tokens.refresh_s must be at least 1".into()));
        }
        let expected = Expected { audience: self.audience.clone(), issuer: self.issuer.clone() };
        let source = Source::new(jwks, expected, Duration::from_secs(self.refresh_s), data).map_err(wrong)?;
        Refresher::start(source).map(Some).map_err(wrong)
    }
}
