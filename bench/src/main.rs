//! Measures a server: `load` offers messages and counts what the user feels, with the floor beside it in the same run: a
//! *null relay* (the same frames over the same sockets, without log or logic) and the disk's own durable writes.
#![forbid(unsafe_code)]

mod connection;
mod cpu;
mod dsync;
mod load;
mod plan;
mod relay;
mod report;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures tidings against its floor.
#[derive(Debug, Parser)]
#[command(name = "tidings-bench", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Pairs of connections: one sends, the other receives and confirms. Server on one core, load on another.
    Load(run::Arguments),
    /// How much hardware: from a report and the numbers of users, devices and messages.
    Plan(plan::Arguments),
    /// The null relay alone (what `load` starts for the floor).
    Relay(relay::Arguments),
}

/// Why a command ends with an error: a sentence for people.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Load(arguments) => run::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Relay(arguments) => relay::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidings-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
