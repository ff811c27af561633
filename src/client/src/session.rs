//! The heart of the SDK: bytes and time in, bytes and events out.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ConversationId, ErrorCode, Frame, Frames, Kind, Lineage, Stretch, UserId, Uv, WireError, frame,
    frame::FrameBuilder,
    frames::{self, Bye, ByeReason, Hello, MessageFlags, Ping, SettingKey, Visibility, Welcome},
    limits,
};

use crate::{
    backoff::Backoff,
    config::{Config, Packing, Time},
    conversation::{Conversation, Outgoing},
    event::Event,
    forgotten::Wish,
    group::Description,
    history::Reading,
    own::ReadReceipts,
    presence::Watching,
    streamed::Streams,
    sync::{SavedMessage, Sync},
    token::Expiry,
};

/// How long the server may take to answer HELLO, or a PING.
const ANSWER_MS: u64 = 20_000;
/// How often a receipt that is not durable yet is repeated.
const REPEAT_MS: u64 = 2_000;
/// A session that must find new names for its messages begins at most so far behind the highest known one.
pub(crate) const NAMES_SKIPPED: u64 = 1 << 24;

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// None; try at this moment.
    Down(Time),
    /// The caller was told to connect.
    Connecting,
    /// HELLO was sent.
    Greeting,
    /// WELCOME came.
    Up,
    /// None, until there is a new token.
    Tokenless,
    /// For good.
    Closed,
}

/// What a request was for, by its id.
#[derive(Debug)]
pub(crate) enum Request {
    /// Filling a gap.
    Gap(ConversationId),
    /// The application asked.
    History(Box<Reading>),
    /// The application asked who is in a conversation.
    Description(Box<Description>),
    /// The application asked which devices there are, or revoked one.
    Devices,
    /// The list of what changed, with tails that have not all come.
    Tails,
    /// A setting is to be changed.
    Setting(ConversationId, SettingKey),
    /// Messages are to be forgotten, or which are.
    Forget(Wish),
}

/// What is asked for again after a while.
#[derive(Debug)]
pub(crate) enum Resting {
    Reading(Box<Reading>),
    Description(Description),
}

/// A client's session, without I/O.
///
/// The loop that drives it: while [`Self::wants_connection`], connect and call [`Self::connected`]; pass what comes to
/// [`Self::received`]; send what [`Self::take_output`] gives; call [`Self::tick`] at [`Self::next_timeout`]; call
/// [`Self::disconnected`] when the connection ends; and take events from [`Self::poll_event`] throughout.
#[derive(Debug)]
pub struct Session {
    pub(crate) config: Config,
    pub(crate) link: Link,
    pub(crate) now: Time,
    pub(crate) out: Vec<u8>,
    partial: Vec<u8>,
    pub(crate) events: VecDeque<Event>,
    /// Events at the front that are of a history that is no more.
    pub(crate) bygone: usize,
    /// The application took messages that the server was not told of as delivered.
    taken: bool,
    pub(crate) conversations: HashMap<ConversationId, Conversation>,
    /// Conversations to look at when something is to be sent, in order.
    pub(crate) eager: VecDeque<ConversationId>,
    pub(crate) requests: HashMap<u64, Request>,
    pub(crate) next_request: u64,
    /// Pages that the server had no time for, and when they are asked for again.
    pub(crate) resting: Vec<(Time, Resting)>,
    pub(crate) next_id: u64,
    /// The next connection's number: it rises as message ids do.
    connection_number: u64,
    pub(crate) window: u32,
    /// The server takes packed payloads, and this session packs.
    pub(crate) server_unpacks: bool,
    pub(crate) payload_max: usize,
    pub(crate) in_flight: u32,
    /// What waits to be sent, in bytes.
    pub(crate) outbox_bytes: usize,
    /// It leaves once nothing waits to be sent.
    leaves: bool,
    pub(crate) sync: Sync,
    /// Settings that are to be changed, until the server has.
    pub(crate) wanted: BTreeMap<(ConversationId, SettingKey), u64>,
    /// What the user does not want to see any more, until the server knows.
    pub(crate) to_forget: Vec<Wish>,
    pub(crate) read_receipts: ReadReceipts,
    pub(crate) visibility: Visibility,
    pub(crate) watching: Watching,
    pub(crate) streams: Streams,
    pub(crate) backoff: Backoff,
    pub(crate) expiry: Expiry,
    idle_ms: u64,
    ping_at: Time,
    heard: Time,
    repeat_at: Time,
}

impl Session {
    /// A session that wants to connect at once.
    pub fn new(config: Config) -> Self {
        let mut backoff = Backoff::new(config.seed);
        // What was saved may be old: where the clock does not say how messages were named since, nobody knows, and two that
        // are named alike count as one and its repeat. So the names begin at a random place behind it.
        let next_id = match config.state.next_id {
            saved if saved > config.wall_us => saved.saturating_add(backoff.random() % NAMES_SKIPPED),
            _ => config.wall_us,
        };
        let (sync, mut conversations) = Sync::restore(&config.state);
        for message in &config.state.outbox {
            let SavedMessage { conversation, peer, id, content } = message.clone();
            let known = conversations.entry(conversation).or_insert_with(|| Conversation::new(conversation, peer));
            known.outbox.push_back(Outgoing { id, content, in_flight: false });
        }
        let outbox_bytes = conversations.values().flat_map(|known| &known.outbox).map(Outgoing::cost).sum();
        Self {
            link: Link::Down(Time(0)),
            now: Time(0),
            out: Vec::new(),
            partial: Vec::new(),
            events: VecDeque::new(),
            bygone: 0,
            taken: false,
            conversations,
            eager: VecDeque::new(),
            requests: HashMap::new(),
            next_request: 1,
            resting: Vec::new(),
            next_id,
            connection_number: config.wall_us.max(config.state.connection_number),
            window: 0,
            server_unpacks: false,
            payload_max: limits::PAYLOAD_MAX as usize,
            in_flight: 0,
            outbox_bytes,
            leaves: false,
            sync,
            wanted: BTreeMap::new(),
            to_forget: Vec::new(),
            read_receipts: ReadReceipts::default(),
            visibility: Visibility::default(),
            watching: Watching::default(),
            streams: Streams::default(),
            backoff,
            expiry: Expiry::default(),
            idle_ms: u64::from(u16::MAX) * 1000,
            ping_at: Time(0),
            heard: Time(0),
            repeat_at: Time(0),
            config,
        }
    }

    /// The user.
    pub fn user(&self) -> UserId {
        self.config.user
    }

    /// The conversation with another user.
    pub fn conversation_with(&self, peer: UserId) -> ConversationId {
        ConversationId::direct(self.config.user, peer)
    }

    /// True if the caller should connect now. The answer is given once.
    pub fn wants_connection(&mut self, now: Time) -> bool {
        self.now = now;
        let due = matches!(self.link, Link::Down(at) if at <= now);
        if due {
            self.link = Link::Connecting;
        }
        due
    }

    /// A connection is made: HELLO goes out.
    pub fn connected(&mut self, now: Time) {
        self.now = now;
        self.heard = now;
        self.link = Link::Greeting;
        let (id, token) = (self.request_id(), std::mem::take(&mut self.config.token));
        let connection_number = self.connection_number;
        self.connection_number += 1;
        let mut hello = FrameBuilder::<Hello>::new(&mut self.out);
        let span = hello.var(&token);
        self.config.token = token;
        let device_name = hello.var(self.config.device_name.as_bytes());
        let version = u16::from(tidings_wire::VERSION);
        hello.finish(
            id,
            &Hello {
                version_min: version,
                version_max: version,
                device: self.config.device,
                user: self.config.user,
                capabilities: self.config.capabilities(),
                token: span,
                connection_number,
                device_name,
            },
        );
    }

    /// The connection ended, or could not be made.
    pub fn disconnected(&mut self, now: Time) {
        self.now = now;
        if !matches!(self.link, Link::Closed | Link::Tokenless | Link::Down(_)) {
            self.drop_link(0);
        }
    }

    pub(crate) fn drop_link(&mut self, least_ms: u64) {
        // What others did and nobody has asked for yet is no news any more.
        self.events.retain(|event| !matches!(event, Event::Typing { .. } | Event::Presence { .. }));
        if self.link == Link::Up {
            self.events.push_back(Event::Disconnected);
        }
        self.link = Link::Down(self.backoff.next(self.now, least_ms));
        self.out.clear();
        self.partial.clear();
        self.requests.clear();
        self.resting.clear();
        self.in_flight = 0;
        self.sync.disconnected();
        self.conversations.values_mut().for_each(Conversation::disconnected);
    }

    pub(crate) fn close(&mut self, code: ErrorCode) {
        self.drop_link(0);
        self.link = Link::Closed;
        self.events.push_back(Event::Rejected { code });
    }

    /// Leaves as [`Self::leave`] does, once nothing waits for its answer any more (messages, also those that were opened and have yet to end, settings,
    /// what is to be forgotten), and the application has taken every event. Whoever does not want to wait for that for ever calls [`Self::leave`]
    /// in the end; messages that were not sent are in what [`Self::save`] gives.
    pub fn leave_when_sent(&mut self) {
        self.leaves = true;
    }

    fn has_said_all(&self) -> bool {
        let settles = self.wanted.is_empty() && self.to_forget.is_empty();
        settles && self.open_streams() == 0 && self.is_flushed()
    }

    /// Leaves: BYE goes out, and the session does not connect again. What waits to be sent is not sent any more.
    pub fn leave(&mut self) {
        if self.link == Link::Up {
            self.pump(); // what the application took last is delivered, too
            frame::append(&mut self.out, 0, &Bye { reason: ByeReason::Done, retry_after_ms: 0 });
        }
        self.link = Link::Closed;
    }

    /// True while the server knows us.
    pub fn is_up(&self) -> bool {
        self.link == Link::Up
    }

    /// True while HELLO waits for its answer.
    pub fn is_greeting(&self) -> bool {
        self.link == Link::Greeting
    }

    /// True once the session will not connect any more.
    pub fn is_closed(&self) -> bool {
        self.link == Link::Closed
    }

    /// True if nothing that was sent waits for its answer.
    pub fn is_flushed(&self) -> bool {
        self.conversations.values().all(|conversation| conversation.outbox.is_empty())
    }

    /// True if every receipt that was given is durable.
    pub fn receipts_settled(&self) -> bool {
        self.conversations.values().all(|conversation| conversation.durable == conversation.own)
    }

    /// Bytes from the server, in whatever pieces. If they make no sense the connection must be dropped: the caller sees
    /// that [`Self::is_up`] is false and closes it.
    pub fn received(&mut self, bytes: &[u8], now: Time) {
        self.now = now;
        self.heard = now;
        let stretch = Stretch::join(std::mem::take(&mut self.partial), bytes);
        let mut frames = Frames::of(stretch.bytes());
        while matches!(self.link, Link::Up | Link::Greeting) {
            match frames.next(limits::FRAME_MAX) {
                Ok(Some(frame)) => {
                    if self.on_frame(&frame).is_err() {
                        self.drop_link(0);
                    }
                }
                Ok(None) => break,
                Err(_broken) => self.drop_link(0),
            }
        }
        if matches!(self.link, Link::Up | Link::Greeting) {
            let used = frames.used();
            self.partial = stretch.keep(used, Vec::new);
        }
        self.pump();
    }

    fn on_frame(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let id = frame.header().request_id;
        let greeting = self.link == Link::Greeting;
        match frame.kind() {
            // WELCOME comes first and once: before it nothing that comes has a history that it belongs to.
            Ok(Kind::Welcome) if !greeting => return Err(WireError::Body),
            Ok(kind) if greeting && !matches!(kind, Kind::Welcome | Kind::Error | Kind::Bye) => {
                return Err(WireError::Body);
            }
            Ok(Kind::Welcome) => self.on_welcome(&frame.fixed()?),
            Ok(Kind::Sent) => self.on_sent(&frame.fixed()?),
            Ok(Kind::Message) => self.on_message(frame)?,
            Ok(Kind::Receipt) => self.on_receipt(&frame.fixed()?),
            Ok(Kind::ReceiptOk) => self.on_receipt_ok(frame)?,
            Ok(Kind::Changed) => self.on_changed(frame)?,
            Ok(Kind::Fetched) => self.on_fetched(id, &frame.fixed()?),
            Ok(Kind::Described) => self.on_described(frame)?,
            Ok(Kind::SyncDone) => self.on_sync_done(id),
            Ok(Kind::Setting) => self.on_setting(id, &frame.fixed()?),
            Ok(Kind::Forgotten) => self.on_forgotten(frame)?,
            Ok(Kind::Typing) => self.on_typing(&frame.fixed()?),
            Ok(Kind::Fragment) => self.on_fragment(frame)?,
            Ok(Kind::More) => self.on_more(&frame.fixed()?),
            Ok(Kind::Presence) => self.on_presence(&frame.fixed()?),
            Ok(Kind::DeviceList) => self.on_device_list(frame)?,
            Ok(Kind::Pong) => {
                self.backoff.reset(); // the connection has lasted
                let pong: frames::Pong = frame.fixed()?;
                self.sync.told(pong.uv);
            }
            Ok(Kind::ReauthOk) => {
                let frames::ReauthOk { token_until } = frame.fixed()?;
                self.token_counts_until(token_until);
            }
            Ok(Kind::Bye) => {
                let bye: Bye = frame.fixed()?;
                self.drop_link(u64::from(bye.retry_after_ms));
            }
            Ok(Kind::Error) => self.on_error(id, &frame.fixed()?),
            // What a later server may send, and what only clients send, is skipped.
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }

    fn on_welcome(&mut self, welcome: &Welcome) {
        self.link = Link::Up;
        self.window = welcome.window;
        self.server_unpacks = self.config.packing == Packing::Yes && welcome.capabilities & Welcome::UNPACKS != 0;
        self.payload_max = welcome.payload_max.min(limits::PAYLOAD_MAX) as usize;
        self.idle_ms = u64::from(welcome.idle_timeout_s) * 1000;
        self.ping_at = self.now.plus_ms(self.idle_ms / 3);
        self.repeat_at = self.now.plus_ms(REPEAT_MS);
        self.events.push_back(Event::Connected);
        self.expiry.at_welcome = (self.now, welcome.server_time);
        self.token_counts_until(welcome.token_until);
        self.touch_all(|_| true);
        self.tell_activity();
        if self.config.receive {
            self.resume(welcome.lineage);
        }
        self.ask_settings();
        self.ask_to_forget_all();
        self.ask_all_presence();
        self.follow_again();
    }

    /// Puts a conversation on the list of those that may have something to send.
    pub(crate) fn touch(&mut self, id: ConversationId) {
        if let Some(conversation) = self.conversations.get_mut(&id)
            && !std::mem::replace(&mut conversation.eager, true)
        {
            self.eager.push_back(id);
        }
    }

    pub(crate) fn touch_every(&mut self) {
        self.touch_all(|_| true);
    }

    fn touch_all(&mut self, which: impl Fn(&Conversation) -> bool) {
        let chosen = self.conversations.values().filter(|conversation| which(conversation));
        let mut ids: Vec<_> = chosen.map(|conversation| conversation.id).collect();
        ids.sort_unstable();
        ids.into_iter().for_each(|id| self.touch(id));
    }

    /// What must be sent; the caller sends all of it.
    pub fn take_output(&mut self, into: &mut Vec<u8>) {
        into.append(&mut self.out);
    }

    /// True if something must be sent.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// The next event. A message counts as delivered once it was taken here, and the server is told with the next
    /// [`Self::tick`] or when no event is left.
    pub fn poll_event(&mut self) -> Option<Event> {
        let Some(event) = self.events.pop_front() else {
            self.pump();
            if self.leaves && !self.is_closed() && self.has_said_all() {
                self.leave();
            }
            return None;
        };
        let current = self.bygone == 0;
        self.bygone = self.bygone.saturating_sub(1);
        if let Event::Message(message) = &event
            && self.config.confirm
            && message.sender != self.config.user
            && current
            && message.flags & MessageFlags::LARGE == 0
            && let Some(known) = self.conversations.get_mut(&message.conversation)
        {
            known.own.delivered = known.own.delivered.max(message.seq);
            self.taken = true;
            self.touch(message.conversation);
        }
        Some(event)
    }

    /// When [`Self::tick`] has something to do, at the latest.
    pub fn next_timeout(&self) -> Option<Time> {
        match self.link {
            Link::Down(at) => Some(at),
            Link::Connecting | Link::Tokenless | Link::Closed => None,
            Link::Greeting => Some(self.heard.plus_ms(ANSWER_MS)),
            Link::Up => {
                let waiting = self.conversations.values().filter_map(Conversation::recovers_at);
                let taken = self.taken.then_some(self.now);
                let always = [self.ping_at, self.repeat_at, self.dead_at()].into_iter().chain(self.expiry.ask_at);
                let resting =
                    self.resting.iter().map(|(at, _)| *at).chain(self.sync.resume_at()).chain(self.presence_due());
                let resting = resting.chain(self.streams_due());
                waiting.chain(self.gap_retries()).chain(resting).chain(taken).chain(always).min()
            }
        }
    }

    /// When a server that says nothing counts as gone: it was sent a PING long before.
    fn dead_at(&self) -> Time {
        self.heard.plus_ms(self.idle_ms / 3 + ANSWER_MS)
    }

    /// Time passed.
    pub fn tick(&mut self, now: Time) {
        self.now = now;
        match self.link {
            Link::Greeting if self.heard.plus_ms(ANSWER_MS) <= now => self.drop_link(0),
            Link::Up if self.dead_at() <= now => self.drop_link(0),
            Link::Up => {
                if self.ping_at <= now {
                    self.ping();
                }
                self.ask_for_token();
                if self.repeat_at <= now {
                    self.repeat_at = now.plus_ms(REPEAT_MS);
                    for conversation in self.conversations.values_mut() {
                        conversation.told = conversation.durable;
                    }
                    self.ask_settings();
                    self.ask_to_forget_all();
                    self.touch_all(|_| true);
                }
                self.touch_all(|conversation| conversation.recovers_at().is_some_and(|at| at <= now));
                self.ask_again();
                self.renew_presence();
                self.pump_streams();
                self.ask_for_more();
                self.pump();
            }
            _ => {}
        }
    }

    /// Sends a PING now: its answer also carries the newest cursor.
    pub fn ping(&mut self) {
        if self.link == Link::Up {
            let id = self.request_id();
            frame::append(&mut self.out, id, &Ping { opaque: self.now.0 });
            self.ping_at = self.now.plus_ms(self.idle_ms / 3);
        }
    }

    /// Asks again for what was refused for a while, if it is time.
    fn ask_again(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.resting.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, resting) in due {
            match resting {
                Resting::Reading(reading) => self.ask_page(*reading),
                Resting::Description(description) => self.ask_description(description),
            }
        }
        self.resume_again();
    }

    pub(crate) fn request_id(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request - 1
    }

    /// Puts out whatever can be put out now.
    pub(crate) fn pump(&mut self) {
        if self.link != Link::Up {
            return;
        }
        self.taken = false;
        let blocked = self.eager.len();
        for _ in 0..blocked {
            let Some(id) = self.eager.pop_front() else { break };
            if let Some(conversation) = self.conversations.get_mut(&id) {
                conversation.eager = false;
            }
            self.pump_receipts(id);
            self.pump_outbox(id);
        }
        self.pump_gaps();
    }

    /// The cursor to come back with, the state of all conversations and the messages on their way: what [`Config::state`]
    /// takes. `None` while events wait: what they tell would count as known, and be lost with the application.
    pub fn save(&self) -> Option<crate::sync::SavedState> {
        (self.events.is_empty() || canary::is(Canary::CursorBeforeMessage))
            .then(|| self.sync.save(self.next_id, self.connection_number, &self.conversations))
    }

    /// What cursors belong to, once connected.
    pub fn lineage(&self) -> Lineage {
        self.sync.lineage
    }

    /// The durable change number that this device would resume from.
    pub fn cursor(&self) -> Uv {
        self.sync.saved
    }
}
