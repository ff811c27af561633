//! `tidings history`

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use clap::Args;
use tidings_client::{Event, Seq, UserId};

use super::{
    Failure,
    connect::{Connection, PATIENCE, check_name, print, rejected},
};

/// Arguments of `history`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// With whom.
    #[arg(long, value_name = "NAME")]
    with: String,
    /// One JSON object a line, as with `tail`.
    #[arg(long)]
    json: bool,
    /// Only the last this many.
    #[arg(long, value_name = "N")]
    last: Option<NonZeroU32>,
}

/// Messages asked for at once, if all are wanted: they are printed while they come.
const PAGE: NonZeroU32 = NonZeroU32::new(256).expect("not zero");

/// Prints the stored messages, oldest first.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    check_name(&arguments.with)?;
    let mut config = arguments.connection.config()?;
    config.receive = false;
    let mut client = arguments.connection.open(&config)?;
    let with = UserId::derive(tidings_client::DEFAULT_TENANT, &arguments.with);
    let conversation = client.session().conversation_with(with);
    match arguments.last {
        Some(limit) => client.session().history(conversation, Seq(0), limit),
        None => client.session().history_after(conversation, Seq(0), PAGE),
    }
    let mut until = Instant::now() + PATIENCE;
    loop {
        match client.poll(Duration::from_millis(200))? {
            Some(Event::Older(message)) => {
                if !print(&message, arguments.json) {
                    break;
                }
                until = Instant::now() + PATIENCE;
            }
            Some(Event::HistoryDone { last, head, .. }) => {
                if arguments.last.is_some() || last >= head || last == Seq(0) {
                    break;
                }
                client.session().history_after(conversation, last, PAGE);
            }
            Some(Event::HistoryFailed { code: tidings_client::ErrorCode::NotMember, .. }) => {
                return Err(
                    format!("{} and {} have no conversation", arguments.connection.user(), arguments.with).into()
                );
            }
            Some(Event::HistoryFailed { code, .. }) => return Err(format!("the history cannot be read: {code}").into()),
            Some(Event::Rejected { code }) => return Err(rejected(code)),
            Some(Event::Disconnected) => return Err("the connection was lost".into()),
            _ if Instant::now() > until => return Err("no answer from the server".into()),
            _ => {}
        }
    }
    client.session().leave();
    client.poll(Duration::ZERO)?;
    Ok(())
}
