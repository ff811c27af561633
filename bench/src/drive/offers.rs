//! What each pair offered, what came back of it and when: the same for every server that is measured.

use std::{collections::VecDeque, time::Instant};

use hdrhistogram::Histogram;

use super::{
    pace::{histogram, record},
    timeline::Timeline,
};

/// Attempts whose time is remembered.
const REMEMBERED: u64 = 4096;

/// What was measured, of messages that were due in the measured time.
#[derive(Debug)]
pub struct Measured {
    /// From when it was due to SENT, microseconds.
    pub sent_us: Histogram<u64>,
    /// From when it was due to MESSAGE, microseconds.
    pub delivered_us: Histogram<u64>,
    /// The same by second, by when the answer came.
    pub timeline: Timeline,
    /// Answers that came in the measured time.
    pub acked: u64,
    /// Messages that failed a check.
    pub wrong: u64,
    /// Attempts that were refused for now.
    pub refused: u64,
    window: (Instant, Instant),
}

impl Measured {
    /// Nothing yet; messages count that are due from an instant to another.
    pub fn new((from, to): (Instant, Instant)) -> Self {
        let timeline = Timeline::new(from, to - from);
        let (sent_us, delivered_us, window) = (histogram(), histogram(), (from, to));
        Self { sent_us, delivered_us, timeline, acked: 0, wrong: 0, refused: 0, window }
    }

    /// Nothing, of no time.
    pub fn nothing() -> Self {
        let now = Instant::now();
        Self::new((now, now))
    }

    fn counts(&self, at: Instant) -> bool {
        let (from, to) = self.window;
        from <= at && at < to
    }
}

/// Of one pair: messages by number, from 1.
#[derive(Debug)]
pub struct Offers {
    /// When attempts were due, by number.
    due: Vec<Instant>,
    /// When messages were due that wait here for room in the window.
    backlog: VecDeque<Instant>,
    /// How many were attempted, answered, delivered.
    attempted: u64,
    sent: u64,
    delivered: u64,
    /// Attempts that were refused for now, and until when nothing is attempted.
    refused: u64,
    rests_until: Option<Instant>,
}

impl Offers {
    /// Nothing was offered yet.
    pub fn new() -> Self {
        let due = vec![Instant::now(); REMEMBERED as usize];
        Self { due, backlog: VecDeque::new(), attempted: 0, sent: 0, delivered: 0, refused: 0, rests_until: None }
    }

    /// A message is due, whether there is room for it or not: its time counts from now on.
    pub fn put(&mut self, due: Instant) {
        self.backlog.push_back(due);
    }

    /// In a closed loop: keeps so many messages due or in flight.
    pub fn refill(&mut self, depth: u64, now: Instant) {
        let there = self.in_flight() + self.backlog.len() as u64;
        (there..depth).for_each(|_| self.put(now));
    }

    /// Messages that were due and are not both answered and delivered.
    pub fn unfinished(&self) -> u64 {
        self.backlog.len() as u64 + self.attempted - self.sent.min(self.delivered)
    }

    /// Messages that are sent and not answered.
    pub fn in_flight(&self) -> u64 {
        self.attempted - self.sent - self.refused
    }

    /// When something may be attempted again, if it rests.
    pub fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    /// An attempt was refused for now. Those behind it are refused, too: once all are answered they are made again, in their order.
    pub fn on_refused(&mut self, until: Instant, measured: &mut Measured) {
        self.refused += 1;
        measured.refused += 1;
        self.rests_until = Some(self.rests_until.map_or(until, |before| before.max(until)));
    }

    /// True if something may be attempted.
    fn goes_on(&mut self, now: Instant) -> bool {
        if self.refused == 0 {
            return true;
        }
        if self.in_flight() > 0 || self.rests_until.is_some_and(|until| until > now) {
            return false;
        }
        for id in (self.sent + 1..=self.attempted).rev() {
            self.backlog.push_front(self.due[(id % REMEMBERED) as usize]);
        }
        (self.attempted, self.refused, self.rests_until) = (self.sent, 0, None);
        true
    }

    /// Messages that are answered.
    pub fn answered(&self) -> u64 {
        self.sent
    }

    /// The next message that is due and fits into a window: its number.
    pub fn next(&mut self, window: u64, now: Instant) -> Option<u64> {
        if !self.goes_on(now) || self.in_flight() >= window || self.attempted - self.delivered >= REMEMBERED {
            return None;
        }
        let due = self.backlog.pop_front()?;
        self.attempted += 1;
        self.due[(self.attempted % REMEMBERED) as usize] = due;
        Some(self.attempted)
    }

    /// An answer to message `id` came; `right`: with what it must say.
    pub fn on_sent(&mut self, id: u64, right: bool, now: Instant, measured: &mut Measured) {
        self.sent += 1;
        measured.wrong += u64::from(!right);
        measured.acked += u64::from(measured.counts(now));
        let due = self.due[(id % REMEMBERED) as usize];
        measured.timeline.sent(now, now.saturating_duration_since(due));
        if measured.counts(due) {
            record(&mut measured.sent_us, due, now);
        }
    }

    /// Message `id` came to its receiver; `right`: with what it must say. It is wrong, too, if it is not the next one.
    pub fn on_message(&mut self, id: u64, right: bool, now: Instant, measured: &mut Measured) {
        self.delivered += 1;
        measured.wrong += u64::from(!right || id != self.delivered);
        let due = self.due[(id % REMEMBERED) as usize];
        measured.timeline.delivered(now, now.saturating_duration_since(due));
        if measured.counts(due) {
            record(&mut measured.delivered_us, due, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_message_is_wrong_that_is_not_the_next_one() {
        let (mut offers, now) = (Offers::new(), Instant::now());
        let mut measured = Measured::new((now, now + Duration::from_secs(1)));
        (0..3).for_each(|_| offers.put(now));
        assert_eq!([(); 3].map(|()| offers.next(2, now)), [Some(1), Some(2), None], "the window is 2");
        offers.on_sent(1, true, now, &mut measured);
        assert_eq!((offers.next(2, now), offers.unfinished()), (Some(3), 3));
        offers.on_message(1, true, now, &mut measured);
        assert_eq!(measured.wrong, 0);
        offers.on_message(3, true, now, &mut measured);
        offers.on_message(3, false, now, &mut measured);
        assert_eq!((measured.wrong, measured.acked, measured.delivered_us.len()), (2, 1, 3));
    }

    #[test]
    fn what_is_refused_is_attempted_again_in_its_order_once_all_is_answered() {
        let (mut offers, now) = (Offers::new(), Instant::now());
        let mut measured = Measured::new((now, now + Duration::from_secs(1)));
        (0..3).for_each(|_| offers.put(now));
        assert_eq!([(); 3].map(|()| offers.next(3, now)), [Some(1), Some(2), Some(3)]);
        let later = now + Duration::from_millis(5);
        offers.on_refused(later, &mut measured);
        assert_eq!((offers.next(3, later), offers.in_flight()), (None, 2), "two are not answered");
        offers.on_sent(1, true, now, &mut measured);
        offers.on_refused(later, &mut measured);
        assert_eq!((offers.next(3, now), offers.in_flight(), offers.rests_until()), (None, 0, Some(later)));
        assert_eq!([(); 3].map(|()| offers.next(3, later)), [Some(2), Some(3), None]);
        assert_eq!((measured.refused, offers.rests_until()), (2, None));
    }
}
