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

use super::Workload;
use crate::{
    Failure,
    clients::{
        AT_A_TIME, Clients,
        circle::Circle,
        person::{Felt, Person, Whereabouts},
        sending::Payload,
    },
    drive::{
        Mark, Offer, Phases,
        arrivals::Random,
        measure::Window,
        pace::{Pace, histogram, record, wait_for},
        percentiles::Percentiles,
    },
    progress::Progress,
    report::{Findings, all_is_right, mib},
    target::{Limits, Place, Target},
    values,
};

/// Arguments of `load day`.
#[derive(Debug, Args)]
pub struct Day {
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
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
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

/// The day's people, and what was felt.
struct People {
    all: Vec<Person>,
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

impl Workload for Day {
    const NAME: &'static str = "day";
    type Found = Found;

    fn steps(&self) -> usize {
        3
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<Found, Failure> {
        let (dir, _temporary) = place.make_dir()?;
        bar.step("tidings");
        let target = Target::server(place, &dir, Limits::None)?;
        let circle = Circle::new(&target, self.users, self.friends)?;
        let mut clients = Clients::new(target.addr, circle.len())?;
        let mut people = People::new(&circle, self);
        bar.step("the day");
        let visits_per_s = self.users as f64 * self.visits / self.seconds;
        let mut pace = Pace::new(Offer::open(visits_per_s), circle.len(), Phases::within(self.seconds));
        people.begin = Instant::now();
        let usage = || target.usage();
        let mut window = Window::new(&usage);
        let (mut visits, mut dropped, mut written, mut is_over) = (0u64, 0u64, [0; 2], false);
        while !is_over {
            let now = Instant::now();
            while let Some(mark) = pace.mark(now) {
                window.look(mark);
                match mark {
                    Mark::Begin => written[0] = people.written,
                    Mark::End => (written[1], is_over) = (people.written, true),
                }
            }
            while let Some((due, who)) = pace.next(now) {
                // Whoever is there already does not come twice: so many are to be expected.
                if people.all[who].whereabouts == Whereabouts::Away {
                    visits += u64::from(pace.counts(due));
                    people.come(&mut clients, &circle, who, due)?;
                    people.plan(who, due, self.messages / self.visits);
                } else {
                    dropped += u64::from(pace.counts(due));
                }
            }
            let wait = people.wait(pace.wait(now), now);
            people.turn(&mut clients, Some(&pace), wait)?;
        }
        let (seconds, messages) = (pace.seconds(), (written[1] - written[0]).max(1) as f64);
        bar.step("everybody gets what is missing");
        let unfinished = people.settle(&mut clients, &circle)?;
        drop(clients);
        let used = window.used()?;
        target.stop()?;
        Ok(Found {
            users: self.users,
            online: self.online,
            day_s: self.seconds,
            rate_per_s: messages / seconds,
            visits_per_s: visits as f64 / seconds,
            dropped_visits: dropped as f64 / (visits + dropped).max(1) as f64,
            pushed: people.pushed as f64 / people.written.max(1) as f64,
            sent_us: Percentiles::from(&people.sent),
            delivered_us: Percentiles::from(&people.delivered),
            resume_us: Percentiles::from(&people.came),
            late_us: Percentiles::from(&people.late),
            cpu_us_per_msg: used.cpu_us as f64 / messages,
            written_bytes_per_msg: used.written_bytes as f64 / messages,
            rss_bytes: used.rss_bytes,
            wrong: people.wrong + people.missing(&circle),
            unfinished,
        })
    }
}

impl Findings for Found {
    fn sentences(&self) -> String {
        format!(
            "a day of {} people in {:.0} s, {:.1} % of them there: {:.0} messages and {:.0} visits a second\n\
             SENT {}; MESSAGE, to the {:.0} % of receivers who were there, {}; the list for who comes {}\n\
             {:.1} us of processor a message, with the visits; {:.0} bytes written a message; {:.0} MiB\n\
             the load was late by {} us (p99); {} wrong, {} unfinished",
            self.users,
            self.day_s,
            100.0 * self.online,
            self.rate_per_s,
            self.visits_per_s,
            self.sent_us,
            100.0 * self.pushed,
            self.delivered_us,
            self.resume_us,
            self.cpu_us_per_msg,
            self.written_bytes_per_msg,
            mib(self.rss_bytes),
            self.late_us.p99,
            self.wrong,
            self.unfinished,
        )
    }

    fn check(&self) -> Result<(), Failure> {
        all_is_right(self.wrong, self.unfinished)
    }
}

impl People {
    fn new(circle: &Circle, day: &Day) -> Self {
        let person = |user| {
            let friends = (0..circle.friends()).map(move |at| circle.friend(user, at));
            Person::new(friends.map(|friend| (circle.conversation(user, friend), circle.id(friend))))
        };
        Self {
            all: (0..circle.len()).map(person).collect(),
            payload: Payload::new(day.payload),
            begin: Instant::now(),
            stay: Duration::from_secs_f64(day.seconds * day.online / day.visits),
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

    fn come(&mut self, clients: &mut Clients, circle: &Circle, who: usize, due: Instant) -> Result<(), Failure> {
        let person = &mut self.all[who];
        clients.come(who, circle.member(who), &person.resume)?;
        person.come(due);
        self.present.push(who);
        Ok(())
    }

    /// So many messages, on average, are written in a visit, at any time of it.
    fn plan(&mut self, who: usize, come: Instant, messages: f64) {
        let count = (messages + self.random.share()) as usize;
        for _ in 0..count {
            let (when, friend) = (self.random.share(), self.random.share());
            let friend = (friend * self.all[who].talks.len() as f64) as usize;
            self.due.push(Reverse((come + self.stay.mul_f64(when), who, friend)));
        }
    }

    /// How to wait for whatever is next: a visit, or a message.
    fn wait(&self, visit: Wait, now: Instant) -> Wait {
        let message = self.due.peek().map(|Reverse((due, _, _))| due.saturating_duration_since(now));
        match (visit, message.map(wait_for)) {
            (Wait::Upto(visit), Some(Wait::Upto(message))) => Wait::Upto(visit.min(message)),
            (visit, None) => visit,
            _ => Wait::Poll,
        }
    }

    /// Everything that is due is written, everything that comes is looked at, and whoever may go goes.
    fn turn(&mut self, clients: &mut Clients, pace: Option<&Pace>, wait: Wait) -> Result<(), Failure> {
        let now = Instant::now();
        while let Some(Reverse((due, who, friend))) = self.due.peek().copied().filter(|Reverse(next)| next.0 <= now) {
            self.due.pop();
            self.written += 1;
            record(&mut self.late, due, now);
            self.all[who].write(due, due - self.begin, friend, &self.payload, clients.out(who));
        }
        let (clock, people, payload) = ((self.begin, self.stay), &mut self.all, &self.payload);
        let (sent, delivered, came) = (&mut self.sent, &mut self.delivered, &mut self.came);
        let (pushed, wrong) = (&mut self.pushed, &mut self.wrong);
        clients.turn(wait, |frame| {
            let now = frame.now;
            let felt_since = |histogram: &mut Histogram<u64>, due: Instant| {
                if pace.is_some_and(|pace| pace.counts(due)) {
                    record(histogram, due, now);
                }
            };
            people[frame.at].heard(frame, clock, payload, &mut |felt| match felt {
                Felt::Came(due) => felt_since(came, due),
                Felt::Sent(due) => felt_since(sent, due),
                Felt::Pushed(since) => {
                    *pushed += 1;
                    felt_since(delivered, clock.0 + since);
                }
                Felt::Wrong => *wrong += 1,
            })
        })?;
        let people = &mut self.all;
        for who in &self.present {
            if people[*who].lacks_something()
                && let Some(out) = clients.out(*who)
            {
                people[*who].catch_up(now, out);
            }
        }
        self.present.retain(|who| {
            let goes = people[*who].may_go(now);
            if goes {
                people[*who].whereabouts = Whereabouts::Away;
                clients.go(*who);
            }
            !goes
        });
        Ok(())
    }

    /// The day is over: what is under way ends, then everybody comes once more for what they missed. How many never settled.
    fn settle(&mut self, clients: &mut Clients, circle: &Circle) -> Result<u64, Failure> {
        let until = Instant::now() + SETTLED_WITHIN;
        let wait = Wait::Upto(Duration::from_millis(5));
        while !(self.present.is_empty() && self.due.is_empty()) && Instant::now() < until {
            self.turn(clients, None, wait)?;
        }
        self.stay = Duration::ZERO;
        let mut next = 0;
        while (next < self.all.len() || !self.present.is_empty()) && Instant::now() < until {
            while next < self.all.len() && self.present.len() < AT_A_TIME {
                self.come(clients, circle, next, Instant::now())?;
                next += 1;
            }
            self.turn(clients, None, wait)?;
        }
        Ok((self.all.len() - next + self.present.len()) as u64)
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
                    (self.all[user].talks[at].count(), self.all[friend].talks[back].count());
                missing += (i_wrote + they_wrote).abs_diff(mine) + (i_wrote + they_wrote).abs_diff(theirs);
            }
        }
        missing
    }
}
