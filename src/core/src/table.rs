//! Hash tables keyed by ids. Peers choose ids, so the hash is keyed by a seed that they do not know; tables are only looked
//! up, never walked, so that no effect comes in the order of a seed. A table is many small ones, which grow
//! at different times, so that no turn moves much of a large one.

use alloc::{boxed::Box, vec::Vec};
use core::hash::{BuildHasher, Hash, Hasher};

use hashbrown::HashTable;

/// Small tables of a table. With four million ids, growing moves 7,000 of them.
const PARTS: usize = 512;

/// A table from ids to what is small.
#[derive(Debug)]
pub struct Table<K, V> {
    parts: Box<[HashTable<(K, V)>]>,
    seed: Seed,
}

impl<K: Hash + Eq, V: Copy> Table<K, V> {
    /// An empty one.
    pub fn new(seed: Seed) -> Self {
        Self { parts: (0..PARTS).map(|_| HashTable::new()).collect::<Vec<_>>().into(), seed }
    }

    /// The small table is chosen by bits that it does not use itself: it begins with the low ones, and marks entries with the top seven.
    fn part(hash: u64) -> usize {
        usize::from((hash >> 48) as u16) % PARTS
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<V> {
        let hash = self.seed.hash_one(key);
        self.parts[Self::part(hash)].find(hash, |(found, _)| found == key).map(|(_, value)| *value)
    }

    /// The value of a key, made if there is none.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> V {
        let hash = self.seed.hash_one(&key);
        let same = |(found, _): &(K, V)| *found == key;
        let nth = Self::part(hash);
        let part = &mut self.parts[nth];
        if let Some((_, value)) = part.find(hash, same) {
            return *value;
        }
        let value = make();
        // All of them are equally full. So that they do not grow together, each does before it must, between three quarters and all of what it takes.
        let (len, full) = (part.len(), part.capacity());
        if len < full && len >= full - full / 4 * (PARTS - nth) / PARTS {
            part.reserve(full + 1 - len, |(key, _)| self.seed.hash_one(key));
        }
        part.insert_unique(hash, (key, value), |(key, _)| self.seed.hash_one(key));
        value
    }
}

/// The seed of a table's hash.
#[derive(Clone, Copy)]
pub struct Seed(pub u64);

impl core::fmt::Debug for Seed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Seed") // stays out of logs
    }
}

impl BuildHasher for Seed {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded(self.0)
    }
}

/// Folded multiplication of eight bytes at a time; in memory only, never stored or sent.
#[derive(Debug)]
pub struct Folded(u64);

impl Folded {
    fn fold(&mut self, value: u64) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 / golden ratio
        let product = u128::from(self.0 ^ value) * u128::from(self.0.rotate_left(32) ^ ODD);
        #[allow(clippy::cast_possible_truncation, reason = "the halves of a product")]
        let halves = (product as u64) ^ (product >> 64) as u64;
        self.0 = halves ^ value.rotate_left(17);
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.fold(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.fold(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.fold(value);
    }

    fn write_u32(&mut self, value: u32) {
        self.fold(u64::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.fold(value as u64); // the length before an array's bytes
    }

    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0xff51_afd7_ed55_8ccd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_tables_do_not_grow_together() {
        let mut table = Table::new(Seed(7));
        let capacities = |table: &Table<[u8; 8], u64>| table.parts.iter().map(HashTable::capacity).collect::<Vec<_>>();
        let (mut before, mut most) = (capacities(&table), 0);
        for id in 0..PARTS as u64 * 2048 {
            table.get_or_insert_with(id.to_le_bytes(), || id);
            if id % 64 == 0 && id > PARTS as u64 * 256 {
                let now = capacities(&table);
                most = most.max(before.iter().zip(&now).filter(|(before, now)| before != now).count());
                before = now;
            } else if id % 64 == 0 {
                before = capacities(&table);
            }
        }
        assert!(most <= 6, "{most} of {PARTS} grew for 64 new ids");
    }

    #[test]
    fn ids_are_found_and_fall_evenly_into_the_small_tables() {
        let mut table = Table::new(Seed(7));
        for id in 0..512_000_u64 {
            assert_eq!(table.get_or_insert_with(id.to_le_bytes(), || id), id);
            assert_eq!(table.get_or_insert_with(id.to_le_bytes(), || unreachable!("it is there")), id);
        }
        assert_eq!((0..512_000_u64).find(|id| table.get(&id.to_le_bytes()) != Some(*id)), None);
        assert_eq!(table.get(&512_000_u64.to_le_bytes()), None);
        let sizes = table.parts.iter().map(HashTable::len);
        assert!(sizes.clone().all(|size| (800..1200).contains(&size)), "{:?}", sizes.collect::<Vec<_>>());
    }
}
