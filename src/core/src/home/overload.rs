//! What homes leave undone while their reactor has more to do than it can (`shedding.rs`).

use tidings_canary::{self as canary, Canary};
use tidings_wire::{ErrorCode, Frame};

use super::{Homes, SessionId, authentication::Scope, session::Session};
use crate::{
    context::{Context, HomeContext},
    counters::Counter,
    ephemeral::Ephemeral,
    limits::{SHED_RETRY_MS, SHED_WINDOW},
    node::Overload,
    shedding::{Backlog, Stage},
    time::Mono,
};

impl Homes {
    /// A turn is over, which left so much of what had come.
    pub(crate) fn look_at_load(&mut self, backlog: Backlog, now: Mono) {
        if self.config.overload == Overload::Waits {
            return;
        }
        self.shedding.look(backlog, now);
        let first = if canary::is(Canary::SendsShedFirst) { Stage::Typing } else { Stage::Sends };
        self.window = if self.shedding.sheds(first) { SHED_WINDOW } else { Scope::User.window() };
    }

    /// True if this is shed now: then it is counted.
    #[inline]
    pub(super) fn is_shed(&self, what: Stage, counter: Counter, cx: &mut impl Context) -> bool {
        let sheds = self.shedding.sheds(what);
        if sheds {
            cx.count(counter);
        }
        sheds
    }

    /// What may be lost and has come from elsewhere: true if it is shed.
    pub(crate) fn sheds(&self, message: &Ephemeral, cx: &mut impl Context) -> bool {
        match message {
            Ephemeral::Typing(_) | Ephemeral::Typed(_) => self.is_shed(Stage::Typing, Counter::ShedTyping, cx),
            // It comes seldom, and whoever is robbed of a device must not wait.
            Ephemeral::Administer { .. } | Ephemeral::Administered { .. } => false,
            Ephemeral::Fragment(_)
            | Ephemeral::More { .. }
            | Ephemeral::Grown { .. }
            | Ephemeral::WatchMembers { .. }
            | Ephemeral::Watches { .. }
            | Ephemeral::Watch { .. }
            | Ephemeral::Watched { .. }
            | Ephemeral::Presence { .. } => self.is_shed(Stage::Presence, Counter::ShedPresence, cx),
        }
    }

    /// What a session asks for that is shed now is refused with a time: true if it is.
    pub(super) fn refuse_shed(&mut self, id: SessionId, frame: &Frame<'_>, cx: &mut impl HomeContext) -> bool {
        let sheds = self.is_shed(Stage::Presence, Counter::ShedPresence, cx);
        if sheds {
            self.refuse_limited(id, frame, SHED_RETRY_MS, cx);
        }
        sheds
    }

    /// A session has as many SENDs in flight as most may now: why another one is refused, and for how long, if it is.
    #[inline(never)]
    pub(super) fn over_window(&self, session: &Session) -> Option<(ErrorCode, u32)> {
        match session.in_flight >= session.scope.window() {
            true => Some((ErrorCode::WindowExceeded, 0)),
            // Not all of them come back at the same time.
            false if self.window == SHED_WINDOW => {
                Some((ErrorCode::Overloaded, SHED_RETRY_MS + u32::from(session.user.0[10]) % SHED_RETRY_MS))
            }
            false => None,
        }
    }
}
