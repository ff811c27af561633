//! Messages that somebody has not received yet outlive their segment: before that is dropped they are written again, the newest of each
//! conversation first, as far as the budget goes.

use alloc::{collections::VecDeque, vec::Vec};

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    BatchPosition, Frame, Generation, LogPosition, Lsn, Seq,
    archive::Archived,
    frames::{Message, streamed::control::END},
    limits::FRAME_MAX,
};

use super::{
    ConversationKey, Conversations,
    commit::Row,
    history::{checked, is_held_back},
    upkeep::ROW_MAX,
};
use crate::{
    context::ConversationContext,
    conversation::undelivered::Undelivered,
    counters::Counter,
    effects::{DurableBatch, JobId},
    emptied::{EndTold, emptied, ended},
    limits::{FETCHES, KEPT_FOR_S, KEPT_REACH, KEPT_SHARES},
    narrow::to_u32,
    records::{KeptRecord, RECORD_HEADER, RecordKind, append},
    time::Mono,
};

/// Reads under way.
const READS: usize = 16;
/// Messages that are looked at in one step.
const LOOKED_AT: usize = 64;
/// How often a message is read before it counts as unreadable, and how long after the time before: as with FETCH, what is wrong may be right soon.
const TRIES: u8 = 3;
const AGAIN_MS: u64 = 1000;
/// Bytes that gather before they are written, as long as more is being read.
const GATHERED: usize = 64 << 10;
/// What a record takes besides its frame.
const COST: u64 = (RECORD_HEADER + KeptRecord::LEN) as u64;

/// A message that is to outlive its segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) key: ConversationKey,
    seq: Seq,
    /// Where its frame is, and bytes of it.
    at: LogPosition,
    len: u32,
    /// How often that was read in vain.
    tries: u8,
    /// It is an END, which may stand in the place of the message of this number; 0: it is none.
    ends: Seq,
}

/// On the way through a conversation, from its end to its beginning.
#[derive(Debug)]
struct Walk {
    key: ConversationKey,
    next: Seq,
    undelivered: Undelivered,
    /// Bytes that may still be kept of it.
    left: u64,
}

/// What is being kept.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// Segments of the own log up to this one are to go; of another log any may.
    upto: Generation,
    /// Bytes that may still be kept, and those of one conversation.
    left: u64,
    share: u64,
    /// Conversations that there were when it began: what is in later ones is in later segments.
    places: u32,
    /// Those that are still to be looked at, and the place of the next one.
    rest: u32,
    place: u32,
    /// The place of the first for which nothing was left: the next time begins there.
    first_without: Option<u32>,
    walk: Option<Walk>,
    /// What must be read once more, and when.
    again: VecDeque<(Mono, Kept)>,
    /// Bytes that were appended and nobody wants to be written yet.
    gathered: usize,
    reads: [Option<Kept>; READS],
    /// The batch of the last that was written.
    last: Lsn,
}

impl Keeping {
    fn is_searching(&self) -> bool {
        self.rest > 0 || self.walk.is_some() || !self.again.is_empty()
    }
}

impl Conversations {
    /// Begins to keep what was not delivered and is in segments up to `upto`, so many bytes of it at most.
    pub(crate) fn start_keeping(&mut self, upto: Generation, bytes: u64) {
        let places = self.all.places();
        let rest = if canary::is(Canary::UndeliveredForgotten) { 0 } else { places };
        let Keeping { place, first_without, .. } = self.keeping;
        let (place, share) = (first_without.unwrap_or(place), bytes / KEPT_SHARES);
        self.keeping = Keeping { upto, left: bytes, share, places, rest, place, ..Keeping::default() };
    }

    /// There is no time for what is not kept yet.
    pub(crate) fn stop_keeping(&mut self) {
        self.keeping.left = 0;
    }

    /// True while there is something to do, for which no read must end and no time pass.
    pub(super) fn is_keeping(&self) -> bool {
        let Keeping { rest, walk, reads, .. } = &self.keeping;
        (*rest > 0 || walk.is_some()) && reads.iter().any(Option::is_none)
    }

    /// When something is to be read once more.
    pub(super) fn keeps_again_at(&self) -> Option<Mono> {
        self.keeping.again.front().map(|(due, _)| *due)
    }

    /// True while nothing is to be done.
    pub(super) fn is_kept(&self) -> bool {
        !self.keeping.is_searching() && self.keeping.gathered == 0
    }

    /// True once all that is to be kept is durable.
    pub(super) fn has_kept(&self) -> bool {
        let Keeping { reads, last, .. } = &self.keeping;
        !self.keeping.is_searching() && reads.iter().all(Option::is_none) && self.durable >= *last
    }

    /// Goes on with up to `most` steps. How many are left.
    pub(super) fn keep(&mut self, most: usize, cx: &mut impl ConversationContext) -> usize {
        let mut left = most;
        // As where state is written again: a batch keeps room for messages.
        while left > 0
            && self.keeping.is_searching()
            && cx.room() >= 2 * ROW_MAX
            && let Some(free) = self.keeping.reads.iter().position(Option::is_none)
        {
            left -= 1;
            let now = cx.now().mono;
            let again = self.keeping.again.pop_front_if(|(due, _)| *due <= now).map(|(_, kept)| kept);
            if again.is_none() && !self.is_keeping() {
                break; // it is not time
            }
            if let Some(kept) = again.or_else(|| self.next_kept(cx)) {
                self.keeping.reads[free] = Some(kept);
                cx.read(JobId(to_u32(FETCHES + free)), kept.at, kept.len as usize);
            }
        }
        self.write_kept(GATHERED, cx);
        left
    }

    /// What gathered is to be written: if it is so much, or nothing more comes.
    fn write_kept(&mut self, most: usize, cx: &mut impl ConversationContext) {
        let Keeping { gathered, reads, .. } = &mut self.keeping;
        if *gathered >= most || *gathered > 0 && reads.iter().all(Option::is_none) {
            *gathered = 0;
            cx.want_write();
        }
    }

    /// One step: the next message to keep, if it is found in this one.
    fn next_kept(&mut self, cx: &mut impl ConversationContext) -> Option<Kept> {
        let Some(mut walk) = self.keeping.walk.take() else {
            self.keeping.walk = self.next_walk();
            return None;
        };
        let key = walk.key;
        self.drop_unreachable(key);
        let index = &self.all[key.0].index;
        let reach = Seq(self.all[key.0].state.head.0.saturating_sub(KEPT_REACH));
        let first = index.first().max(walk.undelivered.after().next()).max(reach);
        for _ in 0..LOOKED_AT {
            let seq = walk.next;
            if seq < first {
                return None;
            }
            walk.next = Seq(seq.0 - 1);
            let Some(stored) = index.get(&self.chunks, seq).filter(|stored| !self.is_gone(stored.loc)) else {
                continue;
            };
            if stored.written.at().0.saturating_add(KEPT_FOR_S * 1_000_000) < cx.now().wall.0 {
                return None; // all before it are older
            }
            let is_own = stored.loc.log() == self.config.log;
            let stays = is_own && stored.loc.generation() > self.keeping.upto;
            if stays || !walk.undelivered.holds(seq, stored.written.member()) {
                continue;
            }
            let cost = COST + u64::from(stored.len);
            if cost > self.keeping.left {
                self.keeping.first_without.get_or_insert(key.0.index);
            }
            if cost > self.keeping.left.min(walk.left) {
                cx.count(Counter::UndeliveredDropped);
                walk.left = 0; // what is older goes before what is newer
                continue;
            }
            self.keeping.left -= cost;
            walk.left -= cost;
            self.keeping.walk = Some(walk);
            return Some(Kept { key, seq, at: stored.loc, len: stored.len, tries: 0, ends: Seq(0) });
        }
        self.keeping.walk = Some(walk);
        None
    }

    /// The next conversation, if something was not delivered in it.
    fn next_walk(&mut self) -> Option<Walk> {
        let keeping = &mut self.keeping;
        keeping.rest -= 1;
        let place = if keeping.place < keeping.places { keeping.place } else { 0 };
        keeping.place = place + 1;
        let left = keeping.share;
        let key = self.all.key_at(place).map(ConversationKey)?;
        // In a large group somebody is always away.
        if self.is_large(key) {
            return None;
        }
        let state = &self.get(key).state;
        let undelivered = Undelivered::of(&state.members);
        (undelivered.after() < state.head).then_some(Walk { key, next: state.head, undelivered, left })
    }

    /// A read is done.
    pub(super) fn kept_read(&mut self, place: usize, bytes: Option<&[u8]>, cx: &mut impl ConversationContext) {
        let kept = self.keeping.reads[place].take().expect("it was being read");
        let conversation = self.get(kept.key);
        let (id, shard) = (conversation.id, conversation.shard);
        if !self.is_at(&kept) || self.is_gone(kept.at) {
            return; // an END has taken its place, which is in a later segment; or it went with the log of another reactor
        }
        let bytes = bytes.and_then(|bytes| bytes.get(..kept.len as usize));
        let Some((frame, message)) = bytes.and_then(|bytes| checked(bytes, id, kept.seq)) else {
            let tries = kept.tries + 1;
            if tries < TRIES {
                let due = cx.now().mono.plus_ms(AGAIN_MS);
                return self.keeping.again.push_back((due, Kept { tries, ..kept }));
            }
            cx.count(Counter::UnreadableMessages);
            return cx.count(Counter::UndeliveredDropped);
        };
        if cx.room() < frame.bytes().len() + KeptRecord::LEN {
            // In its place: what waits for a time is behind it.
            return self.keeping.again.push_front((cx.now().mono, kept));
        }
        let emptied = self.without_what_is_held_back(&kept, &frame, &message, cx);
        // One that does not say any more how the other began cannot stand for it.
        let stands = message.control == END && message.seq == kept.seq && emptied.is_none();
        let ends = if stands { message.target } else { Seq(0) };
        let frame = emptied.as_deref().unwrap_or(frame.bytes());
        let at = cx.append(RecordKind::Kept, shard, |body| {
            body.extend_from_slice(frame);
            append(body, &KeptRecord { seq: kept.seq });
        });
        self.keeping.gathered += frame.len();
        self.keeping.last = at.lsn;
        self.rows.push_back((at, Row::Kept { from: Kept { ends, ..kept }, len: to_u32(frame.len()) }));
    }

    /// A message that nobody is told any more is kept without what it says.
    fn without_what_is_held_back(
        &self,
        kept: &Kept,
        frame: &Frame<'_>,
        message: &Message,
        cx: &impl ConversationContext,
    ) -> Option<Vec<u8>> {
        let conversation = self.get(kept.key);
        // Where its END is nobody knows then, and so not who may be told that it has ended.
        let opened = (message.seq != kept.seq).then(|| ended(frame, message, EndTold::Nothing)).flatten();
        let (frame, message) = match opened.as_deref() {
            None => (*frame, *message),
            Some(bytes) => checked(bytes, conversation.id, kept.seq).expect("built here"),
        };
        let now = cx.now().wall.max(conversation.state.last_ts);
        is_held_back(&conversation.state.erasures, &message, now).then(|| emptied(&frame, &message, 0))
    }

    fn is_at(&self, kept: &Kept) -> bool {
        self.stands_at(kept.key, kept.seq, kept.at)
    }

    fn stands_at(&self, key: ConversationKey, seq: Seq, at: LogPosition) -> bool {
        let stored = self.get(key).index.get(&self.chunks, seq);
        stored.is_some_and(|stored| stored.loc == at)
    }

    /// A message was moved from here: if that is in the log of another reactor, it may be found there by a start.
    pub(super) fn note_elsewhere(&mut self, key: ConversationKey, seq: Seq, from: LogPosition) {
        if from.log() != self.config.log {
            let first = self.elsewhere.entry(key.0).or_insert(seq);
            *first = seq.min(*first);
        }
    }

    /// A message was written again, and that is durable.
    pub(super) fn kept(
        &mut self,
        (at, from, len): (BatchPosition, Kept, u32),
        batch: &DurableBatch<'_>,
        cx: &mut impl ConversationContext,
    ) {
        // What an END stands for is where it is, if it is no further back than what is kept may be.
        let head = self.get(from.key).state.head;
        let ends = Some(from.ends).filter(|ends| head.0 - ends.0 <= KEPT_REACH);
        for seq in [Some(from.seq), ends].into_iter().flatten() {
            if self.stands_at(from.key, seq, from.at) {
                let Self { all, chunks, .. } = self;
                all[from.key.0].index.move_to(chunks, seq, (batch.position)(at.offset), len);
                self.note_elsewhere(from.key, seq, from.at);
            }
        }
        cx.count(Counter::UndeliveredKept);
    }
}

const _: () = assert!(READS * FRAME_MAX as usize <= 2 << 20, "what is read at once fits in memory like a batch");
