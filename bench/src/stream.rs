//! `tidings-bench load stream`: one message that grows by many fragments, shown to many devices: alone, then beside people who write one to one. Beside it the null relay, which copies as many
//! messages of the same size to as many.

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use tidings_ring::Wait;
use tidings_wire::{
    ConversationId, Frame, Kind, Seq, UserId, frame,
    frame::FrameBuilder,
    frames::{
        Control, Delivered, ErrorFrame, Fragment, GroupAct, GroupSettings, Message, Sent, Users,
        streamed::control::{END, OPEN},
    },
    limits::PAYLOAD_MAX,
};

use crate::{
    Failure,
    arrivals::Arrivals,
    connection::NOTHING_KNOWN,
    connections::Connections,
    cpu,
    groups::relay_copies,
    idlers::Member,
    load::Pairs,
    measure::Percentiles,
    offer::{Load, Mark, Offer, Phases},
    pace::histogram,
    pairs::append_attempt,
    report::Machine,
    run::progress,
    target::{Place, Target},
    values,
};

/// Arguments of `load stream`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Fragments of the message.
    #[arg(long, default_value_t = 2_000, value_parser = values::count)]
    fragments: usize,
    /// Bytes of a fragment: it begins with its number.
    #[arg(long, default_value_t = 24, value_parser = values::count)]
    bytes: usize,
    /// Fragments a second.
    #[arg(long, default_value_t = 100.0, value_parser = values::positive)]
    rate: f64,
    /// Devices at which somebody looks.
    #[arg(long, default_value_t = 50, value_parser = values::count)]
    devices: usize,
    /// Pairs that write beside it.
    #[arg(long, default_value_t = 500, value_parser = values::count)]
    pairs: usize,
    /// Messages a second of theirs: half of the highest rate that `load pairs --find-max` finds.
    #[arg(long, default_value_t = 36_000.0, value_parser = values::positive)]
    beside: f64,
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
    fragments: usize,
    bytes: usize,
    rate_per_s: f64,
    devices: usize,
    alone: Run,
    /// The relay's processor time for a copy of a message of that size.
    relay_cpu_us_per_copy: f64,
    beside_per_s: f64,
    beside: Run,
    /// SENT of those who write one to one beside it.
    beside_sent_us: Percentiles,
}

/// One message.
#[derive(Debug, Serialize)]
struct Run {
    /// From when a fragment was due until a device has it.
    fragment_us: Percentiles,
    late_us: Percentiles,
    /// Copies that came, and those that did not: what they said comes with the end.
    copies: u64,
    lost: u64,
    /// Of the server, of all that it did meanwhile.
    cpu_us_per_copy: f64,
    /// Devices that were told another text at the end than it has.
    wrong: u64,
}

/// How long everybody may take to be let in, and the end to come.
const WITHIN: Duration = Duration::from_secs(30);

/// Runs it.
///
/// # Errors
/// If somebody is refused, or the message ends otherwise than it was written.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.bytes < 8 || arguments.fragments * arguments.bytes > PAYLOAD_MAX as usize {
        return Err(format!("--fragments, --bytes: at least 8 bytes each, and {PAYLOAD_MAX} in all").into());
    }
    cpu::pin(arguments.place.load_core);
    let bar = progress(3)?;
    bar.set_message("the null relay");
    let relay_cpu_us_per_copy =
        relay_copies(&arguments.place, arguments.devices + 1, (arguments.bytes, arguments.rate), 10.0)?;
    bar.inc(1);
    bar.set_message("a message alone");
    let (dir, _temporary) = arguments.place.make_dir()?;
    let target = Target::server(&arguments.place, &dir)?;
    let mut people = People::come(&target, arguments)?;
    let alone = people.stream(&target, arguments)?;
    bar.inc(1);
    bar.set_message("a message beside pairs");
    let seconds = arguments.fragments as f64 / arguments.rate;
    let phases = Phases { warm_up: Duration::from_secs(2), steady: Duration::from_secs_f64(seconds) };
    let (core, place) = (arguments.place.load_core, &target);
    let (said, hear) = mpsc::channel();
    let (beside, beside_sent_us) = std::thread::scope(|scope| {
        let pairs = scope.spawn(move || {
            cpu::pin(core);
            let connected = Pairs::connect(place.addr, arguments.pairs, 1024, &|user| place.token(user));
            let mut pairs = connected.map_err(|error| error.to_string())?;
            let offer = Offer::Open { rate: arguments.beside, arrivals: Arrivals::Poisson };
            let begun = &mut |mark| {
                if mark == Mark::Begin {
                    let _gone = said.send(());
                }
            };
            let outcome = pairs.run(offer, phases, begun).map_err(|error| error.to_string())?;
            Ok::<_, String>(Percentiles::from(&outcome.measured.sent_us))
        });
        // An error of theirs is told where they are joined.
        let beside = hear.recv().map_err(Failure::from).and_then(|()| people.stream(&target, arguments));
        let sent = pairs.join().map_err(|_| "the thread of the pairs panicked")??;
        Ok::<_, Failure>((beside?, sent))
    })?;
    target.stop()?;
    bar.finish_and_clear();
    let found = Found {
        workload: "stream",
        machine: Machine::here(),
        fragments: arguments.fragments,
        bytes: arguments.bytes,
        rate_per_s: arguments.rate,
        devices: arguments.devices,
        alone,
        relay_cpu_us_per_copy,
        beside_per_s: arguments.beside,
        beside,
        beside_sent_us,
    };
    print(&found, arguments.json)
}

fn print(found: &Found, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", serde_json::to_string_pretty(found)?);
    } else {
        println!(
            "{} fragments of {} bytes, {} a second, to {} devices; beside it {:.0} messages a second one to one (SENT p50 {:.1} ms, p99 {:.1} ms)",
            found.fragments,
            found.bytes,
            found.rate_per_s,
            found.devices,
            found.beside_per_s,
            found.beside_sent_us.p50 as f64 / 1e3,
            found.beside_sent_us.p99 as f64 / 1e3
        );
        for (name, run) in [("alone", &found.alone), ("beside", &found.beside)] {
            println!(
                "{name:>7}: fragment to device p50 {:.2} ms, p99 {:.2} ms, longest {:.1} ms (the load was late by {:.2} ms, p99); {} copies, {} lost; {:.2} us of processor a copy, of all that the server did",
                run.fragment_us.p50 as f64 / 1e3,
                run.fragment_us.p99 as f64 / 1e3,
                run.fragment_us.max as f64 / 1e3,
                run.late_us.p99 as f64 / 1e3,
                run.copies,
                run.lost,
                run.cpu_us_per_copy
            );
        }
        println!("the null relay: {:.2} us a copy of a message of that size", found.relay_cpu_us_per_copy);
    }
    match found.alone.wrong + found.beside.wrong {
        0 => Ok(()),
        wrong => Err(format!("{wrong} devices were told another text than was written").into()),
    }
}

/// A group: the first writes, as a service, and all others look.
struct People {
    connections: Connections,
    conversation: ConversationId,
    /// The writer's last attempt.
    prev: u64,
    /// Of each, the last message that it has.
    last: Vec<Seq>,
}

fn name(at: usize) -> String {
    format!("reader{at}")
}

impl People {
    fn come(target: &Target, arguments: &Arguments) -> Result<Self, Failure> {
        let count = arguments.devices + 1;
        let id = |at: usize| UserId::derive("default", &name(at));
        let nonce = [7; 16];
        let conversation = ConversationId::group(id(0), &nonce);
        let connections = Connections::new(target.addr, count)?;
        let mut this = Self { connections, conversation, prev: 0, last: vec![Seq(0); count] };
        for at in 0..count {
            let token = if at == 0 { target.token_of_service(&name(at))? } else { target.token(&name(at))? };
            this.connections.come(at, &Member { device: 1, token }, &NOTHING_KNOWN)?;
        }
        let mut let_in = 0;
        this.until(|_, frame| {
            let_in += usize::from(frame.kind() == Ok(Kind::Changed));
            let_in == count
        })?;
        let ids: Vec<[u8; 16]> = (1..count).map(|at| id(at).0).collect();
        let (mut body, settings) = (Vec::new(), GroupSettings::default());
        let control = GroupAct::Create { nonce, settings, title: b"bench", members: Users::new(&ids) }.write(&mut body);
        this.attempt(control, Seq(0), (&body, &[]));
        this.all_have(Seq(1))?;
        Ok(this)
    }

    /// The writer does something: its attempt.
    fn attempt(&mut self, control: Control, target: Seq, what: (&[u8], &[u8])) {
        let (id, to) = (self.prev + 1, (self.conversation, UserId::NONE));
        if let Some(out) = self.connections.out(0) {
            append_attempt(to, (id, self.prev), (control, target, what.0, what.1), out);
        }
        self.prev = id;
    }

    /// Takes what comes until `done` says so.
    fn until(&mut self, mut done: impl FnMut(usize, &Frame<'_>) -> bool) -> Result<(), Failure> {
        let (until, mut is_done) = (Instant::now() + WITHIN, false);
        while !is_done {
            self.connections.turn(Wait::Upto(Duration::from_millis(10)), |at, frame, _| {
                is_done |= done(at, frame);
                refused(frame)
            })?;
            if Instant::now() > until {
                return Err("not everybody heard what they should".into());
            }
        }
        Ok(())
    }

    /// Waits until everybody has a message.
    fn all_have(&mut self, seq: Seq) -> Result<(), Failure> {
        let mut last = std::mem::take(&mut self.last);
        let heard = self.until(|at, frame| {
            if let Some(seq) = number(frame) {
                last[at] = last[at].max(seq);
            }
            last.iter().all(|last| *last >= seq)
        });
        self.last = last;
        heard
    }

    /// Opens a message, writes it, ends it.
    fn stream(&mut self, target: &Target, arguments: &Arguments) -> Result<Run, Failure> {
        self.attempt(OPEN, Seq(0), (&[], &[]));
        let opened = Seq(self.prev);
        self.all_have(opened)?;
        let (count, bytes) = (arguments.fragments, arguments.bytes);
        let text: Vec<u8> = (0..count as u64).flat_map(|nth| piece(nth, bytes)).collect();
        let (mut took, mut late, mut copies) = (histogram(), histogram(), 0);
        let (begin, before) = (Instant::now(), target.usage()?);
        let due = |nth: usize| begin + Duration::from_secs_f64(nth as f64 / arguments.rate);
        let (mut nth, mut last_at) = (0, None::<Instant>);
        // A second for the last ones.
        while last_at.is_none_or(|at| at.elapsed() < Duration::from_secs(1)) {
            let now = Instant::now();
            while nth < count && due(nth) <= now {
                late.saturating_record((now - due(nth)).as_micros() as u64);
                self.write(opened, nth * bytes, &text[nth * bytes..][..bytes]);
                nth += 1;
            }
            if nth == count && last_at.is_none() {
                last_at = Some(now);
            }
            let until = due(nth.min(count - 1)).saturating_duration_since(now).min(Duration::from_millis(10));
            let wait = if nth < count && until < Duration::from_micros(100) { Wait::Poll } else { Wait::Upto(until) };
            self.connections.turn(wait, |at, frame, out| {
                if frame.kind() == Ok(Kind::Fragment) && at > 0 {
                    let fragment: Fragment = frame.fixed().map_err(|error| format!("a fragment: {error}"))?;
                    copies += 1;
                    record(&mut took, due(fragment.offset as usize / bytes));
                }
                confirm(frame, out);
                refused(frame)
            })?;
        }
        let after = target.usage()?;
        let wrong = self.end(opened, &text)?;
        Ok(Run {
            fragment_us: Percentiles::from(&took),
            late_us: Percentiles::from(&late),
            copies,
            lost: (count * arguments.devices) as u64 - copies,
            cpu_us_per_copy: (after.cpu_us - before.cpu_us) as f64 / copies.max(1) as f64,
            wrong,
        })
    }

    fn write(&mut self, seq: Seq, offset: usize, bytes: &[u8]) {
        let Some(out) = self.connections.out(0) else { return };
        let mut frame = FrameBuilder::<Fragment>::new(out);
        let (crc, span) = (Fragment::crc_of(bytes), frame.var(bytes));
        let (conversation, offset) = (self.conversation, offset as u32);
        frame.finish(9, &Fragment { conversation, seq, offset, crc, bytes: span });
    }

    /// How many were told another text at its end.
    fn end(&mut self, opened: Seq, text: &[u8]) -> Result<u64, Failure> {
        self.attempt(END, opened, (&[], text));
        let (seq, mut wrong) = (Seq(self.prev), 0);
        let mut last = std::mem::take(&mut self.last);
        let heard = self.until(|at, frame| {
            if let Some(seq) = number(frame) {
                last[at] = last[at].max(seq);
                wrong += u64::from(frame.kind() == Ok(Kind::Message) && payload(frame) != Some(text));
            }
            last.iter().all(|last| *last >= seq)
        });
        self.last = last;
        heard.map(|()| wrong)
    }
}

/// What a fragment says: its number, and more.
fn piece(nth: u64, bytes: usize) -> Vec<u8> {
    let mut piece = nth.to_le_bytes().to_vec();
    piece.resize(bytes, b'.');
    piece
}

fn record(took: &mut Histogram<u64>, due: Instant) {
    took.saturating_record(Instant::now().saturating_duration_since(due).as_micros() as u64);
}

/// The number of a message that is told by this.
fn number(frame: &Frame<'_>) -> Option<Seq> {
    match frame.kind() {
        Ok(Kind::Sent) => frame.fixed::<Sent>().ok().map(|sent| sent.seq),
        Ok(Kind::Message) => frame.fixed::<Message>().ok().map(|message| message.seq),
        _ => None,
    }
}

fn payload<'f>(frame: &Frame<'f>) -> Option<&'f [u8]> {
    frame.fixed::<Message>().ok().and_then(|message| frame.var(message.payload).ok())
}

fn confirm(frame: &Frame<'_>, out: &mut Vec<u8>) {
    if frame.kind() == Ok(Kind::Message)
        && let Ok(Message { conversation, seq, .. }) = frame.fixed()
    {
        frame::append(out, 3, &Delivered { conversation, upto: seq });
    }
}

/// The server's word, if it refuses something.
fn refused(frame: &Frame<'_>) -> Result<(), Failure> {
    if frame.kind() == Ok(Kind::Error) {
        return Err(format!("refused: {:?}", frame.fixed::<ErrorFrame>()).into());
    }
    Ok(())
}
