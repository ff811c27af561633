//! Rebuilding conversations from their records, before they serve anybody.

use core::cmp::Ordering;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ConversationId, EntryIndex, Frame, Kind, LogPosition, Seq, archive,
    frames::{
        Control, Message, MessageFlags,
        streamed::control::{END, OPEN},
    },
    limits::FRAME_MAX,
    split,
};

use super::{
    ConversationKey, Conversations,
    index::{Stored, Written},
};
use crate::{
    conversation::{
        erasures::Erasure,
        membership::Membership,
        state::{MessageFact, ReplayError, Settings, Size, State},
    },
    emptied::{EndTold, ended},
    features::{self, Nature, receipt},
    narrow::to_u32,
    placement::{Origin, origin},
    records::{
        ConversationRow, ErasureRecord, ErasuresRow, KeptRecord, MemberRow, ReceiptRecord, RecordKind, SettingRecord,
        take,
    },
    replay::Replayed,
};

/// The body of a message that was built here.
pub(super) fn body_of(frame: &[u8]) -> &[u8] {
    let frame = split(frame, FRAME_MAX).ok().flatten().expect("built here");
    let message: Message = frame.fixed().expect("built here");
    frame.var(message.body).expect("built here")
}

/// A MESSAGE that was read back.
fn message_of(bytes: &[u8]) -> Result<(Frame<'_>, Message), ReplayError> {
    let frame = split(bytes, FRAME_MAX).ok().flatten().ok_or(ReplayError::Body)?;
    if frame.header().kind != Kind::Message as u8 {
        return Err(ReplayError::Body);
    }
    let message = frame.fixed().map_err(|_| ReplayError::Body)?;
    Ok((frame, message))
}

/// The message that an END stands for.
fn opened_by(frame: &Frame<'_>, end: &Message) -> Result<Message, ReplayError> {
    let opened = ended(frame, end, EndTold::Whole).ok_or(ReplayError::Body)?;
    message_of(&opened).map(|(_, opened)| opened)
}

/// The place of whoever wrote a message. A member whose row comes later is there without what the row will say.
fn author_of(state: &mut State, message: &Message) -> usize {
    let (sender, peer) = (message.sender, message.peer);
    if message.conversation.is_group() {
        return state.members.entry(sender, Membership::default);
    }
    // The lesser first, as when it was made.
    let mut entry = |user| state.members.entry(user, Membership::of_two);
    let (low, high) = (entry(sender.min(peer)), entry(sender.max(peer)));
    if sender < peer { low } else { high }
}

/// The membership of somebody of whom nothing was read.
fn unknown(conversation: ConversationId) -> fn() -> Membership {
    if conversation.is_group() { Membership::default } else { Membership::of_two }
}

impl Conversations {
    /// A record that recovery read, in the order in which records were written; of an entry, or a row.
    pub(crate) fn replay(&mut self, record: &Replayed<'_>) -> Result<(), ReplayError> {
        let &Replayed { kind, shard, entry, body, at, .. } = record;
        let origin = origin(self.config.log, at);
        let changed = match kind {
            RecordKind::Message => self.replay_message(shard, body, at, origin)?,
            RecordKind::Receipt => self.replay_receipt(body, origin)?,
            RecordKind::Block => self.replay_block(shard, body, origin)?,
            RecordKind::Kept => {
                self.replay_kept(shard, body, at)?;
                None
            }
            RecordKind::ConversationRow => {
                self.replay_conversation(shard, body, origin)?;
                None
            }
            RecordKind::ErasuresRow => {
                self.replay_erasures(body)?;
                None
            }
            RecordKind::MemberRow => {
                self.replay_member(body)?;
                None
            }
            _ => return Err(ReplayError::Kind),
        };
        changed.zip(entry).into_iter().for_each(|(key, entry)| self.replayed_change(key, entry));
        Ok(())
    }

    fn replay_message(
        &mut self,
        shard: u16,
        body: &[u8],
        at: LogPosition,
        origin: Origin,
    ) -> Result<Option<ConversationKey>, ReplayError> {
        let (frame, message) = message_of(body)?;
        let key = self.entry(message.conversation, shard, State::default);
        let conversation = &mut self.all[key.0];
        let (sender, member) = (message.sender, author_of(&mut conversation.state, &message));
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
        let Message { client_msg_id, control, target, ordinal, expires_at, .. } = message;
        let member = to_u32(member);
        let weight = features::weight(self.config.features, control);
        // Clients set any flag before this one meant something: there were no groups then.
        let is_flagged = message.flags.0 & MessageFlags::LARGE != 0 && message.conversation.is_group();
        let is_large = is_flagged && !canary::is(Canary::SizeForgotten);
        let size = if is_large { Size::Large } else { Size::Small };
        let mut fact = MessageFact {
            seq,
            ts,
            sender,
            member,
            device,
            client_msg_id,
            control,
            target,
            weight,
            ordinal,
            size,
            expires_at,
        };
        if canary::is(Canary::IdempotencyForgotten) {
            fact.client_msg_id.0 = 0;
        }
        let act = frame.var(message.body).map_err(|_| ReplayError::Body)?;
        let touched = conversation.state.apply_message((self.config.features, message.conversation), &fact, act);
        conversation.base.add(origin);
        let written = Written::new(member, ts, Nature::of(control, weight), expires_at);
        conversation.index.push(&mut self.chunks, seq, Stored { loc: at, len: to_u32(body.len()), written });
        if control != Control::TEXT {
            self.follow_streams(key, (&frame, &message), (at, body.len()), None);
            // Where an END stands for a message whose record is gone.
            if control == END
                && self.get(key).index.get(&self.chunks, target).is_none()
                && let Ok(opened) = opened_by(&frame, &message)
                && !canary::is(Canary::EndForgotten)
            {
                self.restore(key, &opened, (at, to_u32(body.len())));
                self.all[key.0].index.put_end(&mut self.chunks, target, at, to_u32(body.len()));
            }
        }
        // What homes are told of: see `commit`.
        let was_large = self.get(key).large.is_some();
        if self.is_large(key) {
            self.grow(key);
        }
        Ok((!was_large || !touched.is_empty()).then_some(key))
    }

    /// A message that outlived its segment. Its record adds nothing to the state: what it did is in rows.
    fn replay_kept(&mut self, shard: u16, body: &[u8], at: LogPosition) -> Result<(), ReplayError> {
        let (frame, stored) = message_of(body)?;
        let len = to_u32(frame.bytes().len());
        let KeptRecord { seq } = archive::read(&body[frame.bytes().len()..]).map_err(|_| ReplayError::Body)?;
        // An END may be in the place of the message that it ends.
        let message = if stored.seq == seq { stored } else { opened_by(&frame, &stored)? };
        if message.seq != seq {
            return Err(ReplayError::Body);
        }
        let key = self.entry(message.conversation, shard, State::default);
        let conversation = &mut self.all[key.0];
        let head = conversation.state.head;
        if head < seq {
            conversation.gap.get_or_insert(head); // its rows come later
        }
        // It was read before the END was committed that stands for it.
        let known = conversation.index.get(&self.chunks, seq);
        let is_ended = known.is_some_and(|known| known.written.is_ended());
        if let Some(known) = known {
            self.note_elsewhere(key, seq, known.loc);
        }
        if !is_ended || stored.seq != seq {
            self.restore(key, &message, (at, len));
            if stored.seq != seq {
                self.all[key.0].index.put_end(&mut self.chunks, seq, at, len);
            } else if [OPEN, END].contains(&stored.control) {
                // Its END must say how it began; and an END stands for what it ends, wherever that is.
                self.follow_streams(key, (&frame, &message), (at, frame.bytes().len()), None);
            }
        }
        Ok(())
    }

    /// A message is at this place, which is not that of its own record.
    fn restore(&mut self, key: ConversationKey, message: &Message, (loc, len): (LogPosition, u32)) {
        let Message { seq, ts, control, expires_at, .. } = *message;
        let conversation = &mut self.all[key.0];
        let member = to_u32(author_of(&mut conversation.state, message));
        let nature = Nature::of(control, features::weight(self.config.features, control));
        let written = Written::new(member, ts, nature, expires_at);
        conversation.index.restore(&mut self.chunks, seq, Stored { loc, len, written });
    }

    fn replay_receipt(&mut self, body: &[u8], origin: Origin) -> Result<Option<ConversationKey>, ReplayError> {
        let record: ReceiptRecord = archive::read(body).map_err(|_| ReplayError::Body)?;
        // Unknown: retention dropped the segment with its messages, and rows with these watermarks come later.
        let Some(key) = self.find(record.conversation) else { return Ok(None) };
        let conversation = self.get_mut(key);
        let member = conversation.state.members.entry(record.member, unknown(record.conversation));
        receipt::apply(&mut conversation.state, member, &record);
        conversation.base.add(origin);
        Ok(Some(key).filter(|key| !self.asks_for_marks(*key, member)))
    }

    /// The state begins anew: members follow, and until then what they do is remembered without what their rows will say.
    fn replay_conversation(&mut self, shard: u16, mut body: &[u8], origin: Origin) -> Result<(), ReplayError> {
        let row: ConversationRow = take(&mut body).map_err(|_| ReplayError::Body)?;
        let key = self.entry(row.conversation, shard, State::default);
        let conversation = &mut self.all[key.0];
        let head = conversation.state.head;
        if row.head < head {
            return Err(ReplayError::Jump { conversation: row.conversation, head, found: row.head });
        }
        if row.head > head {
            conversation.index.reach(&mut self.chunks, row.head.next());
        }
        let state = &mut conversation.state;
        (state.head, state.last_ts, state.ordinal) = (row.head, row.last_ts, row.ordinal);
        if row.size > 0 {
            state.size = Size::Large;
        }
        state.erasures.set_history(row.erasures);
        state.settings = Settings::default();
        for _ in 0..row.settings {
            let setting: SettingRecord = take(&mut body).map_err(|_| ReplayError::Body)?;
            let kept = body.split_off(..setting.len as usize).ok_or(ReplayError::Body)?;
            state.settings.set(Control(setting.control), kept);
        }
        conversation.gap = None;
        // Until all rows are there, what is older counts: a crash may have come between them.
        (conversation.rewritten, conversation.rows_missing) = (Some(origin), row.members);
        conversation.base.add(origin);
        if self.is_large(key) {
            self.grow(key);
        }
        self.replayed_change(key, EntryIndex(row.changed));
        Ok(())
    }

    /// What was withdrawn stays so: what is older, and what comes later, changes none of it.
    fn replay_erasures(&mut self, mut body: &[u8]) -> Result<(), ReplayError> {
        let row: ErasuresRow = take(&mut body).map_err(|_| ReplayError::Body)?;
        // The conversation's row is before. Where it is gone, both are written again later.
        let Some(key) = self.find(row.conversation) else { return Ok(()) };
        let erasures = &mut self.get_mut(key).state.erasures;
        for _ in 0..row.count {
            let ErasureRecord { target, by } = take(&mut body).map_err(|_| ReplayError::Body)?;
            erasures.restore(Erasure { target, by });
        }
        Ok(())
    }

    fn replay_member(&mut self, mut body: &[u8]) -> Result<(), ReplayError> {
        let row: MemberRow = take(&mut body).map_err(|_| ReplayError::Body)?;
        // The conversation's row is before its members'. Where it is gone, it is written again later.
        let Some(key) = self.find(row.conversation) else { return Ok(()) };
        let conversation = self.get_mut(key);
        let members = &mut conversation.state.members;
        let at = members.entry(row.user, unknown(row.conversation));
        members.read(at, &row, &mut body)?;
        conversation.rows_missing = conversation.rows_missing.saturating_sub(1);
        if conversation.rows_missing == 0
            && let Some(first) = conversation.rewritten.take()
        {
            conversation.base.restart(first);
        }
        Ok(())
    }

    /// Everything was read back.
    ///
    /// # Errors
    /// If messages are missing at the beginning or in the middle of a conversation, and no state says that retention dropped them.
    pub(crate) fn check_replayed(&self) -> Result<(), ReplayError> {
        let open = self.all.iter().find_map(|(_, conversation)| Some((conversation, conversation.gap?)));
        open.map_or(Ok(()), |(conversation, head)| {
            Err(ReplayError::Jump { conversation: conversation.id, head, found: conversation.state.head })
        })
    }
}
