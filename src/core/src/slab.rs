//! A vector with holes: entries keep their index for life, and a generation tells an entry from its successor. It grows by
//! pages: nothing is moved, and no more than a page is there for nothing.

use alloc::{boxed::Box, vec::Vec};

use crate::narrow::to_u32;

/// The index and generation of an entry, in one number: a stale one finds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The entry's place.
    pub index: u32,
    /// Which entry at that place, counted from 1; 0 names none.
    pub generation: u32,
}

impl core::hash::Hash for Key {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.to_u64());
    }
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
        #[allow(clippy::cast_possible_truncation, reason = "the halves of a number")]
        let index = value as u32;
        Self { index, generation: (value >> 32) as u32 }
    }
}

/// Generations stay below 2^24, so that a key fits the 56 bits that a ring's completion carries.
const GENERATION_MAX: u32 = 0xff_ffff;

#[derive(Debug)]
struct Cell<T> {
    generation: u32,
    value: Option<T>,
}

/// Cells of a page.
const PAGE: usize = 256;

/// The vector.
#[derive(Debug)]
pub struct Slab<T> {
    pages: Vec<Box<[Cell<T>; PAGE]>>,
    /// Cells that were ever used.
    used: u32,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), used: 0, free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Takes `value` in.
    ///
    /// # Panics
    /// If there are 2^32 entries.
    pub fn insert(&mut self, value: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.used;
            self.used = index.checked_add(1).expect("fewer than 2^32 entries");
            if index as usize / PAGE == self.pages.len() {
                let empty: Vec<Cell<T>> = (0..PAGE).map(|_| Cell { generation: 0, value: None }).collect();
                self.pages.extend(empty.into_boxed_slice().try_into());
            }
            index
        });
        let cell = self.cell_mut(index).expect("it was just made");
        cell.generation = ((cell.generation + 1) & GENERATION_MAX).max(1);
        cell.value = Some(value);
        Key { index, generation: cell.generation }
    }

    fn cell(&self, index: u32) -> Option<&Cell<T>> {
        Some(&self.pages.get(index as usize / PAGE)?[index as usize % PAGE])
    }

    fn cell_mut(&mut self, index: u32) -> Option<&mut Cell<T>> {
        Some(&mut self.pages.get_mut(index as usize / PAGE)?[index as usize % PAGE])
    }

    /// The entry, if it is still there.
    pub fn get(&self, key: Key) -> Option<&T> {
        self.cell(key.index).filter(|cell| cell.generation == key.generation)?.value.as_ref()
    }

    /// The entry, if it is still there.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.cell_mut(key.index).filter(|cell| cell.generation == key.generation)?.value.as_mut()
    }

    /// Takes the entry out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let cell = self.cell_mut(key.index).filter(|cell| cell.generation == key.generation)?;
        let value = cell.value.take()?;
        self.free.push(key.index);
        Some(value)
    }

    /// The key of the entry at `index`.
    pub fn key_at(&self, index: u32) -> Option<Key> {
        let cell = self.cell(index)?;
        cell.value.as_ref().map(|_| Key { index, generation: cell.generation })
    }

    /// Entries, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.pages.iter().flat_map(|page| page.iter()).enumerate().filter_map(|(index, cell)| {
            let key = Key { index: to_u32(index), generation: cell.generation };
            cell.value.as_ref().map(|value| (key, value))
        })
    }

    /// Entries, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pages.iter_mut().flat_map(|page| page.iter_mut()).filter_map(|cell| cell.value.as_mut())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.used as usize - self.free.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Places in use or once used: indices below this may name entries.
    pub fn places(&self) -> u32 {
        self.used
    }
}

impl<T> core::ops::Index<Key> for Slab<T> {
    type Output = T;

    fn index(&self, key: Key) -> &T {
        self.get(key).expect("the key is of an entry that is there")
    }
}

impl<T> core::ops::IndexMut<Key> for Slab<T> {
    fn index_mut(&mut self, key: Key) -> &mut T {
        self.get_mut(key).expect("the key is of an entry that is there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_page_by_page_and_counts_what_is_there() {
        let mut slab = Slab::default();
        let keys: Vec<Key> = (0..3 * PAGE).map(|value| slab.insert(value)).collect();
        assert_eq!((slab.len(), slab.places() as usize, slab.pages.len()), (3 * PAGE, 3 * PAGE, 3));
        for key in &keys[PAGE - 1..=PAGE] {
            assert_eq!(slab.remove(*key), Some(key.index as usize));
        }
        let left: Vec<usize> =
            slab.iter().map(|(key, value)| (assert_eq!(key.index as usize, *value), *value).1).collect();
        assert_eq!((left.len(), left.contains(&PAGE), slab.key_at(PAGE as u32)), (3 * PAGE - 2, false, None));
        assert_eq!(slab.insert(7).index, PAGE as u32, "the place that became free last");
    }

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
