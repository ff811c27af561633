//! What a program keeps between its runs, in the words of serde: it goes on where it was, and sends what it had not sent.

use std::time::{Duration, Instant};

use tidings_client::{Config, Event, SavedState, UserId, blocking::Client};
use tidings_tests::{Serving, serving::small};

/// A program of a user, with what it kept.
fn program(serving: &Serving, name: &str, kept: Option<&str>) -> Client {
    let mut config = Config::new(name, 7, serving.token(name).into_bytes());
    config.state = kept.map_or_else(SavedState::default, |kept| serde_json::from_str(kept).unwrap());
    Client::new(serving.server().addr(), config)
}

fn until(client: &mut Client, mut done: impl FnMut(&mut Client, Option<Event>) -> bool) {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < patience, "it takes too long");
        let event = client.poll(Duration::from_millis(20)).unwrap();
        if done(client, event) {
            return;
        }
    }
}

#[test]
fn a_saved_state_goes_through_json_and_the_program_goes_on_where_it_was() {
    let serving = Serving::start(small());
    let (alice, bob) = (UserId::derive("default", "alice"), UserId::derive("default", "bob"));
    let mut sender = program(&serving, "alice", None);
    for text in ["one", "two"] {
        sender.session().send(bob, text.as_bytes());
    }
    until(&mut sender, |client, _| client.session().is_flushed());
    let mut reader = program(&serving, "bob", None);
    let mut texts = Vec::new();
    until(&mut reader, |client, event| {
        if let Some(Event::Message(message)) = event {
            texts.push(String::from_utf8(message.payload).unwrap());
        }
        texts.len() == 2 && client.session().save().is_some()
    });
    // It writes something, and ends before that is sent.
    reader.session().send(alice, b"an answer");
    let state = reader.session().save().unwrap();
    let kept = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<SavedState>(&kept).unwrap(), state);
    assert_eq!((state.outbox.len(), state.conversations.len()), (1, 1));
    drop(reader);

    sender.session().send(bob, b"three");
    until(&mut sender, |client, _| client.session().is_flushed());
    let mut reader = program(&serving, "bob", Some(&kept));
    let mut came = Vec::new();
    until(&mut reader, |client, event| {
        if let Some(Event::Message(message)) = event {
            came.push(String::from_utf8(message.payload).unwrap());
        }
        client.session().is_flushed() && came.iter().any(|text| text == "three")
    });
    assert!(!came.contains(&"one".to_owned()) && !came.contains(&"two".to_owned()), "{came:?}");
    until(&mut sender, |_, event| matches!(event, Some(Event::Message(message)) if message.payload == b"an answer"));
}
