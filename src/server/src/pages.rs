//! The web client, which is built into the binary, and in development mode a token for whoever asks for one.

use std::{
    fmt::Write as _,
    io::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;
use tidings_door::{Asked, Pages};
use tidings_wire::{Timestamp, limits::NAME_MAX};

use crate::tokens::Issuer;

/// What `tools/web` was built into, by path: `npm run build` there writes it, and `tools/check` compares.
const FILES: [(&str, &str, &str); 4] = [
    ("/", "text/html; charset=utf-8", include_str!("../web/index.html")),
    ("/app.js", "text/javascript; charset=utf-8", include_str!("../web/app.js")),
    ("/app.css", "text/css; charset=utf-8", include_str!("../web/app.css")),
    ("/icon.svg", "image/svg+xml", include_str!("../web/icon.svg")),
];
/// How the page learns how to sign in: with a token, or in development mode by name alone.
const BY_TOKEN: &str = r#"<meta name="tidings-sign-in" content="token">"#;
const BY_NAME: &str = r#"<meta name="tidings-sign-in" content="name">"#;
/// Where tokens of development mode are had.
const TOKEN_PATH: &str = "/dev/token";
/// How long they are good for.
const TOKEN_S: u64 = 24 * 3600;
/// What a page may do: run what came with it, and speak with the host that it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// One file, ready to be sent.
#[derive(Debug)]
struct File {
    path: &'static str,
    kind: &'static str,
    plain: Vec<u8>,
    gzip: Vec<u8>,
    /// Changes with what is in it.
    version: String,
}

impl File {
    fn new(path: &'static str, kind: &'static str, text: &str) -> Self {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(text.as_bytes()).expect("memory takes everything");
        let gzip = gzip.finish().expect("memory takes everything");
        let version = format!("{:08x}-{}", tidings_crc::crc32c(text.as_bytes()), text.len());
        Self { path, kind, plain: text.into(), gzip, version }
    }

    fn answer(&self, asked: &Asked<'_>) -> Vec<u8> {
        let (body, encoding) = if asked.takes_gzip { (&self.gzip, "gzip") } else { (&self.plain, "identity") };
        // Each encoding is another representation.
        let etag = format!("\"{}-{encoding}\"", self.version);
        let same =
            |known: &str| matches!(known.trim().trim_start_matches("W/"), known if known == etag || known == "*");
        let mut fields = vec![("ETag", etag.as_str()), ("Vary", "Accept-Encoding")];
        if asked.if_none_match.is_some_and(|known| known.split(',').any(same)) {
            return respond("304 Not Modified", &fields, None);
        }
        fields.extend([("Content-Type", self.kind), ("Content-Security-Policy", POLICY)]);
        if asked.takes_gzip {
            fields.push(("Content-Encoding", encoding));
        }
        let mut answer = respond("200 OK", &fields, Some(body.len()));
        if asked.method == "GET" {
            answer.extend_from_slice(body);
        }
        answer
    }
}

/// A response's head.
fn respond(status: &str, fields: &[(&str, &str)], body: Option<usize>) -> Vec<u8> {
    let caching = "Cache-Control";
    let is_said = fields.iter().any(|(name, _)| *name == caching);
    let caching = if is_said { String::new() } else { format!("{caching}: no-cache\r\n") };
    let mut head = format!(
        "HTTP/1.1 {status}\r\n{caching}X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n"
    );
    for (name, value) in fields {
        write!(head, "{name}: {value}\r\n").expect("memory takes everything");
    }
    if let Some(len) = body {
        write!(head, "Content-Length: {len}\r\n").expect("memory takes everything");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// A response of some text, with a header field of its own.
fn text(status: &str, field: (&str, &str), body: &str) -> Vec<u8> {
    let kind = ("Content-Type", "text/plain; charset=utf-8");
    let mut answer = respond(status, &[kind, field], Some(body.len() + 1));
    answer.extend_from_slice(body.as_bytes());
    answer.push(b'\n');
    answer
}

/// The pages of a server.
#[derive(Debug)]
pub struct WebPages {
    files: Vec<File>,
    /// In development mode.
    issuer: Option<Issuer>,
}

impl WebPages {
    /// With an issuer, whoever asks gets a token: for a server that can be reached from its own machine alone.
    pub fn new(issuer: Option<Issuer>) -> Self {
        assert!(FILES[0].2.contains(BY_TOKEN), "the page says how one signs in");
        let sign_in = if issuer.is_some() { BY_NAME } else { BY_TOKEN };
        let files = FILES.map(|(path, kind, text)| File::new(path, kind, &text.replace(BY_TOKEN, sign_in)));
        Self { files: files.into(), issuer }
    }
}

impl Pages for WebPages {
    fn answer(&self, asked: &Asked<'_>) -> Option<Vec<u8>> {
        if asked.path == TOKEN_PATH {
            return self.issuer.as_ref().map(|issuer| give_token(issuer, asked));
        }
        let file = self.files.iter().find(|file| file.path == asked.path)?;
        Some(match asked.method {
            "GET" | "HEAD" => file.answer(asked),
            _ => text("405 Method Not Allowed", ("Allow", "GET, HEAD"), "this is read, and not written"),
        })
    }
}

/// What is posted for a token.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    user: String,
}

fn give_token(issuer: &Issuer, asked: &Asked<'_>) -> Vec<u8> {
    let refuse = |status, why: &str| text(status, ("Cache-Control", "no-store"), why);
    if asked.is_forwarded {
        return refuse("403 Forbidden", "tokens are given to nobody who comes through a proxy");
    }
    if asked.method != "POST" {
        return text("405 Method Not Allowed", ("Allow", "POST"), "a token is asked for with POST");
    }
    // A page of anybody may have its own name lead to this machine: then that is the host it asks for.
    let Some(host) = asked.host.filter(|host| is_this_machine(host)) else {
        return refuse("403 Forbidden", "tokens are given under the name localhost, or by address");
    };
    let from_here =
        |origin: &str| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) == Some(host);
    if asked.origin.is_some_and(|origin| !from_here(origin)) {
        return refuse("403 Forbidden", "pages of other origins get no tokens");
    }
    // A page of another origin cannot say so without being asked whether it may.
    if asked.content_type.is_none_or(|kind| !kind.eq_ignore_ascii_case("application/json")) {
        return refuse("415 Unsupported Media Type", "the body is JSON: Content-Type: application/json");
    }
    let wanted = serde_json::from_slice::<Wanted>(asked.body);
    let Some(Wanted { user }) = wanted.ok().filter(|Wanted { user }| (1..=NAME_MAX).contains(&user.len())) else {
        return refuse("400 Bad Request", r#"{"user":"NAME"} is expected, with a name of 1 to 64 bytes"#);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match issuer.issue(&user, None, Timestamp(now.as_micros() as u64), TOKEN_S) {
        Ok(token) => {
            let body = serde_json::json!({ "user": user, "token": token }).to_string();
            let mut answer = respond(
                "200 OK",
                &[("Content-Type", "application/json"), ("Cache-Control", "no-store")],
                Some(body.len()),
            );
            answer.extend_from_slice(body.as_bytes());
            answer
        }
        Err(error) => refuse("500 Internal Server Error", &format!("the token cannot be signed: {error}")),
    }
}

/// True if a Host field names this machine and cannot name another one.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use tidings_core::{TokenFault, Verifier};

    use super::*;
    use crate::{
        process::TempDir,
        tokens::{Issuer, Keys},
    };

    fn asked<'a>(method: &'a str, path: &'a str) -> Asked<'a> {
        let (host, origin, content_type) = (Some("localhost:7600"), None, None);
        let (if_none_match, takes_gzip, is_forwarded, body) = (None, false, false, &b""[..]);
        Asked { method, path, host, origin, content_type, if_none_match, takes_gzip, is_forwarded, body }
    }

    fn answer(pages: &WebPages, asked: &Asked<'_>) -> String {
        String::from_utf8_lossy(&pages.answer(asked).unwrap()).into_owned()
    }

    #[test]
    fn the_page_comes_whole_compressed_if_that_is_understood_and_not_again() {
        let pages = WebPages::new(None);
        let whole = answer(&pages, &asked("GET", "/"));
        assert!(whole.starts_with("HTTP/1.1 200 OK\r\n") && whole.ends_with(FILES[0].2), "{whole}");
        assert!(whole.contains("default-src 'none'") && whole.contains(BY_TOKEN));
        let head = answer(&pages, &asked("HEAD", "/app.js"));
        assert!(
            head.ends_with("\r\n\r\n") && head.contains(&format!("Content-Length: {}\r\n", FILES[1].2.len())),
            "{head}"
        );
        let small = pages.answer(&Asked { takes_gzip: true, ..asked("GET", "/app.js") }).unwrap();
        assert!(small.len() < FILES[1].2.len() / 2, "{} bytes", small.len());
        let etag = whole.split("ETag: ").nth(1).unwrap().split("\r\n").next().unwrap();
        for known in [etag, &format!("W/{etag}"), &format!("\"x\", {etag}"), "*"] {
            let again = answer(&pages, &Asked { if_none_match: Some(known), ..asked("GET", "/") });
            assert!(
                again.starts_with("HTTP/1.1 304 ") && again.contains("Vary") && again.ends_with("\r\n\r\n"),
                "{again}"
            );
            let other = answer(&pages, &Asked { if_none_match: Some(etag), takes_gzip: true, ..asked("GET", "/") });
            assert!(other.starts_with("HTTP/1.1 200 "), "{other}");
        }
        assert!(answer(&pages, &asked("PUT", "/")).starts_with("HTTP/1.1 405 "));
        assert!(
            pages.answer(&asked("GET", "/other")).is_none() && pages.answer(&asked("POST", "/dev/token")).is_none()
        );
    }

    #[test]
    fn everything_that_the_page_names_is_there_and_nothing_comes_from_elsewhere() {
        for (_, _, text) in FILES {
            for host in text.match_indices("http").map(|(at, _)| &text[at..]) {
                let is_known =
                    ["https?", "http://www.w3.org/", "http:", "https:"].iter().any(|known| host.starts_with(known));
                assert!(is_known || !host.contains("://"), "{}", &host[..40]);
            }
        }
        for name in FILES[0].2.split(['"', '\'']).filter(|word| word.starts_with('/')) {
            assert!(FILES.iter().any(|(path, ..)| *path == name), "{name}");
        }
    }

    #[test]
    fn a_token_is_given_to_this_machine_alone_and_counts_in_development_alone() {
        let dir = TempDir::new("pages").unwrap();
        let keys = Keys::make(dir.path()).unwrap();
        let issuer = Issuer::fresh().unwrap();
        let pages = WebPages::new(Some(issuer.clone()));
        assert!(answer(&pages, &asked("GET", "/")).contains(BY_NAME));
        let good =
            Asked { content_type: Some("application/json"), body: br#"{"user":"alice"}"#, ..asked("POST", TOKEN_PATH) };
        let given = answer(&pages, &good);
        assert!(given.starts_with("HTTP/1.1 200 "), "{given}");
        let token = given.split(r#""token":""#).nth(1).unwrap().split('"').next().unwrap();
        let now = Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64);
        let verify = |issuer| keys.verifier(issuer, &[], None).verify(token.as_bytes(), now);
        assert_eq!(verify(Some(&issuer)).unwrap().name, "alice".into());
        assert_eq!(verify(None), Err(TokenFault::Invalid));
        assert_eq!(verify(Some(&Issuer::fresh().unwrap())), Err(TokenFault::Invalid), "another start");
        assert_eq!(answer(&pages, &Asked { is_forwarded: true, ..good })[9..12], *"403");
        for host in ["127.0.0.1:7600", "[::1]:7600", "LOCALHOST", "127.8.9.1"] {
            assert!(answer(&pages, &Asked { host: Some(host), ..good }).starts_with("HTTP/1.1 200 "), "{host}");
        }
        let status = |asked: &Asked<'_>| answer(&pages, asked)[9..12].to_string();
        for host in ["evil.example:7600", "localhost.evil.example", "10.0.0.1:7600", "", "::1x", "localhost:7600:1"] {
            assert_eq!(status(&Asked { host: Some(host), ..good }), "403", "{host}");
        }
        assert_eq!(status(&Asked { host: None, ..good }), "403");
        for (origin, expected) in [
            ("http://localhost:7600", "200"),
            ("https://localhost:7600", "200"),
            ("http://localhost:7601", "403"),
            ("http://evil.example", "403"),
            ("null", "403"),
            ("", "403"),
        ] {
            assert_eq!(status(&Asked { origin: Some(origin), ..good }), expected, "{origin}");
        }
        assert_eq!(status(&Asked { method: "GET", ..good }), "405");
        assert_eq!(status(&Asked { content_type: Some("text/plain"), ..good }), "415");
        let long = format!(r#"{{"user":"{}"}}"#, "x".repeat(NAME_MAX + 1));
        for body in ["", "[]", r#"{"user":""}"#, r#"{"user":"a","scope":"service"}"#, &long] {
            assert_eq!(status(&Asked { body: body.as_bytes(), ..good }), "400", "{body}");
        }
    }
}
