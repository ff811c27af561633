//! The commands, as a person or a script uses them.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tidings::process::TempDir;
use tidings_client::{Config, Event, blocking::Client};
use tidings_tests::{
    commands::{Node, tidings},
    noise,
};

/// A page of history is cut at its bytes: what it lacks is asked for, whichever reactor the reader's home is on.
#[test]
fn history_of_large_messages_is_whole_from_either_end() {
    let node = Node::start();
    let lines: String = (1..=600).map(|n| format!("{n} {}\n", noise(8000))).collect();
    node.lines(&["send", "--user", "alice", "--to", "bob", "-"], &lines);
    let numbers = |arguments: &[&str]| -> Vec<u64> {
        let lines = node.lines(&[&["history", "--json"], arguments].concat(), "");
        lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect()
    };
    for (user, with) in [("alice", "bob"), ("bob", "alice")] {
        assert_eq!(numbers(&["--user", user, "--with", with]), (1..=600).collect::<Vec<_>>());
        assert_eq!(numbers(&["--user", user, "--with", with, "--last", "300"]), (301..=600).collect::<Vec<_>>());
    }
}

#[test]
fn messages_go_through_scripts() {
    let node = Node::start();
    let sent = node.lines(&["send", "--user", "alice", "--to", "bob", "hello"], "");
    assert_eq!(sent[0]["seq"], 1);
    let many: String = (2..=200).map(|n| format!("line {n}\n")).collect();
    let more = node.lines(&["send", "--user", "alice", "--to", "bob", "-"], &many);
    assert_eq!(
        more.iter().map(|line| line["seq"].as_u64().unwrap()).collect::<Vec<_>>(),
        (2..=200).collect::<Vec<_>>()
    );
    assert_eq!(more[0]["conversation"], sent[0]["conversation"]);

    let tail = node.lines(&["tail", "--user", "bob", "--json", "--count", "200"], "");
    assert_eq!(tail.len(), 200);
    assert_eq!(
        (&tail[0]["from"], &tail[0]["text"], &tail[199]["text"]),
        (&"alice".into(), &"hello".into(), &"line 200".into())
    );
    assert!(tail.windows(2).all(|pair| pair[0]["ts"].as_u64() <= pair[1]["ts"].as_u64()));
    let history = node.lines(&["history", "--user", "bob", "--with", "alice", "--json"], "");
    assert_eq!(history, tail);
    let last = node.lines(&["history", "--user", "alice", "--with", "bob", "--json", "--last", "3"], "");
    assert_eq!(last, tail[197..]);
}

#[test]
fn tokens_open_what_they_should_and_errors_say_what_to_do() {
    let node = Node::start();
    let data = node.launch.data.to_str().unwrap();
    let (ok, token, _) = tidings(&["token", "--data", data, "--user", "alice", "--device", "7", "--ttl", "1h"]);
    assert!(ok);
    let token = token.trim();
    let sent = node.lines(&["send", "--token", token, "--user", "alice", "--device", "7", "--to", "bob", "hi"], "");
    assert_eq!(sent[0]["seq"], 1);
    for (arguments, hint) in [
        (
            &["send", "--token", token, "--user", "alice", "--device", "8", "--to", "bob", "hi"][..],
            "TOKEN_WRONG_DEVICE",
        ),
        (&["send", "--token", token, "--user", "carol", "--device", "7", "--to", "bob", "hi"], "TOKEN_WRONG_USER"),
        (&["send", "--token", "nonsense", "--user", "alice", "--to", "bob", "hi"], "TOKEN_INVALID"),
        (&["send", "--user", "alice", "--to", "alice", "hi"], "BAD_PEER"),
        (&["history", "--user", "alice", "--with", "nobody"], "no conversation"),
    ] {
        let output = node.run(arguments, "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(hint), "{arguments:?}: {said}");
    }
    let (ok, _, said) = tidings(&["token", "--data", node.dir.path().to_str().unwrap(), "--user", "alice"]);
    assert!(!ok && said.contains("serve"), "{said}");
}

#[test]
fn a_server_guards_its_data_and_its_door_and_stops_cleanly() {
    let mut node = Node::start();
    let data = node.launch.data.to_str().unwrap().to_string();
    let (ok, _, said) = tidings(&["serve", "--data", &data, "--listen", "127.0.0.1:0"]);
    assert!(!ok && said.contains("another server"), "{said}");
    let addr = node.server.as_ref().unwrap().addr().to_string();
    let elsewhere = node.dir.path().join("elsewhere");
    let (ok, _, said) = tidings(&["serve", "--data", elsewhere.to_str().unwrap(), "--listen", &addr]);
    assert!(!ok && said.contains("cannot listen"), "{said}");
    assert!(!elsewhere.exists(), "a start that cannot listen makes no data directory");
    // An address of documentation (RFC 5737), which nobody has.
    let nowhere = ["serve", "--insecure", "--data", elsewhere.to_str().unwrap(), "--listen", "192.0.2.1:0"];
    let (ok, _, said) = tidings(&nowhere);
    assert!(!ok && said.contains("cannot listen"), "{said}");
    assert!(!elsewhere.exists(), "nor does one at an address that is not here");
    let (ok, _, said) = tidings(&["serve", "--data", elsewhere.to_str().unwrap(), "--listen", "0.0.0.0:0"]);
    assert!(!ok && said.contains("--insecure"), "{said}");
    node.lines(&["send", "--user", "alice", "--to", "bob", "hi"], "");
    let (status, said) = node.server.take().unwrap().stop().unwrap();
    assert!(status.success() && said.contains("stopping"), "{said}");
    node.server = Some(node.launch.start().unwrap());
    assert_eq!(node.lines(&["tail", "--user", "bob", "--json", "--count", "1"], "")[0]["text"], "hi");
}

#[test]
fn an_empty_data_directory_is_small_and_keeps_a_share_of_its_disk() {
    let mut node = Node::start();
    node.lines(&["send", "--user", "alice", "--to", "bob", "hi"], "");
    let bytes_in = |dir: &std::path::Path| -> u64 {
        std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    let logs = ["log-000", "log-001"].map(|log| bytes_in(&node.launch.data.join(log)));
    assert!(logs.iter().all(|bytes| *bytes <= 16 << 20), "{logs:?}");
    let (_, said) = node.server.take().unwrap().stop().unwrap();
    let kept = said.split("keeps ").nth(1).and_then(|rest| rest.split(" GiB").next()).expect("it is said");
    let kept: f64 = kept.parse().unwrap();
    assert!(kept > 0.5 && kept <= 64.0, "{said}");
}

#[test]
fn a_damaged_log_is_refused_with_its_place() {
    let mut node = Node::start();
    for text in ["one", "two", "three"] {
        node.lines(&["send", "--user", "alice", "--to", "bob", text], "");
    }
    node.server.take().unwrap().stop().unwrap();
    // Somewhere in the first batches of the log that holds the messages: flip a bit.
    let damaged = ["log-000", "log-001"].into_iter().find_map(|log| {
        let file = node.launch.data.join(log).join("000000.seg");
        let mut bytes = std::fs::read(&file).unwrap();
        let at = bytes.windows(8).position(|window| window == b"alicetwo")?;
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        Some(log)
    });
    assert!(damaged.is_some(), "the message is found in a log");
    let error = node.launch.start().unwrap_err().to_string();
    assert!(error.contains("unreadable") && error.contains("000000.seg, offset"), "{error}");
}

/// What the disk harms while the server runs is left out of the history, which says so, and the operator is told which message it is.
#[test]
fn a_message_that_the_disk_has_harmed_is_named_and_left_out() {
    let mut node = Node::start();
    for text in ["one", "two", "three"] {
        node.lines(&["send", "--user", "alice", "--to", "bob", text], "");
    }
    let harmed = ["log-000", "log-001"].into_iter().any(|log| {
        let path = node.launch.data.join(log).join("000000.seg");
        let bytes = std::fs::read(&path).unwrap();
        let Some(at) = bytes.windows(8).position(|window| window == b"alicetwo") else { return false };
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"x", at as u64).unwrap();
        file.sync_all().unwrap();
        true
    });
    assert!(harmed, "the message is found in a log");
    let history = node.run(&["history", "--user", "bob", "--with", "alice", "--json"], "");
    let texts: Vec<_> = String::from_utf8(history.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(texts, ["one", "three"], "{}", String::from_utf8_lossy(&history.stderr));
    let said = String::from_utf8(history.stderr).unwrap();
    assert!(history.status.success() && said.contains("message 2, and perhaps others, is left out"), "{said}");
    let (_, said) = node.server.take().unwrap().stop().unwrap();
    assert!(said.contains("alarm: message 2 of conversation") && said.contains("generation 1, offset"), "{said}");
}

#[test]
fn help_and_version_are_there() {
    for command in ["serve", "token", "send", "tail", "history", "chat", "demo"] {
        let (ok, help, _) = tidings(&[command, "--help"]);
        assert!(ok && help.contains("Usage"), "{command}");
    }
    assert!(tidings(&["--version"]).1.starts_with("tidings 0."));
}

/// The README's main job.
#[test]
fn the_demo_holds() {
    let (ok, said, error) = tidings(&["demo", "--kills", "2"]);
    assert!(ok && said.contains("Every promise held."), "{said}{error}");
}

/// Each line is sent when it comes, not when the input ends; a reader that goes away is no crash.
#[test]
fn send_streams_and_survives_a_closed_pipe() {
    let node = Node::start();
    let addr = node.server.as_ref().unwrap().addr().to_string();
    let mut command = Command::new(&node.launch.binary);
    command.args(["send", "--server", &addr, "--data", node.launch.data.to_str().unwrap()]);
    command.args(["--user", "alice", "--to", "bob", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut lines = std::io::BufReader::new(output);
    for seq in 1..=3 {
        writeln!(input, "line {seq}").unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["seq"], seq, "before the input ends");
    }
    drop(lines);
    writeln!(input, "\u{fffd} nobody reads what became of this").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(node.lines(&["tail", "--user", "bob", "--json", "--count", "4"], "").len(), 4);
    let odd = node.lines(&["send", "--user", "ünï cödé 🦀", "--to", "-", "--", "-x"], "");
    assert_eq!(odd[0]["seq"], 1);
}

#[test]
fn settings_that_cannot_be_are_refused_in_a_sentence() {
    let dir = TempDir::new("settings").unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    for (name, text, hint) in [
        ("unknown", "spin = 5", "spin"),
        ("shards", "shards = 1000", "power of two"),
        ("segments", "[log]\nsegment_bytes = 1000", "segment_bytes"),
        ("retention", "[retention]\nmax_bytes = 1000", "max_bytes"),
        ("window", "[retention]\nwindow_s = 0", "window_s"),
        ("budget", "[limits]\nuser_bytes = 1000", "user_bytes"),
    ] {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        let (ok, _, said) = tidings(&["serve", "--data", data, "--config", file.to_str().unwrap()]);
        assert!(!ok && said.contains(hint), "{name}: {said}");
    }
    for (cores, hint) in [("0,0", "one reactor"), ("9999", "0-3"), ("512", "not there")] {
        let (ok, _, said) = tidings(&["serve", "--data", data, "--cores", cores]);
        assert!(!ok && said.contains(hint), "{cores}: {said}");
    }
    assert!(!dir.path().join("data").exists(), "nothing was made");
}

/// A sender who has filled its budget is told so while it waits, and the operator is told who it is.
#[test]
fn a_spent_budget_is_told_to_its_user_and_to_the_operator() {
    let mut node = Node::start_with("[retention]\nwindow_s = 20\n[limits]\nuser_bytes = 655360\n");
    let lines = node.run(&["send", "--user", "loud", "--to", "bob", "-"], &format!("{}\n", noise(60_000)).repeat(4));
    let said = String::from_utf8(lines.stderr).unwrap();
    assert!(lines.status.success() && said.contains("BUDGET_EXCEEDED"), "{said}");
    assert_eq!(node.lines(&["tail", "--user", "bob", "--json", "--count", "4"], "").len(), 4);
    let (status, said) = node.server.take().unwrap().stop().unwrap();
    assert!(status.success() && said.contains("alarm: user loud (") && said.contains("limits.user_bytes"), "{said}");
}

/// A group is made once, and everybody in it reads what was written while it was in it.
#[test]
fn a_group_from_the_command_line() {
    let node = Node::start();
    let create = ["group", "create", "--user", "alice", "--title", "cats", "--nonce", &"07".repeat(16), "bob", "carol"];
    let group = node.lines(&create, "")[0]["conversation"].as_str().unwrap().to_owned();
    assert_eq!(node.lines(&create, "")[0]["conversation"], group.as_str(), "the same again");
    let act = |arguments: &[&str]| {
        let mut all = vec!["group", arguments[0], "--group", &group, "--json", "--user"];
        all.extend(&arguments[1..]);
        node.run(&all, "")
    };
    let fails = |arguments: &[&str], why: &str| {
        let output = act(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(why), "{arguments:?}: {told}");
    };
    node.lines(&["send", "--user", "bob", "--group", &group, "hello"], "");
    fails(&["add", "bob", "dave"], "NOT_ALLOWED");
    fails(&["leave", "alice"], "LAST_OWNER");
    fails(&["remove", "alice", "dave"], "NO_SUCH_MEMBER");
    assert!(act(&["role", "alice", "bob", "owner"]).status.success());
    assert!(act(&["remove", "bob", "carol"]).status.success());
    fails(&["show", "carol"], "NOT_MEMBER");
    node.lines(&["send", "--user", "alice", "--group", &group, "not for carol"], "");
    let kinds = |user: &str| {
        let lines = node.lines(&["history", "--user", user, "--group", &group, "--json"], "");
        lines.iter().map(|line| line["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds("carol"), ["create", "text", "role", "remove"]);
    assert_eq!(kinds("alice"), ["create", "text", "role", "remove", "text"]);
    let shown: Value = serde_json::from_slice(&act(&["show", "alice"]).stdout).unwrap();
    let roles: Vec<_> = shown["members"].as_array().unwrap().iter().map(|member| member["role"].clone()).collect();
    assert_eq!((shown["title"].as_str(), roles), (Some("cats"), vec!["admin".into(), "owner".into(), "former".into()]));
    let told = node.run(&["history", "--user", "carol", "--group", &group], "");
    assert!(String::from_utf8_lossy(&told.stdout).contains("bob removed carol"));
    let tail = ["tail", "--user", "alice", "--group", &group, "--json", "--count", "5"];
    assert_eq!(node.lines(&tail, "").len(), 5);
    fails(&["link", "carol"], "NOT_MEMBER");
    let made: Value = serde_json::from_slice(&act(&["link", "bob"]).stdout).unwrap();
    let link = made["link"].as_str().unwrap().to_owned();
    let join = |user: &str, link: &str| node.run(&["group", "join", "--json", "--user", user, link], "");
    let wrong = format!("{group}.{}", "09".repeat(16));
    assert!(String::from_utf8_lossy(&join("dave", &wrong).stderr).contains("NOT_MEMBER"));
    assert!(join("dave", &link).status.success());
    assert!(String::from_utf8_lossy(&join("dave", &link).stderr).contains("ALREADY_MEMBER"));
    assert_eq!(kinds("dave").last().unwrap(), "join");
    assert!(act(&["link", "bob", "--off"]).status.success());
    assert!(String::from_utf8_lossy(&join("erin", &link).stderr).contains("NOT_MEMBER"), "the link has ended");
    assert!(act(&["delete", "bob"]).status.success());
    fails(&["add", "bob", "dave"], "GONE");
    assert_eq!(node.lines(&["group", "list", "--user", "carol", "--json"], "")[0]["left"], true);
}

/// A group of more than a message names, of whom one is connected: what is written comes to it, and others find it.
#[test]
fn a_large_group_from_the_command_line() {
    let node = Node::start();
    let crowd: String = (0..1200).map(|at| format!("fan{at}\n")).collect();
    let create = ["group", "create", "--user", "alice", "--title", "fans", "-"];
    let group = node.lines(&create, &crowd)[0]["conversation"].as_str().unwrap().to_owned();
    let of = |command: &str, user: &str, arguments: &[&str]| {
        let words: Vec<&str> = command.split(' ').collect();
        node.run(&[&words, &["--user", user, "--group", &group][..], arguments].concat(), "")
    };
    let shown: Value = serde_json::from_slice(&of("group show", "fan7", &["--json"]).stdout).unwrap();
    let count = shown["members"].as_array().unwrap().len();
    assert_eq!((count, &shown["current"], &shown["large"]), (1201, &1201.into(), &true.into()));
    node.lines(&["send", "--user", "alice", "--group", &group, "hello"], "");
    let all = node.lines(&["tail", "--user", "fan1100", "--group", &group, "--json", "--count", "3"], "");
    let kinds: Vec<_> = all.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!((kinds, &all[2]["text"]), (vec!["create", "add", "text"], &"hello".into()));
    let listed = |user: &str| node.lines(&["conversations", "--user", user, "--json"], "")[0].clone();
    let before = listed("fan3");
    assert_eq!((&before["title"], &before["unread"]), (&"fans".into(), &1.into()));
    let head = before["head"].to_string();
    assert!(of("read", "fan3", &[&head]).status.success());
    assert_eq!((&listed("fan3")["unread"], &listed("fan3")["read"]), (&0.into(), &before["head"]));
    node.lines(&["send", "--user", "fan3", "--group", &group, "hello to all"], "");
    let soon = of("read", "fan3", &[&(head.parse::<u64>().unwrap() + 1).to_string()]);
    assert!(String::from_utf8_lossy(&soon.stderr).contains("taken once in a while: try again in"));
    assert!(of("group remove", "alice", &["fan5"]).status.success());
    assert!(String::from_utf8_lossy(&of("send", "fan5", &["let me in"]).stderr).contains("NOT_MEMBER"));
}

#[test]
fn unread_is_what_was_neither_read_nor_written() {
    let node = Node::start();
    let create = ["group", "create", "--user", "alice", "--title", "cats", "--nonce", &"08".repeat(16), "bob"];
    let group = node.lines(&create, "")[0]["conversation"].as_str().unwrap().to_owned();
    for text in ["one", "two", "three"] {
        node.lines(&["send", "--user", "alice", "--to", "bob", text], "");
        node.lines(&["send", "--user", "alice", "--group", &group, text], "");
    }
    let of = |user: &str| {
        let mut lines = node.lines(&["conversations", "--user", user, "--json"], "");
        lines.sort_by_key(|line| line["kind"].to_string());
        lines
            .iter()
            .map(|line| (line["head"].clone(), line["unread"].clone(), line["read"].clone()))
            .collect::<Vec<_>>()
    };
    let row = |head: u64, unread: u64, read: u64| (Value::from(head), Value::from(unread), Value::from(read));
    assert_eq!(of("bob"), [row(3, 3, 0), row(4, 3, 0)], "an act is nothing to be read");
    assert_eq!(of("alice"), [row(3, 0, 0), row(4, 0, 0)], "nor is what she wrote");
    let read = |arguments: &[&str]| node.run(&[&["read", "--user", "bob"], arguments].concat(), "");
    assert!(read(&["--with", "alice", "2"]).status.success() && read(&["--group", &group, "2"]).status.success());
    assert_eq!(of("bob"), [row(3, 1, 2), row(4, 2, 2)]);
    let refused = read(&["--with", "alice", "4"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no message 4 there: the last one is 3"));
    node.lines(&["send", "--user", "bob", "--to", "alice", "four"], "");
    assert_eq!((of("bob")[0].clone(), of("alice")[0].clone()), (row(4, 0, 2), row(4, 1, 0)));
    let add = ["group", "add", "--user", "alice", "--group", &group, "carol"];
    assert!(node.run(&add, "").status.success());
    assert_eq!(of("carol"), [row(5, 0, 0)], "what was before she came");
    let named = node.lines(&["conversations", "--user", "alice", "--json"], "");
    let name = |kind: &str, name: &str| {
        let found = named.iter().find(|line| line["kind"] == kind).map(|line| line[name].clone());
        found.and_then(|name| name.as_str().map(str::to_owned))
    };
    assert_eq!((name("direct", "with"), name("group", "title")), (Some("bob".into()), Some("cats".into())));
    let people = String::from_utf8(node.run(&["conversations", "--user", "alice"], "").stdout).unwrap();
    assert!(people.contains("1 unread  bob\n") && people.contains(&format!("cats  {group}")), "{people}");
}

#[test]
fn devices_are_listed_and_revoked_and_conversations_hidden() {
    let node = Node::start();
    let data = node.launch.data.to_str().unwrap();
    let (_, token, _) = tidings(&["token", "--data", data, "--user", "bob"]);
    let send = |device: &str, more: &[&str]| {
        let mut all = vec!["send", "--user", "bob", "--device", device, "--to", "alice"];
        all.extend(more);
        node.run(&all, "")
    };
    assert!(send("5", &["--device-name", "old phone", "one"]).status.success());
    assert!(send("6", &["two"]).status.success());
    let devices = |arguments: &[&str]| {
        let lines = node.lines(&[&["devices"], arguments, &["--user", "bob", "--json"]].concat(), "");
        lines.iter().map(|line| (line["device"].as_u64().unwrap(), line["name"].to_string())).collect::<Vec<_>>()
    };
    let phones = [(5, "\"old phone\"".to_owned()), (6, "\"\"".to_owned())];
    assert_eq!(devices(&["list"]), phones);
    assert_eq!(devices(&["revoke", "5"]), phones[1..]);
    // An administrator, whose token the command makes with the server's key; another token is none.
    let of_bob = ["--user", "ops", "--of", "bob", "--json"];
    assert_eq!(node.lines(&[&["devices", "list"], &of_bob[..]].concat(), "")[0]["device"], 6);
    let mut as_carol = vec!["devices", "revoke", "--user", "carol", "--of", "bob", "--all"];
    let (_, carol, _) = tidings(&["token", "--data", data, "--user", "carol"]);
    as_carol.extend(["--token", carol.trim()]);
    let refused = node.run(&as_carol, "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("NOT_ALLOWED"));
    let refused = node.run(&["devices", "revoke", "--user", "bob", "5"], "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("NO_SUCH_DEVICE"));
    assert!(String::from_utf8_lossy(&send("5", &["three"]).stderr).contains("DEVICE_REVOKED"));
    let older = node.run(&["send", "--user", "bob", "--token", token.trim(), "--to", "alice", "three"], "");
    assert!(String::from_utf8_lossy(&older.stderr).contains("TOKEN_REVOKED"), "a token of before, on a new device");
    assert!(send("6", &["three"]).status.success());

    let listed = |more: &[&str]| node.lines(&[&["conversations", "--user", "alice", "--json"], more].concat(), "");
    assert_eq!(listed(&[])[0]["with"], "bob");
    let set = |what: &[&str]| node.run(&[&["set", "--user", "alice"], what].concat(), "").status.success();
    assert!(set(&["--with", "bob", "hide"]) && set(&["read-receipts", "off"]));
    assert!(listed(&[]).is_empty() && listed(&["--all"])[0]["hidden"] == true);
    assert!(set(&["--with", "bob", "show"]) && set(&["--with", "bob", "hide"]));
    assert!(send("6", &["four"]).status.success());
    assert_eq!(listed(&[])[0]["unread"], 4, "something new");
    assert!(!set(&["--with", "carol", "hide"]));
}

#[test]
fn who_is_there_is_told_from_the_command_line() {
    let node = Node::start();
    let presence = || {
        let object = node.lines(&["presence", "--user", "alice", "--of", "bob", "--json"], "").remove(0);
        (object["state"].as_str().unwrap().to_owned(), object["last_seen"].as_u64().unwrap() > 0)
    };
    assert_eq!(presence(), ("offline".into(), false), "nobody has seen it");
    let (_, token, _) = tidings(&["token", "--data", node.launch.data.to_str().unwrap(), "--user", "bob"]);
    let config = Config::new("bob", 1, token.trim().as_bytes().to_vec());
    let mut bob = Client::new(node.server.as_ref().unwrap().addr(), config);
    while bob.poll(Duration::from_millis(100)).unwrap() != Some(Event::Synced) {}
    assert_eq!(presence(), ("online".into(), false));
    let said = node.run(&["presence", "--user", "alice", "--of", "bob"], "");
    assert_eq!(String::from_utf8(said.stdout).unwrap(), "online\n");
    for (to, state) in [("nobody", "hidden"), ("written-to", "hidden"), ("everybody", "online")] {
        assert!(node.run(&["set", "--user", "bob", "visibility", to], "").status.success());
        assert_eq!(presence().0, state);
    }
    assert!(node.run(&["set", "--user", "bob", "visibility", "written-to"], "").status.success());
    node.lines(&["send", "--user", "bob", "--to", "alice", "hello"], "");
    assert_eq!(presence().0, "online");
    bob.session().leave();
    bob.poll(Duration::ZERO).unwrap();
    drop(bob);
    // Those who watch are told a few seconds later, should it come back.
    let until = Instant::now() + Duration::from_secs(30);
    while presence().0 == "online" && Instant::now() < until {}
    assert_eq!(presence(), ("offline".into(), true));
    let oneself = node.run(&["presence", "--user", "bob", "--of", "bob"], "");
    assert!(String::from_utf8_lossy(&oneself.stderr).contains("that is you"));
}

#[test]
fn messages_are_forgotten_from_the_command_line() {
    let node = Node::start();
    for text in ["one", "two", "three"] {
        node.lines(&["send", "--user", "bob", "--to", "alice", text], "");
    }
    let forget = |seqs: &[&str]| node.run(&[&["forget", "--user", "alice", "--with", "bob"], seqs].concat(), "");
    assert!(forget(&["1", "2"]).status.success());
    let history = |user: &str, with: &str| {
        String::from_utf8(node.run(&["history", "--user", user, "--with", with], "").stdout).unwrap()
    };
    assert_eq!(history("alice", "bob"), "     3  bob: three\n");
    assert_eq!(history("bob", "alice").lines().count(), 3);
    let refused = forget(&["4"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there are no such messages"));
}

#[test]
fn a_restore_forgets_what_was_forgotten_since_numbers_may_be_others_then() {
    let mut node = Node::start();
    for text in ["one", "two"] {
        node.lines(&["send", "--user", "bob", "--to", "alice", text], "");
    }
    assert!(node.run(&["forget", "--user", "alice", "--with", "bob", "1"], "").status.success());
    node.server.take().unwrap().stop().unwrap();
    let (ok, _, said) = tidings(&["restore", "--data", node.launch.data.to_str().unwrap()]);
    assert!(ok, "{said}");
    node.server = Some(node.launch.start().unwrap());
    let history = node.run(&["history", "--user", "alice", "--with", "bob"], "");
    assert_eq!(String::from_utf8(history.stdout).unwrap().lines().count(), 2);
}

#[test]
fn somebody_is_blocked_from_the_command_line() {
    let node = Node::start();
    let send = |from: &str, to: &str, text: &str| node.lines(&["send", "--user", from, "--to", to, text], "");
    let succeeds = |arguments: &[&str]| node.run(arguments, "").status.success();
    assert!(succeeds(&["block", "--user", "alice", "--of", "bob"]), "who never wrote");
    send("bob", "alice", "do you hear me?");
    let listed = || node.lines(&["conversations", "--user", "alice", "--json"], "").remove(0);
    assert_eq!((&listed()["blocked"], &listed()["head"], &listed()["unread"]), (&true.into(), &1.into(), &0.into()));
    assert!(succeeds(&["unblock", "--user", "alice", "--of", "bob"]));
    send("bob", "alice", "and now?");
    let history = |user: &str, with: &str| -> Vec<(String, String)> {
        let rows = node.lines(&["history", "--user", user, "--with", with, "--json"], "");
        let of = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
        rows.iter().map(|row| (of(row, "kind"), of(row, "text"))).collect()
    };
    let text = |words: &str| ("text".to_owned(), words.to_owned());
    assert_eq!(history("alice", "bob"), [("withheld".into(), String::new()), text("and now?")]);
    assert_eq!(history("bob", "alice"), [text("do you hear me?"), text("and now?")]);
    let seen = node.run(&["history", "--user", "alice", "--with", "bob"], "");
    assert_eq!(String::from_utf8(seen.stdout).unwrap(), "     2  bob: and now?\n");
    assert_eq!((&listed()["blocked"], &listed()["unread"]), (&false.into(), &1.into()));
    let oneself = node.run(&["block", "--user", "bob", "--of", "bob"], "");
    assert!(String::from_utf8_lossy(&oneself.stderr).contains("that is you"));
}

#[test]
fn conversations_are_muted_put_away_kept_at_the_top_and_cleared() {
    let node = Node::start();
    for from in ["alice", "carol"] {
        node.lines(&["send", "--user", from, "--to", "bob", "hello"], "");
    }
    let set = |with: &str, what: &[&str]| {
        let output = node.run(&[&["set", "--user", "bob", "--with", with], what].concat(), "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    set("alice", &["mute"]);
    set("alice", &["pin", "5"]);
    set("carol", &["archive"]);
    set("carol", &["mute", "3600"]);
    let listed = || node.lines(&["conversations", "--user", "bob", "--json"], "");
    let [alice, carol] = &listed()[..] else { panic!("two are listed") };
    assert_eq!(
        (&alice["with"], &alice["pinned"], &alice["muted_until"]),
        (&"alice".into(), &5.into(), &u64::MAX.into())
    );
    assert_eq!((&carol["archived"], &carol["unread"], &carol["cleared"]), (&true.into(), &1.into(), &0.into()));
    assert!(carol["muted_until"].as_u64().is_some_and(|until| until > carol["head"].as_u64().unwrap()));
    let plain = node.run(&["conversations", "--user", "bob"], "");
    assert!(String::from_utf8_lossy(&plain.stdout).contains("alice  (pinned, muted)"), "{plain:?}");
    set("carol", &["clear"]);
    set("carol", &["unarchive"]);
    set("carol", &["mute", "0"]);
    let carol = listed().into_iter().find(|listed| listed["with"] == "carol").unwrap();
    assert_eq!((&carol["unread"], &carol["cleared"], &carol["muted_until"]), (&0.into(), &1.into(), &0.into()));
    node.lines(&["send", "--user", "carol", "--to", "bob", "after it"], "");
    let tail = node.lines(&["tail", "--user", "bob", "--json", "--count", "2"], "");
    let mut told: Vec<_> = tail.iter().map(|line| (line["from"].to_string(), line["text"].to_string())).collect();
    told.sort();
    let expected = [("\"alice\"", "\"hello\""), ("\"carol\"", "\"after it\"")];
    assert_eq!(told, expected.map(|(from, text)| (from.to_owned(), text.to_owned())), "a device of bob's that is new");
    let all = node.lines(&["history", "--user", "carol", "--with", "bob", "--json"], "");
    assert_eq!(all.len(), 2, "others keep it");
}

/// The contract for scripts of what is said about messages.
#[test]
fn messages_are_edited_withdrawn_and_reacted_to_from_the_command_line() {
    let node = Node::start();
    for text in ["first", "second"] {
        node.lines(&["send", "--user", "alice", "--to", "bob", "--mention", "bob", text], "");
    }
    let to_bob = |command: &str, arguments: &[&str]| {
        node.run(&[&[command, "--user", "alice", "--with", "bob"], arguments].concat(), "")
    };
    let number = |output: &Output| serde_json::from_slice::<Value>(&output.stdout).unwrap()["seq"].clone();
    assert_eq!(number(&to_bob("edit", &["1", "-> first, corrected"])), 3);
    assert_eq!(number(&to_bob("erase", &["2"])), 4);
    assert_eq!(number(&to_bob("erase", &["2"])), 4, "it is withdrawn once");
    let react = ["react", "--user", "bob", "--with", "alice", "1", "👍"];
    assert_eq!(number(&node.run(&react, "")), 5);
    assert_eq!(number(&to_bob("timer", &["3600"])), 6);
    node.lines(&["send", "--user", "bob", "--to", "alice", "--reply-to", "1", "--disappear", "1", "yes"], "");
    for (arguments, reason) in [
        (["edit", "--user", "bob", "--with", "alice", "1", "mine"], "NOT_ALLOWED"),
        (["edit", "--user", "alice", "--with", "bob", "2", "again"], "TARGET_ERASED"),
        (["react", "--user", "bob", "--with", "alice", "99", "?"], "TARGET_INVALID"),
    ] {
        let refused = node.run(&arguments, "");
        assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains(reason), "{refused:?}");
    }
    // Its time is over in a second: whoever looks after that finds nothing.
    let history = || node.lines(&["history", "--user", "bob", "--with", "alice", "--json"], "");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while history()[6]["gone"] != true {
        assert!(std::time::Instant::now() < until, "{:?}", history()[6]);
    }
    let lines = history();
    let of = |at: usize, key: &str| lines[at][key].clone();
    let kinds: Vec<_> = (0..7).map(|at| of(at, "kind").as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["text", "text", "edit", "erase", "react", "timer", "text"]);
    assert_eq!((of(0, "text"), of(0, "gone")), ("first".into(), Value::Null));
    assert_eq!(of(0, "mentions").as_array().unwrap().len(), 1);
    assert_eq!((of(1, "text"), of(1, "gone"), of(1, "mentions")), ("".into(), true.into(), Value::Null));
    assert_eq!((of(2, "text"), of(2, "target")), ("-> first, corrected".into(), 1.into()));
    assert_eq!((of(4, "text"), of(5, "seconds")), ("👍".into(), 3600.into()));
    assert_eq!((of(6, "text"), of(6, "target")), ("".into(), 1.into()));
}
