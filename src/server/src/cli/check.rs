//! `tidings check`

use std::path::PathBuf;

use clap::Args;

use super::{Failure, out};
use crate::{config::ServerConfig, server::check};

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "\
It reads all that a start would read: the keys, where the logs must end, every batch and every record. It takes the lock, so a server must not run on the directory meanwhile, and changes nothing that is there. What it finds it says as `serve` would, and ends with status 1.")]
pub(super) struct Arguments {
    /// A TOML file with settings, as for `serve`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory.
    #[arg(value_name = "DIR")]
    data: PathBuf,
}

/// Reads all of it.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut config = arguments.config.as_deref().map_or_else(|| Ok(ServerConfig::default()), ServerConfig::read)?;
    config.data.clone_from(&arguments.data);
    if config.cores.is_empty() {
        config.cores.push(0); // nothing runs on it
    }
    let data = config.data.display();
    if !config.data.join("control.json").is_file() && !config.data.join("control.copy.json").is_file() {
        return Err(format!("{data} is no data directory: there is no control.json in it").into());
    }
    for (log, end) in check(&config)? {
        let (segment, batch) = (end.generation.0, end.batch.0);
        out::line(&format!("log {}: whole, ends at or after segment {segment}, batch {batch}", log.0));
    }
    out::line(&format!("{data} is whole"));
    Ok(())
}
