//! What happened: a hash over all of it, the last of it in words, and all of it in a file if somebody wants that.

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io::{LineWriter, Write},
};

use crate::{
    agenda::{MS, Nanos, SECOND},
    plan::Fault,
};

/// Moments that a story tells.
const STORY: usize = 40;

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// A reactor turned: how many completions it was given.
    Turn(usize, usize),
    /// A write of a log began: log, slot, offset, bytes, checksum.
    Write(u8, u32, u64, usize, u32),
    /// Bytes arrived: at which connection, how many, checksum.
    ToServer(u64, usize, u32),
    /// Bytes arrived at a device.
    ToDevice(u64, usize, u32),
    /// The node started with so many reactors, records, and torn logs.
    Started(usize, u64, usize),
    /// The node could not start.
    NotStarted,
    /// The node went down: 0 killed, 1 without power, 2 stopped in good order, 3 a write failed.
    Down(u8),
    /// A fault began; of which device, link or reactor.
    Fault(Fault, u64),
    /// A device connected, over which link.
    Connected(usize, u64),
    /// A device lost its connection.
    Disconnected(usize),
    /// A device put a message into its outbox: conversation, tag.
    Put(usize, usize, u64),
    /// A device was told that a message is durable: conversation, sequence, tag.
    Sent(usize, usize, u64, u64),
    /// A device was given a message: conversation, sequence, tag.
    Seen(usize, usize, u64, u64),
    /// A device was told that messages are lost: conversation, from, up to.
    Lost(usize, usize, u64, u64),
    /// A device read up to a message.
    Read(usize, usize, u64),
    /// A device saved what it knew.
    Saved(usize),
    /// No more faults begin.
    Calm,
    /// Everybody has everything.
    Settled,
}

impl Moment {
    fn numbers(&self) -> [u64; 6] {
        match *self {
            Self::Turn(a, b) => [1, a as u64, b as u64, 0, 0, 0],
            Self::Write(a, b, c, d, e) => [2, a.into(), b.into(), c, d as u64, e.into()],
            Self::ToServer(a, b, c) => [3, a, b as u64, c.into(), 0, 0],
            Self::ToDevice(a, b, c) => [4, a, b as u64, c.into(), 0, 0],
            Self::Started(a, b, c) => [5, a as u64, b, c as u64, 0, 0],
            Self::NotStarted => [6, 0, 0, 0, 0, 0],
            Self::Down(a) => [7, a.into(), 0, 0, 0, 0],
            Self::Fault(a, b) => [8, a as u64, b, 0, 0, 0],
            Self::Connected(a, b) => [9, a as u64, b, 0, 0, 0],
            Self::Disconnected(a) => [10, a as u64, 0, 0, 0, 0],
            Self::Put(a, b, c) => [11, a as u64, b as u64, c, 0, 0],
            Self::Sent(a, b, c, d) => [12, a as u64, b as u64, c, d, 0],
            Self::Seen(a, b, c, d) => [13, a as u64, b as u64, c, d, 0],
            Self::Lost(a, b, c, d) => [14, a as u64, b as u64, c, d, 0],
            Self::Read(a, b, c) => [15, a as u64, b as u64, c, 0, 0],
            Self::Saved(a) => [16, a as u64, 0, 0, 0, 0],
            Self::Calm => [17, 0, 0, 0, 0, 0],
            Self::Settled => [18, 0, 0, 0, 0, 0],
        }
    }

    /// True if a story tells it.
    fn is_told(&self) -> bool {
        !matches!(self, Self::Turn(..) | Self::ToServer(..) | Self::ToDevice(..) | Self::Saved(_))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Turn(reactor, completions) => write!(f, "reactor {reactor} turns with {completions} completions"),
            Self::Write(log, slot, offset, len, crc) => {
                write!(f, "log {log} writes {len} bytes to file {slot} at {offset} (crc {crc:08x})")
            }
            Self::ToServer(link, len, crc) => write!(f, "{len} bytes reach the node on link {link} (crc {crc:08x})"),
            Self::ToDevice(link, len, crc) => write!(f, "{len} bytes reach the device on link {link} (crc {crc:08x})"),
            Self::Started(reactors, records, torn) => {
                write!(f, "the node starts with {reactors} reactors, {records} records, {torn} torn logs")
            }
            Self::NotStarted => write!(f, "the node does not start"),
            Self::Down(how) => {
                let how =
                    ["it is killed", "the power goes", "in good order", "a write of its log failed"][how as usize];
                write!(f, "the node stops: {how}")
            }
            Self::Fault(fault, at) => write!(f, "fault: {} ({at})", fault.name()),
            Self::Connected(device, link) => write!(f, "device {device} is let in, on link {link}"),
            Self::Disconnected(device) => write!(f, "device {device} loses its connection"),
            Self::Put(device, at, tag) => write!(f, "device {device} wants to send {tag:x} in conversation {at}"),
            Self::Sent(device, at, seq, tag) => {
                write!(f, "device {device} is told that {tag:x} is durable as {seq} of conversation {at}")
            }
            Self::Seen(device, at, seq, tag) => {
                write!(f, "device {device} gets {tag:x} as {seq} of conversation {at}")
            }
            Self::Lost(device, at, from, upto) => {
                write!(f, "device {device} is told that {from} to {upto} of conversation {at} are gone")
            }
            Self::Read(device, at, upto) => write!(f, "device {device} has read conversation {at} up to {upto}"),
            Self::Saved(device) => write!(f, "device {device} saves what it knows"),
            Self::Calm => write!(f, "no more faults begin"),
            Self::Settled => write!(f, "everybody has everything"),
        }
    }
}

/// All of it.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    story: VecDeque<(Nanos, Moment)>,
    file: Option<LineWriter<File>>,
}

impl Trace {
    /// A trace, also into `file` if there is one.
    pub fn new(file: Option<File>) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, story: VecDeque::with_capacity(STORY), file: file.map(LineWriter::new) }
    }

    /// Something happened.
    ///
    /// # Panics
    /// If it cannot be written to the trace's file.
    pub fn tell(&mut self, now: Nanos, moment: Moment) {
        // FNV-1a over words rather than bytes (Fowler, Noll, Vo): it only has to tell traces apart.
        for number in [now].into_iter().chain(moment.numbers()) {
            self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3);
            self.hash ^= self.hash >> 29;
        }
        if let Some(file) = &mut self.file {
            writeln!(file, "{} {moment}", clock(now)).expect("the trace's file can be written");
        }
        if moment.is_told() {
            let goes_on = matches!((self.story.back(), moment),
                (Some((_, Moment::Seen(device, at, ..))), Moment::Seen(also, too, ..)) if (*device, *at) == (also, too));
            if goes_on {
                self.story.pop_back(); // of many messages in a row, the last tells enough
            }
            if self.story.len() == STORY {
                self.story.pop_front();
            }
            self.story.push_back((now, moment));
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last moments, a line each.
    pub fn story(&self) -> Vec<String> {
        self.story.iter().map(|(at, moment)| format!("{} {moment}", clock(*at))).collect()
    }

    /// Writes out what the file still lacks.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(&mut self) -> std::io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

fn clock(at: Nanos) -> String {
    format!("{:>4}.{:03}{:03} s", at / SECOND, at % SECOND / MS, at % MS / 1000)
}
