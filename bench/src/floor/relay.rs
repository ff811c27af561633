//! The null relay: the frames of a message on the same kind of ring, to the other of a pair or to all others of a group, with no checks and
//! no logic, while as many bytes are written durably in the same ring. What the server costs beyond this is ours to answer for.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use tidings_log::{AlignedBuf, BLOCK};
use tidings_ring::{Completion, Received, Ring, RingConfig, Token, Wait, Waker, socket};
use tidings_wire::{
    ConversationId, DeviceId, Frame, Kind, Lineage, Seq, Timestamp, UserId, Uv, frame,
    frame::{FrameBuilder, Span},
    frames::{
        Changed, Delivered, Fetch, Fetched, Hello, Message, Receipt, ReceiptOk, ResumeStatus, Send, Sent, Welcome,
    },
    limits,
};

use super::dsync;
use crate::{Failure, clients::connection::Connection, cpu, values};

/// Arguments of `relay`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The core to run on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Where to write what is relayed; nothing is written without it.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How many devices write to each other: the first so many, the next so many, and so on.
    #[arg(long, default_value_t = 2, value_parser = values::count)]
    members: usize,
    /// Only the first so many do, and the others are pairs.
    #[arg(long)]
    then_pairs: bool,
}

/// Ring sizes of relay and load: those of a reactor.
pub const RING: RingConfig = RingConfig { submissions: 1024, completions: 16 * 1024, buffers: 1024, buffer_len: 8192 };
const LISTENER: Token = Token(u32::MAX as u64);
const COMPLETIONS: usize = 1024;
/// How long receipts wait for company, as the server's do.
const LATER: Duration = Duration::from_millis(25);
/// Bytes of a write: the server's limit of a batch.
const BATCH_MAX: usize = 2 << 20;

#[derive(Debug, Default)]
struct Relay {
    connections: Vec<Connection>,
    /// How many devices write to each other, and after how many of them the others are pairs.
    members: usize,
    pairs_from: usize,
    /// By connection, which of [`Self::groups`] its device is in.
    group: Vec<Option<usize>>,
    groups: Vec<Group>,
    /// The frame that all others get.
    message: Vec<u8>,
    dirty: Vec<usize>,
    /// Connections that have only receipts to send, and until when those wait.
    later: Vec<Option<Instant>>,
    due: VecDeque<(Instant, usize)>,
    spare: Vec<Vec<u8>>,
    /// Bytes of SENDs since they were written last.
    relayed: usize,
    /// What stands in a connection's place while its frames are looked at.
    nowhere: Option<Connection>,
}

/// Connections that write to each other.
#[derive(Debug, Default)]
struct Group {
    /// By device.
    connections: BTreeMap<usize, usize>,
    /// The last number that was given.
    seq: u64,
}

/// Relays until it is killed.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    cpu::pin(arguments.core);
    let mut ring = Ring::new(&RING, Waker::new()?)?;
    let listener = socket::listener(arguments.listen)?;
    println!("ready listen={}", socket::local_addr(&listener)?);
    ring.accept(&listener, LISTENER);
    let members = arguments.members;
    let pairs_from = if arguments.then_pairs { members } else { usize::MAX };
    let mut relay = Relay { members, pairs_from, ..Relay::default() };
    let mut disk = arguments.dir.as_deref().map(Disk::new).transpose()?;
    let mut completions = Vec::with_capacity(COMPLETIONS);
    loop {
        relay.flush(&mut ring);
        if let Some(disk) = &mut disk {
            disk.write(&mut ring, std::mem::take(&mut relay.relayed));
        }
        let wait = relay.due.front().map(|(due, _)| due.saturating_duration_since(Instant::now()));
        ring.turn(Wait::Upto(wait.unwrap_or(Duration::from_millis(100))), &mut completions);
        for completion in completions.drain(..) {
            match completion {
                Completion::Accepted { result, .. } => relay.accept(&mut ring, result?),
                Completion::Received { token, result, more } => {
                    relay.receive(&mut ring, token.0 as usize, result, more)
                }
                Completion::Sent { token, mut buffer, .. } => {
                    let at = token.0 as usize;
                    relay.connections[at].sending = false;
                    buffer.clear();
                    relay.spare.push(buffer);
                    relay.dirty.push(at);
                }
                Completion::Written { buffer, result, .. } => {
                    result?;
                    disk.as_mut().ok_or("a write that nobody asked for")?.buffer = Some(buffer);
                }
                _ => {}
            }
        }
    }
}

/// Durable writes of as many bytes as were relayed, one in flight: what no server that acknowledges durably is without.
#[derive(Debug)]
struct Disk {
    file: File,
    /// Not while it is being written.
    buffer: Option<Vec<u8>>,
    start: usize,
    offset: u64,
    waiting: usize,
}

impl Disk {
    fn new(dir: &Path) -> Result<Self, Failure> {
        let file = dsync::file(dir)?;
        let mut buffer = AlignedBuf::new(BATCH_MAX);
        buffer.zero_to(BATCH_MAX);
        let (buffer, start) = buffer.into_parts();
        Ok(Self { file, buffer: Some(buffer), start, offset: 0, waiting: 0 })
    }

    fn write(&mut self, ring: &mut Ring, relayed: usize) {
        self.waiting += relayed;
        if self.waiting == 0 {
            return;
        }
        let Some(mut buffer) = self.buffer.take() else { return };
        let len = self.waiting.min(BATCH_MAX).next_multiple_of(BLOCK);
        self.waiting = self.waiting.saturating_sub(len);
        buffer.resize(self.start + len, 0);
        if self.offset + len as u64 > dsync::FILE {
            self.offset = 0;
        }
        ring.write(&self.file, Token(0), self.offset, buffer, self.start);
        self.offset += len as u64;
    }
}

impl Relay {
    fn accept(&mut self, ring: &mut Ring, socket: OwnedFd) {
        // Slower without, but it works.
        let _slower = socket::set_nodelay(&socket);
        let at = self.connections.len();
        ring.receive(&socket, Token(at as u64));
        self.connections.push(Connection::new(socket));
        self.group.push(None);
        self.later.push(None);
    }

    fn receive(&mut self, ring: &mut Ring, at: usize, result: Received, more: bool) {
        let ended = matches!(result, Received::End | Received::Failed(_));
        if let Received::Bytes(chunk) = result {
            // The connection leaves the list for the call, so that its partner's can be written to.
            let nowhere = self.nowhere.take().unwrap_or_else(|| self.connections[at].stand_in());
            let mut connection = std::mem::replace(&mut self.connections[at], nowhere);
            let read = connection.received(ring.bytes(&chunk), |frame, out| self.on_frame(at, frame, out));
            ring.give_back(chunk);
            self.nowhere = Some(std::mem::replace(&mut self.connections[at], connection));
            if read.is_err() {
                return;
            }
        }
        if !more && !ended {
            ring.receive(&self.connections[at].socket, Token(at as u64));
        }
    }

    fn on_frame(&mut self, at: usize, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let id = frame.header().request_id;
        if frame.kind() != Ok(Kind::Delivered) {
            self.hurry(at);
        }
        match frame.kind() {
            Ok(Kind::Hello) => {
                let Ok(hello) = frame.fixed::<Hello>() else { return };
                self.join(at, hello.device.0 as usize);
                frame::append(out, id, &welcome(hello.device));
            }
            Ok(Kind::Resume) => frame::append(out, id, &nothing_changed()),
            Ok(Kind::Send) => self.on_send(at, frame, out),
            Ok(Kind::Fetch) => {
                let Ok(fetch) = frame.fixed::<Fetch>() else { return };
                append_page(fetch.conversation, id, out);
            }
            Ok(Kind::Delivered) => {
                let (Ok(delivered), Some(group)) = (frame.fixed::<Delivered>(), self.group[at]) else { return };
                let Delivered { conversation, upto } = delivered;
                let (delivered, read, uv) = (upto, Seq(0), Uv(0));
                self.wait(at, out.is_empty());
                frame::append(out, 0, &ReceiptOk { conversation, delivered, read, uv, seen: 0 });
                // Of others' receipts in groups the server tells who asks.
                let others = self.groups[group].connections.values().copied().find(|other| *other != at);
                let is_pair = self.groups[group].connections.len() == 2;
                if let Some(partner) = others.filter(|_| is_pair) {
                    let receipt = Receipt { conversation, member: UserId::NONE, delivered, read };
                    self.wait(partner, self.connections[partner].pending.is_empty());
                    frame::append(&mut self.connections[partner].pending, 0, &receipt);
                }
            }
            _ => {}
        }
    }

    fn join(&mut self, at: usize, device: usize) {
        let group = match device.checked_sub(self.pairs_from) {
            Some(after) => self.pairs_from / self.members + after / 2,
            None => device / self.members,
        };
        if group >= self.groups.len() {
            self.groups.resize_with(group + 1, Group::default);
        }
        self.group[at] = Some(group);
        self.groups[group].connections.insert(device, at);
    }

    fn on_send(&mut self, at: usize, frame: &Frame<'_>, out: &mut Vec<u8>) {
        let Ok(send) = frame.fixed::<Send>() else { return };
        let (Ok(bytes), Some(group)) = (frame.var(send.payload), self.group[at]) else { return };
        self.groups[group].seq += 1;
        self.relayed += frame.bytes().len();
        let (conversation, client_msg_id, seq, ts) =
            (send.conversation, send.client_msg_id, Seq(self.groups[group].seq), Timestamp(1));
        frame::append(out, frame.header().request_id, &Sent { conversation, client_msg_id, seq, ts, ordinal: seq.0 });
        self.message.clear();
        let mut message = FrameBuilder::<Message>::new(&mut self.message);
        let (sender_name, payload) = (message.var(b"sender00"), message.var(bytes));
        message.finish(
            0,
            &Message {
                conversation,
                seq,
                ts,
                sender: UserId::NONE,
                peer: send.peer,
                sender_device: DeviceId(0),
                flags: send.flags,
                client_msg_id,
                expires_at: send.expires_at,
                trace: send.trace,
                payload_crc: send.payload_crc,
                sender_name,
                payload,
                control: send.control,
                target: send.target,
                ordinal: 0,
                body: Span::default(),
                clear_crc: 0,
            },
        );
        let others = self.groups[group].connections.values().copied().filter(|other| *other != at);
        for other in others {
            self.connections[other].pending.extend_from_slice(&self.message);
            self.later[other] = None;
            self.dirty.push(other);
        }
    }

    /// A connection gets a receipt, which waits if there is nothing else.
    fn wait(&mut self, at: usize, nothing_else: bool) {
        if nothing_else {
            let due = Instant::now() + LATER;
            self.later[at] = Some(due);
            self.due.push_back((due, at));
        }
    }

    fn hurry(&mut self, at: usize) {
        self.later[at] = None;
        self.dirty.push(at);
    }

    /// One send a connection.
    fn flush(&mut self, ring: &mut Ring) {
        let now = Instant::now();
        while let Some((due, at)) = self.due.pop_front_if(|(due, _)| *due <= now) {
            if self.later[at] == Some(due) {
                self.hurry(at);
            }
        }
        while let Some(at) = self.dirty.pop() {
            let connection = &mut self.connections[at];
            if !connection.sending && self.later[at].is_none() && !connection.pending.is_empty() {
                let next = self.spare.pop().unwrap_or_default();
                let buffer = std::mem::replace(&mut connection.pending, next);
                connection.sending = true;
                ring.send(&connection.socket, Token(at as u64), buffer, 0);
            }
        }
    }
}

/// A page of history: as many messages as fit, of four kilobytes, all alike.
fn append_page(conversation: ConversationId, request_id: u64, out: &mut Vec<u8>) {
    let (payload, last) = ([7; 4096], u64::from(limits::PAGE_BYTES) / 4096);
    for seq in 1..=last {
        let mut message = FrameBuilder::<Message>::new(out);
        let span = message.var(&payload);
        message.finish(
            request_id,
            &Message {
                conversation,
                seq: Seq(seq),
                ts: Timestamp(1),
                sender: UserId::NONE,
                peer: UserId::NONE,
                sender_device: DeviceId(0),
                flags: Default::default(),
                client_msg_id: Default::default(),
                expires_at: Timestamp(0),
                trace: Default::default(),
                payload_crc: 0,
                sender_name: Span::default(),
                payload: span,
                control: Default::default(),
                target: Seq(0),
                ordinal: 0,
                body: Span::default(),
                clear_crc: 0,
            },
        );
    }
    let (first, last) = (Seq(1), Seq(last));
    let (head, oldest, from, upto, damaged) = (last, first, first, last, Seq(0));
    frame::append(out, request_id, &Fetched { conversation, first, last, head, oldest, from, upto, damaged });
}

fn welcome(device: DeviceId) -> Welcome {
    Welcome {
        version: 1,
        idle_timeout_s: 600,
        frame_max: limits::FRAME_MAX,
        payload_max: limits::PAYLOAD_MAX,
        window: limits::WINDOW,
        user: UserId::NONE,
        device,
        lineage: Lineage::NONE,
        session: 1,
        server_time: Timestamp(1),
        redirect: Span::default(),
        token_until: Timestamp(0),
        capabilities: 0,
    }
}

fn nothing_changed() -> Changed {
    let (status, lineage, none) = (ResumeStatus::UpToDate, Lineage::NONE, Span::default());
    Changed {
        status,
        lineage,
        uv: Uv(0),
        next: Uv(0),
        count: 0,
        entry_len: 98,
        entries: none,
        settings: 0,
        names: none,
    }
}
