//! What recovery needs of a disk. The appending path does not go through this: it hands out writes (see
//! [`crate::writer`]) to whoever owns the ring, or the simulated device.

use std::io;

/// A file of a log, whichever generation it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u32);

/// The files of one log.
pub trait Storage {
    /// The slots that exist, in any order.
    ///
    /// # Errors
    /// If they cannot be listed.
    fn slots(&self) -> io::Result<Vec<SlotId>>;

    /// Bytes of a slot.
    ///
    /// # Errors
    /// If that cannot be found out.
    fn len(&self, slot: SlotId) -> io::Result<u64>;

    /// Makes durable whatever was written to the slot before, so that what is read is what a crash would leave.
    ///
    /// # Errors
    /// If the device refuses; the log must not be used then.
    fn sync(&self, slot: SlotId) -> io::Result<()>;

    /// Fills `buffer` from `offset`; bytes past the end read as zero.
    ///
    /// # Errors
    /// If the device refuses.
    fn read(&self, slot: SlotId, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` at `offset`; durable on return.
    ///
    /// # Errors
    /// If the device refuses; what is there is unknown then.
    fn write(&self, slot: SlotId, offset: u64, bytes: &[u8]) -> io::Result<()>;
}
