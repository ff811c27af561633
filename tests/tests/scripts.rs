//! What scripts rely on: exit statuses, tokens that nobody sees, attempts that are safe to repeat, bytes that are no text.

use std::{
    process::{Command, Output},
    time::{SystemTime, UNIX_EPOCH},
};

use tidings_tests::commands::{Node, tidings};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_script_can_tell_how_a_command_ended() {
    let node = Node::start();
    let status = |arguments: &[&str]| {
        let output = node.run(arguments, "");
        (output.status.code(), said(&output))
    };
    assert_eq!(status(&["send", "--user", "alice", "--to", "bob", "hello"]).0, Some(0));
    let (code, text) = status(&["send", "--user", "alice", "--token", "nonsense", "--to", "bob", "hello"]);
    assert!(code == Some(4) && text.contains("TOKEN_INVALID"), "{code:?}: {text}");
    let (code, text) = status(&["history", "--user", "carol", "--with", "bob"]);
    assert!(code == Some(5) && text.contains("no conversation"), "{code:?}: {text}");
    let (code, text) = status(&["erase", "--user", "alice", "--with", "bob", "7"]);
    assert!(code == Some(5) && text.contains("no such message"), "{code:?}: {text}");
    assert_eq!(status(&["send", "--user", "alice", "hello"]).0, Some(2), "to whom?");
    let nowhere = ["send", "--server", "127.0.0.1:9", "--data", node.launch.data.to_str().unwrap()];
    let mut command = Command::new(&node.launch.binary);
    let output = command.args(nowhere).args(["--user", "alice", "--to", "bob", "hello"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
}

#[test]
fn a_token_need_not_be_an_argument() {
    let node = Node::start();
    let data = node.launch.data.to_str().unwrap();
    let (ok, token, _) = tidings(&["token", "--data", data, "--user", "alice"]);
    assert!(ok);
    let file = node.dir.path().join("token");
    std::fs::write(&file, format!("{}\n", token.trim())).unwrap();
    let addr = node.server.as_ref().unwrap().addr().to_string();
    let send = |file: Option<&str>, environment: Option<&str>| {
        let mut command = Command::new(&node.launch.binary);
        command.args(["send", "--server", &addr, "--data", "/nonexistent", "--user", "alice", "--to", "bob"]);
        command.args(file.map(|file| ["--token-file", file]).into_iter().flatten());
        command.envs(environment.map(|token| ("TIDINGS_TOKEN", token)));
        command.arg("hello").output().unwrap()
    };
    assert!(send(None, Some(token.trim())).status.success());
    assert!(send(file.to_str(), None).status.success());
    assert!(send(file.to_str(), Some("nonsense")).status.success(), "the file says it");
    let output = send(Some("/nonexistent"), None);
    assert!(!output.status.success() && said(&output).contains("--token-file /nonexistent"), "{}", said(&output));
    let output = send(None, None);
    assert!(said(&output).contains("no key to sign with in /nonexistent"), "{}", said(&output));
}

#[test]
fn an_attempt_that_is_numbered_is_sent_once() {
    let node = Node::start();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let (id, next) = (now.to_string(), (now + 1).to_string());
    let send = |id: &str, text: &str| {
        let sent = node.lines(&["send", "--user", "alice", "--device", "3", "--to", "bob", "--id", id, text], "");
        assert_eq!(sent[0]["id"].as_u64().unwrap().to_string(), id);
        sent[0]["seq"].as_u64().unwrap()
    };
    assert_eq!((send(&id, "once"), send(&id, "once"), send(&next, "again"), send(&next, "again")), (1, 1, 2, 2));
    let output = node.run(&["send", "--user", "alice", "--to", "bob", "--id", &id, "x"], "");
    assert_eq!(output.status.code(), Some(2), "without a device of its own nothing is safe");
    let (addr, data) = (node.server.as_ref().unwrap().addr().to_string(), node.launch.data.clone());
    let mut command = Command::new(&node.launch.binary);
    command.args(["send", "--server", &addr, "--user", "alice", "--to", "bob", "--id", &next, "again", "--data"]);
    let output = command.arg(data).env("TIDINGS_DEVICE", "3").output().unwrap();
    let sent: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(sent["seq"], 2, "the environment says which device it is: {}", said(&output));
    let output = node.run(&["send", "--user", "alice", "--device", "3", "--to", "bob", "--id", "0", "x"], "");
    assert!(said(&output).contains("numbered from 1 on"), "{}", said(&output));
    let said = node.lines(&["history", "--user", "bob", "--with", "alice", "--json"], "");
    let rows: Vec<_> = said.iter().map(|line| (line["id"].to_string(), line["text"].as_str().unwrap())).collect();
    assert_eq!(rows, [(id, "once"), (next, "again")]);
    assert_eq!(said[0]["to"], tidings_client::UserId::derive("default", "bob").to_string());
}

#[test]
fn what_is_no_text_goes_through_as_it_is_and_each_refused_line_is_named() {
    let node = Node::start();
    let sent = node.lines(&["send", "--user", "alice", "--to", "bob", "--base64", "-"], "/wD+\naGVsbG8=\n");
    assert_eq!(sent.iter().map(|line| line["line"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2)]);
    let lines = node.lines(&["history", "--user", "bob", "--with", "alice", "--json", "--base64"], "");
    assert_eq!(lines.iter().map(|line| line["payload"].as_str()).collect::<Vec<_>>(), [Some("/wD+"), Some("aGVsbG8=")]);
    assert!(lines[0].get("text").is_none());
    let output = node.run(&["send", "--user", "alice", "--to", "bob", "--base64", "-"], "aGVsbG8=\nno base64\n");
    assert!(said(&output).contains("line 2: --base64"), "{}", said(&output));
    let long = format!("short\n{}\n", "x".repeat(70_000));
    let output = node.run(&["send", "--user", "alice", "--to", "bob", "-"], &long);
    assert!(said(&output).contains("line 2: not sent: PAYLOAD_TOO_LARGE"), "{}", said(&output));
    assert_eq!(output.status.code(), Some(5));
    // What others write cannot steer a terminal through JSON, and is the same.
    node.lines(&["send", "--user", "alice", "--to", "carol", "a\u{9b}2J\u{202e}b"], "");
    let output = node.run(&["history", "--user", "carol", "--with", "alice", "--json"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(r"a\u009b2J\u202eb"), "{text}");
}

#[test]
fn a_tail_can_begin_now_or_somewhere() {
    let node = Node::start();
    for (nth, to) in ["bob", "bob", "carol", "bob"].iter().enumerate() {
        let from = if *to == "carol" { "bob" } else { "alice" };
        node.lines(&["send", "--user", from, "--to", to, &format!("message {nth}")], "");
    }
    let tail = |more: &[&str], count: &str| {
        let lines = node.lines(&[&["tail", "--user", "bob", "--json", "--count", count], more].concat(), "");
        lines.iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(tail(&["--with", "alice", "--after", "1"], "2"), ["message 1", "message 3"]);
    assert_eq!(tail(&["--since", "1h", "--with", "carol"], "1"), ["message 2"]);
    let output = node.run(&["tail", "--user", "bob", "--after", "1"], "");
    assert!(said(&output).contains("--after: of which conversation?"), "{}", said(&output));
    // One that begins now prints what is sent once it is there, and nothing of before.
    let addr = node.server.as_ref().unwrap().addr().to_string();
    let data = node.launch.data.to_str().unwrap();
    let mut command = Command::new(&node.launch.binary);
    command.args(["tail", "--server", &addr, "--data", data, "--user", "bob", "--json", "--new", "--count", "1"]);
    let child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut child = Some(child);
    for nth in 0.. {
        assert!(nth < 500, "it prints what is new");
        node.lines(&["send", "--user", "alice", "--to", "bob", &format!("new {nth}")], "");
        if child.as_mut().unwrap().try_wait().unwrap().is_some() {
            break;
        }
    }
    let output = child.take().unwrap().wait_with_output().unwrap();
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(line["text"].as_str().unwrap().starts_with("new "), "{line}");
}

#[test]
fn a_directory_is_checked_without_a_server_and_without_a_change() {
    let mut node = Node::start();
    node.lines(&["send", "--user", "alice", "--to", "bob", "hello"], "");
    let data = node.launch.data.clone();
    let check = || tidings(&["check", data.to_str().unwrap()]);
    let (ok, _, why) = check();
    assert!(!ok && why.contains("another server"), "{why}");
    node.server.take().unwrap().stop().unwrap();
    let control = std::fs::read(data.join("control.json")).unwrap();
    for _ in 0..2 {
        let (ok, text, why) = check();
        assert!(ok && text.contains("is whole"), "{text}{why}");
    }
    assert_eq!(std::fs::read(data.join("control.json")).unwrap(), control, "nothing was counted");
    let (ok, _, why) = tidings(&["check", node.dir.path().to_str().unwrap()]);
    assert!(!ok && why.contains("is no data directory"), "{why}");
    let first = ["log-000", "log-001"].map(|log| data.join(log).join("000000.seg"));
    for file in first {
        let mut bytes = std::fs::read(&file).unwrap();
        // Behind the headers of the segment lies the first batch.
        bytes[8192 + 60] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    }
    let (ok, _, why) = check();
    assert!(!ok && why.contains("the log is damaged"), "{why}");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (ok, script, why) = tidings(&["completions", shell]);
        assert!(ok && script.contains("conversations"), "{shell}: {why}");
    }
}
