//! Messages that grow while they are written: what they say until they end is in the memory of their conversation's reactor alone. Members at whose devices somebody looks are
//! told each fragment; whoever lacks some asks. END makes what was shown durable; where its writer has fallen silent, the engine writes it.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ClientMsgId, ConversationId, DeviceId, ErrorCode, Frame, Kind, LogPosition, Seq, Timestamp, UserId, archive,
    archive::Archived,
    frame::{self, FrameBuilder},
    frames::{
        self, Message, MessageFlags, Opened, TraceId,
        about::control::ERASE,
        group::control::DELETE,
        streamed::control::{END, OPEN},
    },
    limits::{FRAGMENT_MAX, FRAME_MAX, PAYLOAD_MAX},
    split,
};

use super::{
    ConversationKey, Conversations,
    dispatch::{Seldom, refuse, refuse_other},
};
use crate::{
    budget::Network,
    context::{Asking, ConversationContext},
    conversation::{
        state::{Size, State},
        view::View,
    },
    counters::Counter,
    effects::ReactorId,
    ephemeral::{Ephemeral, Fragment, Reader, spread_over},
    features::{self, Seen, Streams},
    lanes::{Asker, Named, Parts, Places, SendCommand, ToHome},
    limits::{STREAM_ASKED_MS, STREAM_BYTES_MAX, STREAM_LIFE_MS, STREAM_RETRY_MS, STREAM_SILENCE_MS},
    narrow::to_u32,
    slab::Key,
    time::Mono,
};

/// What OPEN was.
#[derive(Debug)]
struct Beginning {
    opened: Opened,
    name: Box<[u8]>,
    body: Box<[u8]>,
}

/// A message that has not ended.
#[derive(Debug, Default)]
struct Growing {
    /// What it was when it was opened; `None` if that is not stored any more.
    beginning: Option<Box<Beginning>>,
    /// What it says so far.
    text: Vec<u8>,
    /// Since when it grows, and when something was heard of its writer; `None`: not since the start.
    since: Option<Mono>,
    heard: Option<Mono>,
    /// Its writer was asked for what comes after so many bytes, at that time.
    asked: Option<(u32, Mono)>,
    /// When it is looked at next.
    due: Mono,
    /// It is withheld from the other one, and so is its end.
    is_withheld: bool,
    /// There was no room for what it says: what comes now is not kept, and comes with its end.
    is_cut: bool,
}

/// Why a fragment is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// What is before it is not here.
    Gap,
    /// It says something else than what is here.
    Differs,
    /// There would be more than a message may say.
    TooLong,
}

impl Growing {
    /// What a fragment adds.
    fn tail<'b>(&self, offset: u32, bytes: &'b [u8]) -> Result<&'b [u8], Fault> {
        let known = self.text.get(offset as usize..).ok_or(Fault::Gap)?;
        let (same, tail) = bytes.split_at(known.len().min(bytes.len()));
        match () {
            () if !known.starts_with(same) => Err(Fault::Differs),
            () if self.text.len() + tail.len() > PAYLOAD_MAX as usize => Err(Fault::TooLong),
            () => Ok(tail),
        }
    }

    /// Bytes that are kept of it.
    fn size(&self) -> usize {
        let beginning = self.beginning.as_ref().map_or(0, |beginning| beginning.name.len() + beginning.body.len());
        self.text.len() + beginning
    }

    /// True if it has disappeared.
    fn is_gone(&self, now: Timestamp) -> bool {
        let until = self.beginning.as_ref().map_or(Timestamp(0), |beginning| beginning.opened.expires_at);
        until > Timestamp(0) && until <= now
    }
}

/// All messages of a reactor that have not ended.
#[derive(Debug, Default)]
pub(super) struct AllStreams {
    all: BTreeMap<(Key, Seq), Growing>,
    /// When each is looked at next.
    due: BTreeSet<(Mono, Key, Seq)>,
    /// Bytes of what they say.
    bytes: usize,
}

impl AllStreams {
    /// One begins, or a start reads once more how it began.
    fn open(&mut self, key: Key, seq: Seq, growing: Growing) {
        self.close(key, seq);
        let due = growing.heard.map_or(Mono(0), |heard| heard.plus_ms(STREAM_SILENCE_MS));
        self.due.insert((due, key, seq));
        self.bytes += growing.size();
        self.all.insert((key, seq), Growing { due, ..growing });
    }

    fn close(&mut self, key: Key, seq: Seq) {
        if let Some(growing) = self.all.remove(&(key, seq)) {
            self.due.remove(&(growing.due, key, seq));
            self.bytes -= growing.size();
        }
    }

    /// It is looked at again at a time, if it has not ended.
    fn look_again(&mut self, key: Key, seq: Seq, at: Mono) {
        if let Some(growing) = self.all.get_mut(&(key, seq)) {
            self.due.remove(&(growing.due, key, seq));
            growing.due = at;
            self.due.insert((at, key, seq));
        }
    }

    /// All of a conversation.
    fn close_all(&mut self, key: Key) {
        let of = (key, Seq(0))..=(key, Seq(u64::MAX));
        let numbers: Vec<_> = self.all.range(of).map(|((_, seq), _)| *seq).collect();
        numbers.into_iter().for_each(|seq| self.close(key, seq));
    }

    /// What is said of an END: that the server wrote it, as attempt 0, which no client has, and that what it ends is withheld.
    #[inline(never)]
    pub(super) fn flags_of_end(&self, target: (Key, Seq), attempt: ClientMsgId) -> u32 {
        let aborted = if attempt == ClientMsgId(0) { MessageFlags::ABORTED } else { 0 };
        let is_withheld = self.all.get(&target).is_some_and(|growing| growing.is_withheld);
        aborted | if is_withheld { MessageFlags::WITHHELD } else { 0 }
    }

    /// True if there is no room for another one.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= STREAM_BYTES_MAX
    }

    /// When one is looked at.
    pub(super) fn next(&self) -> Option<Mono> {
        self.due.first().map(|(due, ..)| *due)
    }
}

impl Conversations {
    /// Bytes of what messages say that have not ended: at most [`STREAM_BYTES_MAX`].
    pub(crate) fn stream_bytes(&self) -> usize {
        self.streams.bytes
    }

    /// Messages that have not ended.
    pub(crate) fn streams(&self) -> usize {
        self.streams.all.len()
    }

    /// A message that is not a text is committed, or was read at a start.
    pub(super) fn follow_streams(
        &mut self,
        key: ConversationKey,
        (frame, message): (&Frame<'_>, &Message),
        (loc, len): (LogPosition, usize),
        now: Option<Mono>,
    ) {
        match message.control {
            OPEN => {
                let Message { ts, sender_device: device, flags, client_msg_id, expires_at, trace, .. } = *message;
                let opened = Opened {
                    ts,
                    device,
                    flags,
                    client_msg_id,
                    expires_at,
                    trace,
                    target: message.target,
                    ordinal: message.ordinal,
                };
                let part = |span| frame.var(span).unwrap_or_default().into();
                let beginning = Beginning { opened, name: part(message.sender_name), body: part(message.body) };
                let is_withheld = flags.0 & MessageFlags::WITHHELD != 0;
                let beginning = Some(Box::new(beginning));
                let growing = Growing { beginning, since: now, heard: now, is_withheld, ..Growing::default() };
                self.streams.open(key.0, message.seq, growing);
            }
            ERASE => self.streams.close(key.0, message.target),
            DELETE => self.streams.close_all(key.0),
            END => {
                self.streams.close(key.0, message.target);
                let replaces = message.body.len as usize >= Opened::LEN;
                if replaces && !canary::is(Canary::EndForgotten) {
                    if let Some(known) = self.get(key).index.get(&self.chunks, message.target) {
                        self.note_elsewhere(key, message.target, known.loc);
                    }
                    let Self { all, chunks, .. } = self;
                    all[key.0].index.put_end(chunks, message.target, loc, to_u32(len));
                }
            }
            _ => {}
        }
    }

    /// The same, of a frame that was built here.
    #[inline(never)]
    pub(super) fn follow_committed(&mut self, key: ConversationKey, bytes: &[u8], loc: LogPosition, now: Mono) {
        let frame = split(bytes, FRAME_MAX).ok().flatten().expect("built here");
        let message: Message = frame.fixed().expect("built here");
        self.follow_streams(key, (&frame, &message), (loc, bytes.len()), Some(now));
    }

    /// Everything was read: those of which nothing is stored any more are ended as well, and those that ended are not there.
    pub(super) fn start_streams(&mut self) {
        let Self { all, streams, .. } = self;
        for (key, conversation) in all.iter() {
            let kept = Streams::of(&View { state: &conversation.state, overlay: None });
            let unread = kept.numbers().filter(|seq| !streams.all.contains_key(&(key, *seq)));
            for seq in unread.collect::<Vec<_>>() {
                streams.open(key, seq, Growing { is_withheld: kept.is_withheld(seq), ..Growing::default() });
            }
        }
        let grows = |key: Key, seq| Streams::of(&View { state: &all[key].state, overlay: None }).writer(seq).is_some();
        let ended: Vec<_> = streams.all.keys().copied().filter(|(key, seq)| !grows(*key, *seq)).collect();
        ended.into_iter().for_each(|(key, seq)| streams.close(key, seq));
    }

    /// Where a user writes: a conversation that it is in, and may write in.
    fn written_by(&self, conversation: ConversationId, user: UserId) -> Result<ConversationKey, ErrorCode> {
        let key = self.known_to(conversation, user).ok_or(ErrorCode::NotMember)?;
        let view = self.view(key);
        if !view.membership(user).is_some_and(|membership| membership.is_current()) {
            return Err(ErrorCode::NotMember);
        }
        features::may_write(&Seen::new(view, (conversation, user), OPEN))?;
        Ok(key)
    }

    /// More of what a message says, from the device that writes it.
    pub(super) fn on_fragment(&mut self, fragment: &Fragment, bytes: &[u8], cx: &mut impl ConversationContext) {
        let Fragment { reader: Reader { asker, reactor, user, device, conversation, seq }, offset } = *fragment;
        let refuse = |code, cx: &mut _| refuse_if_room((reactor, asker), conversation, (code, Kind::Fragment), cx);
        let key = match self.written_by(conversation, user) {
            Ok(key) => key,
            Err(code) => return refuse(code, cx),
        };
        let anybody = canary::is(Canary::AnybodyWritesOn);
        // Which device it was is not known any more once its beginning is not stored.
        let is_writer = |growing: &&mut Growing| {
            growing.beginning.as_ref().is_none_or(|beginning| beginning.opened.device == device || anybody)
        };
        // Not once an END waits, which was judged by what was shown then.
        let is_own = Streams::of(&self.view(key)).writer(seq) == Some(user) || anybody;
        let growing = self.streams.all.get_mut(&(key.0, seq));
        let Some(growing) = growing.filter(|_| is_own).filter(is_writer) else {
            return refuse(ErrorCode::TargetInvalid, cx);
        };
        let now = cx.now().mono;
        growing.heard = Some(now);
        growing.since.get_or_insert(now);
        if growing.is_cut {
            return cx.count(Counter::EphemeralDropped); // it comes with END
        }
        let tail = match growing.tail(offset, bytes) {
            Ok(tail) => tail,
            Err(Fault::Differs) => return refuse(ErrorCode::StreamDiffers, cx),
            Err(Fault::TooLong) => return refuse(ErrorCode::PayloadTooLarge, cx),
            Err(Fault::Gap) => {
                let offset = to_u32(growing.text.len());
                // What was sent meanwhile lacks the same.
                let asked = growing.asked.filter(|(of, at)| *of == offset && at.plus_ms(STREAM_ASKED_MS) > now);
                if asked.is_none() {
                    growing.asked = Some((offset, now));
                    let mut more = Vec::new();
                    frame::append(&mut more, 0, &frames::More { conversation, seq, offset });
                    answer_if_room((reactor, asker), &more, cx);
                }
                return;
            }
        };
        if tail.is_empty() {
            return;
        }
        if self.streams.bytes + tail.len() > STREAM_BYTES_MAX {
            growing.is_cut = true;
            return cx.count(Counter::EphemeralDropped); // it comes with END
        }
        let at = to_u32(growing.text.len());
        growing.text.extend_from_slice(tail);
        self.streams.bytes += tail.len();
        cx.count(Counter::Fragments);
        self.tell_fragment(key, (user, device), (seq, at), tail, cx);
    }

    fn tell_fragment(
        &self,
        key: ConversationKey,
        (writer, device): (UserId, DeviceId),
        (seq, offset): (Seq, u32),
        bytes: &[u8],
        cx: &mut impl ConversationContext,
    ) {
        let (state, growing) = (&self.get(key).state, &self.streams.all[&(key.0, seq)]);
        // Of a large group nobody is told of everything that happens: it comes with END.
        if state.size == Size::Large || !is_heard(state, writer) || growing.is_gone(cx.now().wall) {
            return;
        }
        let alone = growing.is_withheld && !canary::is(Canary::BlockedShown);
        let hears = |user: UserId| user == writer || !alone;
        let members = state.members.iter().filter(|member| {
            let membership = &member.membership;
            let reads = membership.is_current() && membership.reads(seq);
            (reads || canary::is(Canary::FragmentsLeak)) && hears(member.user)
        });
        let to = members.map(|member| (self.config.layout.home(&member.user), member.user.0));
        let conversation = self.get(key).id;
        spread_over(to.collect(), bytes, cx, |members| Ephemeral::Grown {
            conversation,
            seq,
            offset,
            writer,
            device,
            members,
        });
    }

    /// Somebody wants to know what a message says from an offset on.
    pub(super) fn on_more(&self, reader: &Reader, offset: u32, cx: &mut impl ConversationContext) {
        let Reader { asker, reactor, user, conversation, seq, .. } = *reader;
        let Some(key) = self.known_to(conversation, user).filter(|key| self.get(*key).state.member(user).is_some())
        else {
            return refuse_if_room((reactor, asker), conversation, (ErrorCode::NotMember, Kind::More), cx);
        };
        let state = &self.get(key).state;
        let Some(growing) = self.streams.all.get(&(key.0, seq)) else { return };
        let membership = state.member(user).map(|at| &state.members[at].membership);
        let Some(writer) = Streams::of(&View { state, overlay: None }).writer(seq) else { return };
        let is_shown = writer == user || !growing.is_withheld && is_heard(state, writer);
        let is_shown = is_shown && !growing.is_gone(cx.now().wall);
        if !is_shown || !membership.is_some_and(|membership| membership.is_current() && membership.reads(seq)) {
            return;
        }
        let Some(rest) = growing.text.get(offset as usize..).filter(|rest| !rest.is_empty()) else { return };
        let mut answer = Vec::new();
        for (at, bytes) in (offset..).step_by(FRAGMENT_MAX).zip(rest.chunks(FRAGMENT_MAX)) {
            write_fragment((conversation, seq, at), bytes, &mut answer);
        }
        answer_if_room((reactor, asker), &answer, cx);
    }

    /// END says all that the target was shown to say, and perhaps more.
    fn ends_as_shown(&self, key: ConversationKey, target: Seq, payload: &[u8]) -> bool {
        let shown = self.streams.all.get(&(key.0, target)).map_or(&[][..], |growing| &growing.text);
        payload.starts_with(shown) || canary::is(Canary::EndDiffers)
    }

    /// The body of an END in its record, and the name of who wrote the message: with it the record takes the place of OPEN's.
    fn body_of_end(&self, key: ConversationKey, target: Seq) -> (Vec<u8>, Box<[u8]>) {
        let growing = self.streams.all.get(&(key.0, target));
        let Some(beginning) = growing.and_then(|growing| growing.beginning.as_deref()) else {
            return Default::default();
        };
        let mut body = alloc::vec![0; Opened::LEN];
        archive::write(&beginning.opened, &mut body);
        body.extend_from_slice(&beginning.body);
        (body, beginning.name.clone())
    }

    /// END, by who wrote the message: it must say what was shown.
    pub(super) fn on_end(
        &mut self,
        from: ReactorId,
        send: &SendCommand,
        found: Option<ConversationKey>,
        parts: Parts<'_>,
        cx: &mut impl ConversationContext,
    ) {
        let key = found.expect("judged");
        if !self.ends_as_shown(key, send.target, parts.payload) {
            return refuse(from, send.asker, send, ErrorCode::StreamDiffers, ClientMsgId(0), cx);
        }
        let (body, _) = self.body_of_end(key, send.target);
        let payload_crc = Message::crc_of_content(&body, parts.payload);
        let send = SendCommand { payload_crc, body_len: to_u32(body.len()), expires_at: Timestamp(0), ..*send };
        self.on_new::<Seldom>(from, &send, found, Parts { body: &body, ..parts }, cx);
    }

    /// Ends what nobody has written at for too long, a few in a turn.
    pub(super) fn end_silent(&mut self, cx: &mut impl ConversationContext) {
        let now = cx.now().mono;
        for _ in 0..ENDED_PER_TURN {
            let Some((due, key, seq)) = self.streams.due.first().copied().filter(|(due, ..)| *due <= now) else {
                return;
            };
            let Some(growing) = self.streams.all.get_mut(&(key, seq)) else {
                self.streams.due.remove(&(due, key, seq));
                continue;
            };
            let heard = *growing.heard.get_or_insert(now);
            let since = *growing.since.get_or_insert(now);
            let until = heard.plus_ms(STREAM_SILENCE_MS).min(since.plus_ms(STREAM_LIFE_MS));
            let next = if until > now || canary::is(Canary::StreamNeverEnds) {
                until.max(now.plus_ms(STREAM_RETRY_MS))
            } else {
                self.end_for_writer(ConversationKey(key), seq, cx);
                // Until it is committed it is looked at again: it may be dropped before.
                now.plus_ms(STREAM_RETRY_MS)
            };
            self.streams.look_again(key, seq, next);
        }
    }

    /// Writes END in the name of who wrote the message, with what is known of it.
    fn end_for_writer(&mut self, key: ConversationKey, seq: Seq, cx: &mut impl ConversationContext) {
        let (view, id) = (self.view(key), self.get(key).id);
        // An END of its own waits, or it is withdrawn.
        let Some(sender) = Streams::of(&view).writer(seq) else { return };
        if features::is_deleted(&view) {
            return;
        }
        let (body, name) = self.body_of_end(key, seq);
        let name = if canary::is(Canary::EndNameless) { Box::default() } else { name };
        let text = self.streams.all.get(&(key.0, seq)).map_or(Vec::new(), |growing| growing.text.clone());
        let len = tidings_wire::HEADER_LEN + Message::LEN + name.len() + body.len() + text.len();
        if cx.is_stuck() || cx.room() < len {
            return;
        }
        let send = SendCommand {
            asker: Asker::NOBODY,
            sender,
            // Attempts of clients have higher names: this one is nobody's.
            device: DeviceId::default(),
            client_msg_id: ClientMsgId(0),
            prev: ClientMsgId(0),
            network: Network::Local,
            conversation: id,
            places: Places::UNKNOWN,
            peer: UserId::NONE,
            expires_at: Timestamp(0),
            trace: TraceId::default(),
            flags: MessageFlags::default(),
            payload_crc: Message::crc_of_content(&body, &text),
            control: END,
            target: seq,
            named: Named::Willing,
            name_len: u8::try_from(name.len()).unwrap_or_default(),
            body_len: to_u32(body.len()),
        };
        cx.count(Counter::StreamsAborted);
        // It is its writer's, who pays for it if it can.
        let len = (body.len() + text.len()) as u64;
        let _is_paid = self.budgets.pay((sender, &name), Network::Local, len, cx.now().mono).is_ok();
        self.propose::<Seldom>(self.config.me, &send, key, Parts { name: &name, body: &body, payload: &text }, cx);
    }
}

/// Messages that are ended in one turn.
const ENDED_PER_TURN: usize = 16;

/// True if others hear what a member says: it is one, may write, and blocks or is blocked by nobody.
fn is_heard(state: &State, writer: UserId) -> bool {
    let is_member = state.member(writer).is_some_and(|at| state.members[at].membership.is_current());
    is_member && !state.blocks().is_any()
}

/// Writes FRAGMENT.
pub(crate) fn write_fragment((conversation, seq, offset): (ConversationId, Seq, u32), bytes: &[u8], out: &mut Vec<u8>) {
    let mut frame = FrameBuilder::<frames::Fragment>::new(out);
    let span = frame.var(bytes);
    let crc = frames::Fragment::crc_of(bytes);
    frame.finish(0, &frames::Fragment { conversation, seq, offset, crc, bytes: span });
}

/// Answers who asked, unless there is no room: nobody waits for it.
fn answer_if_room((to, asker): (ReactorId, Asker), frames: &[u8], cx: &mut impl ConversationContext) {
    match cx.asking(to, asker, frames.len()) {
        Asking::Takes => cx.to_home(to, ToHome::Answer { asker }, frames),
        Asking::Full | Asking::Gone => cx.count(Counter::EphemeralDropped),
    }
}

fn refuse_if_room(
    (to, asker): (ReactorId, Asker),
    conversation: ConversationId,
    (code, of_kind): (ErrorCode, Kind),
    cx: &mut impl ConversationContext,
) {
    match cx.asking(to, asker, 0) {
        Asking::Takes => refuse_other(to, asker, conversation, code, of_kind, cx),
        Asking::Full | Asking::Gone => cx.count(Counter::EphemeralDropped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    fn growing(text: &str, name: &str) -> Growing {
        let opened = archive::read(&[0; Opened::LEN]).unwrap();
        let beginning = Beginning { opened, name: name.as_bytes().into(), body: Box::default() };
        Growing { beginning: Some(Box::new(beginning)), text: text.into(), heard: Some(Mono(1)), ..Growing::default() }
    }

    #[test]
    fn nothing_is_left_of_what_has_ended() {
        let mut keys: Slab<()> = Slab::default();
        let (one, other) = (keys.insert(()), keys.insert(()));
        let mut streams = AllStreams::default();
        streams.open(one, Seq(1), growing("four", "bob"));
        streams.open(one, Seq(2), growing("", "bob"));
        streams.open(other, Seq(1), growing("x", "carol"));
        assert_eq!((streams.bytes, streams.all.len(), streams.due.len()), (16, 3, 3));
        // It is looked at at one time, the last that was said.
        streams.look_again(one, Seq(1), Mono(5));
        streams.look_again(one, Seq(1), Mono(3));
        streams.look_again(other, Seq(9), Mono(2));
        assert_eq!((streams.next(), streams.due.len()), (Some(Mono(3)), 3));
        streams.close(one, Seq(1));
        streams.close(one, Seq(1));
        assert_eq!((streams.bytes, streams.all.len(), streams.due.len()), (9, 2, 2));
        streams.open(one, Seq(3), growing("more", ""));
        streams.close_all(one);
        assert_eq!((streams.bytes, streams.all.len(), streams.due.len()), (6, 1, 1));
        assert!(streams.all.contains_key(&(other, Seq(1))));
    }
}
