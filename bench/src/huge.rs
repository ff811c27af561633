//! `tidings-bench load huge`: one group of very many members of whom some are online. How long does a message take to the last of them, what
//! does a copy cost, and how long do people wait who write one to one meanwhile? Beside it the null relay, which writes the same bytes to as
//! many sockets at once.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use tidings_ring::Wait;
use tidings_wire::{
    ConversationId, Frame, Kind, Seq, UserId, frame,
    frames::{Control, Delivered, ErrorFrame, GroupAct, GroupSettings, Message, Sent, Users},
    limits::{GROUP_MAX, NAMED_MAX},
};

use crate::{
    Failure,
    connection::NOTHING_KNOWN,
    connections::Connections,
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

/// Arguments of `load huge`.
#[derive(Debug, Args)]
pub struct Arguments {
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

/// A run.
#[derive(Debug, Default, Serialize)]
struct Run {
    copies: u64,
    direct_messages: u64,
    cpu_us: u64,
    /// From when a message of the group was due to its last copy.
    last_copy_us: Percentiles,
    copy_us: Percentiles,
    /// One to one: from when a message was due to SENT.
    sent_us: Percentiles,
    late_us: Percentiles,
    wrong: u64,
    /// Answers and copies that never came.
    unfinished: u64,
}

impl Run {
    fn cpu_us_per_copy(&self) -> f64 {
        self.cpu_us as f64 / self.copies.max(1) as f64
    }
}

/// How long everybody may take to be let in.
const HERE_WITHIN: Duration = Duration::from_secs(120);
/// Members that write in the group.
const WRITERS: usize = 10;
/// A server that uses less than this a second has written down what there is.
const QUIET_US: u64 = 100_000;

/// Runs it.
///
/// # Errors
/// If somebody is refused, or gets the wrong messages.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (members, online) = (arguments.members, arguments.online);
    if !(WRITERS..=members).contains(&online) || members > GROUP_MAX {
        return Err(
            format!("--members and --online: {WRITERS} to {GROUP_MAX}, and no more online than there are").into()
        );
    }
    crate::cpu::pin(arguments.place.load_core);
    let bar = progress(2)?;
    let (dir, _temporary) = arguments.place.make_dir()?;
    bar.set_message("the server");
    let target = Target::server(&arguments.place, &dir)?;
    let mut crowd = Crowd::new(&target, arguments)?;
    let before = target.usage()?.rss_bytes;
    crowd.make(&target, arguments)?;
    let rss_bytes_per_member = (target.usage()?.rss_bytes - before) as f64 / members as f64;
    crowd.come(&target, 1..crowd.people.len(), 2)?;
    let server = crowd.side(&target, arguments)?;
    target.stop()?;
    bar.inc(1);
    bar.set_message("the null relay");
    let target = Target::relay_then_pairs(&arguments.place, Some(&dir), online)?;
    let mut crowd = Crowd::new(&target, arguments)?;
    crowd.come(&target, 0..crowd.people.len(), 1)?;
    let relay = crowd.side(&target, arguments)?;
    target.stop()?;
    bar.finish_and_clear();
    let found = Found {
        workload: "huge",
        machine: Machine::here(),
        members,
        online,
        group_per_s: arguments.rate,
        direct_per_s: arguments.direct,
        payload: arguments.payload,
        rss_bytes_per_member,
        copy_over_relay: server.group.cpu_us_per_copy() / relay.group.cpu_us_per_copy(),
        sent_p99_over_relay: server.both.sent_us.p99 as f64 / relay.both.sent_us.p99.max(1) as f64,
        server,
        relay,
    };
    print(&found, arguments.json)
}

fn print(found: &Found, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(found)?);
    } else {
        println!(
            "{} members, {} online, {} messages a second in the group, {} one to one; {:.0} bytes of memory a member",
            found.members, found.online, found.group_per_s, found.direct_per_s, found.rss_bytes_per_member
        );
        for (name, side) in [("the server", &found.server), ("the null relay", &found.relay)] {
            let ms = |us: u64| us as f64 / 1e3;
            println!(
                "{name}: {:.2} us of processor a copy, the last copy p50 {:.0} ms, p99 {:.0} ms\n\
                 \x20   one to one: SENT p50 {:.2} ms, p99 {:.2} ms alone, and p50 {:.2} ms, p99 {:.2} ms beside the group",
                side.group.cpu_us_per_copy(),
                ms(side.group.last_copy_us.p50),
                ms(side.group.last_copy_us.p99),
                ms(side.direct.sent_us.p50),
                ms(side.direct.sent_us.p99),
                ms(side.both.sent_us.p50),
                ms(side.both.sent_us.p99),
            );
        }
        println!(
            "a copy costs {:.2} of the relay's; SENT p99 beside the group is {:.2} of that beside the relay's",
            found.copy_over_relay, found.sent_p99_over_relay
        );
    }
    let runs = [&found.server, &found.relay].into_iter().flat_map(|side| [&side.group, &side.direct, &side.both]);
    let (wrong, unfinished) = runs.fold((0, 0), |(wrong, left), run| (wrong + run.wrong, left + run.unfinished));
    match (wrong, unfinished) {
        (0, 0) => Ok(()),
        (wrong, unfinished) => Err(format!("{wrong} messages were wrong, {unfinished} never came").into()),
    }
}

/// Members that are online, then pairs.
struct Crowd {
    connections: Connections,
    people: Vec<Person>,
    online: usize,
    payload: Payload,
    attempts: u64,
    due: HashMap<u64, Due>,
}

#[derive(Debug, Clone)]
struct Person {
    conversation: ConversationId,
    /// One to one: the other.
    peer: UserId,
    prev: u64,
    last: Seq,
    /// Lists that it got.
    lists: usize,
}

/// A message on its way.
#[derive(Debug)]
struct Due {
    at: Instant,
    /// Copies that are missing.
    copies: usize,
    /// SENT is missing.
    is_open: bool,
    is_group: bool,
}

fn name(at: usize) -> String {
    format!("huge{at}")
}

fn id(at: usize) -> UserId {
    UserId::derive("default", &name(at))
}

impl Crowd {
    fn new(target: &Target, arguments: &Arguments) -> Result<Self, Failure> {
        let (online, count) = (arguments.online, arguments.online + 2 * arguments.pairs);
        let group = ConversationId::group(id(0), &[1; 16]);
        let person = |at: usize| {
            // Those after the online members are users of their own.
            let user = |at: usize| if at < online { id(at) } else { id(GROUP_MAX + at) };
            let peer = if at < online { UserId::NONE } else { user(online + ((at - online) ^ 1)) };
            let conversation = if at < online { group } else { ConversationId::direct(user(at), peer) };
            Person { conversation, peer, prev: 0, last: Seq(0), lists: 0 }
        };
        Ok(Self {
            connections: Connections::new(target.addr, count)?,
            people: (0..count).map(person).collect(),
            online,
            payload: Payload::new(arguments.payload),
            attempts: 0,
            due: HashMap::new(),
        })
    }

    /// Those are let in, and each member has heard of its group: so many lists have come to it.
    fn come(&mut self, target: &Target, who: std::ops::Range<usize>, lists: usize) -> Result<(), Failure> {
        let until = Instant::now() + HERE_WITHIN;
        let (first, mut come) = (who.start, who.start);
        let mut is_here = 0;
        while is_here < who.len() {
            while come < who.end && come - first - is_here < 256 {
                let user = if come < self.online { name(come) } else { name(GROUP_MAX + come) };
                let member = Member { device: come as u32, token: target.token(&user)? };
                self.connections.come(come, &member, &NOTHING_KNOWN)?;
                come += 1;
            }
            let (people, online) = (&mut self.people, self.online);
            self.connections.turn(Wait::Upto(Duration::from_millis(20)), |at, frame, _| {
                if frame.kind() == Ok(Kind::Changed) {
                    people[at].lists += 1;
                    let wanted = if at < online { lists } else { 1 };
                    is_here += usize::from(people[at].lists == wanted);
                }
                refused(frame)
            })?;
            if Instant::now() > until {
                return Err(format!("{is_here} of {} connections were let in", who.len()).into());
            }
        }
        Ok(())
    }

    /// The first member makes the group, while nobody else is connected.
    fn make(&mut self, target: &Target, arguments: &Arguments) -> Result<(), Failure> {
        self.come(target, 0..1, 1)?;
        let ids: Vec<[u8; 16]> = (1..arguments.members).map(|at| id(at).0).collect();
        let (nonce, settings) = ([1; 16], GroupSettings::default());
        for (part, ids) in ids.chunks(NAMED_MAX).enumerate() {
            let members = Users::new(ids);
            let act = match part {
                0 => GroupAct::Create { nonce, settings, title: b"bench", members },
                _ => GroupAct::Add(members),
            };
            let mut body = Vec::new();
            let control = act.write(&mut body);
            self.write(0, control, &body)?;
            let mut is_made = false;
            let until = Instant::now() + HERE_WITHIN;
            while !is_made {
                let people = &mut self.people;
                self.connections.turn(Wait::Upto(Duration::from_millis(20)), |at, frame, _| {
                    if let (Ok(Kind::Sent), Ok(sent)) = (frame.kind(), frame.fixed::<Sent>()) {
                        (is_made, people[at].last) = (true, sent.seq);
                    }
                    refused(frame)
                })?;
                if Instant::now() > until {
                    return Err("the group was not made".into());
                }
            }
        }
        // The first member heard of it as its creator; homes write down what they were told.
        self.people[0].lists = 2;
        loop {
            let before = target.usage()?.cpu_us;
            std::thread::sleep(Duration::from_secs(1));
            if target.usage()?.cpu_us - before < QUIET_US {
                return Ok(());
            }
        }
    }

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

    /// The group alone, one to one alone, and both.
    fn side(&mut self, target: &Target, arguments: &Arguments) -> Result<Side, Failure> {
        let seconds = arguments.seconds / 6.0;
        Ok(Side {
            group: self.measure(target, (arguments.rate, 0.0), seconds)?,
            direct: self.measure(target, (0.0, arguments.direct), seconds)?,
            both: self.measure(target, (arguments.rate, arguments.direct), seconds)?,
        })
    }

    fn measure(&mut self, target: &Target, (group, direct): (f64, f64), seconds: f64) -> Result<Run, Failure> {
        let pace = |rate: f64, who: usize| (rate > 0.0).then(|| Pace::new(rate, who, phases(seconds)));
        let pairs = (self.people.len() - self.online) / 2;
        // What is measured is the same time for both.
        let mut paces = [(pace(group, WRITERS), true), (pace(direct, pairs), false)];
        let mut clock = Pace::new(1.0, 1, phases(seconds));
        let mut heard = Heard::new();
        let (mut begun, mut end) = (None, None);
        loop {
            let now = Instant::now();
            let (has_begun, is_over) = clock.phase(now);
            if has_begun && begun.is_none() {
                begun = Some(target.usage()?);
            }
            if is_over && end.is_none() {
                end = Some((now, target.usage()?));
            }
            let mut wait = clock.wait(now);
            for (pace, is_group) in &mut paces {
                let Some(pace) = pace else { continue };
                while let Some((at, who)) = pace.next(now) {
                    let who = if *is_group { who } else { self.online + 2 * who };
                    let attempt = self.write(who, Control::TEXT, &[])?;
                    let copies = if *is_group { self.online - 1 } else { 1 };
                    self.due.insert(attempt, Due { at, copies, is_open: true, is_group: *is_group });
                }
                wait = shorter(wait, pace.wait(now));
            }
            if let Some((ended, _)) = &end
                && (self.due.is_empty() || ended.elapsed() > COOL_DOWN)
            {
                break;
            }
            let Self { connections, people, payload, due, .. } = &mut *self;
            connections.turn(wait, |at, frame, out| heard.take(&mut people[at], frame, out, (payload, due), &clock))?;
        }
        let (before, (_, after)) = (begun.ok_or("nothing was measured")?, end.ok_or("nothing was measured")?);
        let unfinished = self.due.drain().map(|(_, due)| due.copies as u64 + u64::from(due.is_open)).sum();
        let late = paces.iter().find_map(|(pace, is_group)| pace.as_ref().filter(|_| !is_group || direct == 0.0));
        Ok(Run {
            copies: heard.copies,
            direct_messages: heard.direct,
            cpu_us: after.cpu_us - before.cpu_us,
            last_copy_us: Percentiles::from(&heard.last_us),
            copy_us: Percentiles::from(&heard.copy_us),
            sent_us: Percentiles::from(&heard.sent_us),
            late_us: late.map(|pace| Percentiles::from(&pace.late_us)).unwrap_or_default(),
            wrong: heard.wrong,
            unfinished,
        })
    }
}

/// What came back.
#[derive(Debug)]
struct Heard {
    /// Copies and messages one to one that came in the measured time.
    copies: u64,
    direct: u64,
    last_us: Histogram<u64>,
    copy_us: Histogram<u64>,
    sent_us: Histogram<u64>,
    wrong: u64,
}

impl Heard {
    fn new() -> Self {
        let (last_us, copy_us, sent_us) = (histogram(), histogram(), histogram());
        Self { copies: 0, direct: 0, last_us, copy_us, sent_us, wrong: 0 }
    }

    fn take(
        &mut self,
        person: &mut Person,
        frame: &Frame<'_>,
        out: &mut Vec<u8>,
        (payload, open): (&Payload, &mut HashMap<u64, Due>),
        clock: &Pace,
    ) -> Result<(), Failure> {
        let now = Instant::now();
        let attempt = match frame.kind() {
            Ok(Kind::Sent) => frame.fixed::<Sent>().map_err(|error| format!("SENT: {error}"))?.client_msg_id,
            Ok(Kind::Message) => {
                let message: Message = frame.fixed().map_err(|error| format!("MESSAGE: {error}"))?;
                let right = message.conversation == person.conversation
                    && message.seq > person.last
                    && frame.var(message.payload).is_ok_and(|bytes| payload.is(bytes));
                self.wrong += u64::from(!right);
                person.last = message.seq;
                if !person.peer.is_none() {
                    frame::append(out, 3, &Delivered { conversation: person.conversation, upto: message.seq });
                }
                message.client_msg_id
            }
            Ok(Kind::Error) => return refused(frame),
            _ => return Ok(()),
        };
        let Some(due) = open.get_mut(&attempt.0) else {
            self.wrong += 1;
            return Ok(());
        };
        let took = (now.saturating_duration_since(due.at)).as_micros() as u64;
        let (counts, is_now) = (clock.counts(due.at), clock.phase(now) == (true, false));
        if frame.kind() == Ok(Kind::Sent) {
            due.is_open = false;
            if counts && !due.is_group {
                self.sent_us.saturating_record(took);
            }
        } else {
            due.copies -= 1;
            match due.is_group {
                true => {
                    self.copies += u64::from(is_now);
                    if counts {
                        self.copy_us.saturating_record(took);
                        if due.copies == 0 {
                            self.last_us.saturating_record(took);
                        }
                    }
                }
                false => self.direct += u64::from(is_now),
            }
        }
        if due.copies == 0 && !due.is_open {
            open.remove(&attempt.0);
        }
        Ok(())
    }
}

fn shorter(one: Wait, other: Wait) -> Wait {
    match (one, other) {
        (Wait::Upto(one), Wait::Upto(other)) => Wait::Upto(one.min(other)),
        _ => Wait::Poll,
    }
}

/// The server's word, if it refuses something.
fn refused(frame: &Frame<'_>) -> Result<(), Failure> {
    if frame.kind() == Ok(Kind::Error) {
        return Err(format!("refused: {:?}", frame.fixed::<ErrorFrame>()).into());
    }
    Ok(())
}
