//! The network: connections between devices and the node. Within one, bytes arrive in their order or not at all; between
//! two, anything goes.

use std::collections::VecDeque;

use tidings_core::slab::Key;
use tidings_door::client::Reader;
use tidings_turn::{Completion, Received, Receiving};

use super::{
    Event, World,
    doors::{Caller, Heard},
    passing::Asked,
};
use crate::{
    CHUNK,
    agenda::{Nanos, US},
    machine::LinkId,
    random::MILLION,
    trace::Moment,
};

/// A TLS record that says what is wrong.
const ALERT: u8 = 21;
/// Bytes that a kernel takes before whoever sends must wait.
const SOCKET_BUFFER: usize = 96 << 10;

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Node,
    Device,
}

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// When the last bytes arrive: none overtakes another.
    last_arrival: Nanos,
    /// Sent and not arrived.
    under_way: usize,
    /// Arrived and not read.
    arrived: VecDeque<Vec<u8>>,
    /// The end arrived.
    ended: bool,
    /// Everything vanishes.
    pub(super) dead: bool,
    /// Whoever should read does not.
    pub(super) stalled: bool,
}

impl Pipe {
    fn waiting(&self) -> usize {
        self.under_way + self.arrived.iter().map(Vec::len).sum::<usize>()
    }
}

/// What the node has armed on a connection, and what it is sending.
#[derive(Debug)]
pub(super) struct NodeEnd {
    run: u32,
    pub(super) reactor: usize,
    armed: Option<(Key, Receiving)>,
    sending: Option<Sending>,
    /// The node ended both directions.
    shut: bool,
}

/// What the node is sending on a connection, and how much of it the kernel will take.
#[derive(Debug)]
struct Sending {
    key: Key,
    buffer: Vec<u8>,
    taken: usize,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Device(usize),
    Stranger,
    /// One who writes to users who do not exist.
    Inventor,
    /// One who does what it may not.
    Hostile,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) who: Who,
    latency: Nanos,
    /// Nanoseconds a byte.
    pub(super) slowness: Nanos,
    pub(super) to_node: Pipe,
    pub(super) to_device: Pipe,
    /// The node's end, while its process has it.
    pub(super) node: Option<NodeEnd>,
    /// The device's end is open.
    pub(super) open: bool,
    /// SENDs that were not refused.
    pub(super) asked: VecDeque<Asked>,
    /// How the device speaks, if it is not raw.
    pub(super) caller: Option<Box<Caller>>,
    /// Reads what the node says in a WebSocket, to check it.
    checks: Option<Reader>,
}

impl World {
    /// A connection on its way to a reactor of the node.
    pub(super) fn open_link(&mut self, who: Who, reactor: usize) -> LinkId {
        let id = LinkId(self.id());
        let latency = self.random.around(self.plan.latency) + US;
        let end = NodeEnd { run: self.run, reactor, armed: None, sending: None, shut: false };
        let (to_node, to_device) = (Pipe::default(), Pipe::default());
        let (node, asked) = (Some(end), VecDeque::new());
        let caller =
            if self.plan.doors && matches!(who, Who::Device(_)) { Caller::draw(&mut self.random) } else { None };
        let checks = caller.is_some().then(Reader::default);
        let caller = caller.map(Box::new);
        let link = Link { who, latency, slowness: 0, to_node, to_device, node, open: true, asked, caller, checks };
        self.links.insert(id, link);
        id
    }

    /// A device says something of the stream of frames.
    pub(super) fn say(&mut self, id: LinkId, stream: Vec<u8>) {
        let caller = self.links.get_mut(&id).and_then(|link| link.caller.as_mut());
        let bytes = match caller {
            Some(caller) => caller.wrap(stream),
            None => stream,
        };
        self.put_on_link(id, Side::Node, bytes);
    }

    /// What the node says on a connection is looked at in the moment when it leaves, unless it is sealed.
    fn check_sealed(&mut self, id: LinkId, output: &[u8]) {
        // A stranger's noise may begin like TLS or HTTP, and is answered in kind.
        let is_stranger = self.links.get(&id).is_some_and(|link| link.who == Who::Stranger);
        if is_stranger && (output.starts_with(b"HTTP/1.1 ") || output.starts_with(&[ALERT, 3])) {
            return;
        }
        let Some(Link { caller: Some(caller), checks: Some(reader), .. }) = self.links.get_mut(&id) else {
            return self.check_output(id, output);
        };
        if caller.is_sealed() {
            return;
        }
        let mut stream = Vec::new();
        match reader.read(output, &mut stream) {
            Ok(()) => self.check_output(id, &stream),
            Err(what) => self.oracle.violate("I12", format!("on link {} {what}", id.0)),
        }
    }

    /// What a device makes of what arrived: the stream of frames that is in it.
    fn hear(&mut self, id: LinkId, arrived: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut heard = Vec::new();
        for piece in arrived {
            let Some(caller) = self.links.get_mut(&id).and_then(|link| link.caller.as_mut()) else {
                heard.push(piece);
                continue;
            };
            match caller.hear(&piece) {
                Ok(Heard { stream, answer }) => {
                    heard.push(stream);
                    self.put_on_link(id, Side::Node, answer);
                }
                Err(what) => self.oracle.violate("I12", format!("on link {} {what}", id.0)),
            }
        }
        heard
    }

    /// Bytes leave one end.
    pub(super) fn put_on_link(&mut self, id: LinkId, to: Side, mut bytes: Vec<u8>) {
        while !bytes.is_empty() {
            let most = if self.random.chance(MILLION / 4) { 1 + self.random.below(600) as usize } else { 64 << 10 };
            let rest = bytes.split_off(bytes.len().min(most));
            let piece = std::mem::replace(&mut bytes, rest);
            let jitter = self.random.below(200) * US;
            let Some(link) = self.links.get_mut(&id) else { return };
            let (latency, slowness) = (link.latency, link.slowness);
            let pipe = if to == Side::Node { &mut link.to_node } else { &mut link.to_device };
            pipe.under_way += piece.len();
            if pipe.dead {
                continue; // a kernel holds it and tries again in vain
            }
            let at = (self.now + latency + jitter).max(pipe.last_arrival) + slowness * piece.len() as u64;
            pipe.last_arrival = at;
            self.agenda.plan(at, Event::Arrive { link: id, to, bytes: piece });
        }
    }

    /// When the last of all bytes that are under way arrives.
    pub(super) fn last_arrival(&self) -> Nanos {
        let arrivals = self.links.values().map(|link| link.to_node.last_arrival.max(link.to_device.last_arrival));
        arrivals.max().unwrap_or(0)
    }

    /// One end says that it is done.
    pub(super) fn end_link(&mut self, id: LinkId, to: Side) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let latency = link.latency;
        let pipe = if to == Side::Node { &mut link.to_node } else { &mut link.to_device };
        if !pipe.dead {
            let at = (self.now + latency).max(pipe.last_arrival);
            pipe.last_arrival = at;
            self.agenda.plan(at, Event::Ended { link: id, to });
        }
    }

    pub(super) fn arrive(&mut self, id: LinkId, to: Side, bytes: Vec<u8>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let pipe = if to == Side::Node { &mut link.to_node } else { &mut link.to_device };
        if pipe.dead {
            return;
        }
        pipe.under_way -= bytes.len();
        let sealed = link.caller.as_ref().is_some_and(|caller| caller.is_sealed());
        // In TLS nothing is the same twice but the length.
        let (len, crc) = (bytes.len(), if sealed { 0 } else { crc32c::crc32c(&bytes) });
        pipe.arrived.push_back(bytes);
        match to {
            Side::Node => {
                self.trace.tell(self.now, Moment::ToServer(id.0, len, crc));
                self.serve_receive(id);
            }
            Side::Device => {
                self.trace.tell(self.now, Moment::ToDevice(id.0, len, crc));
                self.read_by_device(id);
            }
        }
    }

    pub(super) fn ended(&mut self, id: LinkId, to: Side) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let pipe = if to == Side::Node { &mut link.to_node } else { &mut link.to_device };
        if pipe.dead {
            return;
        }
        pipe.ended = true;
        match to {
            Side::Node => self.serve_receive(id),
            Side::Device => self.read_by_device(id),
        }
    }

    /// The node's process armed a receive.
    pub(super) fn arm(&mut self, id: LinkId, reactor: usize, key: Key, how: Receiving) {
        let Some(end) = self.links.get_mut(&id).and_then(|link| link.node.as_mut()) else { return };
        (end.reactor, end.armed) = (reactor, Some((key, how)));
        self.serve_receive(id);
    }

    /// Completes an armed receive, if there is something to complete it with.
    fn serve_receive(&mut self, id: LinkId) {
        loop {
            let Some(Link { to_node: pipe, node: Some(end), .. }) = self.links.get_mut(&id) else { return };
            let Some((key, how)) = end.armed else { return };
            let Some(process) = self.node.as_mut().filter(|_| end.run == self.run) else { return };
            let reactor = end.reactor;
            let (result, more) = if end.shut || pipe.arrived.is_empty() && pipe.ended {
                // The kernel says so in two ways: the peer closed, or the connection failed.
                let failed = pipe.dead && !end.shut;
                let reset = || Received::Failed(std::io::ErrorKind::ConnectionReset.into());
                (if failed { reset() } else { Received::End }, false)
            } else if pipe.arrived.is_empty() {
                return;
            } else if !process.machine(reactor).take_buffer() {
                (Received::NoBuffer, false)
            } else {
                let mut first = pipe.arrived.pop_front().expect("looked at above");
                let rest = first.split_off(first.len().min(CHUNK));
                if !rest.is_empty() {
                    pipe.arrived.push_front(rest);
                }
                // The kernel may end a multishot receive whenever it likes.
                (Received::Bytes(first), how == Receiving::Ongoing && !self.random.chance(MILLION / 50))
            };
            if !more {
                end.armed = None;
            }
            self.complete(reactor, Completion::Received { key, result, more });
        }
    }

    /// The node sends.
    pub(super) fn send_from_node(&mut self, id: LinkId, key: Key, buffer: Vec<u8>) {
        let Some(Link { node: Some(end), .. }) = self.links.get_mut(&id) else { return };
        assert!(end.sending.is_none(), "one send a connection");
        self.check_sealed(id, &buffer);
        let Some(Link { node: Some(end), .. }) = self.links.get_mut(&id) else { return };
        let short = std::mem::take(&mut self.weather.short_send);
        let taken = if short { self.random.below(buffer.len() as u64) as usize } else { buffer.len() };
        let (bytes, shut) = (buffer[..taken].to_vec(), end.shut);
        end.sending = Some(Sending { key, buffer, taken });
        if !shut {
            self.put_on_link(id, Side::Device, bytes);
        }
        self.see_whether_taken(id);
    }

    /// Lets a send complete once the kernel has room for it.
    pub(super) fn see_whether_taken(&mut self, id: LinkId) {
        let Some(Link { to_device: pipe, node: Some(end), .. }) = self.links.get(&id) else { return };
        if end.sending.is_some() && (end.shut || pipe.waiting() <= SOCKET_BUFFER) {
            let after = self.random.between(1, 30) * US;
            self.agenda.plan(self.now + after, Event::Taken { link: id });
        }
    }

    pub(super) fn taken(&mut self, id: LinkId) {
        let Some(Link { open, node: Some(end), to_device, .. }) = self.links.get_mut(&id) else { return };
        if end.sending.is_some() && !end.shut && to_device.waiting() > SOCKET_BUFFER {
            return; // there was room, and it was used
        }
        let (failed, reactor) = (end.shut || !*open && self.random.chance(MILLION / 2), end.reactor);
        let Some(Sending { key, buffer, taken }) = end.sending.take() else { return };
        let result = if failed { Err(std::io::ErrorKind::BrokenPipe.into()) } else { Ok(taken) };
        self.complete(reactor, Completion::Sent { key, buffer, result });
    }

    /// The node ends both directions.
    pub(super) fn shut_by_node(&mut self, id: LinkId) {
        let Some(Link { node: Some(end), .. }) = self.links.get_mut(&id) else { return };
        end.shut = true;
        self.end_link(id, Side::Device);
        self.serve_receive(id);
        self.see_whether_taken(id);
    }

    /// The node's socket is gone, or its process.
    pub(super) fn close_by_node(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.node = None;
        if link.open {
            self.end_link(id, Side::Device);
        } else {
            self.links.remove(&id);
        }
    }

    /// What arrived at a device is read, unless it does not read.
    pub(super) fn read_by_device(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (who, open) = (link.who, link.open);
        let suspended = matches!(who, Who::Device(at) if self.devices[at].suspended);
        if link.to_device.stalled || suspended {
            return;
        }
        let arrived: Vec<_> = link.to_device.arrived.drain(..).collect();
        let ended = link.to_device.ended;
        self.see_whether_taken(id);
        let arrived = self.hear(id, arrived);
        if let (Who::Device(device), true) = (who, open) {
            self.device_received(device, id, &arrived, ended);
        } else if ended && open {
            self.close_by_device(id);
        }
    }

    /// The device closes its end.
    pub(super) fn close_by_device(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.open = false;
        if link.node.is_some() {
            // What was on its way to it has nowhere to go: the kernels forget it.
            link.to_device.arrived.clear();
            link.to_device.under_way = 0;
            link.to_device.dead = true;
            self.end_link(id, Side::Node);
            self.see_whether_taken(id);
        } else {
            self.links.remove(&id);
        }
    }

    /// The network loses a connection: both ends hear of it, and what was under way is lost.
    pub(super) fn cut_link(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        for pipe in [&mut link.to_node, &mut link.to_device] {
            (pipe.dead, pipe.stalled) = (true, false);
            (pipe.ended, pipe.under_way) = (true, 0);
        }
        self.serve_receive(id);
        self.see_whether_taken(id);
        self.read_by_device(id);
    }

    /// Every connection of a process that is gone ends, some without a word.
    pub(super) fn orphan_links(&mut self, silently: bool) {
        let ids: Vec<_> = self.links.iter().filter(|(_, link)| link.node.is_some()).map(|(id, _)| *id).collect();
        for id in ids {
            if silently && self.random.chance(MILLION / 4) {
                let link = self.links.get_mut(&id).expect("collected above");
                link.node = None;
                (link.to_node.dead, link.to_device.dead) = (true, true);
                if !link.open {
                    self.links.remove(&id);
                }
            } else {
                self.close_by_node(id);
            }
        }
    }
}
