//! A server in a process of its own, so that it can be killed.

use std::{
    io::{self, BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// How a server process is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The `tidings` binary.
    pub binary: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// Cores, as for `--cores`.
    pub cores: String,
    /// A file with settings.
    pub config: Option<PathBuf>,
    /// Test only: how it is to misbehave, if it was built so that it can.
    pub canary: Option<String>,
}

/// A running server process. It is killed when this goes.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    addr: SocketAddr,
}

impl Launch {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data").arg(&self.data).arg("--listen").arg(self.listen.to_string());
        command.arg("--cores").arg(&self.cores);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        if let Some(canary) = &self.canary {
            command.env("TIDINGS_CANARY", canary);
        }
        command
    }

    /// Starts it, and kills it after a while, whatever it is doing then.
    ///
    /// # Errors
    /// If there is no such binary.
    pub fn start_and_kill(&self, after: std::time::Duration) -> io::Result<()> {
        let mut child = self.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        std::thread::sleep(after);
        child.kill()?;
        child.wait().map(drop)
    }

    /// Starts it, and waits until it serves.
    ///
    /// # Errors
    /// If it ends instead, with what it said.
    pub fn start(&self) -> io::Result<ServerProcess> {
        let mut command = self.command();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("it is piped")).read_line(&mut line)?;
        let listen = line.split_whitespace().find_map(|word| word.strip_prefix("listen="));
        match listen.and_then(|addr| addr.parse().ok()) {
            Some(addr) => Ok(ServerProcess { child, addr }),
            None => {
                let mut said = String::new();
                child.stderr.as_mut().expect("it is piped").read_to_string(&mut said)?;
                child.wait()?;
                Err(io::Error::other(said.trim().to_string()))
            }
        }
    }
}

impl ServerProcess {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Kills it in the middle of whatever it does.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Asks it to stop (SIGTERM), and waits: how it ended, and what it said on standard error.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn stop(mut self) -> io::Result<(ExitStatus, String)> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let mut said = String::new();
        self.child.stderr.as_mut().expect("it is piped").read_to_string(&mut said)?;
        Ok((self.child.wait()?, said))
    }

    /// What it counted so far (SIGUSR1): JSON.
    ///
    /// # Errors
    /// If it ends instead.
    pub fn counters(&mut self) -> io::Result<String> {
        kill_process(Pid::from_child(&self.child), Signal::USR1)?;
        let (mut line, mut byte) = (Vec::new(), [0]);
        let said = self.child.stderr.as_mut().expect("it is piped");
        // Byte by byte: what comes after the line is for whoever reads next.
        loop {
            said.read_exact(&mut byte)?;
            match byte[0] {
                b'\n' if line.first() == Some(&b'{') => break,
                b'\n' => line.clear(),
                byte => line.push(byte),
            }
        }
        String::from_utf8(line).map_err(io::Error::other)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// A directory that is deleted when this goes.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new directory below the system's for temporary files.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(name: &str) -> io::Result<Self> {
        let unique = u64::from_ne_bytes(crate::data::random()?);
        let path = std::env::temp_dir().join(format!("tidings-{name}-{unique:016x}"));
        tidings_log::files::make_dir(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What is left in the temporary directory is no harm.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}
