//! The client's half of a WebSocket, for those who simulate and measure clients; the SDK has tungstenite.

use crate::{
    http::{PATH, SUBPROTOCOL},
    mask::Mask,
};

/// The first byte of a message of one piece.
pub const MESSAGE: u8 = 0x82;
/// That of a PING.
pub const PING: u8 = 0x89;

/// The request for a WebSocket.
pub fn request(host: &str) -> String {
    format!(
        "GET {PATH} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \
         dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    )
}

/// Appends a frame, whose payload is masked.
pub fn put_frame(out: &mut Vec<u8>, first: u8, mask: [u8; 4], payload: &[u8]) {
    out.push(first);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0xfe);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0xff);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    let from = out.len();
    out.extend_from_slice(payload);
    Mask(mask).apply(&mut out[from..]);
}

/// Reads what a server says: the answer to the request, and messages.
#[derive(Debug, Default)]
pub struct Reader {
    kept: Vec<u8>,
    upgraded: bool,
    closed: bool,
}

impl Reader {
    /// True once the server has agreed.
    pub fn is_upgraded(&self) -> bool {
        self.upgraded
    }

    /// Appends bytes of the stream of frames to `stream`.
    ///
    /// # Errors
    /// What a server must not say.
    pub fn read(&mut self, bytes: &[u8], stream: &mut Vec<u8>) -> Result<(), String> {
        self.kept.extend_from_slice(bytes);
        let mut rest = &self.kept[..];
        if !self.upgraded {
            let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(()) };
            if !rest.starts_with(b"HTTP/1.1 101 ") {
                return Err("a request for a WebSocket is refused".into());
            }
            (self.upgraded, rest) = (true, &rest[end + 4..]);
        }
        while let [first, short, after @ ..] = rest {
            let (len, at) = match short {
                126 => (after.first_chunk().map(|len| u16::from_be_bytes(*len) as usize), 4),
                127 => (after.first_chunk().map(|len| u64::from_be_bytes(*len) as usize), 10),
                short => (Some(*short as usize), 2),
            };
            let Some(len) = len.filter(|len| rest.len() >= at + len) else { break };
            match first {
                _ if self.closed => return Err("something is said after the close".into()),
                0x82 => stream.extend_from_slice(&rest[at..at + len]),
                0x8a => {}
                0x88 => self.closed = true,
                first => return Err(format!("a WebSocket's frame begins with {first:02x}")),
            }
            rest = &rest[at + len..];
        }
        let used = self.kept.len() - rest.len();
        self.kept.drain(..used);
        Ok(())
    }
}
