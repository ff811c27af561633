//! How far members are, as it is kept and as others are shown it, and who blocks whom.

use rkyv::{Archive, Deserialize, Serialize};
use tidings_wire::Seq;

/// Whether what a user reads is shown to others, and what others read to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privacy {
    /// It is.
    #[default]
    Shown,
    /// It is not.
    Private,
}

/// How far a member is, as others are shown it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Some device of it has everything up to here.
    pub delivered: Seq,
    /// It has read everything up to here, as far as it lets others know.
    pub read: Seq,
}

impl Shown {
    /// Raises both to at least `other`'s. True if anything rose.
    pub fn raise_to(&mut self, other: Self) -> bool {
        let before = *self;
        (self.delivered, self.read) = (self.delivered.max(other.delivered), self.read.max(other.read));
        *self != before
    }

    /// As it is told to somebody who does, or does not, want to know what others read.
    pub fn to(self, privacy: Privacy) -> Self {
        match privacy {
            Privacy::Shown => self,
            Privacy::Private => Self { read: Seq(0), ..self },
        }
    }
}

/// A member's watermarks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// Some device has everything up to here.
    pub delivered: Seq,
    /// The user has read everything up to here.
    pub read: Seq,
    /// The part of that which others are shown.
    pub shown: Seq,
    /// Messages with content that the user has seen: read, written, or older than its membership. Nobody else is told.
    pub seen: u64,
}

impl Watermarks {
    /// What others are told of it.
    pub fn shown(self) -> Shown {
        Shown { delivered: self.delivered, read: self.shown }
    }

    /// How far what others are shown as read is behind.
    pub fn withheld(self) -> u64 {
        self.read.0 - self.shown.0
    }

    /// Raises all to at least `other`'s; what is read is delivered too. True if anything rose.
    pub fn raise_to(&mut self, other: Self) -> bool {
        let before = *self;
        self.delivered = self.delivered.max(other.delivered).max(other.read);
        self.read = self.read.max(other.read);
        self.shown = self.shown.max(other.shown);
        self.seen = self.seen.max(other.seen);
        *self != before
    }

    /// True if all are at least `other`'s.
    pub fn reach(&self, other: Self) -> bool {
        self.delivered >= other.delivered
            && self.read >= other.read
            && self.shown >= other.shown
            && self.seen >= other.seen
    }
}

/// How often somebody began or ceased to block somebody else. It blocks while that is odd, and of two that are told the greater one is the later.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocking(pub u32);

impl Blocking {
    /// True while it blocks.
    pub fn is_on(self) -> bool {
        self.0 % 2 == 1
    }
}
