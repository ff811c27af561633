//! What comes down to a home: answers for its sessions, head updates and receipts for its index and its live devices. Only socket
//! output and home state come of it.

use alloc::{boxed::Box, vec::Vec};

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ConversationId, ErrorCode, HEADER_LEN, Header, Kind, Seq, UserId, Uv,
    archive::{self, Archived},
    frame::{self},
    frames::{Message, Receipt, ReceiptOk, Sent},
    limits::FRAME_MAX,
    split,
};

use super::{
    Homes, SessionId,
    index::{Entry, EntryKey, HomeKey},
    listening::NOWHERE,
    retry::note_push,
    session::Sync,
    tails::Outcome,
};
use crate::{
    context::HomeContext,
    counters::Counter,
    effects::ReactorId,
    lanes::{
        Asker, Author, Fanout, FanoutMember, HeadUpdate, Heads, MemberReceipt, Places, Shown, ToHome, Watermarks,
        WriterReceipts,
    },
    limits::{OUT_HARD, OUT_HARD_TEXT, OUT_SOFT},
};

/// If a frame that is pushed may wait for another one to leave with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Haste {
    /// No: it is somebody else's message.
    Now,
    /// No, and no acknowledgement comes: it is the user's own, from another device, or of a large group.
    Unacknowledged,
    /// Yes.
    Later,
}

/// Takes an archive off the front of what another half of this process put together.
pub(super) fn take_from<T: Archived>(bytes: &mut &[u8]) -> T {
    archive::read(bytes.split_off(..T::LEN).expect("put together here")).expect("put together here")
}

/// The name of whoever wrote a message.
fn author_of(message: &[u8]) -> Box<[u8]> {
    let frame = split(message, FRAME_MAX).ok().flatten();
    let named = frame.and_then(|frame| {
        let message: Message = frame.fixed().ok()?;
        frame.var(message.sender_name).ok()
    });
    named.unwrap_or_default().into()
}

/// If the user has read more than its home knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadRose {
    Yes,
    No,
}

impl Homes {
    /// A message from a conversation, of this reactor or another.
    pub(crate) fn told(&mut self, from: ReactorId, message: &ToHome, payload: &[u8], cx: &mut impl HomeContext) {
        match *message {
            ToHome::Sent { asker, conversation, client_msg_id, seq, ts, ordinal } => {
                if let Some(session) = self.sessions.get_mut(asker.session) {
                    session.in_flight = session.in_flight.saturating_sub(1);
                    let sent = Sent { conversation, client_msg_id, seq, ts, ordinal };
                    frame::append(cx.out(session.conn), asker.request_id, &sent);
                    if session.ending {
                        self.end_if_answered(asker.session, cx);
                    }
                }
            }
            ToHome::Refused { asker, ref refusal } => {
                if refusal.of_kind == tidings_wire::Kind::Send as u8
                    && let Some(session) = self.sessions.get_mut(asker.session)
                {
                    session.in_flight = session.in_flight.saturating_sub(1);
                }
                if refusal.of_kind == tidings_wire::Kind::Fetch as u8 {
                    self.fetch_ended(asker.session);
                    self.answered_from(from, asker.session);
                    if self.is_tail(asker) {
                        return self.tail_ended(asker.session, Outcome::Other, cx);
                    }
                }
                self.write_refusal(asker, refusal, cx);
                self.end_if_answered(asker.session, cx);
            }
            ToHome::HeadUpdate(ref update) => {
                self.sources.told(update.source);
                self.on_head_update(update, &[], payload, cx);
            }
            ToHome::Fanout(ref fanout) => {
                self.sources.told(fanout.source);
                self.on_fanout(fanout, payload, cx);
            }
            ToHome::Posted(posted) => self.on_posted(posted, payload),
            ToHome::Bell(posted) => self.on_bell(posted),
            ToHome::Heads { asker } => self.on_heads(from, asker, payload, cx),
            ToHome::AskHeadsAgain { asker } => self.ask_heads_again(from, asker),
            ToHome::Receipt { user, conversation, member, watermarks, source } => {
                self.sources.told(source);
                self.on_peer_receipt(user, conversation, member, watermarks, cx);
            }
            ToHome::GroupReceipts { conversation, writers } => {
                self.on_group_receipts(conversation, writers, payload, cx);
            }
            ToHome::Blocks(ref blocks) => {
                blocks.source.into_iter().for_each(|source| self.sources.told(source));
                self.on_blocks(blocks, cx);
            }
            ToHome::AskReached { shard } => self.sources.ask(from, shard),
            ToHome::Reached(reached) => self.sources.told_all(reached),
            ToHome::ReceiptOk { user, conversation, watermarks, source } => {
                source.into_iter().for_each(|source| self.sources.told(source));
                self.on_own_receipt(user, conversation, watermarks, cx);
            }
            ToHome::Answer { asker } => {
                if let Some(session) = self.sessions.get(asker.session) {
                    cx.out(session.conn).extend_from_slice(payload);
                }
            }
            ToHome::Data { asker } => self.on_data(asker, payload, cx),
            ToHome::Fetched { asker, ref fetched } => {
                if !canary::is(Canary::CreditsLeaked) {
                    self.fetch_ended(asker.session);
                }
                self.answered_from(from, asker.session);
                if let Some(session) = self.sessions.get(asker.session) {
                    frame::append(cx.out(session.conn), asker.request_id, fetched);
                    if self.is_tail(asker) {
                        self.tail_ended(asker.session, Outcome::Tail, cx);
                    }
                }
            }
        }
    }

    fn on_head_update(&mut self, update: &HeadUpdate, title: &[u8], message: &[u8], cx: &mut impl HomeContext) {
        let (home, entry) = self.index.entry_near(update.places.entry, update.user, (update.conversation, update.peer));
        let before = self.index.get(home).uv;
        let is_group = update.peer.is_none();
        let learns = is_group && self.index.set_heads(home, entry, update.heads);
        if learns && update.heads == Heads::Told {
            // Before anything changes: who cannot take it is behind from here on.
            self.listen_to_the_end(home, entry, cx);
        }
        // Who listens gets it like all others.
        let listens = update.heads == Heads::Asked && self.index.entry_at(entry).listens_at != NOWHERE;
        let (mut peers_rose, mut read_rose) = (false, false);
        let rose = self.index.change(home, entry, |entry| {
            // This is no change: nobody is told of it.
            entry.of_conversation = update.places.conversation;
            let (rises, read) = (update.head > entry.head, entry.own.read);
            entry.head = entry.head.max(update.head);
            entry.ordinal = entry.ordinal.max(update.ordinal);
            let renamed = !title.is_empty() && *title != *entry.name;
            if renamed {
                entry.name = title.into();
            } else if update.author == Author::Other && entry.name.is_empty() && !update.peer.is_none() {
                entry.name = author_of(message);
            }
            let own_rose = entry.own.raise_to(update.own);
            (peers_rose, read_rose) = (entry.peers.raise_to(update.peers), entry.own.read > read);
            rises | own_rose | peers_rose | renamed | learns
        });
        if update.heads == Heads::Asked {
            self.listen_from(home, entry, update.head);
        }
        if !rose {
            return;
        }
        self.mark_dirty(home, cx.now().mono);
        if listens && !message.is_empty() {
            return;
        }
        let is_acknowledged = update.author == Author::Other && update.heads == Heads::Told;
        let haste = if is_acknowledged { Haste::Now } else { Haste::Unacknowledged };
        let pushed = self.push((home, update.conversation), before, update.origin, message, haste, cx);
        cx.counters().add(Counter::Pushed, pushed);
        if message.is_empty() {
            return; // the list that comes instead says all of it
        }
        // What was lost on its way here comes with the message, and devices are told it, too.
        if peers_rose {
            self.tell_peers(home, entry, before, cx);
        }
        // Of a group that was large for the user the list said no more than the index knew.
        if read_rose || learns && update.heads == Heads::Told {
            let own = self.index.entry_at(entry).own;
            self.tell_own((home, before), update.conversation, own, ReadRose::Yes, cx);
        }
    }

    /// Each member's home is told as of a one-to-one conversation.
    fn on_fanout(&mut self, fanout: &Fanout, payload: &[u8], cx: &mut impl HomeContext) {
        let (members, title, message) = fanout.split(payload);
        let Fanout { conversation, origin, source, sender, .. } = *fanout;
        for FanoutMember { user, head, delivered, read, ordinal, seen, heads } in members {
            let own = Watermarks { delivered, read, shown: Seq(0), seen };
            let (peers, peer, places) = (Shown::default(), UserId::NONE, Places::UNKNOWN);
            let author = if user == sender { Author::User } else { Author::Other };
            let update = HeadUpdate {
                user,
                conversation,
                places,
                peer,
                head,
                ordinal,
                own,
                peers,
                origin,
                author,
                heads,
                source,
            };
            self.on_head_update(&update, title, message, cx);
        }
    }

    /// Pushes a frame about a change to every live session of a home but `except`; one that cannot take it (or if there
    /// is no frame) is *behind* from `before` on. Gives how many took it.
    fn push(
        &mut self,
        (home, conversation): (HomeKey, ConversationId),
        before: Uv,
        except: SessionId,
        bytes: &[u8],
        haste: Haste,
        cx: &mut impl HomeContext,
    ) -> u64 {
        let (mut pushed, mut plain) = (0, Vec::new());
        for at in 0..self.index.get(home).sessions.len() {
            let id = self.index.get(home).sessions[at];
            let Some(session) = self.sessions.get_mut(id) else { continue };
            if session.sync != Sync::Live || id == except {
                if let Sync::Dozing(_) = session.sync
                    && haste == Haste::Now
                {
                    pushed += self.ring(id, conversation, bytes, &mut plain, cx);
                }
                continue;
            }
            let bytes = session.payloads.of(bytes, &mut plain);
            if bytes.is_empty() || cx.buffered(session.conn) + bytes.len() > OUT_SOFT {
                // What is not durable yet is told those who are not behind.
                session.sync = Sync::Behind(before.min(self.index.get(home).durable));
                cx.count(Counter::Behind);
                self.output_gone(id, cx);
                continue;
            }
            let out = match haste {
                Haste::Now | Haste::Unacknowledged => cx.out(session.conn),
                Haste::Later => cx.out_later(session.conn),
            };
            out.extend_from_slice(bytes);
            pushed += 1;
            if haste == Haste::Now {
                note_push((id, session), before, cx.now().mono, &mut self.alarms);
            }
        }
        pushed
    }

    fn on_peer_receipt(
        &mut self,
        user: UserId,
        conversation: ConversationId,
        member: UserId,
        watermarks: Shown,
        cx: &mut impl HomeContext,
    ) {
        let home = self.index.home(user);
        let entry = self.index.entry(home, conversation, member);
        let (before, privacy) = (self.index.get(home).uv, self.privacy(home));
        let told = self.index.entry_at(entry).peers.to(privacy);
        if !self.index.change(home, entry, |entry| entry.peers.raise_to(watermarks)) {
            return;
        }
        self.mark_dirty(home, cx.now().mono);
        // When the other read is nothing for somebody who reads in private, either.
        if self.index.entry_at(entry).peers.to(privacy) == told {
            return;
        }
        self.tell_peers(home, entry, before, cx);
    }

    /// Tells a home's devices how far the other member of a one-to-one conversation is.
    fn tell_peers(&mut self, home: HomeKey, entry: EntryKey, before: Uv, cx: &mut impl HomeContext) {
        if self.index.get(home).sessions.is_empty() {
            return;
        }
        let Entry { conversation, peer: member, .. } = *self.index.entry_at(entry);
        let Shown { delivered, read } = self.index.entry_at(entry).peers.to(self.privacy(home));
        let mut bytes = core::mem::take(&mut self.frame_scratch);
        bytes.clear();
        frame::append(&mut bytes, 0, &Receipt { conversation, member, delivered, read });
        self.push((home, conversation), before, SessionId::NONE, &bytes, Haste::Later, cx);
        self.frame_scratch = bytes;
    }

    /// Those who wrote in a group are told who has it and who has read it: what is lost on its way is asked for.
    fn on_group_receipts(
        &mut self,
        conversation: ConversationId,
        writers: u32,
        mut payload: &[u8],
        cx: &mut impl HomeContext,
    ) {
        for _ in 0..writers {
            let writer: WriterReceipts = take_from(&mut payload);
            let receipts = payload.split_off(..writer.count as usize * MemberReceipt::LEN).expect("put together here");
            let home = self.index.home(writer.user);
            let privacy = self.privacy(home);
            for at in 0..self.index.get(home).sessions.len() {
                let id = self.index.get(home).sessions[at];
                let Some(session) = self.sessions.get(id).filter(|session| session.sync == Sync::Live) else {
                    continue;
                };
                if cx.buffered(session.conn) > OUT_SOFT {
                    continue;
                }
                let mut rest = receipts;
                while !rest.is_empty() {
                    let MemberReceipt { member, delivered, read } = take_from(&mut rest);
                    let Shown { delivered, read } = Shown { delivered, read }.to(privacy);
                    frame::append(cx.out_later(session.conn), 0, &Receipt { conversation, member, delivered, read });
                }
            }
        }
    }

    /// The user's own watermarks: every device learns them, whichever reported. What is only delivered is no change that
    /// another device would have to catch up on.
    fn on_own_receipt(
        &mut self,
        user: UserId,
        conversation: ConversationId,
        watermarks: Watermarks,
        cx: &mut impl HomeContext,
    ) {
        let home = self.index.home(user);
        let before = self.index.get(home).uv;
        let mut read_rose = false;
        if let Some(entry) = self.index.find(home, conversation) {
            read_rose = self.index.change(home, entry, |entry| {
                let before = entry.own;
                entry.own.raise_to(watermarks);
                entry.own.read > before.read || entry.own.seen > before.seen
            });
            if read_rose {
                self.mark_dirty(home, cx.now().mono);
            }
        }
        let rose = if read_rose { ReadRose::Yes } else { ReadRose::No };
        self.tell_own((home, before), conversation, watermarks, rose, cx);
    }

    /// Tells a home's devices how far their user is. If that is news, one that cannot be told is behind.
    pub(super) fn tell_own(
        &mut self,
        (home, before): (HomeKey, Uv),
        conversation: ConversationId,
        watermarks: Watermarks,
        read: ReadRose,
        cx: &mut impl HomeContext,
    ) {
        for at in 0..self.index.get(home).sessions.len() {
            let id = self.index.get(home).sessions[at];
            let uv = self.uv_for(id);
            let Some(session) = self.sessions.get_mut(id) else { continue };
            if cx.buffered(session.conn) <= OUT_SOFT {
                let Watermarks { delivered, read, seen, .. } = watermarks;
                frame::append(cx.out_later(session.conn), 0, &ReceiptOk { conversation, delivered, read, uv, seen });
            } else if read == ReadRose::Yes && session.sync == Sync::Live {
                session.sync = Sync::Behind(before.min(self.index.get(home).durable));
                cx.count(Counter::Behind);
            }
        }
    }

    /// A stored message: the frame as it is, but for the request id.
    fn on_data(&mut self, asker: Asker, message: &[u8], cx: &mut impl HomeContext) {
        let Some(session) = self.sessions.get(asker.session) else { return };
        if cx.buffered(session.conn) > OUT_HARD {
            cx.count(Counter::SlowConsumers);
            let (kind, text) = (Kind::Fetch as u8, OUT_HARD_TEXT);
            return self.close_with(asker.session, ErrorCode::TooSlow, kind, asker.request_id, text, cx);
        }
        let wanted = self.as_wanted(session.home, message);
        let mut plain = Vec::new();
        let message = session.payloads.of(wanted.as_deref().unwrap_or(message), &mut plain);
        let Ok(Some(header)) = Header::decode(message, FRAME_MAX) else {
            unreachable!("stored frames are checked where they are read");
        };
        let out = cx.out(session.conn);
        let start = out.len();
        out.extend_from_slice(message);
        Header { request_id: asker.request_id, ..header }.encode(&mut out[start..]);
        debug_assert!(out.len() - start > HEADER_LEN);
        cx.count(Counter::Fetched);
    }

    /// The change number that a session may be told: durable, and nothing up to it is missing on its device.
    pub(super) fn uv_for(&self, id: SessionId) -> Uv {
        match self.sessions.get(id) {
            Some(session) if canary::is(Canary::UndurableCursor) => self.index.get(session.home).uv,
            Some(session) if session.sync == Sync::Live => self.index.get(session.home).durable,
            _ => Uv(0),
        }
    }
}
