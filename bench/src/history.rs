//! `tidings-bench load history`: devices that ask for pages of old messages, half of them for the last ones before a number. Where
//! a page is cut at its bytes, what it lacks is asked for: the time of a page is that of all its messages. The server reads them through the system's
//! cache, and here they are in it; so is the file of the floor.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use tidings_wire::{
    ConversationId, Frame, Kind, Seq, frame,
    frames::{ErrorFrame, Fetch, FetchOrder, Fetched, Message},
};

use crate::{
    Failure,
    circle::Circle,
    connection::NOTHING_KNOWN,
    connections::Connections,
    cpu, dsync,
    measure::Percentiles,
    offer::COOL_DOWN,
    pace::{Pace, histogram},
    pairs::Payload,
    report::Machine,
    run::{phases, progress},
    target::{Place, Target},
    values,
};

/// Arguments of `load history`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Users, each with two conversations.
    #[arg(long, default_value_t = 50, value_parser = values::count)]
    users: usize,
    /// Messages of each conversation.
    #[arg(long, default_value_t = 2_000)]
    messages: u64,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 1024, value_parser = values::count)]
    payload: usize,
    /// Messages of a page.
    #[arg(long, default_value_t = 50, value_parser = values::page)]
    page: u32,
    /// Pages a second.
    #[arg(long, default_value_t = 500.0, value_parser = values::positive)]
    rate: f64,
    /// Seconds for all that is measured.
    #[arg(long, default_value_t = 15.0, value_parser = values::positive)]
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
    /// Pages a second.
    rate_per_s: f64,
    page: u32,
    payload: usize,
    /// From when a page was due to be asked for to FETCHED.
    page_us: Percentiles,
    late_us: Percentiles,
    cpu_us_per_page: f64,
    rss_bytes: u64,
    /// The disk alone: reads of as many bytes at that pace.
    floor_read_us: Percentiles,
    wrong: u64,
    unfinished: u64,
}

/// How long everybody may take to be let in.
const HERE_WITHIN: Duration = Duration::from_secs(30);

/// A page that was asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    due: Instant,
    conversation: ConversationId,
    order: FetchOrder,
    /// What has not come.
    from: u64,
    upto: u64,
    /// The next number of the answer that is coming, once its first has come.
    next: Option<u64>,
}

impl Asked {
    fn ask(&self, out: &mut Vec<u8>) {
        let &Self { conversation, order, from, upto, .. } = self;
        let limit = (upto + 1 - from) as u32;
        frame::append(out, 1, &Fetch { conversation, from: Seq(from), upto: Seq(upto), limit, order });
    }

    /// An answer is complete. `None` if it is not what was asked for; else whether all has come.
    fn answered(&mut self, fetched: &Fetched) -> Option<bool> {
        let (first, last) = fetched.answered().into_inner();
        let right_end = if self.order == FetchOrder::Upward { first == self.from } else { last == self.upto };
        let whole = first <= last && fetched.first.0 == first && self.next.take() == Some(last + 1);
        match self.order {
            FetchOrder::Upward => self.from = last + 1,
            FetchOrder::Last => self.upto = first.saturating_sub(1),
        }
        (right_end && whole).then_some(self.from > self.upto)
    }
}

#[derive(Debug)]
struct Pages {
    asked: Vec<Option<Asked>>,
    took: Histogram<u64>,
    done: u64,
    wrong: u64,
}

/// Runs it.
///
/// # Errors
/// If somebody is not let in, or gets the wrong messages.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if u64::from(arguments.page) > arguments.messages {
        return Err(format!("a page of {} needs as many messages in a conversation", arguments.page).into());
    }
    cpu::pin(arguments.place.load_core);
    let bar = progress(3)?;
    let (dir, _temporary) = arguments.place.make_dir()?;
    let target = Target::server(&arguments.place, &dir)?;
    let circle = Circle::new(&target, arguments.users, 2)?;
    let mut connections = Connections::new(target.addr, circle.len())?;
    let payload = Payload::new(arguments.payload);
    circle.make(&mut connections, arguments.messages, &payload, &bar)?;
    bar.inc(1);
    bar.set_message("pages");
    let found = measure(&mut connections, &circle, &payload, &target, arguments)?;
    drop(connections);
    target.stop()?;
    bar.inc(1);
    bar.set_message("the disk alone");
    let bytes = arguments.page as usize * arguments.payload;
    let seconds = phases(0.2 * arguments.seconds).steady;
    let floor_read_us = Percentiles::from(&dsync::probe_reads(&dir, bytes, arguments.rate, seconds)?);
    bar.finish_and_clear();
    print(&Found { floor_read_us, ..found }, arguments.json)
}

fn print(found: &Found, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(found)?);
    } else {
        println!(
            "{:.0} pages of {} messages of {} bytes a second ({:.0} offered): {:.0} MB/s\n\
             a page: p50 {:.2} ms, p99 {:.2} ms; {:.0} us of processor; a file alone gives as many bytes in {:.2} ms, p99 {:.2} ms\n\
             the load was late by {} us (p99); {} wrong, {} unfinished",
            found.rate_per_s,
            found.page,
            found.payload,
            found.offered_per_s,
            found.rate_per_s * f64::from(found.page) * found.payload as f64 / 1e6,
            found.page_us.p50 as f64 / 1e3,
            found.page_us.p99 as f64 / 1e3,
            found.cpu_us_per_page,
            found.floor_read_us.p50 as f64 / 1e3,
            found.floor_read_us.p99 as f64 / 1e3,
            found.late_us.p99,
            found.wrong,
            found.unfinished,
        );
    }
    match (found.wrong, found.unfinished) {
        (0, 0) => Ok(()),
        (wrong, unfinished) => Err(format!("{wrong} messages were wrong, {unfinished} pages never came").into()),
    }
}

fn measure(
    connections: &mut Connections,
    circle: &Circle,
    payload: &Payload,
    target: &Target,
    arguments: &Arguments,
) -> Result<Found, Failure> {
    let users = circle.len();
    let mut here = 0;
    for user in 0..users {
        connections.come(user, circle.member(user), &NOTHING_KNOWN)?;
    }
    let until = Instant::now() + HERE_WITHIN;
    while here < users {
        if Instant::now() > until {
            return Err(format!("{here} of {users} devices were let in").into());
        }
        connections.turn(tidings_ring::Wait::Upto(COOL_DOWN), |_, frame, _| {
            here += usize::from(frame.kind() == Ok(Kind::Changed));
            Ok(())
        })?;
    }
    let mut pages = Pages { asked: vec![None; users], took: histogram(), done: 0, wrong: 0 };
    let mut pace = Pace::new(arguments.rate, users, phases(0.8 * arguments.seconds));
    let mut waiting: Vec<VecDeque<Instant>> = vec![VecDeque::new(); users];
    let (mut begun, mut end, mut count) = (None, None, 0u64);
    loop {
        let now = Instant::now();
        let (has_begun, is_over) = pace.phase(now);
        if has_begun && begun.is_none() {
            begun = Some((now, target.usage()?));
        }
        if is_over && end.is_none() {
            end = Some((now, target.usage()?));
        }
        while let Some((due, user)) = pace.next(now) {
            waiting[user].push_back(due);
        }
        // Whoever has nothing to wait for asks for what is due, at a place of one of their conversations.
        for (user, waiting) in waiting.iter_mut().enumerate() {
            if pages.asked[user].is_none()
                && let Some(due) = waiting.pop_front()
            {
                count += 1;
                let most = arguments.messages - u64::from(arguments.page) + 1;
                let from = 1 + count.wrapping_mul(0x9e37_79b9_7f4a_7c15) % most;
                let conversation = circle.conversation(user, circle.friend(user, count as usize % 2));
                let order = if count % 4 < 2 { FetchOrder::Upward } else { FetchOrder::Last };
                let upto = from + u64::from(arguments.page) - 1;
                let asked = Asked { due, conversation, order, from, upto, next: None };
                asked.ask(connections.out(user).ok_or("a device is gone")?);
                pages.asked[user] = Some(asked);
            }
        }
        let left = pages.asked.iter().flatten().count() + waiting.iter().map(VecDeque::len).sum::<usize>();
        if let Some((ended, _)) = &end
            && (left == 0 || ended.elapsed() > COOL_DOWN)
        {
            break;
        }
        let wait = pace.wait(now);
        connections.turn(wait, |at, frame, out| pages.heard(at, frame, out, payload, &pace))?;
    }
    let never = "the run was never measured";
    let ((from, before), (to, after)) = (begun.ok_or(never)?, end.ok_or(never)?);
    Ok(Found {
        workload: "history",
        machine: Machine::here(),
        offered_per_s: arguments.rate,
        rate_per_s: pages.done as f64 / (to - from).as_secs_f64(),
        page: arguments.page,
        payload: arguments.payload,
        page_us: Percentiles::from(&pages.took),
        late_us: Percentiles::from(&pace.late_us),
        cpu_us_per_page: (after.cpu_us - before.cpu_us) as f64 / pages.done.max(1) as f64,
        rss_bytes: after.rss_bytes,
        floor_read_us: Percentiles::default(),
        wrong: pages.wrong,
        unfinished: (pages.asked.iter().flatten().count() + waiting.iter().map(VecDeque::len).sum::<usize>()) as u64,
    })
}

impl Pages {
    fn heard(
        &mut self,
        at: usize,
        frame: &Frame<'_>,
        out: &mut Vec<u8>,
        payload: &Payload,
        pace: &Pace,
    ) -> Result<(), Failure> {
        let Some(asked) = &mut self.asked[at] else { return Ok(()) };
        match frame.kind() {
            Ok(Kind::Message) => {
                let message = frame.fixed::<Message>().map_err(|error| format!("a message cannot be read: {error}"))?;
                let follows = asked.next.is_none_or(|next| message.seq.0 == next);
                let right = follows && frame.var(message.payload).is_ok_and(|bytes| payload.is(bytes));
                self.wrong += u64::from(!right);
                asked.next = Some(message.seq.0 + 1);
            }
            Ok(Kind::Fetched) => {
                let fetched = frame.fixed::<Fetched>().map_err(|error| format!("FETCHED cannot be read: {error}"))?;
                match asked.answered(&fetched) {
                    Some(false) => {
                        asked.ask(out);
                        return Ok(());
                    }
                    Some(true) => {}
                    None => self.wrong += 1,
                }
                let now = Instant::now();
                if pace.counts(asked.due) {
                    self.took.saturating_record((now - asked.due).as_micros() as u64);
                }
                self.done += u64::from(pace.phase(now) == (true, false));
                self.asked[at] = None;
            }
            Ok(Kind::Error) => return Err(format!("refused: {:?}", frame.fixed::<ErrorFrame>()).into()),
            _ => {}
        }
        Ok(())
    }
}
