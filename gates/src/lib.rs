//! One reactor's node and its real log, with everything around them in memory: what the gates count instructions of
//! (`benches/message.rs`), without a kernel or a clock in between.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, io};

use tidings_core::{
    Authenticated, Claims, CommittedBatch, ConnId, Effects, JobId, Layout, Mono, NoCredit, Node, NodeConfig, Now,
    ReactorId, RecordMeta, SessionId, ToConversation, ToHome, TokenFault, Verifier, authenticate, limits::Rate,
    node::Progress, records::RecordKind,
};
use tidings_log::{
    Epoch, Log, LogConfig, LogKey, Scanner, SlotId, Storage,
    prepare::{Outcome, Preparer, Step},
};
use tidings_wire::{
    BatchPosition, ClientMsgId, ConversationId, DeviceId, Lineage, LogId, LogPosition, Shards, Timestamp, UserId, Uv,
    frame::{self, FrameBuilder},
    frames::{Hello, MessageFlags, Resume, Send, TraceId},
    limits, split,
};

/// Messages of one measured stretch: a window, as one connection may have in flight.
pub const MESSAGES: u64 = limits::WINDOW as u64;
const SEGMENT: u64 = 4 << 20;
const BATCH_MAX: usize = 1 << 20;

/// A disk on which nothing was ever written.
#[derive(Debug)]
struct Blank;

impl Storage for Blank {
    fn slots(&self) -> io::Result<Vec<SlotId>> {
        Ok(Vec::new())
    }
    fn len(&self, _: SlotId) -> io::Result<u64> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn sync(&self, _: SlotId) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn read(&self, _: SlotId, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn write(&self, _: SlotId, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// What the node acts on: output by connection, and the log.
#[derive(Debug)]
pub struct World {
    outs: BTreeMap<u64, Vec<u8>>,
    /// The log.
    pub log: Log,
}

impl Effects for World {
    fn room(&self) -> usize {
        self.log.room()
    }
    fn append(&mut self, meta: RecordMeta, fill: impl FnOnce(&mut Vec<u8>)) -> BatchPosition {
        let RecordMeta { kind, shard, index } = meta;
        let kind = kind as u8;
        self.log.append(tidings_log::RecordMeta { kind, version: 1, shard, term: 0, index }, fill)
    }
    fn revise(&mut self, place: BatchPosition, len: usize) -> Option<&mut [u8]> {
        self.log.revise(place, len)
    }
    fn void(&mut self, at: BatchPosition) -> bool {
        self.log.set_kind(at, RecordKind::Void as u8)
    }
    fn want_write(&mut self) {
        self.log.want();
    }
    fn to_conversation(&mut self, _: ReactorId, _: ToConversation, _: &[&[u8]]) -> Result<(), NoCredit> {
        Err(NoCredit)
    }
    fn to_home(&mut self, _: ReactorId, _: ToHome, _: &[&[u8]]) -> Result<(), NoCredit> {
        Err(NoCredit)
    }
    fn has_home_credit(&mut self, _: ReactorId, _: usize, _: usize) -> bool {
        false
    }
    fn out(&mut self, conn: ConnId) -> &mut Vec<u8> {
        self.outs.entry(conn.0).or_default()
    }
    fn buffered(&self, conn: ConnId) -> usize {
        self.outs.get(&conn.0).map_or(0, Vec::len)
    }
    fn close(&mut self, _: ConnId) {}
    fn read(&mut self, _: JobId, _: LogPosition, _: usize) {}
}

struct AnyToken;

impl Verifier for AnyToken {
    fn verify(&self, token: &[u8], _: Timestamp) -> Result<Claims, TokenFault> {
        let name = std::str::from_utf8(token).map_err(|_| TokenFault::Invalid)?;
        Ok(Claims { tenant: "t".into(), name: name.into(), device: None, until: None })
    }
}

fn user(name: &str) -> UserId {
    UserId::derive("t", name)
}

fn who(name: &str) -> Authenticated {
    let mut bytes = Vec::new();
    let mut hello = FrameBuilder::<Hello>::new(&mut bytes);
    let (token, device) = (hello.var(name.as_bytes()), DeviceId(1));
    hello.finish(
        1,
        &Hello {
            version_min: 1,
            version_max: 1,
            device,
            user: UserId::NONE,
            capabilities: 0,
            token,
            connection_number: 0,
        },
    );
    let frame = split(&bytes, limits::FRAME_MAX).expect("just built").expect("whole");
    authenticate(&AnyToken, &frame, Timestamp(0)).expect("any token will do")
}

/// A window of SENDs from Alice to Bob with payloads of `len` bytes, behind `sent` earlier ones.
pub fn sends(len: usize, sent: u64) -> Vec<u8> {
    let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
    let (peer, payload_crc) = (user("bob"), crc32c::crc32c(&payload));
    let conversation = ConversationId::direct(user("alice"), peer);
    let mut bytes = Vec::new();
    for id in sent + 1..=sent + MESSAGES {
        let mut send = FrameBuilder::<Send>::new(&mut bytes);
        let payload = send.var(&payload);
        let (client_msg_id, prev) = (ClientMsgId(id), ClientMsgId(id - 1));
        let (expires_at, trace, flags) = (Timestamp(0), TraceId::default(), MessageFlags::default());
        send.finish(
            id,
            &Send { conversation, peer, client_msg_id, prev, expires_at, trace, flags, payload_crc, payload },
        );
    }
    bytes
}

/// A node with Alice and Bob online, in a conversation that has messages already.
#[derive(Debug)]
pub struct Reactor {
    /// The node.
    pub node: Node,
    /// Its world.
    pub world: World,
    preparer: Preparer,
    now: Now,
    alice: SessionId,
    sent: u64,
}

impl Reactor {
    /// Warm: a window of messages with payloads of `len` bytes went through it, so that buffers have their size.
    ///
    /// # Panics
    /// If the product does not do what it must.
    pub fn warm(len: usize) -> Self {
        let key = LogKey { log: LogId(0), nonce: 7 };
        let (tail, _) = Scanner::open(Blank, key).and_then(Scanner::finish).expect("a new log");
        let preparer = Preparer::new(key, SEGMENT, tail.raw.clone(), 0);
        let config = LogConfig { key, epoch: Epoch(1), segment_len: SEGMENT, batch_max: BATCH_MAX };
        let mut node = Node::new(NodeConfig {
            me: ReactorId(0),
            log: LogId(0),
            layout: Layout { shards: Shards::new(8).expect("a valid number"), reactors: 1 },
            lineage: Lineage([7; 16]),
            user_rate: Rate { per_second: 1_000_000, burst: 1_000_000 },
            idle_timeout_s: 60,
            entities_max: 100,
            seed: 5,
        });
        let mut world = World { outs: BTreeMap::new(), log: Log::open(config, tail) };
        let now = Now { mono: Mono(1_000_000), wall: Timestamp(1_000) };
        let mut open =
            |name, conn| node.at(now, &mut world).open_session(&who(name), ConnId(conn)).expect("there is room");
        let (alice, bob) = (open("alice", 1), open("bob", 2));
        let mut resume = Vec::new();
        frame::append(&mut resume, 2, &Resume { lineage: Lineage::NONE, uv: Uv(0), below: Uv(0), page: 0 });
        for session in [alice, bob] {
            let frame = split(&resume, limits::FRAME_MAX).expect("just built").expect("whole");
            node.at(now, &mut world).frame(session, &frame);
        }
        let mut this = Self { node, world, preparer, now, alice, sent: 0 };
        this.prepare();
        for _ in 0..4 {
            let bytes = this.next_sends(len);
            this.apply(&bytes);
            this.commit();
            assert!(this.take_output() > MESSAGES as usize * len, "Bob was given the messages");
        }
        this
    }

    /// The next window of SENDs.
    pub fn next_sends(&mut self, len: usize) -> Vec<u8> {
        let bytes = sends(len, self.sent);
        self.sent += MESSAGES;
        bytes
    }

    fn prepare(&mut self) {
        let mut now = 0;
        while self.world.log.ready_segments() < 2 {
            now += 1_000_000_000;
            let log = &mut self.world.log;
            match self.preparer.next(now, log.ready_segments(), log.next_generation()) {
                Some(Step::Create(..)) => self.preparer.created(Outcome::Done),
                Some(Step::Fill { buffer, .. } | Step::Write { buffer, .. }) => {
                    let ready = self.preparer.written(buffer, Outcome::Done, log.next_generation());
                    ready.into_iter().for_each(|segment| log.add_ready(segment));
                }
                None => {}
            }
        }
    }

    /// Frames of Alice's are taken.
    ///
    /// # Panics
    /// If they are none.
    pub fn apply(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = split(bytes, limits::FRAME_MAX).expect("these are frames") {
            bytes = &bytes[frame.bytes().len()..];
            self.node.at(self.now, &mut self.world).frame(self.alice, &frame);
        }
    }

    /// The batch is sealed, as if it had been written, and what it allows leaves.
    ///
    /// # Panics
    /// If there was nothing to write.
    pub fn commit(&mut self) {
        let write = self.world.log.seal().expect("there are records, and a segment is ready");
        self.node.sealed();
        let sealed = self.world.log.written(write.buffer);
        let loc = |offset: u32| sealed.loc(offset);
        let (committed, lsn) = (sealed.committed, sealed.lsn);
        let batch = CommittedBatch { committed, lsn, bytes: sealed.buffer.as_slice(), loc: &loc };
        assert_eq!(
            self.node.at(self.now, &mut self.world).committed(&batch),
            Progress::Done,
            "no lane stands in the way"
        );
        self.world.log.recycle(sealed.buffer);
    }

    /// Forgets what left; how many bytes that were.
    pub fn take_output(&mut self) -> usize {
        let bytes = self.world.outs.values().map(Vec::len).sum();
        self.world.outs.values_mut().for_each(Vec::clear);
        bytes
    }
}
