//! How full everything is that has a bound.

use tidings_core::Verifier;

use super::Turn;
use crate::machine::Machine;

/// Sizes at one moment. Each has a bound, which the simulator checks after every turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// Open connections: at most the configured number and a few that are told so.
    pub connections: usize,
    /// Received chunks and ends that were not looked at: at most the receive buffers and one end a connection.
    pub inbox: usize,
    /// Bytes of the largest output that waits or is being sent.
    pub output: usize,
    /// Bytes of the longest stretch that is not a whole frame yet.
    pub carry: usize,
    /// FETCHes under way.
    pub fetches: usize,
    /// Leases of those who watch users.
    pub watchers: usize,
    /// What is shed.
    pub shedding: tidings_core::shedding::Stage,
    /// Bytes of what messages say that are being written.
    pub stream_bytes: usize,
    /// Messages that are being written.
    pub streams: usize,
    /// Records that were appended and are not applied: bounded by the bytes of all
    /// batches that may be open or sealed.
    pub waiting: usize,
    /// Those of them that conversations propose.
    pub proposed: usize,
    /// Segments with batches.
    pub segments: usize,
    /// Prepared segments.
    pub ready: usize,
    /// Lane messages that wait for a load.
    pub parked: usize,
    /// Bytes that the open batch still takes.
    pub room: usize,
}

impl<M: Machine, V: Verifier> Turn<M, V> {
    /// How full everything is.
    pub fn gauge(&self) -> Gauge {
        let connections = &self.io.connections;
        let keys = || (0..connections.places()).filter_map(|place| connections.key_at(place));
        let outputs = keys().map(|key| connections.buffered(key));
        let carries = keys().filter_map(|key| connections.get(key)).map(|found| found.carry.len());
        Gauge {
            connections: connections.len(),
            inbox: self.inbox.len() + self.greetings.len() + self.ends.len(),
            output: outputs.max().unwrap_or(0),
            carry: carries.max().unwrap_or(0),
            fetches: self.node.fetches(),
            watchers: self.node.watchers(),
            shedding: self.node.shedding(),
            stream_bytes: self.node.stream_bytes(),
            streams: self.node.streams(),
            waiting: self.node.waiting(),
            proposed: self.node.proposed(),
            segments: self.io.log.log.segments().len(),
            ready: self.io.log.log.ready_segments(),
            parked: self.io.parking.messages(),
            room: self.io.log.log.room(),
        }
    }

    /// Everything that was counted.
    pub fn counters(&self) -> &tidings_core::Counters {
        &self.node.counters
    }
}
