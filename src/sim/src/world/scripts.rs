//! What the first two users do in their conversation when they play a scene, on all their devices: what chance would seldom
//! bring about. Every step falls on a multiple of the pause before it, so that those who play the same scene are in step.

use tidings_wire::limits::WINDOW;

use crate::{
    agenda::{MS, Nanos, SECOND},
    plan::SCENES,
};

/// Something that a user does in the conversation of the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Writes so many messages at once.
    Write(u64),
    /// Writes one if the other member had the last word.
    Answer,
    /// Reads everything.
    Read,
    /// Asks for the newest of what is stored.
    History,
    /// The application saves what it knows.
    Save,
    /// The device's process ends.
    Leave,
    /// It comes back with what it saved.
    Return,
}

/// Steps, and the pause after each, which is not 0; from the beginning again after the last.
pub(super) type Script = [(Step, Nanos)];

/// All devices write in the same moment.
const IN_STEP: &Script = &[(Step::Write(1), 250 * MS), (Step::Write(2), 250 * MS), (Step::Read, 500 * MS)];
/// A conversation in which each waits for the other.
const TURN_BY_TURN: &Script =
    &[(Step::Write(1), 50 * MS), (Step::Answer, 50 * MS), (Step::Read, 50 * MS), (Step::Answer, 50 * MS)];
/// More than a window at once, and then all of it read.
const FLOOD: &Script = &[(Step::Write(WINDOW as u64 + 8), 3 * SECOND), (Step::Read, 10 * MS), (Step::Save, 2 * SECOND)];
/// Leaves with messages still unsent, and comes back for those that arrived meanwhile.
const COME_AND_GO: &Script = &[
    (Step::Write(3), MS),
    (Step::Save, MS),
    (Step::Leave, 2 * SECOND),
    (Step::Return, 300 * MS),
    (Step::Read, 10 * MS),
    (Step::History, SECOND),
];
/// Saved long ago: each return begins with the same old state.
const OLD_MEMORY: &Script = &[
    (Step::Save, SECOND),
    (Step::Write(2), SECOND),
    (Step::Read, SECOND),
    (Step::Leave, 500 * MS),
    (Step::Return, SECOND),
    (Step::Write(1), SECOND),
    (Step::Leave, 500 * MS),
    (Step::Return, SECOND),
];

/// All of them.
pub(super) const SCRIPTS: [&Script; SCENES as usize] = [IN_STEP, TURN_BY_TURN, FLOOD, COME_AND_GO, OLD_MEMORY];
