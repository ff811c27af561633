//! Steady state allocates nothing per message on the server's hot path: receive, sequence, log, SENT, push, receipts.

#![allow(unsafe_code, reason = "a global allocator that counts")]

mod counting;

use std::{sync::atomic::Ordering, time::Duration};

use counting::{ALLOCATIONS, Counting, MEASURING};
use tidings::ServerConfig;
use tidings_client::{Event, UserId, blocking::Client};
use tidings_tests::{Serving, serving::small};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PAIRS: usize = 20;
const MESSAGES: u64 = 100_000;

/// Every pair sends `each` messages one way, with receipts coming back; each client has a thread.
fn chat(clients: &mut [(Client, Client)], each: u64) {
    std::thread::scope(|scope| {
        for (at, (writer, reader)) in clients.iter_mut().enumerate() {
            scope.spawn(move || write(writer, UserId::derive("default", &format!("reader{at}")), each));
            scope.spawn(move || read(reader, each));
        }
    });
}

fn write(client: &mut Client, to: UserId, each: u64) {
    const DEPTH: u64 = 16;
    let (mut sent, mut acked) = (0, 0);
    while acked < each {
        while sent < each && sent - acked < DEPTH {
            client.session().send(to, &[7; 256]);
            sent += 1;
        }
        match client.poll(Duration::from_secs(10)).unwrap() {
            Some(Event::Sent { .. }) => acked += 1,
            Some(Event::Disconnected) => panic!("a client was disconnected"),
            _ => {}
        }
    }
}

fn read(client: &mut Client, each: u64) {
    let mut got = 0;
    while got < each {
        match client.poll(Duration::from_secs(10)).unwrap() {
            Some(Event::Message(_)) => got += 1,
            Some(Event::Disconnected) => panic!("a client was disconnected"),
            _ => {}
        }
    }
}

#[test]
fn a_hundred_thousand_messages_allocate_nothing_each() {
    let config = ServerConfig { cores: vec![0], ..small() };
    let serving = Serving::start(ServerConfig { limits: fast(&config), ..config });
    let pair = |at: usize| (serving.client(&format!("writer{at}"), 1), serving.client(&format!("reader{at}"), 1));
    let mut clients: Vec<_> = (0..PAIRS).map(pair).collect();
    // Until every queue, buffer and table has grown to what this load needs.
    MEASURING.store(true, Ordering::SeqCst);
    chat(&mut clients, 1000);
    assert!(ALLOCATIONS.swap(0, Ordering::SeqCst) > 0, "growing allocates: the reactor's thread is counted");
    chat(&mut clients, MESSAGES / PAIRS as u64);
    MEASURING.store(false, Ordering::SeqCst);
    drop(clients);
    let allocations = ALLOCATIONS.load(Ordering::SeqCst);
    println!("{allocations} allocations of the reactor for {MESSAGES} messages");
    // What is stored of a message takes 12 bytes of an index that grows by pages, and the log grows by segments, whose files
    // are created in the background: a few allocations for thousands of messages, none for one.
    assert!(allocations < MESSAGES / 100, "{allocations} allocations for {MESSAGES} messages");
}

fn fast(config: &ServerConfig) -> tidings::config::LimitSettings {
    tidings::config::LimitSettings { user_per_second: 1_000_000, user_burst: 1_000_000, ..config.limits }
}
