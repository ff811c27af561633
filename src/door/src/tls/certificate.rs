//! The certificate that a server shows, which can be replaced while it runs.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Why a certificate cannot be used.
#[derive(Debug)]
pub enum CertificateError {
    /// There is no certificate in the file, or what is there cannot be read.
    Chain(String),
    /// There is no key in the file, or what is there cannot be read.
    Key(String),
    /// They do not belong together, or are of a kind that is not understood.
    Pair(rustls::Error),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(error) => write!(
                f,
                "the certificate cannot be read ({error}): a chain in PEM is expected, the server's own first"
            ),
            Self::Key(error) => {
                write!(f, "the certificate's key cannot be read ({error}): a private key in PEM is expected")
            }
            Self::Pair(error) => write!(f, "certificate and key do not go together: {error}"),
        }
    }
}

impl std::error::Error for CertificateError {}

/// A certificate's chain and its key, both in PEM.
///
/// # Errors
/// If they are not that, or do not belong together.
pub fn certified(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, CertificateError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|error| CertificateError::Chain(error.to_string()))?;
    if chain.is_empty() {
        return Err(CertificateError::Chain("nothing is there".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| CertificateError::Key(error.to_string()))?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).map_err(CertificateError::Pair)
}

/// The certificate of a server.
#[derive(Debug)]
pub struct Certificates(RwLock<Arc<CertifiedKey>>);

impl Certificates {
    /// Shows this one.
    pub fn new(certified: CertifiedKey) -> Self {
        Self(RwLock::new(Arc::new(certified)))
    }

    /// Shows this one from now on; connections that are there stay.
    pub fn replace(&self, certified: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}
