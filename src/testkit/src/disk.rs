//! A log's files in memory, as recovery sees them.

use std::{cell::RefCell, collections::BTreeMap, io, rc::Rc};

use tidings_log::{SlotId, Storage};

/// The files. Clones share them.
#[derive(Clone, Default, Debug)]
pub struct Memory(pub Rc<RefCell<BTreeMap<SlotId, Vec<u8>>>>);

impl Memory {
    /// A copy that shares nothing: what a crash now would leave.
    pub fn copied(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// The first slot that has no file.
    pub fn next_slot(&self) -> u32 {
        self.0.borrow().keys().last().map_or(0, |slot| slot.0 + 1)
    }
}

impl Storage for Memory {
    fn slots(&self) -> io::Result<Vec<SlotId>> {
        Ok(self.0.borrow().keys().copied().collect())
    }

    fn len(&self, slot: SlotId) -> io::Result<u64> {
        Ok(self.0.borrow()[&slot].len() as u64)
    }

    fn sync(&self, _: SlotId) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, slot: SlotId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let files = self.0.borrow();
        let rest = files[&slot].get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        buffer[len..].fill(0);
        Ok(())
    }

    fn write(&self, slot: SlotId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.0.borrow_mut();
        let file = files.get_mut(&slot).ok_or(io::ErrorKind::NotFound)?;
        let end = offset as usize + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }
}
