//! What groups cost: messages that many get, and messages one to one beside them, each with the time of every copy.

use std::{collections::HashMap, time::Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use tidings_ring::Wait;
use tidings_wire::{
    Kind, frame,
    frames::{Delivered, Sent},
};

use crate::{
    Failure,
    clients::{
        Came,
        sending::Payload,
        writers::{Writer, Writers},
    },
    drive::{
        Offer, Phases,
        measure::Window,
        pace::{Pace, histogram, record},
        percentiles::Percentiles,
    },
    target::Target,
};

/// What is written, and who writes it.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    /// Of what kind it is.
    pub kind: Of,
    /// Messages a second.
    pub rate: f64,
    /// The first who writes, how many do, and how many places are between two of them.
    pub writers: (usize, usize, usize),
    /// Copies of each message.
    pub copies: usize,
}

/// Of a group, or one to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The group, or groups, in question.
    Groups,
    /// One to one, beside them.
    Pairs,
}

/// Whether who gets a copy says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// Everybody does.
    All,
    /// Only one to one.
    Pairs,
}

/// A run.
#[derive(Debug, Serialize)]
pub struct Run {
    /// Processor time of the server.
    pub cpu_us: u64,
    /// The same over all copies.
    pub cpu_us_per_copy: f64,
    /// Of groups.
    pub groups: Copies,
    /// One to one beside them.
    pub pairs: Copies,
    /// How late the load itself was.
    pub late_us: Percentiles,
    /// Resident memory of the server.
    pub rss_bytes: u64,
    /// Copies that failed a check.
    pub wrong: u64,
    /// Answers and copies that never came.
    pub unfinished: u64,
}

/// Copies of one kind.
#[derive(Debug, Default, Serialize)]
pub struct Copies {
    /// How many came in the measured time.
    pub count: u64,
    /// How many that is a second.
    pub per_s: f64,
    /// From when a message was due to SENT.
    pub sent_us: Percentiles,
    /// To each copy.
    pub copy_us: Percentiles,
    /// To its last copy.
    pub last_us: Percentiles,
}

/// Copies that are being measured.
#[derive(Debug)]
struct Measured {
    count: u64,
    sent: Histogram<u64>,
    copy: Histogram<u64>,
    last: Histogram<u64>,
}

/// A message on its way.
#[derive(Debug)]
struct Due {
    at: Instant,
    /// Copies that are missing.
    copies: usize,
    /// SENT is missing.
    is_open: bool,
    kind: Of,
}

/// Lets people write for a while, and measures.
///
/// # Errors
/// If somebody is refused, or a connection ends.
pub fn measure(
    writers: &mut Writers,
    target: &Target,
    talks: &[Talk],
    confirm: Confirm,
    phases: Phases,
) -> Result<Run, Failure> {
    let usage = || target.usage();
    let mut window = Window::new(&usage);
    // What is measured is the same time for all.
    let mut clock = Pace::new(Offer::Closed { depth: 0 }, 0, phases);
    let mut paces: Vec<_> =
        talks.iter().map(|talk| Pace::new(Offer::open(talk.rate), talk.writers.1, phases)).collect();
    let mut heard = Heard { due: HashMap::new(), groups: Measured::new(), pairs: Measured::new(), confirm, wrong: 0 };
    loop {
        let now = Instant::now();
        while let Some(mark) = clock.mark(now) {
            window.look(mark);
        }
        let mut wait = clock.wait(now);
        for (pace, talk) in paces.iter_mut().zip(talks) {
            let (first, _, step) = talk.writers;
            while pace.mark(now).is_some() {}
            while let Some((at, who)) = pace.next(now) {
                let attempt = writers.say(first + step * who)?;
                heard.due.insert(attempt, Due { at, copies: talk.copies, is_open: true, kind: talk.kind });
            }
            wait = shorter(wait, pace.wait(now));
        }
        if clock.is_done(|| heard.due.len() as u64) {
            break;
        }
        let Writers { clients, people, payload, .. } = &mut *writers;
        clients.turn(wait, |came| heard.take(&mut people[came.at], came, payload, &clock))?;
    }
    let (used, seconds) = (window.used()?, clock.seconds());
    let mut late = histogram();
    paces.iter().try_for_each(|pace| late.add(&pace.late_us))?;
    let copies = heard.groups.count + heard.pairs.count;
    Ok(Run {
        cpu_us: used.cpu_us,
        cpu_us_per_copy: used.cpu_us as f64 / copies.max(1) as f64,
        groups: heard.groups.finish(seconds),
        pairs: heard.pairs.finish(seconds),
        late_us: Percentiles::from(&late),
        rss_bytes: used.rss_bytes,
        wrong: heard.wrong,
        unfinished: heard.due.values().map(|due| due.copies as u64 + u64::from(due.is_open)).sum(),
    })
}

impl Measured {
    fn new() -> Self {
        Self { count: 0, sent: histogram(), copy: histogram(), last: histogram() }
    }

    fn finish(self, seconds: f64) -> Copies {
        let of = |histogram: &Histogram<u64>| Percentiles::from(histogram);
        let (sent_us, copy_us, last_us) = (of(&self.sent), of(&self.copy), of(&self.last));
        Copies { count: self.count, per_s: self.count as f64 / seconds, sent_us, copy_us, last_us }
    }
}

/// What came back.
#[derive(Debug)]
struct Heard {
    /// Messages on their way, by attempt.
    due: HashMap<u64, Due>,
    groups: Measured,
    pairs: Measured,
    confirm: Confirm,
    wrong: u64,
}

impl Heard {
    fn take(
        &mut self,
        person: &mut Writer,
        came: &mut Came<'_, '_>,
        payload: &Payload,
        clock: &Pace,
    ) -> Result<(), Failure> {
        let attempt = match came.kind() {
            Some(Kind::Sent) => came.read::<Sent>()?.client_msg_id,
            Some(Kind::Message) => {
                let (attempt, right) = person.take(came, payload)?;
                self.wrong += u64::from(!right);
                if self.confirm == Confirm::All || !person.peer.is_none() {
                    let delivered = Delivered { conversation: person.conversation, upto: person.last };
                    frame::append(came.out, 3, &delivered);
                }
                attempt
            }
            _ => return came.no_refusal(),
        };
        let Some(due) = self.due.get_mut(&attempt.0) else {
            self.wrong += 1;
            return Ok(());
        };
        let measured = if due.kind == Of::Groups { &mut self.groups } else { &mut self.pairs };
        let counts = clock.counts(due.at);
        if came.kind() == Some(Kind::Sent) {
            due.is_open = false;
            if counts {
                record(&mut measured.sent, due.at, came.now);
            }
        } else {
            let Some(missing) = due.copies.checked_sub(1) else {
                self.wrong += 1;
                return Ok(());
            };
            due.copies = missing;
            measured.count += u64::from(clock.counts(came.now));
            if counts {
                record(&mut measured.copy, due.at, came.now);
                if due.copies == 0 {
                    record(&mut measured.last, due.at, came.now);
                }
            }
        }
        if due.copies == 0 && !due.is_open {
            self.due.remove(&attempt.0);
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
