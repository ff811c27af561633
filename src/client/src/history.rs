//! Reading what is stored because the application asks for it: page after page, until the range is whole.

use std::{collections::VecDeque, num::NonZeroU32};

use tidings_wire::{
    ConversationId, ErrorCode, Seq, frame,
    frames::{Fetch, FetchOrder, Fetched},
    limits::FETCH_MAX,
};

use crate::{
    event::{Event, Message},
    session::{Request, Resting, Session},
};

/// How often a page that the server was too busy for is asked for again.
const REFUSALS_MAX: u32 = 8;

/// A range that the application asked for and that is not whole yet.
#[derive(Debug)]
pub(crate) struct Reading {
    conversation: ConversationId,
    order: FetchOrder,
    /// The numbers that no page has answered for: `upto` 0 is the head.
    from: Seq,
    upto: Seq,
    /// Messages that are still wanted.
    left: u32,
    /// Messages of earlier pages; those of the page that is coming are behind them.
    messages: VecDeque<Message>,
    /// How many of the messages are of the page that is coming.
    coming: usize,
    /// The last of them, if they are told as they come.
    told: Seq,
    /// The numbers that pages have answered for, if any has.
    answered: Option<(Seq, Seq)>,
    /// The first message that was found damaged; 0: none.
    damaged: Seq,
    refusals: u32,
}

impl Reading {
    /// A message of the page that is coming. Where pages come in rising order it can be told at once. More than was asked for
    /// is not kept.
    pub(crate) fn take(&mut self, message: Message) -> Option<Event> {
        if self.coming >= self.left.min(FETCH_MAX) as usize {
            return None;
        }
        self.coming += 1;
        match self.order {
            FetchOrder::Upward => {
                self.told = message.seq;
                Some(Event::Older(message))
            }
            FetchOrder::Last => {
                self.messages.push_back(message);
                None
            }
        }
    }

    /// The page ends in the middle. What was told of it is not asked for again; the rest of it is, with what was kept.
    fn page_broke_off(&mut self) {
        if self.order == FetchOrder::Upward && self.coming > 0 {
            let (_, high) = self.answered.get_or_insert((self.from, self.told));
            *high = (*high).max(self.told);
            self.from = self.told.next();
            self.left = self.left.saturating_sub(u32::try_from(self.coming).unwrap_or(u32::MAX));
        } else {
            self.messages.truncate(self.messages.len() - self.coming);
        }
        self.coming = 0;
    }

    /// A page is complete. True if all that was asked for has come, or cannot be had.
    fn page_ended(&mut self, fetched: &Fetched) -> bool {
        let (first, last) = fetched.answered().into_inner();
        if fetched.damaged > Seq(0) {
            self.damaged = fetched.damaged;
        }
        self.left = self.left.saturating_sub(u32::try_from(self.coming).unwrap_or(u32::MAX));
        // The page that came last is the oldest: it goes before the others.
        let earlier = self.messages.len().saturating_sub(self.coming);
        self.messages.rotate_left(earlier);
        self.coming = 0;
        let (low, high) = *self.answered.get_or_insert((Seq(first), Seq(last)));
        let goes_on = match self.order {
            FetchOrder::Upward => (first..=last).contains(&self.from.0),
            FetchOrder::Last => first <= last && (self.upto == Seq(0) || last <= self.upto.0),
        };
        if !goes_on {
            return true; // nothing is left, or this server will never say so
        }
        self.answered = Some((low.min(Seq(first)), high.max(Seq(last))));
        match self.order {
            FetchOrder::Upward => {
                self.from = Seq(last).next();
                self.left == 0 || last >= fetched.head.0 || self.upto != Seq(0) && self.from > self.upto
            }
            FetchOrder::Last => {
                self.upto = Seq(first - 1);
                self.left == 0 || self.upto < self.from.max(Seq(1))
            }
        }
    }
}

impl Session {
    /// Asks for the last `limit` messages below `before` (0: from the newest), to be told as [`Event::Older`] in rising order
    /// and then [`Event::HistoryDone`]; they are kept here until all have come. Nothing happens while the session is not up,
    /// and what has not come when the connection ends must be asked for again.
    pub fn history(&mut self, conversation: ConversationId, before: Seq, limit: NonZeroU32) {
        let cleared = self.conversations.get(&conversation).map_or(Seq(0), |known| known.preferences.cleared);
        if before > Seq(0) && before <= cleared.next() {
            let head = self.conversations.get(&conversation).map_or(Seq(0), |known| known.head);
            let (oldest, first, last, damaged) = (Seq(1), Seq(1), Seq(0), Seq(0));
            return self.events.push_back(Event::HistoryDone { conversation, oldest, head, first, last, damaged });
        }
        let upto = Seq(before.0.saturating_sub(1));
        self.begin_reading(conversation, FetchOrder::Last, cleared.next(), upto, limit.get());
    }

    /// Asks for the first `limit` messages after `after`, to be told as they come: [`Event::Older`] in rising order and then
    /// [`Event::HistoryDone`]. Otherwise as [`Self::history`].
    pub fn history_after(&mut self, conversation: ConversationId, after: Seq, limit: NonZeroU32) {
        let cleared = self.conversations.get(&conversation).map_or(Seq(0), |known| known.preferences.cleared);
        self.begin_reading(conversation, FetchOrder::Upward, after.max(cleared).next(), Seq(0), limit.get());
    }

    fn begin_reading(&mut self, conversation: ConversationId, order: FetchOrder, from: Seq, upto: Seq, left: u32) {
        let (messages, coming, answered, refusals) = (VecDeque::new(), 0, None, 0);
        let (told, damaged) = (Seq(0), Seq(0));
        let reading =
            Reading { conversation, order, from, upto, left, messages, coming, told, answered, damaged, refusals };
        if self.is_up() {
            self.ask_page(reading);
        }
    }

    pub(crate) fn ask_page(&mut self, reading: Reading) {
        let Reading { conversation, from, upto, left, order, .. } = reading;
        let request = self.request_id();
        frame::append(&mut self.out, request, &Fetch { conversation, from, upto, limit: left, order });
        self.requests.insert(request, Request::History(Box::new(reading)));
    }

    pub(crate) fn on_history_page(&mut self, mut reading: Reading, fetched: &Fetched) {
        if !reading.page_ended(fetched) {
            reading.refusals = 0;
            return self.ask_page(reading);
        }
        let (first, last) = reading.answered.unwrap_or((Seq(1), Seq(0)));
        let (conversation, oldest, head, damaged) =
            (reading.conversation, fetched.oldest, fetched.head, reading.damaged);
        self.events.extend(reading.messages.into_iter().map(Event::Older));
        self.events.push_back(Event::HistoryDone { conversation, oldest, head, first, last, damaged });
    }

    /// A page was refused: it is asked for again, if waiting helps, but not for ever.
    pub(crate) fn on_history_refused(&mut self, mut reading: Box<Reading>, code: ErrorCode, retry_ms: Option<u64>) {
        let Reading { conversation, refusals, .. } = *reading;
        let passes = [ErrorCode::Busy, ErrorCode::RateLimited, ErrorCode::HistoryUnavailable].contains(&code);
        match retry_ms.filter(|_| passes && refusals < REFUSALS_MAX) {
            Some(wait_ms) => {
                reading.refusals += 1;
                reading.page_broke_off();
                let doublings = if code == ErrorCode::HistoryUnavailable { 0 } else { refusals };
                self.resting.push((self.now.plus_ms(wait_ms.max(1) << doublings), Resting::Reading(reading)));
            }
            None => self.events.push_back(Event::HistoryFailed { conversation, code }),
        }
    }
}
