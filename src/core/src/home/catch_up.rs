//! How a device catches up: the list of what changed, asked for by RESUME or sent when a device was behind.

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    Lineage, Uv,
    archive::{self, Archived},
    frame::FrameBuilder,
    frames::{Changed, ChangedConversation, Resume, ResumeStatus},
    limits::PAGE_MAX,
};

use super::{
    Homes, SessionId,
    index::{Entry, HomeKey},
    session::Sync,
};
use crate::context::HomeContext;

use crate::narrow::to_u32;

/// Which changes a list holds: newer than `since`, older than `below` unless that is 0, at most `most`.
struct Range {
    since: Uv,
    below: Uv,
    most: usize,
}

impl Homes {
    /// RESUME: registers the session for pushes and answers, in one step, so that nothing falls between the two.
    pub(super) fn resume(&mut self, id: SessionId, request_id: u64, resume: &Resume, cx: &mut impl HomeContext) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let home = session.home;
        let knows = resume.uv != Uv(0);
        let other_lineage = knows && resume.lineage != self.config.lineage;
        if other_lineage || resume.uv > self.index.get(home).durable {
            let range = Range { since: Uv(u64::MAX), below: Uv(0), most: 0 };
            return self.write_changed(id, home, request_id, ResumeStatus::TooOld, &range, cx);
        }
        if session.sync == Sync::Fresh {
            session.sync = Sync::Live;
        }
        let page = if resume.page == 0 { PAGE_MAX } else { resume.page.min(PAGE_MAX) };
        let range = Range { since: resume.uv, below: resume.below, most: page as usize };
        self.write_changed(id, home, request_id, ResumeStatus::Changed, &range, cx);
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
        let range = Range { since, below: Uv(0), most: PAGE_MAX as usize };
        self.write_changed(id, home, 0, ResumeStatus::Changed, &range, cx);
    }

    fn write_changed(
        &self,
        id: SessionId,
        home: HomeKey,
        request_id: u64,
        status: ResumeStatus,
        range: &Range,
        cx: &mut impl HomeContext,
    ) {
        let Some(session) = self.sessions.get(id) else { return };
        let in_range = |entry: &&Entry| range.below == Uv(0) || entry.uv < range.below;
        let newer = |entry: &&Entry| entry.uv > range.since;
        let entries = self.index.newest_first(home).take_while(newer).filter(in_range);
        let skipped = usize::from(canary::is(Canary::ResumeSkipsOne));
        let mut entries = entries.skip(skipped).peekable();
        let mut frame = FrameBuilder::<Changed>::new(cx.out(session.conn));
        let (mut span, mut count, mut last) = (frame.var(&[]), 0, Uv(0));
        for entry in entries.by_ref().take(range.most) {
            let mut bytes = [0; ChangedConversation::LEN];
            archive::write(&changed_entry(entry), &mut bytes);
            span.len += frame.var(&bytes).len;
            (count, last) = (count + 1, entry.uv);
        }
        let lineage: Lineage = self.config.lineage;
        let status = if status == ResumeStatus::Changed && count == 0 { ResumeStatus::UpToDate } else { status };
        frame.finish(
            request_id,
            &Changed {
                status,
                lineage,
                uv: if status == ResumeStatus::TooOld { Uv(0) } else { self.uv_for(id) },
                next: if entries.peek().is_some() { last } else { Uv(0) },
                count,
                entry_len: to_u32(ChangedConversation::LEN),
                entries: span,
            },
        );
    }
}

fn changed_entry(entry: &Entry) -> ChangedConversation {
    ChangedConversation {
        conversation: entry.conversation,
        peer: entry.peer,
        head: entry.head,
        delivered: entry.own.delivered,
        read: entry.own.read,
        peer_delivered: entry.peers.delivered,
        peer_read: entry.peers.read,
    }
}
