//! A full disk, as an operator meets it: a small file system of its own for the data directory. It takes a privilege to mount one.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tidings::process::{Launch, ServerProcess, TempDir};
use tidings_tests::{binary, noise};

/// A server whose data directory is on a file system of 48 MiB, which only it and its commands see.
struct Small {
    server: ServerProcess,
    binary: PathBuf,
    data: PathBuf,
    mount: PathBuf,
    _dir: TempDir,
}

impl Small {
    fn start() -> Self {
        let dir = TempDir::new("full").unwrap();
        let (mount, config, script) =
            (dir.path().join("mount"), dir.path().join("test.toml"), dir.path().join("serve"));
        fs::create_dir(&mount).unwrap();
        fs::write(&config, "[log]\nsegment_bytes = 4194304\n[limits]\nuser_bytes = 1000000000000\nuser_per_second = 1000000\nuser_burst = 1000000\n").unwrap();
        let (binary, at) = (binary::tidings(), mount.display());
        let inside = format!("mount -t tmpfs -o size=48m none {at} && exec {} \"$@\"", binary.display());
        fs::write(&script, format!("#!/bin/sh\nexec unshare --mount sh -c '{inside}' serve \"$@\"\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
        let (data, listen) = (mount.join("data"), SocketAddr::from(([127, 0, 0, 1], 0)));
        let launch = Launch {
            binary: script,
            data: data.clone(),
            listen,
            cores: "0,1".into(),
            config: Some(config),
            canary: None,
        };
        Self { server: launch.start().unwrap(), binary, data, mount, _dir: dir }
    }

    /// A command that sees the server's file system.
    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.server.id().to_string(), "--mount", program]);
        command
    }

    /// A client command of this server.
    fn client(&self, what: &str, arguments: &[&str]) -> Command {
        let mut command = self.inside(self.binary.to_str().unwrap());
        command.args([what, "--server", &self.server.addr().to_string(), "--data", self.data.to_str().unwrap()]);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, what: &str, arguments: &[&str]) -> Output {
        let output = self.client(what, arguments).output().unwrap();
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

/// What needs the disk is refused with a time, and goes on by itself; everything else is served all the while.
#[test]
fn a_full_disk_stops_what_must_be_stored_and_nothing_else() {
    if !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success()) {
        println!("not run: no file system can be mounted here");
        return;
    }
    let small = Small::start();
    small.run("send", &["--user", "alice", "--to", "bob", "hello"]);
    // All that is left is taken: it ends with an error.
    let fill = format!("of={}", small.mount.join("fill").display());
    assert!(!small.inside("dd").args(["if=/dev/zero", &fill, "bs=64k"]).output().unwrap().status.success());
    // More than the prepared segments hold.
    let mut sending = small.client("send", &["--user", "alice", "--to", "bob", "-"]).spawn().unwrap();
    let mut input = sending.stdin.take().unwrap();
    const LINES: usize = 600;
    let writer = std::thread::spawn(move || {
        let line = format!("{}\n", noise(40_000));
        (0..LINES).try_for_each(|_| input.write_all(line.as_bytes()))
    });
    let mut said = std::io::BufReader::new(sending.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(line.contains("STORAGE_FULL: the server takes the next message in 1 s"), "{line}");
    // Others come in, read, and are told who is there.
    let began = Instant::now();
    let history = small.run("history", &["--user", "bob", "--with", "alice", "--last", "3", "--json"]);
    assert_eq!(String::from_utf8(history.stdout).unwrap().lines().count(), 3);
    assert_eq!(small.run("presence", &["--user", "carol", "--of", "bob"]).stdout, b"offline\n");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Once there is room again all of it is taken, in its order.
    assert!(small.inside("rm").arg(small.mount.join("fill")).status().unwrap().success());
    let sent = sending.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let seqs: Vec<u64> = String::from_utf8(sent.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert!(sent.status.success() && seqs == (2..=LINES as u64 + 1).collect::<Vec<_>>(), "{} of them", seqs.len());
    let (status, said) = small.server.stop().unwrap();
    assert!(status.success() && said.contains("alarm: the disk takes nothing more"), "{said}");
    assert!(said.contains("the disk takes what is written again"), "{said}");
}
