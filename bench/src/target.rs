//! What is measured: a server that is started here, or one that runs somewhere, or the null relay; and what it costs.

use std::{
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::SystemTime,
};

use clap::Args;
use serde_json::Value;
use tidings::{
    process::{Launch, ServerProcess, TempDir},
    tokens::{Issuer, Scope},
};
use tidings_wire::Timestamp;

use crate::{Failure, cpu, cpu::Usage};

/// Limits that nobody reaches, and what follows: the log may take this much.
const UNLIMITED: &str = "user_per_second = 10000000\nuser_burst = 10000000\nuser_bytes = 9000000000000000000\n\
                         address_bytes = 9000000000000000000\naddress_per_second = 1000000\naddress_burst = 1000000";
/// Fewer connections than by default, so that they are reached in seconds.
const DEFAULTS: &str = "connections_max = 3000\naddress_burst = 2000";
/// Bytes of a log that is written round and round.
pub const SMALL_LOG: u64 = 512 << 20;
const LARGE_LOG: u64 = 8 << 30;

/// What a server lets people do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// Everything.
    None,
    /// Everything, in TLS, too: it signs its certificate itself.
    NoneInTls,
    /// Everything that it can: it leaves things undone where there is too much to do.
    Shedding,
    /// What it does by default, but for the size of its log and the number of connections.
    Defaults,
    /// Everything, but its log has only [`SMALL_LOG`].
    SmallLog,
}

impl Limits {
    /// The server's settings, with some more in front.
    fn settings(self, more: &str) -> String {
        let tls = if self == Self::NoneInTls { "tls.self_signed = true\n" } else { "" };
        // As the floors write.
        let sync = if more.contains("log.sync") { "" } else { "log.sync = \"dsync\"\n" };
        let limits = match self {
            Self::None | Self::NoneInTls | Self::SmallLog => format!("shed = false\n{UNLIMITED}"),
            Self::Shedding => format!("shed = true\n{UNLIMITED}"),
            Self::Defaults => DEFAULTS.into(),
        };
        // A small log has small segments: six of each reactor's must fit.
        let (log, segments) = match self {
            Self::SmallLog => (SMALL_LOG, "log.segment_bytes = 8388608\n"),
            _ => (LARGE_LOG, ""),
        };
        format!("{more}\n{tls}{sync}{segments}[limits]\n{limits}\n[retention]\nmax_bytes = {log}\n")
    }
}

/// Who writes to whom through the null relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rooms {
    /// Pairs.
    Pairs,
    /// Groups of so many.
    Of(usize),
    /// One group of so many, and pairs.
    OneThenPairs(usize),
}

/// Where the parts of a run are.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// The server's cores, as for `tidings serve --cores`; the relay runs on the first.
    #[arg(long, default_value = "1")]
    pub server_cores: String,
    /// The core of the load: the first, which most machines also give their other work.
    #[arg(long, default_value_t = 0)]
    pub load_core: usize,
    /// The `tidings` binary [default: beside this one].
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// A server that runs already, instead of one that is started here. Its data directory must be given, for tokens; its log
    /// is not looked at.
    #[arg(long, value_name = "ADDRESS", requires_all = ["data", "pid"])]
    at: Option<SocketAddr>,
    /// The data directory of the server that runs already.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Its process.
    #[arg(long)]
    pid: Option<u32>,
    /// Where data goes [default: the system's temporary directory].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Settings of the server besides the usual ones: lines of TOML in front of its tables.
    #[arg(long, value_name = "TOML", default_value = "")]
    settings: String,
    /// Test only: how the server is to misbehave, if it was built so that it can.
    #[arg(long, hide = true)]
    canary: Option<String>,
}

impl Place {
    /// A directory, another one each time. It goes with the second part, unless it is below one that was given.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn make_dir(&self) -> Result<(PathBuf, TempDir), Failure> {
        let temporary = TempDir::new("bench")?;
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let run = format!("run-{}-{}", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
        let dir = self.dir.as_ref().map_or_else(|| temporary.path().to_path_buf(), |given| given.join(run));
        std::fs::create_dir_all(&dir)?;
        Ok((dir, temporary))
    }

    /// The first of the server's cores: the relay's, and peers'.
    pub fn first_core(&self) -> &str {
        self.server_cores.split([',', '-']).next().unwrap_or("0")
    }
}

enum Process {
    Server(ServerProcess),
    Relay(Killed),
    Foreign,
}

/// Something that serves.
pub struct Target {
    process: Process,
    /// Where.
    pub addr: SocketAddr,
    /// Its process.
    pub pid: u32,
    /// Its data directory, if it has one.
    pub data: Option<PathBuf>,
    issuer: Option<Issuer>,
}

/// A child process that is killed when this goes.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

impl Target {
    /// The server, started in `dir` unless one runs.
    ///
    /// # Errors
    /// If it does not start.
    pub fn server(place: &Place, dir: &Path, limits: Limits) -> Result<Self, Failure> {
        if let (Some(addr), Some(data), Some(pid)) = (place.at, &place.data, place.pid) {
            let (data, issuer) = (Some(data.clone()), Some(Issuer::load(data)?));
            return Ok(Self { process: Process::Foreign, addr, pid, data, issuer });
        }
        let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("tidings"));
        let config = dir.join("bench.toml");
        std::fs::write(&config, limits.settings(&place.settings))?;
        let launch = Launch {
            binary: place.server.clone().map_or_else(beside, Ok)?,
            data: dir.join("data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            cores: place.server_cores.clone(),
            config: Some(config),
            canary: place.canary.clone(),
        };
        let server = launch.start()?;
        let (addr, pid) = (server.addr(), server.id());
        let (data, issuer) = (Some(launch.data.clone()), Some(Issuer::load(&launch.data)?));
        Ok(Self { process: Process::Server(server), addr, pid, data, issuer })
    }

    /// The null relay, which writes as many bytes as it relays in `dir`, if there is one.
    ///
    /// # Errors
    /// If it does not start.
    pub fn relay(place: &Place, dir: Option<&Path>, rooms: Rooms) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["relay", "--core", place.first_core()]).stdout(Stdio::piped());
        let members = match rooms {
            Rooms::Pairs => 2,
            Rooms::Of(members) | Rooms::OneThenPairs(members) => members,
        };
        command.args(["--members", &members.to_string()]);
        if let Rooms::OneThenPairs(_) = rooms {
            command.arg("--then-pairs");
        }
        dir.map(|dir| command.arg("--dir").arg(dir));
        let mut relay = Killed(command.spawn()?);
        let mut line = String::new();
        BufReader::new(relay.0.stdout.as_mut().ok_or("the relay has no output")?).read_line(&mut line)?;
        let addr = line.trim().strip_prefix("ready listen=").ok_or("the relay did not start")?.parse()?;
        let pid = relay.0.id();
        Ok(Self { process: Process::Relay(relay), addr, pid, data: None, issuer: None })
    }

    /// True of the null relay, which knows no groups: who is with whom goes by their devices.
    pub fn is_relay(&self) -> bool {
        matches!(self.process, Process::Relay(_))
    }

    /// What its process used so far.
    ///
    /// # Errors
    /// If it is gone.
    pub fn usage(&self) -> io::Result<Usage> {
        cpu::usage(self.pid)
    }

    /// A user's token.
    ///
    /// # Errors
    /// If the clock stands before 1970.
    pub fn token(&self, user: &str) -> Result<String, Failure> {
        self.token_for(user, Scope::User)
    }

    /// A token of a scope.
    ///
    /// # Errors
    /// If the clock stands before 1970.
    pub fn token_for(&self, user: &str, scope: Scope) -> Result<String, Failure> {
        let Some(issuer) = &self.issuer else { return Ok("none".into()) };
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(issuer.issue_scoped(user, (None, scope), Timestamp(wall.as_micros() as u64), 3600)?)
    }

    /// What it counted so far, of a server that was started here.
    ///
    /// # Errors
    /// If it is gone.
    pub fn counters(&mut self) -> Result<Value, Failure> {
        match &mut self.process {
            Process::Server(server) => Ok(serde_json::from_str(&server.counters()?)?),
            Process::Relay(_) | Process::Foreign => Ok(Value::Null),
        }
    }

    /// Stops it: what it counted, of a server that was started here.
    ///
    /// # Errors
    /// If it ended badly, with what it said.
    pub fn stop(self) -> Result<Value, Failure> {
        let server = match self.process {
            Process::Server(server) => server,
            Process::Relay(relay) => {
                drop(relay);
                return Ok(Value::Null);
            }
            Process::Foreign => return Ok(Value::Null),
        };
        let (status, said) = server.stop()?;
        if !status.success() {
            return Err(said.into());
        }
        let line = said.lines().rev().find(|line| line.starts_with('{')).ok_or("the server printed no counters")?;
        Ok(serde_json::from_str(line)?)
    }
}
