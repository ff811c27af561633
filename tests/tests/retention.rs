//! `retention.max_bytes`: whole oldest segments go, after the live state in them was written again.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tidings::ServerConfig;
use tidings_client::{Event, Seq, UserId, blocking::Client};
use tidings_core::OverBudget;
use tidings_tests::{Serving, raw::send_bytes, serving::small};
use tidings_wire::{ErrorCode, Kind, frames::Sent};

/// Files that go while they are counted count nothing.
fn bytes_below(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
    let len = |entry: std::fs::DirEntry| match entry.path().is_dir() {
        true => bytes_below(&entry.path()),
        false => entry.metadata().map_or(0, |metadata| metadata.len()),
    };
    entries.map(len).sum()
}

fn send_all(client: &mut Client, to: &str, count: usize, payload: &[u8]) {
    for _ in 0..count {
        client.session().send(UserId::derive("default", to), payload);
    }
    let until = Instant::now() + Duration::from_secs(60);
    while !client.session().is_flushed() {
        assert!(Instant::now() < until, "everything is sent in time");
        client.poll(Duration::from_millis(20)).unwrap();
    }
}

#[test]
fn a_long_run_fits_the_disk_and_forgets_nothing_but_old_messages() {
    const MAX: u64 = 32 << 20;
    let mut config = ServerConfig { cores: vec![0], ..small() };
    config.retention.max_bytes = MAX;
    (config.limits.user_per_second, config.limits.user_burst) = (1_000_000, 1_000_000);
    let mut serving = Serving::start(config);

    // A conversation whose only records are in the first segment.
    let mut early = serving.session("early", 1);
    early.write(&send_bytes("early", "late", 10, 0, b"first of all"));
    assert_eq!(early.next().unwrap().fixed::<Sent>().seq, Seq(1));
    drop(early);

    let mut loud = serving.client("loud", 1);
    send_all(&mut loud, "listener", 2000, &[7; 60_000]); // 120 MB through 32 MB
    drop(loud);
    let log = serving.dir.path().join("data/log-000");
    let until = Instant::now() + Duration::from_secs(20);
    while bytes_below(&log) > MAX {
        assert!(Instant::now() < until, "{} bytes are kept", bytes_below(&log));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(serving.server().shared().counter("log_segments_dropped") > 10);
    assert!(serving.server().shared().counter("states_evacuated") > 0);

    for restarted in [false, true] {
        // Numbering and the memory of attempts outlive the segments that they were in.
        let mut early = serving.session("early", 1);
        early.write(&send_bytes("early", "late", 10, 0, b"first of all"));
        assert_eq!(early.next().unwrap().fixed::<Sent>().seq, Seq(1), "the first answer, restarted: {restarted}");
        let id = 20 + u64::from(restarted);
        early.write(&send_bytes("early", "late", id, if restarted { 20 } else { 10 }, b"next"));
        assert_eq!(early.next().unwrap().fixed::<Sent>().seq, Seq(2 + u64::from(restarted)));
        drop(early);

        // A new device is told what is gone, and gets the rest without a gap.
        let mut listener = serving.client("listener", 5 + u32::from(restarted));
        let mut lost = 0;
        let mut next = Seq(1);
        let until = Instant::now() + Duration::from_secs(30);
        while next != Seq(2001) {
            assert!(Instant::now() < until, "the listener stopped at {next}");
            match listener.poll(Duration::from_millis(20)).unwrap() {
                Some(Event::Lost { from, upto, .. }) => {
                    // In pieces: some of what it has not received outlived its segment.
                    assert_eq!(from, next);
                    lost += upto.0 - from.0 + 1;
                    next = upto.next();
                }
                Some(Event::Message(message)) => {
                    assert_eq!(message.seq, next);
                    next = next.next();
                }
                _ => {}
            }
        }
        assert!(lost > 1000, "{lost}");
        drop(listener);
        serving.restart();
    }

    // What was written before all of that is there for whom it was, who never came.
    let mut late = serving.client("late", 1);
    let mut texts = Vec::new();
    let until = Instant::now() + Duration::from_secs(30);
    while texts.len() < 3 {
        assert!(Instant::now() < until, "{texts:?}");
        match late.poll(Duration::from_millis(20)).unwrap() {
            Some(Event::Message(message)) => texts.push((message.seq.0, message.payload.to_vec())),
            Some(Event::Lost { from, upto, .. }) => panic!("{from:?} to {upto:?} are gone"),
            _ => {}
        }
    }
    assert_eq!(texts, [(1, b"first of all".to_vec()), (2, b"next".to_vec()), (3, b"next".to_vec())]);
    assert!(serving.server().shared().counter("undelivered_kept") == 0, "nothing was dropped since the start");
}

/// Segments of an earlier run are dropped and their files used again, also when the settings say another length since.
#[test]
fn segments_of_an_earlier_run_are_recycled() {
    let mut config = ServerConfig { cores: vec![0], ..small() };
    config.retention.max_bytes = 64 << 20;
    let mut serving = Serving::start(config);
    for (round, segment_bytes) in [4 << 20, 4 << 20, 8 << 20, 4 << 20].into_iter().enumerate() {
        serving.restart_with(|config| config.log.segment_bytes = segment_bytes);
        let mut loud = serving.client("loud", 1);
        send_all(&mut loud, "listener", 1500, &[7; 60_000]); // 90 MB through 64 MB
        drop(loud);
        if round > 0 {
            assert!(serving.server().shared().counter("log_segments_dropped") > 5, "round {round}");
        }
    }
    let mut raw = serving.session("loud", 9);
    raw.write(&send_bytes("loud", "listener", 1, 0, b"next"));
    assert_eq!(raw.next().unwrap().fixed::<Sent>().seq, Seq(4 * 1500 + 1));
}

/// Shards move between logs (1, 2, 1, 2 reactors) while retention drops segments of all of them, in whatever order; every
/// start still understands what is left.
#[test]
fn retention_and_moving_shards_together() {
    let mut config = ServerConfig { cores: vec![0], ..small() };
    config.retention.max_bytes = 64 << 20;
    let mut serving = Serving::start(config);
    let pairs = 6;
    for (round, cores) in [vec![0], vec![0, 1], vec![0], vec![0, 1], vec![0]].into_iter().enumerate() {
        serving.restart_with(|config| config.cores = cores.clone());
        for pair in 0..pairs {
            let mut client = serving.client(&format!("a{pair}"), 1);
            send_all(&mut client, &format!("b{pair}"), 250, &[7; 60_000]); // 90 MB in all, through 64 MB
        }
        for pair in 0..pairs {
            let (from, to) = (format!("a{pair}"), format!("b{pair}"));
            let mut raw = serving.session(&from, 100 + round as u32);
            raw.write(&send_bytes(&from, &to, 1, 0, b"count"));
            let expected = (round as u64 + 1) * 251;
            assert_eq!(raw.next().unwrap().fixed::<Sent>().seq, Seq(expected), "{from}, round {round}");
        }
    }
}

/// With the settings' own budgets nobody makes what others wrote leave the log: who tries is refused, at a rate that has a time,
/// and an unread message from before is there.
#[test]
fn one_user_cannot_empty_the_log() {
    let mut config = ServerConfig { cores: vec![0], ..small() };
    config.retention.max_bytes = 128 << 20;
    (config.limits.user_bytes, config.limits.address_bytes) = (0, 0);
    (config.limits.user_per_second, config.limits.user_burst) = (1_000_000, 1_000_000);
    let serving = Serving::start(config);
    let mut early = serving.session("early", 1);
    early.write(&send_bytes("early", "late", 10, 0, b"unread"));
    assert_eq!(early.next().unwrap().fixed::<Sent>().seq, Seq(1));

    let mut loud = serving.session("loud", 1);
    let (mut accepted, mut refused) = (0, 0);
    for id in 1..=2000 {
        loud.write(&send_bytes("loud", "listener", id, accepted, &[7; 60_000])); // 120 MB
        let answer = loud.next().unwrap();
        match answer.error() {
            None => accepted = id,
            Some((code, error)) => {
                assert!(code == ErrorCode::BudgetExceeded && error.retry_after_ms > 0, "{code}");
                refused += 1;
            }
        }
    }
    assert!(refused > 1900, "{refused}");
    assert_eq!(serving.server().shared().counter("log_segments_dropped"), 0);
    let named = serving.server().shared().next_over_budget();
    assert_eq!(named, Some(OverBudget::User(UserId::derive("default", "loud"), "loud".into())));
    let mut late = serving.client("late", 1);
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Instant::now() < until, "the unread message comes");
        match late.poll(Duration::from_millis(20)).unwrap() {
            Some(Event::Message(message)) => break assert_eq!(message.payload, b"unread"),
            Some(Event::Lost { .. }) => panic!("it is lost"),
            _ => {}
        }
    }
}

/// Conversations stay when their messages go. Once they take so much of the log that it would do nothing but write them again, no others begin, what is there
/// goes on, and the directory stays within its setting.
#[test]
fn conversations_that_would_fill_the_log_do_not_begin() {
    const MAX: u64 = 24 << 20;
    let mut config = ServerConfig { cores: vec![0], ..small() };
    config.retention.max_bytes = MAX;
    let limits = &mut config.limits;
    (limits.user_per_second, limits.user_burst, limits.user_conversations) = (1_000_000, 1_000_000, u32::MAX);
    (limits.user_bytes, limits.address_bytes) = (u64::MAX / 4, u64::MAX / 4);
    let serving = Serving::start(config);
    let mut mallory = serving.session("mallory", 1);
    let (mut begun, mut refused) = (0, None);
    while refused.is_none() {
        assert!(begun < 200_000, "{begun} conversations were begun in {MAX} bytes");
        let next = begun + 1..begun + 1 + 64;
        let sends: Vec<u8> =
            next.clone().flat_map(|id| send_bytes("mallory", &format!("nobody {id}"), id, 0, b"x")).collect();
        mallory.write(&sends);
        for _ in next {
            let answer = mallory.next().expect("an answer");
            match answer.error() {
                Some((code, error)) => refused = refused.or(Some((code, error.retry_after_ms))),
                None => begun += u64::from(answer.kind() == Kind::Sent),
            }
        }
    }
    assert_eq!(refused, Some((ErrorCode::NoRoom, 60_000)), "after {begun}");
    let (share, _) = serving.server().shared().fullness();
    assert!(share >= 50, "{share} %");
    let log = serving.dir.path().join("data/log-000");
    let until = Instant::now() + Duration::from_secs(20);
    while bytes_below(&log) > MAX {
        assert!(Instant::now() < until, "{} bytes are kept", bytes_below(&log));
        std::thread::yield_now();
    }
    // What is there goes on.
    mallory.write(&send_bytes("mallory", "nobody 1", 1_000_000, 1, b"y"));
    assert_eq!(mallory.next().expect("an answer").fixed::<Sent>().seq, Seq(2));
}
