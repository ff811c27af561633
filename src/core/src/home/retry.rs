//! Messages are pushed until they are acknowledged. A device that promised to send DELIVERED (HELLO's capabilities) and does not is told again
//! what changed, each time after twice as long; then its session ends, and it resumes. TCP repeats what the network loses, so this finds what TCP
//! cannot see: a device that took bytes and lost them, or has stopped without closing.

use alloc::collections::BTreeSet;
use core::num::NonZeroU32;

use tidings_wire::{ErrorCode, Uv};

use super::{
    Homes, SessionId,
    session::{Session, Sync},
};
use crate::{
    context::HomeContext,
    counters::Counter,
    limits::{ACKNOWLEDGE_S, PUSHES_MAX},
    slab::Key,
    time::Mono,
};

/// Whether a device acknowledges what is pushed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushes {
    /// It does not say so: what is pushed is pushed once.
    Once,
    /// It does.
    UntilAcknowledged,
}

/// What a session has not acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Unacknowledged {
    /// The second in which the first of it was pushed, if there is any.
    pushed: Option<NonZeroU32>,
    /// It was pushed again so often.
    again: u8,
    /// There is an alarm for the session.
    has_alarm: bool,
    /// The change before the first of it.
    since: Uv,
}

impl Unacknowledged {
    /// Nothing.
    pub const NOTHING: Self = Self { pushed: None, again: 0, has_alarm: false, since: Uv(0) };
}

/// A session that is looked at in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alarm {
    second: u32,
    index: u32,
    generation: u32,
}

const SECOND_NS: u64 = 1_000_000_000;

fn second_of(now: Mono) -> NonZeroU32 {
    // From 1 on, so that none is 0.
    NonZeroU32::MIN.saturating_add(u32::try_from(now.0 / SECOND_NS).unwrap_or(u32::MAX))
}

impl Alarm {
    fn of(id: SessionId, second: u32) -> Self {
        Self { second, index: id.0.index, generation: id.0.generation }
    }

    pub(super) fn due(&self) -> Mono {
        Mono(u64::from(self.second.saturating_sub(1)) * SECOND_NS)
    }
}

/// The second by which something must be acknowledged that was pushed in one, again so often.
fn deadline(pushed: NonZeroU32, again: u8) -> u32 {
    pushed.get().saturating_add(ACKNOWLEDGE_S << again)
}

impl Unacknowledged {
    /// Nothing is waited for any more. Gives the last change before the first that was not acknowledged, if one was not.
    pub(super) fn forget(&mut self) -> Option<Uv> {
        self.again = 0;
        self.pushed.take().map(|_| self.since)
    }
}

/// Somebody else's message was pushed to a session; `before` is the last change before it.
#[inline]
pub(super) fn note_push((id, session): (SessionId, &mut Session), before: Uv, now: Mono, alarms: &mut BTreeSet<Alarm>) {
    let Session { pushes: Pushes::UntilAcknowledged, unacknowledged, .. } = session else { return };
    if unacknowledged.pushed.is_some() {
        return;
    }
    let pushed = second_of(now);
    (unacknowledged.pushed, unacknowledged.since) = (Some(pushed), before);
    if !core::mem::replace(&mut unacknowledged.has_alarm, true) {
        alarms.insert(Alarm::of(id, deadline(pushed, 0)));
    }
}

impl Homes {
    /// A session acknowledged something: what came before that on its connection came, too.
    #[inline]
    pub(super) fn note_acknowledged(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            (session.unacknowledged.pushed, session.unacknowledged.again) = (None, 0);
        }
    }

    /// Sessions that did not acknowledge in time are pushed to again, or end.
    pub(crate) fn push_again(&mut self, cx: &mut impl HomeContext) {
        let now = cx.now().mono;
        while let Some(alarm) = self.alarms.pop_first() {
            if alarm.due() > now {
                self.alarms.insert(alarm);
                return;
            }
            let id = SessionId(Key { index: alarm.index, generation: alarm.generation });
            let Some(session) = self.sessions.get_mut(id) else { continue };
            let unacknowledged = &mut session.unacknowledged;
            let Some(pushed) = unacknowledged.pushed else {
                unacknowledged.has_alarm = false;
                continue;
            };
            let by = deadline(pushed, unacknowledged.again);
            if Alarm::of(id, by).due() > now {
                self.alarms.insert(Alarm::of(id, by)); // that was acknowledged, and something newer is not
                continue;
            }
            if unacknowledged.again == PUSHES_MAX {
                let text = "messages were pushed again and again and not acknowledged";
                self.close_with(id, ErrorCode::TooSlow, 0, 0, text, cx);
                continue;
            }
            let since = unacknowledged.since;
            (unacknowledged.pushed, unacknowledged.again) = (Some(second_of(now)), unacknowledged.again + 1);
            self.alarms.insert(Alarm::of(id, deadline(second_of(now), unacknowledged.again)));
            if session.sync == Sync::Live {
                session.sync = Sync::Behind(since);
                cx.count(Counter::PushedAgain);
                self.output_gone(id, cx);
            }
        }
    }
}
