//! Entries that are found where they were before, without looking them up by ids: what is at a place is looked at before it is believed.

use tidings_wire::{ConversationId, UserId};

use super::{Entry, EntryKey, HomeKey, Index};
use crate::lanes::Places;

impl Index {
    /// A conversation's entry in a user's home, both made if there is none; it may be this one.
    pub fn entry_near(
        &mut self,
        place: EntryKey,
        user: UserId,
        (conversation, peer): (ConversationId, UserId),
    ) -> (HomeKey, EntryKey) {
        if let Some(entry) = self.entries.get(place.0).filter(|entry| entry.conversation == conversation)
            && self.homes.get(entry.home).is_some_and(|home| home.user == user)
        {
            return (HomeKey(entry.home), place);
        }
        let home = self.home(user);
        (home, self.entry(home, conversation, peer))
    }

    /// A conversation's entry in a home, if it has one; it may be this one.
    pub fn find_near(&self, place: EntryKey, home: HomeKey, conversation: ConversationId) -> Option<EntryKey> {
        let is_that = |entry: &Entry| entry.home == home.0 && entry.conversation == conversation;
        if self.entries.get(place.0).is_some_and(is_that) { Some(place) } else { self.find(home, conversation) }
    }

    /// Where an entry and its conversation are.
    pub fn places_of(&self, entry: Option<EntryKey>) -> Places {
        let places = |entry: EntryKey| Places { conversation: self.entries[entry.0].of_conversation, entry };
        entry.map_or(Places::UNKNOWN, places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;

    /// A place at which something else is, or nothing, is as good as none.
    #[test]
    fn what_is_at_a_place_is_looked_at_before_it_is_believed() {
        let mut registry = Index::new(1);
        let [first, second, third] = [1, 2, 3].map(|n| ConversationId([n; 16]));
        let [alice, bob] = [7, 8].map(|n| UserId([n; 16]));
        let (_, of_alice) = registry.entry_near(EntryKey::NONE, alice, (first, bob));
        let (_, of_bob) = registry.entry_near(EntryKey::NONE, bob, (first, alice));
        let (home, other) = registry.entry_near(EntryKey::NONE, alice, (second, bob));
        let stale = EntryKey(Key { generation: 9, ..of_alice.0 });
        for place in [of_alice, of_bob, other, stale, EntryKey::NONE] {
            assert_eq!(registry.entry_near(place, alice, (first, bob)), (home, of_alice));
            assert_eq!(registry.find_near(place, home, second), Some(other));
            assert_eq!(registry.find_near(place, home, third), None);
        }
    }
}
