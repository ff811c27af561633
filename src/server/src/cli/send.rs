//! `tidings send`

use std::{
    io::BufRead,
    time::{Duration, Instant},
};

use clap::Args;
use tidings_client::{Event, UserId, blocking::Client};

use super::{
    Failure,
    connect::{Connection, PATIENCE, check_name, rejected},
};

/// Arguments of `send`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// To whom.
    #[arg(long, value_name = "NAME")]
    to: String,
    /// What; `-`: each line of standard input is a message.
    text: String,
}

/// Messages that are on their way at once when standard input is read.
const PIPELINE: usize = 64;

/// Sends, and prints what became of it.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    check_name(&arguments.to)?;
    let mut config = arguments.connection.config()?;
    config.receive = false;
    let mut client = arguments.connection.open(config)?;
    let to = UserId::derive(tidings_client::DEFAULT_TENANT, &arguments.to);
    let mut waiting = 0;
    if arguments.text == "-" {
        for line in std::io::stdin().lock().lines() {
            client.session().send(to, line?.as_bytes());
            waiting += 1;
            while waiting >= PIPELINE {
                wait_for_one(&mut client, &mut waiting)?;
            }
        }
    } else {
        client.session().send(to, arguments.text.as_bytes());
        waiting = 1;
    }
    while waiting > 0 {
        wait_for_one(&mut client, &mut waiting)?;
    }
    client.session().leave();
    client.poll(Duration::ZERO)?;
    Ok(())
}

/// Waits until a message is durable, and prints its line.
fn wait_for_one(client: &mut Client, waiting: &mut usize) -> Result<(), Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        match client.poll(Duration::from_millis(200))? {
            Some(Event::Sent { conversation, seq, .. }) => {
                println!("{}", serde_json::json!({ "conversation": conversation.to_string(), "seq": seq.0 }));
                *waiting -= 1;
                return Ok(());
            }
            Some(Event::SendFailed { code, .. }) => return Err(format!("not sent: {code}").into()),
            Some(Event::Rejected { code }) => return Err(rejected(code)),
            _ if Instant::now() > until => {
                return Err("no answer from the server: the message may or may not have been sent".into());
            }
            _ => {}
        }
    }
}
