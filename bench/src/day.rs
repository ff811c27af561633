//! `tidings-bench load day`: a day of people who write one to one, in fewer seconds: they come some times a day, catch up on what
//! was written meanwhile, write to their friends whether these are there or not, confirm and read what comes, and go.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use tidings_ring::Wait;

use crate::{
    Failure,
    arrivals::Random,
    circle::Circle,
    connections::Connections,
    cpu,
    cpu::Usage,
    load::SPIN,
    measure::Percentiles,
    pace::{Pace, histogram},
    pairs::Payload,
    person::{Felt, Person, Whereabouts},
    report::Machine,
    run::{phases, progress},
    target::{Place, Target},
    values,
};

/// Arguments of `load day`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// People, each with one device.
    #[arg(long, default_value_t = 4_000, value_parser = values::count)]
    users: usize,
    /// Friends of each: an even number.
    #[arg(long, default_value_t = 20, value_parser = values::count)]
    friends: usize,
    /// Messages that each writes in a day.
    #[arg(long, default_value_t = 65.0, value_parser = values::positive)]
    messages: f64,
    /// How often each comes in a day.
    #[arg(long, default_value_t = 12.0, value_parser = values::positive)]
    visits: f64,
    /// The share of people who are there at a time.
    #[arg(long, default_value_t = 0.075, value_parser = values::positive)]
    online: f64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 128, value_parser = values::count)]
    payload: usize,
    /// Seconds that the day takes.
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
    users: usize,
    online: f64,
    day_s: f64,
    /// Messages a second.
    rate_per_s: f64,
    visits_per_s: f64,
    /// Share of visits that were due while the person was still there: about as many as people are there at a time.
    dropped_visits: f64,
    /// Share of messages that were pushed at once, since their receiver was there.
    pushed: f64,
    sent_us: Percentiles,
    delivered_us: Percentiles,
    /// From when somebody was due to come to the list of what changed.
    resume_us: Percentiles,
    late_us: Percentiles,
    /// All of the server's processor time over messages: visits, fetches and receipts are in it.
    cpu_us_per_msg: f64,
    written_bytes_per_msg: f64,
    rss_bytes: u64,
    /// Messages that failed a check, or that somebody does not have in the end.
    wrong: u64,
    unfinished: u64,
}

/// How long everybody may take to have everything once the day is over.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// People who come at a time for that.
const AT_A_TIME: usize = 256;

struct Day {
    people: Vec<Person>,
    payload: Payload,
    begin: Instant,
    stay: Duration,
    /// When who is to write to which friend.
    due: BinaryHeap<Reverse<(Instant, usize, usize)>>,
    /// People who are there or on the way.
    present: Vec<usize>,
    random: Random,
    sent: Histogram<u64>,
    delivered: Histogram<u64>,
    came: Histogram<u64>,
    late: Histogram<u64>,
    pushed: u64,
    written: u64,
    wrong: u64,
}

/// Runs it.
///
/// # Errors
/// If somebody is not let in, or a message was wrong or is missing in the end.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    cpu::pin(arguments.place.load_core);
    let bar = progress(3)?;
    let (dir, _temporary) = arguments.place.make_dir()?;
    bar.set_message("tidings");
    let target = Target::server(&arguments.place, &dir)?;
    let circle = Circle::new(&target, arguments.users, arguments.friends)?;
    let mut connections = Connections::new(target.addr, circle.len())?;
    let visits_per_s = arguments.users as f64 * arguments.visits / arguments.seconds;
    let mut day = Day::new(&circle, arguments);
    bar.inc(1);
    bar.set_message("the day");
    let mut pace = Pace::new(visits_per_s, circle.len(), phases(arguments.seconds));
    day.begin = Instant::now();
    let (mut begun, mut ended) = (None, None);
    let (mut visits, mut dropped) = (0u64, 0u64);
    while ended.is_none() {
        let now = Instant::now();
        let (has_begun, is_over) = pace.phase(now);
        if has_begun && begun.is_none() {
            begun = Some((now, target.usage()?, day.written));
        }
        if is_over {
            ended = Some((now, target.usage()?, day.written));
        }
        while let Some((due, who)) = pace.next(now) {
            // Whoever is there already does not come twice: so many are to be expected.
            if day.people[who].whereabouts == Whereabouts::Away {
                visits += u64::from(pace.counts(due));
                day.come(&mut connections, &circle, who, due)?;
                day.plan(who, due, arguments.messages / arguments.visits);
            } else {
                dropped += u64::from(pace.counts(due));
            }
        }
        let wait = day.wait(pace.wait(now), now);
        day.turn(&mut connections, Some(&pace), wait)?;
    }
    bar.inc(1);
    bar.set_message("everybody gets what is missing");
    let unfinished = day.settle(&mut connections, &circle)?;
    drop(connections);
    target.stop()?;
    bar.finish_and_clear();
    let never = "the day was never measured";
    let ((from, before, written_before), (to, after, written)) = (begun.ok_or(never)?, ended.ok_or(never)?);
    let (seconds, messages) = ((to - from).as_secs_f64(), (written - written_before).max(1) as f64);
    let used = Usage {
        cpu_us: after.cpu_us - before.cpu_us,
        written_bytes: after.written_bytes - before.written_bytes,
        rss_bytes: after.rss_bytes,
    };
    let found = Found {
        workload: "day",
        machine: Machine::here(),
        users: arguments.users,
        online: arguments.online,
        day_s: arguments.seconds,
        rate_per_s: messages / seconds,
        visits_per_s: visits as f64 / seconds,
        dropped_visits: dropped as f64 / (visits + dropped).max(1) as f64,
        pushed: day.pushed as f64 / day.written.max(1) as f64,
        sent_us: Percentiles::from(&day.sent),
        delivered_us: Percentiles::from(&day.delivered),
        resume_us: Percentiles::from(&day.came),
        late_us: Percentiles::from(&day.late),
        cpu_us_per_msg: used.cpu_us as f64 / messages,
        written_bytes_per_msg: used.written_bytes as f64 / messages,
        rss_bytes: used.rss_bytes,
        wrong: day.wrong + day.missing(&circle),
        unfinished,
    };
    print(&found, arguments.json)
}

fn print(found: &Found, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(found)?);
    } else {
        let ms = |of: &Percentiles| format!("p50 {:.2} ms, p99 {:.2} ms", of.p50 as f64 / 1e3, of.p99 as f64 / 1e3);
        println!(
            "a day of {} people in {:.0} s, {:.1} % of them there: {:.0} messages and {:.0} visits a second\n\
             SENT {}; MESSAGE, to the {:.0} % of receivers who were there, {}; the list for who comes {}\n\
             {:.1} us of processor a message, with the visits; {:.0} bytes written a message; {:.0} MiB\n\
             the load was late by {} us (p99); {} wrong, {} unfinished",
            found.users,
            found.day_s,
            100.0 * found.online,
            found.rate_per_s,
            found.visits_per_s,
            ms(&found.sent_us),
            100.0 * found.pushed,
            ms(&found.delivered_us),
            ms(&found.resume_us),
            found.cpu_us_per_msg,
            found.written_bytes_per_msg,
            found.rss_bytes as f64 / f64::from(1 << 20),
            found.late_us.p99,
            found.wrong,
            found.unfinished,
        );
    }
    match (found.wrong, found.unfinished) {
        (0, 0) => Ok(()),
        (wrong, unfinished) => {
            Err(format!("{wrong} messages were wrong or are missing, {unfinished} people never settled").into())
        }
    }
}

impl Day {
    fn new(circle: &Circle, arguments: &Arguments) -> Self {
        let person = |user| {
            let friends = (0..circle.friends()).map(move |at| circle.friend(user, at));
            Person::new(friends.map(|friend| (circle.conversation(user, friend), circle.id(friend))))
        };
        Self {
            people: (0..circle.len()).map(person).collect(),
            payload: Payload::new(arguments.payload),
            begin: Instant::now(),
            stay: Duration::from_secs_f64(arguments.seconds * arguments.online / arguments.visits),
            due: BinaryHeap::new(),
            present: Vec::new(),
            random: Random::new(1),
            sent: histogram(),
            delivered: histogram(),
            came: histogram(),
            late: histogram(),
            pushed: 0,
            written: 0,
            wrong: 0,
        }
    }

    fn come(
        &mut self,
        connections: &mut Connections,
        circle: &Circle,
        who: usize,
        due: Instant,
    ) -> Result<(), Failure> {
        let person = &mut self.people[who];
        connections.come(who, circle.member(who), &person.resume)?;
        person.come(due);
        self.present.push(who);
        Ok(())
    }

    /// So many messages, on average, are written in a visit, at any time of it.
    fn plan(&mut self, who: usize, come: Instant, messages: f64) {
        let count = (messages + self.random.share()) as usize;
        for _ in 0..count {
            let (when, friend) = (self.random.share(), self.random.share());
            let friend = (friend * self.people[who].talks.len() as f64) as usize;
            self.due.push(Reverse((come + self.stay.mul_f64(when), who, friend)));
        }
    }

    /// How to wait for whatever is next: a visit, or a message.
    fn wait(&self, visit: Wait, now: Instant) -> Wait {
        let message = self.due.peek().map(|Reverse((due, _, _))| due.saturating_duration_since(now));
        match (visit, message) {
            (Wait::Upto(_), Some(message)) if message < SPIN => Wait::Poll,
            (Wait::Upto(visit), Some(message)) => Wait::Upto(visit.min(message - SPIN / 2)),
            (visit, _) => visit,
        }
    }

    /// Everything that is due is written, everything that comes is looked at, and whoever may go goes.
    fn turn(&mut self, connections: &mut Connections, pace: Option<&Pace>, wait: Wait) -> Result<(), Failure> {
        let now = Instant::now();
        while let Some(Reverse((due, who, friend))) = self.due.peek().copied().filter(|Reverse(next)| next.0 <= now) {
            self.due.pop();
            self.written += 1;
            self.late.saturating_record((now - due).as_micros() as u64);
            self.people[who].write(due, due - self.begin, friend, &self.payload, connections.out(who));
        }
        let (clock, people, payload) = ((self.begin, self.stay), &mut self.people, &self.payload);
        let (sent, delivered, came) = (&mut self.sent, &mut self.delivered, &mut self.came);
        let (pushed, wrong) = (&mut self.pushed, &mut self.wrong);
        connections.turn(wait, |who, frame, out| {
            let now = Instant::now();
            let record = |histogram: &mut Histogram<u64>, due: Instant| {
                if pace.is_some_and(|pace| pace.counts(due)) {
                    histogram.saturating_record(now.saturating_duration_since(due).as_micros() as u64);
                }
            };
            people[who].heard(frame, clock, payload, out, &mut |felt| match felt {
                Felt::Came(due) => record(came, due),
                Felt::Sent(due) => record(sent, due),
                Felt::Pushed(since) => {
                    *pushed += 1;
                    record(delivered, clock.0 + since);
                }
                Felt::Wrong => *wrong += 1,
            })
        })?;
        let people = &mut self.people;
        for who in &self.present {
            if people[*who].lacks_something()
                && let Some(out) = connections.out(*who)
            {
                people[*who].catch_up(now, out);
            }
        }
        self.present.retain(|who| {
            let goes = people[*who].may_go(now);
            if goes {
                people[*who].whereabouts = Whereabouts::Away;
                connections.go(*who);
            }
            !goes
        });
        Ok(())
    }

    /// The day is over: what is under way ends, then everybody comes once more for what they missed. How many never settled.
    fn settle(&mut self, connections: &mut Connections, circle: &Circle) -> Result<u64, Failure> {
        let until = Instant::now() + SETTLED_WITHIN;
        let wait = Wait::Upto(Duration::from_millis(5));
        while !(self.present.is_empty() && self.due.is_empty()) && Instant::now() < until {
            self.turn(connections, None, wait)?;
        }
        self.stay = Duration::ZERO;
        let mut next = 0;
        while (next < self.people.len() || !self.present.is_empty()) && Instant::now() < until {
            while next < self.people.len() && self.present.len() < AT_A_TIME {
                self.come(connections, circle, next, Instant::now())?;
                next += 1;
            }
            self.turn(connections, None, wait)?;
        }
        Ok((self.people.len() - next + self.present.len()) as u64)
    }

    /// Messages that one of the two does not have although both have settled.
    fn missing(&self, circle: &Circle) -> u64 {
        let mut missing = 0;
        for user in 0..circle.len() {
            for at in 0..circle.friends() / 2 {
                let friend = circle.friend(user, at);
                // The friend's place for this user is as far on the other side of the circle.
                let back = at + circle.friends() / 2;
                let ((mine, i_wrote), (theirs, they_wrote)) =
                    (self.people[user].talks[at].count(), self.people[friend].talks[back].count());
                missing += (i_wrote + they_wrote).abs_diff(mine) + (i_wrote + they_wrote).abs_diff(theirs);
            }
        }
        missing
    }
}
