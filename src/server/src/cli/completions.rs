//! `tidings completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Failure;

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
For bash: tidings completions bash > ~/.local/share/bash-completion/completions/tidings")]
pub(super) struct Arguments {
    /// For which shell.
    shell: Shell,
}

/// Prints them.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "tidings", &mut script);
    super::out::line(String::from_utf8(script)?.trim_end());
    Ok(())
}
