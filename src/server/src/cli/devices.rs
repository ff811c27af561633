//! `tidings devices`: which devices a user has, and which are let in no more.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;
use tidings_client::{Device, DeviceId, ErrorCode, Event, UserId, blocking::Client};
use tidings_core::Scope;

use super::{
    Failure,
    connect::{Connection, patience, rejected, user_named},
    out,
    status::{Ended, Status, no_answer, refused_with},
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
        #[command(flatten)]
        whose: Whose,
        /// One JSON object a line, with `device`, `name`, `connected`, `since`, `seen` (microseconds; 0: a guest).
        #[arg(long)]
        json: bool,
    },
    /// Let a device in no more, and end its session. Tokens that were issued before, and not for one device, let no new device in either.
    Revoke {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        whose: Whose,
        /// Print the devices that are left, as `list` does.
        #[arg(long)]
        json: bool,
        /// Its number.
        #[arg(value_name = "N", required_unless_present = "all")]
        number: Option<u32>,
        /// All devices (but this one, of one's own), and every token that was issued before.
        #[arg(long, conflicts_with = "number")]
        all: bool,
    },
}

#[derive(Debug, Args)]
struct Whose {
    /// Of another user of the tenant: for administrators. With --token, that must be an administrator's (`tidings token --admin`).
    #[arg(long, value_name = "NAME")]
    of: Option<String>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Asks {
    List,
    Revoke(DeviceId),
    RevokeAll,
}

impl Asks {
    fn ask(self, of: Option<UserId>, client: &mut Client) {
        let session = client.session();
        match (self, of) {
            (Self::List, None) => session.devices(),
            (Self::List, Some(user)) => session.devices_of(user),
            (Self::Revoke(device), None) => session.revoke(device),
            (Self::Revoke(device), Some(user)) => session.revoke_of(user, Some(device)),
            (Self::RevokeAll, None) => session.revoke_others(),
            (Self::RevokeAll, Some(user)) => session.revoke_of(user, None),
        }
    }
}

/// An administrator's answer may be lost: it asks again after as long.
const ANSWER_AFTER: Duration = Duration::from_secs(1);

/// Does it.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (connection, whose, json, asks) = match &arguments.what {
        What::List { connection, whose, json } => (connection, whose, *json, Asks::List),
        What::Revoke { connection, whose, json, number, .. } => {
            let asks = number.map_or(Asks::RevokeAll, |number| Asks::Revoke(DeviceId(number)));
            (connection, whose, *json, asks)
        }
    };
    let of = whose.of.as_deref().map(user_named).transpose()?;
    let mut config = connection.config_as(if of.is_some() { Scope::Admin } else { Scope::User })?;
    config.receive = false;
    let mut client = connection.open(&config)?;
    let devices = wait(&mut client, asks, of)?;
    if json || matches!(asks, Asks::List) {
        // The guest that this command is says nothing to anybody.
        devices.iter().filter(|device| !(device.this && device.since.0 == 0)).all(|device| print(device, json));
    } else {
        out::line("done");
    }
    client.session().leave();
    client.poll(Duration::ZERO)?;
    Ok(())
}

fn wait(client: &mut Client, asks: Asks, of: Option<UserId>) -> Result<Vec<Device>, Failure> {
    let until = Instant::now() + patience();
    asks.ask(of, client);
    let (mut asked, mut again) = (Instant::now(), false);
    while Instant::now() < until {
        if of.is_some() && asked.elapsed() >= ANSWER_AFTER {
            asks.ask(of, client);
            (asked, again) = (Instant::now(), true);
        }
        match client.poll(Duration::from_millis(200))? {
            Some(Event::Devices(devices)) => return Ok(devices),
            Some(Event::DevicesFailed { code: ErrorCode::NoSuchDevice }) => {
                let why = match asks {
                    // It may have been revoked before, and the answer was lost.
                    Asks::Revoke(device) if again => {
                        format!("device {} is not there, or not any more (NO_SUCH_DEVICE)", device.0)
                    }
                    Asks::Revoke(device) => format!("there is no device {} of this user (NO_SUCH_DEVICE)", device.0),
                    Asks::List | Asks::RevokeAll => "this user was never here (NO_SUCH_DEVICE)".into(),
                };
                return Err(Ended::with(Status::Refused, why));
            }
            Some(Event::DevicesFailed { code: ErrorCode::NotAllowed }) => {
                let why = "the token is not an administrator's of that user's tenant (NOT_ALLOWED)";
                return Err(Ended::with(Status::Refused, why));
            }
            Some(Event::DevicesFailed { code }) => return Err(refused_with(code)),
            Some(Event::Rejected { code }) => return Err(rejected(code)),
            _ => {}
        }
    }
    Err(no_answer())
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
