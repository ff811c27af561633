//! What sessions write at messages that grow, and what they are told of those of others.

use alloc::vec::Vec;

use tidings_wire::{ErrorCode, Frame, WireError, frames, limits::FRAGMENT_MAX};

use super::{Homes, SessionId, rates::Does, session::Sync};
use crate::{
    context::HomeContext,
    counters::Counter,
    engine::write_fragment,
    ephemeral::{Ephemeral, Fragment, Reader, ids},
    lanes::Asker,
    limits::{EPHEMERAL_OUT, FRAGMENT_TOKENS, MORE_TOKENS},
};

impl Homes {
    /// More of what a message says.
    pub(super) fn on_fragment(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        cx: &mut impl HomeContext,
    ) -> Result<(), WireError> {
        let frames::Fragment { conversation, seq, offset, crc, bytes } = frame.fixed()?;
        let bytes = frame.var(bytes)?;
        let fault = match () {
            () if bytes.len() > FRAGMENT_MAX => Some(ErrorCode::PayloadTooLarge),
            () if frames::Fragment::crc_of(bytes) != crc => Some(ErrorCode::PayloadChecksum),
            () => None,
        };
        if let Some(code) = fault {
            self.refuse_frame(id, frame, code, cx);
            return Ok(());
        }
        let Some(reader) = self.reader(id, frame, (conversation, seq), FRAGMENT_TOKENS, cx) else { return Ok(()) };
        let to = self.config.layout.conversation(&conversation);
        cx.ephemeral(to, Ephemeral::Fragment(Fragment { reader, offset }), bytes);
        Ok(())
    }

    /// What does a message say from here on?
    pub(super) fn on_more(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        cx: &mut impl HomeContext,
    ) -> Result<(), WireError> {
        let frames::More { conversation, seq, offset } = frame.fixed()?;
        let Some(reader) = self.reader(id, frame, (conversation, seq), MORE_TOKENS, cx) else { return Ok(()) };
        cx.ephemeral(self.config.layout.conversation(&conversation), Ephemeral::More { reader, offset }, &[]);
        Ok(())
    }

    /// Who asks for something of a message that grows, if its user may.
    fn reader(
        &mut self,
        id: SessionId,
        frame: &Frame<'_>,
        (conversation, seq): (tidings_wire::ConversationId, tidings_wire::Seq),
        tokens: u32,
        cx: &mut impl HomeContext,
    ) -> Option<Reader> {
        if self.refuse_shed(id, frame, cx) {
            return None;
        }
        let session = self.sessions.get(id)?;
        let (home, user, device, scope) = (session.home, session.user, session.device, session.scope);
        if let Err(wait_ms) = self.take_rate(home, Does::SaysInPassing(scope), tokens, cx.now().mono) {
            self.refuse_limited(id, frame, wait_ms, cx);
            return None;
        }
        let asker = Asker { session: id, request_id: frame.header().request_id };
        Some(Reader { asker, reactor: self.config.me, user, device, conversation, seq })
    }

    /// Members are told that a message says more. Whoever is behind will ask.
    pub(super) fn on_grown(&mut self, message: &Ephemeral, payload: &[u8], cx: &mut impl HomeContext) {
        let &Ephemeral::Grown { conversation, seq, offset, writer, device, members } = message else { return };
        let Some((users, bytes)) = payload.split_at_checked(usize::from(members) * 16) else { return };
        let mut told = Vec::new();
        write_fragment((conversation, seq, offset), bytes, &mut told);
        for home in ids(users).filter_map(|user| self.index.find_home(user)) {
            for id in &self.index.get(home).sessions {
                let Some(session) = self.sessions.get(*id) else { continue };
                let wrote_it = session.user == writer && session.device == device;
                if !session.is_there() || session.sync != Sync::Live || wrote_it {
                    continue;
                }
                if cx.buffered(session.conn) > EPHEMERAL_OUT {
                    cx.count(Counter::EphemeralDropped);
                    continue;
                }
                cx.out(session.conn).extend_from_slice(&told);
                cx.count(Counter::EphemeralTold);
            }
        }
    }
}
