//! How a device catches up: the list of what changed, asked for by RESUME or sent when a device was behind.

use alloc::vec::Vec;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ConversationId, ErrorCode, Kind, Lineage, Uv,
    archive::{self, Archived},
    frame::FrameBuilder,
    frames::{Changed, ChangedConversation, Resume, ResumeStatus},
    limits::{PAGE_MAX, TAILS_MAX},
};

use super::{
    Homes, SessionId,
    dozing::live_or_dozing,
    index::{Entry, EntryKey, HomeKey},
    preferences::Preferences,
    session::{Lists, Sync},
};
use crate::{
    context::HomeContext,
    counters::Counter,
    lanes::{Asker, Privacy, Refusal},
    limits::{RESUMES_PER_TURN, SHED_RETRY_MS},
    narrow::to_u32,
};

/// Entries of a list that may be walked over for what one message costs of a user's rate.
const WALKED_PER_TOKEN: u64 = 128;

/// Bytes of a list in one frame: what is left of [`FRAME_MAX`](tidings_wire::limits::FRAME_MAX) is for the rest of it.
pub(super) const LIST_BYTES: usize = 64 * 1024;

/// Which page of a list it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    /// The first, which was asked for: a list before it is given up.
    First,
    /// The first of one that nobody asked for.
    Unasked,
    /// One after it.
    Next,
}

/// Which changes a list holds: newer than `since`, older than `below` unless that is 0, at most `most`.
struct Range {
    page: Page,
    since: Uv,
    below: Uv,
    most: usize,
    /// How many of the first conversations in it are given back.
    tails: usize,
}

impl Homes {
    /// RESUME, which waits for a later turn where many come at once: those who are there go on meanwhile.
    pub(super) fn on_resume(&mut self, id: SessionId, request_id: u64, resume: &Resume, cx: &mut impl HomeContext) {
        if self.resumes_left > 0 && self.resumes.is_empty() {
            self.resumes_left -= 1;
            return self.resume(id, request_id, resume, cx);
        }
        let Some(session) = self.sessions.get_mut(id) else { return };
        if core::mem::replace(&mut session.resuming, true) {
            let refusal = Refusal::of(ErrorCode::RateLimited, Kind::Resume).for_ms(SHED_RETRY_MS);
            return self.write_refusal(Asker { session: id, request_id }, &refusal, cx);
        }
        cx.count(Counter::ResumesHeld);
        self.resumes.push_back((id, request_id, *resume));
    }

    /// RESUMEs that waited, as many as one turn answers. To be called once a turn.
    pub(crate) fn resume_waiting(&mut self, cx: &mut impl HomeContext) {
        self.resumes_left = RESUMES_PER_TURN;
        while self.resumes_left > 0
            && let Some((id, request_id, resume)) = self.resumes.pop_front()
        {
            self.resumes_left -= 1;
            if let Some(session) = self.sessions.get_mut(id) {
                session.resuming = false;
                self.resume(id, request_id, &resume, cx);
            }
        }
    }

    /// True if a RESUME waits.
    pub(crate) fn has_resumes(&self) -> bool {
        !self.resumes.is_empty()
    }

    /// RESUME: registers the session for pushes and answers, in one step, so that nothing falls between the two.
    fn resume(&mut self, id: SessionId, request_id: u64, resume: &Resume, cx: &mut impl HomeContext) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let home = session.home;
        let knows = resume.uv != Uv(0);
        let other_lineage = knows && resume.lineage != self.config.lineage;
        if other_lineage || resume.uv > self.index.get(home).durable {
            let range = Range { page: Page::First, since: Uv(u64::MAX), below: Uv(0), most: 0, tails: 0 };
            self.write_changed(id, home, request_id, ResumeStatus::TooOld, &range, cx);
            return;
        }
        let (rate, now) = (self.config.user_rate, cx.now().mono);
        if let Err(wait_ms) = self.index.get_mut(home).bucket.take(rate, now) {
            let refusal = Refusal::of(ErrorCode::RateLimited, Kind::Resume).for_ms(wait_ms);
            return self.write_refusal(Asker { session: id, request_id }, &refusal, cx);
        }
        if session.sync == Sync::Fresh {
            session.sync = live_or_dozing(session.activity, self.index.get(home).durable);
            self.stir(home);
        }
        let most = if resume.page == 0 { PAGE_MAX } else { resume.page.min(PAGE_MAX) } as usize;
        let tails = usize::from(resume.tails.min(TAILS_MAX));
        let page = if resume.below == Uv(0) { Page::First } else { Page::Next };
        let range = Range { page, since: resume.uv, below: resume.below, most, tails };
        let listed = self.write_changed(id, home, request_id, ResumeStatus::Changed, &range, cx);
        let asker = Asker { session: id, request_id };
        // Heads of large groups come after what the index knows.
        let heads = if resume.below == Uv(0) { self.ask_heads(asker, home) } else { 0 };
        self.ask_tails(asker, resume, (&listed, heads), cx);
    }

    /// A session's output is gone (or may be): if it was behind, it gets the list of what it missed.
    pub(crate) fn output_gone(&mut self, id: SessionId, cx: &mut impl HomeContext) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Sync::Behind(since) = session.sync else { return };
        if cx.buffered(session.conn) > 0 {
            return;
        }
        session.sync = Sync::Live;
        let home = session.home;
        let range = Range { page: Page::Unasked, since, below: Uv(0), most: PAGE_MAX as usize, tails: 0 };
        self.write_changed(id, home, 0, ResumeStatus::Changed, &range, cx);
        self.ask_heads(Asker { session: id, request_id: 0 }, home);
        // At one at which nobody looks the list was a bell.
        let durable = self.index.get(home).durable;
        self.sessions
            .get_mut(id)
            .into_iter()
            .for_each(|session| session.sync = live_or_dozing(session.activity, durable));
    }

    fn write_changed(
        &mut self,
        id: SessionId,
        home: HomeKey,
        request_id: u64,
        status: ResumeStatus,
        range: &Range,
        cx: &mut impl HomeContext,
    ) -> Vec<ConversationId> {
        let Some(session) = self.sessions.get(id) else { return Vec::new() };
        let newer = |(_, entry): &(EntryKey, &Entry)| entry.uv > range.since;
        let before = self.index.get(home).listed;
        let (start, walked) = self.index.below(home, range.below, before);
        let entries = self.index.older_from(start).take_while(newer);
        let (privacy, settings) = (self.privacy(home), self.index.get(home).own.as_ref().map_or(0, |own| own.told));
        let skipped = usize::from(canary::is(Canary::ResumeSkipsOne));
        let mut entries = entries.skip(skipped).peekable();
        let page = || self.index.older_from(start).take_while(newer).take(range.most + skipped);
        let entry_len = entry_len(page().map(|(_, entry)| entry));
        let mut frame = FrameBuilder::<Changed>::new(cx.out(session.conn));
        let (mut span, mut count, mut last, mut listed, mut size) = (frame.var(&[]), 0, Uv(0), before, 0);
        while let Some((key, entry)) = entries.next_if(|(_, entry)| {
            size += entry_len + entry.name.len();
            count < range.most && size <= LIST_BYTES
        }) {
            let mut bytes = [0; ChangedConversation::LEN];
            archive::write(&changed_entry(entry, privacy), &mut bytes);
            span.len += frame.var(&bytes[..entry_len]).len;
            (count, last, listed) = (count + 1, entry.uv, key);
        }
        let next = if entries.peek().is_some() { last } else { Uv(0) };
        drop(entries);
        let (mut names, mut first) = (frame.var(&[]), Vec::new());
        for (_, entry) in self.index.older_from(start).skip(skipped).take(count) {
            names.len += frame.var(&entry.name).len;
            if first.len() < range.tails {
                first.push(entry.conversation);
            }
        }
        let lineage: Lineage = self.config.lineage;
        let status = if status == ResumeStatus::Changed && count == 0 { ResumeStatus::UpToDate } else { status };
        frame.finish(
            request_id,
            &Changed {
                status,
                lineage,
                uv: if status == ResumeStatus::TooOld { Uv(0) } else { self.uv_for(id) },
                next,
                count: to_u32(count),
                entry_len: to_u32(entry_len),
                entries: span,
                settings,
                names,
            },
        );
        self.note_page(id, range.page, next);
        let state = self.index.get_mut(home);
        state.listed = listed;
        // Where the page before ended somewhere else the list was walked to here, which its user pays for.
        state.bucket.owe(walked / WALKED_PER_TOKEN);
        first
    }

    /// A page was told, which goes on at `next` unless that is 0. What changed since the first page of a list of several is told after the last: as to a
    /// device that could not be pushed to.
    fn note_page(&mut self, id: SessionId, page: Page, next: Uv) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let home = self.index.get(session.home);
        if page == Page::First {
            session.lists = Lists::default();
        }
        match (page, next) {
            (Page::Next, Uv(0)) => {
                let since = session.lists.end().filter(|since| home.uv > *since && !canary::is(Canary::MovedForgotten));
                session.sync = since.map_or(session.sync, |since| session.sync.back_to(since));
            }
            (Page::Next, _) | (_, Uv(0)) => {}
            // From what is durable on: what is not may be told once it is, to those who are not behind then.
            (Page::First | Page::Unasked, _) => session.lists.begin(home.durable),
        }
    }
}

/// Bytes of the entries of a list with these.
pub(super) fn entry_len<'a>(mut entries: impl Iterator<Item = &'a Entry>) -> usize {
    let is_unusual = entries.any(|entry| entry.preferences.are_unusual());
    if is_unusual { ChangedConversation::LEN } else { ChangedConversation::SHORT_LEN }
}

pub(super) fn changed_entry(entry: &Entry, privacy: Privacy) -> ChangedConversation {
    let peers = entry.peers.to(privacy);
    let Preferences { hidden, muted_until, pinned, archived, cleared, blocks, forgotten } = entry.preferences.get();
    ChangedConversation {
        conversation: entry.conversation,
        peer: entry.peer,
        head: entry.head,
        delivered: entry.own.delivered,
        read: entry.own.read,
        peer_delivered: peers.delivered,
        peer_read: peers.read,
        ordinal: entry.ordinal,
        // What the user has seen may be heard of before the message is.
        seen: entry.own.seen.min(entry.ordinal),
        hidden,
        name_len: u16::try_from(entry.name.len()).expect("at most TITLE_MAX"),
        muted_until,
        pinned,
        archived,
        cleared,
        blocked: blocks.is_on(),
        forgotten,
    }
}
