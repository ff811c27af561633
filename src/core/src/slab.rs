//! A vector with holes: entries keep their index for life, and a generation tells an entry from its successor.

use alloc::vec::Vec;

/// The index and generation of an entry, in one number: a stale one finds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key {
    /// The entry's place.
    pub index: u32,
    /// Which entry at that place, counted from 1; 0 names none.
    pub generation: u32,
}

impl Key {
    /// Names no entry.
    pub const NONE: Self = Self { index: u32::MAX, generation: 0 };

    /// As one number.
    pub fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key that [`Self::to_u64`] made.
    pub fn from_u64(value: u64) -> Self {
        Self { index: value as u32, generation: (value >> 32) as u32 }
    }
}

/// Generations stay below 2^24, so that a key fits the 56 bits that a ring's completion carries.
const GENERATION_MAX: u32 = 0xff_ffff;

#[derive(Debug)]
struct Cell<T> {
    generation: u32,
    value: Option<T>,
}

/// The vector.
#[derive(Debug)]
pub struct Slab<T> {
    cells: Vec<Cell<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { cells: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Takes `value` in.
    ///
    /// # Panics
    /// If there are 2^32 entries.
    pub fn insert(&mut self, value: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.cells.push(Cell { generation: 0, value: None });
            u32::try_from(self.cells.len() - 1).expect("fewer than 2^32 entries")
        });
        let cell = &mut self.cells[index as usize];
        cell.generation = ((cell.generation + 1) & GENERATION_MAX).max(1);
        cell.value = Some(value);
        Key { index, generation: cell.generation }
    }

    /// The entry, if it is still there.
    pub fn get(&self, key: Key) -> Option<&T> {
        self.cells.get(key.index as usize).filter(|cell| cell.generation == key.generation)?.value.as_ref()
    }

    /// The entry, if it is still there.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.cells.get_mut(key.index as usize).filter(|cell| cell.generation == key.generation)?.value.as_mut()
    }

    /// Takes the entry out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let cell = self.cells.get_mut(key.index as usize).filter(|cell| cell.generation == key.generation)?;
        let value = cell.value.take()?;
        self.free.push(key.index);
        Some(value)
    }

    /// The key of the entry at `index`.
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let cell = self.cells.get(index as usize)?;
        cell.value.as_ref().map(|_| Key { index, generation: cell.generation })
    }

    /// Entries, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.cells.iter().enumerate().filter_map(|(index, cell)| {
            let key = Key { index: index as u32, generation: cell.generation };
            cell.value.as_ref().map(|value| (key, value))
        })
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.cells.len() - self.free.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Places in use or once used: indices below this may name entries.
    pub fn places(&self) -> u32 {
        self.cells.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::default();
        let a = slab.insert('a');
        assert_eq!(slab.remove(a), Some('a'));
        let b = slab.insert('b');
        assert_eq!(a.index, b.index);
        assert_eq!((slab.get(a), slab.get(b), slab.get(Key::NONE)), (None, Some(&'b'), None));
        assert_eq!(Key::from_u64(b.to_u64()), b);
    }
}
