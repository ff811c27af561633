//! What a conversation remembers of a device's attempts to send, so that a repeat never makes a second message.

use alloc::collections::VecDeque;

use tidings_wire::{ClientMsgId, DeviceId, Seq, limits::REMEMBERED};

use crate::time::Mono;

/// How an attempt stands to what was accepted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The next one.
    New,
    /// Accepted before, as this message.
    Repeat(Seq),
    /// Something before it was refused or never came.
    OutOfOrder,
    /// Older than what is remembered.
    Stale,
}

/// Which session made an attempt, on which reactor; only compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The reactor.
    pub reactor: u16,
    /// The session there.
    pub session: u64,
}

/// One device's memory in one conversation.
#[derive(Debug)]
pub struct DeviceAttempts {
    /// Index of the member whose device it is.
    pub member: u8,
    /// The device.
    pub device: DeviceId,
    /// When it last sent.
    pub used: Mono,
    origin: Origin,
    answered: VecDeque<(ClientMsgId, Seq)>,
}

impl DeviceAttempts {
    /// Of a device that never sent here.
    pub fn new(member: u8, device: DeviceId) -> Self {
        Self { member, device, used: Mono(0), origin: Origin::default(), answered: VecDeque::new() }
    }

    /// The highest accepted attempt; 0 if there is none.
    pub fn highest(&self) -> ClientMsgId {
        self.answered.back().map_or(ClientMsgId(0), |(id, _)| *id)
    }

    /// Judges an attempt. `prev` 0 ("unknown") is believed only from a session that has not sent here before: later in a
    /// session it would let an attempt overtake a refused one.
    pub fn judge(&self, id: ClientMsgId, prev: ClientMsgId, origin: Origin) -> Judgement {
        let highest = self.highest();
        if id > highest {
            let first = prev == ClientMsgId(0) && self.origin != origin;
            return if prev == highest || first { Judgement::New } else { Judgement::OutOfOrder };
        }
        match self.answered.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => Judgement::Repeat(self.answered[at].1),
            Err(_) => Judgement::Stale,
        }
    }

    /// Remembers an accepted attempt.
    ///
    /// # Panics
    /// If attempts do not rise: [`Self::judge`] said it was new.
    pub fn accept(&mut self, id: ClientMsgId, seq: Seq) {
        assert!(id > self.highest(), "{id:?} after {:?}", self.highest());
        if self.answered.len() == REMEMBERED {
            self.answered.pop_front();
        }
        self.answered.push_back((id, seq));
    }

    /// A session sent a new attempt or a repeat.
    pub fn seen_from(&mut self, origin: Origin, now: Mono) {
        (self.origin, self.used) = (origin, now);
    }

    /// What is remembered, oldest first.
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = (ClientMsgId, Seq)> {
        self.answered.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Origin = Origin { reactor: 0, session: 1 };
    const AGAIN: Origin = Origin { reactor: 0, session: 2 };

    fn id(value: u64) -> ClientMsgId {
        ClientMsgId(value)
    }

    #[test]
    fn order_holds_when_one_of_a_pipeline_is_refused() {
        let mut memory = DeviceAttempts::new(0, DeviceId(1));
        assert_eq!(memory.judge(id(4), id(0), HERE), Judgement::New);
        memory.accept(id(4), Seq(1));
        memory.seen_from(HERE, Mono(0));
        // 5 is refused on its way here; 6 and 7 name it.
        assert_eq!(memory.judge(id(6), id(5), HERE), Judgement::OutOfOrder);
        assert_eq!(memory.judge(id(7), id(6), HERE), Judgement::OutOfOrder);
        assert_eq!(memory.judge(id(7), id(0), HERE), Judgement::OutOfOrder, "unknown, but not the first");
        assert_eq!(memory.judge(id(5), id(4), HERE), Judgement::New);
        assert_eq!(memory.judge(id(9), id(0), AGAIN), Judgement::New, "the first after connecting");
    }

    #[test]
    fn repeats_get_their_answer_until_they_are_stale() {
        let mut memory = DeviceAttempts::new(0, DeviceId(1));
        for value in 1..=REMEMBERED as u64 + 1 {
            memory.accept(id(value * 10), Seq(value));
        }
        assert_eq!(memory.judge(id(20), id(0), HERE), Judgement::Repeat(Seq(2)));
        assert_eq!(memory.judge(id(10), id(0), HERE), Judgement::Stale);
        assert_eq!(memory.judge(id(25), id(20), HERE), Judgement::Stale, "skipped and overtaken");
    }
}
