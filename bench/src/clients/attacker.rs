//! What one account, or one address, does to take a server from everybody else. Each attack is a thread of its own on the load's core, which gives way to
//! those who are measured, and ends when it is told to.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use serde::Serialize;
use tidings_wire::{
    ConversationId, ErrorCode, HEADER_LEN, Header, Kind, Seq, UserId, frame,
    frames::{Control, ErrorFrame, Fetch, FetchOrder, Ping, Sent},
    limits,
};

use super::{
    Member,
    connection::{Connection, NOTHING_KNOWN},
    sending::{Payload, append_attempt},
};
use crate::Failure;

/// An attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Attack {
    /// RESUMEs of an account with many conversations, 512 at a time.
    Resumes,
    /// Messages to users who do not exist, each to another.
    Inventions,
    /// Pages of history on sixteen devices, eight at a time, of which half are not read.
    Histories,
    /// Connections that say nothing, or send the header of a long frame first.
    Silence,
    /// Messages of 64 KiB, as many as the window holds.
    Flood,
    /// PINGs.
    Pings,
}

/// All of them.
pub const ATTACKS: [Attack; 6] =
    [Attack::Resumes, Attack::Inventions, Attack::Histories, Attack::Silence, Attack::Flood, Attack::Pings];

/// Conversations of the account that resumes.
const CONVERSATIONS: u64 = 1500;
/// RESUMEs and PINGs that leave together.
const PIPELINED: usize = 512;
/// Devices that ask for history, and how many pages each asks for at a time.
const READERS: u32 = 16;
const PAGES: usize = 8;
/// Messages of the conversation that is read, and bytes of each.
const STORED: u64 = 300;
const STORED_LEN: usize = 4096;
/// Connections that say nothing, at most, and how long after one the next is made.
const SILENT: usize = 4000;
const NEXT_CONNECTION: Duration = Duration::from_micros(300);
/// What the account is called.
pub const MALLORY: &str = "mallory";
/// The attacker's first device: those before it are of pairs, also at the relay.
const FIRST_DEVICE: u32 = 10_000;
/// How long something is prepared at most.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an attack rests that has nothing to do.
const REST: Duration = Duration::from_micros(100);

/// What an attack came to.
#[derive(Debug, Default)]
pub struct Score {
    /// Frames that it said, or connections that it made.
    pub said: AtomicU64,
    /// Answers that were errors.
    pub refused: AtomicU64,
    /// Connections of its that the server ended.
    pub thrown_out: AtomicU64,
}

/// What an attack needs.
#[derive(Debug)]
pub struct Attacker<'a> {
    /// Where the server is.
    pub addr: SocketAddr,
    /// The account's token.
    pub token: String,
    /// What it came to.
    pub score: &'a Score,
    /// It is to end.
    pub stop: &'a AtomicBool,
}

/// A connection that is never waited for.
struct Line {
    stream: TcpStream,
    connection: Connection,
    /// What has not left yet.
    out: VecDeque<u8>,
    answers: u64,
    /// The last attempt that was taken.
    taken: u64,
}

impl Attacker<'_> {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What was prepared does not count.
    fn begin(&self, ready: impl FnOnce()) {
        [&self.score.said, &self.score.refused, &self.score.thrown_out]
            .iter()
            .for_each(|count| count.store(0, Ordering::Relaxed));
        ready();
    }

    fn said(&self, more: u64) {
        self.score.said.fetch_add(more, Ordering::Relaxed);
    }

    /// Connects as a device that has resumed.
    fn line(&self, at: u32) -> Result<Line, Failure> {
        let stream = TcpStream::connect(self.addr)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut connection = Connection::new(stream.try_clone()?.into());
        connection.greet(&Member { device: FIRST_DEVICE + at, token: self.token.clone() }, &NOTHING_KNOWN);
        let out = std::mem::take(&mut connection.pending).into();
        let mut line = Line { stream, connection, out, answers: 0, taken: 0 };
        let until = Instant::now() + PATIENCE;
        while line.answers == 0 {
            if Instant::now() > until {
                return Err("the attacker is not let in".into());
            }
            self.step(&mut line)?;
        }
        Ok(line)
    }

    /// Sends and reads what can be without waiting, and rests where that is nothing.
    fn step(&self, line: &mut Line) -> Result<(), Failure> {
        let mut moved = line.send()?;
        moved |= self.hear(line)?;
        if !moved {
            std::thread::sleep(REST);
        }
        Ok(())
    }

    fn hear(&self, line: &mut Line) -> Result<bool, Failure> {
        let mut buffer = [0; 65536];
        let read = match line.stream.read(&mut buffer) {
            Ok(0) => return Err("the server closed the attacker's connection".into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let (mut answers, mut refused, mut thrown_out, mut taken) = (0, 0, None, line.taken);
        line.connection.received(&buffer[..read], |frame, _| match frame.kind() {
            Ok(Kind::Error) => {
                answers += 1;
                refused += 1;
                let code = frame.fixed::<ErrorFrame>().ok().and_then(|error| ErrorCode::from_u16(error.code));
                thrown_out = code.filter(|code| code.closes());
            }
            Ok(Kind::Sent) => {
                answers += 1;
                let sent = frame.fixed::<Sent>().map(|sent| sent.client_msg_id.0).unwrap_or(0);
                taken = taken.max(sent);
            }
            Ok(Kind::Changed | Kind::Fetched | Kind::Pong) => answers += 1,
            _ => {}
        })?;
        line.answers += answers;
        line.taken = taken;
        self.score.refused.fetch_add(refused, Ordering::Relaxed);
        match thrown_out {
            Some(code) => Err(format!("the attacker is thrown out: {code}").into()),
            None => Ok(true),
        }
    }

    /// Goes on until it is told to end; `ready` is called once it begins.
    ///
    /// # Errors
    /// If the attacker is not let in, or is thrown out where it does not come again.
    pub fn attack(&self, attack: Attack, ready: impl FnOnce()) -> Result<(), Failure> {
        match attack {
            Attack::Resumes => self.resumes(ready),
            Attack::Inventions => self.inventions(ready),
            Attack::Histories => self.histories(ready),
            Attack::Silence => self.silence(ready),
            Attack::Flood => self.flood(ready),
            Attack::Pings => self.pings(ready),
        }
    }

    /// Writes to users who do not exist, until `most` were written to.
    fn invent(&self, line: &mut Line, most: u64) -> Result<(), Failure> {
        let payload = Payload::new(1);
        let (first, own) = (now_us(), UserId::derive("default", MALLORY));
        let before = line.answers;
        let mut said = 0;
        while !self.is_over() && line.answers - before < most {
            if said < most && said - (line.answers - before) < u64::from(limits::WINDOW) {
                let peer = UserId::derive("default", &format!("nobody {}", first + said));
                let between = ConversationId::direct(own, peer);
                let (id, text) = ((first + said, 0), (Control::TEXT, Seq(0), &[][..], payload.bytes()));
                append_attempt((between, peer), id, text, &mut line.connection.pending);
                said += 1;
                self.said(1);
                line.flush();
            } else {
                self.step(line)?;
            }
        }
        Ok(())
    }

    fn inventions(&self, ready: impl FnOnce()) -> Result<(), Failure> {
        let mut line = self.line(0)?;
        self.begin(ready);
        self.invent(&mut line, u64::MAX / 2)
    }

    fn resumes(&self, ready: impl FnOnce()) -> Result<(), Failure> {
        let mut line = self.line(0)?;
        self.invent(&mut line, CONVERSATIONS)?;
        self.begin(ready);
        self.repeat(&mut line, |out| frame::append(out, 7, &NOTHING_KNOWN))
    }

    fn pings(&self, ready: impl FnOnce()) -> Result<(), Failure> {
        let mut line = self.line(0)?;
        self.begin(ready);
        self.repeat(&mut line, |out| frame::append(out, 7, &Ping { opaque: 7 }))
    }

    /// The same frame, so many at a time, whenever the last of them have left.
    fn repeat(&self, line: &mut Line, write: impl Fn(&mut Vec<u8>)) -> Result<(), Failure> {
        while !self.is_over() {
            if line.out.is_empty() {
                (0..PIPELINED).for_each(|_| write(&mut line.connection.pending));
                self.said(PIPELINED as u64);
                line.flush();
            }
            if self.step(line).is_err() {
                // It reads too slowly for what it asks, for example: it comes again.
                self.score.thrown_out.fetch_add(1, Ordering::Relaxed);
                *line = self.line(0)?;
            }
        }
        Ok(())
    }

    fn flood(&self, ready: impl FnOnce()) -> Result<(), Failure> {
        let mut line = self.line(0)?;
        self.begin(ready);
        self.write_to(&mut line, &Payload::new(limits::PAYLOAD_MAX as usize), u64::MAX / 2)?;
        Ok(())
    }

    /// Writes so many messages to one other user. Gives the conversation.
    fn write_to(&self, line: &mut Line, payload: &Payload, most: u64) -> Result<ConversationId, Failure> {
        let (own, peer) = (UserId::derive("default", MALLORY), UserId::derive("default", "accomplice"));
        let between = ConversationId::direct(own, peer);
        let (first, before) = (now_us(), line.answers);
        let (mut said, mut prev, mut is_filling) = (0, 0, true);
        while !self.is_over() && line.answers - before < most {
            let unanswered = said - (line.answers - before);
            // What comes behind something that was refused is refused, too: a window at a time, each after the last that was taken.
            is_filling = unanswered == 0 || is_filling && unanswered < u64::from(limits::WINDOW);
            if said < most && is_filling {
                let id = first + said;
                prev = if unanswered == 0 { line.taken } else { prev };
                let text = (Control::TEXT, Seq(0), &[][..], payload.bytes());
                append_attempt((between, peer), (id, prev), text, &mut line.connection.pending);
                (said, prev) = (said + 1, id);
                self.said(1);
                line.flush();
            } else {
                self.step(line)?;
            }
        }
        Ok(between)
    }

    fn histories(&self, ready: impl FnOnce()) -> Result<(), Failure> {
        let mut first = self.line(0)?;
        let conversation = self.write_to(&mut first, &Payload::new(STORED_LEN), STORED)?;
        let mut lines = (1..=READERS).map(|at| self.line(at)).collect::<Result<Vec<_>, _>>()?;
        self.begin(ready);
        let (from, upto, limit, order) = (Seq(0), Seq(0), 256, FetchOrder::Last);
        let mut asked = vec![0_u64; lines.len()];
        while !self.is_over() {
            let mut moved = false;
            for (at, line) in lines.iter_mut().enumerate() {
                // Who does not read asks for its first pages, and then for nothing more.
                let reads = at % 2 == 0;
                let heard = line.answers.saturating_sub(1);
                if line.out.is_empty() && asked[at] < heard + PAGES as u64 {
                    frame::append(&mut line.connection.pending, 7, &Fetch { conversation, from, upto, limit, order });
                    asked[at] += 1;
                    self.said(1);
                    line.flush();
                }
                moved |= line.send()?;
                moved |= reads && self.hear(line)?;
            }
            if !moved {
                std::thread::sleep(REST);
            }
        }
        Ok(())
    }

    fn silence(&self, ready: impl FnOnce()) -> Result<(), Failure> {
        // The first bytes of a frame of 72 KiB that says to be a HELLO.
        let mut long = vec![0; HEADER_LEN + 8];
        let header = Header { len: 72 << 10, kind: Kind::Hello as u8, flags: 0, class: 0, fixed_len: 8, request_id: 1 };
        header.encode(&mut long);
        let mut open = VecDeque::new();
        self.begin(ready);
        while !self.is_over() {
            match TcpStream::connect_timeout(&self.addr, Duration::from_secs(1)) {
                Ok(mut stream) => {
                    self.said(1);
                    if open.len() % 4 == 3 {
                        let _closed = stream.write(&long);
                    }
                    open.push_back(stream);
                    if open.len() > SILENT {
                        open.pop_front();
                    }
                    std::thread::sleep(NEXT_CONNECTION);
                }
                Err(_full) => std::thread::sleep(REST),
            }
        }
        Ok(())
    }
}

impl Line {
    /// What gathers is to leave.
    fn flush(&mut self) {
        self.out.extend(self.connection.pending.drain(..));
    }

    fn send(&mut self) -> Result<bool, Failure> {
        let (front, _) = self.out.as_slices();
        if front.is_empty() {
            return Ok(false);
        }
        match self.stream.write(front) {
            Ok(sent) => {
                self.out.drain(..sent);
                Ok(sent > 0)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Attempts are named after the clock, as a client without memory does.
fn now_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
