//! `tidings serve`

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use hdrhistogram::Histogram;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Map, Value};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1},
    iterator::Signals,
};
use tidings_core::{
    Damage, OverBudget,
    limits::{STATE_FULL, STATE_SCARCE},
};
use tidings_reactor::Shared;
use tidings_wire::ErrorCode;

use super::{Failure, out};
use crate::{
    config::{ServerConfig, parse_cores},
    server::Server,
    tokens::News,
};

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
When it serves, it prints one line on standard output:

  ready listen=127.0.0.1:7600 reactors=2 data=./tidings-data

SIGTERM and SIGINT make it stop cleanly: connections are told, the last batch is made durable, exit status 0; counters and the log's latencies are \
printed on standard error, as JSON. SIGUSR1 prints the counters meanwhile. SIGHUP reads the certificate again.")]
pub(super) struct Arguments {
    /// A TOML file with settings; docs/operating.md lists them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is kept [default: ./tidings-data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen; port 0 takes any [default: 127.0.0.1:7600].
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Cores, one reactor each, for example 0,1 or 0-3 [default: all].
    #[arg(long, value_name = "LIST")]
    cores: Option<String>,
    /// The chain of the certificate that connections are encrypted with, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Make a certificate in the data directory that signs itself (tls.crt), to try things out.
    #[arg(long)]
    self_signed: bool,
    /// Take connections that are not encrypted from beyond loopback.
    #[arg(long)]
    insecure: bool,
    /// To try things out: the web page signs in whoever types a name. On this machine only.
    #[arg(long)]
    development: bool,
}

impl Arguments {
    fn config(self) -> Result<ServerConfig, Failure> {
        let mut config = self.config.as_deref().map_or_else(|| Ok(ServerConfig::default()), ServerConfig::read)?;
        config.data = self.data.unwrap_or(config.data);
        config.listen = self.listen.unwrap_or(config.listen);
        config.insecure |= self.insecure;
        config.development |= self.development;
        config.tls.self_signed |= self.self_signed;
        config.tls.certificate = self.tls_certificate.or(config.tls.certificate);
        config.tls.key = self.tls_key.or(config.tls.key);
        if let Some(cores) = &self.cores {
            config.cores = parse_cores(cores).map_err(|error| format!("--cores {cores}: {error}"))?;
        }
        #[cfg(feature = "canary")]
        {
            config.canary = canary()?;
        }
        Ok(config)
    }
}

/// Test only: `TIDINGS_CANARY=cache_ms=5,early_ack`, `turn_us=1000`.
#[cfg(feature = "canary")]
fn canary() -> Result<tidings_reactor::Canary, Failure> {
    let mut canary = tidings_reactor::Canary::default();
    let text = std::env::var("TIDINGS_CANARY").unwrap_or_default();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some(("cache_ms", ms)) => canary.cache_ms = ms.parse()?,
            Some(("turn_us", us)) => canary.turn_us = us.parse()?,
            None if word == "early_ack" => canary.early_ack = true,
            _ => return Err(format!("TIDINGS_CANARY: {word} is not known").into()),
        }
    }
    out::note(&format!("tidings: TEST ONLY: {canary:?}"));
    Ok(canary)
}

/// Descriptors that are not connections: logs, rings, wakers, standard streams.
const FILES_KEPT: u64 = 256;

/// Raises the file limit as far as it goes; gives the connections that fit.
fn raise_file_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If it cannot be raised, the limit that there is counts.
    let _kept = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(FILES_KEPT)
}

/// Lets the kernel make its table of this process's files large enough for so many at once. It doubles otherwise, whenever it is full, and each time the reactor
/// that accepts waits for all other threads (an RCU grace period, 5 to 13 ms where it was measured).
fn reserve_files(connections: usize) {
    let highest = i32::try_from(connections as u64 + FILES_KEPT).unwrap_or(i32::MAX) - 1;
    // The table never shrinks. If it cannot be had now, it grows as it must.
    let _reserved = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), highest);
}

/// Serves until a signal comes or a reactor fails.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut config = arguments.config()?;
    let fit = raise_file_limit();
    config.limits.connections_max = config.limits.connections_max.min(usize::try_from(fit)?);
    reserve_files(config.limits.connections_max);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP])?;
    let (data, connections) = (config.data.clone(), config.limits.connections_max);
    let shows_page = config.development && config.door.pages && config.door.websocket;
    let server = Server::start(config)?;
    let (records, torn) = server.recovered();
    out::note(&format!("tidings: room for {connections} connections; recovered {records} records"));
    let gib = server.retention() as f64 / f64::from(1 << 30);
    out::note(&format!("tidings: keeps {gib:.1} GiB of messages and state (retention.max_bytes)"));
    out::note(&format!("tidings: writes with {}", server.sync()));
    if torn > 0 {
        out::note(&format!("tidings: cut off what was not acknowledged at the end of {torn} log(s)"));
    }
    let (addr, reactors, data) = (server.addr(), server.reactors(), data.display());
    let page = shows_page.then(|| format!("http://{addr}/"));
    // Whoever started it may not care for the line.
    out::line(&format!("ready listen={addr} reactors={reactors} data={data}"));
    if let Some(page) = page {
        out::note(&format!("tidings: open {page} in a browser, in two tabs, and chat"));
    }
    let (mut was_stuck, mut was_full) = (false, 0);
    loop {
        tell_storage(server.shared(), &mut was_stuck);
        tell_state(server.shared(), &mut was_full);
        tell_over_budget(server.shared());
        tell_damages(server.shared());
        tell_keys(&server);
        for signal in signals.pending() {
            if signal == SIGUSR1 {
                out::note(&serde_json::json!({ "counters": counters(server.shared()) }).to_string());
            } else if signal == SIGHUP {
                out::note(&match server.front_door().reload() {
                    None => "tidings: there is no certificate to read again".into(),
                    Some(Ok(())) => "tidings: new connections are shown the certificate that is there now".into(),
                    Some(Err(error)) => format!("tidings: the old certificate stays: {error}"),
                });
            } else {
                out::note("tidings: stopping");
                let shared = Arc::clone(server.shared());
                let report = server.stop()?;
                let log = serde_json::json!({
                    "batch_us": percentiles(&report.batch_us),
                    "queue_us": percentiles(&report.queue_us),
                    "batch_bytes": percentiles(&report.batch_bytes),
                });
                out::note(&serde_json::json!({ "counters": counters(&shared), "log": log }).to_string());
                return Ok(());
            }
        }
        if server.ended().recv_timeout(Duration::from_millis(50)).is_ok() {
            server.stop()?;
            return Err("a reactor ended".into());
        }
    }
}

/// Names those who were refused for what they fill of the log; each reactor names them once a minute.
fn tell_over_budget(shared: &Shared) {
    while let Some(who) = shared.next_over_budget() {
        let refused = shared.errors(ErrorCode::BudgetExceeded);
        let (who, setting) = match who {
            OverBudget::User(user, name) => (format!("user {} ({user})", name.escape_debug()), "limits.user_bytes"),
            OverBudget::Network(network, user) => (format!("{network} (user {user})"), "limits.address_bytes"),
        };
        out::note(&format!(
            "tidings: alarm: {who} has filled as much of the log as it may ({setting}): what comes from there is refused until some \
             comes back; {refused} messages were, of everybody"
        ));
    }
}

/// Says what became of the keys of the login server.
fn tell_keys(server: &Server) {
    while let Some(news) = server.next_news_of_keys() {
        out::note(&match news {
            News::Fetched(count) => format!("tidings: trusts {count} keys of the login server"),
            News::Failed(error) => {
                format!("tidings: alarm: the keys of the login server cannot be had, those from before count: {error}")
            }
        });
    }
}

/// Says when nothing can be stored any more, and when it can again.
fn tell_storage(shared: &Shared, was_stuck: &mut bool) {
    let is_stuck = shared.stuck() > 0;
    if std::mem::replace(was_stuck, is_stuck) == is_stuck {
        return;
    }
    let refused = shared.errors(ErrorCode::StorageFull);
    out::note(&match is_stuck {
        true => "tidings: alarm: the disk takes nothing more (is it full?): messages are refused until it does; what is stored can be read".into(),
        false => format!("tidings: the disk takes what is written again; {refused} messages were refused so far"),
    });
}

/// Says when so much of what logs keep is state that the setting should be raised, and when it is less again.
fn tell_state(shared: &Shared, was: &mut u8) {
    let (share, _) = shared.fullness();
    let level = [0, STATE_SCARCE, STATE_FULL].into_iter().rfind(|level| share >= *level).unwrap_or(0);
    if level == *was {
        return;
    }
    let told = match level {
        0 => "tidings: conversations and homes take less than half of what a log keeps again".into(),
        _ => format!(
            "tidings: alarm: {share} % of what a log keeps are conversations and homes, which are written again whenever their segment goes: raise \
             retention.max_bytes. From {STATE_SCARCE} % on users with many conversations begin no others, from {STATE_FULL} % on nobody does (NO_ROOM)"
        ),
    };
    *was = level;
    out::note(&told);
}

/// Names messages that are stored and cannot be read.
fn tell_damages(shared: &Shared) {
    while let Some(Damage { conversation, seq, at }) = shared.next_damage() {
        let (log, generation, offset) = (at.log().0, at.generation().0, at.offset());
        out::note(&format!(
            "tidings: alarm: message {seq} of conversation {conversation} cannot be read (log {log}, generation {generation}, offset {offset}): it \
             is left out of what devices are given; look at the disk, and have a copy of the directory at hand: a start may refuse it"
        ));
    }
}

/// Every counter that is not zero.
fn counters(shared: &Shared) -> Map<String, Value> {
    shared.counters().into_iter().map(|(name, count)| (name.into(), count.into())).collect()
}

fn percentiles(histogram: &Histogram<u64>) -> Value {
    let at = |quantile| histogram.value_at_quantile(quantile);
    serde_json::json!({ "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": histogram.max() })
}
