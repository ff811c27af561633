//! What an idle connection keeps of the server's memory, in each of the ways to it.

#![allow(unsafe_code, reason = "a global allocator that counts")]

mod counting;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use counting::{BYTES, Counting, MEASURING};
use tidings::ServerConfig;
use tidings_client::{Event, blocking::Client};
use tidings_tests::{
    Serving,
    serving::{Way, small},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONNECTIONS: u32 = 64;

/// Devices of one user that were let in and have nothing to say, until nothing is on its way to any of them.
fn come(serving: &Serving, way: Way, user: &str) -> Vec<Client> {
    let open = |device| {
        let mut client = serving.client_by(way, user, device);
        let until = Instant::now() + Duration::from_secs(20);
        while client.poll(Duration::from_millis(5)).unwrap() != Some(Event::Synced) {
            assert!(Instant::now() < until, "{way:?}: {:?}", client.failure());
        }
        client
    };
    (1..=CONNECTIONS).map(open).collect()
}

/// The bytes that each of [`CONNECTIONS`] keeps while it has nothing to say. What the server allocates once, such as
/// the buffer of a second batch where the disk was slow, falls into one of three rounds at most, and is freed in
/// another: the middle one counts.
fn bytes_each(serving: &Serving, way: Way) -> i64 {
    let mut here = Vec::new();
    let mut rounds = ["bob", "carol", "dave"].map(|user| {
        BYTES.store(0, Ordering::SeqCst);
        MEASURING.store(true, Ordering::SeqCst);
        here.push(come(serving, way, user));
        MEASURING.store(false, Ordering::SeqCst);
        BYTES.load(Ordering::SeqCst) / i64::from(CONNECTIONS)
    });
    rounds.sort_unstable();
    rounds[1]
}

/// TLS keeps its keys, and buffers go back when they are empty: 4 KiB more than a raw connection are the most.
#[test]
fn an_idle_connection_keeps_no_buffers() {
    // What each turn allocates for a moment is freed by the time that all are there.
    let mut kept = Vec::new();
    for way in Way::ALL {
        let mut config = ServerConfig { cores: vec![0], ..small() };
        config.tls.self_signed = true;
        config.limits.idle_timeout_s = 600;
        let serving = Serving::start(config);
        // Buffers that are used again are there then.
        drop(come(&serving, way, "alice"));
        let gone = |serving: &Serving| serving.server().shared().counter("sessions_closed");
        let until = Instant::now() + Duration::from_secs(20);
        while gone(&serving) < u64::from(CONNECTIONS) && Instant::now() < until {
            std::thread::yield_now();
        }
        assert!(gone(&serving) >= u64::from(CONNECTIONS), "they do not go");
        let each = bytes_each(&serving, way);
        println!("{way:?}: {each} bytes an idle connection");
        kept.push(each);
    }
    let [raw, tls, websocket, both] = kept.try_into().unwrap();
    assert!((1..1_500).contains(&raw), "{raw} bytes");
    assert!(websocket - raw < 512, "a WebSocket keeps {} more", websocket - raw);
    assert!((1_000..4_096).contains(&(tls - raw)), "TLS keeps {} more", tls - raw);
    assert!(both - raw < 4_608, "both keep {} more", both - raw);
}
