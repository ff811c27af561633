//! `tidings token`

use std::path::PathBuf;

use clap::Args;
use tidings_core::Scope;
use tidings_wire::DeviceId;

use super::{
    Failure,
    connect::{check_name, wall_clock},
    out,
};
use crate::tokens::Issuer;

/// Arguments of `token`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The server's data directory.
    #[arg(long, value_name = "DIR", default_value = "./tidings-data")]
    data: PathBuf,
    /// Whose token.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// The only device that may use it; without it, any.
    #[arg(long, value_name = "N")]
    device: Option<u32>,
    /// It is a program's that speaks with many: its sessions may have more under way, and say more.
    #[arg(long)]
    service: bool,
    /// It is an administrator's: what a service may, and it lists and revokes the devices of every user (`devices --of`).
    #[arg(long, conflicts_with = "service")]
    admin: bool,
    /// How long it is good for: a number and s, m, h or d.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_ttl)]
    ttl: u64,
}

fn parse_ttl(text: &str) -> Result<u64, String> {
    let (number, unit_s) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'd')) => (&text[..at], 86400),
        _ => return Err("a number and s, m, h or d, for example 24h".into()),
    };
    let number: u64 = number.parse().map_err(|error| format!("{error}"))?;
    number.checked_mul(unit_s).ok_or_else(|| "that is longer than the universe is old".into())
}

/// Prints the token.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    check_name(&arguments.user)?;
    let issuer = Issuer::load(&arguments.data).map_err(|error| {
        format!("no key in {} ({error}): start `tidings serve` there first", arguments.data.display())
    })?;
    let scope = match (arguments.admin, arguments.service) {
        (true, _) => Scope::Admin,
        (false, true) => Scope::Service,
        (false, false) => Scope::User,
    };
    let what = (arguments.device.map(DeviceId), scope);
    out::line(&issuer.issue_scoped(&arguments.user, what, wall_clock(), arguments.ttl)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse_ttl;

    #[test]
    fn times_have_units() {
        assert_eq!((parse_ttl("90s"), parse_ttl("24h")), (Ok(90), Ok(86400)));
        assert!(parse_ttl("24").is_err() && parse_ttl("h").is_err() && parse_ttl("99999999999999999d").is_err());
    }
}
