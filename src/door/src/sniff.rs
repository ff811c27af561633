//! What somebody speaks who has just connected: three bytes tell.

/// What a connection's first bytes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Frames as they are.
    Raw,
    /// TLS.
    Tls,
    /// HTTP, to ask for a WebSocket.
    Http,
}

/// Bytes that decide.
const DECIDES: usize = 3;
/// A TLS record that holds a handshake (RFC 8446, 5.1), and the first byte of its version.
const TLS_HANDSHAKE: [u8; 2] = [22, 3];

/// What the first bytes of a connection belong to; `None` if there are too few.
///
/// A raw stream begins with the length of HELLO, a little-endian u32 far below 65,536: its third byte is 0, which neither TLS nor a
/// method of HTTP has there. What is none of the three is taken for frames: those are refused with an ERROR.
pub fn sniff(bytes: &[u8]) -> Option<Speaks> {
    let first: [u8; DECIDES] = *bytes.first_chunk()?;
    Some(match first {
        [_, _, 0] => Speaks::Raw,
        [kind, major, _] if [kind, major] == TLS_HANDSHAKE => Speaks::Tls,
        letters if letters.iter().all(u8::is_ascii_uppercase) => Speaks::Http,
        _ => Speaks::Raw,
    })
}

/// What is told to somebody who speaks what is not spoken here, in what it speaks.
pub fn refusal(speaks: Speaks) -> &'static [u8] {
    match speaks {
        Speaks::Raw => &[],
        // A fatal alert: handshake_failure (RFC 8446, 6).
        Speaks::Tls => &[21, 3, 3, 0, 2, 2, 40],
        Speaks::Http => {
            b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 32\r\nConnection: close\r\n\r\n\
              HTTP is not spoken here, or TLS\n"
        }
    }
}

/// What is told to somebody of whose address too many come, in what it speaks.
pub fn too_many(speaks: Speaks) -> &'static [u8] {
    if speaks == Speaks::Http { TOO_MANY } else { refusal(speaks) }
}

/// What is told in HTTP to an address that asks too often, or where everybody together does.
pub(crate) const TOO_MANY: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 18\r\nConnection: close\r\n\r\ntoo many requests\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_bytes_tell_frames_from_tls_from_http() {
        for length in [24u32, 67, 278, 791, 4000, 5000] {
            assert_eq!(sniff(&length.to_le_bytes()), Some(Speaks::Raw), "a HELLO of {length} bytes");
        }
        for version in 0..=4 {
            assert_eq!(sniff(&[22, 3, version + 1, 0, 200]), Some(Speaks::Tls));
        }
        for method in ["GET / HTTP/1.1", "POST /", "HEAD", "PUT ", "PRI * HTTP/2.0", "OPTIONS"] {
            assert_eq!(sniff(method.as_bytes()), Some(Speaks::Http), "{method}");
        }
        assert_eq!(sniff(b"get"), Some(Speaks::Raw));
        assert_eq!(sniff(&[0xff; 3]), Some(Speaks::Raw));
        assert_eq!((sniff(b""), sniff(b"GE")), (None, None));
    }
}
