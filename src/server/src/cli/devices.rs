//! `tidings devices`: which devices a user has, and which are let in no more.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;
use tidings_client::{Device, DeviceId, ErrorCode, Event, blocking::Client};

use super::{
    Failure,
    connect::{Connection, PATIENCE, rejected},
    out,
};

/// Arguments of `devices`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print a user's devices.
    List {
        #[command(flatten)]
        connection: Connection,
        /// One JSON object a line, with `device`, `name`, `connected`, `since`, `seen` (microseconds; 0: a guest).
        #[arg(long)]
        json: bool,
    },
    /// Let a device in no more, and end its session. Tokens that were issued before, and not for one device, let no new device in either.
    Revoke {
        #[command(flatten)]
        connection: Connection,
        /// Print the devices that are left, as `list` does.
        #[arg(long)]
        json: bool,
        /// Its number.
        #[arg(value_name = "N")]
        number: u32,
    },
}

/// Does it.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (connection, json, revoked) = match &arguments.what {
        What::List { connection, json } => (connection, *json, None),
        What::Revoke { connection, json, number } => (connection, *json, Some(DeviceId(*number))),
    };
    let mut config = connection.config()?;
    config.receive = false;
    let mut client = connection.open(&config)?;
    match revoked {
        Some(device) => client.session().revoke(device),
        None => client.session().devices(),
    }
    let devices = wait(&mut client, revoked)?;
    if revoked.is_some() && !json {
        out::line("done");
    } else {
        // The guest that this command is says nothing to anybody.
        devices.iter().filter(|device| !(device.this && device.since.0 == 0)).all(|device| print(device, json));
    }
    client.session().leave();
    client.poll(Duration::ZERO)?;
    Ok(())
}

fn wait(client: &mut Client, revoked: Option<DeviceId>) -> Result<Vec<Device>, Failure> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        match client.poll(Duration::from_millis(200))? {
            Some(Event::Devices(devices)) => return Ok(devices),
            Some(Event::DevicesFailed { code: ErrorCode::NoSuchDevice }) => {
                let number = revoked.map_or(0, |device| device.0);
                return Err(format!("there is no device {number} of this user (NO_SUCH_DEVICE)").into());
            }
            Some(Event::DevicesFailed { code }) => return Err(format!("refused: {code}").into()),
            Some(Event::Rejected { code }) => return Err(rejected(code)),
            _ => {}
        }
    }
    Err("no answer from the server".into())
}

fn print(device: &Device, json: bool) -> bool {
    let Device { device: number, name, connected, since, seen, .. } = device;
    if json {
        let (since, seen) = (since.0, seen.0);
        let line = json!({ "device": number.0, "name": name, "connected": connected, "since": since, "seen": seen });
        return out::line(&line.to_string());
    }
    let state = if *connected { "connected" } else { "" };
    let kind = if since.0 == 0 { "(guest)".into() } else { out::harmless(name) };
    out::line(&format!("{:>10}  {state:<9}  {kind}", number.0))
}
