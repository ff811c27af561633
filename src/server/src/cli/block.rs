//! `tidings block` and `tidings unblock`: of whom a user does not want to hear.

use clap::Args;
use tidings_client::{Session, UserId};

use super::{
    Failure,
    connect::{Connection, user_named},
    conversations::synced,
    set::settle,
};

/// Arguments of `block` and `unblock`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// Whom.
    #[arg(long, value_name = "NAME")]
    of: String,
}

/// Somebody is blocked.
pub(super) fn block(arguments: &Arguments) -> Result<(), Failure> {
    wish(arguments, Session::block)
}

/// Somebody is not blocked any more.
pub(super) fn unblock(arguments: &Arguments) -> Result<(), Failure> {
    wish(arguments, Session::unblock)
}

fn wish(arguments: &Arguments, wish: impl Fn(&mut Session, UserId)) -> Result<(), Failure> {
    let (of, user) = (user_named(&arguments.of)?, user_named(arguments.connection.user())?);
    if of == user {
        return Err("--of: that is you".into());
    }
    let (mut client, _all) = synced(&arguments.connection)?;
    wish(client.session(), of);
    settle(client)
}
