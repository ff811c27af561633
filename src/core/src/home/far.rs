//! FETCHes of conversations on other reactors. Those do not see how much of a session's output is unread, so the home asks them for no more than
//! the session is sure to have room for; the rest waits here, in order.

use alloc::collections::VecDeque;

use tidings_wire::{
    ErrorCode, Kind, UserId,
    frames::Fetch,
    limits::{FRAME_MAX, PAGE_BYTES},
};

use super::{Homes, SessionId, tails::Outcome};
use crate::{
    context::HomeContext,
    effects::ReactorId,
    lanes::{Asker, Refusal, ToConversation},
    limits::{BUSY_RETRY_MS, OUT_HARD, OUT_SOFT},
};

/// The FETCHes of one session that are for other reactors.
#[derive(Debug, Default)]
pub(super) struct Far {
    under_way: u8,
    waiting: VecDeque<ToConversation>,
}

/// Bytes that the answer to one FETCH has at most: a page, and the frame that ends it.
const ANSWER_MAX: usize = PAGE_BYTES as usize + 256;
const _: () = assert!(PAGE_BYTES >= FRAME_MAX, "a message that is a page by itself fits");

impl Homes {
    /// The FETCH of a session as it goes to its conversation, if it may go now; else it goes later.
    pub(super) fn admit(
        &mut self,
        asker: Asker,
        user: UserId,
        fetch: Fetch,
        cx: &mut impl HomeContext,
    ) -> Option<ToConversation> {
        let message = ToConversation::Fetch { asker, user, fetch };
        if self.config.layout.conversation(&fetch.conversation) == self.config.me {
            return Some(message);
        }
        self.far.entry(asker.session.0).or_default().waiting.push_back(message);
        self.next_of(asker.session, cx)
    }

    /// The next FETCH that waits in a session, if its answer has room besides those under way and what may be pushed meanwhile.
    fn next_of(&mut self, id: SessionId, cx: &mut impl HomeContext) -> Option<ToConversation> {
        let (session, far) = (self.sessions.get(id)?, self.far.get_mut(&id.0)?);
        let answers = (usize::from(far.under_way) + 1) * ANSWER_MAX;
        if cx.buffered(session.conn) + answers > OUT_HARD - OUT_SOFT {
            return None;
        }
        let fetch = far.waiting.pop_front()?;
        far.under_way += 1;
        Some(fetch)
    }

    /// The FETCH of a session was answered from a reactor.
    pub(super) fn answered_from(&mut self, reactor: ReactorId, id: SessionId) {
        let Some(far) = self.far.get_mut(&id.0).filter(|_| reactor != self.config.me) else { return };
        far.under_way = far.under_way.saturating_sub(1);
        if far.under_way == 0 && far.waiting.is_empty() {
            self.far.remove(&id.0);
        } else {
            self.may_fetch.push_back(id);
        }
    }

    /// A session has sent something: what waits for that may go.
    pub(crate) fn fetch_on(&mut self, id: SessionId) {
        if !self.far.is_empty() && self.far.contains_key(&id.0) {
            self.may_fetch.push_back(id);
        }
    }

    /// A FETCH that did not come with a frame: a tail, or one that waited.
    pub(crate) fn next_fetch(&mut self, cx: &mut impl HomeContext) -> Option<ToConversation> {
        if let Some(tail) = self.tails.pop() {
            return Some(tail);
        }
        while let Some(id) = self.may_fetch.front().copied() {
            let next = self.next_of(id, cx);
            if next.is_some() {
                return next;
            }
            self.may_fetch.pop_front();
        }
        None
    }

    /// The lane did not take what [`Self::next_fetch`] gave.
    pub(crate) fn fetch_refused(&mut self, asker: Asker, fetch: &Fetch, to: ReactorId, cx: &mut impl HomeContext) {
        self.answered_from(to, asker.session);
        self.fetch_ended(asker.session);
        if self.is_tail(asker) {
            return self.tail_ended(asker.session, Outcome::Other, cx);
        }
        let refusal = Refusal::of(ErrorCode::Busy, Kind::Fetch).for_ms(BUSY_RETRY_MS);
        self.write_refusal(asker, &Refusal { conversation: fetch.conversation, ..refusal }, cx);
    }
}
