//! What a run exercised.

use std::collections::BTreeMap;

use tidings_core::{Counters, shedding::Stage};

/// Counts of one world, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Faults by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Starts of the node.
    pub starts: u64,
    /// Starts that were interrupted.
    pub interrupted: u64,
    /// Crashes while a batch was being written.
    pub crashes_in_writes: u64,
    /// Logs whose tail was torn.
    pub torn: u64,
    /// Ends on damage that was reported.
    pub reported: u64,
    /// Ends on damage to the newest batch.
    pub exempt: u64,
    /// Messages that somebody was given.
    pub messages: u64,
    /// Reads of damaged bytes that were refused.
    pub unreadable: u64,
    /// Times that a device was told that a message is damaged.
    pub damages: u64,
    /// Ranges of history that were asked for and came.
    pub readings: u64,
    /// Times that a device was told how far a member of a group is.
    pub group_receipts: u64,
    /// Times that a device was told that somebody is typing.
    pub typings: u64,
    /// Pieces of messages that were shown while these were written.
    pub fragments: u64,
    /// Times that a device was told whether somebody is there.
    pub presences: u64,
    /// Turns that ended with this stage of shedding.
    pub stages: [u64; 5],
    /// Times that all that a node knew was compared with what a follower knew.
    pub compared: u64,
    /// Times that a reactor's proposals were dropped, and there were some.
    pub drops: u64,
    /// Starts with lower limits than the world's.
    pub lowered: u64,
    /// Messages of accounts that do what they may not.
    pub hostile: u64,
    /// Users with more conversations than a list names at once.
    pub wide: u64,
    /// The node's own counts.
    pub counters: BTreeMap<&'static str, u64>,
    /// The most that was seen of everything that has a bound.
    pub peaks: BTreeMap<&'static str, u64>,
}

impl Stats {
    /// A turn ended, and sheds so much.
    pub fn stage(&mut self, stage: Stage) {
        self.stages[stage as usize] += 1;
    }

    /// What was exercised, by name.
    pub fn reached(&self) -> [(&'static str, u64); 21] {
        [
            ("starts of the node", self.starts),
            ("recoveries interrupted", self.interrupted),
            ("crashes in a write", self.crashes_in_writes),
            ("torn tails", self.torn),
            ("ended: damage reported", self.reported),
            ("ended: newest batch damaged", self.exempt),
            ("messages delivered", self.messages),
            ("history refused for now", self.unreadable),
            ("told of damage", self.damages),
            ("ranges of history read", self.readings),
            ("told who types", self.typings),
            ("shown what grows", self.fragments),
            ("told who is there", self.presences),
            ("receipts of groups", self.group_receipts),
            ("states compared", self.compared),
            ("turns that shed", self.stages[1..].iter().sum()),
            ("turns that shed SENDs", self.stages[4]),
            ("proposals dropped", self.drops),
            ("starts with lower limits", self.lowered),
            ("messages of hostile accounts", self.hostile),
            ("users of more than a page", self.wide),
        ]
    }

    /// A fault happened.
    pub fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    /// What a reactor counted in its life.
    pub fn counted(&mut self, counters: &Counters) {
        for ((name, _), count) in Counters::names().zip(counters.all()) {
            if count > 0 {
                *self.counters.entry(name).or_default() += count;
            }
        }
    }

    /// Something that has a bound was this large.
    pub fn peak(&mut self, name: &'static str, size: usize) {
        let peak = self.peaks.entry(name).or_default();
        *peak = (*peak).max(size as u64);
    }

    /// Adds another world's.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.starts, other.starts),
            (&mut self.interrupted, other.interrupted),
            (&mut self.crashes_in_writes, other.crashes_in_writes),
            (&mut self.torn, other.torn),
            (&mut self.reported, other.reported),
            (&mut self.exempt, other.exempt),
            (&mut self.messages, other.messages),
            (&mut self.unreadable, other.unreadable),
            (&mut self.damages, other.damages),
            (&mut self.readings, other.readings),
            (&mut self.group_receipts, other.group_receipts),
            (&mut self.typings, other.typings),
            (&mut self.fragments, other.fragments),
            (&mut self.presences, other.presences),
            (&mut self.compared, other.compared),
            (&mut self.drops, other.drops),
            (&mut self.lowered, other.lowered),
            (&mut self.hostile, other.hostile),
            (&mut self.wide, other.wide),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
        for (sum, more) in self.stages.iter_mut().zip(other.stages) {
            *sum += more;
        }
        for (sum, more) in [(&mut self.faults, &other.faults), (&mut self.counters, &other.counters)] {
            for (name, count) in more {
                *sum.entry(name).or_default() += count;
            }
        }
        for (name, size) in &other.peaks {
            self.peak(name, *size as usize);
        }
    }
}
