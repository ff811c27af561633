//! One port, four ways to it: frames as they are, TLS, WebSockets, and both; and what is not spoken.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tidings::{
    ServerConfig,
    front_door::{SELF_SIGNED, SELF_SIGNED_KEY},
};
use tidings_client::{DeviceId, ErrorCode, Event, Message, Seq, UserId, blocking::Client};
use tidings_tests::{
    Raw, Serving,
    raw::{Received, hello_bytes},
    serving::{Way, small},
};
use tidings_wire::Kind;

const PATIENCE: Duration = Duration::from_secs(20);

/// With a certificate of its own.
fn sealed() -> ServerConfig {
    let mut config = small();
    config.tls.self_signed = true;
    config
}

/// Takes what comes to both, until the reader has this many messages in all and the writer knows that all are durable.
fn settle(writer: &mut Client, reader: &mut Client, got: &mut Vec<Message>, count: usize) {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        while let Some(event) = writer.poll(Duration::from_millis(1)).unwrap() {
            assert!(!matches!(event, Event::Rejected { .. } | Event::SendFailed { .. }), "{event:?}");
        }
        while let Some(event) = reader.poll(Duration::from_millis(1)).unwrap() {
            match event {
                Event::Message(message) => got.push(message),
                Event::Rejected { .. } | Event::Lost { .. } => panic!("{event:?}"),
                _ => {}
            }
        }
        if got.len() == count && writer.session().is_flushed() {
            return;
        }
    }
    panic!("{} of {count} messages came; {:?}, {:?}", got.len(), writer.failure(), reader.failure());
}

/// Messages of all sizes arrive once and in order, also when the server stops and starts in between.
#[test]
fn people_chat_over_every_way_and_a_restart() {
    let mut serving = Serving::start(sealed());
    let sizes = [1, 20, 125, 126, 1000, 8_000, 16_384, 40_000, 65_536];
    for (at, from) in Way::ALL.into_iter().enumerate() {
        // Names of which some have their homes on the other reactor, so that connections move.
        for (number, to) in Way::ALL.into_iter().enumerate() {
            let (writer, reader) = (format!("writer{at}{number}"), format!("reader{at}{number}"));
            let (mut writer, peer) = (serving.client_by(from, &writer, 1), UserId::derive("default", &reader));
            let mut reader = serving.client_by(to, &reader, 1);
            let (mut got, mut sent) = (Vec::new(), Vec::new());
            for round in 0..2u8 {
                for size in sizes {
                    sent.push(vec![round + b'a'; size]);
                    writer.session().send(peer, sent.last().unwrap());
                }
                settle(&mut writer, &mut reader, &mut got, sent.len());
                // Once for each way is enough: a restart takes its time.
                if round == 0 && at == number {
                    serving.restart();
                    writer.set_server(serving.server_by(from));
                    reader.set_server(serving.server_by(to));
                }
            }
            let seqs: Vec<_> = got.iter().map(|message| message.seq).collect();
            assert_eq!(seqs, (1..=sent.len() as u64).map(Seq).collect::<Vec<_>>(), "{from:?} to {to:?}");
            assert!(got.iter().map(|message| &message.payload).eq(&sent), "{from:?} to {to:?}");
        }
    }
    let counted = |name| serving.server().shared().counter(name);
    assert!(counted("tls_begun") > 0 && counted("websockets_opened") > 0);
    assert_eq!(counted("connections_refused_at_the_door"), 0);
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything that comes until the end.
fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _reset = stream.read_to_end(&mut bytes);
    bytes
}

const UPGRADE: &str = "GET /v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \
    dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: tidings.v1\r\n\r\n";
/// The first bytes of a TLS handshake that asks for a kibibyte more.
const CLIENT_HELLO: [u8; 9] = [22, 3, 1, 4, 0, 1, 0, 3, 252];

#[test]
fn what_is_not_spoken_here_is_refused_in_what_is_spoken_there() {
    // Beyond loopback: nothing without TLS.
    let serving = Serving::start(ServerConfig { listen: ([0, 0, 0, 0], 0).into(), ..sealed() });
    let addr = SocketAddr::from(([127, 0, 0, 1], serving.server().addr().port()));
    let mut raw = Raw::connect(addr);
    raw.hello(serving.token("alice").as_bytes(), DeviceId(1));
    raw.expect_error(ErrorCode::NotSpoken);
    raw.expect_close();
    let mut stream = connect(addr);
    stream.write_all(UPGRADE.as_bytes()).unwrap();
    assert!(read_all(&mut stream).starts_with(b"HTTP/1.1 403 "));
    drop(serving);
    // Without a certificate.
    let serving = Serving::start(small());
    let mut stream = connect(serving.server().addr());
    stream.write_all(&CLIENT_HELLO).unwrap();
    assert_eq!(read_all(&mut stream), [21, 3, 3, 0, 2, 2, 40], "a fatal alert: handshake_failure");
    drop(serving);
    // Without WebSockets.
    let mut config = sealed();
    config.door.websocket = false;
    let serving = Serving::start(config);
    for way in [Way::WebSocket, Way::WebSocketInTls] {
        let mut client = serving.client_by(way, "alice", 1);
        while client.failure().is_none() {
            assert_eq!(client.poll(Duration::from_millis(10)).unwrap(), None);
        }
        let said = client.failure().unwrap().to_string();
        assert!(said.contains("403"), "{said}");
    }
}

/// A WebSocket without manners.
struct Web {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Web {
    fn open(serving: &Serving) -> Self {
        let mut stream = connect(serving.server().addr());
        stream.write_all(UPGRADE.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        Self { stream, received: Vec::new() }
    }

    /// A frame with a mask of zeros.
    fn frame(&mut self, first: u8, payload: &[u8]) {
        let mut bytes = vec![first];
        match payload.len() {
            len @ 0..=125 => bytes.push(0x80 | len as u8),
            len => {
                bytes.push(0xfe);
                bytes.extend((len as u16).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.extend(payload);
        // Whoever was ended cannot write any more.
        let _ended = self.stream.write_all(&bytes);
    }

    /// The next frame: its first byte, and its payload. `None` at the end.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let [first, short, rest @ ..] = &self.received[..] {
                let (len, at) = match short {
                    126 => (rest.first_chunk().map(|len| u16::from_be_bytes(*len) as usize), 4),
                    127 => (rest.first_chunk().map(|len| u64::from_be_bytes(*len) as usize), 10),
                    short => (Some(*short as usize), 2),
                };
                if let Some(len) = len.filter(|len| self.received.len() >= at + len) {
                    let frame = (*first, self.received[at..at + len].to_vec());
                    self.received.drain(..at + len);
                    return Some(frame);
                }
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.received.extend_from_slice(&buffer[..len]),
            }
        }
    }

    fn hello(&mut self, serving: &Serving, user: &str) {
        self.frame(0x82, &hello_bytes(serving.token(user).as_bytes(), DeviceId(1)));
        let (first, welcome) = self.next().unwrap();
        assert_eq!((first, Received::from(welcome).kind()), (0x82, Kind::Welcome));
    }
}

/// Before HELLO and after it: the ERROR of frames, then the close of WebSockets with its code.
#[test]
fn a_websocket_that_breaks_the_rules_is_told_twice() {
    let serving = Serving::start(small());
    for (first, payload, code) in
        [(0x81, &b"text"[..], 1003u16), (0xc2, b"", 1002), (0x83, b"", 1002), (0x88, &[0, 5], 1002)]
    {
        for is_known in [false, true] {
            let mut web = Web::open(&serving);
            if is_known {
                web.hello(&serving, "alice");
            }
            web.frame(first, payload);
            let (kind, told) = web.next().unwrap();
            let (error, _) = Received::from(told).error().unwrap();
            assert_eq!((kind, error), (0x82, ErrorCode::Malformed));
            assert_eq!(web.next(), Some((0x88, code.to_be_bytes().to_vec())));
            assert_eq!(web.next(), None);
        }
    }
    // In good order.
    let mut web = Web::open(&serving);
    web.hello(&serving, "alice");
    web.frame(0x88, &[3, 232]);
    assert_eq!(web.next(), Some((0x88, vec![3, 232])));
    assert_eq!(web.next(), None);
}

/// A frame of frames may be spread over messages of any number of pieces; a flood of PINGs costs its sender more than the server.
#[test]
fn where_messages_end_means_nothing_and_a_flood_of_pings_is_answered_in_part() {
    let serving = Serving::start(small());
    let mut web = Web::open(&serving);
    let hello = hello_bytes(serving.token("alice").as_bytes(), DeviceId(1));
    for (at, byte) in hello.iter().enumerate() {
        let fin = if at % 3 == 2 { 0x80 } else { 0 };
        web.frame(if at % 3 == 0 { 2 } else { 0 } | fin, &[*byte]);
    }
    web.frame(if hello.len().is_multiple_of(3) { 0x82 } else { 0x80 }, &[]);
    assert_eq!(web.next().map(|(_, welcome)| Received::from(welcome).kind()), Some(Kind::Welcome));
    const PINGS: u32 = 20_000;
    for at in 1..=PINGS {
        web.frame(0x89, &at.to_le_bytes());
    }
    let mut pongs = 0;
    loop {
        let (first, payload) = web.next().unwrap();
        assert_eq!(first, 0x8a);
        pongs += 1;
        if payload == PINGS.to_le_bytes() {
            break;
        }
    }
    assert!(pongs < PINGS / 10, "{pongs} of {PINGS} were answered");
}

#[test]
fn a_handshake_that_stalls_is_ended_and_disturbs_nobody() {
    let mut config = sealed();
    config.limits.handshake_timeout_ms = 400;
    let serving = Serving::start(config);
    let mut stalled = Vec::new();
    for at in 0..60 {
        let mut stream = connect(serving.server().addr());
        let begun: &[u8] = match at % 4 {
            0 => &CLIENT_HELLO,
            1 => &UPGRADE.as_bytes()[..70],
            2 => UPGRADE.as_bytes(),
            _ => &[22, 3],
        };
        stream.write_all(begun).unwrap();
        stalled.push(stream);
    }
    let (mut writer, mut reader) =
        (serving.client_by(Way::Tls, "alice", 1), serving.client_by(Way::WebSocket, "bob", 1));
    writer.session().send(UserId::derive("default", "bob"), b"meanwhile");
    settle(&mut writer, &mut reader, &mut Vec::new(), 1);
    for stream in &mut stalled {
        let said = read_all(stream);
        assert!(said.len() < 1000, "it ends, with a few words: {said:?}");
    }
}

/// Whoever operates it replaces the files, and says so; who is connected stays.
#[test]
fn a_new_certificate_is_shown_to_who_comes_next() {
    let serving = Serving::start(sealed());
    let mut there = serving.client_by(Way::Tls, "alice", 1);
    let connected = |client: &mut Client| {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && client.failure().is_none() {
            if client.poll(Duration::from_millis(10)).unwrap() == Some(Event::Connected) {
                return true;
            }
        }
        false
    };
    assert!(connected(&mut there));
    let (mut old, other) = (serving.client_by(Way::Tls, "bob", 1), Serving::start(sealed()));
    for file in [SELF_SIGNED, SELF_SIGNED_KEY] {
        std::fs::copy(other.server().data().join(file), serving.server().data().join(file)).unwrap();
    }
    serving.server().front_door().reload().unwrap().unwrap();
    assert!(!connected(&mut old), "it trusts the one that was there before");
    assert!(connected(&mut serving.client_by(Way::Tls, "carol", 1)));
    there.session().send(UserId::derive("default", "bob"), b"still here");
    while !there.session().is_flushed() {
        assert_ne!(there.poll(Duration::from_millis(10)).unwrap(), Some(Event::Disconnected));
    }
}

/// `openssl s_client` and `curl`, which nobody here wrote.
#[test]
fn openssl_and_curl_find_what_they_expect() {
    let serving = Serving::start(sealed());
    let (port, trusted) = (serving.server().addr().port(), serving.server().data().join(SELF_SIGNED));
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-quiet", "-verify_return_error", "-alpn", "tidings/1", "-connect"]);
    openssl.arg(format!("127.0.0.1:{port}")).arg("-CAfile").arg(&trusted);
    let mut openssl = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let hello = hello_bytes(serving.token("alice").as_bytes(), DeviceId(1));
    openssl.stdin.as_mut().unwrap().write_all(&hello).unwrap();
    let (mut stdout, mut welcome) = (openssl.stdout.take().unwrap(), vec![0; 24]);
    stdout.read_exact(&mut welcome).unwrap();
    let len = u32::from_le_bytes(*welcome.first_chunk().unwrap()) as usize;
    welcome.resize(len, 0);
    stdout.read_exact(&mut welcome[24..]).unwrap();
    assert_eq!(Received::from(welcome).kind(), Kind::Welcome);
    openssl.kill().unwrap();
    openssl.wait().unwrap();
    let curl = |more: &[&str], url: String| {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--write-out",
            "%{http_code}",
            "--output",
            "/dev/null",
        ]);
        let out = curl.arg("--cacert").arg(&trusted).args(more).arg(url).output().expect("curl is installed");
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(curl(&[], format!("https://localhost:{port}/")), "404");
    assert_eq!(curl(&[], format!("https://127.0.0.1:{port}/v1")), "426");
    assert_eq!(curl(&["--data", "x"], format!("http://127.0.0.1:{port}/v1")), "405");
    assert_eq!(curl(&["--tls-max", "1.2"], format!("https://127.0.0.1:{port}/v1")), "000", "TLS 1.2 is off");
}
