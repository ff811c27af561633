//! What a turn is made with, and the bounds of its queues.

use tidings_core::{Ephemeral, ToConversation, ToHome, limits::Rate};
use tidings_mesh::LaneSize;
use tidings_wire::limits::FRAME_MAX;

/// Limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections of this reactor.
    pub connections_max: usize,
    /// Connections from one address.
    pub address_rate: Rate,
    /// From accept to a whole HELLO.
    pub handshake_timeout_ms: u64,
    /// From a frame's first byte to its last.
    pub frame_timeout_ms: u64,
    /// From handing output to the kernel to the kernel having taken it.
    pub send_timeout_ms: u64,
    /// Silence of a session.
    pub idle_timeout_ms: u64,
}

/// What a turn is made with.
#[derive(Clone, Copy, Debug)]
pub struct TurnConfig {
    /// Limits of connections.
    pub limits: ConnectionLimits,
    /// Bytes of log that this reactor may keep, its share of `retention.max_bytes`.
    pub retention_bytes: u64,
    /// Receives that are looked at in one turn: [`RECEIVES_PER_TURN`], unless a test wants fewer.
    pub receives_per_turn: usize,
}

/// Receives looked at in one turn.
pub const RECEIVES_PER_TURN: usize = 512;
/// The same while there is output that could not be handed to the kernel in the turn before: what waits to be sent is not outrun by what comes in.
pub const RECEIVES_BESIDE_OUTPUT: usize = 128;
/// Lane messages taken from each lane in one turn.
pub const LANE_MESSAGES_PER_TURN: usize = 512;
/// Connections whose output is handed to the kernel, or that go, in one turn: each costs as much as ten messages.
pub const SENDS_PER_TURN: usize = 128;
/// The same while a batch is being written: the end of its write is seen only after them.
pub const SENDS_BESIDE_WRITE: usize = 64;
/// Connections that are looked at for output in one turn: most have some.
pub const OUTPUTS_PER_TURN: usize = 512;
/// Connections that ended, looked at in one turn.
pub const ENDS_PER_TURN: usize = 64;
/// Tokens verified in one turn: each costs as much as a hundred messages.
pub const HANDSHAKES_PER_TURN: usize = 8;
/// How many of those a step of agreeing on TLS is, with a signature, and a key made and used: one in a turn, so that whoever writes waits for one.
pub const TLS_STEP: usize = 8;
/// Whoever has said no HELLO for as long makes room for another connection where there is none.
pub const MAKES_ROOM_AFTER_MS: u64 = 1000;
/// The same of who has begun to speak.
pub const MAKES_ROOM_SPEAKING_MS: u64 = 5000;
/// Those of too many connections from one address that are told so, not just closed: each takes a place until it has read that.
pub const TOLD_RATE: Rate = Rate { per_second: 100, burst: 200 };
/// Pages that a reactor answers with: each is in memory, some hundred kilobytes, until its reader has it or is given up.
pub const PAGES_RATE: Rate = Rate { per_second: 100, burst: 400 };
/// Connections that wait to be adopted from other reactors.
pub const HANDOVERS_MAX: usize = 1024;
/// The longest sleep: something is always looked at this often.
pub const SLEEP_MAX_MS: u64 = 500;
/// Bytes of a batch while whose write input may gather: several messages, so that more of them come meanwhile.
pub const GATHER_BATCH: usize = 8 << 10;
/// How long output that nobody waits for may wait for other output of its connection: in a conversation that is going on,
/// until the next message.
pub const LATER_MS: u64 = 25;
/// It leaves at multiples of this, with that of other connections: one turn for many.
pub const LATER_GRID_NS: u64 = 5_000_000;
/// How long the log must be idle before a tip is written.
pub const TIP_DELAY_MS: u64 = 50;
/// How often connections are looked at for time-outs; if there are more than a step takes, after as many steps as there are.
pub const SWEEP_MS: u64 = 250;
/// Places of connections that are looked at in one step, and how long after the one before.
pub const SWEPT_AT_ONCE: u32 = 1024;
/// See [`SWEPT_AT_ONCE`].
pub const SWEEP_STEP_MS: u64 = 5;
/// How long a closed connection may take to read our last words.
pub const LINGER_MS: u64 = 2000;
/// The same of one whose place another needs.
pub const LINGER_LESS_MS: u64 = 250;
/// Addresses whose rate is remembered.
pub const ADDRESSES_MAX: usize = 16 * 1024;
/// Bytes of the largest small buffer that is kept for reuse. What has come of a frame is in a small one, since a session may keep that for long.
pub const SPARE_SMALL: usize = 64 * 1024;
/// Bytes of the largest buffer that is kept for reuse: output of a window of messages of a kilobyte takes as much.
pub const SPARE_LARGE: usize = 256 * 1024;
/// Small buffers kept for reuse, and as many large ones.
pub const SPARE_BUFFERS: usize = 1024;
/// Bytes that the small ones may have together, and as many the large ones.
pub const SPARE_BYTES: usize = 32 * 1024 * 1024;

/// Segments beyond those with batches that a log needs: two prepared, one being prepared, one that was just dropped.
pub const AHEAD: u64 = 4;
/// Bytes of a batch. Several frames must fit beside the state that is written at leisure.
pub const BATCH_MAX: usize = 2 << 20;
/// The room that the open batch must have before more input is taken: all that one receive can turn into. A SEND of one
/// byte becomes a record about twice its size.
pub const ROOM_FOR_INPUT: usize = 4 * FRAME_MAX as usize;

/// Up to so many reactors lanes are as long as a turn can use.
const FEW_REACTORS: usize = 8;
/// And so many have half of that; more a quarter, since each has lanes to every other.
const MORE_REACTORS: usize = 16;

/// Each lane of so many reactors.
pub const fn lane_size(reactors: usize) -> LaneSize {
    match reactors {
        _ if reactors <= FEW_REACTORS => LaneSize { slots: 4096, arena: 4 << 20 },
        _ if reactors <= MORE_REACTORS => LaneSize { slots: 2048, arena: 2 << 20 },
        _ => LaneSize { slots: 1024, arena: 1 << 20 },
    }
}

/// Each lane for what may be lost.
pub const fn ephemeral_lane_size(reactors: usize) -> LaneSize {
    LaneSize { slots: if reactors > MORE_REACTORS { 256 } else { 1024 }, arena: 64 << 10 }
}

/// Bytes of memory that all lanes of so many reactors take at most: what was never used takes none.
pub const fn lane_memory(reactors: usize) -> usize {
    let (lane, ephemeral) = (lane_size(reactors), ephemeral_lane_size(reactors));
    let both = lane.slots * (slot::<ToConversation>() + slot::<ToHome>()) + 2 * lane.arena;
    reactors * reactors.saturating_sub(1) * (both + ephemeral.slots * slot::<Ephemeral>() + ephemeral.arena)
}

/// A slot is a message and where its payload is.
const fn slot<T>() -> usize {
    size_of::<T>() + 2 * size_of::<usize>()
}

const _: () = assert!(BATCH_MAX > 2 * ROOM_FOR_INPUT && lane_size(usize::MAX).arena > 8 * FRAME_MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lanes_take_is_bounded_however_many_reactors_there_are() {
        const MIB: usize = 1 << 20;
        let taken = [2, 8, 16, 64].map(|reactors| lane_memory(reactors) / MIB);
        assert!(taken[0] <= 22 && taken[1] <= 600 && taken[2] <= 1300 && taken[3] <= 11_000, "{taken:?} MiB");
    }
}
