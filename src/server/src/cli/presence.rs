//! `tidings presence`: whether somebody is there.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tidings_client::{Event, PresenceState, Timestamp};

use super::{
    Failure,
    connect::{Connection, patience, rejected, user_named, wall_clock},
    out,
    status::no_answer,
};

/// Arguments of `presence`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// Whose.
    #[arg(long, value_name = "NAME")]
    of: String,
    /// One JSON object, with `state` (online, offline, hidden) and `last_seen` (microseconds; 0: not known).
    #[arg(long)]
    json: bool,
}

/// Does it.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let of = user_named(&arguments.of)?;
    let mut config = arguments.connection.config()?;
    if of == config.user {
        return Err("--of: that is you".into());
    }
    config.receive = false;
    let mut client = arguments.connection.open(&config)?;
    client.session().watch(&[of], &[]);
    let until = Instant::now() + patience();
    let (state, last_seen) = loop {
        if Instant::now() > until {
            return Err(no_answer());
        }
        match client.poll(Duration::from_millis(50))? {
            Some(Event::Presence { user, state, last_seen }) if user == of => break (state, last_seen),
            Some(Event::Rejected { code }) => return Err(rejected(code)),
            _ => {}
        }
    };
    if arguments.json {
        let state = match state {
            PresenceState::Online => "online",
            PresenceState::Offline => "offline",
            PresenceState::Hidden => "hidden",
        };
        out::line(&json!({ "state": state, "last_seen": last_seen.0 }).to_string());
    } else {
        out::line(&in_words(state, last_seen, wall_clock()));
    }
    client.session().leave();
    client.poll(Duration::ZERO)?;
    Ok(())
}

/// Whether somebody is there, for people.
pub(super) fn in_words(state: PresenceState, last_seen: Timestamp, now: Timestamp) -> String {
    match state {
        PresenceState::Online => "online".into(),
        PresenceState::Hidden => "does not say".into(),
        PresenceState::Offline if last_seen == Timestamp(0) => "offline".into(),
        PresenceState::Offline => {
            let minutes = now.0.saturating_sub(last_seen.0) / 60_000_000;
            let (number, unit) = match minutes {
                0 => return "last seen less than a minute ago".into(),
                1..120 => (minutes, "minutes"),
                120..2880 => (minutes / 60, "hours"),
                _ => (minutes / 1440, "days"),
            };
            let unit = if number == 1 { unit.trim_end_matches('s') } else { unit };
            format!("last seen {number} {unit} ago")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_away_was_seen_some_time_ago() {
        let now = Timestamp(1_700_000_000_000_000);
        let ago = |seconds: u64| in_words(PresenceState::Offline, Timestamp(now.0 - seconds * 1_000_000), now);
        assert_eq!(ago(59), "last seen less than a minute ago");
        assert_eq!((ago(60), ago(7_199)), ("last seen 1 minute ago".into(), "last seen 119 minutes ago".into()));
        assert_eq!((ago(7_200), ago(172_800)), ("last seen 2 hours ago".into(), "last seen 2 days ago".into()));
        assert_eq!(in_words(PresenceState::Offline, Timestamp(0), now), "offline");
        assert_eq!(in_words(PresenceState::Hidden, Timestamp(0), now), "does not say");
    }
}
