//! Rebuilding conversations from their records, before they serve anybody.

use core::cmp::Ordering;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{Kind, LogPosition, Seq, frames::Message, limits::FRAME_MAX, split};

use super::{
    Conversations, ReplayError,
    index::Stored,
    state::{MessageFact, State},
};
use crate::{
    placement::{Origin, origin},
    records::{ConversationRecord, ReceiptRecord, RecordKind, take},
};

impl Conversations {
    /// A record that recovery read, in the order in which records were written.
    pub(crate) fn replay(
        &mut self,
        kind: RecordKind,
        shard: u16,
        body: &[u8],
        at: LogPosition,
    ) -> Result<(), ReplayError> {
        let origin = origin(self.config.log, at);
        match kind {
            RecordKind::Message => self.replay_message(shard, body, at, origin),
            RecordKind::Receipt => self.replay_receipt(body, origin),
            RecordKind::Conversation => self.replay_state(shard, body, origin),
            RecordKind::Void | RecordKind::Home => Ok(()),
        }
    }

    fn replay_message(&mut self, shard: u16, body: &[u8], at: LogPosition, origin: Origin) -> Result<(), ReplayError> {
        let frame = split(body, FRAME_MAX).ok().flatten().ok_or(ReplayError::Body)?;
        if frame.header().kind != Kind::Message as u8 {
            return Err(ReplayError::Body);
        }
        let message: Message = frame.fixed().map_err(|_| ReplayError::Body)?;
        let key = self.entry(message.conversation, shard, message.sender, message.peer);
        let conversation = &mut self.all[key.0 as usize];
        let member = conversation.state.member(message.sender).ok_or(ReplayError::Body)?;
        let (seq, ts, device) = (message.seq, message.ts, message.sender_device);
        let head = conversation.state.head;
        match seq.cmp(&head.next()) {
            Ordering::Less => return Err(ReplayError::Jump { conversation: conversation.id, head, found: seq }),
            // Retention dropped what is between, at the log's beginning or in another log than the one before: the state
            // that it wrote first follows.
            Ordering::Greater => {
                conversation.gap = Some(head);
                conversation.state.skip_to(Seq(seq.0 - 1));
            }
            Ordering::Equal => {}
        }
        let mut fact = MessageFact { seq, ts, member: member as u8, device, client_msg_id: message.client_msg_id };
        if canary::is(Canary::IdempotencyForgotten) {
            fact.client_msg_id.0 = 0;
        }
        conversation.state.apply_message(&fact);
        conversation.base.add(origin);
        conversation.index.push(&mut self.chunks, seq, Stored { loc: at, len: body.len() as u32 });
        Ok(())
    }

    fn replay_receipt(&mut self, mut body: &[u8], origin: Origin) -> Result<(), ReplayError> {
        let record: ReceiptRecord = take(&mut body).map_err(|_| ReplayError::Body)?;
        // Unknown: retention dropped the segment with its messages, and the state record with these watermarks comes later.
        let Some(key) = self.find(record.conversation) else { return Ok(()) };
        let conversation = self.get_mut(key);
        let member = conversation.state.member(record.member).ok_or(ReplayError::Body)?;
        conversation.state.apply_receipt(member, record.watermarks());
        conversation.base.add(origin);
        Ok(())
    }

    fn replay_state(&mut self, shard: u16, mut body: &[u8], origin: Origin) -> Result<(), ReplayError> {
        let record: ConversationRecord = take(&mut body).map_err(|_| ReplayError::Body)?;
        let key = self.entry(record.conversation, shard, record.members[0], record.members[1]);
        let conversation = &mut self.all[key.0 as usize];
        let (id, head) = (record.conversation, conversation.state.head);
        if record.head < head {
            return Err(ReplayError::Jump { conversation: id, head, found: record.head });
        }
        if record.head > head {
            conversation.index.start_after(&mut self.chunks, record.head);
        }
        conversation.state = State::read(&record, &mut body)?;
        conversation.gap = None;
        conversation.base.restart(origin);
        Ok(())
    }

    /// Everything was read back.
    ///
    /// # Errors
    /// If messages are missing at the beginning or in the middle of a conversation, and no state says that retention dropped them.
    pub(crate) fn check_replayed(&self) -> Result<(), ReplayError> {
        let open = self.all.iter().find_map(|conversation| Some((conversation, conversation.gap?)));
        open.map_or(Ok(()), |(conversation, head)| {
            Err(ReplayError::Jump { conversation: conversation.id, head, found: conversation.state.head })
        })
    }
}
