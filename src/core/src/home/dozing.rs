//! Devices at which nobody looks. Such a one is *dozing*: its bell rings once for each conversation, and what it missed is listed once somebody looks, so that
//! nothing can be lost. What it has is counted from the last durable change: what is not durable yet is told later, to those at whom somebody looks.

use alloc::vec::Vec;

use tidings_canary::{self as canary, Canary};
use tidings_wire::{
    ConversationId, Frame, Uv, WireError,
    frames::{Activity, Message, MessageFlags, SetActivity, group::control},
    limits::FRAME_MAX,
    split,
};

use super::{Homes, SessionId, session::Sync};
use crate::{context::HomeContext, limits::OUT_SOFT};

impl Homes {
    /// Somebody looks at the device, or does not any more.
    pub(super) fn on_activity(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        cx: &mut impl HomeContext,
    ) -> Result<(), WireError> {
        let SetActivity { activity } = frame.fixed()?;
        let Some(session) = self.sessions.get_mut(id) else { return Ok(()) };
        if session.activity == activity {
            return Ok(());
        }
        let home = session.home;
        if activity == Activity::Active
            && let Err(wait_ms) = self.index.get_mut(home).bucket.take(self.config.user_rate, cx.now().mono)
        {
            // Waking costs what RESUME does: a list of what came meanwhile.
            self.refuse_limited(id, frame, wait_ms, cx);
            return Ok(());
        }
        session.activity = activity;
        session.rung = None;
        // What is not durable yet is told when it is, to those at whom somebody looks: of others the list has it.
        let durable = self.index.get(home).durable;
        session.sync = match (activity, session.sync) {
            // Nothing is pushed to it that it would have to acknowledge; what it has not is listed, too.
            (Activity::Inactive, Sync::Live) => {
                Sync::Dozing(session.unacknowledged.forget().map_or(durable, |since| since.min(durable)))
            }
            (Activity::Active, Sync::Dozing(_)) if canary::is(Canary::DozedForgotten) => Sync::Live,
            (Activity::Active, Sync::Dozing(since)) => Sync::Behind(since),
            (_, sync) => sync,
        };
        self.stir(home);
        // What came meanwhile is listed.
        self.output_gone(id, cx);
        Ok(())
    }

    /// Somebody else's message, for a device at which nobody looks: it is pushed if it is the first of its conversation that a person wants to know of since
    /// then. If it does not fit, or did not come along, the list is the bell. Gives how many took it.
    pub(super) fn ring(
        &mut self,
        id: SessionId,
        conversation: ConversationId,
        bytes: &[u8],
        plain: &mut Vec<u8>,
        cx: &mut impl HomeContext,
    ) -> u64 {
        let Some(session) = self.sessions.get_mut(id) else { return 0 };
        let Sync::Dozing(since) = session.sync else { return 0 };
        let bytes = session.payloads.of(bytes, plain);
        if !bytes.is_empty() && !is_for_people(bytes) || !session.rings(conversation) {
            return 0;
        }
        if bytes.is_empty() || cx.buffered(session.conn) + bytes.len() > OUT_SOFT {
            session.sync = Sync::Behind(since);
            self.output_gone(id, cx);
            return 0;
        }
        cx.out(session.conn).extend_from_slice(bytes);
        1
    }
}

/// True of a message that somebody wants to know of at once: it says something, or takes the user in.
fn is_for_people(message: &[u8]) -> bool {
    let frame = split(message, FRAME_MAX).ok().flatten();
    let message = frame.and_then(|frame| frame.fixed::<Message>().ok());
    message.is_some_and(|Message { control, flags, .. }| {
        (control.has_content() || [control::CREATE, control::ADD].contains(&control))
            && flags.0 & MessageFlags::WITHHELD == 0
    })
}

/// How far a session is that has everything up to a change.
pub(super) fn live_or_dozing(activity: Activity, upto: Uv) -> Sync {
    match activity {
        Activity::Active => Sync::Live,
        Activity::Inactive => Sync::Dozing(upto),
    }
}
