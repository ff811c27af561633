//! TLS, by rustls: records in and out of memory. What rustls asks for between its states is done here, and nowhere else, since that
//! part of its interface will change.

mod certificate;
mod tickets;

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus},
};

pub use certificate::{CertificateError, Certificates, certified};
pub use tickets::{SECRET_LEN, Tickets};

use crate::door::{End, Last};

/// Bytes of a record that carry data (RFC 8446, 5.1).
const RECORD: usize = 16 << 10;
/// What a record of data takes more than its data: header, type and tag, or a nonce in TLS 1.2.
const RECORD_MORE: usize = 5 + 1 + 16 + 8;
/// Bytes that may wait while they are not a whole record, or a whole message of the handshake.
const INCOMING_MAX: usize = 32 << 10;

/// Which versions are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.3.
    #[default]
    Tls13,
    /// TLS 1.2, too.
    Tls12And13,
}

/// The protocols that clients may name (ALPN): frames, and HTTP for WebSockets.
pub const PROTOCOLS: [&[u8]; 2] = [b"tidings/1", b"http/1.1"];

/// How connections are sealed.
///
/// # Errors
/// If the versions cannot be had.
pub fn server_config(
    certificates: Arc<Certificates>,
    tickets: Arc<Tickets>,
    versions: Versions,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let versions: &[_] = match versions {
        Versions::Tls13 => &[&rustls::version::TLS13],
        Versions::Tls12And13 => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(certificates);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    config.ticketer = tickets;
    // One is enough: who comes back gets another.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// The TLS of one connection.
pub(crate) struct Tls {
    connection: UnbufferedServerConnection,
    /// Records that are not whole.
    incoming: Vec<u8>,
    /// Records that are no data: of the handshake, alerts.
    outgoing: Vec<u8>,
    up: bool,
    /// It failed, or its end was said: nothing more can be sealed.
    over: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls(up {}, over {})", self.up, self.over)
    }
}

impl Tls {
    pub(crate) fn new(config: &Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Self { connection, incoming: Vec::new(), outgoing: Vec::new(), up: false, over: false })
    }

    /// True once both sides have agreed.
    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    /// True if nothing more can be sealed.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// True while a record is not whole.
    pub(crate) fn is_inside(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// Takes received bytes; data is appended to `plain`.
    pub(crate) fn open(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Option<End> {
        if self.over {
            return None;
        }
        if self.incoming.is_empty() {
            let (used, end) = self.process(bytes, plain);
            self.incoming.extend_from_slice(&bytes[used..]);
            return end.or_else(|| self.too_much());
        }
        let mut incoming = std::mem::take(&mut self.incoming);
        incoming.extend_from_slice(bytes);
        let (used, end) = self.process(&mut incoming, plain);
        if used < incoming.len() {
            incoming.drain(..used);
            self.incoming = incoming;
        }
        end.or_else(|| self.too_much())
    }

    fn too_much(&mut self) -> Option<End> {
        let is = self.incoming.len() > INCOMING_MAX;
        self.over |= is;
        is.then_some(End::Broken("a TLS message that does not end"))
    }

    /// Lets rustls work until it wants more bytes. How many were used.
    fn process(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> (usize, Option<End>) {
        let mut used = 0;
        let mut end = None;
        loop {
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut bytes[used..]);
            used += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(message)) => encode(message, &mut self.outgoing),
                Ok(ConnectionState::TransmitTlsData(message)) => message.done(),
                Ok(ConnectionState::PeerClosed) => end = Some(End::Closed),
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.up = true;
                    return (used, end);
                }
                Ok(ConnectionState::BlockedHandshake) => return (used, end),
                Ok(_) => {
                    self.over = true;
                    return (bytes.len(), end.or(Some(End::Closed)));
                }
                Err(_) => {
                    self.over = true;
                    // Why, it says in an alert, which must be taken out before anything else.
                    while self.connection.wants_write()
                        && let Ok(ConnectionState::EncodeTlsData(message)) =
                            self.connection.process_tls_records(&mut bytes[used..]).state
                    {
                        encode(message, &mut self.outgoing);
                    }
                    return (bytes.len(), Some(End::Broken("a TLS record that cannot be")));
                }
            }
        }
    }

    /// True if there is something to say besides data.
    pub(crate) fn has_output(&self, last: Last) -> bool {
        !self.outgoing.is_empty() || last == Last::Yes && self.up && !self.over
    }

    /// Data in records, after what else there is to say, appended to `out`.
    pub(crate) fn seal(&mut self, plain: &[u8], last: Last, out: &mut Vec<u8>) {
        // Into a buffer that is used again; its own is not needed for long.
        out.extend_from_slice(&std::mem::take(&mut self.outgoing));
        let closes = last == Last::Yes && self.up && !self.over;
        // To a peer with whom nothing was agreed on nothing can be said.
        if self.over || !self.up || plain.is_empty() && !closes {
            return;
        }
        self.over |= closes;
        // With what is not whole in hand: rustls remembers how much of it it has seen.
        let mut traffic = loop {
            match self.connection.process_tls_records(&mut self.incoming).state {
                Ok(ConnectionState::WriteTraffic(traffic)) => break traffic,
                Ok(ConnectionState::EncodeTlsData(message)) => encode(message, out),
                Ok(ConnectionState::TransmitTlsData(message)) => message.done(),
                _ => {
                    self.over = true;
                    return;
                }
            }
        };
        let ask = |result| match result {
            Ok(len) => Ok(len),
            Err(EncryptError::InsufficientSize(more)) => Err(Some(more.required_size)),
            Err(EncryptError::EncryptExhausted) => Err(None),
        };
        let most = plain.len() + plain.len().div_ceil(RECORD) * RECORD_MORE;
        let whole = plain.is_empty() || append(out, most, |out| ask(traffic.encrypt(plain, out)));
        if closes {
            append(out, RECORD_MORE + 2, |out| ask(traffic.queue_close_notify(out)));
        }
        self.over |= !whole;
    }
}

/// Appends a message that is no data.
fn encode<Data>(mut message: EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    append(out, 0, |out| match message.encode(out) {
        Ok(len) => Ok(len),
        Err(EncodeError::InsufficientSize(more)) => Err(Some(more.required_size)),
        Err(EncodeError::AlreadyEncoded) => Err(None),
    });
}

/// Appends what `write` puts into as many bytes as it needs: `least`, or as many as it says. False if it cannot.
fn append(out: &mut Vec<u8>, least: usize, mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>) -> bool {
    let (before, mut room) = (out.len(), least);
    loop {
        out.resize(before + room, 0);
        match write(&mut out[before..]) {
            Ok(len) => {
                out.truncate(before + len);
                return true;
            }
            Err(Some(needed)) if needed > room => room = needed,
            Err(_) => {
                out.truncate(before);
                return false;
            }
        }
    }
}
