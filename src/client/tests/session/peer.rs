//! A session's peer: a server made of hand-written frames.

use std::ops::RangeInclusive;

use tidings_client::{ClientMsgId, Config, ConversationId, Event, Lineage, Seq, Session, Time, Timestamp, UserId, Uv};
use tidings_wire::{
    Kind, archive, frame,
    frame::{FixedPart, FrameBuilder, Span},
    frames::*,
    split,
};

pub const LINEAGE: Lineage = Lineage([3; 16]);

pub fn user(name: &str) -> UserId {
    UserId::derive("default", name)
}

pub fn here() -> ConversationId {
    ConversationId::direct(user("alice"), user("bob"))
}

/// A session of Alice's with a server that does what the test says.
pub struct Peer {
    pub session: Session,
    pub now: Time,
}

/// What the session sent, decoded.
pub struct Sent(pub Vec<(Kind, u64, Vec<u8>)>);

impl Sent {
    pub fn all<T: FixedPart>(&self) -> Vec<(u64, T)> {
        let of_kind = self.0.iter().filter(|(kind, ..)| *kind == T::KIND);
        of_kind.map(|(_, id, bytes)| (*id, split(bytes, u32::MAX).unwrap().unwrap().fixed().unwrap())).collect()
    }
}

pub fn bytes_of<T: FixedPart>(id: u64, part: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, id, part);
    bytes
}

pub fn message(id: u64, seq: u64) -> Vec<u8> {
    message_with(id, seq, |_| {})
}

/// The same, with something of it changed.
pub fn message_with(id: u64, seq: u64, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let text = format!("message {seq}");
    let mut bytes = Vec::new();
    let mut frame = FrameBuilder::<Message>::new(&mut bytes);
    let (sender_name, payload) = (frame.var(b"bob"), frame.var(text.as_bytes()));
    let mut message = Message {
        conversation: here(),
        seq: Seq(seq),
        ts: Timestamp(seq),
        sender: user("bob"),
        peer: user("alice"),
        sender_device: tidings_client::DeviceId(1),
        flags: MessageFlags::default(),
        client_msg_id: ClientMsgId(seq),
        expires_at: Timestamp(0),
        trace: TraceId::default(),
        payload_crc: crc32c::crc32c(text.as_bytes()),
        sender_name,
        payload,
        control: Control::TEXT,
        target: Seq(0),
        ordinal: seq,
        body: Span::default(),
        clear_crc: Message::crc_of_clear(b"bob", &[]),
    };
    change(&mut message);
    frame.finish(id, &message);
    bytes
}

pub const ENTRY_LEN: usize = <ChangedConversation as archive::Archived>::LEN;

/// A list, and that nothing more comes of it if it answers a RESUME.
pub fn changed(id: u64, heads: &[(ConversationId, u64)], uv: u64, next: u64) -> Vec<u8> {
    let mut bytes = list(id, heads, uv, next);
    if id > 0 {
        bytes.extend(bytes_of(id, &SyncDone { tails: 0 }));
    }
    bytes
}

/// A list of what changed.
pub fn list(id: u64, heads: &[(ConversationId, u64)], uv: u64, next: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut frame = FrameBuilder::<Changed>::new(&mut bytes);
    let mut entries = Span::default();
    for (conversation, head) in heads {
        let zero = Seq(0);
        let (conversation, peer, head) = (*conversation, user("bob"), Seq(*head));
        let (delivered, read, peer_delivered, peer_read) = (zero, zero, zero, zero);
        let (ordinal, seen) = (head.0, read.0);
        let entry = ChangedConversation {
            conversation,
            peer,
            head,
            delivered,
            read,
            peer_delivered,
            peer_read,
            ordinal,
            seen,
            hidden: Seq(0),
            name_len: 0,
            muted_until: Timestamp(0),
            pinned: 0,
            archived: false,
            cleared: Seq(0),
            blocked: false,
            forgotten: 0,
        };
        let mut record = [0; ENTRY_LEN];
        archive::write(&entry, &mut record);
        let span = frame.var(&record);
        entries =
            Span { offset: if entries.len == 0 { span.offset } else { entries.offset }, len: entries.len + span.len };
    }
    let status = if heads.is_empty() { ResumeStatus::UpToDate } else { ResumeStatus::Changed };
    let (uv, next, count) = (Uv(uv), Uv(next), heads.len() as u32);
    frame.finish(
        id,
        &Changed {
            status,
            lineage: LINEAGE,
            uv,
            next,
            count,
            entry_len: ENTRY_LEN as u32,
            entries,
            settings: 0,
            names: Span::default(),
        },
    );
    bytes
}

pub fn welcome(lineage: Lineage) -> Welcome {
    Welcome {
        version: 1,
        idle_timeout_s: 90,
        frame_max: 73_728,
        payload_max: 65_536,
        window: 64,
        user: user("alice"),
        device: tidings_client::DeviceId(1),
        lineage,
        session: 1,
        server_time: Timestamp(1),
        redirect: Span::default(),
        token_until: Timestamp(0),
        capabilities: Welcome::UNPACKS,
    }
}

/// SENT, as an answer to a SEND.
pub fn sent_as(request: u64, send: &Send, seq: u64) -> Vec<u8> {
    let (conversation, client_msg_id) = (send.conversation, send.client_msg_id);
    bytes_of(
        request,
        &tidings_wire::frames::Sent { conversation, client_msg_id, seq: Seq(seq), ts: Timestamp(1), ordinal: seq },
    )
}

impl Peer {
    pub fn new(config: Config) -> Self {
        Self { session: Session::new(config), now: Time(1_000_000) }
    }

    /// Connects and lets in; gives the RESUME's request.
    pub fn connect(&mut self, lineage: Lineage) -> u64 {
        self.connect_and(lineage, |_| {})
    }

    /// The same, to look at what is sent at once.
    pub fn connect_with(&mut self, look: impl FnOnce(&Sent)) -> u64 {
        self.connect_and(LINEAGE, look)
    }

    fn connect_and(&mut self, lineage: Lineage, look: impl FnOnce(&Sent)) -> u64 {
        self.now = self.now.plus_ms(60_000);
        assert!(self.session.wants_connection(self.now));
        self.session.connected(self.now);
        let hello = self.sent().all::<Hello>();
        self.give(&bytes_of(hello[0].0, &welcome(lineage)));
        let sent = self.sent();
        look(&sent);
        sent.all::<Resume>()[0].0
    }

    /// Connects to a server where nothing has happened yet.
    pub fn live(config: Config) -> Self {
        let mut peer = Self::new(config);
        let request = peer.connect(LINEAGE);
        peer.give(&changed(request, &[], 5, 0));
        assert_eq!(peer.events().last(), Some(&Event::Synced));
        peer
    }

    /// Time passes; the server is heard of all the while.
    pub fn later(&mut self, mut ms: u64) {
        while ms > 0 {
            let step = ms.min(10_000);
            (self.now, ms) = (self.now.plus_ms(step), ms - step);
            self.session.tick(self.now);
            self.give(&bytes_of(0, &Pong { opaque: 0, uv: Uv(0), server_time: Timestamp(0) }));
        }
    }

    pub fn give(&mut self, bytes: &[u8]) {
        self.session.received(bytes, self.now);
    }

    pub fn sent(&mut self) -> Sent {
        let (mut bytes, mut frames) = (Vec::new(), Vec::new());
        self.session.take_output(&mut bytes);
        let mut rest = &bytes[..];
        while let Some(frame) = split(rest, u32::MAX).unwrap() {
            frames.push((frame.kind().unwrap(), frame.header().request_id, frame.bytes().to_vec()));
            rest = &rest[frame.bytes().len()..];
        }
        Sent(frames)
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// Answers every FETCH from a history of `head` messages, `page` at a time, until there is none.
    pub fn serve_fetches(&mut self, head: u64, page: u64) {
        for _ in 0..10_000 {
            let fetches = self.sent().all::<Fetch>();
            if fetches.is_empty() {
                return;
            }
            for (id, fetch) in fetches {
                let last = head.min(fetch.from.0 + page - 1);
                let mut bytes: Vec<u8> = (fetch.from.0..=last).flat_map(|seq| message(id, seq)).collect();
                bytes.extend(bytes_of(id, &fetched(fetch.from.0..=last, fetch.from.0..=last, head)));
                self.give(&bytes);
            }
        }
        panic!("the session fetches for ever");
    }
}

/// The end of a page that brought the numbers `sent` and answers for `answered`.
pub fn fetched(sent: RangeInclusive<u64>, answered: RangeInclusive<u64>, head: u64) -> Fetched {
    let (first, last) = if sent.is_empty() { (0, 0) } else { sent.into_inner() };
    let (from, upto) = (Seq(*answered.start()), Seq(*answered.end()));
    Fetched {
        conversation: here(),
        first: Seq(first),
        last: Seq(last),
        head: Seq(head),
        oldest: Seq(1),
        from,
        upto,
        damaged: Seq(0),
    }
}

pub fn config() -> Config {
    Config::new("alice", 1, b"token".to_vec())
}

pub fn numbers(events: &[Event]) -> Vec<u64> {
    let number = |event: &Event| if let Event::Message(message) = event { Some(message.seq.0) } else { None };
    events.iter().filter_map(number).collect()
}
