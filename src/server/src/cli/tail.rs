//! `tidings tail`

use std::time::Duration;

use clap::Args;
use tidings_client::{ConversationId, Event, Loss};

use super::{
    Failure,
    connect::{Connection, group_id, print, rejected},
    out,
};

/// Arguments of `tail`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// Only of a group.
    #[arg(long, value_name = "ID", value_parser = group_id)]
    group: Option<ConversationId>,
    /// One JSON object a line: conversation, seq, kind (text, or what it does to a group), from, device, ts (microseconds since 1970), text.
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
    let wanted = |conversation| arguments.group.is_none_or(|group| group == conversation);
    let mut printed = 0;
    while arguments.count.is_none_or(|count| printed < count) {
        match client.poll(Duration::from_secs(1))? {
            Some(Event::Message(message)) if wanted(message.conversation) => {
                if !print(&message, arguments.json) {
                    break;
                }
                printed += 1;
            }
            Some(Event::Lost { conversation, from, upto, why }) if wanted(conversation) => {
                let why = match why {
                    Loss::Gone => "they are gone, or not for this user",
                    Loss::Damaged => "the server's disk has damaged what it stored",
                };
                out::note(&format!("tidings: {conversation}: messages {from} to {upto} cannot be had: {why}"));
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
