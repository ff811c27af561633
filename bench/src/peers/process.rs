//! A peer's process: started by its script, pinned, accounted with all its children, and gone with this.

use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{Failure, cpu, cpu::Usage};

/// How long a peer may take to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(15);
/// Lines of its log that are shown with an error.
const LAST_LINES: usize = 8;

/// A peer that runs.
pub struct PeerProcess {
    child: Child,
    log: PathBuf,
    /// Where it listens, once it does.
    pub addr: SocketAddr,
}

impl PeerProcess {
    /// Starts a script with a directory and a port.
    ///
    /// # Errors
    /// If it is not there.
    pub fn start(script: &Path, dir: &Path, cores: &str, port: u16) -> Result<Self, Failure> {
        TcpListener::bind(("127.0.0.1", port))
            .map_err(|error| format!("port {port} cannot be had ({error}): choose another with --port"))?;
        let log = dir.join("output");
        let output = File::create(&log)?;
        let mut command = Command::new("taskset");
        command.args(["-c", cores]).arg(script).arg(dir).arg(port.to_string());
        command.stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = command.spawn().map_err(|error| format!("{} cannot be started: {error}", script.display()))?;
        Ok(Self { child, log, addr: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    /// What it and all its children used so far.
    ///
    /// # Errors
    /// If it is gone.
    pub fn usage(&self) -> io::Result<Usage> {
        cpu::usage_of_tree(self.child.id())
    }

    /// The end of what it printed.
    pub fn last_words(&self) -> String {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = said.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        let Some(group) = Pid::from_raw(self.child.id() as i32) else { return };
        // If it is gone already, so much the better.
        let _gone = kill_process_group(group, Signal::TERM);
        let until = Instant::now() + END_WITHIN;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _gone = kill_process_group(group, Signal::KILL);
        let _gone = self.child.wait();
    }
}
