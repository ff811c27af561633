//! `tidings forget`: messages that a user does not want to see any more.

use clap::Args;
use tidings_client::{ConversationId, Seq};

use super::{
    Failure,
    connect::{Connection, group_id, recipient},
    conversations::synced,
    set::settle,
};

/// Arguments of `forget`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// In the conversation with whom.
    #[arg(long, value_name = "NAME", required_unless_present = "group")]
    with: Option<String>,
    /// In a group.
    #[arg(long, value_name = "ID", value_parser = group_id, conflicts_with = "with")]
    group: Option<ConversationId>,
    /// The message.
    #[arg(value_name = "SEQ")]
    first: u64,
    /// The last of several.
    #[arg(value_name = "LAST")]
    last: Option<u64>,
}

/// Does it.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let with = recipient(arguments.with.as_deref(), arguments.group)?;
    let (mut client, all) = synced(&arguments.connection)?;
    let session = client.session();
    let which = with.conversation(session);
    if all.iter().all(|listed| listed.id != which) {
        return Err("there is no such conversation of this user".into());
    }
    session.forget(which, Seq(arguments.first), Seq(arguments.last.unwrap_or(arguments.first)));
    settle(client)
}
