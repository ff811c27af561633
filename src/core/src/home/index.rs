//! Homes: per user the live sessions and the *change index*, which answers "what changed since" at the cost of what changed.
//!
//! A home's entries form a list from the last changed to the first. Every change raises the home's counter `uv`, stamps the
//! entry with it and moves it to the front. What is newer than `flushed` is not in the log yet; what is newer than
//! `durable` is not committed. Devices are only ever told a durable `uv` to come back with, so that no change that a crash
//! forgets (and the conversation tells again, under a new number) can hide below their cursor.

mod places;
mod recorded;

use alloc::{boxed::Box, vec::Vec};

use tidings_wire::{ConversationId, Seq, UserId, Uv};

pub use recorded::Listed;

use super::{SessionId, listening::NOWHERE, own::Own, preferences::Kept, presence::LastSeen};
use crate::{
    engine::ConversationKey,
    lanes::{Heads, Shown, Watermarks},
    limits::Bucket,
    placement::Base,
    slab::{Key, Slab},
    table::{Seed, Table},
};

/// A home of this reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HomeKey(pub Key);

/// An entry of a change index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryKey(Key);

const NO_ENTRY: Key = Key::NONE;

impl EntryKey {
    /// Names none.
    pub const NONE: Self = Self(NO_ENTRY);
}

/// A user's home.
#[derive(Debug)]
pub struct Home {
    /// Whose.
    pub user: UserId,
    /// The user's external name, known since the first session of this run.
    pub name: Box<str>,
    /// Live sessions.
    pub sessions: Vec<SessionId>,
    /// The user's rate.
    pub bucket: Bucket,
    /// The last change.
    pub uv: Uv,
    /// Changes up to here were put into the log.
    pub flushed: Uv,
    /// Changes up to here are committed.
    pub durable: Uv,
    /// Waiting to be put into the log.
    pub dirty: bool,
    /// When the user was there last.
    pub last_seen: LastSeen,
    /// Where its state is.
    pub base: Base,
    /// What the user keeps for itself, if anything.
    pub own: Option<Box<Own>>,
    /// Where the last page of its list ended that a device was given.
    pub listed: EntryKey,
    /// One-to-one conversations of the user, and groups that it is or was in.
    pub direct: u32,
    /// See `direct`.
    pub groups: u32,
    /// Large groups of the user, in the order in which it became a member.
    #[allow(clippy::box_collection, reason = "one word in each home: most users are in no large group")]
    pub large: Option<Box<Vec<EntryKey>>>,
    newest: Key,
    oldest: Key,
}

/// A conversation in a home.
#[derive(Debug)]
pub struct Entry {
    /// Which.
    pub conversation: ConversationId,
    /// The home that it is in.
    home: Key,
    /// Where the conversation is on its reactor, as far as that was told.
    pub of_conversation: ConversationKey,
    /// The other member.
    pub peer: UserId,
    /// When it last changed.
    pub uv: Uv,
    /// Its head.
    pub head: Seq,
    /// Messages with content that the user may know of.
    pub ordinal: u64,
    /// The user's watermarks.
    pub own: Watermarks,
    /// The other member's.
    pub peers: Shown,
    /// What the user wants of it.
    pub preferences: Kept,
    /// How its head is learnt.
    pub heads: Heads,
    /// Its place among those who listen to it, if it is a large group.
    pub listens_at: u32,
    /// A group's title, or the other member's name, as far as it is known.
    pub name: Box<[u8]>,
    newer: Key,
    older: Key,
}

/// All homes of a reactor.
#[derive(Debug)]
pub(crate) struct Index {
    homes: Slab<Home>,
    entries: Slab<Entry>,
    by_user: Table<UserId, Key>,
    by_conversation: Table<(Key, ConversationId), Key>,
}

impl Index {
    /// Without homes; tables are hashed with `seed`.
    pub fn new(seed: u64) -> Self {
        let (by_user, by_conversation) = (Table::new(Seed(seed)), Table::new(Seed(seed)));
        Self { homes: Slab::default(), entries: Slab::default(), by_user, by_conversation }
    }

    /// A user's home, made if there is none.
    pub fn home(&mut self, user: UserId) -> HomeKey {
        let homes = &mut self.homes;
        HomeKey(self.by_user.get_or_insert_with(user, || {
            homes.insert(Home {
                user,
                name: Box::default(),
                sessions: Vec::new(),
                bucket: Bucket::default(),
                uv: Uv(0),
                flushed: Uv(0),
                durable: Uv(0),
                dirty: false,
                last_seen: LastSeen::Unknown,
                base: Base::New,
                own: None,
                listed: EntryKey::NONE,
                direct: 0,
                groups: 0,
                large: None,
                newest: NO_ENTRY,
                oldest: NO_ENTRY,
            })
        }))
    }

    /// A user's home, if there is one.
    pub fn find_home(&self, user: UserId) -> Option<HomeKey> {
        self.by_user.get(&user).map(HomeKey)
    }

    /// True if a user has a home here.
    pub fn has_home(&self, user: UserId) -> bool {
        self.find_home(user).is_some()
    }

    /// A home.
    pub fn get(&self, key: HomeKey) -> &Home {
        &self.homes[key.0]
    }

    /// A home.
    pub fn get_mut(&mut self, key: HomeKey) -> &mut Home {
        &mut self.homes[key.0]
    }

    /// How many conversations there are in all of them.
    pub fn entries_len(&self) -> usize {
        self.entries.len()
    }

    /// How many homes there are.
    pub fn len(&self) -> usize {
        self.homes.len()
    }

    /// Homes have places below this.
    pub fn places(&self) -> u32 {
        self.homes.places()
    }

    /// The home at a place, if there is one.
    pub fn home_at(&self, place: u32) -> Option<HomeKey> {
        self.homes.key_at(place).map(HomeKey)
    }

    /// A conversation's entry in a home, if it has one.
    pub fn find(&self, home: HomeKey, conversation: ConversationId) -> Option<EntryKey> {
        self.by_conversation.get(&(home.0, conversation)).map(EntryKey)
    }

    /// A conversation's entry in a home, made at the old end of the list if there is none.
    pub fn entry(&mut self, home: HomeKey, conversation: ConversationId, peer: UserId) -> EntryKey {
        if let Some(found) = self.find(home, conversation) {
            return found;
        }
        let (own, peers, name) = (Watermarks::default(), Shown::default(), Box::default());
        let older = NO_ENTRY;
        let newer = self.homes[home.0].oldest;
        let (uv, head, heads, listens_at) = (Uv(0), Seq(0), Heads::Told, NOWHERE);
        let entry = Entry {
            conversation,
            home: home.0,
            of_conversation: ConversationKey::NONE,
            peer,
            uv,
            head,
            ordinal: 0,
            own,
            peers,
            preferences: Kept::default(),
            heads,
            listens_at,
            name,
            newer,
            older,
        };
        let index = self.entries.insert(entry);
        self.by_conversation.get_or_insert_with((home.0, conversation), || index);
        match newer {
            NO_ENTRY => self.homes[home.0].newest = index,
            newer => self.entries[newer].older = index,
        }
        self.homes[home.0].oldest = index;
        let state = &mut self.homes[home.0];
        *(if conversation.is_group() { &mut state.groups } else { &mut state.direct }) += 1;
        EntryKey(index)
    }

    /// What an entry says.
    pub fn entry_at(&self, key: EntryKey) -> &Entry {
        &self.entries[key.0]
    }

    /// What an entry says, to be altered in what is no change.
    pub fn entry_mut(&mut self, key: EntryKey) -> &mut Entry {
        &mut self.entries[key.0]
    }

    /// The head of an entry is learnt in another way from now on. True if it was not learnt in that way.
    pub fn set_heads(&mut self, home: HomeKey, key: EntryKey, heads: Heads) -> bool {
        if core::mem::replace(&mut self.entries[key.0].heads, heads) == heads {
            return false;
        }
        let large = &mut self.homes[home.0].large;
        match heads {
            Heads::Asked => large.get_or_insert_default().push(key),
            Heads::Told => {
                large.iter_mut().for_each(|large| large.retain(|other| *other != key));
                large.take_if(|large| large.is_empty());
            }
        }
        true
    }

    /// Lets `change` alter an entry; if it says that it did, the home's counter rises and the entry moves to the front.
    /// True then.
    pub fn change(&mut self, home: HomeKey, key: EntryKey, change: impl FnOnce(&mut Entry) -> bool) -> bool {
        let entry = &mut self.entries[key.0];
        if !change(entry) {
            return false;
        }
        let state = &mut self.homes[home.0];
        state.uv = Uv(state.uv.0 + 1);
        entry.uv = state.uv;
        // In a conversation that is going on it is there already.
        if state.newest != key.0 {
            self.unlink(home, key.0);
            self.link_newest(home, key.0);
        }
        true
    }

    fn unlink(&mut self, home: HomeKey, index: Key) {
        let Entry { newer, older, .. } = self.entries[index];
        self.join(home, newer, older);
    }

    fn link_newest(&mut self, home: HomeKey, index: Key) {
        let old = self.homes[home.0].newest;
        self.join(home, NO_ENTRY, index);
        self.join(home, index, old);
    }

    /// Two entries follow each other in a home's list, or one is its end: the other is none.
    fn join(&mut self, home: HomeKey, newer: Key, older: Key) {
        match newer {
            NO_ENTRY => self.homes[home.0].newest = older,
            newer => self.entries[newer].older = older,
        }
        match older {
            NO_ENTRY => self.homes[home.0].oldest = newer,
            older => self.entries[older].newer = newer,
        }
    }

    /// The newest entry that changed before `below` (0: of all), and how many were walked over to it: none if the page before ended right
    /// before it.
    pub fn below(&self, home: HomeKey, below: Uv, before: EntryKey) -> (EntryKey, u64) {
        if below != Uv(0)
            && let Some(entry) = self.entries.get(before.0).filter(|entry| entry.uv == below)
        {
            return (EntryKey(entry.older), 0);
        }
        let (mut at, mut walked) = (self.homes[home.0].newest, 0);
        while let Some(entry) = self.entries.get(at).filter(|entry| below != Uv(0) && entry.uv >= below) {
            (at, walked) = (entry.older, walked + 1);
        }
        (EntryKey(at), walked)
    }

    /// Entries from one to the first that changed, with their keys.
    pub fn older_from(&self, start: EntryKey) -> impl Iterator<Item = (EntryKey, &Entry)> {
        let mut at = start.0;
        core::iter::from_fn(move || {
            let (key, entry) = (EntryKey(at), self.entries.get(at)?);
            at = entry.older;
            Some((key, entry))
        })
    }

    /// Entries from the last changed to the first.
    #[cfg(test)]
    pub fn newest_first(&self, home: HomeKey) -> impl Iterator<Item = &Entry> {
        self.walk(self.homes[home.0].newest, |entry| entry.older).map(|(_, entry)| entry)
    }

    fn walk(&self, start: Key, step: fn(&Entry) -> Key) -> impl Iterator<Item = (EntryKey, &Entry)> {
        let mut at = start;
        core::iter::from_fn(move || {
            let (key, entry) = (EntryKey(at), self.entries.get(at)?);
            at = step(entry);
            Some((key, entry))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::HomeEntryRecord;

    fn conversation(n: u8) -> ConversationId {
        ConversationId([n; 16])
    }

    fn rise(registry: &mut Index, home: HomeKey, n: u8, head: u64) -> bool {
        let key = registry.entry(home, conversation(n), UserId([n; 16]));
        registry.change(home, key, |entry| {
            let rises = Seq(head) > entry.head;
            entry.head = entry.head.max(Seq(head));
            (entry.ordinal, entry.own.seen, entry.peers.read) = (2 * head, head, Seq(head));
            rises
        })
    }

    fn records(registry: &Index, home: HomeKey) -> Vec<HomeEntryRecord> {
        registry.newest_first(home).map(Entry::record).collect()
    }

    fn order(registry: &Index, home: HomeKey) -> Vec<u8> {
        registry.newest_first(home).map(|entry| entry.conversation.0[0]).collect()
    }

    #[test]
    fn what_changed_last_comes_first() {
        let mut registry = Index::new(1);
        let home = registry.home(UserId([9; 16]));
        for n in [1, 2, 3] {
            assert!(rise(&mut registry, home, n, 1));
        }
        assert!(rise(&mut registry, home, 1, 2));
        assert!(!rise(&mut registry, home, 2, 1), "not a change");
        assert_eq!(order(&registry, home), [1, 3, 2]);
        assert_eq!(registry.get(home).uv, Uv(4));
    }

    #[test]
    fn flushed_records_rebuild_the_index_and_are_bounded() {
        let mut registry = Index::new(1);
        let home = registry.home(UserId([9; 16]));
        let (mut entries, mut again) = (Vec::new(), Index::new(2));
        for round in 1..4u64 {
            for n in 0..20 {
                rise(&mut registry, home, (n * 7 + round as u8) % 20, round);
            }
            while let Some(record) = registry.flush(home, 6, &mut entries) {
                assert!(entries.len() <= 6 && record.count as usize == entries.len());
                let key = again.home(record.user);
                entries.iter().for_each(|(_, entry)| again.replay(key, record.uv, entry, &[]));
            }
        }
        let key = again.home(UserId([9; 16]));
        assert_eq!(records(&again, key), records(&registry, home));
        assert_eq!((again.get(key).uv, again.get(key).durable), (registry.get(home).uv, Uv(60)));
        // Written again as a whole, over what is known already.
        let (mut after, mut written) = (Listed::NOWHERE, 0);
        loop {
            let (record, listed) = registry.again(home, after, 7, &mut entries);
            entries.iter().for_each(|(_, entry)| again.replay(key, record.uv, entry, &[]));
            written += entries.len();
            if entries.is_empty() {
                break;
            }
            after = listed;
            if written == 7 {
                rise(&mut registry, home, entries[0].1.conversation.0[0], 9); // one that was written already moves
            }
        }
        assert_eq!(written, 21, "twenty, and the one that changed again");
        assert_eq!(records(&again, key), records(&registry, home));
    }

    /// Page after page, nothing is walked over twice, unless the last entry of a page changed meanwhile.
    #[test]
    fn a_page_goes_on_where_the_one_before_ended() {
        let mut registry = Index::new(1);
        let home = registry.home(UserId([9; 16]));
        (0..100).for_each(|n| assert!(rise(&mut registry, home, n, 1)));
        let (mut below, mut listed, mut seen) = (Uv(0), EntryKey::NONE, 0);
        loop {
            let (start, walked) = registry.below(home, below, listed);
            assert_eq!(walked, 0);
            let page: Vec<_> = registry.older_from(start).take(7).collect();
            let Some(last) = page.last() else { break };
            (below, listed, seen) = (last.1.uv, last.0, seen + page.len());
        }
        assert_eq!(seen, 100);
        let (start, walked) = registry.below(home, Uv(51), EntryKey::NONE);
        assert_eq!((registry.entry_at(start).uv, walked), (Uv(50), 50), "another list is walked to there");
        let last = registry.older_from(start).next().map(|(last, _)| last).unwrap();
        assert!(rise(&mut registry, home, 49, 2), "the last entry of a page changes");
        let (start, walked) = registry.below(home, Uv(50), last);
        assert_eq!((registry.entry_at(start).uv, walked), (Uv(49), 51));
    }
}
