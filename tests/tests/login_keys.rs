//! Tokens that a login server signs, whose keys are a JWK set: in a file, or at an address that goes down, changes, and answers nonsense.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::{Value, json};
use tidings::{Server, ServerConfig, StartError, process::TempDir};
use tidings_client::{Config, DeviceId, ErrorCode, Event, blocking::Client};
use tidings_tests::{
    Serving,
    serving::{now, small},
};

/// A key of a login server.
struct Key {
    kid: &'static str,
    algorithm: Algorithm,
    pair: KeyPair,
}

impl Key {
    fn new(kid: &'static str, algorithm: Algorithm) -> Self {
        let kind = if algorithm == Algorithm::EdDSA { &PKCS_ED25519 } else { &PKCS_ECDSA_P256_SHA256 };
        Self { kid, algorithm, pair: KeyPair::generate_for(kind).unwrap() }
    }

    fn jwk(&self) -> Value {
        let raw = self.pair.public_key_raw();
        if self.algorithm == Algorithm::EdDSA {
            return json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": URL_SAFE_NO_PAD.encode(raw) });
        }
        // An uncompressed point: 4, x, y.
        let (x, y) = (URL_SAFE_NO_PAD.encode(&raw[1..33]), URL_SAFE_NO_PAD.encode(&raw[33..]));
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": x, "y": y })
    }

    fn sign_as(&self, header: &Header, claims: &Value) -> Vec<u8> {
        let der = self.pair.serialized_der();
        let key = match self.algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_der(der),
            _ => EncodingKey::from_ec_der(der),
        };
        encode(header, claims, &key).unwrap().into_bytes()
    }

    fn sign(&self, claims: &Value) -> Vec<u8> {
        let header = Header { kid: Some(self.kid.into()), ..Header::new(self.algorithm) };
        self.sign_as(&header, claims)
    }
}

fn set(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

fn claims() -> Value {
    claims_of(now().0 / 1_000_000)
}

/// Of a token that was issued at a time.
fn claims_of(iat: u64) -> Value {
    json!({ "sub": "alice", "iat": iat, "exp": now().0 / 1_000_000 + 3600, "aud": ["chat", "mail"], "iss": "https://login.example" })
}

fn config(jwks: &str) -> ServerConfig {
    let mut config = small();
    config.tokens.jwks = Some(jwks.into());
    (config.tokens.audience, config.tokens.issuer) = (Some("chat".into()), Some("https://login.example".into()));
    config
}

/// What HELLO with a token is answered; `None`: WELCOME.
fn hello(serving: &Serving, token: &[u8]) -> Option<ErrorCode> {
    let mut raw = serving.raw();
    raw.hello(token, DeviceId(1));
    raw.next().expect("an answer").error().map(|(code, _)| code)
}

#[test]
fn both_kinds_of_keys_are_believed_and_nothing_that_is_not_signed_by_one() {
    let dir = TempDir::new("keys").unwrap();
    let path = dir.path().join("jwks.json");
    let (ed, ec, stranger) =
        (Key::new("a", Algorithm::EdDSA), Key::new("b", Algorithm::ES256), Key::new("a", Algorithm::EdDSA));
    // Keys that are not understood, or for something else, do not spoil the others.
    let mut keys: Value = serde_json::from_str(&set(&[&ed, &ec])).unwrap();
    let encrypts = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "e", "use": "enc", "x": stranger.jwk()["x"] });
    let odd = [json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" }), json!({ "kty": "quantum" }), json!(7), encrypts];
    keys["keys"].as_array_mut().unwrap().extend(odd);
    std::fs::write(&path, keys.to_string()).unwrap();
    let serving = Serving::start(config(path.to_str().unwrap()));
    assert_eq!(hello(&serving, &ed.sign(&claims())), None);
    assert_eq!(hello(&serving, &ec.sign(&claims())), None);
    let nameless = ec.sign_as(&Header::new(Algorithm::ES256), &claims());
    assert_eq!(hello(&serving, &nameless), None, "without kid any key may have signed it");
    assert_eq!(hello(&serving, serving.token("bob").as_bytes()), None, "the data directory's own key counts, too");

    let invalid = Some(ErrorCode::TokenInvalid);
    assert_eq!(hello(&serving, &stranger.sign(&claims())), invalid, "the kid of another key");
    let mixed = Header { kid: Some("a".into()), ..Header::new(Algorithm::ES256) };
    assert_eq!(hello(&serving, &ec.sign_as(&mixed, &claims())), invalid, "a kid of a key of another kind");
    // A public key, used as if it were a secret.
    let secret = EncodingKey::from_secret(ed.pair.public_key_raw());
    for kid in [Some("a".to_string()), None] {
        let forged = encode(&Header { kid, ..Header::new(Algorithm::HS256) }, &claims(), &secret).unwrap();
        assert_eq!(hello(&serving, forged.as_bytes()), invalid, "HS256");
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for kid in [json!("a"), Value::Null, json!("../../token.pub"), json!({ "a": 1 })] {
        let none = format!("{}.{}.", part(&json!({ "alg": "none", "kid": kid })), part(&claims()));
        assert_eq!(hello(&serving, none.as_bytes()), invalid, "without a signature, kid {kid}");
    }
    for (field, value) in [
        ("aud", json!("mail")),
        ("aud", Value::Null),
        ("iss", json!("https://other.example")),
        ("iss", Value::Null),
        ("sub", Value::Null),
        ("exp", Value::Null),
    ] {
        let mut wrong = claims();
        wrong[field] = value.clone();
        assert_eq!(hello(&serving, &ed.sign(&wrong)), invalid, "{field} {value}");
    }
    let mut expired = claims();
    expired["exp"] = json!(now().0 / 1_000_000 - 1);
    assert_eq!(hello(&serving, &ed.sign(&expired)), Some(ErrorCode::TokenExpired));
}

#[test]
fn a_file_that_is_no_set_of_keys_keeps_a_server_from_starting() {
    let dir = TempDir::new("keys").unwrap();
    let path = dir.path().join("jwks.json");
    let many = json!({ "keys": vec![Key::new("a", Algorithm::EdDSA).jwk(); 65] }).to_string();
    let huge = format!("{{\"keys\":[]{}}}", " ".repeat(300 << 10));
    for (text, why) in [
        ("", "no JWK set"),
        ("[]", "no JWK set"),
        ("{}", "no JWK set"),
        ("{\"keys\":[]}", "no key that can be used"),
        (many.as_str(), "65 keys"),
        (huge.as_str(), "more than"),
    ] {
        std::fs::write(&path, text).unwrap();
        let config = ServerConfig { data: dir.path().join("data"), ..config(path.to_str().unwrap()) };
        let Err(StartError::Config(error)) = Server::start(config) else { panic!("it started with {why}") };
        assert!(error.to_string().contains(why), "{error}");
    }
    let plain = ServerConfig { data: dir.path().join("data"), ..config("http://login.example/keys") };
    let Err(StartError::Config(error)) = Server::start(plain) else { panic!("it started") };
    assert!(error.to_string().contains("https://"), "{error}");
}

/// A login server's address: what it answers can be changed, and it can be asked how often.
struct Login {
    addr: SocketAddr,
    body: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Login {
    fn start(addr: SocketAddr, body: String) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let (addr, body) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(body)));
        let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (said, count, ends) = (Arc::clone(&body), Arc::clone(&asked), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|len| len > 0) {
                    head.push(byte[0]);
                }
                count.fetch_add(1, Ordering::SeqCst);
                let body = said.lock().unwrap().clone();
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                let _gone = stream.write_all(answer.as_bytes());
            }
        });
        Self { addr, body, asked, stop, thread: Some(thread) }
    }

    fn say(&self, body: String) {
        *self.body.lock().unwrap() = body;
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Whoever listens hears of it with the next who comes.
        let _woken = std::net::TcpStream::connect(self.addr);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A client that is turned away until the key is known, and then let in by itself.
fn gets_in(serving: &Serving, token: Vec<u8>) {
    let mut client = Client::new(serving.server().addr(), Config::new("alice", 1, token));
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match client.poll(Duration::from_millis(50)).unwrap() {
            Some(Event::Connected) => return,
            Some(Event::Rejected { code }) => panic!("turned away for good: {code}"),
            _ => assert!(Instant::now() < until, "it was never let in"),
        }
    }
}

#[test]
fn keys_at_an_address_change_while_it_runs_and_one_that_is_down_is_waited_for() {
    let (first, second) = (Key::new("1", Algorithm::EdDSA), Key::new("2", Algorithm::ES256));
    let login = Login::start(([127, 0, 0, 1], 0).into(), set(&[&first]));
    let addr = login.addr;
    let mut serving = Serving::start(config(&format!("http://{addr}/keys")));
    assert_eq!(hello(&serving, &first.sign(&claims())), None);
    let begun = Instant::now();
    // A key that is not known is asked for, at most every ten seconds, and whoever holds such a token comes again.
    login.say(set(&[&first, &second]));
    assert_eq!(hello(&serving, &second.sign(&claims())), Some(ErrorCode::Busy));
    gets_in(&serving, second.sign(&claims()));
    // An invented one is not good, if it says that it is older than what was fetched; else nobody can know that.
    let (invented, long_ago) = (Key::new("invented", Algorithm::EdDSA), now().0 / 1_000_000 - 1000);
    for _ in 0..50 {
        assert_eq!(hello(&serving, &invented.sign(&claims_of(long_ago))), Some(ErrorCode::TokenInvalid));
        assert_eq!(hello(&serving, &invented.sign(&claims())), Some(ErrorCode::Busy));
    }
    let most = 2 + begun.elapsed().as_secs() as usize / 10;
    assert!((2..=most).contains(&login.asked.load(Ordering::SeqCst)), "it is asked too often");
    // Down, and nonsense: those from before count, over a restart, too.
    drop(login);
    serving.restart();
    assert_eq!(hello(&serving, &second.sign(&claims())), None);
    assert!(matches!(serving.server().next_news_of_keys(), Some(tidings::tokens::News::Failed(_))));
    let login = Login::start(addr, "<html>maintenance</html>".into());
    let third = Key::new("3", Algorithm::EdDSA);
    assert_eq!(hello(&serving, &third.sign(&claims())), Some(ErrorCode::Busy));
    let until = Instant::now() + Duration::from_secs(20);
    while login.asked.load(Ordering::SeqCst) == 0 && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(hello(&serving, &first.sign(&claims())), None);
    login.say(set(&[&third]));
    gets_in(&serving, third.sign(&claims()));
    // A key that is not in the set any more is not believed any more, once it was asked for again.
    loop {
        match hello(&serving, &first.sign(&claims_of(long_ago))) {
            Some(ErrorCode::TokenInvalid) => break,
            answer => assert_eq!(answer, Some(ErrorCode::Busy)),
        }
    }
}
