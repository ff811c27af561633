//! Rebuilding a node from its log's records, before it serves anybody.

use tidings_wire::{LogPosition, frames::Message, limits::FRAME_MAX, split};

use super::Node;
use crate::{
    index::Stored,
    records::{HomeEntryRecord, HomeRecord, ReceiptRecord, RecordKind, take},
    sequencer::ReplayError,
};

impl Node {
    /// A record that recovery read, in the order in which records were written. The node owns its shard.
    ///
    /// # Errors
    /// If it cannot follow what was read before.
    pub fn replay(
        &mut self,
        kind: RecordKind,
        shard: u16,
        index: u64,
        body: &[u8],
        loc: LogPosition,
    ) -> Result<(), ReplayError> {
        let next = self.indices.get_mut(shard as usize).ok_or(ReplayError::Body)?;
        *next = (*next).max(index);
        match kind {
            RecordKind::Message => self.replay_message(shard, body, loc),
            RecordKind::Receipt => self.replay_receipt(body, loc),
            RecordKind::Home => self.replay_home(body, loc),
            RecordKind::Conversation => {
                let origin = self.origin(loc.log(), loc.generation());
                let key = self.sequencer.replay_state(shard, body)?;
                self.sequencer.get_mut(key).base.restart(origin);
                Ok(())
            }
        }
    }

    /// Everything was read back.
    ///
    /// # Errors
    /// If something is missing that nothing explains.
    pub fn check_replayed(&self) -> Result<(), ReplayError> {
        self.sequencer.check_replayed()
    }

    fn replay_message(&mut self, shard: u16, body: &[u8], loc: LogPosition) -> Result<(), ReplayError> {
        let frame = split(body, FRAME_MAX).ok().flatten().ok_or(ReplayError::Body)?;
        if frame.header().kind != tidings_wire::Kind::Message as u8 {
            return Err(ReplayError::Body);
        }
        let message: Message = frame.fixed().map_err(|_| ReplayError::Body)?;
        let origin = self.origin(loc.log(), loc.generation());
        let key = self.sequencer.entry(message.conversation, shard, message.sender, message.peer);
        let (conversation, chunks) = self.sequencer.with_chunks(key);
        conversation.replay(&message)?;
        conversation.base.add(origin);
        conversation.index.push(chunks, message.seq, Stored { loc, len: body.len() as u32 });
        Ok(())
    }

    fn replay_receipt(&mut self, mut body: &[u8], loc: LogPosition) -> Result<(), ReplayError> {
        let record: ReceiptRecord = take(&mut body).map_err(|_| ReplayError::Body)?;
        // Unknown: retention dropped the segment with its messages, and the state record with these watermarks comes later.
        let Some(key) = self.sequencer.find(record.conversation) else { return Ok(()) };
        let origin = self.origin(loc.log(), loc.generation());
        let conversation = self.sequencer.get_mut(key);
        let member = conversation.member(record.member).ok_or(ReplayError::Body)?;
        let state = &mut conversation.members[member];
        state.committed.raise_to(record.watermarks());
        state.proposed = state.committed;
        conversation.base.add(origin);
        Ok(())
    }

    fn replay_home(&mut self, mut body: &[u8], loc: LogPosition) -> Result<(), ReplayError> {
        let record: HomeRecord = take(&mut body).map_err(|_| ReplayError::Body)?;
        let origin = self.origin(loc.log(), loc.generation());
        let home = self.registry.home(record.user);
        for _ in 0..record.count {
            let entry: HomeEntryRecord = take(&mut body).map_err(|_| ReplayError::Body)?;
            self.registry.replay(home, record.uv, &entry);
        }
        self.registry.get_mut(home).base.add(origin);
        Ok(())
    }
}
