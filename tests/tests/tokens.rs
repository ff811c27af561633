//! Tokens over a session's life: they end, are renewed, and may be signed by anybody who has the key.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tidings::{Server, ServerConfig, StartError, process::TempDir};
use tidings_client::{DeviceId, ErrorCode, Event, blocking::Client};
use tidings_tests::{
    Raw, Serving,
    raw::send_bytes,
    serving::{now, small},
};
use tidings_wire::{
    Kind, Retry,
    frame::FrameBuilder,
    frames::{Ping, Reauth, ReauthOk, Sent},
};

fn issue(serving: &Serving, user: &str, ttl_s: u64) -> Vec<u8> {
    let issuer = serving.server().issuer().expect("it made its key");
    issuer.issue(user, None, now(), ttl_s).expect("a token").into_bytes()
}

fn reauth(token: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut frame = FrameBuilder::<Reauth>::new(&mut bytes);
    let token = frame.var(token);
    frame.finish(7, &Reauth { token });
    bytes
}

fn is_open(raw: &mut Raw) {
    raw.ask(99, &Ping { opaque: 5 });
    assert_eq!(raw.next().expect("an answer").kind(), Kind::Pong);
}

#[test]
fn a_session_ends_with_its_token_and_what_was_taken_is_answered_first() {
    let serving = Serving::start(small());
    let mut raw = serving.raw();
    raw.hello(&issue(&serving, "alice", 2), DeviceId(1));
    let welcome = raw.expect_welcome();
    assert!(welcome.token_until > welcome.server_time);
    raw.write(&send_bytes("alice", "bob", 1, 0, b"in time"));
    assert_eq!(raw.next().expect("an answer").fixed::<Sent>().seq.0, 1);
    let error = raw.expect_error(ErrorCode::TokenExpired);
    assert_eq!(error.retry, Retry::Stop as u8, "the same way will not help: a new token will");
    raw.expect_close();
}

#[test]
fn a_new_token_prolongs_a_session_and_a_wrong_one_changes_nothing() {
    let serving = Serving::start(small());
    let begun = Instant::now();
    let mut raw = serving.raw();
    raw.hello(&issue(&serving, "alice", 3), DeviceId(1));
    raw.expect_welcome();
    for (token, code) in [
        (issue(&serving, "mallory", 60), ErrorCode::TokenWrongUser),
        (b"nonsense".to_vec(), ErrorCode::TokenInvalid),
        (Vec::new(), ErrorCode::TokenMissing),
    ] {
        raw.write(&reauth(&token));
        assert_eq!(raw.expect_error(code).retry, Retry::Never as u8);
        is_open(&mut raw);
    }
    raw.write(&reauth(&issue(&serving, "alice", 3600)));
    let ok: ReauthOk = raw.next().expect("an answer").fixed();
    assert!(ok.token_until.0 > now().0 + 3_000_000_000);
    while begun.elapsed() < Duration::from_secs(4) {
        is_open(&mut raw);
        std::thread::sleep(Duration::from_millis(50));
    }
    // The other way about, too.
    raw.write(&reauth(&issue(&serving, "alice", 1)));
    raw.next().expect("an answer").fixed::<ReauthOk>();
    raw.expect_error(ErrorCode::TokenExpired);
    raw.expect_close();
}

#[test]
fn a_client_that_can_have_new_tokens_stays_connected_for_ever() {
    let serving = Serving::start(small());
    let dir = serving.server().data();
    let source = move || {
        let issuer = tidings::tokens::Issuer::load(&dir).ok()?;
        issuer.issue("alice", None, now(), 2).ok().map(String::into_bytes)
    };
    let mut config = serving.client_config("alice", 1);
    config.token = issue(&serving, "alice", 2);
    let mut client = Client::with_tokens(serving.server().addr(), config, source);
    let begun = Instant::now();
    let mut connected = 0;
    while begun.elapsed() < Duration::from_secs(6) {
        match client.poll(Duration::from_millis(100)).unwrap() {
            Some(Event::Connected) => connected += 1,
            Some(Event::Disconnected | Event::Rejected { .. } | Event::TokenNeeded) => panic!("it lost its session"),
            _ => {}
        }
    }
    assert_eq!(connected, 1);
    assert!(client.session().is_up());
}

/// Who holds a token that ends earlier may open as many sessions as it likes: it does not keep out whoever was given a newer one.
#[test]
fn a_newer_token_gets_in_where_an_older_one_holds_all_sessions() {
    let serving = Serving::start(small());
    let (stolen, new) = (issue(&serving, "alice", 600), issue(&serving, "alice", 3600));
    let hello = |token: &[u8], device: u32| {
        let mut raw = serving.raw();
        raw.hello(token, DeviceId(device));
        raw
    };
    let mut held: Vec<Raw> = (1..=64).map(|device| hello(&stolen, device)).collect();
    for raw in &mut held {
        raw.expect_welcome();
    }
    hello(&stolen, 65).expect_error(ErrorCode::Full);
    hello(&new, 66).expect_welcome();
    let ended = |raw: &mut Raw| {
        raw.ask(9, &Ping { opaque: 1 });
        raw.next().is_some_and(|frame| frame.error().is_some_and(|(code, _)| code == ErrorCode::Superseded))
    };
    assert_eq!(held.iter_mut().filter_map(|raw| ended(raw).then_some(())).count(), 1);
}

/// Whoever waits for events is told that none will come, once, whether it left or is not wanted.
#[test]
fn a_client_says_that_it_is_over() {
    let serving = Serving::start(small());
    let over = |client: &mut Client| {
        let mut events = std::iter::from_fn(|| client.poll(Duration::from_secs(10)).unwrap()).collect::<Vec<_>>();
        assert_eq!(client.poll(Duration::from_secs(10)).unwrap(), None);
        assert_eq!(events.pop(), Some(Event::Closed));
        events.pop()
    };
    let mut alice = serving.client("alice", 1);
    assert!(matches!(alice.poll(Duration::from_secs(10)).unwrap(), Some(Event::Connected)));
    alice.session().leave();
    assert_eq!(over(&mut alice), None, "it left");
    let config = tidings_client::Config::new("alice", 1, b"no token".to_vec());
    let mut stranger = Client::new(serving.server().addr(), config);
    assert!(matches!(over(&mut stranger), Some(Event::Rejected { .. })));
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).for_each(|at| text.push(DIGITS[(word >> (18 - 6 * at)) as usize & 63] as char));
    }
    text
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A token as docs/tokens.md shows how a login server makes one.
fn sign(key: &Path, payload: &str) -> Vec<u8> {
    let text = format!("{}.{}", base64url(br#"{"alg":"EdDSA"}"#), base64url(payload.as_bytes()));
    let file = key.with_extension("unsigned");
    fs::write(&file, &text).unwrap();
    let signature =
        openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", key.to_str().unwrap(), "-in", file.to_str().unwrap()]);
    fs::remove_file(&file).unwrap();
    format!("{text}.{}", base64url(&signature)).into_bytes()
}

fn payload(user: &str, tenant: &str, more: &str) -> String {
    let exp = now().0 / 1_000_000 + 600;
    format!(r#"{{"sub":"{user}","tenant":"{tenant}","exp":{exp}{more}}}"#)
}

#[test]
fn openssl_signs_tokens_and_a_public_key_alone_is_enough_to_serve() {
    let mut serving = Serving::start(small());
    let elsewhere: PathBuf = serving.dir.path().join("login.key");
    fs::rename(serving.server().data().join("token.key"), &elsewhere).unwrap();
    serving.restart();
    assert!(serving.server().issuer().is_none());
    let hello = |serving: &Serving, token: &[u8]| {
        let mut raw = serving.raw();
        raw.hello(token, DeviceId(1));
        raw
    };
    hello(&serving, &sign(&elsewhere, &payload("alice", "default", ""))).expect_welcome();
    let ahead = format!(r#","nbf":{}"#, now().0 / 1_000_000 + 300);
    hello(&serving, &sign(&elsewhere, &payload("alice", "default", &ahead))).expect_error(ErrorCode::TokenInvalid);
    openssl(&["pkey", "-in", elsewhere.to_str().unwrap(), "-noout", "-text"]);

    // Users of two tenants cannot reach each other, whatever their names are.
    let mut one = hello(&serving, &sign(&elsewhere, &payload("alice", "one", "")));
    one.expect_welcome();
    one.write(&send_bytes("alice", "bob", 1, 0, b"x")); // the id of the default tenant's bob
    let refused = one.expect_error(ErrorCode::BadPeer);
    assert_eq!(refused.client_msg_id.0, 1);
    is_open(&mut one);
    serving.restart_with(|config| config.tenants = vec!["one".into()]);
    hello(&serving, &sign(&elsewhere, &payload("alice", "one", ""))).expect_welcome();
    let mut two = hello(&serving, &sign(&elsewhere, &payload("alice", "two", "")));
    two.expect_error(ErrorCode::TenantUnknown);
    two.expect_close();
}

#[test]
fn an_old_directory_without_its_keys_is_refused() {
    let dir = TempDir::new("keys").unwrap();
    let data = dir.path().join("data");
    Server::start(ServerConfig { data: data.clone(), ..small() }).unwrap().stop().unwrap();
    ["token.key", "token.pub"].iter().for_each(|name| fs::remove_file(data.join(name)).unwrap());
    let refused = Server::start(ServerConfig { data: data.clone(), ..small() }).expect_err("nobody could log in");
    assert!(matches!(refused, StartError::Data(_)));
    assert!(refused.to_string().contains("openssl genpkey -algorithm ed25519 -out"), "{refused}");
    let key = data.join("token.key");
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", key.to_str().unwrap()]);
    let server = Server::start(ServerConfig { data, ..small() }).expect("a key that OpenSSL made");
    let token = server.issuer().unwrap().issue("alice", None, now(), 60).unwrap();
    let mut raw = Raw::connect(server.addr());
    raw.hello(token.as_bytes(), DeviceId(1));
    raw.expect_welcome();
    server.stop().unwrap();
}

/// Nothing longer than a HELLO is taken from somebody who was not let in.
#[test]
fn a_long_frame_before_hello_is_refused_at_its_header() {
    let serving = Serving::start(small());
    let mut raw = serving.raw();
    let long = send_bytes("alice", "bob", 1, 0, &[0; 6000]);
    raw.write(&long[..100]);
    raw.expect_error(ErrorCode::FrameTooLarge);
    raw.expect_close();
    let mut raw = serving.session("alice", 1);
    raw.write(&long);
    assert_eq!(raw.next().expect("an answer").kind(), Kind::Sent);
    is_open(&mut raw);
}
