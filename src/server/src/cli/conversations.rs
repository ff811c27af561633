//! What conversations a user has.

use std::time::{Duration, Instant};

use tidings_client::{ConversationId, Event, Group, History, SavedConversation, blocking::Client};

use super::{
    Failure,
    connect::{Connection, PATIENCE, rejected},
};

/// A client that knows all of its user's conversations, and none of their messages.
fn synced(connection: &Connection) -> Result<Client, Failure> {
    let mut config = connection.config()?;
    config.history = History::Recent(0);
    let mut client = connection.open(&config)?;
    let until = Instant::now() + PATIENCE;
    let mut synced = false;
    while Instant::now() < until {
        match client.poll(Duration::from_millis(if synced { 0 } else { 200 }))? {
            Some(Event::Synced) => synced = true,
            Some(Event::Rejected { code }) => return Err(rejected(code)),
            Some(_) => {}
            None if synced => return Ok(client),
            None => {}
        }
    }
    Err("no answer from the server".into())
}

fn all_of(client: &mut Client) -> Vec<SavedConversation> {
    client.session().save().map(|state| state.conversations).unwrap_or_default()
}

/// What a group is; `None` if the user is no member any more.
fn describe(client: &mut Client, conversation: ConversationId) -> Result<Option<Group>, Failure> {
    client.session().describe(conversation);
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        match client.poll(Duration::from_millis(200))? {
            Some(Event::Described(group)) if group.conversation == conversation => return Ok(Some(group)),
            Some(Event::DescribeFailed { conversation: of, .. }) if of == conversation => return Ok(None),
            _ => {}
        }
    }
    Err("no answer from the server".into())
}

/// The groups of a user, those that it left among them: of those there is no more to be had than that.
pub(super) fn groups_of(connection: &Connection) -> Result<Vec<(ConversationId, Option<Group>)>, Failure> {
    let mut client = synced(connection)?;
    let mut groups = Vec::new();
    for SavedConversation { id, .. } in all_of(&mut client).into_iter().filter(|known| known.id.is_group()) {
        groups.push((id, describe(&mut client, id)?));
    }
    client.session().leave();
    client.poll(Duration::ZERO)?;
    Ok(groups)
}
