//! FETCHes under way: each reads its messages from the log, a stretch at a time, and sends them in rising order.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    Frame, Kind, Seq,
    frames::{Fetch, FetchOrder, Fetched, Message},
    limits::{FETCH_MAX, FRAME_MAX},
    split,
};

use crate::{
    effects::{JobId, ReactorId},
    index::{Chunks, MessageIndex, Stored},
    lanes::Asker,
    limits::{FETCHES, READ_WINDOW},
    sequencer::ConversationKey,
};

/// One FETCH.
#[derive(Debug)]
pub struct Job {
    /// Who asked.
    pub asker: Asker,
    /// On which reactor the asker is.
    pub reactor: ReactorId,
    /// Where.
    pub conversation: ConversationKey,
    /// The next message to send.
    pub next: Seq,
    /// The last to send.
    pub last: Seq,
    /// The first that was sent; 0: none yet.
    pub first_sent: Seq,
    /// Bytes that were sent.
    pub sent_bytes: usize,
    /// The message after the last hole that was stepped over; 0: none.
    pub oldest: Seq,
    /// A read is under way.
    pub reading: bool,
    /// The last read came short of its first message: once may be chance.
    pub short: bool,
}

/// The messages that a FETCH means: `None` if that is none.
pub fn range(fetch: &Fetch, oldest: Seq, head: Seq) -> Option<(Seq, Seq)> {
    let limit = if fetch.limit == 0 { FETCH_MAX } else { fetch.limit.min(FETCH_MAX) };
    let skipped = u64::from(canary::is(Canary::FetchSkipsFirst));
    let from = Seq(fetch.from.max(oldest).max(Seq(1)).0 + skipped);
    let upto = if fetch.upto == Seq(0) { head } else { fetch.upto.min(head) };
    if from > upto {
        return None;
    }
    let span = u64::from(limit) - 1;
    Some(match fetch.order {
        FetchOrder::Upward => (from, upto.min(Seq(from.0 + span))),
        FetchOrder::Last => (from.max(Seq(upto.0.saturating_sub(span))), upto),
    })
}

impl Job {
    /// The stretch of the log to read for the next messages: the first of them, and as many as lie close behind it.
    pub fn stretch(&self, index: &MessageIndex, chunks: &Chunks) -> Option<(Stored, usize)> {
        let first = index.get(chunks, self.next)?;
        let mut end = first.loc.offset() + u64::from(first.len);
        let mut seq = self.next.next();
        while seq <= self.last
            && let Some(stored) = index.get(chunks, seq)
            && (stored.loc.log(), stored.loc.generation()) == (first.loc.log(), first.loc.generation())
            && stored.loc.offset() + u64::from(stored.len) <= first.loc.offset() + READ_WINDOW
        {
            end = stored.loc.offset() + u64::from(stored.len);
            seq = seq.next();
        }
        Some((first, (end - first.loc.offset()) as usize))
    }

    /// The summary at the end.
    pub fn fetched(&self, conversation: tidings_wire::ConversationId, head: Seq, oldest: Seq) -> Fetched {
        let last = if self.first_sent == Seq(0) { Seq(0) } else { Seq(self.next.0 - 1) };
        Fetched { conversation, first: self.first_sent, last, head, oldest: oldest.max(self.oldest) }
    }
}

/// The frame of message `seq` if `bytes` begin with it, unharmed: what comes from the disk is not believed, since the
/// segment may have been recycled meanwhile, or damaged.
pub fn checked<'a>(bytes: &'a [u8], conversation: tidings_wire::ConversationId, seq: Seq) -> Option<Frame<'a>> {
    let frame = split(bytes, FRAME_MAX).ok()??;
    if frame.kind() != Ok(Kind::Message) {
        return None;
    }
    if canary::is(Canary::DamageServed) {
        return Some(frame);
    }
    let message: Message = frame.fixed().ok()?;
    let payload = frame.var(message.payload).ok()?;
    let right = message.conversation == conversation && message.seq == seq;
    (right && crc32c::crc32c(payload) == message.payload_crc).then_some(frame)
}

/// All FETCHes of a reactor.
#[derive(Debug, Default)]
pub struct Jobs {
    jobs: alloc::vec::Vec<Option<Job>>,
    active: usize,
}

impl Jobs {
    /// Jobs under way.
    pub fn active(&self) -> usize {
        self.active
    }

    /// Takes a job in, or gives it back if there are too many.
    ///
    /// # Errors
    /// The job.
    pub fn add(&mut self, job: Job) -> Result<JobId, Job> {
        if self.active == FETCHES {
            return Err(job);
        }
        self.active += 1;
        let free = self.jobs.iter().position(Option::is_none).unwrap_or(self.jobs.len());
        if free == self.jobs.len() {
            self.jobs.push(None);
        }
        self.jobs[free] = Some(job);
        Ok(JobId(free as u32))
    }

    /// A job.
    ///
    /// # Panics
    /// If there is none of this id: ids come from here.
    pub fn get(&self, id: JobId) -> &Job {
        self.jobs[id.0 as usize].as_ref().expect("the job is under way")
    }

    /// A job.
    ///
    /// # Panics
    /// If there is none of this id: ids come from here.
    pub fn get_mut(&mut self, id: JobId) -> &mut Job {
        self.jobs[id.0 as usize].as_mut().expect("the job is under way")
    }

    /// Ends a job.
    pub fn remove(&mut self, id: JobId) {
        if self.jobs[id.0 as usize].take().is_some() {
            self.active -= 1;
        }
    }

    /// The first job from `at` on that waits for room to send rather than for a read.
    pub fn next_waiting(&self, at: u32) -> Option<JobId> {
        if self.active == 0 {
            return None;
        }
        let jobs = self.jobs.iter().enumerate().skip(at as usize);
        let waiting = |job: &Option<Job>| job.as_ref().is_some_and(|job| !job.reading);
        jobs.filter(|(_, job)| waiting(job)).map(|(at, _)| JobId(at as u32)).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_wire::ConversationId;

    #[test]
    fn a_fetch_is_cut_to_what_is_there_and_to_its_limit_at_the_right_end() {
        let conversation = ConversationId::NONE;
        let fetch = |from, upto, limit, order| Fetch { conversation, from: Seq(from), upto: Seq(upto), limit, order };
        let (up, last) = (FetchOrder::Upward, FetchOrder::Last);
        let numbers = |fetch| range(&fetch, Seq(11), Seq(100)).map(|(from, upto)| (from.0, upto.0));
        assert_eq!(numbers(fetch(0, 0, 0, up)), Some((11, 100)));
        assert_eq!(numbers(fetch(20, 0, 5, up)), Some((20, 24)));
        assert_eq!(numbers(fetch(20, 0, 5, last)), Some((96, 100)));
        assert_eq!(numbers(fetch(1, 13, 50, last)), Some((11, 13)));
        assert_eq!(numbers(fetch(101, 0, 0, up)), None);
        assert_eq!(numbers(fetch(1, 10, 0, up)), None);
        assert_eq!(numbers(fetch(50, 40, 0, up)), None);
        assert_eq!(numbers(fetch(u64::MAX, u64::MAX, 7, up)), None);
    }
}
