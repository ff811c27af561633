//! `tidings restore`

use std::path::PathBuf;

use clap::Args;
use tidings_log::LogEnd;

use super::{Failure, out};
use crate::{
    config::ServerConfig,
    server::{RestoredLog, restore},
};

/// Arguments of `restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
A start refuses a data directory in which a log, or the end of one, is missing: numbers that were given would be given again. \
This command is for whoever means it, after a restore from a backup or a loss that nothing can mend: it reads what is there, says what is missing, \
and begins a new lineage, so that devices know that what they have may be more than what the server has.")]
pub(super) struct Arguments {
    /// A TOML file with settings, as for `serve`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory [default: ./tidings-data].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Accepts what is there.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut config = arguments.config.as_deref().map_or_else(|| Ok(ServerConfig::default()), ServerConfig::read)?;
    if let Some(data) = &arguments.data {
        config.data.clone_from(data);
    }
    if !config.data.is_dir() {
        return Err(format!("{} is no directory", config.data.display()).into());
    }
    for log in restore(&config)? {
        out::line(&sentence(&log));
    }
    out::line("a new lineage begins: `tidings serve` starts on what is there");
    Ok(())
}

fn sentence(log: &RestoredLog) -> String {
    let RestoredLog { log, found, known } = log;
    let words = |end: &LogEnd| format!("segment {}, batch {}", end.generation.0, end.batch.0);
    if found.first > known.first && known.first.0 > 0 {
        return format!("log {} begins with segment {}; it began with {}", log.0, found.first.0, known.first.0);
    }
    let missing = found.generation < known.generation || found.batch < known.batch;
    match missing {
        true => format!("log {} ends with {}; it had at least {}", log.0, words(found), words(known)),
        false => format!("log {} ends with {}; nothing is missing", log.0, words(found)),
    }
}
