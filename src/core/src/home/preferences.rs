//! What a user wants of one of its conversations, on all its devices. Most want nothing, which costs nothing.

use alloc::boxed::Box;

use tidings_wire::{ErrorCode, Seq, Timestamp, frames::SettingKey};

use crate::lanes::Blocking;

/// What it wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    /// It is not shown up to this message.
    pub hidden: Seq,
    /// Nobody is alerted until then.
    pub muted_until: Timestamp,
    /// Its place among those that are kept at the top; 0: it is not.
    pub pinned: u64,
    /// It is put away.
    pub archived: bool,
    /// Messages up to this one are not shown any more.
    pub cleared: Seq,
    /// Whether it blocks the other member.
    pub blocks: Blocking,
    /// How often it said of messages that it does not want to see them any more.
    pub forgotten: u32,
}

/// The preferences of a conversation, if there are any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept(Option<Box<Preferences>>);

impl Kept {
    /// Those.
    pub fn get(&self) -> Preferences {
        self.0.as_deref().copied().unwrap_or_default()
    }

    /// From now on these. True if that is something else.
    pub fn set(&mut self, preferences: Preferences) -> bool {
        let differs = self.get() != preferences;
        if differs {
            self.0 = (preferences != Preferences::default()).then(|| Box::new(preferences));
        }
        differs
    }

    /// True if there are any besides that it is hidden.
    pub fn are_unusual(&self) -> bool {
        self.0.as_deref().is_some_and(|kept| Preferences { hidden: Seq(0), ..*kept } != Preferences::default())
    }
}

impl Preferences {
    /// With one of them changed, of a conversation with this head; and what that is set to then.
    ///
    /// # Errors
    /// [`ErrorCode::FutureSeq`], [`ErrorCode::SettingInvalid`].
    pub fn with(self, key: SettingKey, value: u64, head: Seq) -> Result<(Self, u64), ErrorCode> {
        let in_past = |seq: Seq| if seq > head { Err(ErrorCode::FutureSeq) } else { Ok(seq) };
        let with = match key {
            SettingKey::HIDDEN => Self { hidden: in_past(Seq(value))?, ..self },
            SettingKey::MUTED => Self { muted_until: Timestamp(value), ..self },
            SettingKey::PINNED => Self { pinned: value, ..self },
            SettingKey::ARCHIVED if value <= 1 => Self { archived: value == 1, ..self },
            SettingKey::CLEARED => {
                let cleared = self.cleared.max(in_past(Seq(value))?);
                return Ok((Self { cleared, ..self }, cleared.0));
            }
            _ => return Err(ErrorCode::SettingInvalid),
        };
        Ok((with, value))
    }
}
