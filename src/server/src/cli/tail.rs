//! `tidings tail`

use std::time::Duration;

use clap::Args;
use tidings_client::Event;

use super::{
    Failure,
    connect::{Connection, print, rejected},
    out,
};

/// Arguments of `tail`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// One JSON object a line: conversation, seq, from, device, ts (microseconds since 1970), text.
    #[arg(long)]
    json: bool,
    /// Stop after this many messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Prints messages until it is stopped.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = arguments.connection.config()?;
    let mut client = arguments.connection.open(&config)?;
    let mut printed = 0;
    while arguments.count.is_none_or(|count| printed < count) {
        match client.poll(Duration::from_secs(1))? {
            Some(Event::Message(message)) => {
                if !print(&message, arguments.json) {
                    break;
                }
                printed += 1;
            }
            Some(Event::Lost { conversation, from, upto }) => {
                out::note(&format!(
                    "tidings: {conversation}: messages {from} to {upto} are gone, the server no longer keeps them"
                ));
            }
            Some(Event::Disconnected) => out::note("tidings: connection lost, trying again"),
            Some(Event::Rejected { code }) => return Err(rejected(code)),
            _ => {}
        }
    }
    client.session().leave();
    client.poll(Duration::ZERO)?;
    Ok(())
}
