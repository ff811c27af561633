//! The server's end of a WebSocket (RFC 6455): binary messages whose payloads, one behind the other, are the stream. Where a message
//! ends means nothing. Payloads are unmasked where they are; nothing but headers and control frames is ever kept.

use std::ops::Range;

use crate::{
    door::{End, Last},
    mask::Mask,
};

/// Bytes of a message that a client may send: enough for a dozen of the largest frames at once.
pub const MESSAGE_MAX: u64 = 1 << 20;
/// Bytes of a header: two, eight of length, four of mask.
const HEAD_MAX: usize = 14;
/// Bytes of a control frame's payload (RFC 6455, 5.5).
const CONTROL_MAX: u64 = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Why a WebSocket ends (RFC 6455, 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// Everything was said.
    pub const NORMAL: Self = Self(1000);
    /// A frame that cannot be.
    pub const PROTOCOL: Self = Self(1002);
    /// Text: there are only binary messages here.
    pub const NOT_TEXT: Self = Self(1003);
    /// What must be UTF-8 is not.
    pub const NOT_UTF8: Self = Self(1007);
    /// A message of more than [`MESSAGE_MAX`] bytes.
    pub const TOO_BIG: Self = Self(1009);

    /// True if a peer may say it.
    fn may_be_said(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// What is wrong with what the client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fault(CloseCode, &'static str);

const fn broken(what: &'static str) -> Fault {
    Fault(CloseCode::PROTOCOL, what)
}

/// A frame's header.
#[derive(Clone, Copy, Debug)]
struct Head {
    last: bool,
    opcode: u8,
    len: u64,
    mask: Mask,
}

/// The header at the front of some bytes, and its length; `None` if it is not whole. What is wrong is seen as early as it can be.
fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Fault> {
    let Some([first, second]) = bytes.first_chunk() else { return Ok(None) };
    let (opcode, short) = (first & 0xf, second & !MASKED);
    if first & RESERVED != 0 {
        return Err(broken("a reserved bit is set"));
    }
    if !matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
        return Err(broken("an unknown opcode"));
    }
    if second & MASKED == 0 {
        return Err(broken("a client's frame without a mask"));
    }
    let is_control = opcode >= CLOSE;
    if is_control && (first & FIN == 0 || u64::from(short) > CONTROL_MAX) {
        return Err(broken("a control frame in pieces, or of more than 125 bytes"));
    }
    let rest = &bytes[2..];
    let (len, at) = match short {
        126 => match rest.first_chunk() {
            Some(len) => (u64::from(u16::from_be_bytes(*len)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(len) => (u64::from_be_bytes(*len), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    let least = if at == 4 { 126 } else { u64::from(u16::MAX) + 1 };
    if at > 2 && len < least {
        return Err(broken("a length in more bytes than it needs"));
    }
    if len > MESSAGE_MAX {
        return Err(Fault(CloseCode::TOO_BIG, "a message of more than a mebibyte"));
    }
    let Some(mask) = bytes[at..].first_chunk() else { return Ok(None) };
    Ok(Some((Head { last: first & FIN != 0, opcode, len, mask: Mask(*mask) }, at + 4)))
}

/// A frame whose payload is being read.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: u8,
    last: bool,
    left: u64,
    mask: Mask,
}

/// What is to be said when the socket closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// Nothing yet.
    Open,
    /// A close frame, with a code or without.
    Owed(Option<CloseCode>),
    /// It was said.
    Said,
}

/// One WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    /// A header that is not whole.
    partial: [u8; HEAD_MAX],
    partial_len: usize,
    frame: Option<Frame>,
    /// Bytes so far of a message that goes on.
    message: Option<u64>,
    /// A control frame's payload so far.
    control: Vec<u8>,
    /// What is to be answered to a PING. Of several only the last is (RFC 6455, 5.5.3).
    pong: Option<Vec<u8>>,
    closing: Closing,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            partial: [0; HEAD_MAX],
            partial_len: 0,
            frame: None,
            message: None,
            control: Vec::new(),
            pong: None,
            closing: Closing::Open,
        }
    }
}

impl WebSocket {
    /// Reads received bytes. The part of the stream that was in them lies in the range that is returned, moved together if headers were
    /// between. After an end nothing more is read.
    pub fn open(&mut self, bytes: &mut [u8]) -> (Range<usize>, Option<End>) {
        let (mut at, mut stream) = (0, 0..0);
        while self.closing == Closing::Open {
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.begin(bytes, &mut at) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => break,
                    Err(fault) => return (stream, Some(self.fail(fault))),
                },
            };
            let now = (bytes.len() - at).min(usize::try_from(frame.left).unwrap_or(usize::MAX));
            let piece = at..at + now;
            let mut mask = frame.mask;
            mask.apply(&mut bytes[piece.clone()]);
            if frame.opcode >= CLOSE {
                self.control.extend_from_slice(&bytes[piece.clone()]);
            } else if stream.is_empty() {
                stream = piece.clone();
            } else {
                bytes.copy_within(piece.clone(), stream.end);
                stream.end += now;
            }
            at = piece.end;
            let left = frame.left - now as u64;
            self.frame = (left > 0).then_some(Frame { left, mask, ..frame });
            if left > 0 {
                break; // the rest is to come
            }
            match self.finish(frame) {
                Ok(None) => {}
                Ok(end) => return (stream, end),
                Err(fault) => return (stream, Some(self.fail(fault))),
            }
        }
        (stream, None)
    }

    /// The next frame's header, which may have come in pieces.
    fn begin(&mut self, bytes: &[u8], at: &mut usize) -> Result<Option<Frame>, Fault> {
        let rest = &bytes[*at..];
        let before = self.partial_len;
        let (found, used) = if before == 0 {
            (head(rest)?, rest.len())
        } else {
            let used = rest.len().min(HEAD_MAX - before);
            self.partial[before..before + used].copy_from_slice(&rest[..used]);
            (head(&self.partial[..before + used])?, used)
        };
        let Some((head, len)) = found else {
            // Fewer bytes than a header's most: what is longer has been understood.
            self.partial[before..before + used].copy_from_slice(&rest[..used]);
            (self.partial_len, *at) = (before + used, *at + used);
            return Ok(None);
        };
        (self.partial_len, *at) = (0, *at + len - before);
        let sofar = match (head.opcode, self.message) {
            (TEXT, _) => return Err(Fault(CloseCode::NOT_TEXT, "text: only binary messages are understood")),
            (BINARY, None) => 0,
            (BINARY, Some(_)) => return Err(broken("a message inside another")),
            (CONTINUATION, None) => return Err(broken("a message that goes on and never began")),
            (CONTINUATION, Some(sofar)) => sofar,
            _ => {
                self.control.clear();
                return Ok(Some(Frame { opcode: head.opcode, last: true, left: head.len, mask: head.mask }));
            }
        };
        let message = sofar + head.len;
        if message > MESSAGE_MAX {
            return Err(Fault(CloseCode::TOO_BIG, "a message of more than a mebibyte"));
        }
        self.message = Some(message);
        Ok(Some(Frame { opcode: head.opcode, last: head.last, left: head.len, mask: head.mask }))
    }

    /// A frame was read to its end.
    fn finish(&mut self, frame: Frame) -> Result<Option<End>, Fault> {
        match frame.opcode {
            PING => self.pong = Some(std::mem::take(&mut self.control)),
            PONG => {}
            CLOSE => {
                self.closing = Closing::Owed(self.told_code()?);
                return Ok(Some(End::Closed));
            }
            _ if frame.last => self.message = None,
            _ => {}
        }
        Ok(None)
    }

    /// The code of a close frame.
    fn told_code(&self) -> Result<Option<CloseCode>, Fault> {
        let Some((code, reason)) = self.control.split_first_chunk() else {
            return if self.control.is_empty() { Ok(None) } else { Err(broken("half of a close code")) };
        };
        let code = CloseCode(u16::from_be_bytes(*code));
        if !code.may_be_said() {
            return Err(broken("a close code that nobody may say"));
        }
        if std::str::from_utf8(reason).is_err() {
            return Err(Fault(CloseCode::NOT_UTF8, "a reason that is not UTF-8"));
        }
        Ok(Some(code))
    }

    fn fail(&mut self, Fault(code, what): Fault) -> End {
        self.closing = Closing::Owed(Some(code));
        End::Broken(what)
    }

    /// True while a frame, or its header, is not whole.
    pub fn is_inside(&self) -> bool {
        self.frame.is_some() || self.partial_len > 0
    }

    /// True if there is something to say besides the stream.
    pub fn has_output(&self, last: Last) -> bool {
        self.pong.is_some() || last == Last::Yes && self.closing != Closing::Said
    }

    /// Makes a part of the stream a message, with what else there is to say, and a close frame if it is the last.
    pub fn seal(&mut self, stream: &mut Vec<u8>, last: Last) {
        if !stream.is_empty() {
            let (head, len) = out_head(BINARY, stream.len());
            stream.splice(0..0, head[..len].iter().copied());
        }
        if let Some(payload) = self.pong.take() {
            control(stream, PONG, &payload);
        }
        if last == Last::Yes && self.closing != Closing::Said {
            let code = match self.closing {
                Closing::Owed(code) => code,
                _ => Some(CloseCode::NORMAL),
            };
            let code = code.map(|code| code.0.to_be_bytes());
            control(stream, CLOSE, code.as_ref().map_or(&[], |code| code));
            self.closing = Closing::Said;
        }
    }
}

/// The header of a server's frame: never masked.
fn out_head(opcode: u8, len: usize) -> ([u8; 10], usize) {
    let mut head = [0; 10];
    head[0] = FIN | opcode;
    let used = match len {
        0..=125 => {
            head[1] = len as u8;
            2
        }
        126..=0xffff => {
            head[1] = 126;
            head[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            4
        }
        _ => {
            head[1] = 127;
            head[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    (head, used)
}

fn control(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    let (head, len) = out_head(opcode, payload.len());
    out.extend_from_slice(&head[..len]);
    out.extend_from_slice(payload);
}
