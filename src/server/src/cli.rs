//! The command line: one file a subcommand.

mod about;
mod block;
mod chat;
mod check;
mod completions;
mod connect;
mod conversations;
mod demo;
mod devices;
mod forget;
mod group;
mod history;
mod out;
mod presence;
mod restore;
mod said;
mod send;
mod serve;
mod set;
mod status;
mod stream;
mod tail;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A messaging backend: what an application's phones talk to.
#[derive(Debug, Parser)]
#[command(
    name = "tidings",
    version,
    max_term_width = 100,
    after_help = "\
Start with `tidings demo`: it runs a server, kills it in the middle of a conversation, and shows that nothing is lost. \
Then, in three terminals:

  tidings serve
  tidings chat --user alice --to bob
  tidings chat --user bob --to alice

The protocol is in docs/protocol.md, the architecture in docs/architecture.md."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(serve::Arguments),
    /// Print a token for a user, signed with the data directory's key.
    Token(token::Arguments),
    /// Send messages; print one JSON line for each once it is durable.
    Send(send::Arguments),
    /// Print a user's messages as they come, those of each conversation in their order, one JSON line each with --json.
    Tail(tail::Arguments),
    /// Print the stored messages of a conversation.
    History(history::Arguments),
    /// List a user's conversations, with what is unread in them.
    Conversations(conversations::Arguments),
    /// Mark messages as read.
    Read(conversations::ReadArguments),
    /// Send standard input as one message that others see grow while it comes.
    Stream(stream::Arguments),
    /// Replace what a message of yours says; print the number of the edit.
    Edit(about::EditArguments),
    /// Withdraw a message for everybody.
    Erase(about::EraseArguments),
    /// Say what you think of a message.
    React(about::ReactArguments),
    /// Let the messages of a conversation disappear after a while.
    Timer(about::TimerArguments),
    /// Print whether somebody is there, or when it was there last.
    Presence(presence::Arguments),
    /// Do not see messages any more, on none of your devices. Others keep them.
    Forget(forget::Arguments),
    /// Hear nothing of somebody any more, who is not told.
    Block(block::Arguments),
    /// Hear of somebody again.
    Unblock(block::Arguments),
    /// Make groups and change them.
    Group(group::Arguments),
    /// List a user's devices, or let one in no more.
    Devices(devices::Arguments),
    /// Change what a user wants: hide a conversation, or show nobody what is read or whether you are there.
    Set(set::Arguments),
    /// Chat with somebody, or with a group, in the terminal.
    Chat(chat::Arguments),
    /// Accept a data directory that was restored from a backup or has lost files, and begin a new lineage on it.
    Restore(restore::Arguments),
    /// Read a data directory as a start would, and change nothing.
    Check(check::Arguments),
    /// Print completions for a shell.
    Completions(completions::Arguments),
    /// See it hold: two users on two devices each, a server that is killed while they talk.
    Demo(demo::Arguments),
}

/// Why a command ends with an error: a sentence for people.
type Failure = Box<dyn std::error::Error>;

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Token(arguments) => token::run(&arguments),
        Command::Send(arguments) => send::run(&arguments),
        Command::Tail(arguments) => tail::run(&arguments),
        Command::History(arguments) => history::run(&arguments),
        Command::Conversations(arguments) => conversations::run(&arguments),
        Command::Read(arguments) => conversations::read(&arguments),
        Command::Stream(arguments) => stream::run(&arguments),
        Command::Edit(arguments) => about::edit(&arguments),
        Command::Erase(arguments) => about::erase(&arguments),
        Command::React(arguments) => about::react(&arguments),
        Command::Timer(arguments) => about::timer(&arguments),
        Command::Presence(arguments) => presence::run(&arguments),
        Command::Forget(arguments) => forget::run(&arguments),
        Command::Block(arguments) => block::block(&arguments),
        Command::Unblock(arguments) => block::unblock(&arguments),
        Command::Group(arguments) => group::run(&arguments),
        Command::Devices(arguments) => devices::run(&arguments),
        Command::Set(arguments) => set::run(&arguments),
        Command::Chat(arguments) => chat::run(&arguments),
        Command::Restore(arguments) => restore::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::note(&format!("tidings: {error}"));
            status::code(&*error)
        }
    }
}
