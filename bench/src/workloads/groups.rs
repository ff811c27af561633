//! `tidings-bench load groups`: groups of several sizes, everybody online, at the same rate of copies; one to one beside them, and the null
//! relay beside each. What does a copy cost that a member of a group gets?

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tidings_wire::{ConversationId, Kind, UserId, limits::GROUP_MAX};

use super::{
    Workload,
    copies::{Confirm, Of, Run, Talk, measure},
};
use crate::{
    Failure,
    clients::{
        Member,
        writers::{Writer, Writers, number},
    },
    drive::Phases,
    progress::Progress,
    report::{Findings, all_is_right, ms},
    target::{Limits, Place, Rooms, Target},
    values,
};

/// Arguments of `load groups`.
#[derive(Debug, Args)]
pub struct Groups {
    /// Members of a group, each size in turn.
    #[arg(long, value_delimiter = ',', default_value = "5,50,200", value_parser = values::count)]
    sizes: Vec<usize>,
    /// Connections in all: as many groups as fit.
    #[arg(long, default_value_t = 1_000, value_parser = values::count)]
    connections: usize,
    /// Copies a second over all groups.
    #[arg(long, default_value_t = 20_000.0, value_parser = values::positive)]
    rate: f64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 1024, value_parser = values::count)]
    payload: usize,
    /// Seconds for all that is measured.
    #[arg(long, default_value_t = 60.0, value_parser = values::positive)]
    seconds: f64,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
    offered_per_s: f64,
    payload: usize,
    /// One to one first.
    sizes: Vec<Size>,
}

/// Groups of one size.
#[derive(Debug, Serialize)]
struct Size {
    /// 2: one to one.
    members: usize,
    groups: usize,
    server: Run,
    relay: Run,
    /// The relay's processor time a copy over the server's.
    ratio_to_floor: f64,
    /// The server's processor time a copy over that of one to one.
    over_direct: f64,
}

/// How long everybody may take to be let in, and to hear of their group.
const WITHIN: Duration = Duration::from_secs(60);

impl Workload for Groups {
    const NAME: &'static str = "groups";
    type Found = Found;

    fn steps(&self) -> usize {
        2 * (1 + self.sizes.len())
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<Found, Failure> {
        if let Some(size) = self.sizes.iter().find(|size| !(3..=GROUP_MAX).contains(*size)) {
            return Err(format!("--sizes {size}: a group here has 3 to {GROUP_MAX} members").into());
        }
        let mut found: Vec<Size> = Vec::new();
        for members in std::iter::once(2).chain(self.sizes.iter().copied()) {
            let groups = self.connections / members;
            if groups == 0 {
                return Err(format!("{} connections make no group of {members}", self.connections).into());
            }
            let load = Full { groups, members, payload: self.payload, rate: self.rate };
            let phases = Phases::within(self.seconds / self.steps() as f64);
            let (dir, _temporary) = place.make_dir()?;
            bar.step(format!("the server, {members} members"));
            let server = load.measure(Target::server(place, &dir, Limits::None)?, phases)?;
            bar.step(format!("the null relay, {members} members"));
            let relay = load.measure(Target::relay(place, Some(&dir), Rooms::Of(members))?, phases)?;
            let direct = found.first().map_or(server.cpu_us_per_copy, |direct| direct.server.cpu_us_per_copy);
            let ratio_to_floor = relay.cpu_us_per_copy / server.cpu_us_per_copy;
            let over_direct = server.cpu_us_per_copy / direct;
            found.push(Size { members, groups, server, relay, ratio_to_floor, over_direct });
        }
        Ok(Found { offered_per_s: self.rate, payload: self.payload, sizes: found })
    }
}

impl Findings for Found {
    fn sentences(&self) -> String {
        let mut out =
            format!("{:.0} copies a second offered, {} bytes, everybody online", self.offered_per_s, self.payload);
        for Size { members, groups, server, relay, ratio_to_floor, over_direct } in &self.sizes {
            let what = if *members == 2 { "one to one".into() } else { format!("{groups} groups of {members}") };
            out += &format!(
                "\n{what}: {:.0} copies a second, {:.2} us of processor each ({over_direct:.2} of one to one); the null relay {:.2} us, ratio {ratio_to_floor:.2}\n\
                 \x20   SENT {}; a copy {} (the relay's p99 {:.2} ms); the load was late by {} us (p99)",
                server.groups.per_s,
                server.cpu_us_per_copy,
                relay.cpu_us_per_copy,
                server.groups.sent_us,
                server.groups.copy_us,
                ms(relay.groups.copy_us.p99),
                server.late_us.p99,
            );
        }
        out
    }

    fn check(&self) -> Result<(), Failure> {
        let runs = || self.sizes.iter().flat_map(|size| [&size.server, &size.relay]);
        all_is_right(runs().map(|run| run.wrong).sum(), runs().map(|run| run.unfinished).sum())
    }
}

/// Groups of one size, whose members have places one after the other.
struct Full {
    groups: usize,
    members: usize,
    payload: usize,
    /// Copies a second.
    rate: f64,
}

fn name(at: usize) -> String {
    format!("grouped{at}")
}

fn id(at: usize) -> UserId {
    UserId::derive("default", &name(at))
}

impl Full {
    /// Everybody is let in, every group is made, random members write; then the target is stopped.
    fn measure(&self, target: Target, phases: Phases) -> Result<Run, Failure> {
        let (count, copies) = (self.groups * self.members, self.members - 1);
        let mut writers = Writers::new(&target, (0..count).map(|at| self.writer(at)).collect(), self.payload)?;
        let member = |at| Ok(Member { device: at as u32, token: target.token(&name(at))? });
        writers.clients.let_in(0..count, WITHIN, member)?;
        if self.members > 2 && !target.is_relay() {
            self.make(&mut writers)?;
        }
        let rate = self.rate / copies as f64;
        let talk = Talk { kind: Of::Groups, rate, writers: (0, count, 1), copies };
        let run = measure(&mut writers, &target, &[talk], Confirm::All, phases)?;
        drop(writers);
        target.stop()?;
        Ok(run)
    }

    fn nonce(&self, at: usize) -> [u8; 16] {
        [(at / self.members) as u8; 16]
    }

    fn writer(&self, at: usize) -> Writer {
        let first = at / self.members * self.members;
        match self.members {
            2 => Writer::new(ConversationId::direct(id(first), id(first + 1)), id(at ^ 1)),
            _ => Writer::new(ConversationId::group(id(first), &self.nonce(at)), UserId::NONE),
        }
    }

    /// Makes the groups; everybody hears of theirs.
    fn make(&self, writers: &mut Writers) -> Result<(), Failure> {
        let count = writers.people.len();
        for first in (0..count).step_by(self.members) {
            let others: Vec<[u8; 16]> = (first + 1..first + self.members).map(|at| id(at).0).collect();
            writers.create(first, self.nonce(first), &others)?;
        }
        let (mut is_here, mut here) = (vec![false; count], 0);
        writers.until(WITHIN, |people, came| {
            if let Some(seq) = number(came) {
                here += usize::from(!std::mem::replace(&mut is_here[came.at], true));
                if came.kind() == Some(Kind::Message) {
                    people[came.at].last = seq;
                }
            }
            here == count
        })
    }
}

/// What it costs the null relay to copy messages of a size, so many a second, to all others of one group: processor time a copy, in microseconds.
///
/// # Errors
/// If the relay does not start.
pub fn relay_copies(
    place: &Place,
    members: usize,
    (payload, rate): (usize, f64),
    seconds: f64,
) -> Result<f64, Failure> {
    let (dir, _temporary) = place.make_dir()?;
    let load = Full { groups: 1, members, payload, rate: rate * (members - 1) as f64 };
    let target = Target::relay(place, Some(&dir), Rooms::Of(members))?;
    Ok(load.measure(target, Phases::within(seconds))?.cpu_us_per_copy)
}
