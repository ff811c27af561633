//! `tidings history`

use std::time::{Duration, Instant};

use clap::Args;
use tidings_client::{Event, Message, Seq, UserId};

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
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    last: Option<u32>,
}

/// Messages asked for at once.
const PAGE: u32 = 256;

/// Prints the stored messages, oldest first.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    check_name(&arguments.with)?;
    let mut config = arguments.connection.config()?;
    config.receive = false;
    let mut client = arguments.connection.open(&config)?;
    let with = UserId::derive(tidings_client::DEFAULT_TENANT, &arguments.with);
    let conversation = client.session().conversation_with(with);
    let mut left = arguments.last.unwrap_or(u32::MAX);
    // Pages come from the newest to the oldest, each in rising order.
    let mut pages: Vec<Vec<Message>> = vec![Vec::new()];
    client.session().history(conversation, Seq(0), PAGE.min(left));
    let mut until = Instant::now() + PATIENCE;
    loop {
        match client.poll(Duration::from_millis(200))? {
            Some(Event::Older(message)) => pages.last_mut().expect("there is a page").push(message),
            Some(Event::HistoryDone { oldest, .. }) => {
                let page = pages.last().expect("there is a page");
                left = left.saturating_sub(page.len() as u32);
                let Some(first) = page.first().map(|message| message.seq).filter(|first| *first > oldest && left > 0)
                else {
                    break;
                };
                pages.push(Vec::new());
                client.session().history(conversation, first, PAGE.min(left));
                until = Instant::now() + PATIENCE;
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
    pages.iter().rev().flatten().take_while(|message| print(message, arguments.json)).for_each(drop);
    client.session().leave();
    client.poll(Duration::ZERO)?;
    Ok(())
}
