//! Messages that grow while they are written, through a real server: by the SDK, over a restart, and from the command line.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tidings_client::{Content, Event, Message, UserId, blocking::Client, streamed_control::*};
use tidings_tests::{
    Serving, binary,
    serving::{Way, small},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Takes what comes to both until `done` says so; it is given what comes to the one who reads.
fn until(reads: &mut Client, mut writes: Option<&mut Client>, mut done: impl FnMut(&Event) -> bool) -> Vec<Event> {
    let (end, mut seen) = (Instant::now() + PATIENCE, Vec::new());
    while Instant::now() < end {
        if let Some(writes) = writes.as_deref_mut() {
            while let Some(event) = writes.poll(Duration::from_millis(1)).unwrap() {
                assert!(!matches!(event, Event::StreamFailed { .. }), "{event:?}");
            }
        }
        let Some(event) = reads.poll(Duration::from_millis(5)).unwrap() else { continue };
        let is_done = done(&event);
        seen.push(event);
        if is_done {
            return seen;
        }
    }
    panic!("it did not come in time; what came is {seen:?}");
}

/// What the pieces say together.
fn shown(events: &[Event], said: &mut Vec<u8>) {
    for event in events {
        if let Event::Grew { offset, bytes, .. } = event {
            said.truncate(*offset as usize);
            said.extend_from_slice(bytes);
        }
    }
}

#[test]
fn a_message_grows_over_a_restart_of_the_server_and_is_whole_at_the_end() {
    for way in Way::ALL {
        grows_over_a_restart(Serving::start_for(way, small()));
    }
}

fn grows_over_a_restart(mut serving: Serving) {
    let (mut alice, mut bob) = (serving.client("alice", 1), serving.client("bob", 1));
    let stream = alice.session().open_stream_to(UserId::derive("default", "bob"), Content::default());
    let is_open = |event: &Event| matches!(event, Event::Message(Message { control: OPEN, .. }));
    until(&mut bob, Some(&mut alice), is_open);
    let (mut text, mut said) = (Vec::new(), Vec::new());
    for round in 0..3 {
        for word in ["one ", "two ", "three "] {
            text.extend_from_slice(word.as_bytes());
            assert!(alice.session().write_on(stream, word.as_bytes()));
            let mut left = text.len() - said.len();
            let grown = until(&mut bob, Some(&mut alice), |event| {
                if let Event::Grew { bytes, .. } = event {
                    left = left.saturating_sub(bytes.len());
                }
                left == 0
            });
            shown(&grown, &mut said);
        }
        assert_eq!(said, text);
        if round == 1 {
            serving.restart();
            [&mut alice, &mut bob].into_iter().for_each(|client| serving.lead(client));
            until(&mut bob, Some(&mut alice), |event| *event == Event::Connected);
        }
    }
    alice.session().end_stream(stream);
    let is_end = |event: &Event| matches!(event, Event::Message(Message { control: END, .. }));
    let told = until(&mut bob, Some(&mut alice), is_end);
    let Some(Event::Message(end)) = told.last() else { unreachable!("looked at above") };
    assert_eq!((&end.payload, end.was_aborted()), (&text, false));
    // Who comes later gets it whole, once, in its place.
    let mut late = serving.client("bob", 2);
    let told = until(&mut late, None, is_open);
    let Some(Event::Message(opened)) = told.last() else { unreachable!("looked at above") };
    assert_eq!((&opened.payload, opened.has_ended(), opened.seq), (&text, true, end.target));
}

#[test]
fn standard_input_is_a_message_that_grows_while_it_comes() {
    let serving = Serving::start(small());
    let server = serving.server().addr().to_string();
    let mut bob = serving.client("bob", 1);
    let command = |name: &str, user: &str, rest: &[&str]| {
        let mut command = Command::new(binary::tidings());
        command.args([name, "--server", &server, "--user", user, "--token", &serving.token(user)]).args(rest);
        command
    };
    let mut streaming = command("stream", "alice", &["--with", "bob"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut input = streaming.stdin.take().unwrap();
    let mut said = Vec::new();
    for piece in ["Once ", "upon "] {
        input.write_all(piece.as_bytes()).unwrap();
        shown(&until(&mut bob, None, |event| matches!(event, Event::Grew { .. })), &mut said);
    }
    assert_eq!(said, b"Once upon ");
    input.write_all(b"a time\n").unwrap();
    drop(input);
    let output = streaming.wait_with_output().unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success());
    assert_eq!(printed["seq"], 1);

    let history = command("history", "bob", &["--with", "alice", "--json"]).output().unwrap();
    let lines: Vec<Value> =
        history.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let row =
        |line: &Value| (line["kind"].clone(), line["text"].clone(), line["ended"].clone(), line["target"].clone());
    let expected = [
        ("open".into(), "Once upon a time\n".into(), true.into(), Value::Null),
        ("end".into(), "Once upon a time\n".into(), Value::Null, 1.into()),
    ];
    assert_eq!(lines.iter().map(row).collect::<Vec<_>>(), expected);

    // What is longer than a message may be ends before that, and says so; where nobody may write nothing is opened.
    let mut long = command("stream", "alice", &["--with", "bob"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = long.stdin.take().unwrap();
    // It may end before it has read all.
    let _closed = input.write_all(&[b'x'; 70_000]);
    drop(input);
    let output = long.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("longer than a message may be"));
    let group = format!("{}2", "0".repeat(31));
    let refused = command("stream", "alice", &["--group", &group]).stdin(Stdio::null()).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("NOT_MEMBER"), "{refused:?}");
}
