//! `tidings-bench load huge`: one group of very many members of whom some are online. How long does a message take to the last of them, what
//! does a copy cost, and how long do people wait who write one to one meanwhile? Beside it the null relay, which writes the same bytes to as
//! many sockets at once.

use std::{ops::Range, time::Duration};

use clap::Args;
use serde::Serialize;
use tidings_wire::{
    ConversationId, Kind, UserId,
    limits::{GROUP_MAX, NAMED_MAX},
};

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

/// Arguments of `load huge`.
#[derive(Debug, Args)]
pub struct Huge {
    /// Members of the group.
    #[arg(long, default_value_t = GROUP_MAX, value_parser = values::count)]
    members: usize,
    /// How many of them are online.
    #[arg(long, default_value_t = 5_000, value_parser = values::count)]
    online: usize,
    /// Messages a second in the group.
    #[arg(long, default_value_t = 2.0, value_parser = values::positive)]
    rate: f64,
    /// Pairs that write one to one.
    #[arg(long, default_value_t = 50, value_parser = values::count)]
    pairs: usize,
    /// Messages a second, one to one.
    #[arg(long, default_value_t = 500.0, value_parser = values::positive)]
    direct: f64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 1024, value_parser = values::count)]
    payload: usize,
    /// Seconds for all that is measured.
    #[arg(long, default_value_t = 80.0, value_parser = values::positive)]
    seconds: f64,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
    members: usize,
    online: usize,
    group_per_s: f64,
    direct_per_s: f64,
    payload: usize,
    /// What the server takes for the group, by member, before anybody else is connected.
    rss_bytes_per_member: f64,
    server: Side,
    relay: Side,
    /// The server's processor time a copy over the relay's; at most 1.3 is aimed at.
    copy_over_relay: f64,
    /// p99 of SENT one to one beside the group, the server's over the relay's; at most 1.5 is aimed at.
    sent_p99_over_relay: f64,
}

/// The server or the relay.
#[derive(Debug, Serialize)]
struct Side {
    /// Nothing but the group.
    group: Run,
    /// Nothing but one to one.
    direct: Run,
    /// Both.
    both: Run,
}

/// How long everybody may take to be let in.
const HERE_WITHIN: Duration = Duration::from_secs(120);
/// Members that write in the group.
const WRITERS: usize = 10;
/// A server that uses less than this a second has written down what there is.
const QUIET_US: u64 = 100_000;
const NONCE: [u8; 16] = [1; 16];

impl Workload for Huge {
    const NAME: &'static str = "huge";
    type Found = Found;

    fn steps(&self) -> usize {
        2
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<Found, Failure> {
        let (members, online) = (self.members, self.online);
        if !(WRITERS..=members).contains(&online) || members > GROUP_MAX {
            return Err(
                format!("--members and --online: {WRITERS} to {GROUP_MAX}, and no more online than there are").into()
            );
        }
        let (dir, _temporary) = place.make_dir()?;
        bar.step("the server");
        let target = Target::server(place, &dir, Limits::None)?;
        let mut people = People::new(&target, self)?;
        let before = target.usage()?.rss_bytes;
        people.make(&target, members)?;
        let rss_bytes_per_member = (target.usage()?.rss_bytes - before) as f64 / members as f64;
        people.come(&target, 1..people.count(), 2)?;
        let server = people.side(&target, self)?;
        drop(people);
        target.stop()?;
        bar.step("the null relay");
        let target = Target::relay(place, Some(&dir), Rooms::OneThenPairs(online))?;
        let mut people = People::new(&target, self)?;
        people.come(&target, 0..people.count(), 1)?;
        let relay = people.side(&target, self)?;
        drop(people);
        target.stop()?;
        Ok(Found {
            members,
            online,
            group_per_s: self.rate,
            direct_per_s: self.direct,
            payload: self.payload,
            rss_bytes_per_member,
            copy_over_relay: server.group.cpu_us_per_copy / relay.group.cpu_us_per_copy,
            sent_p99_over_relay: server.both.pairs.sent_us.p99 as f64 / relay.both.pairs.sent_us.p99.max(1) as f64,
            server,
            relay,
        })
    }
}

impl Findings for Found {
    fn sentences(&self) -> String {
        let mut out = format!(
            "{} members, {} online, {} messages a second in the group, {} one to one; {:.0} bytes of memory a member\n",
            self.members, self.online, self.group_per_s, self.direct_per_s, self.rss_bytes_per_member
        );
        for (name, Side { group, direct, both }) in [("the server", &self.server), ("the null relay", &self.relay)] {
            out += &format!(
                "{name}: {:.2} us of processor a copy, the last copy p50 {:.0} ms, p99 {:.0} ms\n\
                 \x20   one to one: SENT {} alone, and {} beside the group\n",
                group.cpu_us_per_copy,
                ms(group.groups.last_us.p50),
                ms(group.groups.last_us.p99),
                direct.pairs.sent_us,
                both.pairs.sent_us,
            );
        }
        out + &format!(
            "a copy costs {:.2} of the relay's; SENT p99 beside the group is {:.2} of that beside the relay's",
            self.copy_over_relay, self.sent_p99_over_relay
        )
    }

    fn check(&self) -> Result<(), Failure> {
        let runs = || [&self.server, &self.relay].into_iter().flat_map(|side| [&side.group, &side.direct, &side.both]);
        all_is_right(runs().map(|run| run.wrong).sum(), runs().map(|run| run.unfinished).sum())
    }
}

/// Members that are online, then pairs.
struct People {
    writers: Writers,
    online: usize,
    /// Lists that each got.
    lists: Vec<usize>,
}

/// The user at a place. Those after the online members are users of their own.
fn name(at: usize, online: usize) -> String {
    if at < online { format!("huge{at}") } else { format!("huge{}", GROUP_MAX + at) }
}

fn id(at: usize, online: usize) -> UserId {
    UserId::derive("default", &name(at, online))
}

impl People {
    fn new(target: &Target, huge: &Huge) -> Result<Self, Failure> {
        let (online, count) = (huge.online, huge.online + 2 * huge.pairs);
        let group = ConversationId::group(id(0, online), &NONCE);
        let writer = |at: usize| match at.checked_sub(online) {
            None => Writer::new(group, UserId::NONE),
            Some(after) => {
                let peer = id(online + (after ^ 1), online);
                Writer::new(ConversationId::direct(id(at, online), peer), peer)
            }
        };
        let writers = Writers::new(target, (0..count).map(writer).collect(), huge.payload)?;
        Ok(Self { writers, online, lists: vec![0; count] })
    }

    fn count(&self) -> usize {
        self.lists.len()
    }

    /// Those are let in, and each member has heard of its group: so many lists have come to it.
    fn come(&mut self, target: &Target, who: Range<usize>, wanted: usize) -> Result<(), Failure> {
        let Self { writers, online, lists } = self;
        let member = |at| Ok(Member { device: at as u32, token: target.token(&name(at, *online))? });
        writers.clients.let_in_until(who, HERE_WITHIN, member, |came| {
            if came.kind() != Some(Kind::Changed) {
                return false;
            }
            lists[came.at] += 1;
            lists[came.at] == if came.at < *online { wanted } else { 1 }
        })?;
        Ok(())
    }

    /// The first member makes the group, while nobody else is connected.
    fn make(&mut self, target: &Target, members: usize) -> Result<(), Failure> {
        self.come(target, 0..1, 1)?;
        let others: Vec<[u8; 16]> = (1..members).map(|at| id(at, members).0).collect();
        for (part, others) in others.chunks(NAMED_MAX).enumerate() {
            match part {
                0 => self.writers.create(0, NONCE, others)?,
                _ => self.writers.add(0, others)?,
            };
            self.writers.until(HERE_WITHIN, |people, came| {
                let answer = number(came);
                answer.into_iter().for_each(|seq| people[came.at].last = seq);
                answer.is_some()
            })?;
        }
        // The first member heard of it as its creator; homes write down what they were told.
        self.lists[0] = 2;
        loop {
            let before = target.usage()?.cpu_us;
            std::thread::sleep(Duration::from_secs(1));
            if target.usage()?.cpu_us - before < QUIET_US {
                return Ok(());
            }
        }
    }

    /// The group alone, one to one alone, and both.
    fn side(&mut self, target: &Target, huge: &Huge) -> Result<Side, Failure> {
        let (online, phases) = (self.online, Phases::within(huge.seconds / 6.0));
        let group = Talk { kind: Of::Groups, rate: huge.rate, writers: (0, WRITERS, 1), copies: online - 1 };
        let direct = Talk { kind: Of::Pairs, rate: huge.direct, writers: (online, huge.pairs, 2), copies: 1 };
        let mut run = |talks: &[Talk]| measure(&mut self.writers, target, talks, Confirm::Pairs, phases);
        Ok(Side { group: run(&[group])?, direct: run(&[direct])?, both: run(&[group, direct])? })
    }
}
