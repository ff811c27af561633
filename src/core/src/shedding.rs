//! What is left undone while there is more to do than a core can: in an order, so that who writes and who reads go on. A reactor is *behind* from a turn that did not take all that had
//! come, and might have, to one that did. How long it is so without a pause decides what is shed; that it was not so for a while, what is not any more: so that a load at the limit does not switch it on and off.

use crate::time::Mono;

/// What is shed; each stage sheds what those before it shed, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Nothing.
    #[default]
    Calm = 0,
    /// Who is typing.
    Typing = 1,
    /// Who is there, and what messages say that are being written.
    Presence = 2,
    /// Receipts. They are repeated by whoever gave them.
    Receipts = 3,
    /// SENDs beyond a few that a session has in flight. They are refused with a time, so that who writes little goes on.
    Sends = 4,
}

/// Stages, and for how many milliseconds a reactor must be behind until each begins.
const BEGIN: [(Stage, u64); 4] =
    [(Stage::Typing, 100), (Stage::Presence, 250), (Stage::Receipts, 500), (Stage::Sends, 2000)];
/// To be behind for less than this is what happens under a load that can be borne.
const BORNE_MS: u64 = 50;
/// A stage ends when the reactor was not behind for [`BORNE_MS`] for so long; then the next one begins to count.
const HELD_MS: u64 = 500;
/// Who has had no room in the log for so long, and took what it could all the while, waits for the disk: it is not behind.
const DISK_MS: u64 = 200;

/// What a turn left over of what had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// Nothing.
    Nothing,
    /// Something, for which the log had no room: whoever is behind stays so for 200 ms, and who was not waits for the disk.
    Waits,
    /// Something that it might have taken, if it took more in a turn.
    LeftOver,
}

/// What a reactor sheds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shedding {
    stage: Stage,
    behind_since: Option<Mono>,
    /// When something was left over last that might have been taken.
    left_at: Mono,
    /// When it was behind for [`BORNE_MS`] last, or a stage ended.
    hard_at: Mono,
}

impl Shedding {
    /// A turn is over. To be called after each.
    pub fn look(&mut self, backlog: Backlog, now: Mono) {
        match backlog {
            Backlog::Nothing => self.behind_since = None,
            Backlog::Waits if self.left_at.plus_ms(DISK_MS) <= now => self.behind_since = None,
            Backlog::Waits => {}
            Backlog::LeftOver => {
                self.left_at = now;
                self.behind_since.get_or_insert(now);
            }
        }
        let Some(since) = self.behind_since else {
            if self.stage > Stage::Calm && self.hard_at.plus_ms(HELD_MS) <= now {
                (self.stage, self.hard_at) = (before(self.stage), now);
            }
            return;
        };
        if since.plus_ms(BORNE_MS) <= now {
            self.hard_at = now;
        }
        for (stage, after_ms) in BEGIN {
            if backlog == Backlog::LeftOver && since.plus_ms(after_ms) <= now {
                self.stage = self.stage.max(stage);
            }
        }
    }

    /// True if what this stage names is shed now.
    #[inline]
    pub fn sheds(&self, what: Stage) -> bool {
        self.stage >= what
    }

    /// The stage.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// When a stage may end, if there is one.
    pub fn ends_at(&self) -> Option<Mono> {
        (self.stage > Stage::Calm).then(|| self.hard_at.plus_ms(HELD_MS))
    }
}

fn before(stage: Stage) -> Stage {
    match stage {
        Stage::Calm | Stage::Typing => Stage::Calm,
        Stage::Presence => Stage::Typing,
        Stage::Receipts => Stage::Presence,
        Stage::Sends => Stage::Receipts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of a millisecond each, from `from` to `upto` milliseconds.
    fn turns(shedding: &mut Shedding, (from, upto): (u64, u64), backlog: Backlog) -> Stage {
        (from..=upto).for_each(|ms| shedding.look(backlog, Mono(ms * 1_000_000)));
        shedding.stage()
    }

    #[test]
    fn stages_begin_in_their_order_and_end_one_after_the_other() {
        let (mut shedding, left) = (Shedding::default(), Backlog::LeftOver);
        assert_eq!(turns(&mut shedding, (1000, 1099), left), Stage::Calm);
        assert_eq!(turns(&mut shedding, (1100, 1249), left), Stage::Typing);
        assert_eq!(turns(&mut shedding, (1250, 1499), left), Stage::Presence);
        assert_eq!(turns(&mut shedding, (1500, 2999), left), Stage::Receipts);
        assert_eq!(turns(&mut shedding, (3000, 5000), left), Stage::Sends);
        assert!(shedding.sheds(Stage::Typing) && shedding.sheds(Stage::Sends));
        let ends = [(5499, Stage::Sends), (5999, Stage::Receipts), (6499, Stage::Presence), (6999, Stage::Typing)];
        for (upto, stage) in ends {
            assert_eq!(turns(&mut shedding, (upto - 499, upto), Backlog::Nothing), stage, "{upto}");
            assert_eq!(shedding.ends_at(), Some(Mono((upto + 1) * 1_000_000)));
        }
        assert_eq!(turns(&mut shedding, (7000, 7000), Backlog::Nothing), Stage::Calm);
        assert_eq!(shedding.ends_at(), None);
    }

    #[test]
    fn what_waits_for_the_disk_alone_sheds_nothing_and_ends_nothing() {
        let mut shedding = Shedding::default();
        assert_eq!(turns(&mut shedding, (1000, 9000), Backlog::Waits), Stage::Calm);
        // More than the server can do fills the log, too.
        for round in 0..20 {
            turns(&mut shedding, (9000 + round * 20, 9001 + round * 20), Backlog::LeftOver);
            turns(&mut shedding, (9002 + round * 20, 9019 + round * 20), Backlog::Waits);
        }
        assert_eq!(shedding.stage(), Stage::Presence);
        assert_eq!(turns(&mut shedding, (9400, 9898), Backlog::Nothing), Stage::Presence);
        assert_eq!(turns(&mut shedding, (9899, 9899), Backlog::Nothing), Stage::Typing);
        // A disk that stands still for long is no overload, also where something was left over before it did and after.
        let mut shedding = Shedding::default();
        turns(&mut shedding, (1000, 1080), Backlog::LeftOver);
        assert_eq!(turns(&mut shedding, (1081, 5000), Backlog::Waits), Stage::Calm);
        assert_eq!(turns(&mut shedding, (5001, 5100), Backlog::LeftOver), Stage::Calm);
        assert_eq!(turns(&mut shedding, (5101, 5101), Backlog::LeftOver), Stage::Typing);
    }

    #[test]
    fn a_load_that_can_be_borne_sheds_nothing_and_one_at_the_limit_does_not_switch_it_on_and_off() {
        let mut shedding = Shedding::default();
        // It is behind for 80 ms of every 100.
        let at_the_limit = |shedding: &mut Shedding, from: u64| {
            turns(shedding, (from, from + 80), Backlog::LeftOver);
            turns(shedding, (from + 81, from + 99), Backlog::Nothing)
        };
        for round in 0..50 {
            assert_eq!(at_the_limit(&mut shedding, round * 100), Stage::Calm);
        }
        turns(&mut shedding, (6000, 6260), Backlog::LeftOver);
        turns(&mut shedding, (6261, 6261), Backlog::Nothing);
        // The same load holds the stage that a longer one began, and one that is borne lets it go.
        for round in 0..50 {
            assert_eq!(at_the_limit(&mut shedding, 6300 + round * 100), Stage::Presence);
        }
        for round in 0..30 {
            turns(&mut shedding, (12_000 + round * 50, 12_020 + round * 50), Backlog::LeftOver);
            turns(&mut shedding, (12_021 + round * 50, 12_049 + round * 50), Backlog::Nothing);
        }
        assert_eq!(shedding.stage(), Stage::Calm);
    }
}
