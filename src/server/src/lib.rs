//! The tidings server as a library: the data directory, recovery, tokens, configuration, starting and stopping. The
//! binary's subcommands are in [`cli`]; what the demo and the crash tests share is in [`chatting`], [`transcript`] and [`process`].
#![forbid(unsafe_code)]

pub mod chatting;
pub mod cli;
pub mod config;
pub mod data;
pub mod front_door;
pub mod pages;
pub mod process;
pub mod server;
pub mod sync;
pub mod tokens;
pub mod transcript;

pub use config::ServerConfig;
pub use data::DataDir;
pub use server::{Server, StartError};
