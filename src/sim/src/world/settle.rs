//! The end: no more faults, everybody gets everything, and then fresh devices see what is really there.

use super::{
    End, Event, RUNS_FOR, World,
    devices::{AUDITOR, COUNTER},
};
use crate::{
    agenda::{MS, Nanos, SECOND},
    disk::Crash,
    random::MILLION,
    trace::Moment,
};

/// How long everything may take once no more faults begin: the longest time-outs of both sides and the longest wait of a
/// client between two attempts, and twice that.
pub const SETTLES_WITHIN: Nanos = 120 * SECOND;

/// Where a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Faults happen.
    Stormy,
    /// No more: everything must be delivered until then.
    Calm(Nanos),
    /// The node went down once more, and every user has a fresh device: which must have everything until then.
    Audit(Nanos),
}

impl World {
    /// Looks whether everybody has everything, and what is next.
    pub(super) fn settle(&mut self) {
        match self.phase {
            Phase::Stormy => {
                self.compare_running();
                self.tell(Moment::Calm);
                self.calm();
                // What is under way on a connection that was slow arrives no sooner for that.
                self.phase = Phase::Calm(self.now.max(self.last_arrival()) + SETTLES_WITHIN);
            }
            Phase::Calm(until) => {
                if self.all_settled(until) {
                    self.compare_running();
                    self.tell(Moment::Settled);
                    self.phase = Phase::Audit(self.now + SETTLES_WITHIN);
                    self.begin_audit();
                }
            }
            Phase::Audit(until) => {
                if self.all_settled(until) && self.now >= RUNS_FOR {
                    self.compare_running();
                    self.tell(Moment::Settled);
                    self.learn_floors();
                    if let Some(text) = self.differing_preferences() {
                        self.oracle.violate("I11", text);
                    }
                    self.oracle.check_end();
                    self.end = Some(End::Held);
                    if let Some(process) = self.node.take() {
                        process.counted(&mut self.stats);
                    }
                    return;
                }
            }
        }
        self.agenda.plan(self.now + 250 * MS, Event::Settle);
    }

    fn all_settled(&mut self, until: Nanos) -> bool {
        let unsettled = (0..self.devices.len()).find(|at| !self.is_settled(*at));
        if let Some(at) = unsettled
            && self.now > until
        {
            let node = self.node.as_ref().map(|process| process.gauges()).unwrap_or_default();
            let text = format!("{} s after the last fault, {}; {node}", SETTLES_WITHIN / SECOND, self.unsettled(at));
            self.oracle.violate("I11", text);
        }
        unsettled.is_none()
    }

    /// Whatever was wrong is not any more. In two of three worlds the process that lived through it all must get everything to
    /// where it belongs; in the others the node starts once more, and where not everybody would ever be let in, its limits are
    /// raised, as an operator does.
    fn calm(&mut self) {
        self.weather.clear();
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.heal(link);
        }
        for at in 0..self.devices.len() {
            self.wake_device(at);
            self.wake_suspended(at);
        }
        let again = self.random.chance(MILLION / 3) || self.plan.must_be_raised();
        if self.plan.has_media_faults() {
            self.down(Crash::PowerLost, 1);
        } else if again && self.node.is_some() {
            self.drain();
        }
    }

    fn begin_audit(&mut self) {
        self.down(Crash::PowerLost, 1);
        for user in 0..self.plan.users {
            let chats = self.chats_of(user);
            self.add_device(user, AUDITOR, chats.clone());
            self.add_device(user, COUNTER, chats);
        }
    }
}
