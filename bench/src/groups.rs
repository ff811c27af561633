//! `tidings-bench load groups`: groups of several sizes, everybody online, at the same rate of copies; one to one beside them, and the null
//! relay beside each. What does a copy cost that a member of a group gets?

use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use tidings_ring::Wait;
use tidings_wire::{
    ClientMsgId, ConversationId, Frame, Kind, Seq, UserId, frame,
    frames::{Control, Delivered, ErrorFrame, GroupAct, GroupSettings, Message, Sent, Users},
    limits::GROUP_MAX,
};

use crate::{
    Failure,
    connection::NOTHING_KNOWN,
    connections::Connections,
    cpu,
    idlers::Member,
    measure::Percentiles,
    offer::COOL_DOWN,
    pace::{Pace, histogram},
    pairs::{Payload, append_attempt},
    report::Machine,
    run::{phases, progress},
    target::{Place, Target},
    values,
};

/// Arguments of `load groups`.
#[derive(Debug, Args)]
pub struct Arguments {
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
    /// Print JSON instead of sentences.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Found {
    workload: &'static str,
    machine: Machine,
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

/// A run against the server or the relay.
#[derive(Debug, Default, Serialize)]
struct Run {
    /// Copies a second.
    rate_per_s: f64,
    cpu_us_per_copy: f64,
    /// From when a message was due to SENT, and to each copy.
    sent_us: Percentiles,
    copy_us: Percentiles,
    late_us: Percentiles,
    rss_bytes: u64,
    wrong: u64,
    /// Answers and copies that never came.
    unfinished: u64,
}

/// Whom the load talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Server,
    Relay,
}

/// How long everybody may take to be let in, and to hear of their group.
const HERE_WITHIN: Duration = Duration::from_secs(60);
/// Messages whose time is remembered.
const REMEMBERED: usize = 1 << 16;

/// Runs it.
///
/// # Errors
/// If somebody is refused, or gets the wrong messages.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(size) = arguments.sizes.iter().find(|size| !(3..=GROUP_MAX).contains(*size)) {
        return Err(format!("--sizes {size}: a group here has 3 to {GROUP_MAX} members").into());
    }
    cpu::pin(arguments.place.load_core);
    let sizes: Vec<usize> = std::iter::once(2).chain(arguments.sizes.iter().copied()).collect();
    let share = 1.0 / (2 * sizes.len()) as f64;
    let bar = progress(2 * sizes.len() as u64)?;
    let mut found = Vec::new();
    for members in sizes {
        let (dir, _temporary) = arguments.place.make_dir()?;
        bar.set_message(format!("the server, {members} members"));
        let target = Target::server(&arguments.place, &dir)?;
        let server = Groups::connect(&target, To::Server, members, arguments)?.measure(&target, arguments, share)?;
        target.stop()?;
        bar.inc(1);
        bar.set_message(format!("the null relay, {members} members"));
        let target = Target::relay_of(&arguments.place, Some(&dir), members)?;
        let relay = Groups::connect(&target, To::Relay, members, arguments)?.measure(&target, arguments, share)?;
        target.stop()?;
        bar.inc(1);
        let direct = found.first().map_or(server.cpu_us_per_copy, |direct: &Size| direct.server.cpu_us_per_copy);
        let (ratio_to_floor, over_direct) =
            (relay.cpu_us_per_copy / server.cpu_us_per_copy, server.cpu_us_per_copy / direct);
        let groups = arguments.connections / members;
        found.push(Size { members, groups, server, relay, ratio_to_floor, over_direct });
    }
    bar.finish_and_clear();
    let (machine, offered_per_s, payload) = (Machine::here(), arguments.rate, arguments.payload);
    print(&Found { workload: "groups", machine, offered_per_s, payload, sizes: found }, arguments.json)
}

fn print(found: &Found, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(found)?);
    } else {
        println!("{:.0} copies a second offered, {} bytes, everybody online", found.offered_per_s, found.payload);
    }
    let (mut wrong, mut unfinished) = (0, 0);
    for size in &found.sizes {
        let Size { members, groups, server, relay, .. } = size;
        if !json {
            let what = if *members == 2 { "one to one".into() } else { format!("{groups} groups of {members}") };
            println!(
                "{what}: {:.0} copies a second, {:.2} us of processor each ({:.2} of one to one); the null relay {:.2} us, ratio {:.2}\n\
                 \x20   SENT p50 {:.2} ms, p99 {:.2} ms; a copy p50 {:.2} ms, p99 {:.2} ms (the relay's {:.2}); the load was late by {} us (p99)",
                server.rate_per_s,
                server.cpu_us_per_copy,
                size.over_direct,
                relay.cpu_us_per_copy,
                size.ratio_to_floor,
                server.sent_us.p50 as f64 / 1e3,
                server.sent_us.p99 as f64 / 1e3,
                server.copy_us.p50 as f64 / 1e3,
                server.copy_us.p99 as f64 / 1e3,
                relay.copy_us.p99 as f64 / 1e3,
                server.late_us.p99,
            );
        }
        wrong += server.wrong + relay.wrong;
        unfinished += server.unfinished + relay.unfinished;
    }
    match (wrong, unfinished) {
        (0, 0) => Ok(()),
        (wrong, unfinished) => Err(format!("{wrong} copies were wrong, {unfinished} never came").into()),
    }
}

/// Members of groups, connected: those of one group have places one after the other.
struct Groups {
    connections: Connections,
    members: usize,
    people: Vec<Person>,
    payload: Payload,
    /// When messages were due, by the attempts' numbers.
    due: Vec<Instant>,
    attempts: u64,
    to: To,
}

/// A member.
#[derive(Debug, Clone)]
struct Person {
    id: UserId,
    conversation: ConversationId,
    /// One to one: the other.
    peer: UserId,
    /// Its last attempt.
    prev: u64,
    /// The last message that it got of others.
    last: Seq,
    /// It has heard of its group.
    is_here: bool,
}

/// What came back.
#[derive(Debug)]
struct Heard {
    sent: Histogram<u64>,
    copies: Histogram<u64>,
    /// Answers and copies that came, ever; and copies in the measured time.
    answers: u64,
    got: u64,
    measured: u64,
    wrong: u64,
}

fn name(at: usize) -> String {
    format!("grouped{at}")
}

impl Groups {
    /// Everybody is let in, and every group is made.
    fn connect(target: &Target, to: To, members: usize, arguments: &Arguments) -> Result<Self, Failure> {
        let count = arguments.connections / members * members;
        if count == 0 {
            return Err(format!("{} connections make no group of {members}", arguments.connections).into());
        }
        let id = |at: usize| UserId::derive("default", &name(at));
        let nonce = |at: usize| [(at / members) as u8; 16];
        let person = |at: usize| {
            let first = at / members * members;
            let (conversation, peer) = match members {
                2 => (ConversationId::direct(id(first), id(first + 1)), id(at ^ 1)),
                _ => (ConversationId::group(id(first), &nonce(at)), UserId::NONE),
            };
            Person { id: id(at), conversation, peer, prev: 0, last: Seq(0), is_here: false }
        };
        let mut this = Self {
            connections: Connections::new(target.addr, count)?,
            members,
            people: (0..count).map(person).collect(),
            payload: Payload::new(arguments.payload),
            due: vec![Instant::now(); REMEMBERED],
            attempts: 0,
            to,
        };
        let (mut let_in, mut come) = (0, 0);
        let until = Instant::now() + HERE_WITHIN;
        while let_in < count {
            while come < count && come - let_in < 256 {
                this.connections.come(
                    come,
                    &Member { device: come as u32, token: target.token(&name(come))? },
                    &NOTHING_KNOWN,
                )?;
                come += 1;
            }
            this.connections.turn(Wait::Upto(Duration::from_millis(20)), |_, frame, _| {
                let_in += usize::from(frame.kind() == Ok(Kind::Changed));
                refused(frame)
            })?;
            if Instant::now() > until {
                return Err(format!("{let_in} of {count} connections were let in").into());
            }
        }
        if to == To::Server && members > 2 {
            this.make(until)?;
        }
        Ok(this)
    }

    /// Makes the groups; everybody hears of theirs.
    fn make(&mut self, until: Instant) -> Result<(), Failure> {
        for first in (0..self.people.len()).step_by(self.members) {
            let ids: Vec<[u8; 16]> =
                self.people[first + 1..first + self.members].iter().map(|other| other.id.0).collect();
            let (nonce, settings) = ([(first / self.members) as u8; 16], GroupSettings::default());
            let mut body = Vec::new();
            let act = GroupAct::Create { nonce, settings, title: b"bench", members: Users::new(&ids) };
            let control = act.write(&mut body);
            self.write(first, control, &body)?;
        }
        while self.people.iter().any(|person| !person.is_here) {
            let people = &mut self.people;
            self.connections.turn(Wait::Upto(Duration::from_millis(20)), |at, frame, _| {
                if let Ok(message) = frame.fixed::<Message>()
                    && frame.kind() == Ok(Kind::Message)
                {
                    people[at].last = message.seq;
                }
                people[at].is_here |= matches!(frame.kind(), Ok(Kind::Message | Kind::Sent));
                refused(frame)
            })?;
            if Instant::now() > until {
                return Err("not everybody heard of their group".into());
            }
        }
        Ok(())
    }

    /// A member writes: its attempt's number.
    fn write(&mut self, at: usize, control: Control, body: &[u8]) -> Result<u64, Failure> {
        self.attempts += 1;
        let (id, person) = (self.attempts, &mut self.people[at]);
        let out = self.connections.out(at).ok_or("a device is gone")?;
        let payload = if control == Control::TEXT { self.payload.bytes() } else { &[] };
        let to = (person.conversation, person.peer);
        append_attempt(to, (id, person.prev), (control, Seq(0), body, payload), out);
        person.prev = id;
        Ok(id)
    }

    /// Random members write, so many copies a second.
    fn measure(mut self, target: &Target, arguments: &Arguments, share: f64) -> Result<Run, Failure> {
        let copies = self.members as u64 - 1;
        let mut pace = Pace::new(arguments.rate / copies as f64, self.people.len(), phases(share * arguments.seconds));
        let mut heard = Heard { sent: histogram(), copies: histogram(), answers: 0, got: 0, measured: 0, wrong: 0 };
        let (mut begun, mut end, mut written) = (None, None, 0u64);
        loop {
            let now = Instant::now();
            let (has_begun, is_over) = pace.phase(now);
            if has_begun && begun.is_none() {
                begun = Some((now, target.usage()?));
            }
            if is_over && end.is_none() {
                end = Some((now, target.usage()?));
            }
            while let Some((due, at)) = pace.next(now) {
                let id = self.write(at, Control::TEXT, &[])?;
                self.due[id as usize % REMEMBERED] = due;
                written += 1;
            }
            let left = written * (1 + copies) - heard.answers - heard.got;
            if let Some((ended, _)) = &end
                && (left == 0 || ended.elapsed() > COOL_DOWN)
            {
                break;
            }
            let wait = pace.wait(now);
            let Self { connections, people, payload, due, to, .. } = &mut self;
            connections
                .turn(wait, |at, frame, out| heard.take(&mut people[at], frame, out, (payload, due, *to), &pace))?;
        }
        let never = "the run was never measured";
        let ((from, before), (until, after)) = (begun.ok_or(never)?, end.ok_or(never)?);
        Ok(Run {
            rate_per_s: heard.measured as f64 / (until - from).as_secs_f64(),
            cpu_us_per_copy: (after.cpu_us - before.cpu_us) as f64 / heard.measured.max(1) as f64,
            sent_us: Percentiles::from(&heard.sent),
            copy_us: Percentiles::from(&heard.copies),
            late_us: Percentiles::from(&pace.late_us),
            rss_bytes: after.rss_bytes,
            wrong: heard.wrong,
            unfinished: written * (1 + copies) - heard.answers - heard.got,
        })
    }
}

impl Heard {
    fn take(
        &mut self,
        person: &mut Person,
        frame: &Frame<'_>,
        out: &mut Vec<u8>,
        (payload, due, to): (&Payload, &[Instant], To),
        pace: &Pace,
    ) -> Result<(), Failure> {
        let now = Instant::now();
        let took = |id: ClientMsgId| {
            let due = due[id.0 as usize % REMEMBERED];
            pace.counts(due).then(|| now.saturating_duration_since(due).as_micros() as u64)
        };
        match frame.kind() {
            Ok(Kind::Sent) => {
                let sent: Sent = frame.fixed().map_err(|error| format!("SENT cannot be read: {error}"))?;
                self.answers += 1;
                took(sent.client_msg_id).into_iter().for_each(|took| self.sent.saturating_record(took));
            }
            Ok(Kind::Message) => {
                let message: Message = frame.fixed().map_err(|error| format!("a message cannot be read: {error}"))?;
                let right = message.conversation == person.conversation
                    && message.seq > person.last
                    && frame.var(message.payload).is_ok_and(|bytes| payload.is(bytes));
                self.wrong += u64::from(!right);
                self.got += 1;
                self.measured += u64::from(pace.phase(now) == (true, false));
                person.last = message.seq;
                took(message.client_msg_id).into_iter().for_each(|took| self.copies.saturating_record(took));
                let delivered = Delivered { conversation: person.conversation, upto: message.seq };
                frame::append(out, 3, &delivered);
            }
            Ok(Kind::Error) if to == To::Server => return refused(frame),
            _ => {}
        }
        Ok(())
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
    let (sizes, connections, json) = (vec![members], members, false);
    let rate = rate * (members - 1) as f64;
    let arguments = Arguments { sizes, connections, rate, payload, seconds, json, place: place.clone() };
    let target = Target::relay_of(place, Some(&dir), members)?;
    let copied = Groups::connect(&target, To::Relay, members, &arguments)?.measure(&target, &arguments, 1.0)?;
    target.stop()?;
    Ok(copied.cpu_us_per_copy)
}

/// The server's word, if it refuses something.
fn refused(frame: &Frame<'_>) -> Result<(), Failure> {
    if frame.kind() == Ok(Kind::Error) {
        return Err(format!("refused: {:?}", frame.fixed::<ErrorFrame>()).into());
    }
    Ok(())
}
