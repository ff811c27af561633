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
    ConversationId, Kind, Seq, frame,
    frames::{Fetch, FetchOrder, Fetched, Message},
};

use super::Workload;
use crate::{
    Failure,
    clients::{Came, Clients, circle::Circle, sending::Payload},
    drive::{
        Offer, Phases,
        measure::Window,
        pace::{Pace, histogram, record},
        percentiles::Percentiles,
    },
    floor::dsync,
    progress::Progress,
    report::{Findings, all_is_right},
    target::{Limits, Place, Target},
    values,
};

/// Arguments of `load history`.
#[derive(Debug, Args)]
pub struct History {
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
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
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

/// Shares of the seconds: of the pages, and of the disk alone.
const PAGES: f64 = 0.8;
const DISK: f64 = 0.2;

impl Workload for History {
    const NAME: &'static str = "history";
    type Found = Found;

    fn steps(&self) -> usize {
        3
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<Found, Failure> {
        if u64::from(self.page) > self.messages {
            return Err(format!("a page of {} needs as many messages in a conversation", self.page).into());
        }
        let (dir, _temporary) = place.make_dir()?;
        bar.step("tidings");
        let target = Target::server(place, &dir, Limits::None)?;
        let circle = Circle::new(&target, self.users, 2)?;
        let mut clients = Clients::new(target.addr, circle.len())?;
        let payload = Payload::new(self.payload);
        circle.make(&mut clients, self.messages, &payload, bar)?;
        bar.step("pages");
        let found = self.pages(&mut clients, &circle, &payload, &target)?;
        drop(clients);
        target.stop()?;
        bar.step("the disk alone");
        let (bytes, seconds) = (self.page as usize * self.payload, Phases::within(DISK * self.seconds).steady);
        let floor_read_us = Percentiles::from(&dsync::probe_reads(&dir, bytes, self.rate, seconds)?);
        Ok(Found { floor_read_us, ..found })
    }
}

impl Findings for Found {
    fn sentences(&self) -> String {
        format!(
            "{:.0} pages of {} messages of {} bytes a second ({:.0} offered): {:.0} MB/s\n\
             a page: {}; {:.0} us of processor; a file alone gives as many bytes in: {}\n\
             the load was late by {} us (p99); {} wrong, {} unfinished",
            self.rate_per_s,
            self.page,
            self.payload,
            self.offered_per_s,
            self.rate_per_s * f64::from(self.page) * self.payload as f64 / 1e6,
            self.page_us,
            self.cpu_us_per_page,
            self.floor_read_us,
            self.late_us.p99,
            self.wrong,
            self.unfinished,
        )
    }

    fn check(&self) -> Result<(), Failure> {
        all_is_right(self.wrong, self.unfinished)
    }
}

impl History {
    fn pages(
        &self,
        clients: &mut Clients,
        circle: &Circle,
        payload: &Payload,
        target: &Target,
    ) -> Result<Found, Failure> {
        let users = circle.len();
        clients.let_in(0..users, HERE_WITHIN, |user| Ok(circle.member(user).clone()))?;
        let mut pages = Pages { asked: vec![None; users], took: histogram(), done: 0, wrong: 0 };
        let mut pace = Pace::new(Offer::open(self.rate), users, Phases::within(PAGES * self.seconds));
        let usage = || target.usage();
        let mut window = Window::new(&usage);
        let mut waiting: Vec<VecDeque<Instant>> = vec![VecDeque::new(); users];
        let mut count = 0u64;
        let left = |pages: &Pages, waiting: &[VecDeque<Instant>]| {
            (pages.asked.iter().flatten().count() + waiting.iter().map(VecDeque::len).sum::<usize>()) as u64
        };
        loop {
            let now = Instant::now();
            while let Some(mark) = pace.mark(now) {
                window.look(mark);
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
                    let asked = self.next_page(count, circle, user, due);
                    asked.ask(clients.out(user).ok_or("a device is gone")?);
                    pages.asked[user] = Some(asked);
                }
            }
            if pace.is_done(|| left(&pages, &waiting)) {
                break;
            }
            clients.turn(pace.wait(now), |came| pages.take(came, payload, &pace))?;
        }
        let used = window.used()?;
        Ok(Found {
            offered_per_s: self.rate,
            rate_per_s: pages.done as f64 / pace.seconds(),
            page: self.page,
            payload: self.payload,
            page_us: Percentiles::from(&pages.took),
            late_us: Percentiles::from(&pace.late_us),
            cpu_us_per_page: used.cpu_us as f64 / pages.done.max(1) as f64,
            rss_bytes: used.rss_bytes,
            floor_read_us: Percentiles::default(),
            wrong: pages.wrong,
            unfinished: left(&pages, &waiting),
        })
    }

    /// Some page, each time of another conversation and from another place; every other one from its end.
    fn next_page(&self, count: u64, circle: &Circle, user: usize, due: Instant) -> Asked {
        let most = self.messages - u64::from(self.page) + 1;
        let from = 1 + count.wrapping_mul(0x9e37_79b9_7f4a_7c15) % most;
        let conversation = circle.conversation(user, circle.friend(user, count as usize % 2));
        let order = if count % 4 < 2 { FetchOrder::Upward } else { FetchOrder::Last };
        let upto = from + u64::from(self.page) - 1;
        Asked { due, conversation, order, from, upto, next: None }
    }
}

impl Pages {
    fn take(&mut self, came: &mut Came<'_, '_>, payload: &Payload, pace: &Pace) -> Result<(), Failure> {
        let Some(asked) = &mut self.asked[came.at] else { return Ok(()) };
        match came.kind() {
            Some(Kind::Message) => {
                let message: Message = came.read()?;
                let follows = asked.next.is_none_or(|next| message.seq.0 == next);
                let right = follows && came.frame.var(message.payload).is_ok_and(|bytes| payload.is(bytes));
                self.wrong += u64::from(!right);
                asked.next = Some(message.seq.0 + 1);
            }
            Some(Kind::Fetched) => {
                match asked.answered(&came.read()?) {
                    Some(false) => {
                        asked.ask(came.out);
                        return Ok(());
                    }
                    Some(true) => {}
                    None => self.wrong += 1,
                }
                if pace.counts(asked.due) {
                    record(&mut self.took, asked.due, came.now);
                }
                self.done += u64::from(pace.counts(came.now));
                self.asked[came.at] = None;
            }
            _ => came.no_refusal()?,
        }
        Ok(())
    }
}
