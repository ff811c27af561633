//! `tidings conversations` and `tidings read`: what conversations a user has, and how far it is in them.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::json;
use tidings_client::{
    ConversationId, Event, Group, History, Message, Preferences, Seq, UserId, Watermarks, blocking::Client,
};

use super::{
    Failure,
    connect::{Connection, group_id, patience, recipient, rejected, wall_clock},
    out,
    status::{Ended, Status, no_answer},
};

/// Arguments of `conversations`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// One JSON object a line, with `conversation`, `kind` (direct or group), `title` or `with`, `head`, `unread`, `delivered`, `read`, `hidden`.
    #[arg(long)]
    json: bool,
    /// Hidden ones, too.
    #[arg(long)]
    all: bool,
}

/// Arguments of `read`.
#[derive(Debug, Args)]
pub(super) struct ReadArguments {
    #[command(flatten)]
    connection: Connection,
    /// With whom.
    #[arg(long, value_name = "NAME", required_unless_present = "group")]
    with: Option<String>,
    /// In a group.
    #[arg(long, value_name = "ID", value_parser = group_id, conflicts_with = "with")]
    group: Option<ConversationId>,
    /// Everything up to this message is read.
    #[arg(value_name = "SEQ")]
    upto: u64,
}

/// A conversation of a user.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) id: ConversationId,
    peer: UserId,
    /// Its title, or the other member's name; empty: not known.
    name: String,
    head: Seq,
    own: Watermarks,
    unread: u64,
    hidden: bool,
    preferences: Preferences,
}

/// Messages of a conversation that are looked through for the name of the other.
const NAMED_WITHIN: NonZeroU32 = NonZeroU32::new(64).expect("not zero");

/// Prints a user's conversations: those that are kept at the top, then those that changed last, at the end those that are put away.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (mut client, mut all) = synced(&arguments.connection)?;
    all.sort_by_key(|listed| (listed.preferences.archived, std::cmp::Reverse(listed.preferences.pinned)));
    for listed in all.into_iter().filter(|listed| arguments.all || !listed.hidden) {
        let Listed { id, peer, name, head, own, unread, hidden, preferences } = listed;
        let kind = if id.is_group() { "group" } else { "direct" };
        let name = match name {
            known if !known.is_empty() => Some(known),
            _ if id.is_group() => describe(&mut client, id)?.map(|group| group.title),
            _ => name_of(&mut client, id, peer)?,
        };
        let line = if arguments.json {
            let called = if id.is_group() { "title" } else { "with" };
            json!({
                "conversation": id.to_string(), "kind": kind, called: name, "head": head.0, "unread": unread,
                "delivered": own.delivered.0, "read": own.read.0, "hidden": hidden,
                "muted_until": preferences.muted_until.0, "pinned": preferences.pinned,
                "archived": preferences.archived, "cleared": preferences.cleared.0, "blocked": preferences.blocked,
            })
            .to_string()
        } else {
            let name = name
                .as_deref()
                .map_or_else(|| if id.is_group() { "(left)".into() } else { peer.to_string() }, out::harmless);
            let unread = if unread > 0 { format!("{unread} unread") } else { String::new() };
            let marks = [
                (preferences.pinned > 0, "pinned"),
                (preferences.muted_until > wall_clock(), "muted"),
                (preferences.archived, "archived"),
                (preferences.blocked, "blocked"),
            ];
            let marks: Vec<_> = marks.into_iter().filter_map(|(holds, mark)| holds.then_some(mark)).collect();
            let marks = if marks.is_empty() { String::new() } else { format!("  ({})", marks.join(", ")) };
            format!("{unread:>12}  {name}{}{marks}", if id.is_group() { format!("  {id}") } else { String::new() })
        };
        if !out::line(&line) {
            break;
        }
    }
    leave(client)
}

/// Marks what a user has read.
pub(super) fn read(arguments: &ReadArguments) -> Result<(), Failure> {
    let with = recipient(arguments.with.as_deref(), arguments.group)?;
    let (mut client, all) = synced(&arguments.connection)?;
    let (conversation, upto) = (with.conversation(client.session()), Seq(arguments.upto));
    let listed = all.iter().find(|listed| listed.id == conversation);
    let Listed { head, .. } = listed.ok_or("there is no such conversation of this user")?;
    if upto > *head || upto == Seq(0) {
        return Err(format!("there is no message {upto} there: the last one is {head}").into());
    }
    // Of one that is not stored any more nobody knows how many messages with content were before it.
    let message = stored(&mut client, conversation, upto)?;
    if message.is_none() && upto < *head {
        out::note(
            "the message is not stored any more: what is unread before it stays counted until something later is read",
        );
    }
    let ordinal = message.map_or(0, |message| message.ordinal);
    client.session().read(conversation, upto, ordinal);
    let until = Instant::now() + patience();
    while !client.session().receipts_settled() {
        if Instant::now() > until {
            return Err(no_answer());
        }
        if let Some(Event::ReadDelayed { retry_ms, .. }) = client.poll(Duration::from_millis(50))? {
            let seconds = retry_ms.div_ceil(1000);
            let why = format!("in a large group this is taken once in a while: try again in {seconds} s");
            return Err(Ended::with(Status::Refused, why));
        }
    }
    leave(client)
}

fn leave(mut client: Client) -> Result<(), Failure> {
    client.session().leave();
    client.poll(Duration::ZERO)?;
    Ok(())
}

/// A client that knows all of its user's conversations, and none of their messages.
pub(super) fn synced(connection: &Connection) -> Result<(Client, Vec<Listed>), Failure> {
    let mut config = connection.config()?;
    (config.history, config.confirm) = (History::Recent(0), false);
    let mut client = connection.open(&config)?;
    let until = Instant::now() + patience();
    let (mut synced, mut all) = (false, Vec::<Listed>::new());
    while Instant::now() < until {
        match client.poll(Duration::from_millis(if synced { 0 } else { 200 }))? {
            Some(Event::Synced) => synced = true,
            Some(Event::Rejected { code }) => return Err(rejected(code)),
            Some(Event::Conversation {
                conversation: id, peer, name, head, own, unread, hidden, preferences, ..
            }) => {
                let listed = Listed { id, peer, name, head, own, unread, hidden, preferences };
                match all.iter_mut().find(|known| known.id == id) {
                    Some(known) => *known = listed,
                    None => all.push(listed),
                }
            }
            Some(_) => {}
            None if synced => return Ok((client, all)),
            None => {}
        }
    }
    Err(no_answer())
}

/// The name that the other member had when it wrote last, if it wrote lately.
fn name_of(client: &mut Client, conversation: ConversationId, peer: UserId) -> Result<Option<String>, Failure> {
    client.session().history(conversation, Seq(0), NAMED_WITHIN);
    let theirs = |message: &Message| message.sender == peer;
    Ok(history(client, conversation, theirs)?.map(|message| message.sender_name))
}

/// A message, if it can still be had.
fn stored(client: &mut Client, conversation: ConversationId, seq: Seq) -> Result<Option<Message>, Failure> {
    client.session().history_after(conversation, Seq(seq.0 - 1), NonZeroU32::MIN);
    history(client, conversation, |message| message.seq == seq)
}

/// The last of the messages that were asked for and are wanted.
fn history(
    client: &mut Client,
    conversation: ConversationId,
    wanted: impl Fn(&Message) -> bool,
) -> Result<Option<Message>, Failure> {
    let until = Instant::now() + patience();
    let mut found = None;
    while Instant::now() < until {
        match client.poll(Duration::from_millis(200))? {
            Some(Event::Older(message)) if message.conversation == conversation && wanted(&message) => {
                found = Some(message);
            }
            Some(Event::HistoryDone { conversation: of, .. }) if of == conversation => return Ok(found),
            Some(Event::HistoryFailed { conversation: of, code }) if of == conversation => {
                let why = format!("the messages of {conversation} cannot be read: {code}");
                return Err(Ended::with(Status::Refused, why));
            }
            _ => {}
        }
    }
    Err(no_answer())
}

/// What a group is; `None` if the user is no member any more.
fn describe(client: &mut Client, conversation: ConversationId) -> Result<Option<Group>, Failure> {
    client.session().describe(conversation);
    let until = Instant::now() + patience();
    while Instant::now() < until {
        match client.poll(Duration::from_millis(200))? {
            Some(Event::Described(group)) if group.conversation == conversation => return Ok(Some(group)),
            Some(Event::DescribeFailed { conversation: of, .. }) if of == conversation => return Ok(None),
            _ => {}
        }
    }
    Err(no_answer())
}

/// The groups of a user, those that it left among them: of those there is no more to be had than that.
pub(super) fn groups_of(connection: &Connection) -> Result<Vec<(ConversationId, Option<Group>)>, Failure> {
    let (mut client, all) = synced(connection)?;
    let mut groups = Vec::new();
    for Listed { id, .. } in all.into_iter().filter(|known| known.id.is_group()) {
        groups.push((id, describe(&mut client, id)?));
    }
    leave(client)?;
    Ok(groups)
}
