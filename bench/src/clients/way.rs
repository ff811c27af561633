//! How a connection of the load speaks to the server: frames as they are, in TLS, in a WebSocket, or in both.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tidings_door::client::{MESSAGE, Reader, put_frame, request};

use crate::Failure;

/// A way to the server.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// In TLS, as this.
    tls: Option<Arc<ClientConfig>>,
    /// In a WebSocket.
    framing: Framing,
}

/// In what frames travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Framing {
    /// As they are.
    #[default]
    Raw,
    /// In a WebSocket.
    WebSocket,
}

impl Way {
    /// Without TLS.
    pub fn plain(framing: Framing) -> Self {
        Self { tls: None, framing }
    }

    /// In TLS, to a server with a certificate (PEM). Every handshake is a whole one.
    ///
    /// # Errors
    /// If it is not one.
    pub fn sealed(framing: Framing, certificate: &[u8]) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Self { tls: Some(Arc::new(config)), framing })
    }

    /// A client of TLS.
    ///
    /// # Errors
    /// If this is not a way in TLS.
    pub fn client(&self) -> Result<ClientConnection, Failure> {
        let config = self.tls.as_ref().ok_or("a way without TLS")?;
        let mut client = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
        client.set_buffer_limit(None);
        Ok(client)
    }

    /// What a connection needs that is not raw.
    ///
    /// # Errors
    /// If there is no client of TLS to be had.
    pub fn caller(&self) -> Result<Option<Box<Caller>>, Failure> {
        let tls = if self.tls.is_some() { Some(self.client()?) } else { None };
        let socket = (self.framing == Framing::WebSocket).then(Socket::default);
        let is_raw = tls.is_none() && socket.is_none();
        Ok((!is_raw).then(|| Box::new(Caller { tls, socket, plain: Vec::new() })))
    }
}

/// A connection's end that is not raw.
#[derive(Debug)]
pub struct Caller {
    tls: Option<ClientConnection>,
    socket: Option<Socket>,
    plain: Vec<u8>,
}

/// A client's WebSocket.
#[derive(Debug, Default)]
struct Socket {
    asked: bool,
    reader: Reader,
}

impl Caller {
    /// True if something goes out although nothing is said: a handshake's messages.
    pub fn wants_to_speak(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Takes what was said out of `stream`, and appends it to `out` as it goes to the server.
    ///
    /// # Errors
    /// If TLS is over.
    pub fn wrap(&mut self, stream: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Failure> {
        let plain = match &self.tls {
            Some(_) => &mut self.plain,
            None => &mut *out,
        };
        match &mut self.socket {
            Some(socket) => socket.wrap(stream, plain),
            None => plain.append(stream),
        }
        stream.clear();
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(&self.plain)?;
            self.plain.clear();
            while tls.wants_write() {
                tls.write_tls(out)?;
            }
        }
        Ok(())
    }

    /// Takes what came: the stream of frames in it is appended to `stream`.
    ///
    /// # Errors
    /// If it is nonsense.
    pub fn open(&mut self, mut bytes: &[u8], stream: &mut Vec<u8>) -> Result<(), Failure> {
        let Some(tls) = &mut self.tls else {
            return self.socket.as_mut().map_or(Ok(()), |socket| Ok(socket.reader.read(bytes, stream)?));
        };
        let plain = if self.socket.is_some() { &mut self.plain } else { &mut *stream };
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes)?;
            tls.process_new_packets()?;
            // With the connection still open reading ends by *would block*.
            let _open = tls.reader().read_to_end(plain);
        }
        let Some(socket) = &mut self.socket else { return Ok(()) };
        let plain = std::mem::take(&mut self.plain);
        Ok(socket.reader.read(&plain, stream)?)
    }
}

impl Socket {
    fn wrap(&mut self, stream: &[u8], out: &mut Vec<u8>) {
        const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];
        if !std::mem::replace(&mut self.asked, true) {
            out.extend_from_slice(request("localhost").as_bytes());
        }
        if !stream.is_empty() {
            put_frame(out, MESSAGE, MASK, stream);
        }
    }
}
