//! A reactor with Alice and Bob on it, and everything around them in memory: what the gates count instructions of
//! (`benches/message.rs`), without a kernel or a clock in between.
#![forbid(unsafe_code)]

use tidings_core::{ConnId, NodeConfig, SessionId, limits::Rate};
use tidings_testkit::{
    ADDRESS, authenticated,
    frames::append_send,
    reactor::{Reactor, beginning, node_config},
    user,
};
use tidings_wire::{Lineage, Uv, frame, frames::Resume, limits, split};

/// Messages of one measured stretch: a window, as one connection may have in flight.
pub const MESSAGES: u64 = limits::WINDOW as u64;

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
    /// The reactor.
    pub reactor: Reactor,
    alice: SessionId,
    sent: u64,
}

impl Chat {
    /// Warm: windows of messages with payloads of `len` bytes went through it, so that buffers have their size.
    ///
    /// # Panics
    /// If the product does not do what it must.
    pub fn warm(len: usize) -> Self {
        let user_rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
        let mut reactor = Reactor::new(NodeConfig { user_rate, ..node_config(0, 1, 8) });
        let mut open = |name, conn| {
            let Reactor { node, world, .. } = &mut reactor;
            node.at(beginning(), world)
                .open_session(&authenticated(name, 1), (ConnId(conn), ADDRESS))
                .expect("there is room")
        };
        let (alice, bob) = (open("alice", 1), open("bob", 2));
        let mut resume = Vec::new();
        frame::append(&mut resume, 2, &Resume { lineage: Lineage::NONE, uv: Uv(0), below: Uv(0), page: 0 });
        let mut this = Self { reactor, alice, sent: 0 };
        for session in [alice, bob] {
            this.take(session, &resume);
        }
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

    fn take(&mut self, session: SessionId, mut bytes: &[u8]) {
        let Reactor { node, world, .. } = &mut self.reactor;
        while let Some(frame) = split(bytes, limits::FRAME_MAX).expect("these are frames") {
            bytes = &bytes[frame.bytes().len()..];
            node.at(beginning(), world).frame(session, &frame);
        }
    }

    /// Frames of Alice's are taken.
    ///
    /// # Panics
    /// If they are none.
    pub fn apply(&mut self, bytes: &[u8]) {
        self.take(self.alice, bytes);
    }

    /// The batch is sealed, as if it had been written, and what it allows leaves.
    ///
    /// # Panics
    /// If there was nothing to write.
    pub fn commit(&mut self) {
        let Reactor { node, world, .. } = &mut self.reactor;
        let write = world.seal(node);
        world.store.log.written(write.lsn, write.buffer);
        world.apply(node, beginning());
    }

    /// Forgets what left; how many bytes that were.
    pub fn take_output(&mut self) -> usize {
        let bytes = self.reactor.world.outs.values().map(Vec::len).sum();
        self.reactor.world.outs.values_mut().for_each(Vec::clear);
        bytes
    }
}
