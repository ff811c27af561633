//! Tails: with the list of what changed a device may get the last messages of the first conversations in it. Each is a FETCH that the home asks
//! in the session's name; SYNC_DONE comes after the last of them.

use core::num::NonZeroU64;

use tidings_wire::{
    ConversationId, Seq,
    frame::{self},
    frames::{Fetch, FetchOrder, Resume, SyncDone},
    limits::TAILS_MAX,
};

use super::{Homes, SessionId};
use crate::{
    context::HomeContext,
    lanes::Asker,
    limits::{FETCHES_PER_SESSION, FETCHES_PER_USER},
    narrow::to_usize,
};

/// Tails that a session's list asked for and that have not come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tails {
    /// The RESUME that asked for them.
    request: NonZeroU64,
    /// How many are missing, of them and of the heads of large groups.
    left: u8,
    came: u8,
    /// A later RESUME, whose end is that of this one.
    then: Option<NonZeroU64>,
}

/// What came of something that was asked for with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Tail,
    /// Heads, or a tail that cannot be had.
    Other,
}

impl Homes {
    /// True of the answer to a FETCH that a list asked for.
    pub(super) fn is_tail(&self, asker: Asker) -> bool {
        self.with_tails.get(&asker.session.0).is_some_and(|tails| tails.request.get() == asker.request_id)
    }

    /// A list was written: the last messages of its first conversations are asked for, if the device wants them and has no such list under way.
    pub(super) fn ask_tails(
        &mut self,
        asker: Asker,
        resume: &Resume,
        (listed, heads): (&[ConversationId], u8),
        cx: &mut impl HomeContext,
    ) {
        let Some(request) = NonZeroU64::new(asker.request_id).filter(|_| resume.tails > 0) else { return };
        let Some(session) = self.sessions.get(asker.session) else { return };
        let (home, of_session) = (session.home, FETCHES_PER_SESSION.saturating_sub(session.fetches));
        let of_user = FETCHES_PER_USER.saturating_sub(self.fetches_of(home));
        let Some(session) = self.sessions.get_mut(asker.session) else { return };
        let free = to_usize(u64::from(of_user)).min(usize::from(of_session));
        let most = usize::from(resume.tails.min(TAILS_MAX)).min(free);
        if let Some(tails) = self.with_tails.get_mut(&asker.session.0) {
            if let Some(before) = tails.then.replace(request) {
                frame::append(cx.out(session.conn), before.get(), &SyncDone { tails: 0 });
            }
            return;
        }
        let wanted = &listed[..if resume.tail > 0 { listed.len().min(most) } else { 0 }];
        if wanted.is_empty() && heads == 0 {
            return frame::append(cx.out(session.conn), asker.request_id, &SyncDone { tails: 0 });
        }
        let left = u8::try_from(wanted.len()).expect("at most TAILS_MAX");
        self.with_tails
            .insert(asker.session.0, Tails { request, left: left.saturating_add(heads), came: 0, then: None });
        session.fetches += left;
        let user = session.user;
        self.index.get_mut(home).bucket.owe(u64::from(left));
        for conversation in wanted {
            let (from, upto, limit, order) = (Seq(0), Seq(0), u32::from(resume.tail), FetchOrder::Last);
            let fetch = Fetch { conversation: *conversation, from, upto, limit, order };
            let tail = self.admit(asker, user, fetch, cx);
            self.tails.extend(tail);
        }
    }

    /// The heads of large groups on a reactor came.
    pub(super) fn no_longer_awaited(&mut self, asker: Asker, cx: &mut impl HomeContext) {
        if self.is_tail(asker) {
            self.tail_ended(asker.session, Outcome::Other, cx);
        }
    }

    /// A tail of a session came, or cannot be had.
    pub(super) fn tail_ended(&mut self, id: SessionId, outcome: Outcome, cx: &mut impl HomeContext) {
        let (Some(session), Some(tails)) = (self.sessions.get(id), self.with_tails.get_mut(&id.0)) else { return };
        tails.came += u8::from(outcome == Outcome::Tail);
        tails.left = tails.left.saturating_sub(1);
        if tails.left == 0 {
            let Tails { request, came, then, .. } = *tails;
            frame::append(cx.out(session.conn), request.get(), &SyncDone { tails: u32::from(came) });
            if let Some(then) = then {
                frame::append(cx.out(session.conn), then.get(), &SyncDone { tails: 0 });
            }
            self.with_tails.remove(&id.0);
        }
    }
}
