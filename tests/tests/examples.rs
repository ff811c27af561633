//! The programs of docs/clients.md, as they stand there, against a server. The one in TypeScript is run by the tests of that SDK.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tidings_client::{DEFAULT_TENANT, Event, UserId, blocking::Client};
use tidings_tests::{
    binary::tidings,
    serving::{Serving, small},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").into()
}

/// Waits until bob has a message that says this.
fn wait_for(bob: &mut Client, text: &str) {
    for _ in 0..600 {
        match bob.poll(Duration::from_millis(100)).unwrap() {
            Some(Event::Message(message)) if message.payload == text.as_bytes() => return,
            _ => {}
        }
    }
    panic!("bob never got {text:?}");
}

/// Runs a program as alice. What it prints; bob answers what it writes.
fn run(serving: &Serving, bob: &mut Client, mut program: Command, text: &str) -> Vec<String> {
    program.env("SERVER", serving.server().addr().to_string()).env("TOKEN", serving.token("alice"));
    let mut child = program.stdout(Stdio::piped()).spawn().expect("it can be started");
    wait_for(bob, text);
    let answer = format!("I read: {text}");
    bob.session().send(UserId::derive(DEFAULT_TENANT, "alice"), answer.as_bytes());
    bob.poll(Duration::ZERO).unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{text}: {lines:?}");
    lines
}

fn python(name: &str) -> Command {
    let mut python = Command::new("python3");
    python.arg(root().join("examples").join(name)).env("PYTHONPATH", root().join("tools/pyclient"));
    python
}

/// A program in Rust. Cargo puts examples beside the binaries.
fn example(name: &str) -> PathBuf {
    let path = tidings().with_file_name("examples").join(name);
    if !path.exists() {
        let of = ["build", "--package", "tidings-client", "--features", "serde,tokio", "--example", name];
        let built = Command::new(env!("CARGO")).args(of).status();
        assert!(built.is_ok_and(|status| status.success()), "cargo build --example {name}");
    }
    path
}

/// A program that goes on until it is killed, and is.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("it runs");
    }
}

/// Takes what `whom` is told until it says `last`; each text that somebody of that name wrote.
fn told(whom: &mut Client, by: &str, last: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..600 {
        if let Some(Event::Message(message)) = whom.poll(Duration::from_millis(100)).unwrap()
            && message.sender_name == by
        {
            texts.push(String::from_utf8(message.payload).unwrap());
            if texts.last().is_some_and(|text| text == last) {
                return texts;
            }
        }
    }
    panic!("{last:?} never came: {texts:?}");
}

/// Writes ten texts and waits until the last is durable.
fn write_ten(client: &mut Client, to: &str, round: u32) -> Vec<String> {
    let texts: Vec<_> = (0..10).map(|nth| format!("{round}.{nth}")).collect();
    for text in &texts {
        client.session().send(UserId::derive(DEFAULT_TENANT, to), text.as_bytes());
    }
    while !client.session().is_flushed() {
        client.poll(Duration::from_millis(10)).unwrap();
    }
    texts
}

/// The bot is killed while it answers, three times: it answers each text once, in order.
#[test]
fn a_bot_answers_each_text_once_whenever_it_is_killed() {
    let serving = Serving::start(small());
    let (mut alice, mut writes) = (serving.client("alice", 1), serving.client("alice", 2));
    let (mut written, mut answered) = (Vec::new(), Vec::new());
    for round in 0..4 {
        let mut program = Command::new(example("echo"));
        program.env("SERVER", serving.server().addr().to_string()).env("TOKEN", serving.token("echo"));
        let _killed_in_between =
            Program(program.env("STATE", serving.dir.path().join("echo")).spawn().expect("it can be started"));
        written.extend(write_ten(&mut writes, "echo", round));
        // The last round to its end, the others until it has begun to answer.
        let last = if round == 3 { "3.9".to_owned() } else { format!("{round}.0") };
        answered.extend(told(&mut alice, "echo", &last));
    }
    assert_eq!(answered, written);
}

fn bridge(left: &Serving, right: &Serving) -> Program {
    let mut program = Command::new(example("bridge"));
    for (side, serving) in [("LEFT", left), ("RIGHT", right)] {
        program.env(format!("{side}_SERVER"), serving.server().addr().to_string());
        program.env(format!("{side}_TOKEN"), serving.token("bridge"));
    }
    Program(program.env("STATE", left.dir.path().join("bridge")).spawn().expect("it can be started"))
}

/// The same of a bridge between two servers.
#[test]
fn a_bridge_carries_each_text_once_whenever_it_is_killed() {
    let [left, right] = [(); 2].map(|()| Serving::start(small()));
    let (mut alice, mut bob) = (left.client("alice", 1), right.client("bob", 1));
    let (mut written, mut came) = (Vec::new(), Vec::new());
    for round in 0..4 {
        let _killed_in_between = bridge(&left, &right);
        written.extend(write_ten(&mut alice, "bridge", round));
        let last = if round == 3 { "3.9".to_owned() } else { format!("{round}.0") };
        came.extend(told(&mut bob, "bridge", &last));
    }
    assert_eq!(came, written);
    // And back.
    let _killed_at_the_end = bridge(&left, &right);
    let answers = write_ten(&mut bob, "bridge", 9);
    assert_eq!(told(&mut alice, "bridge", "9.9"), answers);
}

#[test]
fn the_programs_of_the_document_write_and_read() {
    let serving = Serving::start(small());
    let mut bob = serving.client("bob", 1);
    // A new device is told what was there before, too, which is no answer.
    bob.session().send(UserId::derive(DEFAULT_TENANT, "alice"), b"said before");
    while !bob.session().is_flushed() {
        bob.poll(Duration::from_millis(5)).unwrap();
    }
    let rust = Command::new(example("first"));
    let lines = run(&serving, &mut bob, rust, "hello from Rust");
    assert_eq!(lines, ["durable as number 2", "bob: I read: hello from Rust"]);
    let lines = run(&serving, &mut bob, python("first.py"), "hello from Python");
    assert_eq!(lines, ["durable as number 4", "bob: I read: hello from Python"]);
    assert_eq!(run(&serving, &mut bob, python("bare.py"), "hello from bare bytes"), ["durable as number 6"]);
}
