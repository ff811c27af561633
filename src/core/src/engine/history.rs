//! FETCHes under way: each reads its messages from the log, a stretch at a time, and sends them in rising order.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    Frame, Kind, Seq, Timestamp, UserId,
    frames::{Fetch, FetchOrder, Fetched, Message, streamed::control::END},
    limits::{FETCH_MAX, FRAME_MAX, PAGE_BYTES},
    split,
};

use super::{
    ConversationKey,
    index::{Chunks, MessageIndex, Stored},
};
use crate::{
    conversation::{erasures::Erasures, membership::Part},
    effects::{JobId, ReactorId},
    lanes::Asker,
    limits::{FETCHES, KEPT_REACH, READ_WINDOW},
    narrow::{to_u32, to_usize},
    time::Mono,
};

/// One FETCH.
#[derive(Debug)]
pub struct Job {
    /// Who asked.
    pub asker: Asker,
    /// Which user.
    pub user: UserId,
    /// On which reactor the asker is.
    pub reactor: ReactorId,
    /// Where.
    pub conversation: ConversationKey,
    /// The last message that the asker may know of.
    pub reach: Seq,
    /// Which end was asked for.
    pub order: FetchOrder,
    /// What it will be answered with.
    pub page: Page,
    /// The next message to send.
    pub next: Seq,
    /// The first that was sent; 0: none yet.
    pub first_sent: Seq,
    /// The last that was sent; 0: none yet.
    pub last_sent: Seq,
    /// The message after the last hole that was stepped over; 0: none.
    pub oldest: Seq,
    /// A read is under way.
    pub reading: bool,
    /// The last read came short of its first message: once may be chance.
    pub short: bool,
    /// One message is read at a time, since a read of several failed.
    pub one_by_one: bool,
    /// Something could not be read that may be read yet: the rest is looked at, and not sent.
    pub probing: bool,
    /// The first message that was left out since it is damaged; 0: none.
    pub damaged: Seq,
    /// Since when it waits for its asker to read.
    pub waits_since: Option<Mono>,
}

/// What one FETCH is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The first message to send.
    pub first: Seq,
    /// The last; less than `first`: there is none.
    pub last: Seq,
    /// The first number that it answers for: what is not sent of these cannot be had.
    pub from: Seq,
    /// The last number that it answers for.
    pub upto: Seq,
}

/// Numbers that are looked at for a page: more than a hole before a message that was kept is long, so that no page is empty for one.
const NUMBERS: u64 = 2 * KEPT_REACH;

/// The page for the part of a FETCH that its asker can read, of a conversation whose stored messages begin at `oldest` and have these
/// lengths (`None`: it is not stored any more). Where there is more than a page takes, the end that was asked for is whole and the other one is cut. What is not stored takes nothing of it, but
/// no more than [`NUMBERS`] are looked at.
pub fn page(fetch: &Fetch, part: &Part, oldest: Seq, len_of: impl Fn(Seq) -> Option<u32>) -> Page {
    let Part { from, upto, readable: (first, last) } = *part;
    let (lowest, highest) = (from.max(oldest).max(first), upto.min(last));
    if lowest > highest {
        return Page { first: Seq(1), last: Seq(0), from, upto };
    }
    let most = u64::from(if fetch.limit == 0 { FETCH_MAX } else { fetch.limit.min(FETCH_MAX) });
    let wrong_end = canary::is(Canary::PageCutAtWrongEnd);
    // Messages and bytes up to another number, as long as they fit.
    let with = |(count, bytes): (u64, u32), seq: Seq, looked_at: u64| {
        let Some(len) = len_of(seq) else { return Some((count, bytes)).filter(|_| looked_at < NUMBERS) };
        let (count, bytes) = (count + 1, bytes + len);
        let fits = count <= most && (bytes <= PAGE_BYTES || count == 1) && looked_at < NUMBERS;
        fits.then_some((count, bytes))
    };
    let mut taken = (0, 0);
    match fetch.order {
        FetchOrder::Last if !wrong_end => {
            let mut first = highest;
            taken = with(taken, first, 0).unwrap_or(taken);
            while first > lowest
                && let Some(more) = with(taken, Seq(first.0 - 1), highest.0 - first.0)
            {
                (first, taken) = (Seq(first.0 - 1), more);
            }
            Page { first, last: highest, from: if first == lowest { from } else { first }, upto }
        }
        FetchOrder::Upward | FetchOrder::Last => {
            let skipped = u64::from(canary::is(Canary::FetchSkipsFirst));
            let mut last = lowest;
            taken = with(taken, last, 0).unwrap_or(taken);
            while last < highest
                && let Some(more) = with(taken, last.next(), last.0 - lowest.0)
            {
                (last, taken) = (last.next(), more);
            }
            Page { first: Seq(lowest.0 + skipped), last, from, upto: if last == highest { upto } else { last } }
        }
    }
}

impl Job {
    /// The stretch of the log to read for the next messages: the first of them, and as many as lie close after it. `None` if
    /// none is left.
    pub fn stretch(&self, index: &MessageIndex, chunks: &Chunks) -> Option<(Stored, usize)> {
        let first = index.get(chunks, self.next).filter(|_| self.next <= self.page.last)?;
        let mut end = first.loc.offset() + u64::from(first.len);
        let mut seq = self.next.next();
        while !self.one_by_one
            && seq <= self.page.last
            && let Some(stored) = index.get(chunks, seq)
            && (stored.loc.log(), stored.loc.generation()) == (first.loc.log(), first.loc.generation())
            // One that has taken the place of an earlier one lies behind those that came between them.
            && stored.loc.offset() >= end
            && stored.loc.offset() + u64::from(stored.len) <= first.loc.offset() + READ_WINDOW
        {
            end = stored.loc.offset() + u64::from(stored.len);
            seq = seq.next();
        }
        Some((first, to_usize(end - first.loc.offset())))
    }

    /// The summary at the end.
    pub fn fetched(&self, conversation: tidings_wire::ConversationId, oldest: Seq) -> Fetched {
        let (first, last, Page { from, upto, .. }) = (self.first_sent, self.last_sent, self.page);
        let (oldest, damaged) = (oldest.max(self.oldest), self.damaged);
        Fetched { conversation, first, last, head: self.reach, oldest, from, upto, damaged }
    }
}

/// Message `seq`, or the END that has taken its place, if `bytes` begin with it, unharmed: what comes from the disk is not believed, since the segment may have been recycled
/// meanwhile, or damaged.
pub fn checked(bytes: &[u8], conversation: tidings_wire::ConversationId, seq: Seq) -> Option<(Frame<'_>, Message)> {
    let frame = split(bytes, FRAME_MAX).ok()??;
    if frame.kind() != Ok(Kind::Message) {
        return None;
    }
    let message: Message = frame.fixed().ok()?;
    if canary::is(Canary::DamageServed) {
        return Some((frame, message));
    }
    let payload = frame.var(message.payload).ok()?;
    let (name, body) = (frame.var(message.sender_name).ok()?, frame.var(message.body).ok()?);
    let of = if message.control == END && message.target == seq { message.target } else { message.seq };
    let right = message.conversation == conversation && of == seq;
    let whole = Message::crc_of_content(body, payload) == message.payload_crc
        && Message::crc_of_clear(name, body) == message.clear_crc;
    (right && whole).then_some((frame, message))
}

/// True if nobody gets any more what a message says: it was withdrawn, or what it is about was, or its time is over. What changes a
/// conversation is always told.
pub fn is_held_back(erasures: &Erasures, message: &Message, now: Timestamp) -> bool {
    let Message { seq, control, target, expires_at, .. } = *message;
    let is_about = control.is_about_target();
    if !control.has_content() && !is_about {
        return false;
    }
    let goes_with = is_about && erasures.of(target).is_some() && !canary::is(Canary::EditOutlives);
    let erased = (goes_with || erasures.of(seq).is_some()) && !canary::is(Canary::ErasedServed);
    let expired = expires_at > Timestamp(0) && expires_at <= now && !canary::is(Canary::ExpiredServed);
    erased || expired
}

/// All FETCHes of a reactor.
#[derive(Debug, Default)]
pub struct Jobs {
    jobs: alloc::vec::Vec<Slot>,
    active: usize,
}

#[derive(Debug)]
enum Slot {
    Free,
    /// Somebody has the job in hand.
    Lifted,
    Here(Job),
}

impl Jobs {
    /// Jobs under way.
    pub fn active(&self) -> usize {
        self.active
    }

    /// The job that waits longest for an asker on reactor `me` to read, if it has waited since `upto` or longer.
    pub fn longest_waiting(&self, me: ReactorId, upto: Mono) -> Option<JobId> {
        let waiting =
            self.waiting().filter(|(_, job)| job.reactor == me && job.waits_since.is_some_and(|since| since <= upto));
        waiting.min_by_key(|(_, job)| job.waits_since).map(|(at, _)| JobId(to_u32(at)))
    }

    /// A place for a new job, which is in hand; `None` if there are too many.
    pub fn add(&mut self) -> Option<JobId> {
        if self.active == FETCHES {
            return None;
        }
        self.active += 1;
        let free = self.jobs.iter().position(|slot| matches!(slot, Slot::Free)).unwrap_or(self.jobs.len());
        if free == self.jobs.len() {
            self.jobs.push(Slot::Lifted);
        }
        self.jobs[free] = Slot::Lifted;
        Some(JobId(to_u32(free)))
    }

    /// Takes a job into the hand, to be put back or removed.
    ///
    /// # Panics
    /// If there is none of this id: ids come from here.
    pub fn lift(&mut self, id: JobId) -> Job {
        match core::mem::replace(&mut self.jobs[id.0 as usize], Slot::Lifted) {
            Slot::Here(job) => job,
            other => panic!("job {} is not under way: {other:?}", id.0),
        }
    }

    /// A job in hand waits.
    pub fn put_back(&mut self, id: JobId, job: Job) {
        self.jobs[id.0 as usize] = Slot::Here(job);
    }

    /// A job in hand ended.
    pub fn remove(&mut self, id: JobId) {
        self.jobs[id.0 as usize] = Slot::Free;
        self.active -= 1;
    }

    fn waiting(&self) -> impl Iterator<Item = (usize, &Job)> {
        let jobs = if self.active == 0 { &[] } else { &self.jobs[..] };
        jobs.iter().enumerate().filter_map(|(at, slot)| match slot {
            Slot::Here(job) if !job.reading => Some((at, job)),
            _ => None,
        })
    }

    /// The first job from `at` on that waits for room to send rather than for a read.
    pub fn next_waiting(&self, at: u32) -> Option<JobId> {
        self.waiting().map(|(at, _)| JobId(to_u32(at))).find(|id| id.0 >= at)
    }

    /// True if a job of a kind waits for room to send.
    pub fn waits_for(&self, kind: impl Fn(&Job) -> bool) -> bool {
        self.waiting().any(|(_, job)| kind(job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::membership::Membership;
    use tidings_wire::ConversationId;

    #[test]
    fn a_page_is_cut_to_what_is_there_and_to_its_limits_at_the_end_that_was_not_asked_for() {
        let conversation = ConversationId::NONE;
        let fetch = |from, upto, limit, order| Fetch { conversation, from: Seq(from), upto: Seq(upto), limit, order };
        let (up, last) = (FetchOrder::Upward, FetchOrder::Last);
        let of = |fetch, len: u32| {
            let part = Membership::of_two().part(&fetch, Seq(100));
            let Page { first, last, from, upto } = page(&fetch, &part, Seq(11), |_| Some(len));
            ((first.0, last.0), (from.0, upto.0))
        };
        assert_eq!(of(fetch(0, 0, 0, up), 100), ((11, 100), (1, 100)));
        assert_eq!(of(fetch(20, 0, 5, up), 100), ((20, 24), (20, 24)));
        assert_eq!(of(fetch(20, 0, 5, last), 100), ((96, 100), (96, 100)));
        assert_eq!(of(fetch(1, 13, 50, last), 100), ((11, 13), (1, 13)), "what is older is gone");
        assert_eq!(of(fetch(1, 10, 0, up), 100), ((1, 0), (1, 10)), "all of it is gone");
        for none in [fetch(101, 0, 0, up), fetch(50, 40, 0, up), fetch(u64::MAX, u64::MAX, 7, last)] {
            let (sent, (from, upto)) = of(none, 100);
            assert!(sent == (1, 0) && from > upto, "{none:?}");
        }
        assert_eq!(of(fetch(20, 0, 0, up), PAGE_BYTES / 4), ((20, 23), (20, 23)));
        assert_eq!(of(fetch(20, 0, 0, last), PAGE_BYTES / 4), ((97, 100), (97, 100)));
        assert_eq!(of(fetch(20, 0, 0, last), PAGE_BYTES + 1), ((100, 100), (100, 100)), "one always fits");
        // What is not stored any more takes nothing of a page.
        let holes = |fetch| {
            let part = Membership::of_two().part(&fetch, Seq(100));
            let Page { first, last, from, upto } =
                page(&fetch, &part, Seq(11), |seq| (!(30..90).contains(&seq.0)).then_some(100));
            ((first.0, last.0), (from.0, upto.0))
        };
        assert_eq!(holes(fetch(0, 0, 15, last)), ((26, 100), (26, 100)), "eleven after the hole, four before it");
        assert_eq!(holes(fetch(25, 0, 7, up)), ((25, 91), (25, 91)));
        assert_eq!(holes(fetch(40, 0, 1, up)), ((40, 90), (40, 90)));
    }
}
