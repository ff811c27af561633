//! `tidings-bench load stream`: one message that grows by many fragments, shown to many devices: alone, then beside people who write one to one. Beside it the null relay, which copies as many
//! messages of the same size to as many.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use tidings::tokens::Scope;
use tidings_wire::{
    ConversationId, Kind, Seq, UserId, frame,
    frame::FrameBuilder,
    frames::{
        Delivered, Fragment, Message,
        streamed::control::{END, OPEN},
    },
    limits::PAYLOAD_MAX,
};

use super::{Workload, groups::relay_copies};
use crate::{
    Failure,
    clients::{
        Came, Member,
        pairs::Pairs,
        writers::{Writer, Writers, number},
    },
    drive::{
        Load, Mark, Offer, Phases,
        beside::beside,
        pace::{histogram, record, wait_for},
        percentiles::Percentiles,
    },
    progress::Progress,
    report::{Findings, all_is_right, ms},
    target::{Limits, Place, Target},
    values,
};

/// Arguments of `load stream`.
#[derive(Debug, Args)]
pub struct Stream {
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
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Found {
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
/// How long the last fragments are waited for.
const LAST_WITHIN: Duration = Duration::from_secs(1);
const NONCE: [u8; 16] = [7; 16];
/// Seconds of the relay's run.
const RELAY_S: f64 = 10.0;
/// Bytes of a payload one to one.
const PAYLOAD: usize = 1024;

impl Workload for Stream {
    const NAME: &'static str = "stream";
    type Found = Found;

    fn steps(&self) -> usize {
        3
    }

    fn measure(&self, place: &Place, bar: &Progress) -> Result<Found, Failure> {
        if self.bytes < 8 || self.fragments * self.bytes > PAYLOAD_MAX as usize {
            return Err(format!("--fragments, --bytes: at least 8 bytes each, and {PAYLOAD_MAX} in all").into());
        }
        bar.step("the null relay");
        let relay_cpu_us_per_copy = relay_copies(place, self.devices + 1, (self.bytes, self.rate), RELAY_S)?;
        bar.step("a message alone");
        let (dir, _temporary) = place.make_dir()?;
        let target = Target::server(place, &dir, Limits::None)?;
        let mut people = People::come(&target, self)?;
        let alone = people.stream(&target, self)?;
        bar.step("a message beside pairs");
        let seconds = self.fragments as f64 / self.rate;
        let phases = Phases { warm_up: Duration::from_secs(2), steady: Duration::from_secs_f64(seconds) };
        let (beside_sent_us, beside) = beside(
            place.load_core,
            |pairs| {
                let mut load = Pairs::connect(&target, self.pairs, PAYLOAD)?;
                let outcome = load.run(Offer::open(self.beside), phases, &mut |mark| {
                    if mark == Mark::Begin {
                        pairs.is_ready();
                    }
                })?;
                Ok(Percentiles::from(&outcome.measured.sent_us))
            },
            |here| {
                here.wait()?;
                people.stream(&target, self)
            },
        )?;
        drop(people);
        target.stop()?;
        Ok(Found {
            fragments: self.fragments,
            bytes: self.bytes,
            rate_per_s: self.rate,
            devices: self.devices,
            alone,
            relay_cpu_us_per_copy,
            beside_per_s: self.beside,
            beside,
            beside_sent_us,
        })
    }
}

impl Findings for Found {
    fn sentences(&self) -> String {
        let mut out = format!(
            "{} fragments of {} bytes, {} a second, to {} devices; beside it {:.0} messages a second one to one (SENT {})\n",
            self.fragments, self.bytes, self.rate_per_s, self.devices, self.beside_per_s, self.beside_sent_us
        );
        for (name, run) in [("alone", &self.alone), ("beside", &self.beside)] {
            out += &format!(
                "{name:>7}: fragment to device {}, longest {:.1} ms (the load was late by {:.2} ms, p99); {} copies, {} lost; {:.2} us of processor a copy, of all that the server did\n",
                run.fragment_us,
                ms(run.fragment_us.max),
                ms(run.late_us.p99),
                run.copies,
                run.lost,
                run.cpu_us_per_copy
            );
        }
        out + &format!("the null relay: {:.2} us a copy of a message of that size", self.relay_cpu_us_per_copy)
    }

    fn check(&self) -> Result<(), Failure> {
        all_is_right(self.alone.wrong + self.beside.wrong, 0)
    }
}

/// A group: the first writes, as a service, and all others look.
struct People {
    writers: Writers,
    conversation: ConversationId,
}

fn name(at: usize) -> String {
    format!("reader{at}")
}

impl People {
    fn come(target: &Target, stream: &Stream) -> Result<Self, Failure> {
        let (count, id) = (stream.devices + 1, |at: usize| UserId::derive("default", &name(at)));
        let conversation = ConversationId::group(id(0), &NONCE);
        let mut writers = Writers::new(target, vec![Writer::new(conversation, UserId::NONE); count], 0)?;
        let scope = |at| if at == 0 { Scope::Service } else { Scope::User };
        let member = |at| Ok(Member { device: 1, token: target.token_for(&name(at), scope(at))? });
        writers.clients.let_in(0..count, WITHIN, member)?;
        let others: Vec<[u8; 16]> = (1..count).map(|at| id(at).0).collect();
        writers.create(0, NONCE, &others)?;
        writers.all_have(Seq(1), WITHIN)?;
        Ok(Self { writers, conversation })
    }

    /// Opens a message, writes it, ends it. Only one device writes here, so that its attempts' numbers are the messages'.
    fn stream(&mut self, target: &Target, stream: &Stream) -> Result<Run, Failure> {
        let opened = Seq(self.writers.act(0, (OPEN, Seq(0), &[], &[]))?);
        self.writers.all_have(opened, WITHIN)?;
        let (count, bytes) = (stream.fragments, stream.bytes);
        let text: Vec<u8> = (0..count as u64).flat_map(|nth| piece(nth, bytes)).collect();
        let (mut took, mut late, mut copies) = (histogram(), histogram(), 0);
        let (begin, before) = (Instant::now(), target.usage()?);
        let due = |nth: usize| begin + Duration::from_secs_f64(nth as f64 / stream.rate);
        let (mut nth, mut last_at) = (0, None::<Instant>);
        while last_at.is_none_or(|at| at.elapsed() < LAST_WITHIN) {
            let now = Instant::now();
            while nth < count && due(nth) <= now {
                record(&mut late, due(nth), now);
                self.write(opened, nth * bytes, &text[nth * bytes..][..bytes]);
                nth += 1;
            }
            let left = if nth < count { due(nth).saturating_duration_since(now) } else { Duration::from_millis(10) };
            if nth == count && last_at.is_none() {
                last_at = Some(now);
            }
            self.writers.clients.turn(wait_for(left.min(Duration::from_millis(10))), |came| {
                match came.kind() {
                    Some(Kind::Fragment) if came.at > 0 => {
                        let fragment: Fragment = came.read()?;
                        copies += 1;
                        record(&mut took, due(fragment.offset as usize / bytes), came.now);
                    }
                    Some(Kind::Message) => {
                        let Message { conversation, seq, .. } = came.read()?;
                        frame::append(came.out, 3, &Delivered { conversation, upto: seq });
                    }
                    _ => came.no_refusal()?,
                }
                Ok(())
            })?;
        }
        let after = target.usage()?;
        let wrong = self.end(opened, &text)?;
        Ok(Run {
            fragment_us: Percentiles::from(&took),
            late_us: Percentiles::from(&late),
            copies,
            lost: (count * stream.devices) as u64 - copies,
            cpu_us_per_copy: (after.cpu_us - before.cpu_us) as f64 / copies.max(1) as f64,
            wrong,
        })
    }

    fn write(&mut self, seq: Seq, offset: usize, bytes: &[u8]) {
        let Some(out) = self.writers.clients.out(0) else { return };
        let mut frame = FrameBuilder::<Fragment>::new(out);
        let (crc, span) = (Fragment::crc_of(bytes), frame.var(bytes));
        let (conversation, offset) = (self.conversation, offset as u32);
        frame.finish(9, &Fragment { conversation, seq, offset, crc, bytes: span });
    }

    /// How many were told another text at its end.
    fn end(&mut self, opened: Seq, text: &[u8]) -> Result<u64, Failure> {
        let ended = Seq(self.writers.act(0, (END, opened, &[], text))?);
        let mut wrong = 0;
        self.writers.until(WITHIN, |people, came| {
            if let Some(seq) = number(came) {
                people[came.at].last = people[came.at].last.max(seq);
                wrong += u64::from(came.kind() == Some(Kind::Message) && payload(came) != Some(text));
            }
            people.iter().all(|person| person.last >= ended)
        })?;
        Ok(wrong)
    }
}

fn payload<'f>(came: &Came<'_, 'f>) -> Option<&'f [u8]> {
    came.read::<Message>().ok().and_then(|message| came.frame.var(message.payload).ok())
}

/// What a fragment says: its number, and more.
fn piece(nth: u64, bytes: usize) -> Vec<u8> {
    let mut piece = nth.to_le_bytes().to_vec();
    piece.resize(bytes, b'.');
    piece
}
