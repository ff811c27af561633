//! What a message and a connection may take: system calls, bytes on the wire, bytes on the disk, bytes of memory. Counted, not
//! timed; the bounds are a little above what was measured, so that a change that takes more is seen.

#![allow(unsafe_code, reason = "a global allocator that counts")]

mod counting;

use std::sync::atomic::Ordering;

use counting::{BYTES, Counting, MEASURING};
use tidings::ServerConfig;
use tidings_client::{DeviceId, UserId};
use tidings_tests::{Raw, Serving, raw::send_bytes, serving::small};
use tidings_wire::{ConversationId, Kind, Seq, frames::Delivered, limits};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One reactor, on which nobody is slowed down.
fn serving() -> Serving {
    let config = ServerConfig { cores: vec![0], ..small() };
    let limits = tidings::config::LimitSettings {
        user_per_second: 1_000_000,
        user_burst: 1_000_000,
        address_per_second: 100_000,
        address_burst: 100_000,
        ..config.limits
    };
    Serving::start(ServerConfig { limits, ..config })
}

fn session(serving: &Serving, token: &str, device: u32) -> Raw {
    let mut raw = serving.raw();
    raw.hello(token.as_bytes(), DeviceId(device));
    raw.expect_welcome();
    raw.resume();
    raw
}

/// Messages of a window, as long as most are.
const WINDOW: u64 = limits::WINDOW as u64;
const PAYLOAD: [u8; 1024] = [7; 1024];
const ROUNDS: u64 = 100;

/// A window of messages in one write; then everything that comes of it at either end: bytes sent and received.
fn window(alice: &mut Raw, bob: &mut Raw, first: u64) -> (usize, usize) {
    let conversation = ConversationId::direct(UserId::derive("default", "alice"), UserId::derive("default", "bob"));
    let last = first + WINDOW - 1;
    let sends: Vec<u8> = (first..=last).flat_map(|id| send_bytes("alice", "bob", id, id - 1, &PAYLOAD)).collect();
    alice.write(&sends);
    let (mut sent, mut received, mut messages) = (sends.len(), 0, 0);
    while messages < WINDOW {
        let frame = bob.next().expect("a message");
        received += frame.size();
        messages += u64::from(frame.kind() == Kind::Message);
    }
    let delivered = tidings_tests::raw::bytes_of(3, &Delivered { conversation, upto: Seq(last) });
    sent += delivered.len();
    bob.write(&delivered);
    let (mut answers, mut receipts) = (0, 0);
    while answers < WINDOW || receipts == 0 {
        let frame = alice.next().expect("an answer");
        received += frame.size();
        answers += u64::from(frame.kind() == Kind::Sent);
        receipts += u64::from(frame.kind() == Kind::Receipt);
    }
    (sent, received)
}

#[test]
fn a_message_of_a_full_window_takes_few_calls_and_bytes() {
    let serving = serving();
    let mut alice = session(&serving, &serving.token("alice"), 1);
    let mut bob = session(&serving, &serving.token("bob"), 1);
    window(&mut alice, &mut bob, 1);
    let shared = serving.server().shared();
    let count = |name| shared.counter(name);
    let before = ["ring_calls", "log_bytes", "messages_committed"].map(count);
    let (mut sent, mut received) = (0, 0);
    for round in 1..=ROUNDS {
        let bytes = window(&mut alice, &mut bob, round * WINDOW + 1);
        (sent, received) = (sent + bytes.0, received + bytes.1);
    }
    let after = ["ring_calls", "log_bytes", "messages_committed"].map(count);
    let [calls, disk, messages] = [0, 1, 2].map(|at| (after[at] - before[at]) as f64);
    assert_eq!(messages as u64, ROUNDS * WINDOW);
    let each = |what: f64| what / messages;
    let (calls, disk, wire) = (each(calls), each(disk), each((sent + received) as f64));
    println!("a message: {calls:.3} system calls, {disk:.0} bytes on the disk, {wire:.0} bytes on the wire");
    assert!(calls < CALLS && disk < DISK && wire < WIRE, "{calls} calls, {disk} B on the disk, {wire} B on the wire");
}

/// A round is at least: receive, write, its end, send, and the same for DELIVERED; how many pieces 70 KB come in is TCP's choice.
const CALLS: f64 = 0.6;
/// 1,024 bytes of payload, its record, its share of what two homes need, padding to blocks.
const DISK: f64 = 1_400.0;
/// SEND, SENT and MESSAGE with 1,024 bytes twice, 48 bytes of which say what a message does; receipts are shared by the window.
const WIRE: f64 = 2_460.0;

#[test]
fn an_idle_connection_takes_few_bytes() {
    const DEVICES: u32 = 8;
    // So many that a buffer of 256 KiB, which the log has for a while when the disk is slow, makes no difference to each.
    const CONNECTIONS: usize = 4_096;
    let serving = serving();
    let user = |user: usize| serving.token(&format!("user{user}"));
    let first: Vec<Raw> = (1..=DEVICES).map(|device| session(&serving, &user(0), device)).collect();
    MEASURING.store(true, Ordering::SeqCst);
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for at in 1..=CONNECTIONS / DEVICES as usize {
        let token = user(at);
        connections.extend((1..=DEVICES).map(|device| session(&serving, &token, device)));
    }
    MEASURING.store(false, Ordering::SeqCst);
    let each = BYTES.load(Ordering::SeqCst) as f64 / CONNECTIONS as f64;
    println!("{each:.0} bytes of the reactor's memory for each of {CONNECTIONS} connections");
    assert!((100.0..CONNECTION).contains(&each), "{each} bytes a connection");
    drop((first, connections));
}

/// Connection, session, the device's part of its home and what is remembered of it, an eighth of the home itself, and tables as large as they grow.
const CONNECTION: f64 = 660.0;
