//! What leaves the node, looked at in the moment when it leaves: whether what it says is true and durable then.

use tidings_client::UserId;
use tidings_wire::{
    ErrorCode, Frame, Kind, WireError,
    frames::{ErrorFrame, Fragment, Message, MessageFlags, Receipt, ReceiptOk, Sent},
    limits::FRAME_MAX,
    split,
};

use super::{World, devices::user_id, links::Who};
use crate::{machine::LinkId, oracle::tag_of};

impl World {
    /// Checks a stretch of output.
    pub(super) fn check_output(&mut self, id: LinkId, mut output: &[u8]) {
        let who = self.links.get(&id).map(|link| link.who);
        let user = match who {
            Some(Who::Device(at)) => Some(self.user_of(at)),
            Some(Who::Hostile) => Some(user_id(self.hostile_user())),
            _ => None,
        };
        while !output.is_empty() {
            let Ok(Some(frame)) = split(output, FRAME_MAX) else {
                return self.oracle.violate("I12", format!("the node says what is no frame on link {}", id.0));
            };
            output = &output[Frame::bytes(&frame).len()..];
            if who == Some(Who::Hostile) {
                self.hostile_hears(id, &frame);
            }
            if let Some(what) = self.shed_too_early(id, &frame) {
                self.oracle.violate("I24", format!("the node says on link {} {what}", id.0));
            }
            if let Some(what) = self.passed(id, &frame) {
                self.oracle.violate("I3", format!("the node says on link {} {what}", id.0));
            }
            match self.wrong(user, &frame).and_then(|wrong| Ok(wrong.or(self.wrong_fragment(user, &frame)?))) {
                Ok(None) => {}
                Ok(Some((invariant, what))) => {
                    self.oracle.violate(invariant, format!("the node says on link {} {what}", id.0));
                }
                Err(error) => self.oracle.violate("I12", format!("what the node says cannot be read: {error}")),
            }
        }
    }

    /// What is wrong with a refusal that says that there is too much to do: SENDs are shed last.
    fn shed_too_early(&self, id: LinkId, frame: &Frame<'_>) -> Option<String> {
        if frame.kind() != Ok(Kind::Error) {
            return None;
        }
        let error: ErrorFrame = frame.fixed().ok()?;
        let reactor = self.links.get(&id)?.node.as_ref()?.reactor;
        let is_early = error.code == ErrorCode::Overloaded as u16 && !self.shed_sends(reactor);
        is_early.then(|| "that a SEND is too much, and does not shed any".into())
    }

    /// What is wrong with a piece of a message that is being written.
    fn wrong_fragment(
        &mut self,
        user: Option<UserId>,
        frame: &Frame<'_>,
    ) -> Result<Option<(&'static str, String)>, WireError> {
        if frame.kind() != Ok(Kind::Fragment) {
            return Ok(None);
        }
        let Fragment { conversation, seq, offset, bytes, .. } = frame.fixed()?;
        let bytes = frame.var(bytes)?;
        let shown = self.oracle.fragment(user, (conversation, seq), offset, bytes);
        self.oracle.showed((conversation, seq), offset, bytes);
        self.stats.fragments += 1;
        Ok(shown.err().map(|what| ("I23", what)))
    }

    /// What is wrong with a frame to a user's device.
    fn wrong(&self, user: Option<UserId>, frame: &Frame<'_>) -> Result<Option<(&'static str, String)>, WireError> {
        let durable = &self.oracle.durable;
        Ok(match frame.kind() {
            Ok(Kind::Sent) => {
                let Sent { conversation, seq, .. } = frame.fixed()?;
                let there = durable.tag(conversation, seq).is_some();
                (!there).then(|| ("I1", format!("that {seq:?} is durable, and it is not")))
            }
            Ok(Kind::Message) => {
                let message: Message = frame.fixed()?;
                let payload = frame.var(message.payload)?;
                let content = crc32c::crc32c_append(crc32c::crc32c(frame.var(message.body)?), payload);
                if content != message.payload_crc {
                    return Ok(Some(("I12", format!("{:?} with a payload that does not match", message.seq))));
                }
                let place = self.oracle.place(message.conversation);
                let foreign = |user| place.is_none_or(|at| !self.oracle.may_see(at, user, message.seq));
                if user.is_some_and(foreign) {
                    return Ok(Some(("I9", format!("{:?} to somebody who may not read it", message.seq))));
                }
                let withheld = durable.blocks.is_withheld(message.conversation, message.seq);
                let withheld = withheld && user.is_some_and(|user| user != message.sender);
                let marked = message.flags.0 & MessageFlags::WITHHELD > 0;
                let nothing = payload.is_empty() && frame.var(message.body)?.is_empty();
                if user.is_some() && (marked != withheld || withheld && !nothing) {
                    return Ok(Some((
                        "I21",
                        format!("{:?}, withheld {marked}, and should be {withheld}", message.seq),
                    )));
                }
                let known = durable.tag(message.conversation, message.seq);
                let emptied = message.flags.0 & MessageFlags::EMPTIED > 0 && payload.is_empty();
                let there = known == Some(tag_of(&message, payload)) || emptied && known.is_some();
                (!there).then(|| ("I1", format!("{:?}, which is not durable", message.seq)))
            }
            Ok(Kind::Receipt) => {
                let Receipt { conversation, member, delivered, read } = frame.fixed()?;
                let logged = durable.marks(conversation, member);
                let frozen = durable.blocks.shown(conversation, member);
                if frozen.is_some_and(|(most, read_most)| delivered > most || read > read_most) {
                    return Ok(Some((
                        "I21",
                        format!("{delivered:?} and {read:?} of who blocks it from {frozen:?} on"),
                    )));
                }
                let there = delivered <= logged.delivered && read <= logged.read;
                (!there).then(|| ("I8", format!("{delivered:?} and {read:?} of a member; durable is {logged:?}")))
            }
            Ok(Kind::ReceiptOk) => {
                let ReceiptOk { conversation, delivered, read, .. } = frame.fixed()?;
                let logged = user.map(|user| durable.marks(conversation, user)).unwrap_or_default();
                let is_kept = !durable.is_large(conversation);
                let there = (delivered <= logged.delivered || !is_kept) && read <= logged.read;
                (!there).then(|| ("I1", format!("that {delivered:?} and {read:?} are durable; that is {logged:?}")))
            }
            _ => None,
        })
    }
}
