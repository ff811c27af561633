//! Measures a server: `load` offers messages and counts what the user feels, with the floor beside it in the same run: a
//! *null relay* (the same frames over the same sockets, without log or logic) and the disk's own durable writes.
#![forbid(unsafe_code)]

mod arrivals;
mod attacks;
mod circle;
mod compare;
mod connection;
mod connections;
mod cpu;
mod crowd;
mod day;
mod doors;
mod dsync;
mod floor;
mod groups;
mod history;
mod hostile;
mod html;
mod huge;
mod idle;
mod idlers;
mod load;
mod measure;
mod offer;
mod offers;
mod overload;
mod pace;
mod pairs;
#[cfg(feature = "peers")]
mod peers;
mod person;
mod plan;
mod plot;
mod relay;
mod report;
mod resume;
mod run;
mod search;
mod seek;
mod slo;
mod stall;
mod storm;
mod stream;
mod target;
mod timeline;
mod values;
mod ways;

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
    /// Offers a workload. Server on one core, load on another.
    Load {
        /// Which.
        #[command(subcommand)]
        workload: Workload,
    },
    /// What nothing on this machine can beat: the null relay, and the disk alone.
    Floor(floor::Arguments),
    /// The same messages through other servers, side by side.
    #[cfg(feature = "peers")]
    Peers(peers::Arguments),
    /// Whether one report is better or worse than another, outside of the noise.
    Compare(compare::Arguments),
    /// How much hardware: from a report and the numbers of users, devices and messages.
    Plan(plan::Arguments),
    /// The null relay alone (what `load` starts for the floor).
    Relay(relay::Arguments),
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// Pairs of users who write to each other's devices: one sends, the other receives and confirms.
    Pairs(run::Arguments),
    /// Connections that only are there: what memory and processor time each takes.
    Idle(idle::Arguments),
    /// Devices that come back: with everything changed, and with nothing.
    Resume(resume::Arguments),
    /// Devices that ask for old messages.
    History(history::Arguments),
    /// A day of people who write one to one, in a minute.
    Day(day::Arguments),
    /// Groups of several sizes, everybody online: what a copy costs, with one to one beside it.
    Groups(groups::Arguments),
    /// One group of very many, some of them online: what a copy costs, and how long people wait who write one to one beside it.
    Huge(huge::Arguments),
    /// A rate held for long, with the disk's own durable writes beside it.
    Stall(stall::Arguments),
    /// More messages than the server can take, with people who type and watch each other on top.
    Overload(overload::Arguments),
    /// One message that grows by many fragments, shown to many devices.
    Stream(stream::Arguments),
    /// The four ways to the server: what a message, an idle connection and a handshake cost, and a storm of handshakes.
    Doors(doors::Arguments),
    /// One hostile account beside well-behaved ones.
    Hostile(hostile::Arguments),
    /// Nearly everybody is cut off at once and comes back.
    Storm(storm::Arguments),
}

/// Why a command ends with an error: a sentence for people.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Load { workload } => match workload {
            Workload::Pairs(arguments) => run::run(&arguments),
            Workload::Idle(arguments) => idle::run(&arguments),
            Workload::Resume(arguments) => resume::run(&arguments),
            Workload::History(arguments) => history::run(&arguments),
            Workload::Day(arguments) => day::run(&arguments),
            Workload::Groups(arguments) => groups::run(&arguments),
            Workload::Huge(arguments) => huge::run(&arguments),
            Workload::Stall(arguments) => stall::run(&arguments),
            Workload::Overload(arguments) => overload::run(&arguments),
            Workload::Stream(arguments) => stream::run(&arguments),
            Workload::Doors(arguments) => doors::run(&arguments),
            Workload::Hostile(arguments) => hostile::run(&arguments),
            Workload::Storm(arguments) => storm::run(&arguments),
        },
        Command::Floor(arguments) => floor::run(&arguments),
        #[cfg(feature = "peers")]
        Command::Peers(arguments) => peers::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
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
