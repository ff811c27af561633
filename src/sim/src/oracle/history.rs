//! Stored messages that a user asked for: all of the range comes, in order, and from the end that was asked for.

use tidings_client::{Message, Seq, UserId};
use tidings_wire::frames::FetchOrder;

use super::{DeviceAt, Oracle};

/// What a user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The last messages before a number, or the first after it.
    pub order: FetchOrder,
    /// That number. Before 0 is before the end.
    pub beside: Seq,
    /// How many.
    pub limit: u32,
}

/// What has come of it.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The conversation.
    pub place: usize,
    /// What was asked for.
    pub asked: Asked,
    /// What the user might read then, by its version.
    pub version: usize,
    /// The last message that the device had then: there are at least so many.
    pub head: Seq,
    /// The numbers that came.
    pub seqs: Vec<Seq>,
}

impl Oracle {
    /// A device asked for stored messages and was given one.
    pub fn older(&mut self, device: DeviceAt, user: UserId, message: &Message, reading: &mut Option<Reading>) {
        let place = self.look(device, user, (false, false), message);
        if let Some(reading) = reading.as_mut().filter(|reading| Some(reading.place) == place) {
            reading.seqs.push(message.seq);
        }
    }

    /// Changes with every change of what a user may read of a group.
    pub fn version(&self, at: usize, user: UserId) -> usize {
        self.durable.roster(self.conversations[at].id).map_or(0, |roster| roster.version(user))
    }

    /// A device was told that all that it asked for has come, and that it is what can be had from `first` to `last`.
    pub fn read_back(&mut self, (device, user): (DeviceAt, UserId), reading: &Reading, first: Seq, last: Seq) {
        let Reading { place, asked, head, seqs, .. } = reading;
        let told = format!(
            "device {device} asked conversation {place} for {asked:?} with {head:?}, got {seqs:?}, {first:?} to {last:?}"
        );
        let rising = seqs.windows(2).all(|pair| pair[0] < pair[1]);
        let inside = seqs.iter().all(|seq| (first..=last).contains(seq));
        self.check(rising && inside, "I4", || told.clone());
        // The end that was asked for.
        let right_end = match (asked.order, asked.beside) {
            (FetchOrder::Last, Seq(0)) => last >= *head,
            (FetchOrder::Last, Seq(1)) => true,
            (FetchOrder::Last, before) => last >= Seq(before.0 - 1).min(*head) && last < before,
            (FetchOrder::Upward, after) => first == after.next() || first > last && *head <= after,
        };
        // All the way to the other one.
        let whole = seqs.len() == asked.limit as usize
            || match asked.order {
                FetchOrder::Last => first == Seq(1),
                FetchOrder::Upward => last >= *head,
            };
        let id = self.conversations[*place].id;
        if reading.version != self.version(*place, user) {
            return; // it was let in or out meanwhile
        }
        let due = |seq: &Seq| self.may_see(*place, user, *seq) && !self.durable.is_dropped_before(id, *seq);
        let missing = (first.0..=last.0).map(Seq).find(|seq| !seqs.contains(seq) && due(seq));
        self.check(right_end && whole && missing.is_none(), "I15", || format!("{told}; {missing:?} is there"));
    }
}
