//! The end: no more faults, everybody gets everything, and then fresh devices see what is really there.

use tidings_core::limits::GROUP_READ_MS;

use super::{
    End, Event, RUNS_FOR, World,
    devices::{AUDITOR, COUNTER, user_id},
};
use crate::{
    agenda::{MS, Nanos, SECOND},
    disk::Crash,
    random::MILLION,
    trace::Moment,
};

/// How long everything may take once no more faults begin: the longest time-outs of both sides and the longest wait of a
/// client between two attempts, and twice that; where devices share a rate, more.
const SETTLES_WITHIN: Nanos = 120 * SECOND;

/// How long it may take until everybody is told who is there. That may be lost, and is asked for once a minute: where one entity in twenty is not in
/// memory when it is needed, six times in a row in no world that is run.
pub const WATCHED_WITHIN: Nanos = 400 * SECOND;

/// Where a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Faults happen.
    Stormy,
    /// No more: everything must be delivered until then.
    Calm(Nanos),
    /// Everybody wants to know who is there: which it must be told until then.
    Watching(Nanos),
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
                self.phase = Phase::Calm(self.now.max(self.last_arrival()) + self.settles_within());
            }
            Phase::Calm(until) => {
                if self.all_settled(until) {
                    self.compare_running();
                    self.tell(Moment::Settled);
                    match self.plan.is_ephemeral {
                        true => {
                            self.watch_all();
                            self.phase = Phase::Watching(self.now + WATCHED_WITHIN);
                        }
                        false => self.begin_audit(),
                    }
                }
            }
            Phase::Watching(until) => {
                let mistaken = (0..self.devices.len()).find_map(|at| self.mistaken(at));
                match mistaken {
                    None => {
                        self.all_active();
                        self.begin_audit();
                    }
                    Some(text) if self.now > until => self.oracle.violate("I11", text),
                    Some(_) => {}
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

    /// Where groups are large a READ of a user is taken once in half a minute, whichever of its devices says it.
    fn settles_within(&self) -> Nanos {
        SETTLES_WITHIN + self.plan.devices as Nanos * GROUP_READ_MS * MS
    }

    fn all_settled(&mut self, until: Nanos) -> bool {
        if let Some(of) = self.oracle.durable.streams.unended() {
            if self.now > until {
                self.oracle.violate("I23", format!("{of:?} has not ended, and nobody writes it any more"));
            }
            return false;
        }
        if self.is_writing() {
            if self.now > until {
                self.oracle.violate(
                    "I23",
                    "the node has something of a message that is being written, and all have ended".into(),
                );
            }
            return false;
        }
        if !self.is_calm() {
            if self.now > until {
                self.oracle.violate("I24", "something is still shed, and there is nothing to do".into());
            }
            return false;
        }
        let unsettled = (0..self.devices.len()).find(|at| !self.is_settled(*at));
        if let Some(at) = unsettled
            && self.now > until
        {
            let node = self.node.as_ref().map(|process| process.gauges()).unwrap_or_default();
            let text =
                format!("{} s after the last fault, {}; {node}", self.settles_within() / SECOND, self.unsettled(at));
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
        self.retire_clones();
        for at in 0..self.devices.len() {
            self.wake_device(at);
            self.wake_suspended(at);
        }
        self.all_active();
        (0..self.devices.len()).for_each(|at| self.end_stream(at));
        let again = self.random.chance(MILLION / 3) || self.plan.must_be_raised();
        if self.plan.has_media_faults() {
            self.down(Crash::PowerLost, 1);
        } else if again && self.node.is_some() {
            self.drain();
        }
    }

    fn begin_audit(&mut self) {
        self.phase = Phase::Audit(self.now + self.settles_within());
        self.down(Crash::PowerLost, 1);
        for user in 0..self.plan.users {
            let chats = self.chats_of(user);
            self.add_device(user, AUDITOR, chats.clone());
            self.add_device(user, COUNTER, chats);
        }
    }

    /// True if a device has nothing left to say or to hear.
    pub(super) fn is_settled(&self, at: usize) -> bool {
        let device = &self.devices[at];
        if device.is_retired {
            return true;
        }
        let Some(session) = device.session.as_ref().filter(|session| session.is_up()) else { return false };
        let quiet = session.is_flushed()
            && session.settings_settled()
            && !self.revoked.contains(&(device.user, device.id))
            && (device.silent || session.receipts_settled());
        if !device.receives {
            return quiet;
        }
        let user = user_id(device.user);
        // At the end every user has a device that acknowledges.
        let shown = !matches!(self.phase, Phase::Audit(_)) || self.oracle.unshown(user, &device.given).is_none();
        let counts = device.silent || self.oracle.miscounted(user, |id| session.unread(id)).is_none();
        let forgot = self.oracle.unforgotten(user, &device.given).is_none();
        quiet && shown && counts && forgot && self.oracle.has_all(user, &device.given)
    }

    /// Why a device is not settled, in words.
    pub(super) fn unsettled(&self, at: usize) -> String {
        let device = &self.devices[at];
        let missing = self.oracle.missing(user_id(device.user), &device.given);
        let Some(session) = &device.session else { return format!("device {at} does not run") };
        format!(
            "device {at}: up {}, flushed {}, receipts settled {}, unshown {:?} (conversation, shown, due), lacks {missing:?} (conversation, has, head), counts {:?} (conversation, as unread, truly), unforgotten {:?}",
            session.is_up(),
            session.is_flushed(),
            session.receipts_settled(),
            self.oracle.unshown(user_id(device.user), &device.given),
            self.oracle.miscounted(user_id(device.user), |id| session.unread(id)),
            self.oracle.unforgotten(user_id(device.user), &device.given),
        )
    }
}
