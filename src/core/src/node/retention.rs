//! What a node does so that old segments of its log can go.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{BatchPosition, Entry, Generation};

use super::{Node, Progress};
use crate::{
    effects::{Effects, RecordMeta},
    records::{RecordKind, ShardRow, append},
};

impl Node {
    /// Begins to write again all state that lies in segments up to `upto` of the own log, or in other logs.
    pub fn start_evacuation(&mut self, upto: Generation) {
        self.conversations.start_evacuation(upto);
        self.homes.start_evacuation(upto);
    }

    /// Begins to write again the messages that somebody has not received yet, and that lie there: so many bytes of them at most.
    pub fn start_keeping(&mut self, upto: Generation, bytes: u64) {
        self.conversations.start_keeping(upto, bytes);
    }

    /// Gives up those that are not written again yet.
    pub fn stop_keeping(&mut self) {
        self.conversations.stop_keeping();
    }

    /// Writes how far a shard's entries go, since the last of them may be dropped.
    pub fn write_shard_row(&mut self, entry: Entry, fx: &mut impl Effects) -> BatchPosition {
        let ts = self.clocks[entry.shard as usize];
        let meta = RecordMeta { kind: RecordKind::ShardRow, shard: entry.shard, ts };
        fx.want_write();
        fx.append(meta, |body| append(body, &ShardRow { term: entry.term.0, last: entry.index.0 }))
    }

    /// How full the fullest reactor of all is, in hundredths: of its log, state that is written again before its segment is dropped; of its memory,
    /// conversations or homes. From [`STATE_SCARCE`](crate::limits::STATE_SCARCE) or [`ENTITIES_SCARCE`](crate::limits::ENTITIES_SCARCE) on only those who have
    /// few conversations begin others, and from [`STATE_FULL`](crate::limits::STATE_FULL) on nobody does: else the log would do nothing but write its state again.
    pub fn set_fullness(&mut self, state_share: u8, entities_share: u8) {
        let state_share = if canary::is(Canary::StateUnbounded) { 0 } else { state_share };
        self.homes.set_fullness(state_share, entities_share);
        self.conversations.set_state_share(state_share);
    }

    /// How many hundredths of its room for conversations or homes this reactor has taken, whichever is more.
    pub fn entities_share(&self) -> u8 {
        let entities = self.conversations.count().max(self.homes.count()) as u64;
        let share = entities * 100 / u64::from(self.config.entities_max.max(1));
        u8::try_from(share.min(100)).expect("at most a hundred")
    }

    /// About what the state takes in the log, in bytes, and hardly more: as if all conversations had two members who have said little.
    pub fn state_estimate(&self) -> u64 {
        self.conversations.state_estimate() + self.homes.state_estimate()
    }

    /// [`Progress::Done`] once everything that [`Self::start_evacuation`] and [`Self::start_keeping`] began is durable.
    pub fn evacuated(&self) -> Progress {
        let done = self.conversations.is_evacuated() && self.homes.is_evacuated();
        if done { Progress::Done } else { Progress::Stalled }
    }
}
