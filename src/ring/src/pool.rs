//! The pool of receive buffers that the kernel picks from (a *provided buffer ring*).

use std::{io, ptr::NonNull, sync::atomic::Ordering};

use io_uring::{IoUring, types::BufRingEntry};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Received bytes: which buffer, and how many. Must go back with [`crate::Ring::give_back`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a chunk that is not given back is a buffer lost to the pool"]
pub struct Chunk {
    pub(crate) buffer: u16,
    pub(crate) len: u32,
}

impl Chunk {
    /// Bytes received.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The only buffer group of a ring.
pub(crate) const GROUP: u16 = 1;

/// The buffers, and the ring of those that the kernel may use.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Entries of the shared ring, then the buffers, in one anonymous mapping.
    map: NonNull<u8>,
    map_len: usize,
    entries: u16,
    buffer_len: usize,
    buffers_at: usize,
    tail: u16,
    out: u16,
}

impl Pool {
    /// Maps `entries` (a power of two) buffers of `buffer_len` bytes and shows them to the kernel.
    pub(crate) fn register(ring: &IoUring, entries: u16, buffer_len: usize) -> io::Result<Self> {
        assert!(entries.is_power_of_two(), "a buffer ring's size is a power of two");
        let buffers_at = (entries as usize * size_of::<BufRingEntry>()).next_multiple_of(4096);
        let map_len = buffers_at + entries as usize * buffer_len;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let map = unsafe {
            mmap_anonymous(std::ptr::null_mut(), map_len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?
        };
        let map = NonNull::new(map.cast::<u8>()).expect("a mapping is not at zero");
        let mut pool = Self { map, map_len, entries, buffer_len, buffers_at, tail: 0, out: 0 };
        // SAFETY: the address is page-aligned and holds `entries` entries; the mapping lives until drop(), which runs
        // after the kernel let go of it (Ring::drop), or never.
        unsafe { ring.submitter().register_buf_ring_with_flags(map.as_ptr() as u64, entries, GROUP, 0)? };
        for buffer in 0..entries {
            pool.put(buffer);
        }
        pool.publish();
        Ok(pool)
    }

    /// The bytes of a chunk.
    pub(crate) fn bytes(&self, chunk: &Chunk) -> &[u8] {
        assert!(chunk.buffer < self.entries && chunk.len as usize <= self.buffer_len);
        let at = self.buffers_at + chunk.buffer as usize * self.buffer_len;
        // SAFETY: inside the mapping; the kernel filled the first `len` bytes before it completed the receive and does
        // not touch the buffer again until it is given back, which takes the chunk by value.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(at), chunk.len as usize) }
    }

    pub(crate) fn bytes_mut(&mut self, chunk: &mut Chunk) -> &mut [u8] {
        assert!(chunk.buffer < self.entries && chunk.len as usize <= self.buffer_len);
        let at = self.buffers_at + chunk.buffer as usize * self.buffer_len;
        // SAFETY: inside the mapping; the kernel filled the first `len` bytes before it completed the receive and does not touch the
        // buffer again until it is given back. The pool and the chunk, of which there is one for each buffer that is taken, are borrowed
        // mutably, so nobody else reads these bytes meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_ptr().add(at), chunk.len as usize) }
    }

    /// A chunk from what a completion says.
    pub(crate) fn take(&mut self, buffer: u16, len: u32) -> Chunk {
        self.out += 1;
        Chunk { buffer, len }
    }

    /// Gives a buffer back; the kernel sees it after [`Self::publish`].
    #[expect(clippy::needless_pass_by_value, reason = "whoever gives a chunk back cannot read it any more")]
    pub(crate) fn give_back(&mut self, chunk: Chunk) {
        self.out -= 1;
        self.put(chunk.buffer);
    }

    fn put(&mut self, buffer: u16) {
        let index = (self.tail & (self.entries - 1)) as usize;
        let address = self.map.as_ptr() as u64 + (self.buffers_at + buffer as usize * self.buffer_len) as u64;
        // SAFETY: `index` is inside the ring. The kernel reads entries only between its head and the published tail, and
        // this one is past the tail. The shared tail lies in the padding of entry 0, which these setters do not write.
        unsafe {
            let entry = &mut *self.map.as_ptr().cast::<BufRingEntry>().add(index);
            entry.set_addr(address);
            entry.set_len(self.buffer_len as u32);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was given back.
    pub(crate) fn publish(&mut self) {
        // SAFETY: the mapping begins with the entries, and BufRingEntry::tail() finds the shared tail in the first. It is
        // two-byte aligned and shared with the kernel as an atomic.
        let shared = unsafe {
            let tail = BufRingEntry::tail(self.map.as_ptr().cast()).cast_mut();
            std::sync::atomic::AtomicU16::from_ptr(tail)
        };
        shared.store(self.tail, Ordering::Release);
    }

    /// Buffers that hold received bytes now.
    pub(crate) fn taken(&self) -> u16 {
        self.out
    }

    /// How many buffers there are.
    pub(crate) fn size(&self) -> u16 {
        self.entries
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the mapping is this pool's, and nothing borrows from it any more.
        let _unmapped = unsafe { munmap(self.map.as_ptr().cast(), self.map_len) };
    }
}
