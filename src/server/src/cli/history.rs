//! `tidings history`

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use clap::Args;
use tidings_client::{ConversationId, Event, Seq};

use super::{
    Failure,
    connect::{Connection, Format, group_id, patience, print, recipient, rejected},
    out,
    status::{Ended, Status, no_answer},
};

/// Arguments of `history`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// With whom.
    #[arg(long, value_name = "NAME", required_unless_present = "group")]
    with: Option<String>,
    /// Of a group.
    #[arg(long, value_name = "ID", value_parser = group_id, conflicts_with = "with")]
    group: Option<ConversationId>,
    #[command(flatten)]
    format: Format,
    /// Only the last this many.
    #[arg(long, value_name = "N")]
    last: Option<NonZeroU32>,
}

/// Messages asked for at once, if all are wanted: they are printed while they come.
const PAGE: NonZeroU32 = NonZeroU32::new(256).expect("not zero");

/// Prints the stored messages, oldest first.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let with = recipient(arguments.with.as_deref(), arguments.group)?;
    let mut config = arguments.connection.config()?;
    config.receive = false;
    let mut client = arguments.connection.open(&config)?;
    let conversation = with.conversation(client.session());
    match arguments.last {
        Some(limit) => client.session().history(conversation, Seq(0), limit),
        None => client.session().history_after(conversation, Seq(0), PAGE),
    }
    let mut until = Instant::now() + patience();
    loop {
        match client.poll(Duration::from_millis(200))? {
            Some(Event::Older(message)) => {
                if !print(&message, &arguments.format) {
                    break;
                }
                until = Instant::now() + patience();
            }
            Some(Event::HistoryDone { last, head, damaged, .. }) => {
                if damaged > Seq(0) {
                    out::note(&format!(
                        "tidings: message {damaged}, and perhaps others, is left out: the server's disk has damaged it"
                    ));
                }
                if arguments.last.is_some() || last >= head || last == Seq(0) {
                    break;
                }
                client.session().history_after(conversation, last, PAGE);
            }
            Some(Event::HistoryFailed { code: tidings_client::ErrorCode::NotMember, .. }) => {
                let user = arguments.connection.user();
                let why = match &arguments.with {
                    Some(with) => format!("{user} and {with} have no conversation"),
                    None => format!("{user} is in no such group"),
                };
                return Err(Ended::with(Status::Refused, why));
            }
            Some(Event::HistoryFailed { code, .. }) => {
                return Err(Ended::with(Status::Refused, format!("the history cannot be read: {code}")));
            }
            Some(Event::Rejected { code }) => return Err(rejected(code)),
            Some(Event::Disconnected) => return Err(Ended::with(Status::Unreachable, "the connection was lost")),
            _ if Instant::now() > until => return Err(no_answer()),
            _ => {}
        }
    }
    client.session().leave();
    client.poll(Duration::ZERO)?;
    Ok(())
}
