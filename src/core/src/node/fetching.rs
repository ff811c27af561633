//! FETCH: reads stored messages from the log and sends them to who asked.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ErrorCode, Generation, Kind, LogId, Seq, UserId,
    frames::{Fetch, FetchOrder},
};

use super::Node;
use crate::{
    counters::Counter,
    effects::{Effects, JobId, ReactorId},
    history::{Job, checked, page},
    lanes::{Asker, ToHome},
    limits::OUT_SOFT,
    sequencer::ConversationKey,
    time::Now,
};

impl Node {
    pub(super) fn on_fetch(
        &mut self,
        from: ReactorId,
        asker: Asker,
        user: UserId,
        fetch: &Fetch,
        now: Now,
        fx: &mut impl Effects,
    ) {
        let id = fetch.conversation;
        let is_member = |key: &ConversationKey| self.sequencer.get(*key).member(user).is_some();
        let member = self.sequencer.find(id).filter(|key| is_member(key) || canary::is(Canary::MembersUnchecked));
        let Some(key) = member else {
            return self.refuse_other(from, asker, id, ErrorCode::NotMember, Kind::Fetch, now, fx);
        };
        if fetch.from > self.sequencer.get(key).committed.next() {
            return self.refuse_other(from, asker, id, ErrorCode::FutureSeq, Kind::Fetch, now, fx);
        }
        self.drop_unreachable(key);
        let conversation = self.sequencer.get(key);
        let len_of = |seq| conversation.index.get(&self.sequencer.chunks, seq).map_or(0, |stored| stored.len);
        let page = page(fetch, conversation.index.first(), conversation.committed, len_of);
        let job = Job {
            asker,
            reactor: from,
            conversation: key,
            order: fetch.order,
            page,
            next: page.first,
            first_sent: Seq(0),
            last_sent: Seq(0),
            oldest: Seq(0),
            reading: false,
            short: false,
        };
        if page.first > page.last {
            let fetched = job.fetched(id, conversation.committed, conversation.index.first());
            return self.send_home(from, ToHome::Fetched { asker, fetched }, &[], now, fx);
        }
        match self.jobs.add(job) {
            Ok(job) => self.read_next(job, now, fx),
            Err(_job) => self.refuse_other(from, asker, id, ErrorCode::Busy, Kind::Fetch, now, fx),
        }
    }

    /// Segments of `log` below `oldest` are gone.
    pub fn set_floor(&mut self, log: LogId, oldest: Generation) {
        let at = log.0 as usize;
        if self.floors.len() <= at {
            self.floors.resize(at + 1, Generation(0));
        }
        self.floors[at] = oldest;
    }

    /// Forgets where messages were whose segments are gone. Their logs may alternate.
    pub(super) fn drop_unreachable(&mut self, key: crate::sequencer::ConversationKey) {
        let (conversation, chunks) = self.sequencer.with_chunks(key);
        loop {
            let before = conversation.index.first();
            for (log, oldest) in self.floors.iter().enumerate() {
                conversation.index.drop_below(chunks, LogId(log as u8), *oldest);
            }
            if conversation.index.first() == before {
                return;
            }
        }
    }

    /// Steps over messages whose segments are gone, although older ones may still be there: with another number of
    /// reactors a conversation went on in another log, which may drop its segments earlier.
    fn skip_holes(&mut self, id: JobId) {
        let job = self.jobs.get_mut(id);
        let index = &self.sequencer.get(job.conversation).index;
        while job.next <= job.page.last
            && let Some(stored) = index.get(&self.sequencer.chunks, job.next)
            && self.floors.get(stored.loc.log().0 as usize).is_some_and(|oldest| stored.loc.generation() < *oldest)
        {
            job.next = job.next.next();
            if job.order == FetchOrder::Upward {
                job.oldest = job.next; // what is older than a hole was sent, or was not asked for
            }
        }
    }

    fn read_next(&mut self, id: JobId, now: Now, fx: &mut impl Effects) {
        self.skip_holes(id);
        let job = self.jobs.get_mut(id);
        let index = &self.sequencer.get(job.conversation).index;
        job.next = job.next.max(index.first()); // retention may have overtaken the job
        if job.next > job.page.last {
            return self.finish_or_go_on(id, now, fx);
        }
        if let Some((stored, len)) = job.stretch(index, &self.sequencer.chunks) {
            job.reading = true;
            fx.read(id, stored.loc, len);
        }
    }

    /// A read for a job is done: `bytes` start at the frame of the job's next message; `None` if they cannot be had.
    pub fn read_done(&mut self, id: JobId, bytes: Option<&[u8]>, now: Now, fx: &mut impl Effects) {
        self.jobs.get_mut(id).reading = false;
        if self.gateway_gone(id) {
            return self.jobs.remove(id);
        }
        let Some(bytes) = bytes else { return self.unreadable(id, now, fx) };
        let key = self.jobs.get_mut(id).conversation;
        let conversation = self.sequencer.get(key).id;
        let start = self.sequencer.get(key).index.get(&self.sequencer.chunks, self.jobs.get_mut(id).next);
        let Some(start) = start else { return self.finish_or_go_on(id, now, fx) };
        let first = self.jobs.get_mut(id).next;
        loop {
            let job = self.jobs.get_mut(id);
            let (seq, asker, reactor) = (job.next, job.asker, job.reactor);
            let stored = self.sequencer.get(key).index.get(&self.sequencer.chunks, seq);
            let Some(stored) = stored.filter(|_| seq <= job.page.last) else { break };
            let same_segment = (stored.loc.log(), stored.loc.generation()) == (start.loc.log(), start.loc.generation());
            let offset = stored.loc.offset().wrapping_sub(start.loc.offset()) as usize;
            let in_reach = same_segment && offset.saturating_add(stored.len as usize) <= bytes.len();
            if !in_reach && seq == first {
                if core::mem::replace(&mut job.short, true) {
                    return self.unreadable(id, now, fx);
                }
                return self.read_next(id, now, fx); // shorter than what was asked for: the kernel may do that
            }
            job.short = false;
            if !in_reach || !self.can_send(reactor, asker, stored.len as usize, fx) {
                break;
            }
            let Some(frame) = checked(&bytes[offset..][..stored.len as usize], conversation, seq) else {
                return self.unreadable(id, now, fx);
            };
            let frame = frame.bytes();
            let job = self.jobs.get_mut(id);
            (job.next, job.last_sent) = (seq.next(), seq);
            if job.first_sent == Seq(0) {
                job.first_sent = seq;
            }
            self.send_home(reactor, ToHome::Data { asker }, frame, now, fx);
        }
        self.finish_or_go_on(id, now, fx);
    }

    /// Jobs that waited for room go on.
    pub(super) fn continue_fetches(&mut self, now: Now, fx: &mut impl Effects) {
        let mut at = 0;
        while let Some(id) = self.jobs.next_waiting(at) {
            at = id.0 + 1;
            if self.gateway_gone(id) {
                self.jobs.remove(id);
            } else {
                self.finish_or_go_on(id, now, fx);
            }
        }
    }

    fn finish_or_go_on(&mut self, id: JobId, now: Now, fx: &mut impl Effects) {
        let job = self.jobs.get_mut(id);
        let (asker, reactor, key) = (job.asker, job.reactor, job.conversation);
        if !self.can_send(reactor, asker, 0, fx) {
            return;
        }
        let job = self.jobs.get_mut(id);
        if job.next <= job.page.last {
            let (next, key) = (job.next, job.conversation);
            let len = self.sequencer.get(key).index.get(&self.sequencer.chunks, next).map_or(0, |stored| stored.len);
            if self.can_send(reactor, asker, len as usize, fx) {
                self.read_next(id, now, fx);
            }
            return;
        }
        let conversation = self.sequencer.get(key);
        let fetched = job.fetched(conversation.id, conversation.committed, conversation.index.first());
        self.jobs.remove(id);
        self.send_home(reactor, ToHome::Fetched { asker, fetched }, &[], now, fx);
    }

    /// What was read is not the message: it is reported, never served.
    fn unreadable(&mut self, id: JobId, now: Now, fx: &mut impl Effects) {
        let job = self.jobs.get_mut(id);
        let (asker, reactor, key) = (job.asker, job.reactor, job.conversation);
        if !self.can_send(reactor, asker, 0, fx) {
            return; // tried again when the lane has room
        }
        self.counters.count(Counter::UnreadableMessages);
        self.jobs.remove(id);
        let conversation = self.sequencer.get(key).id;
        self.refuse_other(reactor, asker, conversation, ErrorCode::HistoryUnavailable, Kind::Fetch, now, fx);
    }

    fn gateway_gone(&mut self, id: JobId) -> bool {
        let (reactor, session) = (self.jobs.get_mut(id).reactor, self.jobs.get_mut(id).asker.session);
        reactor == self.config.me && self.gateway.get(session).is_none()
    }

    /// True if a frame of `len` bytes can go to who asked now.
    fn can_send(&self, reactor: ReactorId, asker: Asker, len: usize, fx: &mut impl Effects) -> bool {
        if reactor != self.config.me {
            return fx.has_home_credit(reactor, 2, len);
        }
        let conn = self.gateway.get(asker.session).map(|session| session.conn);
        conn.is_none_or(|conn| fx.buffered(conn) + len <= OUT_SOFT)
    }
}
