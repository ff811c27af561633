//! `tidings-bench load idle`: what a connection costs that only is there, and apart from it what a user with conversations
//! costs.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::Workload;
use crate::{
    Failure,
    clients::{Clients, members, pairs::Pairs, way::Way},
    cpu,
    drive::{Offer, Phases, measure::measure},
    progress::Progress,
    report::{Findings, mib},
    target::{Limits, Place, Target},
    values,
};

/// Arguments of `load idle`.
#[derive(Debug, Args)]
pub struct Idle {
    /// Connections.
    #[arg(long, default_value_t = 15_000, value_parser = values::count)]
    connections: usize,
    /// Devices of each user among them: many, so that users' state hardly counts.
    #[arg(long, default_value_t = 8, value_parser = values::count)]
    devices: usize,
    /// Conversations that are made afterwards, each of two users of its own.
    #[arg(long, default_value_t = 2_000, value_parser = values::count)]
    conversations: usize,
    /// Seconds that idle processor time is measured for.
    #[arg(long, default_value_t = 10.0, value_parser = values::positive)]
    seconds: f64,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
    connections: usize,
    /// Devices of each user among them.
    devices: usize,
    /// Connections that were there first.
    first: usize,
    /// Anonymous memory of the server with those.
    first_bytes: u64,
    /// More of it for each that came then.
    bytes_per_connection: f64,
    /// More of it for two users' homes, their connections and the conversation between them.
    bytes_per_pair: f64,
    /// Share of a core that the server uses while nobody says anything.
    idle_cpu: f64,
    /// Connections a second that were let in.
    connects_per_s: f64,
}

/// Of the connections, one in so many comes before memory is looked at: what a reactor keeps in any case, like its receive
/// buffers, is there then.
const FIRST_PART: usize = 3;
/// How long everybody may take to be let in.
const HERE_WITHIN: Duration = Duration::from_secs(120);
/// How long the server is left alone before its memory is looked at, so that nobody is being let in or going any more.
const CALM: Duration = Duration::from_secs(2);

/// Connections that are there, and what the server keeps for them.
#[derive(Debug)]
pub struct There {
    clients: Clients,
    first: usize,
    first_bytes: u64,
    /// More memory for each that came after the first part.
    pub bytes_each: f64,
    per_s: f64,
}

impl There {
    /// So many come in some way.
    ///
    /// # Errors
    /// If somebody is not let in.
    pub fn come(way: &Way, target: &Target, count: usize, devices: usize) -> Result<Self, Failure> {
        let (members, first) = (members(target, count, devices)?, count / FIRST_PART);
        let mut clients = Clients::by(way, target.addr, count)?;
        let member = |at: usize| Ok(members[at].clone());
        clients.let_in(0..first, HERE_WITHIN, member)?;
        let first_bytes = memory(target)?;
        let took = clients.let_in(first..count, HERE_WITHIN, member)?;
        let (rest, more) = ((count - first) as f64, memory(target)?.saturating_sub(first_bytes));
        Ok(Self { clients, first, first_bytes, bytes_each: more as f64 / rest, per_s: rest / took.as_secs_f64() })
    }
}

/// Anonymous memory of a server that is left alone.
fn memory(target: &Target) -> Result<u64, Failure> {
    std::thread::sleep(CALM);
    Ok(cpu::anonymous(target.pid)?)
}

impl Workload for Idle {
    const NAME: &'static str = "idle";
    type Found = Found;

    fn steps(&self) -> usize {
        3
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<Found, Failure> {
        let (dir, _temporary) = place.make_dir()?;
        let target = Target::server(place, &dir, Limits::None)?;
        bar.step("connections");
        let mut there = There::come(&Way::default(), &target, self.connections, self.devices)?;
        bar.step("silence");
        let before = target.usage()?.cpu_us;
        std::thread::sleep(Duration::from_secs_f64(self.seconds));
        let idle_cpu = (target.usage()?.cpu_us - before) as f64 / 1e6 / self.seconds;
        bar.step("conversations");
        there.clients.cut();
        let before = memory(&target)?;
        let mut load = Pairs::connect(&target, self.conversations, 64)?;
        measure(&mut load, &|| target.usage(), Offer::Closed { depth: 1 }, Phases::within(1.0))?;
        let more = memory(&target)?.saturating_sub(before);
        drop(load);
        target.stop()?;
        Ok(Found {
            connections: self.connections,
            devices: self.devices,
            first: there.first,
            first_bytes: there.first_bytes,
            bytes_per_connection: there.bytes_each,
            bytes_per_pair: more as f64 / self.conversations as f64,
            idle_cpu,
            connects_per_s: there.per_s,
        })
    }
}

impl Findings for Found {
    fn sentences(&self) -> String {
        format!(
            "{} idle connections ({} devices a user): {:.0} bytes of the server's memory each, {:.2}% of a core in silence, {:.0} let in a second\n\
             two users, their two connections and the conversation between them: {:.0} bytes more (memory of those that left is used again)\n\
             a server with {} connections has {:.1} MiB of its own, most of it buffers",
            self.connections,
            self.devices,
            self.bytes_per_connection,
            100.0 * self.idle_cpu,
            self.connects_per_s,
            self.bytes_per_pair,
            self.first,
            mib(self.first_bytes),
        )
    }
}
