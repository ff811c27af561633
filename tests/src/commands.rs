//! The commands, as a person or a script uses them.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tidings::process::{Launch, ServerProcess, TempDir};

use crate::binary;

/// A server in a process of its own, and the commands that talk to it.
#[derive(Debug)]
pub struct Node {
    /// The process, while it runs.
    pub server: Option<ServerProcess>,
    /// How it is started.
    pub launch: Launch,
    /// Where its files are.
    pub dir: TempDir,
}

impl Node {
    /// With the settings of tests.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With other settings besides.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with(settings: &str) -> Self {
        let dir = TempDir::new("cli").unwrap();
        let config = dir.path().join("test.toml");
        std::fs::write(&config, format!("[log]\nsegment_bytes = 4194304\n{settings}")).unwrap();
        let (data, listen) = (dir.path().join("data"), SocketAddr::from(([127, 0, 0, 1], 0)));
        let (binary, cores, config, canary) = (binary::tidings(), "0,1".into(), Some(config), None);
        let launch = Launch { binary, data, listen, cores, config, canary };
        Self { server: Some(launch.start().unwrap()), launch, dir }
    }

    /// Runs a client command of this server with `input`.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        let addr = self.server.as_ref().unwrap().addr().to_string();
        let data = self.launch.data.to_str().unwrap();
        let mut command = Command::new(&self.launch.binary);
        // A command's own commands come before its options.
        let named = if ["group", "devices"].contains(&arguments[0]) { 2 } else { 1 };
        command.args(&arguments[..named]).args(["--server", &addr]);
        if !arguments.contains(&"--token") {
            command.args(["--data", data]);
        }
        command.args(&arguments[named..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // Beside reading its output: either pipe may be full. A command that ends before it has read all is no failure.
            scope.spawn(move || stdin.write_all(input.as_bytes()));
            child.wait_with_output().unwrap()
        })
    }

    /// What a command printed, a JSON value a line.
    ///
    /// # Panics
    /// If it failed.
    pub fn lines(&self, arguments: &[&str], input: &str) -> Vec<Value> {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Runs a command: whether it succeeded, what it printed, and what it said.
///
/// # Panics
/// If it cannot be run.
pub fn tidings(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(binary::tidings()).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}
