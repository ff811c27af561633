//! Tokens end, and sessions with them, unless a new one came in time.

use core::num::NonZeroU32;

use tidings_wire::{
    DeviceId, ErrorCode, Frame, Kind, Retry, Timestamp, UserId,
    frame::{self},
    frames::{ErrorFrame, ReauthOk},
};

use super::{
    Homes, SessionId,
    authentication::{COME_AGAIN_MS, Renewal},
    index::HomeKey,
    settings::age,
};
use crate::{
    context::HomeContext,
    limits::REAUTH_TOKENS,
    slab::Key,
    time::{Mono, Now},
};

/// A session and the second in which it ends, small since every session has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ending {
    second: NonZeroU32,
    index: u32,
    generation: u32,
}

impl Ending {
    pub(super) fn of(id: SessionId, second: NonZeroU32) -> Self {
        Self { second, index: id.0.index, generation: id.0.generation }
    }

    /// The moment by which it has ended.
    pub(super) fn due(&self) -> Mono {
        Mono(u64::from(self.second.get()) * SECOND_NS)
    }
}

const SECOND_NS: u64 = 1_000_000_000;

/// Sessions that end in one turn.
const ENDS_PER_TURN: usize = 64;

/// The second in which a session ends that lasts until a moment; `None`: never.
fn end_of(until: Option<Timestamp>, now: Now) -> Option<NonZeroU32> {
    let left_us = until?.0.saturating_sub(now.wall.0);
    let second = (now.mono.0 / 1000).saturating_add(left_us).div_ceil(1_000_000);
    // One that lasts for longer than a clock of 32 bits counts lasts for ever.
    NonZeroU32::new(u32::try_from(second).ok()?)
}

impl Homes {
    /// Of a user's sessions the one that ends first, if it ends before one that lasts until a moment would: who holds an older token does
    /// not keep out whoever was given a newer one.
    pub(super) fn outlived(&self, home: HomeKey, until: Option<Timestamp>, now: Now) -> Option<SessionId> {
        let ending = |id: &SessionId| Some((self.sessions.get(*id)?.ends?, *id));
        let (ends, id) = self.index.get(home).sessions.iter().filter_map(ending).min_by_key(|(ends, _)| *ends)?;
        end_of(until, now).is_none_or(|end| end > ends).then_some(id)
    }

    /// A session lasts until a moment. Measured from here on: a clock that jumps later ends nobody early.
    pub(super) fn set_end(&mut self, id: SessionId, until: Option<Timestamp>, now: Now) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let ends = end_of(until, now);
        let before = core::mem::replace(&mut session.ends, ends);
        before.map(|before| self.expiring.remove(&Ending::of(id, before)));
        ends.map(|ends| self.expiring.insert(Ending::of(id, ends)));
    }

    /// The user of a session and the device, while it lives and may have a token checked, which its user's rate pays for.
    pub(crate) fn may_reauthenticate(&mut self, id: SessionId, now: Now) -> Option<(UserId, DeviceId)> {
        let session = self.sessions.get(id)?;
        let bucket = &mut self.index.get_mut(session.home).bucket;
        bucket.take(self.config.user_rate, now.mono).ok()?;
        bucket.owe(REAUTH_TOKENS);
        Some((session.user, session.device))
    }

    /// REAUTH was checked.
    pub(crate) fn reauthenticated(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        outcome: Result<Renewal, ErrorCode>,
        cx: &mut impl HomeContext,
    ) {
        let Some(session) = self.sessions.get(id).filter(|session| !session.ending) else { return };
        let (conn, home, device, request_id) = (session.conn, session.home, session.device, frame.header().request_id);
        // A token that would not be let in renews nothing.
        let outcome = outcome.and_then(|renewal| {
            let own = self.index.get(home).own.as_ref();
            own.map_or(Ok(()), |own| own.check_token(device, renewal.issued, renewal.bound))?;
            Ok(renewal)
        });
        match outcome {
            Ok(Renewal { until, issued, bound, scope }) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    (session.issued, session.scope) = (age(issued, bound), scope);
                }
                if let Some(own) = &mut self.index.get_mut(home).own {
                    own.renewed(device, issued);
                }
                self.set_end(id, until, cx.now());
                let token_until = until.unwrap_or_default();
                frame::append(cx.out(conn), request_id, &ReauthOk { token_until });
            }
            Err(code) => {
                cx.counters().error(code);
                // The token before still counts, whatever the code means elsewhere.
                let (retry, retry_after_ms) = match code {
                    ErrorCode::Busy => (Retry::Later as u8, COME_AGAIN_MS),
                    _ => (Retry::Never as u8, 0),
                };
                let error = ErrorFrame { retry, retry_after_ms, ..ErrorFrame::new(code, Kind::Reauth as u8) };
                error.append(cx.out(conn), request_id, "");
            }
        }
    }

    /// Ends sessions whose token has ended: what was taken from them is answered first.
    pub(crate) fn end_expired(&mut self, cx: &mut impl HomeContext) {
        let now = cx.now().mono;
        for _ in 0..ENDS_PER_TURN {
            let Some(ending) = self.expiring.first().copied().filter(|ending| ending.due() <= now) else { return };
            self.expiring.pop_first();
            let id = SessionId(Key { index: ending.index, generation: ending.generation });
            if let Some(session) = self.sessions.get_mut(id) {
                (session.ends, session.ending) = (None, true);
            }
            self.end_if_answered(id, cx);
        }
    }

    /// Ends a session that is to end, once nothing that it sent waits for its answer.
    pub(super) fn end_if_answered(&mut self, id: SessionId, cx: &mut impl HomeContext) {
        if self.sessions.get(id).is_some_and(|session| session.ending && session.in_flight == 0) {
            self.close_with(id, ErrorCode::TokenExpired, 0, 0, "connect again with a new token", cx);
        }
    }
}
