//! `tidings set`: what a user wants, on all its devices.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use tidings_client::{ConversationId, ErrorCode, Event, ReadReceipts};

use super::{
    Failure,
    connect::{Connection, PATIENCE, group_id, recipient, rejected},
    conversations::synced,
};

/// Arguments of `set`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// Of the conversation with whom.
    #[arg(long, value_name = "NAME")]
    with: Option<String>,
    /// Of a group.
    #[arg(long, value_name = "ID", value_parser = group_id, conflicts_with = "with")]
    group: Option<ConversationId>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Hide a conversation until there is something new in it.
    Hide,
    /// Show a conversation that was hidden.
    Show,
    /// Say whether others are shown what you read. If not, you are not shown what they read either.
    ReadReceipts {
        /// Which.
        state: State,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    On,
    Off,
}

/// Does it.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (mut client, all) = synced(&arguments.connection)?;
    let session = client.session();
    match arguments.what {
        What::ReadReceipts { state: State::On } => session.set_read_receipts(ReadReceipts::Shown),
        What::ReadReceipts { state: State::Off } => session.set_read_receipts(ReadReceipts::Private),
        What::Hide | What::Show => {
            let which = recipient(arguments.with.as_deref(), arguments.group)?.conversation(session);
            if all.iter().all(|listed| listed.id != which) {
                return Err("there is no such conversation of this user".into());
            }
            if matches!(arguments.what, What::Hide) { session.hide(which) } else { session.show(which) }
        }
    }
    let until = Instant::now() + PATIENCE;
    while !client.session().settings_settled() {
        if Instant::now() > until {
            return Err("no answer from the server".into());
        }
        match client.poll(Duration::from_millis(50))? {
            Some(Event::SettingFailed { code: ErrorCode::FutureSeq, .. }) => {
                return Err("something new came meanwhile (FUTURE_SEQ)".into());
            }
            Some(Event::SettingFailed { code, .. }) => return Err(format!("refused: {code}").into()),
            Some(Event::Rejected { code }) => return Err(rejected(code)),
            _ => {}
        }
    }
    client.session().leave();
    client.poll(Duration::ZERO)?;
    Ok(())
}
