//! Starting and stopping a node.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, Sender, bounded};
use tidings_core::{Layout, Node, NodeConfig, ReactorId};
use tidings_log::{LogEnd, files::Files};
use tidings_reactor::{Desk, Hosted, Notes, ReactorConfig, Report, Scribe, Seed, Shared, Wake};
use tidings_ring::{RingConfig, socket};
use tidings_turn::{
    ConnectionLimits, RECEIVES_PER_TURN, TurnConfig,
    config::{BATCH_MAX, ephemeral_lane_size, lane_size},
    recover::{LogSettings, Recovered, RecoveryError, log_parts, recover},
};
use tidings_wire::LogId;

use crate::{
    config::{ConfigError, ServerConfig},
    data::{ControlFile, DataDir, DataError},
    front_door::FrontDoor,
    sync::Sync,
    tokens::{Issuer, KEY_FILE, Keys, News, PUBLIC_FILE, Refresher, TokenVerifier},
};

/// Why a server does not start.
#[derive(Debug)]
pub enum StartError {
    /// A setting.
    Config(ConfigError),
    /// The data directory.
    Data(DataError),
    /// What is in it.
    Recovery(RecoveryError),
    /// The address.
    Listen(SocketAddr, io::Error),
    /// Something else of the operating system.
    System(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Data(error) => error.fmt(f),
            Self::Recovery(error) => error.fmt(f),
            Self::Listen(addr, error) => write!(f, "cannot listen on {addr}: {error}"),
            Self::System(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for StartError {}

/// The files of every log.
type Logs = Vec<(LogId, Files)>;

/// A running node.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    data: DataDir,
    shared: Arc<Shared>,
    hosted: Vec<Hosted>,
    scribe: Scribe,
    ended: Receiver<()>,
    recovered: (u64, usize),
    keys: Keys,
    front_door: FrontDoor,
    refresher: Option<Refresher>,
    retention: u64,
    sync: Sync,
}

/// Bytes of a log's first segment: it holds two of the largest batches.
const FIRST_SEGMENT: u64 = 4 << 20;

/// How often a socket of a process that just died is asked for again.
const LISTEN_RETRY: Duration = Duration::from_millis(50);
const LISTEN_PATIENCE: Duration = Duration::from_secs(5);
const READY_PATIENCE: Duration = Duration::from_secs(60);

impl Server {
    /// Recovers the data directory and starts one reactor on each of the configured cores. Serves when it returns.
    ///
    /// # Errors
    /// Whatever is in the way, with what to do about it.
    pub fn start(mut config: ServerConfig) -> Result<Self, StartError> {
        if config.cores.is_empty() {
            config.cores = core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
        }
        config.check().map_err(StartError::Config)?;
        tidings_ring::probe_kernel().map_err(|error| StartError::System(error.to_string()))?;
        // A start that cannot listen makes no data directory.
        if !config.data.exists() {
            wait_for(config.listen)?;
        }
        let data = DataDir::open(&config.data, config.shards).map_err(StartError::Data)?;
        let disk = rustix::fs::statvfs(data.path()).map(|disk| disk.f_blocks.saturating_mul(disk.f_frsize));
        config.settle_retention(disk.map_err(|error| StartError::System(error.to_string()))?);
        let keys = load_keys(&data)?;
        let refresher = config.tokens.refresher(data.path()).map_err(StartError::Config)?;
        // Whoever asks gets a token: those are signed with a key that lasts as long as this process.
        let development = config.development.then(Issuer::fresh).transpose();
        let development = development.map_err(|error| StartError::System(error.to_string()))?;
        let verifier = keys.verifier(development.as_ref(), &config.tenants, refresher.as_ref().map(Refresher::trust));
        let front_door = FrontDoor::open(&config, data.path(), development).map_err(StartError::Config)?;
        let reactors = config.cores.len() as u16;
        let settings = log_settings(&data, &config);
        let (recovered, files) =
            recover_data(&data, &config, (reactors, settings), &data.control().ends(), || data.count_start())
                .map_err(StartError::Recovery)?;
        let state = recovered.nodes.iter().map(Node::state_estimate).max().unwrap_or(0);
        config.check_state(state).map_err(StartError::Config)?;
        let noted = data.control().set_ends(&recovered.ends());
        noted.map_err(|error| StartError::Data(DataError::Io(data.path().into(), error)))?;
        let counts = (recovered.records, recovered.torn);
        let sync = Sync::choose(config.log.sync, data.path());
        let files = files.into_iter().map(|(log, files)| (log, files.written_by(sync.method))).collect();

        let reactors = config.cores.len();
        let (listeners, addr) = listen(config.listen, reactors)?;
        let system = |error: io::Error| StartError::System(error.to_string());
        let wakers = (0..reactors).map(|_| Wake::new()).collect::<io::Result<_>>().map_err(system)?;
        let shared = Arc::new(Shared::new(wakers));
        let (ended_sender, ended) = bounded(reactors);
        let notes = Arc::<ControlFile>::clone(data.control());
        let scribe = Scribe::start(notes).map_err(system)?;
        let desks = (0..reactors).map(|at| scribe.desk(&shared.peer(ReactorId(at as u16)).waker)).collect();
        let seeds = seeds(&config, &data, recovered, &files, listeners, desks, &shared, &verifier, &front_door);
        let mut hosted = Vec::new();
        for seed in seeds {
            let ended: Sender<()> = ended_sender.clone();
            // The channel has room for every reactor; if nobody listens any more, nobody needs to know.
            let started = tidings_reactor::start(seed, move || {
                let _unheard = ended.try_send(());
            });
            hosted.push(started.map_err(StartError::System)?);
        }
        let retention = config.retention.max_bytes;
        let recovered = counts;
        let server =
            Self { addr, data, shared, hosted, scribe, ended, recovered, keys, front_door, refresher, retention, sync };
        server.wait_until_ready()
    }

    fn wait_until_ready(self) -> Result<Self, StartError> {
        let until = Instant::now() + READY_PATIENCE;
        while !self.shared.all_accepting() {
            let failed = self.ended.recv_timeout(Duration::from_millis(1)).is_ok();
            if failed || Instant::now() > until {
                let why = if failed { None } else { Some("the reactors did not get ready in a minute".to_string()) };
                let result = self.stop();
                return Err(StartError::System(why.or(result.err()).unwrap_or_else(|| "a reactor ended".into())));
            }
        }
        Ok(self)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many reactors it has.
    pub fn reactors(&self) -> usize {
        self.hosted.len()
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.data.path().to_path_buf()
    }

    /// Records that were read at the start, and logs whose unacknowledged tail was cut off.
    pub fn recovered(&self) -> (u64, usize) {
        self.recovered
    }

    /// Bytes of log that are kept.
    pub fn retention(&self) -> u64 {
        self.retention
    }

    /// How what its logs write becomes durable.
    pub fn sync(&self) -> &Sync {
        &self.sync
    }

    /// Its flags and counters.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Signs tokens for it, if it has the private key.
    pub fn issuer(&self) -> Option<&Issuer> {
        self.keys.issuer.as_ref()
    }

    /// What is new of the keys of the login server.
    pub fn next_news_of_keys(&self) -> Option<News> {
        self.refresher.as_ref().and_then(Refresher::next_news)
    }

    /// Its front door.
    pub fn front_door(&self) -> &FrontDoor {
        &self.front_door
    }

    /// A channel that says when a reactor ends.
    pub fn ended(&self) -> &Receiver<()> {
        &self.ended
    }

    /// Stops: no new connections, BYE to all, the last batch durable.
    ///
    /// # Errors
    /// Why a reactor failed, if one did.
    pub fn stop(self) -> Result<Report, String> {
        self.shared.drain();
        let mut report = Report::default();
        let mut failure = None;
        for hosted in self.hosted {
            match hosted.join() {
                Ok(more) => report.add(&more),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        self.scribe.finish();
        if let Some(failure) = failure {
            return Err(failure);
        }
        for (log, end) in &report.ends {
            let noted = self.data.control().note(*log, Some(*end));
            noted.map_err(|error| format!("where log {} ends cannot be written down: {error}", log.0))?;
        }
        Ok(report)
    }
}

/// What [`restore`] found of a log, and what was known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredLog {
    /// Which.
    pub log: LogId,
    /// Where it ends now.
    pub found: LogEnd,
    /// Where it once ended at least.
    pub known: LogEnd,
}

/// Accepts a data directory as it is, although logs or their ends may be missing: what is there begins a new lineage, in which
/// numbers may be given again.
///
/// # Errors
/// If what is there cannot be understood by itself: then nothing is changed.
pub fn restore(config: &ServerConfig) -> Result<Vec<RestoredLog>, StartError> {
    let data = DataDir::open(&config.data, config.shards).map_err(StartError::Data)?;
    let known = data.control().ends();
    let mut settings = log_settings(&data, config);
    let unknown = BTreeMap::new();
    let recovered = match recover_data(&data, config, (1, settings), &unknown, || data.count_start()) {
        // What homes wrote in that run is to be passed over, too. Counted only with the new lineage, in one step: before that the control file
        // must not pass for a newer one.
        Err(RecoveryError::Written(_, latest)) => {
            settings.epoch = latest.next();
            recover_data(&data, config, (1, settings), &unknown, || Ok(()))
        }
        recovered => recovered,
    };
    let (recovered, _) = recovered.map_err(StartError::Recovery)?;
    let found = recovered.ends();
    let begun = data.control().begin_lineage(settings.epoch, &found);
    begun.map_err(|error| StartError::Data(DataError::Io(data.path().into(), error)))?;
    let logs: BTreeSet<LogId> = found.keys().chain(known.keys()).copied().collect();
    let end = |ends: &BTreeMap<LogId, LogEnd>, log| ends.get(&log).copied().unwrap_or_default();
    Ok(logs.into_iter().map(|log| RestoredLog { log, found: end(&found, log), known: end(&known, log) }).collect())
}

/// Reads a data directory as a start would, and changes nothing that is there. Where its logs must end at least. Whether `retention.max_bytes` can hold what is there it does not say.
///
/// # Errors
/// What a start would refuse it for.
pub fn check(config: &ServerConfig) -> Result<BTreeMap<LogId, LogEnd>, StartError> {
    config.check().map_err(StartError::Config)?;
    let data = DataDir::open(&config.data, config.shards).map_err(StartError::Data)?;
    if data.logs().is_ok_and(|logs| !logs.is_empty()) {
        load_keys(&data)?;
    }
    let ends = data.control().ends();
    let (settings, mut is_whole) = (log_settings(&data, config), false);
    // A start counts itself once all was read and nothing is missing, before it changes anything: here that is the end.
    let stop = || {
        is_whole = true;
        Err(io::Error::other("nothing is to be changed"))
    };
    match recover_data(&data, config, (1, settings), &ends, stop) {
        Err(RecoveryError::NotCounted(_)) if is_whole => Ok(ends),
        Err(error) => Err(StartError::Recovery(error)),
        Ok(_) => unreachable!("a start that is not counted goes no further"),
    }
}

/// The keys of a data directory. A new one gets new keys; an old one that has none has lost them, and whoever holds a token would be
/// turned away.
fn load_keys(data: &DataDir) -> Result<Keys, StartError> {
    let io = |error| StartError::Data(DataError::Io(data.path().into(), error));
    if let Some(keys) = Keys::load(data.path()).map_err(io)? {
        return Ok(keys);
    }
    if data.logs().map_err(io)?.is_empty() {
        return Keys::make(data.path()).map_err(io);
    }
    let path = data.path().join(KEY_FILE);
    let why = format!(
        "it is missing, and so is {PUBLIC_FILE}: put back one of them, or a new key that openssl genpkey -algorithm ed25519 \
         -out {} makes (then every token that was issued is void)",
        path.display()
    );
    Err(StartError::Data(DataError::Unreadable(path, why)))
}

/// Waits until nobody listens at an address. SO_REUSEPORT would also let a second server in beside a first one on other data, so it is asked for without that.
fn wait_for(addr: SocketAddr) -> Result<(), StartError> {
    let until = Instant::now() + LISTEN_PATIENCE;
    loop {
        match std::net::TcpListener::bind(addr) {
            Ok(_probe) => return Ok(()),
            // The kernel may hold a dead process's socket for a moment.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(LISTEN_RETRY);
            }
            Err(error) => return Err(StartError::Listen(addr, error)),
        }
    }
}

/// One listener a reactor on the same address.
fn listen(addr: SocketAddr, count: usize) -> Result<(Vec<OwnedFd>, SocketAddr), StartError> {
    let failed = |error| StartError::Listen(addr, error);
    wait_for(addr)?;
    let first = socket::listener(addr).map_err(failed)?;
    let real = socket::local_addr(&first).map_err(failed)?;
    let rest = (1..count).map(|_| socket::listener(real)).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    Ok((std::iter::once(first).chain(rest).collect(), real))
}

/// Reads every log of the data directory into the nodes of this run.
fn recover_data(
    data: &DataDir,
    config: &ServerConfig,
    (reactors, settings): (u16, LogSettings),
    known: &BTreeMap<LogId, LogEnd>,
    count: impl FnOnce() -> io::Result<()>,
) -> Result<(Recovered, Logs), RecoveryError> {
    let layout = Layout { shards: data.shards(), reactors };
    let nodes = (0..reactors).map(|at| Node::new(node_config(at, layout, data, config))).collect();
    let failed = |id: LogId, error: io::Error| RecoveryError::Log(id, error.into());
    let existing = data.logs().map_err(|error| failed(LogId(0), error))?;
    let mut ids: Vec<LogId> = (0..reactors).map(|at| LogId(at as u8)).chain(existing).collect();
    ids.sort_unstable();
    ids.dedup();
    let open = |id: LogId| Ok((id, Files::open(&data.log_dir(id)).map_err(|error| failed(id, error))?));
    let logs = ids.into_iter().map(open).collect::<Result<Logs, RecoveryError>>()?;
    Ok((recover(nodes, logs.clone(), known, settings, count)?, logs))
}

fn node_config(at: u16, layout: Layout, data: &DataDir, config: &ServerConfig) -> NodeConfig {
    NodeConfig {
        me: ReactorId(at),
        log: LogId(at as u8),
        layout,
        lineage: data.lineage(),
        user_rate: config.limits.user_rate(),
        user_budget: config.user_budget(),
        address_budget: config.address_budget(),
        group_small_max: config.limits.group_small_max,
        group_rate: config.limits.group_rate(),
        windows: config.limits.windows(),
        idle_timeout_s: config.limits.idle_timeout_s,
        overload: config.limits.overload(),
        entities_max: config.limits.entities_max,
        user_conversations: config.limits.user_conversations,
        seed: data.log_nonce() ^ u64::from(at),
        features: tidings_core::features::FEATURES,
    }
}

fn log_settings(data: &DataDir, config: &ServerConfig) -> LogSettings {
    let (nonce, epoch, segment_len) = (data.log_nonce(), data.epoch(), config.log.segment_bytes);
    let restored = data.control().restored();
    let first_segment_len = FIRST_SEGMENT.min(segment_len);
    LogSettings {
        nonce,
        epoch,
        segment_len,
        first_segment_len,
        batch_max: BATCH_MAX,
        writes: config.log.writes,
        restored,
    }
}

#[allow(clippy::too_many_arguments, reason = "everything that reactors are made of")]
fn seeds(
    config: &ServerConfig,
    data: &DataDir,
    recovered: Recovered,
    files: &Logs,
    listeners: Vec<OwnedFd>,
    desks: Vec<Desk>,
    shared: &Arc<Shared>,
    verifier: &TokenVerifier,
    front_door: &FrontDoor,
) -> Vec<Seed<TokenVerifier>> {
    let reactors = config.cores.len();
    let Recovered { nodes, replica, logs, .. } = recovered;
    let settings = log_settings(data, config);
    let parts = log_parts(&logs, reactors, settings);
    let lanes = tidings_mesh::connect(reactors, lane_size(reactors), ephemeral_lane_size(reactors));
    let mut seeds = Vec::new();
    for (((((node, log), lanes), listener), desk), core) in
        nodes.into_iter().zip(parts).zip(lanes).zip(listeners).zip(desks).zip(&config.cores)
    {
        let turn = tidings_turn::Seed {
            config: turn_config(config, reactors),
            node,
            replica: replica.clone(),
            segment_len: settings.segment_len,
            log,
            rules: Arc::clone(&front_door.rules),
            lanes,
            verifier: verifier.clone(),
            store: (config.store)(),
            shared: Arc::clone(shared),
        };
        seeds.push(Seed {
            config: reactor_config(config, *core),
            turn,
            listener,
            logs: files.clone(),
            desk,
            #[cfg(feature = "canary")]
            canary: config.canary,
        });
    }
    seeds
}

fn turn_config(config: &ServerConfig, reactors: usize) -> TurnConfig {
    let limits = &config.limits;
    TurnConfig {
        limits: ConnectionLimits {
            connections_max: limits.connections_max.div_ceil(reactors),
            address_rate: limits.address_rate(),
            handshake_timeout_ms: limits.handshake_timeout_ms,
            frame_timeout_ms: limits.frame_timeout_ms,
            send_timeout_ms: limits.send_timeout_ms,
            idle_timeout_ms: u64::from(limits.idle_timeout_s) * 1000,
        },
        retention_bytes: config.retention.max_bytes / reactors as u64,
        receives_per_turn: RECEIVES_PER_TURN,
    }
}

fn reactor_config(config: &ServerConfig, core: usize) -> ReactorConfig {
    ReactorConfig {
        core,
        ring: RingConfig {
            submissions: 1024,
            completions: 16 * 1024,
            buffers: config.receive.buffers,
            buffer_len: config.receive.buffer_bytes,
        },
        spin_us: config.spin_us,
        gather_us: config.gather_us,
    }
}
