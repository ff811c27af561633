//! A client that knows several servers.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use tidings_client::{
    Config,
    blocking::{Client, Servers},
};

/// Where a client cannot connect, or is not let in, it tries the next one.
#[test]
fn the_next_server_is_tried_where_one_does_not_let_its_client_in() {
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (hangs_up, nobody, last) = (listen(), listen(), listen());
    let [first, second, third] = [&hangs_up, &nobody, &last].map(|listener| listener.local_addr().unwrap());
    drop(nobody);
    let accepts = std::thread::spawn(move || {
        drop(hangs_up.accept().unwrap());
        last.accept().unwrap()
    });
    let config = Config::new("alice", 1, b"token".to_vec());
    let mut client = Client::new(Servers::from(first).or(second).or(third), config);
    let until = Instant::now() + Duration::from_secs(30);
    while !accepts.is_finished() && Instant::now() < until {
        client.poll(Duration::from_millis(20)).unwrap();
    }
    assert!(accepts.is_finished(), "the third was not tried");
}
