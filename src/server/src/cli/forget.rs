//! `tidings forget`: messages that a user does not want to see any more.

use clap::Args;
use tidings_client::Seq;

use super::{Failure, about::Place, connect::recipient, conversations::synced, set::settle};

/// Arguments of `forget`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The message.
    #[arg(value_name = "SEQ")]
    first: u64,
    /// The last of several.
    #[arg(value_name = "LAST")]
    last: Option<u64>,
}

/// Does it.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Place { connection, with, group } = &arguments.place;
    let with = recipient(with.as_deref(), *group)?;
    let (mut client, all) = synced(connection)?;
    let session = client.session();
    let which = with.conversation(session);
    if all.iter().all(|listed| listed.id != which) {
        return Err("there is no such conversation of this user".into());
    }
    session.forget(which, Seq(arguments.first), Seq(arguments.last.unwrap_or(arguments.first)));
    settle(client)
}
