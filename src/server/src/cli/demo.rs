//! `tidings demo`

use super::Failure;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments) -> Result<(), Failure> {
    Err("soon".into())
}
