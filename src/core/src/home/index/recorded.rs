//! What of a home is in the log: what changed is put there, all of it is put there again before it is dropped, and recovery reads it back.

use alloc::vec::Vec;

use tidings_wire::{ConversationId, Seq, UserId, Uv};

use super::{Entry, EntryKey, Home, HomeKey, Index, NO_ENTRY};
use crate::{
    home::preferences::Preferences,
    lanes::{Shown, Watermarks},
    narrow::to_u32,
    records::{HomeEntryRecord, HomeRecord},
    slab::Key,
};

/// How far a home was written again: up to which entry, and when that had changed then.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    last: Key,
    uv: Uv,
}

impl Listed {
    /// Nowhere yet.
    pub const NOWHERE: Self = Self { last: NO_ENTRY, uv: Uv(0) };

    /// With this one.
    pub fn with((key, entry): (EntryKey, &Entry)) -> Self {
        Self { last: key.0, uv: entry.uv }
    }
}

impl Entry {
    /// As it is in the log.
    pub(super) fn record(&self) -> HomeEntryRecord {
        let Preferences { hidden, muted_until, pinned, archived, cleared, blocks, forgotten } = self.preferences.get();
        HomeEntryRecord {
            conversation: self.conversation,
            peer: self.peer,
            uv: self.uv,
            head: self.head,
            delivered: self.own.delivered,
            read: self.own.read,
            peer_delivered: self.peers.delivered,
            peer_read: self.peers.read,
            ordinal: self.ordinal,
            seen: self.own.seen,
            hidden,
            name_len: u16::try_from(self.name.len()).expect("at most TITLE_MAX"),
            heads: self.heads,
            muted_until,
            pinned,
            archived,
            cleared,
            blocks,
            forgotten,
        }
    }
}

impl Index {
    /// The next record that brings the log up to date with a home, oldest changes first, at most `most` of them; `None` if
    /// nothing is missing. The home counts as flushed up to what the record says.
    pub fn flush(
        &mut self,
        home: HomeKey,
        most: usize,
        into: &mut Vec<(EntryKey, HomeEntryRecord)>,
    ) -> Option<HomeRecord> {
        let Home { user, uv, flushed, newest, .. } = self.homes[home.0];
        if flushed == uv {
            return None;
        }
        let mut start = newest;
        let mut missing = 1;
        while let Some(older) = self.entries.get(self.entries[start].older)
            && older.uv > flushed
        {
            start = self.entries[start].older;
            missing += 1;
        }
        into.clear();
        into.extend(self.walk(start, |entry| entry.newer).take(most).map(|(key, entry)| (key, entry.record())));
        let upto = if missing <= most { uv } else { into.last().expect("something is missing").1.uv };
        self.homes[home.0].flushed = upto;
        Some(HomeRecord { user, uv: upto, count: to_u32(into.len()) })
    }

    /// Entries of a home that changed after those that were `after` the last time, oldest changes first, at most `most` of them, to be put
    /// into the log again. One that changes between two calls comes again, and none is passed over.
    pub fn again(
        &self,
        home: HomeKey,
        after: Listed,
        most: usize,
        into: &mut Vec<(EntryKey, HomeEntryRecord)>,
    ) -> (HomeRecord, Listed) {
        into.clear();
        // One that was written last and has not changed since says where to go on.
        let unmoved = self.entries.get(after.last).filter(|entry| entry.uv == after.uv);
        let mut at = unmoved.map_or(self.homes[home.0].oldest, |entry| entry.newer);
        let mut listed = after;
        while let Some(entry) = self.entries.get(at).filter(|_| into.len() < most) {
            if entry.uv > after.uv || after.last == NO_ENTRY {
                into.push((EntryKey(at), entry.record()));
                listed = Listed::with((EntryKey(at), entry));
            }
            at = entry.newer;
        }
        let home = self.get(home);
        // Only what was flushed may be claimed: entries newer than that are written with their stamps, but the record
        // does not promise that there are no others.
        (HomeRecord { user: home.user, uv: home.flushed, count: to_u32(into.len()) }, listed)
    }

    /// Takes over an entry of a record that recovery read. Records are read in the order in which they were written, but
    /// entries written again may be older than what is known.
    pub fn replay(&mut self, home: HomeKey, upto: Uv, record: &HomeEntryRecord, name: &[u8]) {
        let key = self.entry(home, record.conversation, record.peer);
        let known = self.entries[key.0].uv;
        if record.uv >= known {
            let entry = &mut self.entries[key.0];
            entry.uv = record.uv;
            (entry.head, entry.ordinal) = (record.head, record.ordinal);
            let (delivered, read, seen) = (record.delivered, record.read, record.seen);
            entry.own = Watermarks { delivered, read, shown: Seq(0), seen };
            entry.peers = Shown { delivered: record.peer_delivered, read: record.peer_read };
            let HomeEntryRecord { hidden, muted_until, pinned, archived, cleared, blocks, .. } = *record;
            // The record of what is forgotten may have been before.
            let forgotten = record.forgotten.max(entry.preferences.get().forgotten);
            entry.preferences.set(Preferences { hidden, muted_until, pinned, archived, cleared, blocks, forgotten });
            entry.name = name.into();
            self.set_heads(home, key, record.heads);
            if record.uv > known {
                self.unlink(home, key.0);
                self.link_by_uv(home, key.0);
            }
        }
        let home = &mut self.homes[home.0];
        home.uv = home.uv.max(upto).max(record.uv);
        (home.flushed, home.durable) = (home.uv, home.uv);
    }

    /// Takes over that an entry was changed, as a record says that recovery read; its peer, if it was not known.
    pub fn replay_change(&mut self, home: HomeKey, (conversation, peer): (ConversationId, UserId), uv: Uv) -> EntryKey {
        let key = self.entry(home, conversation, peer);
        if uv > self.entries[key.0].uv {
            self.entries[key.0].uv = uv;
            self.unlink(home, key.0);
            self.link_by_uv(home, key.0);
        }
        let home = &mut self.homes[home.0];
        home.uv = home.uv.max(uv);
        (home.flushed, home.durable) = (home.uv, home.uv);
        key
    }

    /// Links an entry where its stamp belongs; nearly always that is the front.
    fn link_by_uv(&mut self, home: HomeKey, index: Key) {
        let uv = self.entries[index].uv;
        let (mut newer, mut older) = (NO_ENTRY, self.homes[home.0].newest);
        while let Some(entry) = self.entries.get(older)
            && entry.uv > uv
        {
            (newer, older) = (older, entry.older);
        }
        self.join(home, newer, index);
        self.join(home, index, older);
    }
}
