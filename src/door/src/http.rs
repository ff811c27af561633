//! The little of HTTP/1.1 that leads to a WebSocket: one request's head, and its answer (RFC 6455, 4.2).

use base64::{Engine, engine::general_purpose::STANDARD};
use httparse::{EMPTY_HEADER, Request, Status};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::{
    door::Rules,
    pages::{Asked, BODY_MAX},
};

/// Bytes of a request's head: browsers send cookies and more.
pub const HEAD_MAX: usize = 8 << 10;
/// Header fields of a request.
const FIELDS_MAX: usize = 64;
/// Where the WebSocket is.
pub const PATH: &str = "/v1";
/// What is spoken in it.
pub const SUBPROTOCOL: &str = "tidings.v1";
/// What a server hashes together with a client's key, so that no other server's answer passes for one (RFC 6455, 1.3).
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of a client's key.
const KEY_LEN: usize = 16;

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Its head is not whole.
    More,
    /// A WebSocket begins after so many bytes.
    Upgrade(usize, Vec<u8>),
    /// It is answered with this, and that is all.
    Served(Vec<u8>),
    /// There is nothing more to say than this.
    Refused(Vec<u8>),
}

/// Looks at the request at the front of some bytes.
pub(crate) fn answer(bytes: &[u8], rules: &Rules) -> Answer {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut request = Request::new(&mut fields);
    match request.parse(&bytes[..bytes.len().min(HEAD_MAX)]) {
        Ok(Status::Complete(used)) => {
            let asked = if path(&request) == PATH {
                accept(&request, rules).map(|answer| Answer::Upgrade(used, answer))
            } else {
                show(&request, &bytes[used..], rules)
            };
            asked.unwrap_or_else(|refusal| Answer::Refused(refusal.write()))
        }
        Ok(Status::Partial) if bytes.len() >= HEAD_MAX => {
            Answer::Refused(Refusal("431 Request Header Fields Too Large", "the head is too long", "").write())
        }
        Ok(Status::Partial) => Answer::More,
        Err(httparse::Error::TooManyHeaders) => {
            Answer::Refused(Refusal("431 Request Header Fields Too Large", "too many header fields", "").write())
        }
        Err(_) => Answer::Refused(Refusal("400 Bad Request", "this is no request", "").write()),
    }
}

/// Why there is no WebSocket: the status, a sentence, and a header line of its own.
#[derive(Debug)]
struct Refusal(&'static str, &'static str, &'static str);

impl Refusal {
    fn write(&self) -> Vec<u8> {
        let Self(status, why, line) = self;
        let len = why.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\n{line}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{why}\n"
        )
        .into_bytes()
    }
}

const fn bad(why: &'static str) -> Refusal {
    Refusal("400 Bad Request", why, "")
}

/// What servers on the way write who pass a request on.
const FORWARDED: [&str; 5] = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// True if a field is there.
fn has(request: &Request<'_, '_>, name: &str) -> bool {
    request.headers.iter().any(|field| field.name.eq_ignore_ascii_case(name))
}

/// The only value of a field; `None` if it is not there, or more than once.
fn one<'a>(request: &Request<'_, 'a>, name: &str) -> Option<&'a str> {
    let mut values = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    std::str::from_utf8(value.value).ok()
}

/// True if a token is among the comma-separated ones of a field, which may be there several times.
fn lists(request: &Request<'_, '_>, name: &str, token: &str) -> bool {
    let fields = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    let values = fields.filter_map(|field| std::str::from_utf8(field.value).ok());
    // What comes after a semicolon is how much it is wanted: 0 is not at all.
    let is_wanted = |listed: &str| listed.split(';').skip(1).all(|more| more.trim() != "q=0");
    let is_it = |listed: &str| listed.split(';').next().is_some_and(|listed| listed.trim().eq_ignore_ascii_case(token));
    values.flat_map(|value| value.split(',')).any(|listed| is_it(listed) && is_wanted(listed))
}

/// The path, without what is after a question mark.
fn path<'a>(request: &Request<'_, 'a>) -> &'a str {
    request.path.and_then(|path| path.split('?').next()).unwrap_or_default()
}

/// Answers a request that does not ask for the WebSocket.
fn show(request: &Request<'_, '_>, rest: &[u8], rules: &Rules) -> Result<Answer, Refusal> {
    let nothing = Refusal("404 Not Found", "there is nothing here: the WebSocket is at /v1", "");
    let Some(pages) = &rules.pages else { return Err(nothing) };
    if request.version == Some(1) && one(request, "host").is_none() {
        return Err(bad("one Host is expected"));
    }
    if has(request, "transfer-encoding") {
        return Err(Refusal("411 Length Required", "a body needs a Content-Length", ""));
    }
    let digits = |length: &&str| length.bytes().all(|digit| digit.is_ascii_digit());
    let len = match one(request, "content-length").filter(digits).map(str::parse) {
        None if !has(request, "content-length") => 0,
        Some(Ok(len)) if len <= BODY_MAX => len,
        Some(Ok(_)) => return Err(Refusal("413 Content Too Large", "the body is too long", "")),
        _ => return Err(bad("Content-Length is no length")),
    };
    let Some(body) = rest.get(..len) else { return Ok(Answer::More) };
    let asked = Asked {
        method: request.method.unwrap_or_default(),
        path: path(request),
        host: one(request, "host"),
        origin: has(request, "origin").then(|| one(request, "origin").unwrap_or_default()),
        is_forwarded: FORWARDED.iter().any(|field| has(request, field)),
        content_type: one(request, "content-type"),
        if_none_match: one(request, "if-none-match"),
        takes_gzip: lists(request, "accept-encoding", "gzip"),
        body,
    };
    pages.answer(&asked).map(Answer::Served).ok_or(nothing)
}

fn accept(request: &Request<'_, '_>, rules: &Rules) -> Result<Vec<u8>, Refusal> {
    if request.method != Some("GET") {
        return Err(Refusal("405 Method Not Allowed", "the WebSocket is asked for with GET", "Allow: GET\r\n"));
    }
    if request.version != Some(1) {
        return Err(bad("a WebSocket needs HTTP/1.1"));
    }
    if !lists(request, "upgrade", "websocket") || !lists(request, "connection", "upgrade") {
        let line = "Upgrade: websocket\r\n";
        return Err(Refusal("426 Upgrade Required", "this is the address of a WebSocket", line));
    }
    if one(request, "sec-websocket-version") != Some("13") {
        let line = "Sec-WebSocket-Version: 13\r\n";
        return Err(Refusal("426 Upgrade Required", "version 13 of the WebSocket protocol is understood", line));
    }
    let Some(host) = one(request, "host") else { return Err(bad("one Host is expected")) };
    let key = one(request, "sec-websocket-key").unwrap_or_default();
    if STANDARD.decode(key).map(|bytes| bytes.len()) != Ok(KEY_LEN) {
        return Err(bad("Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    if has(request, "origin") && !one(request, "origin").is_some_and(|origin| may_come_from(origin, host, rules)) {
        return Err(Refusal("403 Forbidden", "pages of this origin may not connect: see door.origins", ""));
    }
    if !lists(request, "sec-websocket-protocol", SUBPROTOCOL) {
        return Err(bad("the subprotocol tidings.v1 is expected"));
    }
    let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{KEY_SUFFIX}").as_bytes()));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\
         Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    );
    Ok(answer.into_bytes())
}

/// A page may connect to the host that it came from, and one of a listed origin to any.
fn may_come_from(origin: &str, host: &str, rules: &Rules) -> bool {
    let of_host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let same = of_host.is_some_and(|of_host| of_host.eq_ignore_ascii_case(host));
    same || rules.origins.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::Pages;

    const FIELDS: [(&str, &str); 6] = [
        ("Host", "chat.example:7600"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "other, tidings.v1"),
    ];

    fn request(line: &str, fields: &[(&str, &str)]) -> Vec<u8> {
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{line}\r\n{fields}\r\n").into_bytes()
    }

    fn status(line: &str, fields: &[(&str, &str)]) -> String {
        let rules = Rules { origins: vec!["https://app.example".into()], ..Rules::default() };
        match answer(&request(line, fields), &rules) {
            Answer::More => "more".into(),
            Answer::Upgrade(_, answer) | Answer::Served(answer) | Answer::Refused(answer) => {
                String::from_utf8(answer).unwrap().split(' ').nth(1).unwrap().into()
            }
        }
    }

    /// All fields but one, which is as given or not there.
    fn but(name: &'static str, value: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
        let others = FIELDS.into_iter().filter(|(other, _)| *other != name);
        others.chain(value.map(|value| (name, value))).collect()
    }

    #[test]
    fn the_answer_is_the_one_of_the_standard() {
        let bytes = request("GET /v1 HTTP/1.1", &FIELDS);
        let Answer::Upgrade(used, answer) = answer(&bytes, &Rules::default()) else { panic!("refused") };
        assert_eq!(used, bytes.len());
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert!(answer.contains("Sec-WebSocket-Protocol: tidings.v1\r\n"), "{answer}");
    }

    #[test]
    fn each_field_that_is_wrong_is_refused_with_its_status() {
        let upgrade = "GET /v1 HTTP/1.1";
        assert_eq!(status(upgrade, &FIELDS), "101");
        assert_eq!(status("GET /v1?x=1 HTTP/1.1", &FIELDS), "101");
        assert_eq!(status("GET / HTTP/1.1", &FIELDS), "404");
        assert_eq!(status("POST /v1 HTTP/1.1", &FIELDS), "405");
        assert_eq!(status("GET /v1 HTTP/1.0", &FIELDS), "400");
        assert_eq!(status("GET /v1 HTTP/9", &FIELDS), "400");
        for (name, value, expected) in [
            ("Host", None, "400"),
            ("Upgrade", None, "426"),
            ("Upgrade", Some("h2c"), "426"),
            ("Connection", Some("close"), "426"),
            ("Sec-WebSocket-Version", Some("8"), "426"),
            ("Sec-WebSocket-Version", None, "426"),
            ("Sec-WebSocket-Key", None, "400"),
            ("Sec-WebSocket-Key", Some("short"), "400"),
            ("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZQ=="), "400"),
            ("Sec-WebSocket-Protocol", None, "400"),
            ("Sec-WebSocket-Protocol", Some("mqtt"), "400"),
            ("Origin", Some("https://chat.example:7600"), "101"),
            ("Origin", Some("http://chat.example:7600"), "101"),
            ("Origin", Some("https://app.example"), "101"),
            ("Origin", Some("https://evil.example"), "403"),
            ("Origin", Some("https://chat.example:7600.evil.example"), "403"),
            ("Origin", Some("null"), "403"),
            ("Origin", Some(""), "403"),
        ] {
            assert_eq!(status(upgrade, &but(name, value)), expected, "{name}: {value:?}");
        }
        let twice = [&FIELDS[..], &[("Host", "other.example")]].concat();
        assert_eq!(status(upgrade, &twice), "400", "two hosts");
        let twice = [&FIELDS[..], &[("Origin", "https://app.example"), ("Origin", "https://evil.example")]].concat();
        assert_eq!(status(upgrade, &twice), "403", "two origins");
    }

    #[derive(Debug)]
    struct Echo;

    impl Pages for Echo {
        fn answer(&self, asked: &Asked<'_>) -> Option<Vec<u8>> {
            (asked.path != "/none").then(|| format!("HTTP/1.1 200 OK\r\n\r\n{asked:?}").into_bytes())
        }
    }

    #[test]
    fn pages_are_asked_for_what_is_not_the_websocket_once_the_body_is_whole() {
        let rules = Rules { pages: Some(std::sync::Arc::new(Echo)), ..Rules::default() };
        let ask = |line: &str, fields: &[(&str, &str)], body: &str| {
            let bytes = [&request(line, fields), body.as_bytes()].concat();
            match answer(&bytes, &rules) {
                Answer::More => "more".to_string(),
                Answer::Upgrade(..) => "upgrade".into(),
                Answer::Served(answer) | Answer::Refused(answer) => String::from_utf8(answer).unwrap(),
            }
        };
        let host = ("Host", "localhost:1");
        let got =
            ask("GET /a?b HTTP/1.1", &[host, ("Accept-Encoding", "br, gzip;q=0.8"), ("If-None-Match", "\"x\"")], "");
        for part in ["200 OK", "\"/a\"", "localhost:1", "takes_gzip: true", "\\\"x\\\"", "body: []"] {
            assert!(got.contains(part), "{part}: {got}");
        }
        assert!(ask("GET /none HTTP/1.1", &[host], "").starts_with("HTTP/1.1 404 "));
        assert_eq!(ask("GET /v1 HTTP/1.1", &FIELDS, ""), "upgrade");
        let posted = |length, body| ask("POST /a HTTP/1.1", &[host, ("Content-Length", length)], body);
        assert_eq!(posted("3", "ab"), "more");
        assert!(posted("3", "abcd").contains("body: [97, 98, 99]"));
        for (length, status) in
            [("1025", "413"), ("-1", "400"), ("99999999999999999999999", "400"), ("", "400"), ("+5", "400")]
        {
            assert!(posted(length, "").starts_with(&format!("HTTP/1.1 {status} ")), "{length}");
        }
        let twice = [host, ("Content-Length", "1"), ("Content-Length", "1")];
        assert!(ask("POST /a HTTP/1.1", &twice, "a").starts_with("HTTP/1.1 400 "));
        assert!(ask("GET /a HTTP/1.1", &[], "").starts_with("HTTP/1.1 400 "), "no host");
        let strange = ask(
            "GET /a HTTP/1.1",
            &[host, ("Origin", "a"), ("Origin", "b"), ("Via", "1.1 x"), ("Accept-Encoding", "gzip;q=0")],
            "",
        );
        assert!(strange.contains("origin: Some(\\\"\\\")") || strange.contains("origin: Some(\"\")"), "{strange}");
        assert!(strange.contains("is_forwarded: true") && strange.contains("takes_gzip: false"), "{strange}");
        let chunked = [host, ("Transfer-Encoding", "chunked")];
        assert!(ask("POST /a HTTP/1.1", &chunked, "").starts_with("HTTP/1.1 411 "));
    }

    #[test]
    fn a_head_may_come_in_pieces_and_is_bounded() {
        let whole = request("GET /v1 HTTP/1.1", &FIELDS);
        for len in 0..whole.len() {
            assert_eq!(answer(&whole[..len], &Rules::default()), Answer::More, "{len} bytes");
        }
        let long = request("GET /v1 HTTP/1.1", &[("Cookie", &"x".repeat(HEAD_MAX))]);
        let many = request("GET /v1 HTTP/1.1", &[("A", "b"); FIELDS_MAX + 1]);
        for bytes in [long, many] {
            let Answer::Refused(refused) = answer(&bytes, &Rules::default()) else { panic!("taken") };
            assert!(refused.starts_with(b"HTTP/1.1 431 "));
        }
    }
}
