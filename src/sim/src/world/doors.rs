//! How devices come through the node's door: frames as they are, in TLS, in a WebSocket, or in both. In TLS everything is random but the lengths, so
//! that a world is the same each time; whoever traces bytes looks at lengths alone there.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    time_provider::TimeProvider,
};
use tidings_door::{
    MESSAGE_MAX, Rules, Speaks,
    client::{PING, Reader, put_frame, request},
    sniff,
    tls::{Certificates, Tickets, Versions, certified, server_config},
};

use tidings_wire::Kind;

use super::node::WALL_US;
use crate::random::{MILLION, Random};

/// A certificate for the name `simulated`, and its key, which nobody else uses.
const CERTIFICATE: &[u8] = include_bytes!("simulated.crt.pem");
const KEY: &[u8] = include_bytes!("simulated.key.pem");
const NAME: &str = "simulated";

/// The time of certificates and tickets: it stands.
#[derive(Debug)]
struct Standing;

fn seconds() -> u64 {
    WALL_US / 1_000_000 + 365 * 24 * 3600
}

impl TimeProvider for Standing {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds())))
    }
}

/// What is spoken to the node.
static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| {
    let certificates = Certificates::new(certified(CERTIFICATE, KEY).expect("they belong together"));
    let tickets = Arc::new(Tickets::new(&[7; 32], seconds));
    let config = server_config(Arc::new(certificates), tickets, Versions::Tls13).expect("TLS 1.3 is there");
    let mut config = (*config).clone();
    config.time_provider = Arc::new(Standing);
    let tls = Some(Arc::new(config));
    let spoken = vec![Speaks::Raw, Speaks::Http];
    Arc::new(Rules { tls, plain: spoken.clone(), sealed: spoken, ..Rules::default() })
});

/// What is spoken to every node.
pub(super) fn rules() -> Arc<Rules> {
    Arc::clone(&RULES)
}

static CLIENTS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate");
    roots.add(certificate).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_details(provider, Arc::new(Standing));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("TLS 1.3 is there");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    // Whether a ticket is there would depend on what other worlds of this process did.
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
});

/// A device's end of a connection that is not raw.
pub(super) struct Caller {
    tls: Option<ClientConnection>,
    socket: Option<Socket>,
    random: Random,
    /// What came first, until it is enough to tell.
    first: Option<Vec<u8>>,
    turned_away: bool,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller(tls {}, websocket {})", self.tls.is_some(), self.socket.is_some())
    }
}

/// Where a frame says its kind.
const KIND_AT: usize = 4;

/// What came of received bytes.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Of the stream of frames.
    pub(super) stream: Vec<u8>,
    /// What goes back to the node.
    pub(super) answer: Vec<u8>,
}

impl Caller {
    /// Somebody who comes in one of the four ways, but for the raw one (`None`).
    pub(super) fn draw(random: &mut Random) -> Option<Self> {
        let way = random.below(4);
        let name = ServerName::try_from(NAME).expect("a name");
        let tls = (way & 1 > 0).then(|| {
            let mut tls = ClientConnection::new(Arc::clone(&CLIENTS), name).expect("a client");
            tls.set_buffer_limit(None);
            tls
        });
        let mut random = random.fork(way);
        let socket = (way & 2 > 0).then(|| Socket::new(random.chance(MILLION / 2)));
        (way > 0).then_some(Self { tls, socket, random, first: Some(Vec::new()), turned_away: false })
    }

    /// True if nobody else can read what is said.
    pub(super) fn is_sealed(&self) -> bool {
        self.tls.is_some()
    }

    /// Bytes of the stream of frames, as they go to the node; what must come before them comes, too.
    pub(super) fn wrap(&mut self, stream: Vec<u8>) -> Vec<u8> {
        let plain = match &mut self.socket {
            Some(socket) => socket.wrap(stream, &mut self.random),
            None => stream,
        };
        self.seal(&plain)
    }

    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let Some(tls) = &mut self.tls else { return plain.to_vec() };
        let mut out = Vec::new();
        let written = std::io::Write::write_all(&mut tls.writer(), plain);
        written.expect("its buffer has no limit");
        while tls.wants_write() {
            tls.write_tls(&mut out).expect("a vector takes everything");
        }
        out
    }

    /// Takes bytes of the node.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Result<Heard, String> {
        let mut plain = Vec::new();
        let first = std::mem::take(&mut self.first);
        let bytes = match first {
            Some(mut first) => {
                first.extend_from_slice(bytes);
                if first.len() <= KIND_AT {
                    self.first = Some(first);
                    return Ok(Heard::default());
                }
                // Turned away before anything of it was looked at: that is told in a frame as it is, and the end follows.
                self.turned_away = sniff(&first) == Some(Speaks::Raw) && first[KIND_AT] == Kind::Error as u8;
                first
            }
            None => bytes.to_vec(),
        };
        if self.turned_away {
            return Ok(Heard::default());
        }
        let bytes = &bytes[..];
        if let Some(tls) = &mut self.tls {
            let mut rest = bytes;
            while !rest.is_empty() {
                tls.read_tls(&mut rest).map_err(|error| error.to_string())?;
                tls.process_new_packets().map_err(|error| error.to_string())?;
                // With the connection still open reading ends by *would block*.
                let _open = std::io::Read::read_to_end(&mut tls.reader(), &mut plain);
            }
        } else {
            plain.extend_from_slice(bytes);
        }
        let mut stream = Vec::new();
        match &mut self.socket {
            Some(socket) => socket.reader.read(&plain, &mut stream)?,
            None => stream = plain,
        }
        let answer = match &mut self.socket {
            Some(socket) => socket.wrap(Vec::new(), &mut self.random),
            None => Vec::new(),
        };
        let answer = self.seal(&answer);
        Ok(Heard { stream, answer })
    }
}

/// A client's WebSocket.
#[derive(Debug)]
struct Socket {
    asked: bool,
    /// It waits for the answer to its request before it says more.
    patient: bool,
    waiting: Vec<u8>,
    reader: Reader,
}

impl Socket {
    fn new(patient: bool) -> Self {
        Self { asked: false, patient, waiting: Vec::new(), reader: Reader::default() }
    }

    fn wrap(&mut self, mut stream: Vec<u8>, random: &mut Random) -> Vec<u8> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.asked, true) {
            out.extend_from_slice(request(NAME).as_bytes());
        }
        self.waiting.append(&mut stream);
        if self.waiting.is_empty() || self.patient && !self.reader.is_upgraded() {
            return out;
        }
        // Messages in pieces of any length, and a PING now and then.
        for mut rest in std::mem::take(&mut self.waiting).chunks(MESSAGE_MAX as usize) {
            let mut opcode = 2;
            while !rest.is_empty() {
                let most = if random.chance(MILLION / 3) { 1 + random.below(300) as usize } else { rest.len() };
                let (piece, after) = rest.split_at(most.min(rest.len()));
                rest = after;
                let last = if rest.is_empty() { 0x80 } else { 0 };
                put_frame(&mut out, last | std::mem::take(&mut opcode), mask(random), piece);
                if random.chance(MILLION / 20) {
                    put_frame(&mut out, PING, mask(random), &piece[..piece.len().min(100)]);
                }
            }
        }
        out
    }
}

fn mask(random: &mut Random) -> [u8; 4] {
    (random.bits() as u32).to_ne_bytes()
}
