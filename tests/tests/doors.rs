//! One port, four ways to it: frames as they are, TLS, WebSockets, and both; and what is not spoken.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rcgen::CertificateParams;
use tidings::{
    ServerConfig,
    front_door::{SELF_SIGNED, SELF_SIGNED_KEY},
    process::TempDir,
};
use tidings_client::{DeviceId, ErrorCode, Event, Message, Seq, UserId, blocking::Client};
use tidings_tests::{
    Raw, Serving,
    raw::{Received, bytes_of, hello_bytes},
    serving::{Way, small},
};
use tidings_wire::{Kind, frames::Ping};

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
    let (mut tls, mut websockets, mut refused) = (0, 0, 0);
    let mut count = |serving: &Serving| {
        let counted = |name| serving.server().shared().counter(name);
        tls += counted("tls_begun");
        websockets += counted("websockets_opened");
        refused += counted("connections_refused_at_the_door");
    };
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
                    count(&serving);
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
    count(&serving);
    // Of the sixteen pairs half of the ends are in TLS and half in a WebSocket, and four pairs came twice.
    assert!(tls >= 16 && websockets >= 16, "{tls} in TLS, {websockets} WebSockets");
    assert_eq!(refused, 0);
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything that comes until the end, which must come.
fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        // A reset is an end, too.
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it does not end; it said {bytes:?}");
    }
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
        let until = Instant::now() + PATIENCE;
        while client.failure().is_none() {
            assert!(Instant::now() < until, "{way:?} is taken");
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
                Ok(0) => return None,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("it does not end: {error}"),
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

/// What comes slowly within the time that a frame may take is no reason to end a session, however long ago the frame before was.
#[test]
fn a_frame_that_begins_after_a_long_silence_has_its_time() {
    let mut config = small();
    config.limits.frame_timeout_ms = 3000;
    let serving = Serving::start(config);
    let mut web = Web::open(&serving);
    web.hello(&serving, "alice");
    std::thread::sleep(Duration::from_millis(3200));
    let ping = bytes_of(7, &Ping { opaque: 7 });
    let mut frame = vec![0x82, 0x80 | ping.len() as u8, 0, 0, 0, 0];
    frame.extend(&ping);
    // In the header, and in the payload: connections are looked at every 250 ms.
    for piece in [&frame[..3], &frame[3..20], &frame[20..]] {
        web.stream.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(web.next().map(|(_, pong)| Received::from(pong).kind()), Some(Kind::Pong));
    // One that does not end in its time does end the session.
    web.stream.write_all(&frame[..3]).unwrap();
    let error = web.next().and_then(|(_, error)| Received::from(error).error()).unwrap().0;
    assert_eq!(error, ErrorCode::TooSlow);
}

/// Whoever goes on talking after a request that was refused is told once, and not listened to.
#[test]
fn after_a_refused_request_nothing_is_read() {
    let serving = Serving::start(small());
    let mut stream = connect(serving.server().addr());
    stream.write_all(b"POST / HTTP/1.1\r\n\r\n").unwrap();
    let mut talks = stream.try_clone().unwrap();
    let talking = std::thread::spawn(move || {
        let begun = Instant::now();
        // It is cut off in the end.
        while talks.write_all(&[b'x'; 4096]).is_ok() {
            assert!(begun.elapsed() < PATIENCE, "it is listened to for ever");
        }
    });
    let said = read_all(&mut stream);
    assert_eq!(String::from_utf8_lossy(&said).matches("HTTP/1.1 ").count(), 1);
    talking.join().unwrap();
}

/// HELLO and the end in one piece, also where the user's home is on another reactor.
#[test]
fn who_says_hello_and_goodbye_at_once_is_let_go() {
    let serving = Serving::start(small());
    for at in 0..8 {
        let mut web = Web::open(&serving);
        let hello = hello_bytes(serving.token(&format!("user{at}")).as_bytes(), DeviceId(1));
        let mut bytes = vec![0x82, 0xfe];
        bytes.extend((hello.len() as u16).to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(hello);
        bytes.extend([0x88, 0x82, 0, 0, 0, 0, 3, 232]);
        web.stream.write_all(&bytes).unwrap();
        let (_, welcome) = web.next().unwrap();
        assert_eq!(Received::from(welcome).kind(), Kind::Welcome);
        assert_eq!(web.next(), Some((0x88, vec![3, 232])), "user{at}");
        assert_eq!(web.next(), None);
    }
}

#[test]
fn an_address_that_shakes_hands_too_often_is_refused_before_anything_is_computed() {
    let mut config = ServerConfig { cores: vec![0], ..sealed() };
    (config.limits.address_per_second, config.limits.address_burst) = (1, 3);
    let serving = Serving::start(config);
    let refused = (0..10).filter(|_| {
        let mut stream = connect(serving.server().addr());
        stream.write_all(&CLIENT_HELLO).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        read_all(&mut stream) == [21, 3, 3, 0, 2, 2, 40]
    });
    assert!(refused.count() >= 5);
    let until = Instant::now() + Duration::from_secs(5);
    while serving.server().shared().errors(ErrorCode::RateLimited) < 5 {
        assert!(Instant::now() < until, "they are counted");
        std::thread::yield_now();
    }
}

/// What the SDK must not trust: another host's certificate, one whose time is over, and one that nobody knows.
#[test]
fn certificates_that_do_not_fit_are_refused_by_the_client() {
    let dir = TempDir::new("certificates").unwrap();
    let (chain, key) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
    let long = rcgen::date_time_ymd(2100, 1, 1);
    let over = rcgen::date_time_ymd(2020, 1, 1);
    for (name, not_after, why) in
        [("127.0.0.1", long, ""), ("other.example", long, "not valid for name"), ("127.0.0.1", over, "expired")]
    {
        let mut params = CertificateParams::new(vec![name.to_string()]).unwrap();
        params.not_after = not_after;
        let pair = rcgen::KeyPair::generate().unwrap();
        std::fs::write(&chain, params.self_signed(&pair).unwrap().pem()).unwrap();
        std::fs::write(&key, pair.serialize_pem()).unwrap();
        let mut config = small();
        (config.tls.certificate, config.tls.key) = (Some(chain.clone()), Some(key.clone()));
        let serving = Serving::start(config);
        let server = tidings_client::blocking::Server::from(serving.server().addr());
        let mut trusting =
            Client::new(server.clone().trusting(std::fs::read(&chain).unwrap()), serving.client_config("alice", 1));
        let until = Instant::now() + PATIENCE;
        while trusting.failure().is_none() && !trusting.session().is_up() {
            assert!(Instant::now() < until);
            trusting.poll(Duration::from_millis(10)).unwrap();
        }
        let failure = trusting.failure().map(ToString::to_string).unwrap_or_default();
        assert!(failure.contains(why) && failure.is_empty() == why.is_empty(), "{name}: {failure}");
        drop(trusting);
        let (other, _) = made_elsewhere();
        let mut stranger = Client::new(server.trusting(other), serving.client_config("alice", 2));
        while stranger.failure().is_none() {
            assert!(Instant::now() < until && !stranger.session().is_up(), "it trusts a stranger");
            stranger.poll(Duration::from_millis(10)).unwrap();
        }
    }
}

/// A certificate of somebody else, and its key.
fn made_elsewhere() -> (Vec<u8>, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes())
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

/// Python's `websockets`: `TIDINGS_PYTHON` names an interpreter that has it.
#[test]
fn another_language_s_websockets_talk_to_it() {
    let Some(python) = std::env::var_os("TIDINGS_PYTHON") else {
        return println!("skipped: TIDINGS_PYTHON names no Python with websockets (tools/check makes one)");
    };
    let serving = Serving::start(small());
    let hello = hello_bytes(serving.token("alice").as_bytes(), DeviceId(1));
    let hello: String = hello.iter().map(|byte| format!("{byte:02x}")).collect();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("by_websocket.py");
    let url = format!("ws://{}/v1", serving.server().addr());
    let output = Command::new(python).arg(script).args([url, hello]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = said.lines().collect();
    let [welcome, error, code] = lines[..] else { panic!("{said}{}", String::from_utf8_lossy(&output.stderr)) };
    let frame = |digits: &str| {
        let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
        Received::from((0..digits.len() / 2).map(byte).collect::<Vec<_>>())
    };
    assert_eq!(frame(welcome).kind(), Kind::Welcome);
    assert_eq!(frame(error).error().map(|(code, _)| code), Some(ErrorCode::Malformed));
    assert_eq!(code, "1003");
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
    assert_eq!(curl(&[], format!("https://localhost:{port}/")), "200");
    assert_eq!(curl(&[], format!("https://localhost:{port}/etc/passwd")), "404");
    assert_eq!(curl(&["--data", "{}"], format!("https://localhost:{port}/dev/token")), "404");
    assert_eq!(curl(&[], format!("https://127.0.0.1:{port}/v1")), "426");
    assert_eq!(curl(&["--data", "x"], format!("http://127.0.0.1:{port}/v1")), "405");
    assert_eq!(curl(&["--tls-max", "1.2"], format!("https://127.0.0.1:{port}/v1")), "000", "TLS 1.2 is off");
}

/// One request over a connection of its own; the whole answer.
fn http(addr: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_page_is_served_whole_to_many_and_an_address_may_ask_so_often() {
    let mut config = small();
    (config.limits.address_per_second, config.limits.address_burst) = (1, 40);
    let serving = Serving::start(config);
    let addr = serving.server().addr();
    let script = http(addr, "GET /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, body) = script.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains(&format!("Content-Length: {}\r\n", body.len()))
            || head.ends_with(&format!("Content-Length: {}", body.len())),
        "{head}"
    );
    assert!(body.len() > 50_000);
    // Somebody who asks and does not read is ended like any other, and keeps nobody from being served.
    let mut silent = TcpStream::connect(addr).unwrap();
    silent.write_all(b"GET /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let answers: Vec<String> = (0..100).map(|_| http(addr, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).collect();
    let refused = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 429 ")).count();
    let served = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 200 ")).count();
    // Each reactor counts for itself.
    assert!(refused > 0 && served >= 38 && refused + served == 100, "{refused} refused, {served} served");
}

#[test]
fn in_development_a_name_is_enough_and_what_it_gets_counts_nowhere_else() {
    let mut config = small();
    config.development = true;
    let mut serving = Serving::start(config);
    let ask = |addr: SocketAddr, host: &str| {
        let body = r#"{"user":"alice"}"#;
        let len = body.len();
        http(
            addr,
            &format!(
                "POST /dev/token HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}"
            ),
        )
    };
    let addr = serving.server().addr();
    assert!(ask(addr, "evil.example").starts_with("HTTP/1.1 403 "));
    let given = ask(addr, &addr.to_string());
    let token =
        given.split(r#""token":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("{given}"));
    let welcome = |serving: &Serving| {
        let mut raw = serving.raw();
        raw.hello(token.as_bytes(), DeviceId(1));
        raw.next().unwrap().kind()
    };
    assert_eq!(welcome(&serving), Kind::Welcome);
    serving.restart_with(|config| config.development = false);
    assert!(ask(serving.server().addr(), "localhost").starts_with("HTTP/1.1 404 "));
    assert_eq!(welcome(&serving), Kind::Error);
}
