//! Reactors' nodes driven by hand: lanes, log and connections in memory.

use std::{collections::BTreeMap, string::String, vec::Vec};

use tidings_wire::{
    BatchPosition, ClientMsgId, ConversationId, DeviceId, ErrorCode, Frame, Generation, Kind, Lineage, LogId,
    LogPosition, Lsn, Minter, Shards, Timestamp, UserId, Uv, frame,
    frame::{FixedPart, FrameBuilder},
    frames::*,
    split,
};

use super::super::*;
use crate::{
    Authenticated, Claims, CommittedBatch, ConnId, JobId, NoCredit, ReactorId, RecordMeta, SessionId, TokenFault,
    Verifier, authenticate,
    lanes::{ToConversation, ToHome},
    time::Mono,
};

/// Lets in whoever the token names.
pub(super) struct AnyToken;

impl Verifier for AnyToken {
    fn verify(&self, token: &[u8], _: Timestamp) -> Result<Claims, TokenFault> {
        let name = core::str::from_utf8(token).map_err(|_| TokenFault::Invalid)?;
        Ok(Claims { tenant: "t".into(), name: name.into(), device: None, until: None })
    }
}

pub(super) fn user(name: &str) -> UserId {
    UserId::derive("t", name)
}

pub(super) fn authenticated(name: &str, device: u32) -> Authenticated {
    numbered(name, device, 0)
}

pub(super) fn numbered(name: &str, device: u32, connection_number: u64) -> Authenticated {
    let mut bytes = Vec::new();
    let mut frame = FrameBuilder::<Hello>::new(&mut bytes);
    let token = frame.var(name.as_bytes());
    let device = DeviceId(device);
    frame.finish(
        1,
        &Hello {
            version_min: 1,
            version_max: 1,
            device,
            user: UserId::NONE,
            capabilities: 0,
            token,
            connection_number,
        },
    );
    let frame = split(&bytes, u32::MAX).unwrap().unwrap();
    authenticate(&AnyToken, &frame, Timestamp(0)).unwrap()
}

/// The world around one node.
pub(super) struct World {
    pub(super) me: ReactorId,
    pub(super) outs: BTreeMap<u64, Vec<u8>>,
    pub(super) closed: Vec<ConnId>,
    pub(super) batch: Vec<u8>,
    pub(super) disk: Vec<u8>,
    /// Records of the open batch: what they are, where their bodies begin.
    pub(super) open: Vec<(RecordMeta, usize)>,
    /// Records that are durable: what they are, their bodies, where they are.
    pub(super) durable: Vec<(RecordMeta, Vec<u8>, LogPosition)>,
    pub(super) lsn: Lsn,
    pub(super) minter: Minter,
    pub(super) wanted: bool,
    pub(super) room: usize,
    pub(super) up: Vec<(ReactorId, ToConversation, Vec<u8>)>,
    pub(super) down: Vec<(ReactorId, ToHome, Vec<u8>)>,
    pub(super) home_credit: bool,
    pub(super) reads: Vec<(JobId, LogPosition, usize)>,
}

impl Effects for World {
    fn room(&self) -> usize {
        self.room
    }
    fn append(&mut self, meta: RecordMeta, fill: impl FnOnce(&mut Vec<u8>)) -> BatchPosition {
        self.batch.resize(self.batch.len().next_multiple_of(16), 0);
        let offset = self.batch.len() as u32;
        self.open.push((meta, offset as usize));
        fill(&mut self.batch);
        BatchPosition { lsn: self.lsn, offset }
    }
    fn revise(&mut self, place: BatchPosition, len: usize) -> Option<&mut [u8]> {
        (place.lsn == self.lsn).then(|| &mut self.batch[place.offset as usize..][..len])
    }
    fn void(&mut self, at: BatchPosition) -> bool {
        let open = self.open.iter_mut().find(|(_, start)| at.lsn == self.lsn && *start == at.offset as usize);
        open.map(|(meta, _)| meta.kind = RecordKind::Void).is_some()
    }
    fn want_write(&mut self) {
        self.wanted = true;
    }
    fn to_conversation(&mut self, to: ReactorId, message: ToConversation, payload: &[&[u8]]) -> Result<(), NoCredit> {
        assert_ne!(to, self.me);
        self.up.push((to, message, payload.concat()));
        Ok(())
    }
    fn to_home(&mut self, to: ReactorId, message: ToHome, payload: &[&[u8]]) -> Result<(), NoCredit> {
        assert_ne!(to, self.me);
        self.down.push((to, message, payload.concat()));
        Ok(())
    }
    fn has_home_credit(&mut self, _: ReactorId, _: usize, _: usize) -> bool {
        self.home_credit
    }
    fn out(&mut self, conn: ConnId) -> &mut Vec<u8> {
        self.outs.entry(conn.0).or_default()
    }
    fn buffered(&self, conn: ConnId) -> usize {
        self.outs.get(&conn.0).map_or(0, Vec::len)
    }
    fn close(&mut self, conn: ConnId) {
        self.closed.push(conn);
    }
    fn read(&mut self, job: JobId, loc: LogPosition, len: usize) {
        self.reads.push((job, loc, len));
    }
}

pub(super) struct Cluster {
    pub(super) nodes: Vec<(Node, World)>,
    /// What the next commits are found in, if not in the node's own log: as if another reactor had written them.
    pub(super) written_to: Option<LogId>,
    pub(super) now: Now,
}

pub(super) fn cluster(reactors: u16) -> Cluster {
    let layout = Layout { shards: Shards::new(64).unwrap(), reactors };
    let node = |at: u16| {
        let me = ReactorId(at);
        let node = Node::new(NodeConfig {
            me,
            log: LogId(at as u8),
            layout,
            lineage: Lineage([7; 16]),
            user_rate: Rate { per_second: 1000, burst: 1000 },
            idle_timeout_s: 60,
            entities_max: 1000,
            seed: 5,
        });
        let world = World {
            me,
            outs: BTreeMap::new(),
            closed: Vec::new(),
            batch: Vec::new(),
            disk: Vec::new(),
            open: Vec::new(),
            durable: Vec::new(),
            lsn: Lsn(1),
            minter: Minter::for_log(Lsn(0)),
            wanted: false,
            room: 1 << 20,
            up: Vec::new(),
            down: Vec::new(),
            home_credit: true,
            reads: Vec::new(),
        };
        (node, world)
    };
    Cluster {
        nodes: (0..reactors).map(node).collect(),
        written_to: None,
        now: Now { mono: Mono(1), wall: Timestamp(1_000) },
    }
}

/// A connected device.
#[derive(Clone, Copy)]
pub(super) struct Device {
    pub(super) at: usize,
    pub(super) id: SessionId,
    pub(super) conn: ConnId,
    pub(super) user: UserId,
}

impl Cluster {
    pub(super) fn connect(&mut self, name: &str, device: u32, conn: u64) -> Device {
        let at = self.nodes[0].0.config().layout.home(&user(name)).0 as usize;
        let (node, world) = &mut self.nodes[at];
        let conn = ConnId(conn);
        let id = node.at(self.now, world).open_session(&authenticated(name, device), conn).unwrap();
        let device = Device { at, id, conn, user: user(name) };
        assert_eq!(self.take(device).kinds(), [Kind::Welcome]);
        device
    }

    pub(super) fn live(&mut self, name: &str, device: u32, conn: u64) -> Device {
        let device = self.connect(name, device, conn);
        self.ask(device, &Resume { lineage: Lineage::NONE, uv: Uv(0), below: Uv(0), page: 0 });
        assert_eq!(self.take(device).kinds(), [Kind::Changed]);
        device
    }

    pub(super) fn bytes(&mut self, device: Device, bytes: &[u8]) {
        let (node, world) = &mut self.nodes[device.at];
        node.at(self.now, world).frame(device.id, &split(bytes, u32::MAX).unwrap().unwrap());
        self.deliver();
    }

    pub(super) fn ask<T: FixedPart>(&mut self, device: Device, part: &T) {
        let mut bytes = Vec::new();
        frame::append(&mut bytes, 9, part);
        self.bytes(device, &bytes);
    }

    pub(super) fn send(&mut self, from: Device, to: &str, id: u64, prev: u64, text: &str) {
        let mut bytes = Vec::new();
        let mut frame = FrameBuilder::<Send>::new(&mut bytes);
        let payload = frame.var(text.as_bytes());
        let peer = user(to);
        frame.finish(
            id,
            &Send {
                conversation: ConversationId::direct(from.user, peer),
                peer,
                client_msg_id: ClientMsgId(id),
                prev: ClientMsgId(prev),
                expires_at: Timestamp(0),
                trace: TraceId::default(),
                flags: MessageFlags::default(),
                payload_crc: crc32c::crc32c(text.as_bytes()),
                payload,
            },
        );
        self.bytes(from, &bytes);
    }

    /// Moves lane messages until there are none.
    pub(super) fn deliver(&mut self) {
        loop {
            let mut moved = false;
            for from in 0..self.nodes.len() {
                let (ups, downs) = {
                    let world = &mut self.nodes[from].1;
                    (core::mem::take(&mut world.up), core::mem::take(&mut world.down))
                };
                moved |= !ups.is_empty() || !downs.is_empty();
                for (to, message, payload) in ups {
                    let (node, world) = &mut self.nodes[to.0 as usize];
                    node.at(self.now, world).to_conversation(ReactorId(from as u16), message, &payload);
                }
                for (to, message, payload) in downs {
                    let (node, world) = &mut self.nodes[to.0 as usize];
                    node.at(self.now, world).to_home(message, &payload);
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// The open batches become durable.
    pub(super) fn commit(&mut self) -> Progress {
        let mut progress = Progress::Done;
        for (node, world) in &mut self.nodes {
            node.sealed();
            let (base, lsn) = (world.disk.len() as u64, world.lsn);
            world.batch.resize(world.batch.len().next_multiple_of(16), 0);
            let bytes = core::mem::take(&mut world.batch);
            world.disk.extend_from_slice(&bytes);
            world.lsn = lsn.next();
            let log = self.written_to.unwrap_or(node.config().log);
            let loc = |offset: u32| LogPosition::new(log, Generation(1), base + u64::from(offset));
            let open = core::mem::take(&mut world.open);
            for (at, (meta, start)) in open.iter().enumerate() {
                let end = open.get(at + 1).map_or(bytes.len(), |(_, next)| *next);
                world.durable.push((*meta, bytes[*start..end].to_vec(), loc(*start as u32)));
            }
            let batch = CommittedBatch { committed: world.minter.mint(lsn), lsn, bytes: &bytes, loc: &loc };
            let done = node.at(self.now, world).committed(&batch);
            if done == Progress::Stalled {
                progress = done;
                world.home_credit = true;
                assert_eq!(node.at(self.now, world).committed(&batch), Progress::Done);
            }
        }
        self.deliver();
        progress
    }

    /// A node that read back what a node logged from its record `from` on.
    pub(super) fn replayed(&self, at: usize, from: usize) -> Node {
        let mut again = Node::new(*self.nodes[at].0.config());
        for (meta, body, position) in &self.nodes[at].1.durable[from..] {
            // Records are padded here: archives take their own size, and a frame knows its own.
            again.replay(meta.kind, meta.shard, meta.index, body, *position).unwrap();
        }
        again.check_replayed().unwrap();
        again
    }

    pub(super) fn later(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus_ms(ms);
        for (node, world) in &mut self.nodes {
            node.at(self.now, world).timeout();
        }
        self.deliver();
    }

    pub(super) fn serve_reads(&mut self) {
        for at in 0..self.nodes.len() {
            let (node, world) = &mut self.nodes[at];
            for (job, loc, len) in core::mem::take(&mut world.reads) {
                let bytes = world.disk[loc.offset() as usize..][..len].to_vec();
                node.at(self.now, world).read_done(job, Some(&bytes));
            }
        }
        self.deliver();
    }

    pub(super) fn take(&mut self, device: Device) -> Output {
        Output(self.nodes[device.at].1.outs.remove(&device.conn.0).unwrap_or_default())
    }
}

/// What was written to a connection.
pub(super) struct Output(pub(super) Vec<u8>);

impl Output {
    pub(super) fn frames(&self) -> Vec<Frame<'_>> {
        let (mut rest, mut frames) = (&self.0[..], Vec::new());
        while let Some(frame) = split(rest, u32::MAX).unwrap() {
            rest = &rest[frame.bytes().len()..];
            frames.push(frame);
        }
        assert!(rest.is_empty());
        frames
    }
    pub(super) fn kinds(&self) -> Vec<Kind> {
        self.frames().iter().map(|frame| frame.kind().unwrap()).collect()
    }
    pub(super) fn all<T: FixedPart>(&self) -> Vec<T> {
        let of_kind = |frame: &&Frame<'_>| frame.kind() == Ok(T::KIND);
        self.frames().iter().filter(of_kind).map(|frame| frame.fixed().unwrap()).collect()
    }
    pub(super) fn error(&self) -> (ErrorCode, ErrorFrame) {
        let error = self.all::<ErrorFrame>()[0];
        (ErrorCode::from_u16(error.code).unwrap(), error)
    }
    pub(super) fn texts(&self) -> Vec<(u64, String)> {
        let message = |frame: &Frame<'_>| {
            let message: Message = frame.fixed().unwrap();
            let text = frame.var(message.payload).unwrap();
            (message.seq.0, String::from_utf8(text.to_vec()).unwrap())
        };
        let messages = self.frames();
        messages.iter().filter(|frame| frame.kind() == Ok(Kind::Message)).map(message).collect()
    }
}
