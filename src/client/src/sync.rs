//! Resuming: what changed since the cursor, page by page, and the cursor for next time.

use std::collections::HashMap;

use tidings_wire::{
    ClientMsgId, ConversationId, Frame, Lineage, Seq, UserId, Uv, WireError,
    archive::{self, Archived},
    frame,
    frames::{Changed, ChangedConversation, Fetched, Resume, ResumeStatus, SettingKey},
    limits::TAILS_MAX,
};

use crate::{
    config::{History, Time},
    content::Content,
    conversation::{Conversation, Outgoing},
    event::{Event, Preferences, Watermarks},
    incoming::place_at,
    session::{Request, Session},
};

/// Messages of a conversation that come with the list of what changed, at most.
const TAIL_MAX: u64 = 32;

/// What a device keeps between runs. With the feature `serde` it is written and read as whatever serde writes; the fields are part of this crate's interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SavedState {
    /// What the cursor belongs to.
    pub lineage: Lineage,
    /// Every change up to here is in `conversations`.
    pub uv: Uv,
    /// The next message id.
    pub next_id: u64,
    /// The number of the next connection.
    pub connection_number: u64,
    /// The conversations, by id.
    pub conversations: Vec<SavedConversation>,
    /// Messages that are not acknowledged, oldest first.
    pub outbox: Vec<SavedMessage>,
}

/// A message in [`SavedState`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SavedMessage {
    /// Where to.
    pub conversation: ConversationId,
    /// One to one: the other member.
    pub peer: UserId,
    /// The attempt.
    pub id: ClientMsgId,
    /// What it is.
    pub content: Content,
}

/// A conversation in [`SavedState`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SavedConversation {
    /// Which.
    pub id: ConversationId,
    /// The other member.
    pub peer: UserId,
    /// The last message that the application was given.
    pub last: Seq,
    /// The last message that is known to exist.
    pub head: Seq,
    /// How far the user is, as this device knows.
    pub own: Watermarks,
    /// How much of that the server has confirmed: the rest is told again.
    pub durable: Watermarks,
    /// How far the other member is.
    pub peers: Watermarks,
    /// Messages with content that are known to exist.
    pub ordinal: u64,
    /// How many of them the user has seen.
    pub seen: u64,
    /// The user hides it up to this message.
    pub hidden: Seq,
    /// What else the user wants of it.
    pub preferences: Preferences,
    /// How often the user said of messages that it does not want to see them any more, as this device heard.
    pub forgotten: u32,
    /// What it does not want to see of what comes after `last`.
    pub forgotten_ahead: Vec<(Seq, Seq)>,
    /// A group's title, or the other member's name, as far as it is known.
    pub name: String,
    /// Seconds after which messages disappear that are written after `last`; 0: never.
    pub timer: u32,
}

/// Where a session is with catching up.
#[derive(Debug, Default)]
pub(crate) struct Sync {
    pub(crate) lineage: Lineage,
    /// The cursor to resume from.
    pub(crate) saved: Uv,
    /// The newest cursor that the server gave; it is saved once nothing is missing.
    given: Uv,
    /// The request that the list being taken answers, and the cursor of its first page.
    paging: Option<u64>,
    /// Where in the list the page begins that was asked for, and when it is asked for again if it was refused.
    below: Uv,
    refused_until: Option<Time>,
    first_page: Option<Uv>,
    /// The request whose SYNC_DONE is still to come.
    done: Option<u64>,
    /// Something was told meanwhile that only a list can complete: it is asked for afterwards.
    again: bool,
    /// The server was asked on this connection, and [`Event::Synced`] is still to come.
    pending: bool,
    /// Some conversation may lack messages.
    pub(crate) may_have_gaps: bool,
}

impl Sync {
    pub(crate) fn restore(state: &SavedState) -> (Self, HashMap<ConversationId, Conversation>) {
        let sync = Self { lineage: state.lineage, saved: state.uv, given: state.uv, ..Self::default() };
        let conversations = state.conversations.iter().map(|saved| {
            let mut conversation = Conversation::new(saved.id, saved.peer);
            (conversation.last, conversation.head, conversation.placed) =
                (saved.last, saved.head.max(saved.last), true);
            (conversation.own, conversation.durable, conversation.told) = (saved.own, saved.durable, saved.durable);
            (conversation.peers, conversation.ordinal, conversation.seen) = (saved.peers, saved.ordinal, saved.seen);
            (conversation.preferences, conversation.forgotten) = (saved.preferences, saved.forgotten);
            conversation.forgotten_ahead.clone_from(&saved.forgotten_ahead);
            (conversation.hidden, conversation.name, conversation.timer) =
                (saved.hidden, saved.name.clone(), saved.timer);
            (saved.id, conversation)
        });
        (sync, conversations.collect())
    }

    pub(crate) fn save(
        &self,
        next_id: u64,
        connection_number: u64,
        conversations: &HashMap<ConversationId, Conversation>,
    ) -> SavedState {
        let row = |known: &Conversation| {
            let Conversation {
                id,
                peer,
                last,
                head,
                own,
                durable,
                peers,
                ordinal,
                seen,
                hidden,
                preferences,
                forgotten,
                timer,
                ..
            } = *known;
            let (name, forgotten_ahead) = (known.name.clone(), known.forgotten_ahead.clone());
            SavedConversation {
                id,
                peer,
                last,
                head,
                own,
                durable,
                peers,
                ordinal,
                seen,
                hidden,
                preferences,
                forgotten,
                forgotten_ahead,
                name,
                timer,
            }
        };
        let mut rows: Vec<_> = conversations.values().filter(|known| known.placed).map(row).collect();
        rows.sort_unstable_by_key(|row| row.id);
        let waiting = |known: &Conversation| {
            let (conversation, peer) = (known.id, known.peer);
            let saved = move |message: &Outgoing| SavedMessage {
                conversation,
                peer,
                id: message.id,
                content: message.content.clone(),
            };
            known.outbox.iter().map(saved).collect::<Vec<_>>()
        };
        let mut outbox: Vec<_> = conversations.values().flat_map(waiting).collect();
        outbox.sort_unstable_by_key(|row| row.id);
        SavedState { lineage: self.lineage, uv: self.saved, next_id, connection_number, conversations: rows, outbox }
    }

    pub(crate) fn disconnected(&mut self) {
        (self.paging, self.first_page, self.pending, self.given) = (None, None, false, self.saved);
        (self.again, self.refused_until, self.done) = (false, None, None);
    }

    /// When a page of the list that was refused is asked for again.
    pub(crate) fn resume_at(&self) -> Option<Time> {
        self.refused_until
    }

    /// The server gave a durable cursor (0: none).
    pub(crate) fn told(&mut self, uv: Uv) {
        if self.paging.is_none() {
            self.given = self.given.max(uv);
        }
    }
}

impl Session {
    pub(crate) fn resume(&mut self, lineage: Lineage) {
        if self.sync.lineage != lineage {
            let knew_none = self.sync.lineage == Lineage::NONE;
            // Another history: what was known of it means nothing here.
            (self.sync.lineage, self.sync.saved, self.sync.given) = (lineage, Uv(0), Uv(0));
            self.bygone = self.events.len();
            for conversation in self.conversations.values_mut() {
                conversation.forget_lineage();
            }
            // What was wanted of a conversation was wanted of other messages.
            self.wanted
                .retain(|(conversation, key), _| *conversation == ConversationId::NONE || *key == SettingKey::BLOCKED);
            self.to_forget.clear();
            if !knew_none {
                self.events.push_back(Event::LineageChanged);
            }
        }
        self.sync.pending = true;
        self.begin_list();
    }

    fn ask(&mut self, below: Uv) {
        let request = self.request_id();
        (self.sync.paging, self.sync.below, self.sync.refused_until) = (Some(request), below, None);
        let (lineage, uv) = (self.sync.lineage, self.sync.saved);
        // Who wants the last messages only may have those of what changed last at once.
        let tail = match self.config.history {
            History::Recent(count) if below == Uv(0) => u16::try_from(count.min(TAIL_MAX)).expect("it is small"),
            _ => 0,
        };
        // SYNC_DONE says that the heads of large groups have come, too.
        let tails = match tail {
            _ if below != Uv(0) => 0,
            0 => 1,
            _ => TAILS_MAX,
        };
        if tails > 0 {
            self.requests.insert(request, Request::Tails);
            self.sync.done = Some(request);
        }
        frame::append(&mut self.out, request, &Resume { lineage, uv, below, page: 0, tails, tail });
    }

    pub(crate) fn on_changed(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let changed: Changed = frame.fixed()?;
        let (entries, mut names) = (frame.var(changed.entries)?, frame.var(changed.names)?);
        if changed.status == ResumeStatus::TooOld {
            self.list_is_done(frame.header().request_id);
            // Its history is WELCOME's: another one would have been told to the application there.
            (self.sync.saved, self.sync.given) = (Uv(0), Uv(0));
            self.begin_list();
            return Ok(());
        }
        let step = changed.entry_len as usize;
        if changed.count > 0 && (step < ChangedConversation::FIRST_LEN || entries.len() < step * changed.count as usize)
        {
            return Err(WireError::Body);
        }
        for entry in entries.chunks_exact(step.max(1)).take(changed.count as usize) {
            let entry: ChangedConversation = archive::read(entry)?;
            let name = names.split_off(..usize::from(entry.name_len)).ok_or(WireError::Body)?;
            self.on_changed_conversation(&entry, name);
        }
        self.told_settings(changed.settings);
        self.expect_tails(frame, &changed, entries)?;
        self.sync.may_have_gaps = true;
        if self.sync.paging != Some(frame.header().request_id) {
            // The list of a device that was behind. Cut short, it is taken from our own cursor instead.
            if changed.next != Uv(0) {
                self.list_again();
            }
            return Ok(());
        }
        // Later pages may be of a later time: only what the first vouches for is all in the list.
        let first = *self.sync.first_page.get_or_insert(changed.uv);
        if changed.next != Uv(0) {
            self.ask(changed.next);
        } else {
            self.sync.paging = None;
            self.sync.told(first);
            if std::mem::take(&mut self.sync.again) {
                self.begin_list();
            }
        }
        Ok(())
    }

    /// The last messages of the first conversations in the list come with it: nobody fetches them meanwhile.
    fn expect_tails(&mut self, frame: &Frame<'_>, changed: &Changed, entries: &[u8]) -> Result<(), WireError> {
        let id = frame.header().request_id;
        // A server of before tails does not send any.
        if frame.fixed_bytes().len() < Changed::LEN {
            if matches!(self.requests.get(&id), Some(Request::Tails)) {
                self.list_is_done(id);
            }
            return Ok(());
        }
        let with_tails = matches!(self.config.history, History::Recent(count) if count > 0);
        if !with_tails || !matches!(self.requests.get(&id), Some(Request::Tails)) {
            return Ok(());
        }
        let first = entries.chunks_exact((changed.entry_len as usize).max(1)).take(changed.count as usize);
        for entry in first.take(usize::from(TAILS_MAX)) {
            let entry: ChangedConversation = archive::read(entry)?;
            if let Some(known) = self.conversations.get_mut(&entry.conversation).filter(|known| known.has_gap()) {
                (known.fetching, known.tail_of) = (true, Some(id));
            }
        }
        Ok(())
    }

    /// The last messages of a conversation have come with a list.
    pub(crate) fn on_tail(&mut self, request: u64, fetched: &Fetched) {
        if let Some(known) = self.conversations.get_mut(&fetched.conversation)
            && known.tail_of.take_if(|list| *list == request).is_some()
        {
            known.fetching = false;
            known.head = known.head.max(fetched.head);
            self.pass_what_is_gone(fetched.conversation, fetched);
            self.sync.may_have_gaps = true;
        }
    }

    /// No more tails come: what is missing is fetched.
    pub(crate) fn on_sync_done(&mut self, request: u64) {
        if !matches!(self.requests.get(&request), Some(Request::Tails)) {
            return;
        }
        self.list_is_done(request);
        for known in self.conversations.values_mut() {
            if known.tail_of.take_if(|list| *list == request).is_some() {
                known.fetching = false;
            }
        }
        self.sync.may_have_gaps = true;
    }

    /// Nothing more comes of a list.
    fn list_is_done(&mut self, request: u64) {
        self.requests.remove(&request);
        self.sync.done.take_if(|awaited| *awaited == request);
    }

    /// The server has no time for a page of the list now.
    pub(crate) fn on_resume_refused(&mut self, request: u64, retry_ms: u64) {
        self.list_is_done(request);
        if self.sync.paging == Some(request) {
            self.sync.refused_until = Some(self.now.plus_ms(retry_ms.max(1)));
        }
    }

    /// Asks again for a page of the list that was refused, if it is time.
    pub(crate) fn resume_again(&mut self) {
        if self.sync.refused_until.take_if(|until| *until <= self.now).is_some() {
            self.ask(self.sync.below);
        }
    }

    /// Asks for what changed after the cursor that is kept, once the list that is being taken has come.
    pub(crate) fn list_again(&mut self) {
        match self.sync.paging {
            Some(_) => self.sync.again = true,
            None => self.begin_list(),
        }
    }

    /// Asks for what changed after the cursor that is kept.
    fn begin_list(&mut self) {
        self.sync.first_page = None;
        self.ask(Uv(0));
    }

    fn on_changed_conversation(&mut self, entry: &ChangedConversation, name: &[u8]) {
        let (id, history) = (entry.conversation, self.config.history);
        if entry.blocked {
            self.unfollow(id);
        }
        let conversation = self.conversations.entry(id).or_insert_with(|| Conversation::new(id, entry.peer));
        if !conversation.placed {
            place_at(conversation, history, entry.head.0);
        }
        conversation.head = conversation.head.max(entry.head);
        conversation.hidden = entry.hidden;
        let ChangedConversation { muted_until, pinned, archived, cleared, blocked, .. } = *entry;
        conversation.preferences = Preferences { muted_until, pinned, archived, blocked, ..conversation.preferences };
        conversation.clear(cleared);
        if !name.is_empty() {
            conversation.name = String::from_utf8_lossy(name).into_owned();
        }
        conversation.peers.raise(Watermarks { delivered: entry.peer_delivered, read: entry.peer_read, ordinal: 0 });
        conversation.ordinal = conversation.ordinal.max(entry.ordinal);
        conversation.seen = conversation.seen.max(entry.seen);
        conversation.delivered = conversation.delivered.max(entry.delivered);
        for known in [&mut conversation.own, &mut conversation.told, &mut conversation.durable] {
            known.read = known.read.max(entry.read);
        }
        let counted = conversation.own.ordinal.min(entry.seen);
        for known in [&mut conversation.told, &mut conversation.durable] {
            known.ordinal = known.ordinal.max(counted);
        }
        self.touch(id);
        self.tell_conversation(id);
        self.heard_forgotten(id, entry.forgotten);
    }

    /// Once every page was taken and every gap is filled, the cursor is worth keeping.
    pub(crate) fn check_synced(&mut self) {
        if self.sync.paging.is_some() || self.sync.may_have_gaps {
            return;
        }
        self.sync.saved = self.sync.given;
        if self.sync.done.is_none() && std::mem::take(&mut self.sync.pending) {
            self.backoff.reset();
            self.events.push_back(Event::Synced);
        }
    }
}
