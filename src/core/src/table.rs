//! Hash tables keyed by ids. Peers choose ids, so the hash is keyed by a seed that they do not know; tables are only looked
//! up, never walked, so that no effect comes in the order of a seed.

use core::hash::{BuildHasher, Hasher};

use hashbrown::HashMap;

/// A table keyed by ids.
pub type Table<K, V> = HashMap<K, V, Seed>;

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
        self.0 = (product as u64) ^ (product >> 64) as u64 ^ value.rotate_left(17);
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(word));
        }
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
