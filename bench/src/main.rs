//! Measures a server: `load` offers messages and counts what the user feels, with the floor beside it in the same run: a
//! *null relay* (the same frames over the same sockets, without log or logic) and the disk's own durable writes.
#![forbid(unsafe_code)]

mod clients;
mod cpu;
mod drive;
mod floor;
#[cfg(feature = "peers")]
mod peers;
mod plan;
mod progress;
mod report;
mod target;
mod values;
mod workloads;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::workloads::{
    Run, day::Day, doors::Doors, groups::Groups, history::History, hostile::Hostile, huge::Huge, idle::Idle,
    overload::Overload, pairs::Pairs, resume::Resume, stall::Stall, storm::Storm, stream::Stream,
};

/// Measures tidings against its floor.
#[derive(Debug, Parser)]
#[command(name = "tidings-bench", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Offers a workload. Server on one core, load on another.
    #[command(subcommand)]
    Load(Workload),
    /// What nothing on this machine can beat: the null relay, and the disk alone.
    Floor(Run<floor::Floor>),
    /// The same messages through other servers, side by side.
    #[cfg(feature = "peers")]
    Peers(Run<peers::Peers>),
    /// Whether one report is better or worse than another, outside of the noise.
    Compare(report::compare::Arguments),
    /// How much hardware: from a report and the numbers of users, devices and messages.
    Plan(plan::Arguments),
    /// The null relay alone (what `load` starts for the floor).
    Relay(floor::relay::Arguments),
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// Pairs of users who write to each other's devices: one sends, the other receives and confirms.
    Pairs(Run<Pairs>),
    /// Connections that only are there: what memory and processor time each takes.
    Idle(Run<Idle>),
    /// Devices that come back: with everything changed, and with nothing.
    Resume(Run<Resume>),
    /// Devices that ask for old messages.
    History(Run<History>),
    /// A day of people who write one to one, in a minute.
    Day(Run<Day>),
    /// Groups of several sizes, everybody online: what a copy costs, with one to one beside it.
    Groups(Run<Groups>),
    /// One group of very many, some of them online: what a copy costs, and how long people wait who write one to one beside it.
    Huge(Run<Huge>),
    /// A rate held for long, with the disk's own durable writes beside it.
    Stall(Run<Stall>),
    /// More messages than the server can take, with people who type and watch each other on top.
    Overload(Run<Overload>),
    /// One message that grows by many fragments, shown to many devices.
    Stream(Run<Stream>),
    /// The four ways to the server: what a message, an idle connection and a handshake cost, and a storm of handshakes.
    Doors(Run<Doors>),
    /// One hostile account beside well-behaved ones.
    Hostile(Run<Hostile>),
    /// Nearly everybody is cut off at once and comes back.
    Storm(Run<Storm>),
}

/// Why a command ends with an error: a sentence for people.
type Failure = Box<dyn std::error::Error>;

impl Command {
    fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Load(workload) => workload.run(),
            Self::Floor(floor) => floor.run(),
            #[cfg(feature = "peers")]
            Self::Peers(peers) => peers.run(),
            Self::Compare(arguments) => report::compare::run(arguments),
            Self::Plan(arguments) => plan::run(arguments),
            Self::Relay(arguments) => floor::relay::run(arguments),
        }
    }
}

impl Workload {
    fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Pairs(run) => run.run(),
            Self::Idle(run) => run.run(),
            Self::Resume(run) => run.run(),
            Self::History(run) => run.run(),
            Self::Day(run) => run.run(),
            Self::Groups(run) => run.run(),
            Self::Huge(run) => run.run(),
            Self::Stall(run) => run.run(),
            Self::Overload(run) => run.run(),
            Self::Stream(run) => run.run(),
            Self::Doors(run) => run.run(),
            Self::Hostile(run) => run.run(),
            Self::Storm(run) => run.run(),
        }
    }
}

fn main() -> ExitCode {
    match Arguments::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidings-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
