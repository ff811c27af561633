//! `tidings edit`, `erase`, `react` and `timer`: what is said about earlier messages, and how long messages stay.

use std::time::{Duration, Instant};

use clap::Args;
use tidings_client::{Content, ConversationId, ErrorCode, Event, Seq, Session};

use super::{
    Failure,
    connect::{Connection, Recipient, group_id, patience, recipient, rejected},
    out,
    status::{Ended, Status, no_answer, refused_with},
};

/// Where a message is, and as whom.
#[derive(Debug, Args)]
pub(super) struct Place {
    #[command(flatten)]
    pub(super) connection: Connection,
    /// In the conversation with whom.
    #[arg(long, value_name = "NAME", required_unless_present = "group")]
    pub(super) with: Option<String>,
    /// In a group.
    #[arg(long, value_name = "ID", value_parser = group_id, conflicts_with = "with")]
    pub(super) group: Option<ConversationId>,
}

/// Arguments of `edit`.
#[derive(Debug, Args)]
pub(super) struct EditArguments {
    #[command(flatten)]
    place: Place,
    /// The message's number.
    seq: u64,
    /// What it says instead.
    #[arg(allow_hyphen_values = true)]
    text: String,
}

/// Arguments of `erase`.
#[derive(Debug, Args)]
pub(super) struct EraseArguments {
    #[command(flatten)]
    place: Place,
    /// The message's number.
    seq: u64,
}

/// Arguments of `react`.
#[derive(Debug, Args)]
pub(super) struct ReactArguments {
    #[command(flatten)]
    place: Place,
    /// The message's number.
    seq: u64,
    /// An emoji, by custom; without it, a reaction of before is taken back.
    #[arg(default_value = "", hide_default_value = true)]
    reaction: String,
}

/// Arguments of `timer`.
#[derive(Debug, Args)]
pub(super) struct TimerArguments {
    #[command(flatten)]
    place: Place,
    /// Seconds after which messages disappear that are written from now on; 0: they stay.
    seconds: u32,
}

/// Replaces what a message says.
pub(super) fn edit(arguments: &EditArguments) -> Result<(), Failure> {
    let EditArguments { place, seq, text } = arguments;
    place.act(|session, at| session.edit(at, Seq(*seq), text.as_bytes()))
}

/// Withdraws a message.
pub(super) fn erase(arguments: &EraseArguments) -> Result<(), Failure> {
    arguments.place.act(|session, at| session.erase(at, Seq(arguments.seq)))
}

/// Says what the user thinks of a message.
pub(super) fn react(arguments: &ReactArguments) -> Result<(), Failure> {
    let ReactArguments { place, seq, reaction } = arguments;
    place.act(|session, at| session.react(at, Seq(*seq), reaction.as_bytes()))
}

/// Lets messages disappear.
pub(super) fn timer(arguments: &TimerArguments) -> Result<(), Failure> {
    let TimerArguments { place, seconds } = arguments;
    let to = place.recipient()?;
    place.act(|session, at| match to {
        // It may be the first that happens there.
        Recipient::User(user) => session.post_to(user, Content::timer(*seconds)),
        Recipient::Group(_) => session.post(at, Content::timer(*seconds)),
    })
}

impl Place {
    pub(super) fn recipient(&self) -> Result<Recipient, Failure> {
        recipient(self.with.as_deref(), self.group)
    }

    /// Does it, and prints the number that it got.
    fn act(&self, act: impl Fn(&mut Session, ConversationId) -> tidings_client::ClientMsgId) -> Result<(), Failure> {
        let to = self.recipient()?;
        let mut config = self.connection.config()?;
        config.receive = false;
        let mut client = self.connection.open(&config)?;
        let conversation = to.conversation(client.session());
        act(client.session(), conversation);
        let until = Instant::now() + patience();
        while Instant::now() < until {
            match client.poll(Duration::from_millis(200))? {
                Some(Event::Sent { conversation, seq, .. }) => {
                    let line = serde_json::json!({ "conversation": conversation.to_string(), "seq": seq.0 });
                    out::line(&line.to_string());
                    client.session().leave();
                    client.poll(Duration::ZERO)?;
                    return Ok(());
                }
                Some(Event::SendFailed { code, .. }) => return Err(refused(code)),
                Some(Event::Rejected { code }) => return Err(rejected(code)),
                _ => {}
            }
        }
        Err(no_answer())
    }
}

/// Why the server does not do it, as a sentence.
fn refused(code: ErrorCode) -> Failure {
    let why = match code {
        ErrorCode::NotMember => "you are in no such conversation",
        ErrorCode::NotAllowed => "it is another's message, or your role does not allow it",
        ErrorCode::TargetInvalid => "there is no such message, or none of which this can be said",
        ErrorCode::TargetErased => "the message was withdrawn",
        ErrorCode::TooLate => "it is too long ago that it was written",
        ErrorCode::PayloadTooLarge => "that is too long",
        _ => return refused_with(code),
    };
    Ended::with(Status::Refused, format!("{why} ({code})"))
}
