//! WebSockets: everything that a client may do or must not (the cases of the Autobahn test suite that concern a server that takes binary
//! messages alone), cut at every place; and another implementation at the other end.

use std::io::{Cursor, Read, Write};

use proptest::prelude::*;
use tidings_door::{CloseCode, Door, End, Last, MESSAGE_MAX, Place, Rules, Speaks, WebSocket};
use tungstenite::{
    Message, WebSocket as Other,
    client::{ClientRequestBuilder, client_with_config},
    protocol::{Role, WebSocketConfig},
};

/// A client's frame: the first byte, and a payload that is masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// What a socket makes of bytes that come in pieces: the stream, how it ended, and what it says at the end.
fn open(pieces: &[&[u8]]) -> (Vec<u8>, Option<End>, Vec<u8>) {
    let mut socket = WebSocket::default();
    let (mut stream, mut ended) = (Vec::new(), None);
    for piece in pieces {
        let mut piece = piece.to_vec();
        let (range, end) = socket.open(&mut piece);
        stream.extend_from_slice(&piece[range]);
        ended = ended.or(end);
    }
    let mut said = Vec::new();
    socket.seal(&mut said, if ended.is_some() { Last::Yes } else { Last::No });
    (stream, ended, said)
}

/// The same, cut once at every place: it makes no difference.
fn open_cut_anywhere(bytes: &[u8]) -> (Vec<u8>, Option<End>, Vec<u8>) {
    let whole = open(&[bytes]);
    for at in 0..bytes.len() {
        assert_eq!(open(&[&bytes[..at], &bytes[at..]]), whole, "cut at {at}");
    }
    let single: Vec<_> = bytes.chunks(1).collect();
    assert_eq!(open(&single), whole, "byte for byte");
    whole
}

fn close_frame(code: CloseCode) -> Vec<u8> {
    [&[0x88, 2], &code.0.to_be_bytes()[..]].concat()
}

#[test]
fn messages_of_every_length_are_the_stream() {
    for len in [0, 1, 125, 126, 127, 128, 300] {
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        assert_eq!(open_cut_anywhere(&frame(0x82, &payload)), (payload, None, vec![]), "{len} bytes");
    }
    for len in [65_535, 65_536, 65_537, 200_000, MESSAGE_MAX as usize] {
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let bytes = frame(0x82, &payload);
        for chunk in [1_000, 8_192, len + 14] {
            let pieces: Vec<_> = bytes.chunks(chunk).collect();
            assert_eq!(open(&pieces), (payload.clone(), None, vec![]), "{len} bytes, {chunk} at a time");
        }
    }
}

#[test]
fn pieces_of_a_message_and_control_frames_between_them() {
    let bytes = [
        frame(0x02, b"one "),
        frame(0x89, b"are you there?"),
        frame(0x00, b""),
        frame(0x8a, b"nobody asked"),
        frame(0x80, b"two "),
        frame(0x82, b"three"),
    ]
    .concat();
    let pong = [&[0x8a, 14], &b"are you there?"[..]].concat();
    let mut socket = WebSocket::default();
    let (range, end) = socket.open(&mut bytes.clone());
    assert_eq!(end, None);
    assert_eq!(range.len(), 13);
    assert!(socket.has_output(Last::No));
    assert_eq!(open_cut_anywhere(&bytes), (b"one two three".to_vec(), None, pong));
}

/// Of a flood of PINGs, the last that came before there was time to answer is answered.
#[test]
fn a_flood_of_pings_costs_one_answer() {
    let bytes: Vec<u8> = (0..1000u32).flat_map(|at| frame(0x89, &at.to_be_bytes())).collect();
    let (stream, end, said) = open(&[&bytes]);
    assert_eq!((stream, end), (vec![], None));
    assert_eq!(said, [&[0x8a, 4], &999u32.to_be_bytes()[..]].concat());
}

/// Each with the code that it is told.
#[test]
fn what_a_client_must_not_do() {
    let (protocol, text, utf8, big) =
        (CloseCode::PROTOCOL, CloseCode::NOT_TEXT, CloseCode::NOT_UTF8, CloseCode::TOO_BIG);
    let unmasked = vec![0x82, 3, 1, 2, 3];
    let mut wrong = vec![
        (unmasked, protocol),
        (frame(0x81, b"hello"), text),
        (frame(0x01, b"hel"), text),
        (frame(0x80, b"goes on, and never began"), protocol),
        (frame(0x00, b"goes on, and never began"), protocol),
        ([frame(0x02, b"one"), frame(0x82, b"another")].concat(), protocol),
        (frame(0x09, b"a PING in pieces"), protocol),
        (frame(0x08, b""), protocol),
        (frame(0x89, &[0; 126]), protocol),
        (frame(0x88, &[3]), protocol),
        (frame(0x88, &[3, 0xe8, 0xce, 0xba, 0xe1]), utf8),
        (vec![0x82, 0xfe, 0, 125, 0, 0, 0, 0], protocol),
        (vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0], protocol),
        (vec![0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], big),
        (vec![0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1], big),
    ];
    for opcode in (3..=7).chain(11..=15) {
        wrong.push((frame(0x80 | opcode, b""), protocol));
    }
    for reserved in [0x40, 0x20, 0x10, 0x70] {
        wrong.push((frame(0x82 | reserved, b"data"), protocol));
        wrong.push((frame(0x89 | reserved, b"ping"), protocol));
        wrong.push((frame(0x88 | reserved, b""), protocol));
    }
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        wrong.push((frame(0x88, &code.to_be_bytes()), protocol));
    }
    for (bytes, code) in wrong {
        // What came before it counts, and what comes after it does not.
        let bytes = [frame(0x82, b"before"), bytes, frame(0x82, b"after")].concat();
        let (stream, end, said) = open_cut_anywhere(&bytes);
        assert!(stream.starts_with(b"before") && !stream.ends_with(b"after"), "{bytes:x?}");
        assert!(matches!(end, Some(End::Broken(_))), "{bytes:x?}: {end:?}");
        assert_eq!(said, close_frame(code), "{bytes:x?}");
    }
}

#[test]
fn a_close_is_answered_in_kind_and_ends_it() {
    for code in [1000u16, 1001, 1003, 1007, 1011, 1014, 3000, 4999] {
        let bytes =
            [frame(0x88, &[&code.to_be_bytes()[..], "schön".as_bytes()].concat()), frame(0x82, b"late")].concat();
        assert_eq!(open_cut_anywhere(&bytes), (vec![], Some(End::Closed), close_frame(CloseCode(code))));
    }
    assert_eq!(open_cut_anywhere(&frame(0x88, b"")), (vec![], Some(End::Closed), vec![0x88, 0]));
}

/// A message may be of any number of pieces, but not longer than one of a single piece.
#[test]
fn a_message_that_never_ends_is_ended() {
    let piece = frame(0x00, &[7; 1000]);
    let mut socket = WebSocket::default();
    assert_eq!(socket.open(&mut frame(0x02, &[7; 1000])).1, None);
    let mut pieces = 1;
    while socket.open(&mut piece.clone()).1.is_none() {
        pieces += 1;
        assert!(pieces * 1000 <= MESSAGE_MAX, "it was taken");
    }
    let mut said = Vec::new();
    socket.seal(&mut said, Last::Yes);
    assert_eq!(said, close_frame(CloseCode::TOO_BIG));
}

proptest! {
    /// However the stream is put into messages, pieces and control frames, and however those are cut, it comes out.
    #[test]
    fn any_framing_of_a_stream_is_undone(
        messages in prop::collection::vec(
            (prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4), prop::option::of(0usize..126)),
            1..6,
        ),
        chunk in 1usize..700,
    ) {
        let (mut bytes, mut stream) = (Vec::new(), Vec::new());
        for (pieces, ping) in &messages {
            for (at, piece) in pieces.iter().enumerate() {
                let first = if at == 0 { 2 } else { 0 };
                let fin = if at + 1 == pieces.len() { 0x80 } else { 0 };
                bytes.extend(frame(first | fin, piece));
                stream.extend_from_slice(piece);
                if let Some(len) = ping {
                    bytes.extend(frame(0x89, &vec![1; *len]));
                }
            }
        }
        let pieces: Vec<_> = bytes.chunks(chunk).collect();
        let (opened, end, _) = open(&pieces);
        prop_assert_eq!((opened, end), (stream, None));
    }

    /// Nothing that a client can send makes it panic, or say more than a little.
    #[test]
    fn noise_is_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..2000), chunk in 1usize..64) {
        let pieces: Vec<_> = bytes.chunks(chunk).collect();
        let (stream, _, said) = open(&pieces);
        prop_assert!(stream.len() <= bytes.len() && said.len() < 256);
    }
}

/// The server's end of a connection in memory, which gives back what it gets.
struct Echo {
    door: Option<Door>,
    rules: Rules,
    to_client: Cursor<Vec<u8>>,
    received: Vec<u8>,
    ended: bool,
}

impl Write for Echo {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.received.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Read for Echo {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let mut received = std::mem::take(&mut self.received);
        let door = self.door.get_or_insert_with(|| Door::new(Speaks::Http, &self.rules).unwrap());
        let mut scratch = Vec::new();
        let opened = door.open(&mut received, &mut scratch, &self.rules);
        let mut stream = match opened.place {
            Place::Here(range) => received[range].to_vec(),
            Place::Scratch(range) => scratch[range].to_vec(),
        };
        self.ended |= opened.end.is_some();
        let last = if self.ended { Last::Yes } else { Last::No };
        if !stream.is_empty() || door.has_output(last) {
            let out = door.seal(&mut stream, last, Vec::new());
            self.to_client.get_mut().extend(out);
        }
        match self.to_client.read(into)? {
            0 if self.ended => Ok(0),
            0 => Err(std::io::ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }
}

/// `tungstenite` at the other end: the request, messages of all sizes, PING, close.
#[test]
fn another_implementation_talks_to_it() {
    let rules = Rules { plain: vec![Speaks::Http], ..Rules::default() };
    let echo = Echo { door: None, rules, to_client: Cursor::default(), received: Vec::new(), ended: false };
    let request = ClientRequestBuilder::new("ws://server.example/v1".parse().unwrap()).with_sub_protocol("tidings.v1");
    let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
    let (mut client, answer) = client_with_config(request, echo, Some(config)).unwrap();
    assert_eq!(answer.status(), 101);
    for len in [0usize, 1, 125, 126, 127, 4096, 65_535, 65_536, 300_000] {
        let payload = vec![len as u8; len];
        client.send(Message::binary(payload.clone())).unwrap();
        if len > 0 {
            assert_eq!(client.read().unwrap(), Message::binary(payload), "{len} bytes");
        }
    }
    client.send(Message::Ping(vec![1, 2, 3].into())).unwrap();
    assert_eq!(client.read().unwrap(), Message::Pong(vec![1, 2, 3].into()));
    client.close(None).unwrap();
    assert_eq!(client.read().unwrap(), Message::Close(None));
    assert!(matches!(client.read(), Err(tungstenite::Error::ConnectionClosed)));
}

/// What the server makes of its side, the other implementation reads.
#[test]
fn what_is_sealed_is_read_by_another_implementation() {
    for len in [1usize, 125, 126, 65_535, 65_536, 100_000] {
        let mut out = vec![7; len];
        WebSocket::default().seal(&mut out, Last::Yes);
        let mut client = Other::from_raw_socket(Cursor::new(out), Role::Client, None);
        assert_eq!(client.read().unwrap(), Message::binary(vec![7; len]));
        assert!(matches!(client.read().unwrap(), Message::Close(Some(close)) if u16::from(close.code) == 1000));
    }
}
