//! A peer's process: started by its script, pinned, accounted with all its children, and gone with this.

use std::{
    cell::RefCell,
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::{AtomicI32, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{Failure, cpu, cpu::Usage};

/// How long a peer may take to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(15);
/// Lines of its log that are shown with an error.
const LAST_LINES: usize = 8;

/// The process group of the peer that runs; 0: none does.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// From now on whoever ends this process ends the peer that runs, too: it is in a group of its own, which hears nothing of a terminal.
///
/// # Errors
/// If signals cannot be listened to.
pub fn end_with_this_process() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            end(RUNNING.load(Ordering::Relaxed), Signal::KILL);
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

fn end(group: i32, how: Signal) {
    if let Some(group) = Pid::from_raw(group) {
        // If it is gone already, so much the better.
        let _gone = kill_process_group(group, how);
    }
}

/// A peer that runs.
pub struct PeerProcess {
    child: RefCell<Child>,
    group: i32,
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
        let group = child.id() as i32;
        RUNNING.store(group, Ordering::Relaxed);
        Ok(Self { child: RefCell::new(child), group, log, addr: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    /// Fails if it ended.
    ///
    /// # Errors
    /// How.
    pub fn still_runs(&self) -> Result<(), Failure> {
        match self.child.borrow_mut().try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("it ended by itself: {status}").into()),
        }
    }

    /// What it and all its children used so far.
    ///
    /// # Errors
    /// If it is gone.
    pub fn usage(&self) -> io::Result<Usage> {
        cpu::usage_of_tree(self.group as u32)
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
        end(self.group, Signal::TERM);
        let until = Instant::now() + END_WITHIN;
        while Instant::now() < until && self.still_runs().is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
        end(self.group, Signal::KILL);
        let _gone = self.child.get_mut().wait();
        RUNNING.store(0, Ordering::Relaxed);
    }
}
