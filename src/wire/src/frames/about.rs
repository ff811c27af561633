//! Controls about an earlier message, which their `target` names, and the one that lets messages disappear.

use rkyv::{Archive, Deserialize, Serialize};

use super::{Control, streamed::control::END};
use crate::archive::{self, Archived};

/// Numbers of these controls.
pub mod control {
    use crate::frames::Control;

    /// The target says this instead: payload and body are what a text's are.
    pub const EDIT: Control = Control(10);
    /// The target is withdrawn, for everybody.
    pub const ERASE: Control = Control(11);
    /// What the sender thinks of the target: the payload; empty: nothing any more.
    pub const REACT: Control = Control(12);
    /// How long messages stay that are written from now on.
    pub const TIMER: Control = Control(13);
}

/// The body of TIMER.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timer {
    /// Seconds after which a message disappears, at most [`TIMER_MAX_S`](crate::limits::TIMER_MAX_S); 0: never.
    pub seconds: u32,
}

impl Archived for Timer {
    const FIRST_LEN: usize = 4;
}
const _: () = assert!(<Timer as Archived>::LEN == 4);

impl Timer {
    /// As a body.
    pub fn to_bytes(self) -> [u8; 4] {
        let mut bytes = [0; 4];
        archive::write(&self, &mut bytes);
        bytes
    }

    /// A body; `None` if it is not one.
    pub fn from_bytes(body: &[u8]) -> Option<Self> {
        archive::read(body).ok().filter(|_| body.len() == Self::LEN)
    }
}

impl Control {
    /// True of what makes or changes a group.
    pub fn is_of_group(self) -> bool {
        (super::group::control::CREATE..=super::group::control::JOIN).contains(&self)
    }

    /// True of what says something about its target, and goes with it when that is withdrawn.
    pub fn is_about_target(self) -> bool {
        matches!(self, control::EDIT | control::REACT | END)
    }
}
