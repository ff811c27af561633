//! TLS on the client's side: whom it trusts, and the handshake.

use std::{io, net::TcpStream, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::server::Secrecy;

pub(super) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// What frames in TLS are called (ALPN).
const PROTOCOLS: [&[u8]; 2] = [b"tidings/1", b"http/1.1"];

fn roots(secrecy: &Secrecy) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match secrecy {
        Secrecy::Plain => {}
        Secrecy::System => {
            // Some that cannot be read are no reason to trust none.
            for root in rustls_native_certs::load_native_certs().certs {
                let _unreadable = roots.add(root);
            }
        }
        Secrecy::Authorities(pem) => {
            for root in CertificateDer::pem_slice_iter(pem) {
                roots.add(root.map_err(io::Error::other)?).map_err(io::Error::other)?;
            }
        }
    }
    if roots.is_empty() {
        return Err(io::Error::other("there is no authority to trust: no certificate could be read"));
    }
    Ok(roots)
}

/// Whom a client trusts, read once, and the tickets with which it comes back.
#[derive(Debug, Default)]
pub(crate) struct Trusted(Option<(Secrecy, Arc<ClientConfig>)>);

impl Trusted {
    /// A connection to a host, nothing of which was sent yet.
    ///
    /// # Errors
    /// If nobody is trusted, or the name is none that a certificate could have.
    pub(crate) fn connection(&mut self, host: &str, secrecy: &Secrecy) -> io::Result<ClientConnection> {
        let name = ServerName::try_from(host.to_string()).map_err(io::Error::other)?;
        ClientConnection::new(self.config(secrecy)?, name).map_err(io::Error::other)
    }

    fn config(&mut self, secrecy: &Secrecy) -> io::Result<Arc<ClientConfig>> {
        if let Some((of, config)) = &self.0
            && of == secrecy
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(config(secrecy)?);
        self.0 = Some((secrecy.clone(), Arc::clone(&config)));
        Ok(config)
    }
}

fn config(secrecy: &Secrecy) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.map_err(io::Error::other)?.with_root_certificates(roots(secrecy)?).with_no_client_auth();
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(config)
}

/// Agrees with the server on TLS.
pub(super) fn connect(
    mut tcp: TcpStream,
    host: &str,
    secrecy: &Secrecy,
    trusted: &mut Trusted,
) -> io::Result<TlsStream> {
    let mut connection = trusted.connection(host, secrecy)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(connection, tcp))
}
