//! FETCH: reads stored messages from the log and sends them to who asked.

use alloc::vec::Vec;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ErrorCode, Frame, Generation, Kind, LogId, LogPosition, Seq, UserId,
    frames::{Fetch, FetchOrder, Message, MessageFlags},
};

use super::{
    Conversation, ConversationKey, Conversations,
    blocking::{is_withheld, unmarked, withheld},
    damage::{Damage, Failure, Unreadable},
    dispatch::refuse_other,
    history::{Job, checked, is_held_back, page},
};
use crate::{
    context::{Asking, ConversationContext},
    conversation::{membership::Membership, state::State},
    counters::Counter,
    effects::{JobId, ReactorId},
    emptied::{EndTold, emptied, ended},
    lanes::{Asker, Refusal, ToHome},
    limits::{DAMAGED_AFTER_MS, FETCH_PLACE_MS, FETCHES},
    narrow::to_usize,
    time::Mono,
};

impl Conversations {
    pub(super) fn on_fetch(
        &mut self,
        from: ReactorId,
        asker: Asker,
        user: UserId,
        fetch: &Fetch,
        cx: &mut impl ConversationContext,
    ) {
        let id = fetch.conversation;
        let Some(key) = self.known_to(id, user) else {
            return refuse_other(from, asker, id, ErrorCode::NotMember, Kind::Fetch, cx);
        };
        let State { head, ref members, .. } = self.get(key).state;
        let everything = Membership::of_two();
        let membership = match members.find(user) {
            Some(member) => &members[member].membership,
            None if canary::is(Canary::MembersUnchecked) => &everything,
            None => return refuse_other(from, asker, id, ErrorCode::NotMember, Kind::Fetch, cx),
        };
        let reach = membership.reach(head);
        if fetch.from > reach.next() {
            return refuse_other(from, asker, id, ErrorCode::FutureSeq, Kind::Fetch, cx);
        }
        let part = membership.part(fetch, head);
        self.drop_unreachable(key);
        let conversation = self.get(key);
        let stored = |seq| conversation.index.get(&self.chunks, seq).filter(|stored| !self.is_gone(stored.loc));
        let len_of = |seq| stored(seq).map(|stored| stored.len);
        let page = page(fetch, &part, conversation.index.first(), len_of);
        let job = Job {
            asker,
            user,
            reactor: from,
            conversation: key,
            reach,
            order: fetch.order,
            page,
            next: page.first,
            first_sent: Seq(0),
            last_sent: Seq(0),
            oldest: Seq(0),
            reading: false,
            short: false,
            one_by_one: false,
            probing: false,
            damaged: Seq(0),
            waits_since: None,
        };
        if page.first > page.last {
            return self.end(&job, cx);
        }
        match self.place_of_job(cx) {
            Some(id) => self.go_on(id, job, cx),
            None => refuse_other(from, asker, id, ErrorCode::Busy, Kind::Fetch, cx),
        }
    }

    /// A place for a FETCH. Where none is free, whoever has not read for longest loses its own.
    fn place_of_job(&mut self, cx: &mut impl ConversationContext) -> Option<JobId> {
        if let Some(place) = self.jobs.add() {
            return Some(place);
        }
        let upto = Mono(cx.now().mono.0.saturating_sub(FETCH_PLACE_MS * 1_000_000));
        // Where the asker is on another reactor its answers are in its output, or ended it.
        let displaced = self.jobs.longest_waiting(self.config.me, upto)?;
        let job = self.jobs.lift(displaced);
        let conversation = self.get(job.conversation).id;
        self.jobs.remove(displaced);
        refuse_other(job.reactor, job.asker, conversation, ErrorCode::Busy, Kind::Fetch, cx);
        self.jobs.add()
    }

    /// Segments of `log` below `oldest` are gone.
    pub(crate) fn set_floor(&mut self, log: LogId, oldest: Generation) {
        let at = log.0 as usize;
        if self.floors.len() <= at {
            self.floors.resize(at + 1, Generation(0));
        }
        self.floors[at] = oldest;
    }

    /// Forgets where messages were whose segments are gone. Their logs may alternate.
    pub(super) fn drop_unreachable(&mut self, key: ConversationKey) {
        let index = &mut self.all[key.0].index;
        loop {
            let before = index.first();
            for (log, oldest) in (0..=u8::MAX).zip(&self.floors) {
                index.drop_below(&mut self.chunks, LogId(log), *oldest);
            }
            if index.first() == before {
                return;
            }
        }
    }

    /// True of a place in a segment that is gone.
    pub(super) fn is_gone(&self, loc: LogPosition) -> bool {
        self.floors.get(loc.log().0 as usize).is_some_and(|oldest| loc.generation() < *oldest)
    }

    /// Steps over messages whose segments are gone, although older ones may still be there: those were written again, or
    /// with another number of reactors the conversation went on in another log, which may drop its segments earlier.
    fn step_over_gone(&self, job: &mut Job) {
        let index = &self.get(job.conversation).index;
        let is_gone = |seq| index.get(&self.chunks, seq).is_some_and(|stored| self.is_gone(stored.loc));
        while job.next <= job.page.last && (index.is_hole(&self.chunks, job.next) || is_gone(job.next)) {
            job.next = job.next.next();
            if job.order == FetchOrder::Upward {
                job.oldest = job.next; // what is older than a hole was sent, or was not asked for
            }
        }
        job.next = job.next.max(index.first()); // retention may have overtaken the job
    }

    /// Reads what is next, ends the job, or lets it wait until who asked takes more.
    fn go_on(&mut self, id: JobId, mut job: Job, cx: &mut impl ConversationContext) {
        self.step_over_gone(&mut job);
        let conversation = self.get(job.conversation);
        let stretch = job.stretch(&conversation.index, &self.chunks);
        let len = stretch.map_or(0, |(first, _)| first.len as usize);
        match (cx.asking(job.reactor, job.asker, len), stretch) {
            (Asking::Gone, _) => self.jobs.remove(id),
            (Asking::Full, _) => {
                job.waits_since.get_or_insert(cx.now().mono);
                self.jobs.put_back(id, job);
            }
            (Asking::Takes, Some((first, len))) => {
                cx.read(id, first.loc, len);
                self.jobs.put_back(id, Job { reading: true, waits_since: None, ..job });
            }
            (Asking::Takes, None) => {
                self.jobs.remove(id);
                if job.probing { self.refuse_for_now(&job, cx) } else { self.end(&job, cx) }
            }
        }
    }

    fn end(&self, job: &Job, cx: &mut impl ConversationContext) {
        let conversation = self.get(job.conversation);
        let fetched = job.fetched(conversation.id, conversation.index.first());
        cx.to_home(job.reactor, ToHome::Fetched { asker: job.asker, fetched }, &[]);
    }

    /// A read for a job is done: `bytes` start at the frame of the job's next message; `None` if they cannot be had.
    pub(crate) fn read_done(&mut self, id: JobId, bytes: Option<&[u8]>, cx: &mut impl ConversationContext) {
        if let Some(place) = (id.0 as usize).checked_sub(FETCHES) {
            return self.kept_read(place, bytes, cx);
        }
        let mut job = Job { reading: false, ..self.jobs.lift(id) };
        let Some(bytes) = bytes else { return self.unreadable(id, job, Unreadable::Unread, cx) };
        let first = job.next;
        let read = self.send_read(&mut job, bytes, cx);
        self.failures.read(job.conversation, first, job.next);
        match read {
            Ok(()) => self.go_on(id, job, cx),
            Err(how) => self.unreadable(id, job, how, cx),
        }
    }

    /// Sends the messages that were read, as many as who asked takes.
    fn send_read(&self, job: &mut Job, bytes: &[u8], cx: &mut impl ConversationContext) -> Result<(), Unreadable> {
        let conversation = self.get(job.conversation);
        let stored = |seq| conversation.index.get(&self.chunks, seq);
        let (Some(start), first) = (stored(job.next), job.next) else { return Ok(()) };
        while job.next <= job.page.last
            && let Some(stored) = stored(job.next)
        {
            let same_segment = (stored.loc.log(), stored.loc.generation()) == (start.loc.log(), start.loc.generation());
            let offset = stored.loc.offset().checked_sub(start.loc.offset()).map_or(usize::MAX, to_usize);
            let in_reach = same_segment && offset.saturating_add(stored.len as usize) <= bytes.len();
            if !in_reach && job.next == first {
                // Shorter than what was asked for: the kernel may do that, once.
                return if core::mem::replace(&mut job.short, true) { Err(Unreadable::Unread) } else { Ok(()) };
            }
            job.short = false;
            if !in_reach || cx.asking(job.reactor, job.asker, stored.len as usize) != Asking::Takes {
                break;
            }
            let bytes = &bytes[offset..][..stored.len as usize];
            let (frame, message) = checked(bytes, conversation.id, job.next).ok_or(Unreadable::Wrong)?;
            let ended = self.ended_for(job, &frame, &message);
            let (frame, message) = match ended.as_deref() {
                None => (frame, message),
                Some(bytes) => checked(bytes, conversation.id, job.next).expect("built here"),
            };
            if job.probing {
                job.next = job.next.next();
                continue;
            }
            job.last_sent = job.next;
            if job.first_sent == Seq(0) {
                job.first_sent = job.next;
            }
            job.next = job.next.next();
            let data = ToHome::Data { asker: job.asker };
            // What has disappeared does not come back with a clock that goes back.
            let now = cx.now().wall.max(conversation.state.last_ts);
            let marked = is_withheld(&message);
            if marked && message.sender != job.user {
                cx.to_home(job.reactor, data, &withheld(&frame, &message));
            } else if is_held_back(&conversation.state.erasures, &message, now) {
                let flags = MessageFlags(message.flags.0 & !MessageFlags::WITHHELD);
                cx.to_home(job.reactor, data, &emptied(&frame, &Message { flags, ..message }, 0));
            } else if marked {
                cx.to_home(job.reactor, data, &unmarked(&frame, &message));
            } else {
                cx.to_home(job.reactor, data, frame.bytes());
            }
        }
        Ok(())
    }

    /// What a job tells where the record of an END is stored in the place of what it ends.
    fn ended_for(&self, job: &Job, frame: &Frame<'_>, end: &Message) -> Option<Vec<u8>> {
        if end.seq == job.next {
            return None;
        }
        let state = &self.get(job.conversation).state;
        let reads = |member: usize| state.members[member].membership.reads(end.seq);
        let told = match () {
            () if canary::is(Canary::EndToldToAll) => EndTold::Whole,
            () if !state.member(job.user).is_some_and(reads) => EndTold::Nothing,
            () if is_withheld(end) && end.sender != job.user => EndTold::Emptied,
            () => EndTold::Whole,
        };
        ended(frame, end, told)
    }

    /// Jobs that waited for room go on.
    pub(super) fn continue_fetches(&mut self, cx: &mut impl ConversationContext) {
        let mut at = 0;
        while let Some(id) = self.jobs.next_waiting(at) {
            at = id.0 + 1;
            let job = self.jobs.lift(id);
            self.go_on(id, job, cx);
        }
    }

    /// True if a FETCH waits for a lane to have room.
    pub(crate) fn waits_for_credit(&self) -> bool {
        self.jobs.waits_for(|job| job.reactor != self.config.me)
            || self.outboxes.is_busy()
            || !self.owing.is_empty()
            || self.answers.iter().any(|waiting| !waiting.is_empty())
    }

    /// What was read is not the message: it is reported, never served. What is damaged the page goes on without. If it may be read yet the whole page is
    /// asked for again, and what else cannot be read in it is found now: so that each page is asked for again once, however much of it is damaged.
    fn unreadable(&mut self, id: JobId, mut job: Job, how: Unreadable, cx: &mut impl ConversationContext) {
        job.short = false;
        // What cannot be read may be one that comes after the next.
        if !core::mem::replace(&mut job.one_by_one, true) {
            return self.go_on(id, job, cx);
        }
        cx.count(Counter::UnreadableMessages);
        let Conversation { id: conversation, ref index, .. } = *self.get(job.conversation);
        if let Some(stored) = index.get(&self.chunks, job.next) {
            let damage = Damage { conversation, seq: job.next, at: stored.loc };
            match self.failures.failed(job.conversation, damage, how, cx.now().mono) {
                Failure::Perhaps => job.probing = true,
                Failure::Damaged if job.damaged == Seq(0) => job.damaged = job.next,
                Failure::Damaged => {}
            }
        }
        job.next = job.next.next();
        self.go_on(id, job, cx);
    }

    fn refuse_for_now(&self, job: &Job, cx: &mut impl ConversationContext) {
        let (code, conversation) = (ErrorCode::HistoryUnavailable, self.get(job.conversation).id);
        let refusal = Refusal { conversation, ..Refusal::of(code, Kind::Fetch) }.for_ms(DAMAGED_AFTER_MS);
        cx.to_home(job.reactor, ToHome::Refused { asker: job.asker, refusal }, &[]);
    }
}
