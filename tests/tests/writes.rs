//! A log that is written with an fdatasync behind each write is the log that O_DSYNC writes.

use std::time::{Duration, Instant};

use tidings::sync::SyncSetting;
use tidings_client::{Event, UserId};
use tidings_tests::{Serving, serving::small};

const MESSAGES: u64 = 400;
/// Several segments in all.
const LEN: usize = 32 << 10;

#[test]
fn what_is_written_in_one_way_is_read_and_gone_on_with_in_the_other() {
    let mut config = small();
    config.log.sync = SyncSetting::Fdatasync;
    let mut serving = Serving::start(config);
    let said = |serving: &Serving| serving.server().sync().to_string();
    assert_eq!(said(&serving), "fdatasync (log.sync says so)");
    let bob = UserId::derive("default", "bob");
    for (sync, says) in [(SyncSetting::Dsync, "O_DSYNC"), (SyncSetting::Fdatasync, "fdatasync")] {
        let mut alice = serving.client("alice", 1);
        let until = Instant::now() + Duration::from_secs(60);
        for nth in 0..MESSAGES {
            alice.session().send(bob, &[nth as u8; LEN]);
            while alice.session().save().is_none_or(|state| state.outbox.len() > 32) {
                assert!(Instant::now() < until, "{:?}", alice.failure());
                alice.poll(Duration::from_millis(5)).unwrap();
            }
        }
        while !alice.session().is_flushed() {
            assert!(Instant::now() < until, "{:?}", alice.failure());
            alice.poll(Duration::from_millis(5)).unwrap();
        }
        drop(alice);
        serving.restart_with(|config| config.log.sync = sync);
        assert!(said(&serving).starts_with(says), "{}", said(&serving));
    }
    let (mut reader, mut got) = (serving.client("bob", 1), 0);
    let until = Instant::now() + Duration::from_secs(60);
    while got < 2 * MESSAGES {
        assert!(Instant::now() < until, "{got}: {:?}", reader.failure());
        if let Some(Event::Message(message)) = reader.poll(Duration::from_millis(5)).unwrap() {
            let nth = (message.seq.0 - 1) % MESSAGES;
            assert_eq!((message.seq.0, message.payload), (got + 1, vec![nth as u8; LEN]));
            got += 1;
        }
    }
}
