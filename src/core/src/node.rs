//! One reactor's share of the node: its homes and its conversations, and the way between them.
//!
//! A message passes through in this order: [`Router::frame`] hands it to its home's half (`home/frames.rs`), which
//! checks it and gives back a [`ToConversation`]; [`Router::to_conversation`] hands that to the conversation's half
//! (`engine/dispatch.rs`), which judges it and appends its record; [`Router::committed`] applies it
//! there, tells the sender and updates both homes; [`Router::to_home`] hands that to the homes, which push it to live devices.

mod retention;
mod sides;

use alloc::{boxed::Box, vec};
use core::net::IpAddr;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{DeviceId, EntryIndex, ErrorCode, Frame, Generation, Lineage, LogId, Timestamp, UserId, archive};

use crate::{
    budget::{Budget, OverBudget},
    conversation::state::ReplayError,
    counters::{Counter, Counters},
    effects::{CommittedEntry, ConnId, DurableBatch, Effects, JobId, ReactorId},
    engine::{Conversations, Damage},
    ephemeral::{Ephemeral, Passing, cost},
    features::{Row, Windows},
    home::{Authenticated, Command, Homes, Renewal, SessionId},
    lanes::{Parts, ToConversation, ToHome},
    limits::{ENTITIES_PER_TURN, EPHEMERAL_USERS_PER_TURN, QUESTIONS_PER_TURN, Rate},
    placement::Layout,
    records::{RecordKind, ShardRow},
    replay::Replayed,
    shedding::{Backlog, Stage},
    time::{Mono, Now},
};
use sides::{ConversationSide, HomeSide};

/// What a node is made with.
#[derive(Clone, Copy, Debug)]
pub struct NodeConfig {
    /// This reactor.
    pub me: ReactorId,
    /// Its log.
    pub log: LogId,
    /// Who owns what.
    pub layout: Layout,
    /// What cursors belong to.
    pub lineage: Lineage,
    /// SENDs of one user.
    pub user_rate: Rate,
    /// What a user may fill of this reactor's log.
    pub user_budget: Budget,
    /// What an address may fill of it.
    pub address_budget: Budget,
    /// Members of a group beyond which it is large.
    pub group_small_max: u32,
    /// Messages in one large group.
    pub group_rate: Rate,
    /// How long messages may be changed after they were written.
    pub windows: Windows,
    /// Seconds of silence after which a session is closed; announced in WELCOME.
    pub idle_timeout_s: u16,
    /// Conversations and homes that may exist here, each.
    pub entities_max: u32,
    /// Conversations that a user may have and still begin another. Services have no limit.
    pub user_conversations: u32,
    /// Whether anything is shed where there is too much to do.
    pub overload: Overload,
    /// Random: keys the hash tables.
    pub seed: u64,
    /// What messages may do: [`FEATURES`](crate::features::FEATURES), unless a test adds one.
    pub features: &'static [Row],
}

/// What is done where there is more to do than can be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overload {
    /// Things are left undone, in an order: see [`shedding`](crate::shedding).
    #[default]
    Sheds,
    /// Everything waits.
    Waits,
}

/// Whether everything that could be done was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Yes.
    Done,
    /// No: call again once lanes or output have room.
    Stalled,
}

/// A reactor's share of the node.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    homes: Homes,
    conversations: Conversations,
    /// What may be lost, on its way to the other half.
    passing: Passing,
    /// The time of each shard's last record.
    clocks: Box<[Timestamp]>,
    /// Counts.
    pub counters: Counters,
}

impl Node {
    /// An empty node.
    pub fn new(config: NodeConfig) -> Self {
        Self {
            homes: Homes::new(config),
            conversations: Conversations::new(config),
            passing: Passing::default(),
            clocks: vec![Timestamp(0); config.layout.shards.count() as usize].into_boxed_slice(),
            counters: Counters::default(),
            config,
        }
    }

    /// What it was made with.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// The node at a moment, in the world: what it is given now, it acts on at once.
    pub fn at<'a, F: Effects>(&'a mut self, now: Now, fx: &'a mut F) -> Router<'a, F> {
        Router { node: self, now, fx }
    }

    /// FETCHes under way.
    pub fn fetches(&self) -> usize {
        self.conversations.fetches()
    }

    /// Leases of those who watch users whose homes are here.
    pub fn watchers(&self) -> usize {
        self.homes.watchers()
    }

    /// Messages that have not ended.
    pub fn streams(&self) -> usize {
        self.conversations.streams()
    }

    /// Bytes of what messages say that have not ended: none is opened, and nothing is kept of what is written, beyond [`STREAM_BYTES_MAX`](crate::limits::STREAM_BYTES_MAX).
    pub fn stream_bytes(&self) -> usize {
        self.conversations.stream_bytes()
    }

    /// A turn is over: what it left of what had come. To be called after each.
    pub fn look_at_load(&mut self, backlog: Backlog, now: Mono) {
        self.homes.look_at_load(backlog, now);
    }

    /// What is shed now.
    pub fn shedding(&self) -> Stage {
        self.homes.shedding.stage()
    }

    /// True if a RESUME waits for the next turn.
    pub fn has_resumes(&self) -> bool {
        self.homes.has_resumes()
    }

    /// Records that were appended and are not applied yet.
    pub fn waiting(&self) -> usize {
        self.conversations.waiting() + self.homes.waiting()
    }

    /// Those of them that conversations propose.
    pub fn proposed(&self) -> usize {
        self.conversations.proposed()
    }

    /// The user of a session and the device, while it lives and may have a token checked.
    pub fn may_reauthenticate(&mut self, id: SessionId, now: Now) -> Option<(UserId, DeviceId)> {
        self.homes.may_reauthenticate(id, now)
    }

    /// Somebody who was refused since the last call for having filled as much of the log as it may.
    pub fn take_over_budget(&mut self) -> Option<OverBudget> {
        self.conversations.take_over_budget()
    }

    /// A stored message that was found damaged since the last call.
    pub fn take_damage(&mut self) -> Option<Damage> {
        self.conversations.take_damage()
    }

    /// The connection of a session is gone, or is to go.
    pub fn close_session(&mut self, id: SessionId) {
        self.homes.close_session(id, &mut self.counters);
    }

    /// Segments of `log` below `oldest` are gone.
    pub fn set_floor(&mut self, log: LogId, oldest: Generation) {
        self.conversations.set_floor(log, oldest);
    }

    /// When [`Router::timeout`] has something to do, at the latest.
    pub fn next_timeout(&self) -> Option<Mono> {
        let calmer = self.homes.shedding.ends_at();
        self.homes.next_timeout().into_iter().chain(self.conversations.next_timeout()).chain(calmer).min()
    }

    /// The open batch was sealed: what rides in it has no deadline any more.
    pub fn sealed(&mut self) {
        self.conversations.sealed();
    }

    /// True if something waits for a lane to have room, or for what another reactor will say.
    pub fn waits_for_credit(&self) -> bool {
        self.conversations.waits_for_credit() || self.homes.has_answers() || self.homes.questions() > 0
    }

    /// True if [`Router::timeout`] has more to do than it does in one turn.
    pub fn is_busy(&self) -> bool {
        self.conversations.is_busy()
            || self.homes.is_busy()
            || self.homes.has_posts()
            || self.homes.is_stirred()
            || self.homes.has_resumes()
            || self.passes_on()
    }

    /// True if one half has something for the other that waits for the next turn.
    pub fn passes_on(&self) -> bool {
        !self.passing.is_empty()
    }

    /// Everything was read back: homes are asked how far they have what this reactor's shards told, and are told the rest again.
    pub fn start(&mut self) {
        self.homes.start();
        self.conversations.start_asking();
    }

    /// A message from a conversation of another reactor waits for its home to be loaded.
    pub fn hold(&mut self, message: &ToHome) {
        self.homes.hold(message);
    }

    /// It waits no more, and is taken or lost next.
    pub fn release(&mut self, message: &ToHome) {
        self.homes.release(message);
    }

    /// True if more may be taken from the lane of a reactor: answers to it do not wait for a lane.
    pub fn may_take(&self, from: ReactorId) -> bool {
        self.conversations.may_take(from)
    }

    /// A record that recovery read, in the order in which records were written. The node owns its shard.
    ///
    /// # Errors
    /// If it cannot follow what was read before.
    pub fn replay(&mut self, record: &Replayed<'_>) -> Result<(), ReplayError> {
        let clock = self.clocks.get_mut(record.shard as usize).ok_or(ReplayError::Body)?;
        *clock = (*clock).max(record.ts);
        if let Some(entry) = record.entry {
            self.conversations.replayed_entry(record.shard, entry);
        }
        match record.kind {
            kind if kind.is_of_home() => self.homes.replay(record),
            RecordKind::ShardRow => {
                let row: ShardRow = archive::read(record.body).map_err(|_| ReplayError::Body)?;
                self.conversations.replayed_entry(record.shard, EntryIndex(row.last));
                Ok(())
            }
            RecordKind::Void => Ok(()),
            _ => self.conversations.replay(record),
        }
    }

    /// Everything was read back.
    ///
    /// # Errors
    /// If something is missing that nothing explains.
    pub fn check_replayed(&self) -> Result<(), ReplayError> {
        self.conversations.check_replayed()
    }

    /// A digest of each shard's conversations as far as they are committed, by shard. Two nodes that applied the same records
    /// have the same, whether they committed, replayed or followed them.
    pub fn digests(&self) -> impl Iterator<Item = (u16, u64)> {
        self.conversations.digests().into_iter()
    }
}

/// A node at a moment, in the world. The only one who sees both halves.
#[derive(Debug)]
pub struct Router<'a, F> {
    node: &'a mut Node,
    now: Now,
    fx: &'a mut F,
}

impl<F: Effects> Router<'_, F> {
    fn home_side(&mut self) -> (&mut Homes, HomeSide<'_, F>) {
        let Node { config, homes, passing, clocks, counters, .. } = self.node;
        (homes, HomeSide { me: config.me, now: self.now, passing, counters, clocks, fx: self.fx })
    }

    fn conversation_side(&mut self) -> (&mut Conversations, ConversationSide<'_, F>) {
        let Node { config, homes, conversations, passing, clocks, counters } = self.node;
        let (me, now, fx) = (config.me, self.now, &mut *self.fx);
        (conversations, ConversationSide { me, homes, now, passing, counters, clocks, fx })
    }

    /// Lets an authenticated device in: WELCOME. An older session of the same device is told that it is superseded; so is
    /// this connection, if it is the older one and only arrived later.
    ///
    /// # Errors
    /// [`ErrorCode::Full`] or [`ErrorCode::Superseded`], already written to `conn`, which is to be closed.
    pub fn open_session(
        &mut self,
        who: &Authenticated,
        (conn, address): (ConnId, IpAddr),
    ) -> Result<SessionId, ErrorCode> {
        let (homes, mut side) = self.home_side();
        homes.open_session(who, (conn, address), &mut side)
    }

    /// Ends a session with an error of its connection.
    pub fn close_with(&mut self, id: SessionId, code: ErrorCode, of_kind: u8, request_id: u64, text: &str) {
        let (homes, mut side) = self.home_side();
        homes.close_with(id, code, of_kind, request_id, text, &mut side);
    }

    /// The node stops: homes write down how far they are.
    pub fn drain(&mut self) {
        let (homes, _) = self.home_side();
        homes.claim_all();
    }

    /// Tells a session that the node stops, and ends it.
    pub fn say_bye(&mut self, id: SessionId) {
        let (homes, mut side) = self.home_side();
        homes.say_bye(id, &mut side);
    }

    /// A session's output is gone (or may be): if it was behind, it gets the list of what it missed.
    pub fn output_gone(&mut self, id: SessionId) {
        let (homes, mut side) = self.home_side();
        homes.output_gone(id, &mut side);
        self.fetch();
    }

    /// A part of a session's output is gone.
    pub fn output_sent(&mut self, id: SessionId) {
        self.node.homes.fetch_on(id);
        self.fetch();
    }

    /// REAUTH of a session was checked, by [`reauthenticate`](crate::reauthenticate).
    pub fn reauthenticated(&mut self, id: SessionId, frame: &Frame<'_>, outcome: Result<Renewal, ErrorCode>) {
        let (homes, mut side) = self.home_side();
        homes.reauthenticated(id, frame, outcome, &mut side);
    }

    /// A frame needs something that could not be loaded: refused for now, as when a queue is full.
    pub fn refuse_frame(&mut self, id: SessionId, frame: &Frame<'_>) {
        let (homes, mut side) = self.home_side();
        homes.refuse_busy(id, frame, &mut side);
    }

    /// A message from the home of another reactor needs something that could not be loaded, or cannot wait for it: refused for now.
    pub fn refuse_message(&mut self, from: ReactorId, message: &ToConversation) {
        let (conversations, mut side) = self.conversation_side();
        conversations.refuse(from, message, &mut side);
    }

    /// A message from a conversation of another reactor needs something that could not be loaded, or cannot wait for it: it is lost.
    pub fn lose_message(&mut self, from: ReactorId, message: &ToHome) {
        let Node { homes, counters, .. } = self.node;
        homes.lose(from, message, counters);
    }

    /// A frame of a session. A session that ended meanwhile is ignored.
    pub fn frame(&mut self, id: SessionId, frame: &Frame<'_>) {
        let (homes, mut side) = self.home_side();
        let Some(Command { message, named, body, payload }) = homes.frame(id, frame, &mut side) else {
            return self.fetch();
        };
        let conversation = message.conversation().expect("a session's command is about a conversation");
        let to = self.node.config.layout.conversation(&conversation);
        // The name leaves its home for the call: taking and putting back a box moves two words.
        let lent = named.map(|home| self.node.homes.lend_name(home)).unwrap_or_default();
        let name = lent.as_bytes();
        if to == self.node.config.me {
            let (conversations, mut side) = self.conversation_side();
            conversations.take(to, &message, Parts { name, body, payload }, &mut side);
        } else if self.fx.to_conversation(to, message, &[name, body, payload]).is_err() {
            let (homes, mut side) = self.home_side();
            homes.not_taken(id, &message, frame, &mut side);
        }
        if let Some(home) = named {
            self.node.homes.return_name(home, lent);
        }
    }

    /// FETCHes that did not come with a frame go to their conversations.
    fn fetch(&mut self) {
        loop {
            let (homes, mut side) = self.home_side();
            let Some(message) = homes.next_fetch(&mut side) else { return };
            let ToConversation::Fetch { asker, fetch, .. } = &message else { unreachable!("it is a FETCH") };
            let to = self.node.config.layout.conversation(&fetch.conversation);
            if to == self.node.config.me {
                let (conversations, mut side) = self.conversation_side();
                conversations.take(to, &message, Parts::default(), &mut side);
            } else if self.fx.to_conversation(to, message, &[]).is_err() {
                let (homes, mut side) = self.home_side();
                homes.fetch_refused(*asker, fetch, to, &mut side);
            }
        }
    }

    /// A message from the home of another reactor. The caller made sure that the log has room for a frame and that the
    /// lane back has credit for one answer.
    pub fn to_conversation(&mut self, from: ReactorId, message: ToConversation, payload: &[u8]) {
        let parts = message.parts(payload);
        let (conversations, mut side) = self.conversation_side();
        conversations.take(from, &message, parts, &mut side);
    }

    /// A message from a conversation of another reactor.
    pub fn to_home(&mut self, from: ReactorId, message: ToHome, payload: &[u8]) {
        let (homes, mut side) = self.home_side();
        homes.told(from, &message, payload, &mut side);
        self.fetch();
    }

    /// What may be lost, from another reactor. Gives what it cost, in users that it is about: at most [`EPHEMERAL_USERS_PER_TURN`] are to be taken in a turn.
    pub fn ephemeral(&mut self, message: Ephemeral, payload: &[u8]) -> usize {
        self.hear(&message, payload);
        cost(&message, payload)
    }

    fn hear(&mut self, message: &Ephemeral, payload: &[u8]) {
        let (homes, mut side) = self.home_side();
        if homes.sheds(message, &mut side) {
            return;
        }
        if message.entity().is_some_and(|entity| !self.fx.is_here(entity)) {
            return self.node.counters.count(Counter::EphemeralDropped);
        }
        match message {
            Ephemeral::Typing(_)
            | Ephemeral::WatchMembers { .. }
            | Ephemeral::Fragment(_)
            | Ephemeral::More { .. }
            | Ephemeral::Watch { .. } => {
                let (conversations, mut side) = self.conversation_side();
                conversations.hear(message, payload, &mut side);
            }
            Ephemeral::Typed(_)
            | Ephemeral::Grown { .. }
            | Ephemeral::Watches { .. }
            | Ephemeral::Watched { .. }
            | Ephemeral::Administer { .. }
            | Ephemeral::Administered { .. }
            | Ephemeral::Presence { .. } => {
                let (homes, mut side) = self.home_side();
                homes.hear(message, payload, &mut side);
            }
        }
    }

    /// What one half has for the other, or for itself: as much as one turn may take.
    pub fn pass_on(&mut self) {
        let mut left = EPHEMERAL_USERS_PER_TURN;
        while left > 0
            && let Some((message, payload)) = self.node.passing.pop()
        {
            self.hear(&message, &payload);
            left = left.saturating_sub(cost(&message, &payload));
        }
    }

    /// A batch is durable: rows in it count. Comes before the entries in it.
    pub fn durable(&mut self, batch: &DurableBatch<'_>) {
        let (conversations, mut side) = self.conversation_side();
        conversations.durable(batch, &mut side);
        let (homes, mut side) = self.home_side();
        homes.durable(batch, &mut side);
    }

    /// Applies the records of a committed entry in their order, and lets everything leave that waited for them. Nothing holds it up.
    pub fn committed(&mut self, entry: &CommittedEntry<'_>) {
        let (conversations, mut side) = self.conversation_side();
        conversations.committed(entry, &mut side);
        let (homes, mut side) = self.home_side();
        homes.committed(entry, &mut side);
    }

    /// What is proposed and not sealed is dropped, as when another node leads its shard now: no number of it was given, whoever asked is
    /// told BUSY, and the repeat decides.
    pub fn drop_proposed(&mut self) {
        let (conversations, mut side) = self.conversation_side();
        conversations.drop_proposed(&mut side);
    }

    /// A read for a job is done: `bytes` start at the frame of the job's next message; `None` if they cannot be had.
    pub fn read_done(&mut self, id: JobId, bytes: Option<&[u8]>) {
        let (conversations, mut side) = self.conversation_side();
        conversations.read_done(id, bytes, &mut side);
    }

    /// Does what is due, a bounded share of it, and whatever waited for room. To be called once a turn.
    pub fn timeout(&mut self) {
        let (homes, mut side) = self.home_side();
        homes.end_expired(&mut side);
        homes.resume_waiting(&mut side);
        homes.push_again(&mut side);
        homes.flush(&mut side);
        homes.copy_posts(&mut side);
        homes.tell_presence(&mut side);
        self.pass_on();
        self.answer_reached();
        let (conversations, mut side) = self.conversation_side();
        let most = if canary::is(Canary::EndlessTurn) { usize::MAX } else { ENTITIES_PER_TURN };
        let left = conversations.timeout(most, &mut side);
        let (homes, mut side) = self.home_side();
        homes.evacuate(left, &mut side);
        self.fetch();
        self.ask();
    }
}

impl<F: Effects> Router<'_, F> {
    /// What homes ask of large groups.
    fn ask(&mut self) {
        for _ in 0..QUESTIONS_PER_TURN.min(self.node.homes.questions()) {
            let Some((to, message, ids)) = self.node.homes.next_question() else { return };
            if to == self.node.config.me {
                let (conversations, mut side) = self.conversation_side();
                conversations.take(to, &message, Parts { payload: &ids, ..Parts::default() }, &mut side);
            } else if self.fx.to_conversation(to, message, &[&ids]).is_err() {
                self.node.homes.question_refused(to, &message, &ids);
            }
        }
    }

    /// Shards that asked how far homes here are get their answer, as far as lanes have room.
    fn answer_reached(&mut self) {
        while let Some((to, reached)) = self.node.homes.next_answer() {
            let message = ToConversation::Reached(reached);
            if to == self.node.config.me {
                let (conversations, mut side) = self.conversation_side();
                conversations.take(to, &message, Parts::default(), &mut side);
            } else if self.fx.to_conversation(to, message, &[]).is_err() {
                return self.node.homes.ask_again(to, reached.source.shard);
            }
        }
    }
}
