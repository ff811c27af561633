//! TLS, with rustls's client at the other end, cut at every place.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tidings_door::{
    Door, End, Last, Place, Rules, Speaks,
    tls::{Certificates, Tickets, Versions, certified, server_config},
};

struct Pair {
    rules: Rules,
    root: CertificateDer<'static>,
    certificates: Arc<Certificates>,
}

fn made(name: &str) -> (Vec<u8>, Vec<u8>, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec![name.into()]).unwrap();
    (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes(), made.cert.der().clone())
}

fn pair(versions: Versions) -> Pair {
    let (chain, key, root) = made("server.example");
    let certificates = Arc::new(Certificates::new(certified(&chain, &key).unwrap()));
    let tickets = Arc::new(Tickets::new(&[9; 32], || 1_790_000_000));
    let tls = Some(server_config(Arc::clone(&certificates), tickets, versions).unwrap());
    let rules = Rules { tls, sealed: vec![Speaks::Raw, Speaks::Http], ..Rules::default() };
    Pair { rules, root, certificates }
}

fn client_config(
    root: &CertificateDer<'static>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

fn client(config: &Arc<ClientConfig>) -> ClientConnection {
    let mut client =
        ClientConnection::new(Arc::clone(config), ServerName::try_from("server.example").unwrap()).unwrap();
    client.set_buffer_limit(None);
    client
}

/// A connection of a client to a door, over which bytes go in pieces of a length.
struct Link<'a> {
    client: ClientConnection,
    door: Door,
    rules: &'a Rules,
    piece: usize,
    /// Of the stream, at the server.
    arrived: Vec<u8>,
    end: Option<End>,
    /// Of the stream, at the client, and whether it ended in good order.
    got: Vec<u8>,
    closed: bool,
}

impl<'a> Link<'a> {
    fn new(client: ClientConnection, rules: &'a Rules, piece: usize) -> Self {
        let door = Door::new(Speaks::Tls, rules).unwrap();
        Self { client, door, rules, piece, arrived: Vec::new(), end: None, got: Vec::new(), closed: false }
    }

    fn deliver(&mut self) -> bool {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        for piece in bytes.chunks_mut(self.piece) {
            let mut scratch = Vec::new();
            let opened = self.door.open(piece, &mut scratch, self.rules);
            match opened.place {
                Place::Here(range) => self.arrived.extend_from_slice(&piece[range]),
                Place::Scratch(range) => self.arrived.extend_from_slice(&scratch[range]),
            }
            self.end = self.end.or(opened.end);
        }
        !bytes.is_empty()
    }

    fn answer(&mut self, mut stream: Vec<u8>, last: Last) -> Result<(), rustls::Error> {
        if stream.is_empty() && !self.door.has_output(last) {
            return Ok(());
        }
        let out = self.door.seal(&mut stream, last, Vec::new());
        for mut piece in out.chunks(self.piece) {
            while !piece.is_empty() {
                self.client.read_tls(&mut piece).unwrap();
                self.client.process_new_packets()?;
                // With the connection still open reading ends by *would block*.
                self.closed = self.client.reader().read_to_end(&mut self.got).is_ok();
            }
        }
        Ok(())
    }

    fn settle(&mut self) {
        while self.deliver() {
            self.answer(Vec::new(), Last::No).unwrap();
        }
    }
}

#[test]
fn data_goes_both_ways_however_it_is_cut() {
    for (versions, only) in
        [(Versions::Tls13, &rustls::version::TLS13), (Versions::Tls12And13, &rustls::version::TLS12)]
    {
        let pair = pair(versions);
        let config = Arc::new(client_config(&pair.root, &[only]));
        for piece in [1, 2, 7, 100, 517, 5000, 100_000] {
            let mut link = Link::new(client(&config), &pair.rules, piece);
            let hello: Vec<u8> = [&100u32.to_le_bytes()[..], &[5; 96]].concat();
            link.client.writer().write_all(&hello).unwrap();
            link.settle();
            assert!(!link.door.is_shaking_hands() && !link.door.is_inside());
            assert_eq!((&link.arrived, link.end), (&hello, None), "{piece} bytes at a time");
            for len in [1, 100, 16_384, 16_385, 70_000] {
                link.answer(vec![len as u8; len], Last::No).unwrap();
                assert_eq!(std::mem::take(&mut link.got), vec![len as u8; len]);
                link.arrived.clear();
                link.client.writer().write_all(&vec![3; len]).unwrap();
                link.settle();
                assert_eq!(link.arrived, vec![3; len]);
            }
            link.answer(b"last".to_vec(), Last::Yes).unwrap();
            assert!(!link.door.has_output(Last::Yes), "the end is said once");
            assert_eq!((&link.got[..], link.closed), (&b"last"[..], true));
        }
    }
}

#[test]
fn who_says_goodbye_is_done() {
    let pair = pair(Versions::Tls13);
    let mut link = Link::new(client(&Arc::new(client_config(&pair.root, &[&rustls::version::TLS13]))), &pair.rules, 50);
    link.client.writer().write_all(&[9, 0, 0, 0, 1]).unwrap();
    link.settle();
    link.client.send_close_notify();
    link.settle();
    assert_eq!((&link.arrived[..], link.end), (&[9, 0, 0, 0, 1][..], Some(End::Closed)));
}

#[test]
fn a_client_comes_back_with_a_ticket_also_to_another_node() {
    for (versions, only) in
        [(Versions::Tls13, &rustls::version::TLS13), (Versions::Tls12And13, &rustls::version::TLS12)]
    {
        let pair = pair(versions);
        let config = Arc::new(client_config(&pair.root, &[only]));
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut link = Link::new(client(&config), &pair.rules, 10_000);
            link.settle();
            link.answer(b"something".to_vec(), Last::No).unwrap();
            kinds.push(link.client.handshake_kind());
        }
        assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
        // Another node: another process with the same certificate and the same secret.
        let tickets = Arc::new(Tickets::new(&[9; 32], || 1_790_000_000));
        let tls = Some(server_config(Arc::clone(&pair.certificates), tickets, versions).unwrap());
        let rules = Rules { tls, ..pair.rules.clone() };
        let mut link = Link::new(client(&config), &rules, 10_000);
        link.settle();
        assert_eq!(link.client.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn an_old_version_is_refused_with_an_alert_unless_it_is_allowed() {
    let pair = pair(Versions::Tls13);
    let config = Arc::new(client_config(&pair.root, &[&rustls::version::TLS12]));
    let mut link = Link::new(client(&config), &pair.rules, 10_000);
    link.deliver();
    assert!(matches!(link.end, Some(End::Broken(_))));
    let told = link.answer(b"nobody can read this".to_vec(), Last::Yes);
    assert_eq!(told, Err(rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion)));
}

#[test]
fn a_certificate_is_replaced_while_it_serves() {
    let pair = pair(Versions::Tls13);
    let (chain, key, root) = made("server.example");
    let (old, new) =
        (client_config(&pair.root, &[&rustls::version::TLS13]), client_config(&root, &[&rustls::version::TLS13]));
    let fails = |config: ClientConfig| {
        let mut link = Link::new(client(&Arc::new(config)), &pair.rules, 10_000);
        link.deliver();
        link.answer(Vec::new(), Last::No).is_err()
    };
    assert!(fails(new.clone()) && !fails(old.clone()));
    pair.certificates.replace(certified(&chain, &key).unwrap());
    assert!(!fails(new) && fails(old));
}

#[test]
fn what_is_no_certificate_is_refused_by_name() {
    let ((chain, key, _), (_, other, _)) = (made("a.example"), made("b.example"));
    let why = |chain: &[u8], key: &[u8]| certified(chain, key).unwrap_err().to_string();
    assert!(why(b"", &key).contains("chain in PEM"));
    assert!(why(&chain, b"").contains("private key in PEM"));
    assert!(why(&chain, &other).contains("do not go together"));
}

/// Whatever is wrong with what comes, it costs a bounded amount and ends.
#[test]
fn noise_after_a_plausible_beginning_is_refused() {
    let pair = pair(Versions::Tls13);
    let config = Arc::new(client_config(&pair.root, &[&rustls::version::TLS13]));
    let mut hello = Vec::new();
    client(&config).write_tls(&mut hello).unwrap();
    for at in 0..hello.len() {
        let mut changed = hello.clone();
        changed[at] ^= 0x55;
        let mut door = Door::new(Speaks::Tls, &pair.rules).unwrap();
        let opened = door.open(&mut changed, &mut Vec::new(), &pair.rules);
        if opened.end.is_none() {
            // It asks for more, or for another key: bytes without end are ended.
            let ended = (0..100).any(|_| door.open(&mut [0x16; 1000], &mut Vec::new(), &pair.rules).end.is_some());
            assert!(ended, "byte {at}");
        }
        let told = door.seal(&mut Vec::new(), Last::Yes, Vec::new());
        assert!(told.len() < 4096, "byte {at}");
    }
}
