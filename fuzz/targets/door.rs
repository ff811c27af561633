//! The door, as the first to see what a peer sends: first bytes of all kinds, requests for WebSockets, frames of WebSockets, TLS. However bytes are
//! cut, the same comes of them, and what is said is bounded.
#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use tidings_door::{
    Door, Last, Place, Rules, Speaks, sniff,
    tls::{Certificates, Tickets, Versions, certified, server_config},
};

fn rules() -> &'static Rules {
    static RULES: OnceLock<Rules> = OnceLock::new();
    RULES.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(vec!["x".into()]).expect("a certificate");
        let certified = certified(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).expect("a pair");
        let tickets = Arc::new(Tickets::new(&[1; 32], || 1_790_000_000));
        let tls = server_config(Arc::new(Certificates::new(certified)), tickets, Versions::Tls12And13).expect("TLS");
        let spoken = vec![Speaks::Raw, Speaks::Http];
        Rules { tls: Some(tls), plain: spoken.clone(), sealed: spoken, ..Rules::default() }
    })
}

/// What comes of bytes in pieces: the stream, whether it ended, and what a WebSocket says at the end.
fn run(speaks: Speaks, pieces: &[&[u8]]) -> (Vec<u8>, bool, Vec<u8>) {
    let mut door = Door::new(speaks, rules()).expect("there is a certificate");
    let (mut stream, mut scratch, mut ended) = (Vec::new(), Vec::new(), false);
    for piece in pieces {
        let mut piece = piece.to_vec();
        let opened = door.open(&mut piece, &mut scratch, rules());
        match opened.place {
            Place::Here(range) => stream.extend_from_slice(&piece[range]),
            Place::Scratch(range) => stream.extend_from_slice(&scratch[range]),
        }
        ended |= opened.end.is_some();
        if ended {
            break;
        }
    }
    let said = door.seal(&mut Vec::new(), Last::Yes, Vec::new());
    assert!(said.len() < 4096 && !door.has_output(Last::Yes));
    (stream, ended, said)
}

fuzz_target!(|input: &[u8]| {
    let Some((cut, bytes)) = input.split_first() else { return };
    let Some(speaks @ (Speaks::Tls | Speaks::Http)) = sniff(bytes) else { return };
    let whole = run(speaks, &[bytes]);
    assert!(whole.0.len() <= bytes.len());
    let at = (*cut as usize).min(bytes.len());
    let pieces: Vec<_> = bytes[at..].chunks(1 + *cut as usize % 7).collect();
    let parts = run(speaks, &[&[&bytes[..at]][..], &pieces].concat());
    if speaks == Speaks::Http {
        assert_eq!(parts, whole, "cut at {at}");
    } else {
        assert_eq!((parts.0, parts.1), (whole.0, whole.1), "cut at {at}");
    }
});
