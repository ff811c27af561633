//! Resuming: what changed since the cursor, page by page, and the cursor for next time.

use std::collections::HashMap;

use tidings_wire::{
    ConversationId, Frame, HistoryId, Seq, UserId, Uv, WireError,
    archive::{self, Archived},
    frame,
    frames::{Changed, ChangedConversation, Resume, ResumeStatus},
};

use crate::{
    config::Time,
    conversation::Conversation,
    event::{Event, Watermarks},
    incoming::place_at,
    session::Session,
};

/// What a device keeps between runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedState {
    /// What the cursor belongs to.
    pub history: HistoryId,
    /// Every change up to here is in `conversations`.
    pub uv: Uv,
    /// The next message id.
    pub next_id: u64,
    /// Conversation, peer, last message, delivered and read.
    pub conversations: Vec<(ConversationId, UserId, Seq, Seq, Seq)>,
}

/// Where a session is with catching up.
#[derive(Debug, Default)]
pub(crate) struct Sync {
    pub(crate) history: HistoryId,
    /// The cursor to resume from.
    pub(crate) saved: Uv,
    /// The newest cursor that the server gave; it is saved once nothing is missing.
    given: Uv,
    /// The list is being taken.
    paging: bool,
    /// The server was asked on this connection, and [`Event::Synced`] is still to come.
    pending: bool,
    /// Some conversation may lack messages.
    pub(crate) may_have_gaps: bool,
    /// Gaps rest until then.
    pub(crate) gaps_after: Option<Time>,
}

impl Sync {
    pub(crate) fn restore(state: &SavedState) -> (Self, HashMap<ConversationId, Conversation>) {
        let sync = Self { history: state.history, saved: state.uv, given: state.uv, ..Self::default() };
        let conversations = state.conversations.iter().map(|(id, peer, last, delivered, read)| {
            let mut conversation = Conversation::new(*id, *peer);
            (conversation.last, conversation.head, conversation.placed) = (*last, *last, true);
            conversation.own = Watermarks { delivered: *delivered, read: *read };
            (*id, conversation)
        });
        (sync, conversations.collect())
    }

    pub(crate) fn save(&self, next_id: u64, conversations: &HashMap<ConversationId, Conversation>) -> SavedState {
        let row = |known: &Conversation| (known.id, known.peer, known.last, known.own.delivered, known.own.read);
        let mut rows: Vec<_> = conversations.values().filter(|known| known.placed).map(row).collect();
        rows.sort_unstable_by_key(|row| row.0);
        SavedState { history: self.history, uv: self.saved, next_id, conversations: rows }
    }

    pub(crate) fn disconnected(&mut self) {
        (self.paging, self.pending, self.given) = (false, false, self.saved);
        self.gaps_after = None;
    }

    /// The server gave a durable cursor (0: none).
    pub(crate) fn told(&mut self, uv: Uv) {
        self.given = self.given.max(uv);
    }
}

impl Session {
    pub(crate) fn resume(&mut self, history: HistoryId) {
        if self.sync.history != history {
            // Another history: what was known of it means nothing here.
            (self.sync.history, self.sync.saved, self.sync.given) = (history, Uv(0), Uv(0));
            for conversation in self.conversations.values_mut() {
                (conversation.placed, conversation.head) = (false, Seq(0));
                conversation.ahead.clear();
            }
        }
        (self.sync.paging, self.sync.pending) = (true, true);
        self.ask(Uv(0));
    }

    fn ask(&mut self, below: Uv) {
        let request = self.request_id();
        let (history, uv) = (self.sync.history, self.sync.saved);
        frame::append(&mut self.out, request, &Resume { history, uv, below, page: 0 });
    }

    pub(crate) fn on_changed(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let changed: Changed = frame.fixed()?;
        let entries = frame.var(changed.entries)?;
        if changed.status == ResumeStatus::TooOld {
            (self.sync.saved, self.sync.given, self.sync.history) = (Uv(0), Uv(0), changed.history);
            self.ask(Uv(0));
            return Ok(());
        }
        let step = changed.entry_len as usize;
        if changed.count > 0 && (step < ChangedConversation::FIRST_LEN || entries.len() < step * changed.count as usize)
        {
            return Err(WireError::Body);
        }
        for entry in entries.chunks_exact(step.max(1)).take(changed.count as usize) {
            self.on_changed_conversation(&archive::read(entry)?);
        }
        self.sync.may_have_gaps = true;
        self.sync.told(changed.uv);
        self.sync.paging = changed.next != Uv(0);
        if self.sync.paging {
            self.ask(changed.next);
        }
        Ok(())
    }

    fn on_changed_conversation(&mut self, entry: &ChangedConversation) {
        let (id, history) = (entry.conversation, self.config.history);
        let conversation = self.conversations.entry(id).or_insert_with(|| Conversation::new(id, entry.peer));
        if !conversation.placed {
            place_at(conversation, history, entry.head.0);
        }
        conversation.head = conversation.head.max(entry.head);
        conversation.peers.raise(Watermarks { delivered: entry.peer_delivered, read: entry.peer_read });
        conversation.own.read = conversation.own.read.max(entry.read);
        self.touch(id);
        self.tell_conversation(id);
    }

    /// Once every page was taken and every gap is filled, the cursor is worth keeping.
    pub(crate) fn check_synced(&mut self) {
        if self.sync.paging || self.sync.may_have_gaps {
            return;
        }
        self.sync.saved = self.sync.given;
        if std::mem::take(&mut self.sync.pending) {
            self.events.push_back(Event::Synced);
        }
    }
}
