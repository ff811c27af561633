//! `tidings-bench load resume`: devices that come back, with everything changed and with nothing. From when one was due to come
//! until it has CHANGED: connecting, the token and the list.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use tidings_wire::{
    Frame, Kind,
    archive::{self, Archived},
    frames::{Changed, ChangedConversation, Resume as Cursor, ResumeStatus},
};

use super::Workload;
use crate::{
    Failure,
    clients::{A_MOMENT, AT_A_TIME, Clients, circle::Circle, connection::NOTHING_KNOWN, sending::Payload},
    cpu::Usage,
    drive::{
        Offer, Phases,
        measure::Window,
        pace::{Pace, histogram, record},
        percentiles::Percentiles,
    },
    progress::Progress,
    report::{Findings, all_is_right},
    target::{Limits, Place, Rooms, Target},
    values,
};

/// Arguments of `load resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// Users, each with one device.
    #[arg(long, default_value_t = 1_000, value_parser = values::count)]
    users: usize,
    /// Conversations of each: an even number.
    #[arg(long, default_value_t = 20, value_parser = values::count)]
    conversations: usize,
    /// Devices that come back a second.
    #[arg(long, default_value_t = 500.0, value_parser = values::positive)]
    rate: f64,
    /// Seconds for all that is measured.
    #[arg(long, default_value_t = 20.0, value_parser = values::positive)]
    seconds: f64,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
    users: usize,
    conversations: usize,
    offered_per_s: f64,
    rate_per_s: f64,
    /// Of devices that know nothing, and get every conversation.
    all_changed_us: Percentiles,
    /// Of devices that know everything.
    up_to_date_us: Percentiles,
    late_us: Percentiles,
    /// Bytes of CHANGED with every conversation.
    changed_bytes: usize,
    cpu_us_per_resume: f64,
    /// The null relay's, which checks no token and has no list.
    floor_cpu_us_per_resume: f64,
    floor_us: Percentiles,
    ratio_to_floor: f64,
    rss_bytes: u64,
    wrong: u64,
    unfinished: u64,
}

/// How long it may take before anything is measured until each device knows everything.
const KNOWN_WITHIN: Duration = Duration::from_secs(60);
/// Shares of the seconds: of ours, and of the relay.
const OURS: f64 = 0.6;
const RELAY: f64 = 0.3;

/// What a device knows when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knows {
    Nothing,
    Everything,
}

struct Measured {
    all_changed: Histogram<u64>,
    up_to_date: Histogram<u64>,
    late: Histogram<u64>,
    changed_bytes: usize,
    done: u64,
    wrong: u64,
    unfinished: u64,
    used: Usage,
    seconds: f64,
}

impl Measured {
    fn new() -> Self {
        let (all_changed, up_to_date, late) = (histogram(), histogram(), histogram());
        let (changed_bytes, done, wrong, unfinished) = (0, 0, 0, 0);
        let (used, seconds) = (Usage::default(), 0.0);
        Self { all_changed, up_to_date, late, changed_bytes, done, wrong, unfinished, used, seconds }
    }

    fn cpu_us_each(&self) -> f64 {
        self.used.cpu_us as f64 / self.done.max(1) as f64
    }
}

impl Workload for Resume {
    const NAME: &'static str = "resume";
    type Found = Found;

    fn steps(&self) -> usize {
        3
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<Found, Failure> {
        let (dir, _temporary) = place.make_dir()?;
        bar.step("what they come back to");
        let target = Target::server(place, &dir, Limits::None)?;
        let circle = Circle::new(&target, self.users, self.conversations)?;
        let mut clients = Clients::new(target.addr, circle.len())?;
        circle.make(&mut clients, 1, &Payload::new(64), bar)?;
        bar.step("tidings");
        let cursors = cursors(&mut clients, &circle)?;
        let ours = self.come_back(&mut clients, &circle, Some(&cursors), &target, OURS)?;
        drop(clients);
        target.stop()?;
        bar.step("the null relay");
        let relay = Target::relay(place, None, Rooms::Pairs)?;
        let mut clients = Clients::new(relay.addr, circle.len())?;
        let floor = self.come_back(&mut clients, &circle, None, &relay, RELAY)?;
        Ok(Found {
            users: self.users,
            conversations: self.conversations,
            offered_per_s: self.rate,
            rate_per_s: ours.done as f64 / ours.seconds,
            all_changed_us: Percentiles::from(&ours.all_changed),
            up_to_date_us: Percentiles::from(&ours.up_to_date),
            late_us: Percentiles::from(&ours.late),
            changed_bytes: ours.changed_bytes,
            cpu_us_per_resume: ours.cpu_us_each(),
            floor_cpu_us_per_resume: floor.cpu_us_each(),
            floor_us: Percentiles::from(&floor.up_to_date),
            ratio_to_floor: floor.cpu_us_each() / ours.cpu_us_each(),
            rss_bytes: ours.used.rss_bytes,
            wrong: ours.wrong,
            unfinished: ours.unfinished,
        })
    }
}

impl Findings for Found {
    fn sentences(&self) -> String {
        format!(
            "{:.0} devices came back a second ({:.0} offered), each from connecting to CHANGED\n\
             all {} conversations changed: {}, {} bytes; nothing changed: {}\n\
             {:.0} us of processor each; the null relay, without tokens and lists: {:.0} us ({}), ratio {:.2}\n\
             the load was late by {} us (p99); {} wrong, {} unfinished",
            self.rate_per_s,
            self.offered_per_s,
            self.conversations,
            self.all_changed_us,
            self.changed_bytes,
            self.up_to_date_us,
            self.cpu_us_per_resume,
            self.floor_cpu_us_per_resume,
            self.floor_us,
            self.ratio_to_floor,
            self.late_us.p99,
            self.wrong,
            self.unfinished,
        )
    }

    fn check(&self) -> Result<(), Failure> {
        all_is_right(self.wrong, self.unfinished)
    }
}

/// What each device knows once it knows everything: a cursor counts what is durable, and lists become so at leisure.
fn cursors(clients: &mut Clients, circle: &Circle) -> Result<Vec<Cursor>, Failure> {
    let mut cursors = vec![NOTHING_KNOWN; circle.len()];
    let mut behind: VecDeque<usize> = (0..circle.len()).collect();
    let (mut here, mut back) = (0, Vec::new());
    let until = Instant::now() + KNOWN_WITHIN;
    while here > 0 || !behind.is_empty() {
        while here < AT_A_TIME
            && let Some(at) = behind.pop_front()
        {
            clients.come(at, circle.member(at), &cursors[at])?;
            here += 1;
        }
        clients.turn(A_MOMENT, |came| {
            if came.kind() == Some(Kind::Changed) {
                let changed: Changed = came.read()?;
                cursors[came.at] = Cursor { lineage: changed.lineage, uv: changed.uv, ..NOTHING_KNOWN };
                back.push((came.at, changed.status == ResumeStatus::UpToDate));
            }
            Ok(())
        })?;
        here -= back.len();
        for (at, knows_everything) in back.drain(..) {
            clients.go(at);
            if !knows_everything {
                behind.push_back(at);
            }
        }
        if Instant::now() > until {
            return Err(format!("{} devices never knew everything", behind.len()).into());
        }
    }
    Ok(cursors)
}

impl Resume {
    /// Devices come back at the rate; with cursors, every other one knows everything.
    fn come_back(
        &self,
        clients: &mut Clients,
        circle: &Circle,
        cursors: Option<&[Cursor]>,
        target: &Target,
        share: f64,
    ) -> Result<Measured, Failure> {
        let mut pace = Pace::new(Offer::open(self.rate), circle.len(), Phases::within(share * self.seconds));
        let mut measured = Measured::new();
        let usage = || target.usage();
        let mut window = Window::new(&usage);
        // Who is on the way, since when and knowing what; who may come next; what waits for one of them.
        let mut coming: Vec<Option<(Instant, Knows)>> = vec![None; circle.len()];
        let mut away: VecDeque<usize> = (0..circle.len()).collect();
        let mut waiting = VecDeque::new();
        let (mut count, mut back) = (0u64, Vec::new());
        loop {
            let now = Instant::now();
            while let Some(mark) = pace.mark(now) {
                window.look(mark);
            }
            while let Some((due, _)) = pace.next(now) {
                waiting.push_back(due);
            }
            while let (Some(due), Some(at)) = (waiting.front().copied(), away.front().copied()) {
                waiting.pop_front();
                away.pop_front();
                count += 1;
                let known = cursors.filter(|_| count % 2 == 0).map(|cursors| &cursors[at]);
                let knows = if known.is_some() || cursors.is_none() { Knows::Everything } else { Knows::Nothing };
                coming[at] = Some((due, knows));
                clients.come(at, circle.member(at), known.unwrap_or(&NOTHING_KNOWN))?;
            }
            measured.unfinished = (circle.len() - away.len() + waiting.len()) as u64;
            if pace.is_done(|| measured.unfinished) {
                break;
            }
            let wait = pace.wait(now);
            clients.turn(wait, |came| {
                if came.kind() != Some(Kind::Changed) {
                    return Ok(());
                }
                let Some((due, knows)) = coming[came.at].take() else { return Ok(()) };
                back.push(came.at);
                let right = cursors.is_none() || is_right(came.frame, knows, circle);
                measured.wrong += u64::from(!right);
                measured.done += u64::from(pace.counts(came.now));
                let histogram = match knows {
                    Knows::Nothing => {
                        measured.changed_bytes = came.frame.bytes().len();
                        &mut measured.all_changed
                    }
                    Knows::Everything => &mut measured.up_to_date,
                };
                if pace.counts(due) {
                    record(histogram, due, came.now);
                }
                Ok(())
            })?;
            for at in back.drain(..) {
                clients.go(at);
                away.push_back(at);
            }
        }
        (measured.used, measured.seconds) = (window.used()?, pace.seconds());
        measured.late = pace.late_us;
        Ok(measured)
    }
}

/// Whether CHANGED holds what it must.
fn is_right(frame: &Frame<'_>, knows: Knows, circle: &Circle) -> bool {
    let Ok(changed) = frame.fixed::<Changed>() else { return false };
    if knows == Knows::Everything {
        return changed.status == ResumeStatus::UpToDate && changed.count == 0;
    }
    let (Ok(entries), step) = (frame.var(changed.entries), changed.entry_len as usize) else { return false };
    let heads = entries.chunks_exact(step.max(ChangedConversation::FIRST_LEN));
    let heads = heads.map(|entry| archive::read::<ChangedConversation>(entry).map(|entry| entry.head.0));
    changed.count as usize == circle.friends()
        && heads.len() == circle.friends()
        && heads.into_iter().all(|head| head.ok() == Some(1))
}
