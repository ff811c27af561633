//! What may be told of people: what they read, who is typing to those who are in the conversation with them, and who is there to those who may know it. A device whose
//! connection began after something was over hears nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use tidings_client::{PresenceState, ReadReceipts, Seq, UserId, Visibility};

use super::Oracle;
use crate::agenda::Nanos;

/// Whether a user lets others know what it reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Privacy {
    /// It never wanted anything else.
    #[default]
    Open,
    /// It wants nobody to know.
    Wanted,
    /// It was told that nobody does, from then on.
    Private,
    /// It wanted this and that.
    Doubted,
}

/// What is known of people.
#[derive(Debug, Default)]
pub(super) struct People {
    /// What each user was told last that others are told.
    visibility: BTreeMap<UserId, Visibility>,
    /// Users who want the same from the beginning to the end, and since when they were told that it counts.
    firm: BTreeMap<UserId, Nanos>,
    /// Who has tried to write to whom, one to one.
    written: BTreeSet<(UserId, UserId)>,
}

impl Oracle {
    /// A user wants others to know what it reads, or not. Whoever wants both, one after the other, may have either from then on, and what it
    /// read before may be told.
    pub fn privacy_wanted(&mut self, user: UserId, receipts: ReadReceipts) {
        match (self.privacy(user), receipts) {
            (Privacy::Private | Privacy::Wanted, ReadReceipts::Private) => {}
            (Privacy::Open, ReadReceipts::Private) => drop(self.privacy.insert(user, Privacy::Wanted)),
            _ => {
                self.privacy.insert(user, Privacy::Doubted);
                for at in 0..self.conversations.len() {
                    if let Some(member) = self.member(at, user) {
                        let conversation = &mut self.conversations[at];
                        conversation.read_openly[member] = conversation.facts[member].read;
                    }
                }
            }
        }
    }

    /// A device was told whether others know what its user reads.
    pub fn privacy_is(&mut self, user: UserId, receipts: ReadReceipts) {
        if self.privacy(user) == Privacy::Wanted && receipts == ReadReceipts::Private {
            self.privacy.insert(user, Privacy::Private);
        }
    }

    /// A user is told who is told of it.
    pub fn visibility_is(&mut self, user: UserId, visibility: Visibility, now: Nanos) {
        self.people.visibility.insert(user, visibility);
        if visibility != Visibility::Everybody {
            self.people.firm.entry(user).or_insert(now);
        }
    }

    /// A user writes to another one.
    pub fn writes_to(&mut self, user: UserId, other: UserId) {
        self.people.written.insert((user, other));
    }

    /// A device of `user` is told that another one is typing; its connection began at a time when the group had so many messages.
    pub fn hears_typing(&mut self, at: usize, user: UserId, place: Option<usize>, (other, since): (UserId, Seq)) {
        let Some(place) = place else {
            return self.violate("I20", format!("device {at} hears somebody type in a conversation of nobody"));
        };
        let conversation = &self.conversations[place];
        let id = conversation.id;
        let are_together = match id.is_group() {
            true => self.durable.roster(id).is_some_and(|roster| roster.were_together(user, other, since)),
            false => conversation.members.contains(&user) && conversation.members.contains(&other),
        };
        if !are_together || user == other {
            self.violate("I20", format!("device {at} of {user:?} hears {other:?} type in conversation {place}"));
        }
    }

    /// A device of `user`, whose connection began then, is told whether another one is there.
    pub fn hears_presence(&mut self, at: usize, user: UserId, began: Nanos, (other, state): (UserId, PresenceState)) {
        let firm = self.people.firm.get(&other).is_some_and(|since| *since < began);
        let hidden = match self.people.visibility.get(&other) {
            Some(Visibility::Nobody) => true,
            Some(Visibility::WrittenTo) => !self.people.written.contains(&(other, user)),
            Some(Visibility::Everybody) | None => false,
        };
        if firm && hidden && state != PresenceState::Hidden {
            self.violate(
                "I20",
                format!("device {at} of {user:?} is told that {other:?} is {state:?}, which is hidden"),
            );
        }
    }

    /// What somebody must be told of another user in the end, who is there or not.
    pub fn due_presence(&self, user: UserId, other: UserId, is_there: bool) -> PresenceState {
        let has_written = || {
            let direct = self.by_id.get(&tidings_client::ConversationId::direct(user, other));
            direct.is_some_and(|place| self.durable.has_written(self.conversations[*place].id, other))
        };
        let shows = match self.people.visibility.get(&other) {
            Some(Visibility::Nobody) => false,
            Some(Visibility::WrittenTo) => has_written(),
            Some(Visibility::Everybody) | None => true,
        };
        match (shows, is_there) {
            (false, _) => PresenceState::Hidden,
            (true, true) => PresenceState::Online,
            (true, false) => PresenceState::Offline,
        }
    }
}
