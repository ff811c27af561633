//! `tidings-bench load resume`: devices that come back, with everything changed and with nothing. From when one was due to come
//! until it has CHANGED: connecting, the token and the list.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use tidings_ring::Wait;
use tidings_wire::{
    Kind, Uv,
    archive::{self, Archived},
    frames::{Changed, ChangedConversation, Resume, ResumeStatus},
};

use crate::{
    Failure,
    circle::Circle,
    connection::NOTHING_KNOWN,
    connections::Connections,
    cpu,
    cpu::Usage,
    measure::Percentiles,
    offer::COOL_DOWN,
    pace::{Pace, histogram},
    pairs::Payload,
    report::Machine,
    run::{phases, progress},
    target::{Place, Target},
    values,
};

/// Arguments of `load resume`.
#[derive(Debug, Args)]
pub struct Arguments {
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

/// Devices that come at a time before anything is measured, and how long it may take until each knows everything.
const AT_A_TIME: usize = 256;
const KNOWN_WITHIN: Duration = Duration::from_secs(60);

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
    usage: Usage,
    seconds: f64,
}

/// Runs it.
///
/// # Errors
/// If somebody is not let in, or gets the wrong list.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    cpu::pin(arguments.place.load_core);
    let bar = progress(3)?;
    let (dir, _temporary) = arguments.place.make_dir()?;
    let target = Target::server(&arguments.place, &dir)?;
    let circle = Circle::new(&target, arguments.users, arguments.conversations)?;
    let mut connections = Connections::new(target.addr, circle.len())?;
    circle.make(&mut connections, 1, &Payload::new(64), &bar)?;
    bar.inc(1);
    bar.set_message("tidings");
    let cursors = cursors(&mut connections, &circle)?;
    let ours = measure(&mut connections, &circle, Some(&cursors), &target, arguments, 0.6)?;
    drop(connections);
    target.stop()?;
    bar.inc(1);
    bar.set_message("the null relay");
    let relay = Target::relay(&arguments.place, None)?;
    let mut connections = Connections::new(relay.addr, circle.len())?;
    let floor = measure(&mut connections, &circle, None, &relay, arguments, 0.3)?;
    drop(connections);
    bar.finish_and_clear();
    let each = |of: &Measured| of.usage.cpu_us as f64 / of.done.max(1) as f64;
    let found = Found {
        workload: "resume",
        machine: Machine::here(),
        users: arguments.users,
        conversations: arguments.conversations,
        offered_per_s: arguments.rate,
        rate_per_s: ours.done as f64 / ours.seconds,
        all_changed_us: Percentiles::from(&ours.all_changed),
        up_to_date_us: Percentiles::from(&ours.up_to_date),
        late_us: Percentiles::from(&ours.late),
        changed_bytes: ours.changed_bytes,
        cpu_us_per_resume: each(&ours),
        floor_cpu_us_per_resume: each(&floor),
        floor_us: Percentiles::from(&floor.up_to_date),
        ratio_to_floor: each(&floor) / each(&ours),
        rss_bytes: ours.usage.rss_bytes,
        wrong: ours.wrong,
        unfinished: ours.unfinished,
    };
    print(&found, arguments.json)
}

fn print(found: &Found, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(found)?);
    } else {
        let ms = |of: &Percentiles| format!("p50 {:.2} ms, p99 {:.2} ms", of.p50 as f64 / 1e3, of.p99 as f64 / 1e3);
        println!(
            "{:.0} devices came back a second ({:.0} offered), each from connecting to CHANGED\n\
             all {} conversations changed: {}, {} bytes; nothing changed: {}\n\
             {:.0} us of processor each; the null relay, without tokens and lists: {:.0} us ({}), ratio {:.2}\n\
             the load was late by {} us (p99); {} wrong, {} unfinished",
            found.rate_per_s,
            found.offered_per_s,
            found.conversations,
            ms(&found.all_changed_us),
            found.changed_bytes,
            ms(&found.up_to_date_us),
            found.cpu_us_per_resume,
            found.floor_cpu_us_per_resume,
            ms(&found.floor_us),
            found.ratio_to_floor,
            found.late_us.p99,
            found.wrong,
            found.unfinished,
        );
    }
    match (found.wrong, found.unfinished) {
        (0, 0) => Ok(()),
        (wrong, unfinished) => Err(format!("{wrong} lists were wrong, {unfinished} never came").into()),
    }
}

/// What each device knows once it knows everything: a cursor counts what is durable, and lists become so at leisure.
fn cursors(connections: &mut Connections, circle: &Circle) -> Result<Vec<Resume>, Failure> {
    let mut cursors = vec![NOTHING_KNOWN; circle.len()];
    let mut behind: VecDeque<usize> = (0..circle.len()).collect();
    let (mut here, mut back) = (0, Vec::new());
    let until = Instant::now() + KNOWN_WITHIN;
    while here > 0 || !behind.is_empty() {
        while here < AT_A_TIME
            && let Some(at) = behind.pop_front()
        {
            connections.come(at, circle.member(at), &cursors[at])?;
            here += 1;
        }
        connections.turn(Wait::Upto(Duration::from_millis(20)), |at, frame, _| {
            if let (Ok(Kind::Changed), Ok(changed)) = (frame.kind(), frame.fixed::<Changed>()) {
                cursors[at] =
                    Resume { lineage: changed.lineage, uv: changed.uv, below: Uv(0), page: 0, tails: 0, tail: 0 };
                back.push((at, changed.status == ResumeStatus::UpToDate));
            }
            Ok(())
        })?;
        here -= back.len();
        for (at, knows_everything) in back.drain(..) {
            connections.go(at);
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

/// Devices come back at the rate; with cursors, every other one knows everything.
fn measure(
    connections: &mut Connections,
    circle: &Circle,
    cursors: Option<&[Resume]>,
    target: &Target,
    arguments: &Arguments,
    share: f64,
) -> Result<Measured, Failure> {
    let mut pace = Pace::new(arguments.rate, circle.len(), phases(share * arguments.seconds));
    let mut measured = Measured {
        all_changed: histogram(),
        up_to_date: histogram(),
        late: histogram(),
        changed_bytes: 0,
        done: 0,
        wrong: 0,
        unfinished: 0,
        usage: Usage::default(),
        seconds: 0.0,
    };
    // Who is on the way, since when and knowing what; who may come next; what waits for one of them.
    let mut coming: Vec<Option<(Instant, Knows)>> = vec![None; circle.len()];
    let mut away: VecDeque<usize> = (0..circle.len()).collect();
    let mut waiting = VecDeque::new();
    let (mut count, mut begun, mut back) = (0u64, None, Vec::new());
    let mut end: Option<Instant> = None;
    loop {
        let now = Instant::now();
        let (has_begun, is_over) = pace.phase(now);
        if has_begun && begun.is_none() {
            begun = Some((now, target.usage()?));
        }
        if let (true, None, Some((since, before))) = (is_over, end, &begun) {
            let after = target.usage()?;
            measured.usage = Usage { cpu_us: after.cpu_us - before.cpu_us, ..after };
            measured.seconds = (now - *since).as_secs_f64();
            end = Some(now);
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
            connections.come(at, circle.member(at), known.unwrap_or(&NOTHING_KNOWN))?;
        }
        let on_the_way = circle.len() - away.len();
        if let Some(end) = end
            && ((on_the_way == 0 && waiting.is_empty()) || end.elapsed() > COOL_DOWN)
        {
            measured.unfinished = (on_the_way + waiting.len()) as u64;
            break;
        }
        let wait = pace.wait(now);
        let (pace, measured) = (&pace, &mut measured);
        connections.turn(wait, |at, frame, _| {
            let Ok(Kind::Changed) = frame.kind() else { return Ok(()) };
            let Some((due, knows)) = coming[at].take() else { return Ok(()) };
            back.push(at);
            let now = Instant::now();
            let right = cursors.is_none() || is_right(frame, knows, circle);
            measured.wrong += u64::from(!right);
            measured.done += u64::from(pace.phase(now) == (true, false));
            let histogram = match knows {
                Knows::Nothing => {
                    measured.changed_bytes = frame.bytes().len();
                    &mut measured.all_changed
                }
                Knows::Everything => &mut measured.up_to_date,
            };
            if pace.counts(due) {
                histogram.saturating_record((now - due).as_micros() as u64);
            }
            Ok(())
        })?;
        for at in back.drain(..) {
            connections.go(at);
            away.push_back(at);
        }
    }
    measured.late = pace.late_us;
    Ok(measured)
}

/// Whether CHANGED holds what it must.
fn is_right(frame: &tidings_wire::Frame<'_>, knows: Knows, circle: &Circle) -> bool {
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
