//! A reactor's turn with Alice and Bob connected to it, over a machine that does nothing: what the gates count instructions of
//! (`benches/message.rs`), without a kernel or a clock in between.
#![forbid(unsafe_code)]

pub mod machine;

use std::{collections::BTreeMap, sync::Arc};

use tidings_core::{Everything, Node, NodeConfig, limits::Rate};
use tidings_log::Epoch;
use tidings_mesh::LaneSize;
use tidings_testkit::{
    AnyToken, Memory,
    frames::append_send,
    reactor::{beginning, node_config},
    user,
};
use tidings_turn::{
    Completion, ConnectionLimits, RECEIVES_PER_TURN, Seed, Shared, Turn, TurnConfig,
    recover::{LogSettings, log_parts, recover},
};
use tidings_wire::{
    ConversationId, DeviceId, Lineage, LogId, Seq, UserId, Uv, frame,
    frame::{FrameBuilder, Span},
    frames::{Delivered, Hello, Resume},
    limits,
};

use machine::{Nobody, NullMachine, Socket};

/// Messages of one measured stretch: a window, as one connection may have in flight.
pub const MESSAGES: u64 = limits::WINDOW as u64;

const ALICE: Socket = Socket(1);
const BOB: Socket = Socket(2);

/// A window of SENDs from Alice to Bob with payloads of `len` bytes, after `sent` earlier ones.
pub fn sends(len: usize, sent: u64) -> Vec<u8> {
    let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
    let mut bytes = Vec::new();
    for id in sent + 1..=sent + MESSAGES {
        append_send(&mut bytes, user("alice"), user("bob"), id, id - 1, &payload);
    }
    bytes
}

/// A reactor on which Alice and Bob are online, in a conversation that has messages already.
#[derive(Debug)]
pub struct Chat {
    turn: Turn<NullMachine, AnyToken>,
    sent: u64,
}

impl Chat {
    /// Warm: windows of messages with payloads of `len` bytes went through it, so that buffers have their size.
    ///
    /// # Panics
    /// If the product does not do what it must.
    pub fn warm(len: usize) -> Self {
        let mut this = Self { turn: empty_turn(), sent: 0 };
        this.settle();
        assert!(this.turn.machine().accepts, "it serves");
        for (socket, name) in [(ALICE, "alice"), (BOB, "bob")] {
            this.turn.machine().told.push(Completion::Accepted { result: Ok(socket), more: true });
            this.settle();
            this.turn.machine().receive_bytes(socket, greeting(name));
            this.settle();
        }
        for _ in 0..4 {
            let before = this.turn.machine().sent;
            let bytes = this.next_sends(len);
            this.receive(bytes);
            this.settle();
            assert!(this.turn.machine().sent - before > MESSAGES as usize * len, "Bob was given the messages");
            // As his device does.
            let (conversation, upto) = (ConversationId::direct(user("alice"), user("bob")), Seq(this.sent));
            let mut acknowledged = Vec::new();
            frame::append(&mut acknowledged, 0, &Delivered { conversation, upto });
            this.turn.machine().receive_bytes(BOB, acknowledged);
            this.settle();
        }
        this
    }

    /// The next window of SENDs.
    pub fn next_sends(&mut self, len: usize) -> Vec<u8> {
        let bytes = sends(len, self.sent);
        self.sent += MESSAGES;
        bytes
    }

    /// A turn in which Alice's bytes come: what they ask for is sealed and handed to the disk.
    ///
    /// # Panics
    /// If the turn fails, or writes nothing.
    pub fn receive(&mut self, bytes: Vec<u8>) {
        self.turn.machine().receive_bytes(ALICE, bytes);
        self.step();
        assert!(!self.turn.machine().told.is_empty(), "a batch is being written");
    }

    /// A turn in which what was asked of the machine is done: what the batch allows is handed to the network.
    ///
    /// # Panics
    /// If the turn fails.
    pub fn step(&mut self) {
        let told = std::mem::take(&mut self.turn.machine().told);
        self.turn.turn(beginning(), told).expect("nothing fails here");
    }

    /// Turns until nothing is left to be told.
    fn settle(&mut self) {
        self.step();
        self.step();
        while !self.turn.machine().told.is_empty() {
            self.step();
        }
    }
}

/// HELLO and RESUME of a user.
pub fn greeting(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut hello = FrameBuilder::<Hello>::new(&mut bytes);
    let (token, device, user) = (hello.var(name.as_bytes()), DeviceId(1), UserId::NONE);
    let (version_min, version_max, capabilities, connection_number) = (1, 1, 0, 0);
    hello.finish(
        1,
        &Hello {
            version_min,
            version_max,
            device,
            user,
            capabilities,
            token,
            connection_number,
            device_name: Span::default(),
        },
    );
    frame::append(
        &mut bytes,
        2,
        &Resume { lineage: Lineage::NONE, uv: Uv(0), below: Uv(0), page: 0, tails: 0, tail: 0 },
    );
    bytes
}

/// The only reactor of an empty node.
fn empty_turn() -> Turn<NullMachine, AnyToken> {
    turn_of(10, 1000, 1 << 40)
}

/// The only reactor of an empty node with room for so many connections, each of which may be silent for so long, and for any number of conversations. It keeps so
/// many bytes of log.
///
/// # Panics
/// If nothing can be made of nothing.
pub fn turn_of(connections_max: usize, timeout_ms: u64, retention_bytes: u64) -> Turn<NullMachine, AnyToken> {
    let user_rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
    let node = Node::new(NodeConfig { user_rate, entities_max: u32::MAX, ..node_config(0, 1, 8) });
    let (epoch, restored) = (Epoch(1), Epoch(0));
    let segment_len = 64 << 20;
    let settings = LogSettings {
        nonce: 1,
        epoch,
        segment_len,
        first_segment_len: segment_len,
        batch_max: 2 << 20,
        writes: 1,
        restored,
    };
    let recovered = recover(vec![node], vec![(LogId(0), Memory::default())], &BTreeMap::new(), settings, || Ok(()));
    let mut recovered = recovered.expect("nothing is there");
    let config = TurnConfig {
        limits: ConnectionLimits {
            connections_max,
            address_rate: user_rate,
            handshake_timeout_ms: timeout_ms,
            frame_timeout_ms: timeout_ms,
            send_timeout_ms: timeout_ms,
            idle_timeout_ms: timeout_ms,
        },
        retention_bytes,
        receives_per_turn: RECEIVES_PER_TURN,
    };
    let seed = Seed {
        config,
        node: recovered.nodes.remove(0),
        replica: recovered.replica,
        segment_len: settings.segment_len,
        log: log_parts(&recovered.logs, 1, settings).remove(0),
        rules: Arc::new(tidings_door::Rules::plain()),
        lanes: tidings_mesh::connect(1, LaneSize { slots: 2, arena: 2 }, LaneSize { slots: 2, arena: 2 }).remove(0),
        verifier: AnyToken,
        store: Box::new(Everything),
        shared: Arc::new(Shared::new(vec![Nobody])),
    };
    Turn::new(seed, NullMachine::default(), beginning().mono).expect("files can be opened")
}
