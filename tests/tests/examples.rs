//! The programs of docs/clients.md, as they stand there, against a server. The one in TypeScript is run by the tests of that SDK.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
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
    bob.session().send(UserId::derive(DEFAULT_TENANT, "alice"), b"hello alice");
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

#[test]
fn the_programs_of_the_document_write_and_read() {
    let serving = Serving::start(small());
    let mut bob = serving.client("bob", 1);
    // Cargo puts examples beside the binaries.
    let rust = tidings().with_file_name("examples").join("first");
    if !rust.exists() {
        let built =
            Command::new(env!("CARGO")).args(["build", "--package", "tidings-client", "--example", "first"]).status();
        assert!(built.is_ok_and(|status| status.success()), "cargo build --example first");
    }
    let rust = Command::new(rust);
    assert_eq!(run(&serving, &mut bob, rust, "hello from Rust"), ["durable as number 1", "bob: hello alice"]);
    let lines = run(&serving, &mut bob, python("first.py"), "hello from Python");
    // A new device is told what was there before, too.
    assert_eq!(lines, ["durable as number 3", "bob: hello alice"]);
    assert_eq!(run(&serving, &mut bob, python("bare.py"), "hello from bare bytes"), ["durable as number 5"]);
}
