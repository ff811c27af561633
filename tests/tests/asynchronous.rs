//! The SDK's shell for tokio against a server that goes away: over every way, and with `next` dropped at any moment.

use std::time::Duration;

use tidings_client::{Content, DEFAULT_TENANT, Event, Seq, UserId, asynchronous::Client};
use tidings_tests::{
    Serving,
    serving::{Way, small},
};
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);

fn user(name: &str) -> UserId {
    UserId::derive(DEFAULT_TENANT, name)
}

/// Awaits both until the reader has so many messages; each `next` is dropped again and again before it is done.
async fn settle(writer: &mut Client, reader: &mut Client, got: &mut Vec<(Seq, Vec<u8>)>, wanted: usize) {
    let (end, mut patience) = (Instant::now() + PATIENCE, 0);
    while got.len() < wanted {
        assert!(Instant::now() < end, "{} of {wanted} came; {:?} {:?}", got.len(), writer.failure(), reader.failure());
        patience = (patience + 7) % 40;
        tokio::select! {
            event = reader.next() => if let Some(Event::Message(message)) = event {
                got.push((message.seq, message.payload));
            },
            event = writer.next() => assert!(event.is_some(), "the writer was sent away"),
            () = sleep(Duration::from_micros(50 * patience)) => {}
        }
    }
}

#[tokio::test]
async fn people_chat_over_every_way_and_a_restart_whenever_next_is_dropped() {
    for way in Way::ALL {
        let mut serving = Serving::start_for(way, small());
        let client =
            |serving: &Serving, name: &str| Client::new(serving.server_by(way), serving.client_config(name, 1));
        let (mut alice, mut bob) = (client(&serving, "alice"), client(&serving, "bob"));
        let (mut got, mut sent) = (Vec::new(), Vec::new());
        for round in 0..2u8 {
            for size in [1, 200, 16_384, 65_536, 40_000] {
                sent.push(vec![b'a' + round; size]);
                alice.session().post_to(user("bob"), Content::text(sent.last().unwrap()));
            }
            settle(&mut alice, &mut bob, &mut got, sent.len()).await;
            if round == 0 {
                serving.restart();
                // It listens elsewhere now.
                alice.set_server(serving.server_by(way));
                bob.set_server(serving.server_by(way));
            }
        }
        let expected: Vec<_> = sent.into_iter().enumerate().map(|(at, text)| (Seq(at as u64 + 1), text)).collect();
        assert!(got == expected, "{way:?}");
        // Who says goodbye is told nothing more.
        alice.session().leave();
        let end = timeout(PATIENCE, async { while alice.next().await.is_some() {} }).await;
        assert!(end.is_ok(), "{way:?}");
    }
}

#[tokio::test]
async fn a_token_is_fetched_while_messages_go_on_and_a_server_that_is_not_there_is_tried_again() {
    let serving = Serving::start(small());
    let short =
        |name: &str| serving.server().issuer().unwrap().issue(name, None, tidings_tests::serving::now(), 3).unwrap();
    let (first, second) = (short("carol"), serving.token("carol"));
    let mut config = serving.client_config("carol", 1);
    config.token = first.into_bytes();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&asked);
    let mut carol = Client::with_tokens(serving.server().addr(), config, move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let token = second.clone();
        async move {
            sleep(Duration::from_millis(20)).await;
            Some(token.into_bytes())
        }
    });
    let until = Instant::now() + Duration::from_secs(5);
    let mut lost = 0;
    while Instant::now() < until {
        match timeout(Duration::from_millis(10), carol.next()).await {
            Ok(Some(Event::Disconnected | Event::TokenNeeded)) => lost += 1,
            Ok(Some(Event::Rejected { code })) => panic!("{code}"),
            _ => {}
        }
    }
    assert_eq!(
        (lost, asked.load(std::sync::atomic::Ordering::Relaxed)),
        (0, 1),
        "it went on past the end of its first token"
    );
    let mut nobody = Client::new(
        "127.0.0.1:1".parse::<tidings_client::blocking::Server>().unwrap(),
        serving.client_config("dave", 1),
    );
    assert!(timeout(Duration::from_millis(300), nobody.next()).await.is_err());
    assert!(nobody.failure().is_some());
    nobody.set_server(serving.server().addr());
    let connected = timeout(PATIENCE, async { while nobody.next().await != Some(Event::Connected) {} }).await;
    assert!(connected.is_ok());
}
