//! The reactors of a node driven by hand: lanes, logs and connections in memory, and a commit when the test says so.

use std::collections::BTreeMap;

use tidings_core::{ConnId, Mono, NodeConfig, Now, ReactorId, SessionId};
use tidings_wire::{
    ErrorCode, Frame, Kind, Lineage, LogId, Uv,
    frame::{self, FixedPart},
    frames::{ErrorFrame, Resume},
    limits::FRAME_MAX,
    split,
};

use crate::{
    frames::{frames, messages, send},
    names::{ADDRESS, authenticated, entering, user},
    reactor::{Reactor, beginning, node_config},
};

/// All reactors of a node.
#[derive(Debug)]
pub struct Cluster {
    /// The reactors.
    pub reactors: Vec<Reactor>,
    /// The time.
    pub now: Now,
}

/// A connected device.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// Its reactor.
    pub at: usize,
    /// Its session.
    pub id: SessionId,
    /// Its connection.
    pub conn: ConnId,
    /// Its user.
    pub user: tidings_wire::UserId,
}

impl Cluster {
    /// So many reactors, of an empty node.
    pub fn new(reactors: u16) -> Self {
        Self::with(reactors, |config| config)
    }

    /// So many reactors, of an empty node with settings changed.
    pub fn with(reactors: u16, change: impl Fn(NodeConfig) -> NodeConfig) -> Self {
        let reactor = |at| Reactor::new(change(node_config(at, reactors, 64)));
        Self { reactors: (0..reactors).map(reactor).collect(), now: beginning() }
    }

    /// What is committed next is found in this log, as if another reactor had written it.
    pub fn found_in(&mut self, log: Option<LogId>) {
        self.reactors.iter_mut().for_each(|reactor| reactor.world.found_in = log);
    }

    /// A device is let in.
    pub fn connect(&mut self, name: &str, device: u32, conn: u64) -> Device {
        let at = self.reactors[0].node.config().layout.home(&user(name)).0 as usize;
        let Reactor { node, world, .. } = &mut self.reactors[at];
        let conn = ConnId(conn);
        let id = node.at(self.now, world).open_session(&authenticated(name, device), (conn, ADDRESS)).unwrap();
        let device = Device { at, id, conn, user: user(name) };
        assert_eq!(self.take(device).kinds(), [Kind::Welcome]);
        device
    }

    /// A device with a token wants in, as [`hello_called`](crate::names::hello_called) says.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn enter(&mut self, hello: &[u8], conn: u64) -> Result<Device, ErrorCode> {
        let who = entering(hello);
        let at = self.reactors[0].node.config().layout.home(&who.user()).0 as usize;
        let Reactor { node, world, .. } = &mut self.reactors[at];
        let conn = ConnId(conn);
        let id = node.at(self.now, world).open_session(&who, (conn, ADDRESS))?;
        let device = Device { at, id, conn, user: who.user() };
        assert_eq!(self.take(device).kinds(), [Kind::Welcome]);
        Ok(device)
    }

    /// A device is let in and asks for what is new.
    pub fn live(&mut self, name: &str, device: u32, conn: u64) -> Device {
        let device = self.connect(name, device, conn);
        self.ask(device, &Resume { lineage: Lineage::NONE, uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 });
        assert_eq!(self.take(device).kinds(), [Kind::Changed]);
        device
    }

    /// A device says something.
    pub fn bytes(&mut self, device: Device, bytes: &[u8]) {
        let Reactor { node, world, .. } = &mut self.reactors[device.at];
        node.at(self.now, world).frame(device.id, &split(bytes, FRAME_MAX).unwrap().unwrap());
        self.deliver();
    }

    /// A device sends a frame without variable parts. Its request id is 9.
    pub fn ask<T: FixedPart>(&mut self, device: Device, part: &T) {
        let mut bytes = Vec::new();
        frame::append(&mut bytes, 9, part);
        self.bytes(device, &bytes);
    }

    /// A device sends a message.
    pub fn send(&mut self, from: Device, to: &str, id: u64, prev: u64, text: &str) {
        self.bytes(from, &send(from.user, user(to), id, prev, text.as_bytes()));
    }

    /// Moves lane messages until there are none.
    pub fn deliver(&mut self) {
        loop {
            let mut moved = false;
            for from in 0..self.reactors.len() {
                let Reactor { node, world, .. } = &mut self.reactors[from];
                if node.has_resumes() {
                    node.at(self.now, world).timeout();
                    moved = true;
                }
                if node.passes_on() {
                    node.at(self.now, world).pass_on();
                    moved = true;
                }
                let conversations = std::mem::take(&mut world.to_conversations);
                let homes = std::mem::take(&mut world.to_homes);
                let ephemerals = std::mem::take(&mut world.ephemerals);
                moved |= !conversations.is_empty() || !homes.is_empty() || !ephemerals.is_empty();
                let from = ReactorId(from as u16);
                for (to, message, payload) in conversations {
                    let Reactor { node, world, .. } = &mut self.reactors[to.0 as usize];
                    node.at(self.now, world).to_conversation(from, message, &payload);
                }
                for (to, message, payload) in homes {
                    let Reactor { node, world, .. } = &mut self.reactors[to.0 as usize];
                    node.at(self.now, world).to_home(from, message, &payload);
                }
                for (to, message, payload) in ephemerals {
                    let Reactor { node, world, .. } = &mut self.reactors[to.0 as usize];
                    node.at(self.now, world).ephemeral(message, &payload);
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// The open batches become durable.
    pub fn commit(&mut self) {
        for reactor in &mut self.reactors {
            reactor.commit(self.now);
        }
        self.deliver();
    }

    /// Time passes.
    pub fn later(&mut self, ms: u64) {
        self.now.mono = Mono(self.now.mono.0 + ms * 1_000_000);
        for reactor in &mut self.reactors {
            reactor.timeout(self.now);
        }
        self.deliver();
    }

    /// Reads that were asked for are done.
    pub fn serve_reads(&mut self) {
        for reactor in &mut self.reactors {
            reactor.serve_reads(self.now);
        }
        self.deliver();
    }

    /// The process dies and starts again: what was not durable is gone.
    pub fn restart(&mut self) {
        self.reactors.iter_mut().for_each(Reactor::restart);
    }

    /// What was written to a device since this was asked last.
    pub fn take(&mut self, device: Device) -> Output {
        let Some(output) = self.reactors[device.at].world.outs.get_mut(&device.conn.0) else {
            return Output(Vec::new());
        };
        // The next output has a buffer of that size, as a reactor's spare ones have: whether a growing one must be moved, chance would decide.
        let empty = Vec::with_capacity(output.capacity());
        Output(std::mem::replace(output, empty))
    }

    /// The committed state of each reactor's shards.
    pub fn digests(&self) -> Vec<BTreeMap<u16, u64>> {
        self.reactors.iter().map(|reactor| reactor.node.digests().collect()).collect()
    }
}

/// What was written to a connection.
#[derive(Clone, Debug)]
pub struct Output(pub Vec<u8>);

impl Output {
    /// Its frames.
    pub fn frames(&self) -> Vec<Frame<'_>> {
        frames(&self.0)
    }

    /// Their kinds.
    pub fn kinds(&self) -> Vec<Kind> {
        self.frames().iter().map(|frame| frame.kind().unwrap()).collect()
    }

    /// All of one kind.
    pub fn all<T: FixedPart>(&self) -> Vec<T> {
        let of_kind = |frame: &&Frame<'_>| frame.kind() == Ok(T::KIND);
        self.frames().iter().filter(of_kind).map(|frame| frame.fixed().unwrap()).collect()
    }

    /// The first ERROR.
    pub fn error(&self) -> (ErrorCode, ErrorFrame) {
        let error = self.all::<ErrorFrame>()[0];
        (ErrorCode::from_u16(error.code).unwrap(), error)
    }

    /// Its messages: their numbers and texts.
    pub fn texts(&self) -> Vec<(u64, String)> {
        let text = |(seq, payload): (tidings_wire::Seq, Vec<u8>)| (seq.0, String::from_utf8(payload).unwrap());
        messages(&self.0).into_iter().map(text).collect()
    }
}

/// Runs a test with Alice and Bob on one, two and three reactors.
pub fn in_all_layouts(test: impl Fn(&mut Cluster, Device, Device)) {
    for reactors in [1, 2, 3] {
        let mut cluster = Cluster::new(reactors);
        let (alice, bob) = (cluster.live("alice", 1, 1), cluster.live("bob", 1, 2));
        test(&mut cluster, alice, bob);
    }
}
