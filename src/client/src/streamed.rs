//! Messages that grow while they are written: own ones, which go out piece by piece and are durable once they end, and those of others.

use std::collections::BTreeMap;

use tidings_wire::{
    ClientMsgId, ConversationId, ErrorCode, Frame, Seq, UserId, WireError,
    frame::{self, FrameBuilder},
    frames::{
        self, MessageFlags, More,
        about::control::ERASE,
        streamed::control::{END, OPEN},
    },
    limits::FRAGMENT_MAX,
};

use crate::{
    config::Time,
    content::Content,
    event::{Event, Message},
    session::Session,
};

/// How often the server hears that the writer of a message is still there: it ends what it hears nothing of for a minute.
const ALIVE_MS: u64 = 20_000;
/// How long the next piece of somebody else's message may take until it is asked for.
const MISSING_MS: u64 = 1_000;
/// Bounds of how long a piece waits after the one before it, once the server took no more for a while.
const PACE_MIN_MS: u64 = 100;
const PACE_MAX_MS: u64 = 5_000;
/// Messages of others that are followed while they grow.
const FOLLOWED_MAX: usize = 256;

/// A message of this device that has not ended.
#[derive(Debug)]
struct Writing {
    conversation: ConversationId,
    peer: UserId,
    /// Its number, once it has one.
    seq: Option<Seq>,
    text: Vec<u8>,
    /// What it takes of [`crate::Config::outbox_bytes`]: the longest text that it may have.
    reserved: usize,
    /// Bytes of it that went out.
    sent: usize,
    /// When something must go out at the latest, so that the server knows that the writer is there.
    alive_at: Time,
    /// The server takes nothing before.
    rests_until: Option<Time>,
    /// The server took no more for a while: pieces go out no faster than one in so long.
    pace_ms: Option<u64>,
    /// What was refused is not there: nothing is said first, so that the server asks for it.
    asks: bool,
    /// The server refused a piece for good: what is written goes out when it ends.
    is_quiet: bool,
    /// All is written.
    is_whole: bool,
    /// The attempt that ends it.
    end: Option<ClientMsgId>,
}

/// A message of somebody else, or of another device.
#[derive(Debug)]
struct Following {
    /// Bytes that the application was told.
    len: usize,
    /// When the rest is asked for.
    ask_at: Option<Time>,
    /// The id of the last request for it.
    request: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    writing: BTreeMap<ClientMsgId, Writing>,
    following: BTreeMap<(ConversationId, Seq), Following>,
}

impl Session {
    /// Begins a message to a user that is written piece by piece. The content's payload is left out: [`Self::write_on`] says what it says, and [`Self::end_stream`] that this is
    /// all. Others see it grow; once it has ended it is a message like others. Its fate is told as [`Event::StreamEnded`] or [`Event::StreamFailed`], with this name.
    pub fn open_stream_to(&mut self, peer: UserId, content: Content) -> ClientMsgId {
        let conversation = self.conversation_with(peer);
        self.open((conversation, peer), content)
    }

    /// The same in a conversation that is there already.
    pub fn open_stream(&mut self, conversation: ConversationId, content: Content) -> ClientMsgId {
        let peer = self.peer_of(conversation);
        self.open((conversation, peer), content)
    }

    fn open(&mut self, (conversation, peer): (ConversationId, UserId), content: Content) -> ClientMsgId {
        let reserved = self.payload_max;
        let opens = Content { control: OPEN, payload: Vec::new(), ..content };
        let (id, put) = self.put_out_before((conversation, peer), opens, reserved);
        if let Err(code) = put {
            self.events.push_back(Event::StreamFailed { stream: id, conversation, code });
            return id;
        }
        let writing = Writing {
            conversation,
            peer,
            seq: None,
            text: Vec::new(),
            reserved,
            sent: 0,
            alive_at: self.now,
            rests_until: None,
            pace_ms: None,
            asks: false,
            is_quiet: false,
            is_whole: false,
            end: None,
        };
        self.streams.writing.insert(id, writing);
        id
    }

    /// A message that was opened says more. False if it has ended, or would be longer than a message may be: then nothing is added.
    pub fn write_on(&mut self, stream: ClientMsgId, text: &[u8]) -> bool {
        let most = self.payload_max;
        let Some(writing) = self.streams.writing.get_mut(&stream) else { return false };
        if writing.is_whole || writing.text.len() + text.len() > most {
            return false;
        }
        writing.text.extend_from_slice(text);
        self.pump_streams();
        true
    }

    /// A message that was opened has said everything: it becomes durable.
    pub fn end_stream(&mut self, stream: ClientMsgId) {
        if let Some(writing) = self.streams.writing.get_mut(&stream) {
            writing.is_whole = true;
            self.put_out_ends();
        }
    }

    /// Messages that were opened and whose end is not durable yet.
    pub fn open_streams(&self) -> usize {
        self.streams.writing.len()
    }

    /// What is whole and has a number ends.
    fn put_out_ends(&mut self) {
        let is_due = |writing: &Writing| writing.is_whole && writing.end.is_none() && writing.seq.is_some();
        let due: Vec<_> =
            self.streams.writing.iter().filter(|(_, writing)| is_due(writing)).map(|(id, _)| *id).collect();
        for id in due {
            let writing = &self.streams.writing[&id];
            let (conversation, peer, payload) = (writing.conversation, writing.peer, writing.text.clone());
            let target = writing.seq.expect("looked at above");
            let end =
                self.put_out((conversation, peer), Content { control: END, target, payload, ..Content::default() });
            if let Some(writing) = self.streams.writing.get_mut(&id) {
                writing.end = Some(end);
            }
        }
    }

    /// Sends what was written since, and says that the writer is there.
    pub(crate) fn pump_streams(&mut self) {
        if !self.is_up() {
            return;
        }
        let now = self.now;
        for (id, writing) in &mut self.streams.writing {
            let Some(seq) = writing.seq.filter(|_| writing.end.is_none() && !writing.is_quiet) else { continue };
            if writing.rests_until.is_some_and(|until| until > now) {
                continue;
            }
            writing.rests_until = None;
            let mut asks = std::mem::take(&mut writing.asks) || writing.alive_at <= now;
            while asks || writing.sent < writing.text.len() {
                let upto = if asks { writing.sent } else { writing.text.len().min(writing.sent + FRAGMENT_MAX) };
                asks = false;
                let bytes = &writing.text[writing.sent..upto];
                let mut fragment = FrameBuilder::<frames::Fragment>::new(&mut self.out);
                let (crc, span) = (frames::Fragment::crc_of(bytes), fragment.var(bytes));
                let (conversation, offset) = (writing.conversation, length(writing.sent));
                fragment.finish(id.0, &frames::Fragment { conversation, seq, offset, crc, bytes: span });
                (writing.sent, writing.alive_at) = (upto, now.plus_ms(ALIVE_MS));
                if let Some(pace_ms) = writing.pace_ms {
                    writing.rests_until = Some(now.plus_ms(pace_ms));
                    break;
                }
            }
        }
    }

    /// Asks for what others have written and did not come.
    pub(crate) fn ask_for_more(&mut self) {
        if !self.is_up() {
            return;
        }
        let now = self.now;
        for ((conversation, seq), following) in &mut self.streams.following {
            if following.ask_at.take_if(|at| *at <= now).is_some() {
                following.request = self.next_request;
                self.next_request += 1;
                let (conversation, seq, offset) = (*conversation, *seq, length(following.len));
                frame::append(&mut self.out, following.request, &More { conversation, seq, offset });
            }
        }
    }

    /// When [`Self::pump_streams`] or [`Self::ask_for_more`] has something to do.
    pub(crate) fn streams_due(&self) -> Option<Time> {
        let writes = |writing: &&Writing| writing.seq.is_some() && writing.end.is_none() && !writing.is_quiet;
        let writing = self.streams.writing.values().filter(writes);
        let writing = writing.map(|writing| writing.rests_until.unwrap_or(writing.alive_at));
        writing.chain(self.streams.following.values().filter_map(|following| following.ask_at)).min()
    }

    /// The server let us in: it may have forgotten what was written, and others may have written.
    pub(crate) fn follow_again(&mut self) {
        let now = self.now;
        for writing in self.streams.writing.values_mut() {
            (writing.alive_at, writing.rests_until, writing.pace_ms) = (now, None, None);
        }
        self.streams.following.values_mut().for_each(|following| following.ask_at = Some(now));
        self.pump_streams();
        self.ask_for_more();
    }

    /// An own message is durable.
    pub(crate) fn stream_sent(&mut self, id: ClientMsgId, seq: Seq) {
        if let Some(writing) = self.streams.writing.get_mut(&id) {
            (writing.seq, writing.alive_at) = (Some(seq), self.now.plus_ms(ALIVE_MS));
            self.put_out_ends();
            self.pump_streams();
        } else if let Some(stream) = self.ended_by(id)
            && let Some(Writing { conversation, seq, .. }) = self.end_writing(stream)
        {
            let seq = seq.expect("what has no number has no end");
            self.events.push_back(Event::StreamEnded { stream, conversation, seq });
        }
    }

    /// An own message was refused for good.
    pub(crate) fn stream_refused(&mut self, id: ClientMsgId, code: ErrorCode) {
        let stream = if self.streams.writing.contains_key(&id) { Some(id) } else { self.ended_by(id) };
        if let Some(stream) = stream
            && let Some(Writing { conversation, .. }) = self.end_writing(stream)
        {
            self.events.push_back(Event::StreamFailed { stream, conversation, code });
        }
    }

    fn end_writing(&mut self, stream: ClientMsgId) -> Option<Writing> {
        let ended = self.streams.writing.remove(&stream)?;
        self.outbox_bytes = self.outbox_bytes.saturating_sub(ended.reserved);
        Some(ended)
    }

    /// The stream that an attempt ends.
    fn ended_by(&self, end: ClientMsgId) -> Option<ClientMsgId> {
        self.streams.writing.iter().find_map(|(id, writing)| (writing.end == Some(end)).then_some(*id))
    }

    /// A piece was refused, for a while or for good.
    pub(crate) fn on_fragment_refused(&mut self, request: u64, retry_ms: Option<u64>) {
        let Some(writing) = self.streams.writing.get_mut(&ClientMsgId(request)) else { return };
        match retry_ms {
            Some(retry_ms) => {
                // The next one must find what takes that long to come back, and so must the one after it.
                let pace_ms = (2 * retry_ms).clamp(PACE_MIN_MS, PACE_MAX_MS);
                writing.pace_ms = Some(writing.pace_ms.unwrap_or_default().max(pace_ms));
                (writing.rests_until, writing.asks) = (Some(self.now.plus_ms(retry_ms.max(1))), true);
            }
            None => writing.is_quiet = true,
        }
    }

    /// A question was refused, for a while or for good. Those that were asked together are not asked together again.
    pub(crate) fn on_more_refused(&mut self, request: u64, retry_ms: Option<u64>) {
        let spread_ms = self.backoff.random() % MISSING_MS;
        let asked = self.streams.following.iter_mut().find(|(_, following)| following.request == request);
        let Some((of, following)) = asked else { return };
        match retry_ms {
            Some(retry_ms) => following.ask_at = Some(self.now.plus_ms(retry_ms.max(MISSING_MS) + spread_ms)),
            None => {
                let of = *of;
                self.streams.following.remove(&of);
            }
        }
    }

    /// The user blocks who writes there: it is told no more, not even that something has ended.
    pub(crate) fn unfollow(&mut self, conversation: ConversationId) {
        self.streams.following.retain(|(of, _), _| *of != conversation);
    }

    /// The server lacks something of an own message.
    pub(crate) fn on_more(&mut self, more: &More) {
        let of = |writing: &&mut Writing| (writing.conversation, writing.seq) == (more.conversation, Some(more.seq));
        if let Some(writing) = self.streams.writing.values_mut().find(of) {
            writing.sent = writing.sent.min(more.offset as usize);
            self.pump_streams();
        }
    }

    /// Somebody else's message says more.
    pub(crate) fn on_fragment(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let frames::Fragment { conversation, seq, offset, crc, bytes } = frame.fixed()?;
        let bytes = frame.var(bytes)?;
        if frames::Fragment::crc_of(bytes) != crc {
            return Err(WireError::Checksum);
        }
        let now = self.now;
        let Some(following) = self.streams.following.get_mut(&(conversation, seq)) else { return Ok(()) };
        let Some(known) = following.len.checked_sub(offset as usize) else {
            // What is between is missing: it is asked for, once in a while.
            if following.ask_at.is_none_or(|at| at > now.plus_ms(MISSING_MS)) {
                following.ask_at = Some(now.plus_ms(MISSING_MS));
                following.request = self.next_request;
                self.next_request += 1;
                let offset = length(following.len);
                frame::append(&mut self.out, following.request, &More { conversation, seq, offset });
            }
            return Ok(());
        };
        if let Some(bytes) = bytes.get(known..).filter(|bytes| !bytes.is_empty()) {
            let offset = length(following.len);
            (following.len, following.ask_at) = (following.len + bytes.len(), None);
            self.events.push_back(Event::Grew { conversation, seq, offset, bytes: bytes.to_vec() });
        }
        Ok(())
    }

    /// A message was released: one that grows is followed until it ends or is withdrawn.
    pub(crate) fn follow(&mut self, message: &Message) {
        let conversation = message.conversation;
        let is_own = (message.sender, message.sender_device) == (self.config.user, self.config.device);
        let has_ended = message.flags & (MessageFlags::ENDED | MessageFlags::EMPTIED) != 0;
        match message.control {
            // Of one too many the end alone is told.
            OPEN if !is_own && !has_ended && self.streams.following.len() < FOLLOWED_MAX => {
                let following = Following { len: 0, ask_at: Some(self.now.plus_ms(MISSING_MS)), request: 0 };
                self.streams.following.insert((conversation, message.seq), following);
            }
            END | ERASE => drop(self.streams.following.remove(&(conversation, message.target))),
            _ => {}
        }
    }
}

/// Bytes of a text, which has a limit below 2^32.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
