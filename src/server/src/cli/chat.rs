//! `tidings chat`

use super::Failure;

/// Arguments of `chat`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments) -> Result<(), Failure> {
    Err("soon".into())
}
