//! Nobody passes: SENDs of a connection are judged in the order in which they came, also where one of them has to wait for something to
//! be loaded. Seen from outside: a SEND that names its predecessor on the same connection is not refused as out of order, unless
//! the predecessor was refused before it.

use tidings_wire::{
    ClientMsgId, ConversationId, ErrorCode, Frame, Frames, Kind,
    frames::{ErrorFrame, Send, about::control::ERASE, group::control::CREATE},
    limits::FRAME_MAX,
};

use super::World;
use crate::machine::LinkId;

/// SENDs of a connection that are remembered.
const ASKED_MAX: usize = 256;

/// A SEND that was not refused (yet).
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    conversation: ConversationId,
    id: ClientMsgId,
    prev: ClientMsgId,
}

impl World {
    /// A device that knows all that it ever sent puts these bytes on a connection.
    pub(super) fn note_sends(&mut self, link: LinkId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&link) else { return };
        let mut frames = Frames::of(bytes);
        while let Ok(Some(frame)) = frames.next(FRAME_MAX) {
            if frame.kind() == Ok(Kind::Send)
                && let Ok(Send { conversation, client_msg_id, prev, control, .. }) = frame.fixed()
                // One that does what is done already is answered although what came before it may be refused after that.
                && ![CREATE, ERASE].contains(&control)
            {
                if link.asked.len() == ASKED_MAX {
                    link.asked.pop_front();
                }
                link.asked.push_back(Asked { conversation, id: client_msg_id, prev });
            }
        }
    }

    /// The node says this on a connection: what it has let pass, if it has.
    pub(super) fn passed(&mut self, link: LinkId, frame: &Frame<'_>) -> Option<String> {
        if frame.kind() != Ok(Kind::Error) {
            return None;
        }
        let error: ErrorFrame = frame.fixed().ok()?;
        let link = self.links.get_mut(&link)?;
        let of = |asked: &Asked| asked.conversation == error.conversation && asked.id == error.client_msg_id;
        let at = link.asked.iter().position(of)?;
        let refused = link.asked.remove(at)?;
        let before = |asked: &&Asked| asked.conversation == refused.conversation && asked.id == refused.prev;
        let predecessor = link.asked.iter().take(at).find(before)?;
        // A predecessor that was taken before (a repeat whose first answer was lost) says nothing if something later was taken, too.
        let later = error.highest > predecessor.id;
        (error.code == ErrorCode::OutOfOrder as u16 && !later)
            .then(|| format!("that {:?} is out of order, although {:?} came before it", refused.id, predecessor.id))
    }
}
