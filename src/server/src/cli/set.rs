//! `tidings set`: what a user wants, on all its devices.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use tidings_client::{
    ConversationId, ErrorCode, Event, Preferences, ReadReceipts, Timestamp, Visibility, blocking::Client,
};

use super::{
    Failure,
    connect::{Connection, group_id, patience, recipient, rejected, wall_clock},
    conversations::synced,
    status::{Ended, Status, no_answer, refused_with},
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
    /// Be alerted to nothing in a conversation but what mentions you.
    Mute {
        /// For so many seconds; 0: not any more. Without it, for ever.
        seconds: Option<u64>,
    },
    /// Put a conversation away.
    Archive,
    /// Take a conversation out again.
    Unarchive,
    /// Keep a conversation at the top.
    Pin {
        /// Its place: the highest comes first; 0: none.
        #[arg(default_value_t = 1)]
        place: u64,
    },
    /// Mark a conversation as read, and show nothing of it any more that is there now. Others keep it.
    Clear,
    /// Say whether others are shown what you read. If not, you are not shown what they read either.
    ReadReceipts {
        /// Which.
        state: State,
    },
    /// Say who is told whether you are there.
    Visibility {
        /// Who.
        to: Who,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Who {
    /// Everybody who asks.
    Everybody,
    /// Those to whom you have written.
    WrittenTo,
    /// Nobody.
    Nobody,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    On,
    Off,
}

/// When somebody is alerted again who is not for so many seconds.
fn muted_until(seconds: Option<u64>) -> Timestamp {
    match seconds {
        None => Preferences::EVER,
        Some(0) => Timestamp(0),
        Some(seconds) => Timestamp(wall_clock().0.saturating_add(seconds.saturating_mul(1_000_000))),
    }
}

/// Does it.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (mut client, all) = synced(&arguments.connection)?;
    let session = client.session();
    match arguments.what {
        What::ReadReceipts { state: State::On } => session.set_read_receipts(ReadReceipts::Shown),
        What::ReadReceipts { state: State::Off } => session.set_read_receipts(ReadReceipts::Private),
        What::Visibility { to } => session.set_visibility(match to {
            Who::Everybody => Visibility::Everybody,
            Who::WrittenTo => Visibility::WrittenTo,
            Who::Nobody => Visibility::Nobody,
        }),
        _ => {
            let which = recipient(arguments.with.as_deref(), arguments.group)?.conversation(session);
            if all.iter().all(|listed| listed.id != which) {
                return Err("there is no such conversation of this user".into());
            }
            match arguments.what {
                What::Hide => session.hide(which),
                What::Show => session.show(which),
                What::Mute { seconds } => session.mute(which, muted_until(seconds)),
                What::Archive => session.archive(which),
                What::Unarchive => session.unarchive(which),
                What::Pin { place } => session.pin(which, place),
                What::Clear => session.clear(which),
                What::ReadReceipts { .. } | What::Visibility { .. } => unreachable!("they are of the user"),
            }
        }
    }
    settle(client)
}

/// Waits until all that a user wants is durable.
pub(super) fn settle(mut client: Client) -> Result<(), Failure> {
    let until = Instant::now() + patience();
    while !(client.session().settings_settled() && client.session().receipts_settled()) {
        if Instant::now() > until {
            return Err(no_answer());
        }
        match client.poll(Duration::from_millis(50))? {
            Some(Event::SettingFailed { code: ErrorCode::FutureSeq, .. }) => {
                return Err(Ended::with(Status::Refused, "something new came meanwhile (FUTURE_SEQ)"));
            }
            Some(Event::ForgetFailed { code: ErrorCode::FutureSeq | ErrorCode::TargetInvalid, .. }) => {
                return Err(Ended::with(Status::Refused, "there are no such messages"));
            }
            Some(Event::SettingFailed { code, .. } | Event::ForgetFailed { code, .. }) => {
                return Err(refused_with(code));
            }
            Some(Event::Rejected { code }) => return Err(rejected(code)),
            _ => {}
        }
    }
    client.session().leave();
    client.poll(Duration::ZERO)?;
    Ok(())
}
