//! Messages that the user does not want to see any more, on any of its devices.

use tidings_wire::{
    ConversationId, ErrorCode, Frame, Seq, WireError,
    archive::{self, Archived},
    frame,
    frames::{Forget, Forgotten, ForgottenRange},
};

use crate::{
    event::Event,
    session::{Request, Session},
};

/// What is to be forgotten, or (numbers 0) which messages are.
pub(crate) type Wish = (ConversationId, (Seq, Seq));

const WHICH: (Seq, Seq) = (Seq(0), Seq(0));

impl Session {
    /// Shows messages of a conversation to this user no more, on none of its devices; others keep them. It is never taken back. Told as
    /// [`Event::Forgotten`] once it counts, or [`Event::ForgetFailed`].
    pub fn forget(&mut self, conversation: ConversationId, first: Seq, last: Seq) {
        self.wish_forgotten((conversation, (first, last)));
    }

    fn wish_forgotten(&mut self, wish: Wish) {
        if !self.to_forget.contains(&wish) {
            self.to_forget.push(wish);
            self.ask_to_forget(wish);
        }
    }

    /// Asks for everything that is to be forgotten and not answered.
    pub(crate) fn ask_to_forget_all(&mut self) {
        for wish in self.to_forget.clone() {
            self.ask_to_forget(wish);
        }
    }

    fn ask_to_forget(&mut self, wish: Wish) {
        if self.is_up() {
            let id = self.request_id();
            self.requests.insert(id, Request::Forget(wish));
            let (conversation, (first, last)) = wish;
            frame::append(&mut self.out, id, &Forget { conversation, first, last });
        }
    }

    pub(crate) fn on_forgotten(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        let Forgotten { conversation, changes, ranges } = frame.fixed()?;
        let ranges = frame.var(ranges)?.chunks_exact(ForgottenRange::LEN);
        let ranges = ranges.map(archive::read).collect::<Result<Vec<ForgottenRange>, _>>()?;
        let mut is_all = false;
        if let Some(Request::Forget(wish)) = self.requests.remove(&frame.header().request_id) {
            self.to_forget.retain(|other| *other != wish);
            is_all = wish.1 == WHICH;
        }
        for ForgottenRange { first, last } in &ranges {
            self.events.push_back(Event::Forgotten { conversation, first: *first, last: *last });
        }
        let Some(known) = self.conversations.get_mut(&conversation) else { return Ok(()) };
        ranges.iter().filter(|range| range.first <= range.last).for_each(|range| known.forget(range.first, range.last));
        if is_all || changes <= known.forgotten.saturating_add(1) {
            known.forgotten = known.forgotten.max(changes);
        } else {
            self.wish_forgotten((conversation, WHICH)); // some were not told here
        }
        Ok(())
    }

    /// The server says how often the user said so of messages of a conversation: if that is more than this device heard of, it asks which they are.
    pub(crate) fn heard_forgotten(&mut self, conversation: ConversationId, changes: u32) {
        if self.conversations.get(&conversation).is_some_and(|known| known.forgotten < changes) {
            self.wish_forgotten((conversation, WHICH));
        }
    }

    /// It was refused: for good, or to be asked for again.
    pub(crate) fn on_forget_refused(&mut self, wish: Wish, code: ErrorCode, again: bool) {
        if !again {
            self.to_forget.retain(|other| *other != wish);
            self.events.push_back(Event::ForgetFailed { conversation: wish.0, code });
        }
    }
}
