//! BLOCK: a member of a one-to-one conversation does not want to hear of the other one. The conversation decides, since it knows which message came before
//! and which after; homes are told, as of its head.

use alloc::vec::Vec;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    BatchPosition, ConversationId, EntryIndex, ErrorCode, Frame, Kind, LogPosition, Seq, UserId,
    archive::{self, Archived},
    frame::FrameBuilder,
    frames::{Control, Message, MessageFlags},
    limits::FRAME_MAX,
    split,
};

use super::{Conversation, ConversationKey, Conversations, commit::Waiting, dispatch::refuse_other};
use crate::{
    budget::CONVERSATION_COST,
    context::ConversationContext,
    conversation::{
        blocks::{self, Block},
        membership::Membership,
        state::{ReplayError, State},
        view::View,
    },
    effects::ReactorId,
    emptied::with_flags,
    home::SessionId,
    lanes::{Asker, Author, BlockCommand, Blocking, BlocksTold, HeadUpdate, Refusal, Source, ToHome, Wish},
    placement::{Origin, origin},
    records::{BlockRecord, RecordKind, append},
};

impl Conversations {
    /// A conversation that a user may know of: one in which nobody has written is there for who blocks the other one, and for nobody else.
    pub(super) fn known_to(&self, id: ConversationId, user: UserId) -> Option<ConversationKey> {
        self.find(id).filter(|key| self.may_be_known(*key, user))
    }

    /// The same; it may be this one.
    pub(super) fn known_near(
        &self,
        place: ConversationKey,
        id: ConversationId,
        user: UserId,
    ) -> Option<ConversationKey> {
        self.find_near(place, id).filter(|key| self.may_be_known(*key, user))
    }

    /// True if a user may know that there is this conversation.
    pub(super) fn may_be_known(&self, key: ConversationKey, user: UserId) -> bool {
        let view = self.view(key);
        !self.get(key).id.is_direct() || view.head() > Seq(0) || self.has_blocked(&view, user)
    }

    fn has_blocked(&self, view: &View<'_>, user: UserId) -> bool {
        let Some(member) = view.state.member(user) else { return false };
        view.blocks().of(user, view.state.members.other(member).user).blocking > Blocking(0)
    }

    pub(super) fn on_block(
        &mut self,
        from: ReactorId,
        command: &BlockCommand,
        name: &[u8],
        cx: &mut impl ConversationContext,
    ) {
        let BlockCommand { asker, user, peer, conversation: id, network, wish } = *command;
        let refuse = |code, cx: &mut _| refuse_other(from, asker, id, code, Kind::Set, cx);
        let is_named = !peer.is_none();
        let found = if is_named { self.find(id) } else { self.known_to(id, user) };
        let peer = match found.map(|key| (&self.get(key).state.members, key)) {
            Some((members, _)) => members.find(user).map(|member| members.other(member).user),
            None => Some(peer).filter(|peer| !peer.is_none()),
        };
        let Some(peer) = peer else { return refuse(ErrorCode::NotMember, cx) };
        let proposed = found.map(|key| self.view(key).blocks()).unwrap_or_default();
        let committed = found.map(|key| self.get(key).state.blocks()).unwrap_or_default();
        let before = proposed.of(user, peer);
        // Who never blocked somebody has nothing to do with it, if nobody has written.
        if wish == Wish::Unblock && self.known_to(id, user).is_none() {
            return refuse(ErrorCode::NotMember, cx);
        }
        if before.blocking.is_on() == (wish == Wish::Block) {
            // What is not committed yet is not answered for.
            if proposed.of(user, peer) != committed.of(user, peer) {
                return refuse(ErrorCode::Busy, cx);
            }
            let (own, peers) = (before.blocking, committed.of(peer, user).blocking);
            let answer = BlocksTold { asker, user, conversation: id, peer, own, peers, source: None };
            return self.answer(from, ToHome::Blocks(answer), cx);
        }
        if cx.room() < BlockRecord::LEN {
            return refuse(ErrorCode::Busy, cx);
        }
        if found.is_none() && self.is_full() {
            return refuse(ErrorCode::NoRoom, cx);
        }
        let begins = if found.is_none() { CONVERSATION_COST } else { 0 };
        let len = BlockRecord::LEN as u64 + begins;
        if let Err(wait_ms) = self.budgets.pay((user, name), network, len, cx.now().mono) {
            let refusal = Refusal { conversation: id, ..Refusal::of(ErrorCode::BudgetExceeded, Kind::Set) };
            return cx.to_home(from, ToHome::Refused { asker, refusal: refusal.for_ms(wait_ms) }, &[]);
        }
        let key = found.unwrap_or_else(|| {
            let shard = self.config.layout.conversation_shard(&id);
            self.entry(id, shard, || State::direct(user, peer))
        });
        let (view, shard) = (self.view(key), self.get(key).shard);
        // What is shown of the user from here on is what is known of it now, with receipts that are proposed.
        let shown = view.marks(view.member(user).expect("of the two")).shown();
        let blocking = Blocking(before.blocking.0 + 1);
        let (delivered, read) = (shown.delivered, shown.read);
        let at = cx.append(RecordKind::Block, shard, |body| {
            append(body, &BlockRecord { conversation: id, user, peer, blocking, delivered, read });
        });
        cx.want_write();
        let after = proposed.with((user, peer), Block { blocking, delivered, read });
        self.overlays.get_mut(&mut self.all[key.0].overlay).push_blocks(at, after);
        self.waiting[shard as usize].push_back((at, Waiting::Block { key, reactor: from, asker }));
    }

    /// Tells the homes of the two of a message of one of them that is committed, as each of them is to see it.
    pub(super) fn tell_as_seen(
        &mut self,
        key: ConversationKey,
        (entry, author): (EntryIndex, u32),
        (reactor, session): (ReactorId, SessionId),
        frame: &[u8],
        cx: &mut impl ConversationContext,
    ) {
        let shard = self.get(key).shard;
        let message = || split(frame, FRAME_MAX).ok().flatten().and_then(|frame| Some((frame, frame.fixed().ok()?)));
        let (whole, message): (Frame<'_>, Message) = message().expect("built here");
        let marked = is_withheld(&message);
        for member in 0..2 {
            let home = self.config.layout.home(&self.get(key).state.members[member].user);
            let source = self.outboxes.source(shard, home, entry);
            let mut update = self.head_update_as_seen(key, member, source);
            update.origin = if reactor == home { session } else { SessionId::NONE };
            let is_author = member == author as usize;
            update.author = if is_author { Author::User } else { Author::Other };
            let seen = match (marked, is_author) {
                (false, _) => None,
                (true, true) => Some(unmarked(&whole, &message)),
                (true, false) => Some(withheld(&whole, &message)),
            };
            let frame = seen.as_deref().unwrap_or(frame);
            self.tell((shard, entry), home, ToHome::HeadUpdate(update), frame, cx);
        }
    }

    /// What a member's home is to know of a conversation in which somebody may block the other one.
    pub(super) fn head_update_as_seen(&self, key: ConversationKey, member: usize, source: Source) -> HeadUpdate {
        let peers = self.get(key).state.shown(usize::from(member == 0));
        HeadUpdate { peers, ..self.head_update(key, member, source) }
    }

    pub(super) fn commit_block(
        &mut self,
        key: ConversationKey,
        (at, entry, stored): (BatchPosition, EntryIndex, LogPosition),
        record: &BlockRecord,
        asker: Asker,
        cx: &mut impl ConversationContext,
    ) {
        let conversation = &mut self.all[key.0];
        self.overlays.get_mut(&mut conversation.overlay).take_blocks(at);
        self.overlays.release(&mut conversation.overlay);
        apply(&mut conversation.state, record);
        conversation.base.add(origin(self.config.log, stored));
        self.changed_by(key, entry);
        let shard = self.get(key).shard;
        let own_home = self.config.layout.home(&record.user);
        let source = self.outboxes.source(shard, own_home, entry);
        let update = self.blocks_of(key, record.user, (asker, Some(source)));
        self.answer(own_home, ToHome::Blocks(update), cx);
        self.outboxes.miss_if_walking(shard, own_home, entry);
        let home = self.config.layout.home(&record.peer);
        self.outboxes.miss_if_walking(shard, home, entry);
        let source = self.outboxes.source(shard, home, entry);
        let update = self.blocks_of(key, record.peer, (Asker::NOBODY, Some(source)));
        self.tell((shard, entry), home, ToHome::Blocks(update), &[], cx);
        if !record.blocking.is_on() && self.get(key).state.head > Seq(0) {
            // What it was not shown meanwhile it is shown now.
            let state = &self.get(key).state;
            let watermarks = state.shown(state.member(record.user).expect("of the two"));
            let (user, conversation, member) = (record.peer, record.conversation, record.user);
            let receipt = ToHome::Receipt { user, conversation, member, watermarks, source };
            self.tell((shard, entry), home, receipt, &[], cx);
        }
    }

    /// What a member's home is told of who blocks whom.
    pub(super) fn blocks_of(
        &self,
        key: ConversationKey,
        user: UserId,
        (asker, source): (Asker, Option<Source>),
    ) -> BlocksTold {
        let Conversation { id: conversation, state, .. } = self.get(key);
        let peer = state.members.other(state.member(user).expect("of the two")).user;
        let blocks = state.blocks();
        let (own, peers) = (blocks.of(user, peer).blocking, blocks.of(peer, user).blocking);
        BlocksTold { asker, user, conversation: *conversation, peer, own, peers, source }
    }

    pub(super) fn replay_block(
        &mut self,
        shard: u16,
        body: &[u8],
        origin: Origin,
    ) -> Result<Option<ConversationKey>, ReplayError> {
        let record: BlockRecord = archive::read(body).map_err(|_| ReplayError::Body)?;
        let key = self.entry(record.conversation, shard, State::default);
        let conversation = self.get_mut(key);
        let members = &mut conversation.state.members;
        // The lesser first, as when it was made.
        members.entry(record.user.min(record.peer), Membership::of_two);
        members.entry(record.user.max(record.peer), Membership::of_two);
        if !canary::is(Canary::BlockForgotten) {
            apply(&mut conversation.state, &record);
        }
        conversation.base.add(origin);
        Ok(Some(key))
    }
}

/// A record of it is committed.
fn apply(state: &mut State, record: &BlockRecord) {
    let BlockRecord { user, peer, blocking, delivered, read, .. } = *record;
    let after = state.blocks().with((user, peer), Block { blocking, delivered, read });
    state.settings.set(blocks::KEPT_AS, &after.bytes());
}

/// A message without the mark that it is withheld, of which who wrote it knows nothing.
pub(super) fn unmarked(frame: &Frame<'_>, message: &Message) -> Vec<u8> {
    with_flags(frame, message, message.flags.0 & !MessageFlags::WITHHELD)
}

/// True if the member of a one-to-one conversation that did not write a message gets nothing of it but its number. The record alone says it, so that it stays
/// so whatever else is lost.
pub(super) fn is_withheld(message: &Message) -> bool {
    let is_direct = !message.peer.is_none();
    is_direct && message.flags.0 & MessageFlags::WITHHELD != 0 && !canary::is(Canary::BlockedShown)
}

/// The number of a message and whose it is, and nothing else of it. Whoever does not know the flag shows nothing of it either.
pub(super) fn withheld(frame: &Frame<'_>, message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    let mut emptied = FrameBuilder::<Message>::new(&mut out);
    let (sender_name, body, payload) = (emptied.var(&[]), emptied.var(&[]), emptied.var(&[]));
    let Message { conversation, seq, ts, sender, peer, ordinal, .. } = *message;
    let flags = MessageFlags(MessageFlags::WITHHELD | MessageFlags::EMPTIED | MessageFlags::CONTROL);
    emptied.finish(
        frame.header().request_id,
        &Message {
            conversation,
            seq,
            ts,
            sender,
            peer,
            sender_device: Default::default(),
            flags,
            client_msg_id: Default::default(),
            expires_at: Default::default(),
            trace: Default::default(),
            payload_crc: Message::crc_of_content(&[], &[]),
            sender_name,
            payload,
            control: Control::TEXT,
            target: Default::default(),
            ordinal,
            body,
            clear_crc: Message::crc_of_clear(&[], &[]),
        },
    );
    out
}
