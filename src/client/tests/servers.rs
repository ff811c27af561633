//! A client that knows several servers.

use std::{
    net::TcpListener,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tidings_client::{
    Config,
    blocking::{Client, Servers},
};

fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A client of these tries, for a minute at most, until somebody is through.
fn try_until<T>(servers: Servers, until: &JoinHandle<T>) {
    let mut client = Client::new(servers, Config::new("alice", 1, b"token".to_vec()));
    let begun = Instant::now();
    while !until.is_finished() && begun.elapsed() < Duration::from_secs(60) {
        client.poll(Duration::from_millis(20)).unwrap();
    }
    assert!(until.is_finished(), "the last one was not tried");
}

/// Where a client cannot connect, or is not let in, it tries the next one.
#[test]
fn the_next_server_is_tried_where_one_does_not_let_its_client_in() {
    let (hangs_up, nobody, last) = (listen(), listen(), listen());
    let [first, second, third] = [&hangs_up, &nobody, &last].map(|listener| listener.local_addr().unwrap());
    drop(nobody);
    let accepts = std::thread::spawn(move || {
        drop(hangs_up.accept().unwrap());
        last.accept().unwrap()
    });
    try_until(Servers::from(first).or(second).or(third), &accepts);
}

/// The same where somebody takes the connection, and then says nothing.
#[test]
fn the_next_server_is_tried_where_one_never_answers() {
    let (silent, last) = (listen(), listen());
    let [first, second] = [&silent, &last].map(|listener| listener.local_addr().unwrap());
    let accepts = std::thread::spawn(move || last.accept().unwrap());
    try_until(Servers::from(first).or(second), &accepts);
}
