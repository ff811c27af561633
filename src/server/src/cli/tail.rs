//! `tidings tail`

use std::time::Duration;

use clap::Args;
use tidings_client::{ConversationId, Event, History, Loss, Seq, Timestamp, UserId};

use super::{
    Failure,
    connect::{Connection, Format, group_id, print, rejected, user_named, wall_clock},
    out,
};

/// Arguments of `tail`.
#[derive(Debug, Args)]
#[command(after_help = "\
With a device of its own (--device), and without --new, --since, --after, --with and --group, what it prints counts as received by the user; else it only looks.")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// Only with this user.
    #[arg(long, value_name = "NAME")]
    with: Option<String>,
    /// Only of a group.
    #[arg(long, value_name = "ID", value_parser = group_id, conflicts_with = "with")]
    group: Option<ConversationId>,
    #[command(flatten)]
    format: Format,
    /// Only what comes from now on.
    #[arg(long)]
    new: bool,
    /// Only what was written since: seconds since 1970, or how long ago, as 90s, 15m, 2h or 7d.
    #[arg(long, value_name = "TIME", value_parser = since, conflicts_with = "new")]
    since: Option<Timestamp>,
    /// Only messages after this number of the conversation with --with or --group.
    #[arg(long, value_name = "SEQ", default_value_t = 0, hide_default_value = true)]
    after: u64,
    /// Stop after this many messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Prints messages until it is stopped.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.after > 0 && arguments.with.is_none() && arguments.group.is_none() {
        return Err("--after: of which conversation? --with or --group says it".into());
    }
    let mut config = arguments.connection.config()?;
    if arguments.new {
        config.history = History::Recent(0);
    }
    // Whoever has received a message has received those before it, for all of the user's devices: what is passed over here somebody else may still want.
    let passes_over = arguments.new || arguments.since.is_some() || arguments.after > 0 || only_one(arguments);
    config.confirm = !passes_over && !config.device.is_guest();
    let mut client = arguments.connection.open(&config)?;
    let with: Option<UserId> = arguments.with.as_deref().map(user_named).transpose()?;
    let only = with.map(|user| client.session().conversation_with(user)).or(arguments.group);
    let wanted = |conversation| only.is_none_or(|only| only == conversation);
    let since = arguments.since.unwrap_or_default();
    let mut printed = 0;
    while arguments.count.is_none_or(|count| printed < count) {
        match client.poll(Duration::from_secs(1))? {
            Some(Event::Message(message)) if wanted(message.conversation) => {
                if message.ts < since || message.seq <= Seq(arguments.after) {
                    continue;
                }
                if !print(&message, &arguments.format) {
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

/// True if not all conversations are printed.
fn only_one(arguments: &Arguments) -> bool {
    arguments.with.is_some() || arguments.group.is_some()
}

/// A time: of the epoch, or before now.
fn since(text: &str) -> Result<Timestamp, String> {
    since_at(text, wall_clock())
}

fn since_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    const SECOND: u64 = 1_000_000;
    let unknown = || format!("{text} is no time: seconds since 1970, or how long ago, as 90s, 15m, 2h or 7d");
    let unit = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 24 * 3600,
        _ => {
            let seconds: u64 = text.parse().map_err(|_| unknown())?;
            return Ok(Timestamp(seconds.saturating_mul(SECOND)));
        }
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| unknown())?;
    Ok(Timestamp(now.0.saturating_sub(count.saturating_mul(unit * SECOND))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_of_the_epoch_or_before_now() {
        let now = Timestamp(1_000_000_000_000_000);
        let at = |text| since_at(text, now).map(|time| time.0 / 1_000_000);
        assert_eq!((at("1700000000"), at("90s")), (Ok(1_700_000_000), Ok(999_999_910)));
        assert_eq!((at("2h"), at("7d")), (Ok(999_992_800), Ok(999_395_200)));
        assert_eq!(at("99999999d"), Ok(0), "long ago");
        for wrong in ["", "h", "2w", "-3s", "yesterday", "ü"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
