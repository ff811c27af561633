//! Where a conversation's messages are in the log, who wrote them when, and until when they live: 24 bytes a message, in chunks that all conversations share, so that a
//! message costs no allocation of its own. Bounded by the log that it points into, and by what was in it while the oldest was kept.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use tidings_wire::{Generation, LogId, LogPosition, Seq, Timestamp};

use crate::{features::Nature, narrow::to_u32};

const CHUNK: usize = 16;
const PAGE: usize = 512;

/// A stored message's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where its frame is.
    pub loc: LogPosition,
    /// Bytes of the frame.
    pub len: u32,
    /// Who wrote it, and when.
    pub written: Written,
}

/// Who wrote a message and when, for what is said about it later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The member's place; the highest bits say what the message is.
    by: u32,
    /// Seconds since 1970.
    at_s: u32,
    /// When it disappears, in seconds since 1970; 0: never.
    until_s: u32,
}

/// See [`Written`].
const HAS_CONTENT: u32 = 1 << 31;
const IS_ABOUT: u32 = 1 << 30;
/// Both: an END is stored in the place of a message with content.
const IS_ENDED: u32 = HAS_CONTENT | IS_ABOUT;

impl Written {
    /// By the member of this place, at this time, to disappear at that (0: never).
    pub fn new(member: u32, ts: Timestamp, nature: Nature, expires_at: Timestamp) -> Self {
        let nature = match nature {
            Nature::Content => HAS_CONTENT,
            Nature::About => IS_ABOUT,
            Nature::Act => 0,
        };
        let seconds = |time: Timestamp| u32::try_from(time.0 / 1_000_000).unwrap_or(u32::MAX);
        // One that disappeared in the first second of 1970 has not stayed for ever.
        let until_s = if expires_at == Timestamp(0) { 0 } else { seconds(expires_at).max(1) };
        Self { by: member | nature, at_s: seconds(ts), until_s }
    }

    /// The member's place.
    pub fn member(self) -> u32 {
        self.by & !(HAS_CONTENT | IS_ABOUT)
    }

    /// True if an END is stored in its place.
    pub fn is_ended(self) -> bool {
        self.by & IS_ENDED == IS_ENDED
    }

    /// When.
    pub fn at(self) -> Timestamp {
        Timestamp(u64::from(self.at_s) * 1_000_000)
    }

    /// When it disappears; 0: never.
    pub fn expires_at(self) -> Timestamp {
        Timestamp(u64::from(self.until_s) * 1_000_000)
    }

    /// What the message is.
    pub fn nature(self) -> Nature {
        match self.by {
            by if by & HAS_CONTENT > 0 => Nature::Content,
            by if by & IS_ABOUT > 0 => Nature::About,
            _ => Nature::Act,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    locs: [LogPosition; CHUNK],
    lens: [u32; CHUNK],
    written: [Written; CHUNK],
}

/// The chunks of all conversations of a reactor.
#[derive(Debug, Default)]
pub struct Chunks {
    pages: Vec<Box<[Chunk]>>,
    free: Vec<u32>,
}

impl Chunks {
    fn take(&mut self) -> u32 {
        if self.free.is_empty() {
            let first = to_u32(self.pages.len() * PAGE);
            let written = [Written::default(); CHUNK];
            let blank = Chunk { locs: [LogPosition::default(); CHUNK], lens: [0; CHUNK], written };
            self.pages.push(alloc::vec![blank; PAGE].into_boxed_slice());
            self.free.reserve(self.pages.len() * PAGE);
            self.free.extend((first..to_u32(self.pages.len() * PAGE)).rev());
        }
        self.free.pop().expect("a page was added")
    }

    fn chunk(&mut self, id: u32) -> &mut Chunk {
        &mut self.pages[id as usize / PAGE][id as usize % PAGE]
    }
}

/// Most numbers in a row of which nothing is stored while older messages are: beyond that those are forgotten. What is kept is at most
/// [`KEPT_REACH`](crate::limits::KEPT_REACH) behind the last message when it is kept; so many more may follow until its own segment goes, or the server starts again.
const HOLE_MAX: u64 = 1 << 20;

/// A number of which nothing is stored.
const HOLE: Stored = Stored { loc: LogPosition::NONE, len: 0, written: Written { by: 0, at_s: 0, until_s: 0 } };

/// The places of one conversation's messages.
#[derive(Debug)]
pub struct MessageIndex {
    /// The oldest message that is still stored.
    first: Seq,
    /// Entries that were dropped at the front of the first chunk.
    skipped: usize,
    len: usize,
    chunks: VecDeque<u32>,
}

impl Default for MessageIndex {
    fn default() -> Self {
        Self { first: Seq(1), skipped: 0, len: 0, chunks: VecDeque::new() }
    }
}

impl MessageIndex {
    /// The oldest message that is stored; one past the head if none is.
    pub fn first(&self) -> Seq {
        self.first
    }

    /// The message after the newest.
    fn end(&self) -> Seq {
        Seq(self.first.0 + self.len as u64)
    }

    /// Adds the next message. A jump (messages before it were dropped by retention) leaves a hole.
    pub fn push(&mut self, chunks: &mut Chunks, seq: Seq, stored: Stored) {
        if seq != self.end() {
            self.reach(chunks, seq);
        }
        self.push_next(chunks, stored);
    }

    /// What is added next has this number: nothing that is not here up to it is stored (any more).
    pub fn reach(&mut self, chunks: &mut Chunks, seq: Seq) {
        let hole = seq.0.checked_sub(self.end().0).filter(|hole| self.len > 0 && *hole <= HOLE_MAX);
        match hole {
            Some(hole) => (0..hole).for_each(|_| self.push_next(chunks, HOLE)),
            None => {
                self.clear(chunks);
                self.first = seq;
            }
        }
    }

    /// A message that was written again, in the order in which those were written: there may be later ones already.
    pub fn restore(&mut self, chunks: &mut Chunks, seq: Seq, stored: Stored) {
        let before = self.first.0.saturating_sub(seq.0);
        if before > HOLE_MAX {
            return;
        }
        if before > 0 {
            (0..before).for_each(|_| self.push_before(chunks));
        } else if seq >= self.end() {
            return self.push(chunks, seq, stored);
        }
        self.replace(chunks, seq, stored);
    }

    /// A hole before the first.
    fn push_before(&mut self, chunks: &mut Chunks) {
        if self.skipped == 0 {
            self.chunks.push_front(chunks.take());
            self.skipped = CHUNK;
        }
        (self.skipped, self.len, self.first) = (self.skipped - 1, self.len + 1, Seq(self.first.0 - 1));
        self.set(chunks, self.skipped, HOLE);
    }

    fn push_next(&mut self, chunks: &mut Chunks, stored: Stored) {
        let at = self.skipped + self.len;
        if at == self.chunks.len() * CHUNK {
            self.chunks.push_back(chunks.take());
        }
        self.len += 1;
        self.set(chunks, at, stored);
    }

    fn set(&self, chunks: &mut Chunks, at: usize, stored: Stored) {
        let chunk = chunks.chunk(self.chunks[at / CHUNK]);
        (chunk.locs[at % CHUNK], chunk.lens[at % CHUNK]) = (stored.loc, stored.len);
        chunk.written[at % CHUNK] = stored.written;
    }

    fn clear(&mut self, chunks: &mut Chunks) {
        chunks.free.extend(self.chunks.drain(..));
        (self.skipped, self.len) = (0, 0);
    }

    /// A message's place.
    pub fn get(&self, chunks: &Chunks, seq: Seq) -> Option<Stored> {
        self.place(chunks, seq).filter(|stored| *stored != HOLE)
    }

    /// True of a number of which nothing is stored, although an older message is.
    pub fn is_hole(&self, chunks: &Chunks, seq: Seq) -> bool {
        self.place(chunks, seq) == Some(HOLE)
    }

    fn place(&self, chunks: &Chunks, seq: Seq) -> Option<Stored> {
        let at = usize::try_from(seq.0.checked_sub(self.first.0)?).ok()?;
        if at >= self.len {
            return None;
        }
        let at = self.skipped + at;
        let id = self.chunks[at / CHUNK] as usize;
        let chunk = &chunks.pages[id / PAGE][id % PAGE];
        let at = at % CHUNK;
        Some(Stored { loc: chunk.locs[at], len: chunk.lens[at], written: chunk.written[at] })
    }

    /// A message is stored elsewhere from now on, if it is stored. It is then in a later segment than those after it, whose segments may be dropped before
    /// its own: whoever reads steps over them.
    pub fn move_to(&mut self, chunks: &mut Chunks, seq: Seq, loc: LogPosition, len: u32) {
        if let Some(stored) = self.get(chunks, seq) {
            self.replace(chunks, seq, Stored { loc, len, ..stored });
        }
    }

    /// The END of a message is stored in its place from now on, as if it had moved there.
    pub fn put_end(&mut self, chunks: &mut Chunks, seq: Seq, loc: LogPosition, len: u32) {
        if let Some(Stored { written, .. }) = self.get(chunks, seq) {
            let written = Written { by: written.by | IS_ENDED, ..written };
            self.replace(chunks, seq, Stored { loc, len, written });
        }
    }

    fn replace(&self, chunks: &mut Chunks, seq: Seq, stored: Stored) {
        let at = usize::try_from(seq.0 - self.first.0).expect("it is in memory");
        self.set(chunks, self.skipped + at, stored);
    }

    /// Forgets messages at the front that are in segments of `log` below `oldest`.
    pub fn drop_below(&mut self, chunks: &mut Chunks, log: LogId, oldest: Generation) {
        while let Some(stored) = self.place(chunks, self.first)
            && (stored == HOLE || stored.loc.log() == log && stored.loc.generation() < oldest)
        {
            self.drop_first(chunks);
        }
    }

    fn drop_first(&mut self, chunks: &mut Chunks) {
        self.first = self.first.next();
        (self.skipped, self.len) = (self.skipped + 1, self.len - 1);
        if self.skipped == CHUNK {
            chunks.free.extend(self.chunks.pop_front());
            self.skipped = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: u64) -> Stored {
        let generation = Generation(1 + (seq / 100) as u32);
        let nature = [Nature::Content, Nature::About, Nature::Act][seq as usize % 3];
        let (ts, until) = (Timestamp(seq * 1_000_000), Timestamp(seq % 2 * 9_000_000));
        let written = Written::new(seq as u32, ts, nature, until);
        assert_eq!((written.member(), written.at(), written.nature()), (seq as u32, ts, nature));
        assert_eq!(written.expires_at(), until);
        Stored { loc: LogPosition::new(LogId(0), generation, seq * 16), len: seq as u32, written }
    }

    #[test]
    fn messages_are_found_until_their_segment_is_dropped() {
        let (mut chunks, mut index, mut other) = (Chunks::default(), MessageIndex::default(), MessageIndex::default());
        for seq in 1..1000 {
            index.push(&mut chunks, Seq(seq), at(seq));
            other.push(&mut chunks, Seq(seq), at(seq + 1));
        }
        assert_eq!(index.get(&chunks, Seq(777)), Some(at(777)));
        assert_eq!((index.get(&chunks, Seq(0)), index.get(&chunks, Seq(1000))), (None, None));
        index.drop_below(&mut chunks, LogId(1), Generation(5));
        assert_eq!(index.first(), Seq(1), "another log");
        index.drop_below(&mut chunks, LogId(0), Generation(5));
        assert_eq!(index.first(), Seq(400));
        assert_eq!(index.get(&chunks, Seq(399)), None);
        assert_eq!((400..1000).find(|seq| index.get(&chunks, Seq(*seq)) != Some(at(*seq))), None);
        assert_eq!(other.get(&chunks, Seq(399)), Some(at(400)));
        // One that is stored later keeps those after it in the index, also where their segments are gone.
        let moved = LogPosition::new(LogId(0), Generation(9), 16);
        index.move_to(&mut chunks, Seq(450), moved, 77);
        index.move_to(&mut chunks, Seq(399), moved, 77);
        let ended = index.get(&chunks, Seq(451)).unwrap();
        let mut other_ended = MessageIndex::default();
        other_ended.restore(&mut chunks, Seq(7), Stored { written: at(6).written, ..ended });
        other_ended.put_end(&mut chunks, Seq(7), moved, 5);
        other_ended.put_end(&mut chunks, Seq(8), moved, 5);
        let Stored { loc, len, written } = other_ended.get(&chunks, Seq(7)).unwrap();
        assert_eq!((loc, len, written.is_ended(), written.nature()), (moved, 5, true, Nature::Content));
        assert!(!at(6).written.is_ended() && written.member() == 6);
        index.drop_below(&mut chunks, LogId(0), Generation(7));
        assert_eq!((index.first(), index.get(&chunks, Seq(399))), (Seq(450), None));
        assert_eq!(index.get(&chunks, Seq(450)), Some(Stored { loc: moved, len: 77, ..at(450) }));
        assert_eq!(index.get(&chunks, Seq(451)), Some(at(451)));
        index.drop_below(&mut chunks, LogId(0), Generation(10));
        assert_eq!(index.first(), Seq(900));
        index.push(&mut chunks, Seq(2000), at(2000));
        assert_eq!((index.first(), index.get(&chunks, Seq(2000))), (Seq(900), Some(at(2000))));
        assert!(index.is_hole(&chunks, Seq(1000)) && index.is_hole(&chunks, Seq(1999)));
        assert!(!index.is_hole(&chunks, Seq(999)) && !index.is_hole(&chunks, Seq(2001)));
        index.drop_below(&mut chunks, LogId(0), Generation(11));
        assert_eq!(index.first(), Seq(2000), "a hole is not the first");
        index.push(&mut chunks, Seq(2001 + HOLE_MAX + 1), at(1));
        assert_eq!(index.first(), Seq(2001 + HOLE_MAX + 1), "a hole that is too long is none");
    }

    /// What is written again comes in any order, between and after what was there: see `keeping`.
    #[test]
    fn messages_that_were_written_again_are_put_where_they_belong() {
        let (mut chunks, mut index) = (Chunks::default(), MessageIndex::default());
        let kept = |seq: u64| Stored { loc: LogPosition::new(LogId(0), Generation(50), seq * 16), ..at(seq) };
        // Before anything else is known of the conversation.
        index.restore(&mut chunks, Seq(90), kept(90));
        index.restore(&mut chunks, Seq(60), kept(60));
        index.push(&mut chunks, Seq(150), at(150));
        index.restore(&mut chunks, Seq(120), kept(120));
        index.restore(&mut chunks, Seq(150), kept(150));
        index.restore(&mut chunks, Seq(41), kept(41));
        let stored = [41, 60, 90, 120, 150];
        for seq in 1..200 {
            let found = stored.contains(&seq).then(|| kept(seq));
            assert_eq!(index.get(&chunks, Seq(seq)), found, "{seq}");
            assert_eq!(index.is_hole(&chunks, Seq(seq)), (41..150).contains(&seq) && found.is_none(), "{seq}");
        }
        // Where nothing else is left of what there was.
        index.reach(&mut chunks, Seq(300));
        index.push(&mut chunks, Seq(300), at(300));
        assert_eq!((index.first(), index.get(&chunks, Seq(300))), (Seq(41), Some(at(300))));
        let mut empty = MessageIndex::default();
        empty.reach(&mut chunks, Seq(300));
        empty.restore(&mut chunks, Seq(250), kept(250));
        empty.push(&mut chunks, Seq(300), at(300));
        assert_eq!((empty.first(), empty.get(&chunks, Seq(250))), (Seq(250), Some(kept(250))));
        empty.restore(&mut chunks, Seq(250 - 1), kept(249));
        assert_eq!((empty.first(), empty.get(&chunks, Seq(251))), (Seq(249), None));
    }
}
