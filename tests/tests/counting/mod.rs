//! An allocator that counts what the reactors of a server in this process do with it.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs::File,
    io::Read,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

/// Counts what reactors' threads allocate and free while [`MEASURING`].
pub struct Counting;

/// Whether it counts.
pub static MEASURING: AtomicBool = AtomicBool::new(false);
/// Allocations so far.
pub static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Bytes that are allocated more than when counting began.
pub static BYTES: AtomicI64 = AtomicI64::new(0);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Thread {
    Unknown,
    Finding,
    Reactor,
    Other,
}

thread_local! {
    static THREAD: Cell<Thread> = const { Cell::new(Thread::Unknown) };
}

/// Reactors' threads are known by their names.
fn is_reactor() -> bool {
    if THREAD.get() == Thread::Unknown {
        THREAD.set(Thread::Finding); // reading the name may allocate
        let mut name = [0; 16];
        let read = File::open("/proc/thread-self/comm").and_then(|mut file| file.read(&mut name));
        let reactor = read.is_ok() && name.starts_with(b"reactor-");
        THREAD.set(if reactor { Thread::Reactor } else { Thread::Other });
    }
    THREAD.get() == Thread::Reactor
}

fn count(allocations: u64, bytes: i64) {
    if MEASURING.load(Ordering::Relaxed) && is_reactor() {
        ALLOCATIONS.fetch_add(allocations, Ordering::Relaxed);
        BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as i64 - layout.size() as i64);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
