//! Entries that are found where they were before, without looking them up by ids: what is at a place is looked at before it is believed.

use tidings_wire::{ConversationId, UserId};

use super::{Entry, EntryKey, HomeKey, Index};
use crate::{lanes::Places, slab::Key};

impl Index {
    /// A conversation's entry in a user's home, both made if there is none; it may be at this place.
    pub fn entry_near(
        &mut self,
        place: Key,
        user: UserId,
        (conversation, peer): (ConversationId, UserId),
    ) -> (HomeKey, EntryKey) {
        if let Some(entry) = self.entries.get(place).filter(|entry| entry.conversation == conversation)
            && self.homes[entry.home].user == user
        {
            return (HomeKey(entry.home), EntryKey(place));
        }
        let home = self.home(user);
        (home, self.entry(home, conversation, peer))
    }

    /// A conversation's entry in a home, if it has one; it may be this one.
    pub fn find_near(&self, last: EntryKey, home: HomeKey, conversation: ConversationId) -> Option<EntryKey> {
        let is_that = |entry: &Entry| entry.home == home.0 && entry.conversation == conversation;
        if self.entries.get(last.0).is_some_and(is_that) { Some(last) } else { self.find(home, conversation) }
    }

    /// Where an entry is and where its conversation is, for that to hear of.
    pub fn places_of(&self, entry: EntryKey) -> Places {
        Places { conversation: self.entries[entry.0].of_conversation, entry: entry.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place at which something else is, or nothing, is as good as none.
    #[test]
    fn what_is_at_a_place_is_looked_at_before_it_is_believed() {
        let mut registry = Index::new(1);
        let [first, second, third] = [1, 2, 3].map(|n| ConversationId([n; 16]));
        let [alice, bob] = [7, 8].map(|n| UserId([n; 16]));
        let (_, of_alice) = registry.entry_near(Key::NONE, alice, (first, bob));
        let (_, of_bob) = registry.entry_near(Key::NONE, bob, (first, alice));
        let (home, other) = registry.entry_near(Key::NONE, alice, (second, bob));
        let stale = Key { generation: 9, ..of_alice.0 };
        for place in [of_alice.0, of_bob.0, other.0, stale, Key::NONE] {
            assert_eq!(registry.entry_near(place, alice, (first, bob)), (home, of_alice));
            assert_eq!(registry.find_near(EntryKey(place), home, second), Some(other));
            assert_eq!(registry.find_near(EntryKey(place), home, third), None);
        }
    }
}
