//! A log with its files in memory, whose segments are prepared at once.

use tidings_log::{
    Epoch, Log, LogConfig, LogKey, LogWrite, Replica, Scanner, Storage, Tail,
    prepare::{Lengths, Outcome, Preparer, Step},
};

use crate::disk::Memory;

/// A log on its disk.
#[derive(Debug)]
pub struct Store {
    /// Its files.
    pub disk: Memory,
    /// The log.
    pub log: Log,
    /// Prepares its segments.
    pub preparer: Preparer,
    time: u64,
}

/// Finds where the log on a disk ends.
///
/// # Panics
/// If it cannot be read.
pub fn tail_of(disk: &Memory, key: LogKey) -> Tail {
    let mut scanner = Scanner::open(disk.clone(), key).unwrap();
    while scanner.advance().unwrap() {}
    scanner.finish().unwrap().0
}

/// What a log in a test is made with.
pub fn log_config(key: LogKey, epoch: u32, segment_len: u64, batch_max: usize) -> LogConfig {
    LogConfig { key, epoch: Epoch(epoch), segment_len, batch_max, writes: 1 }
}

impl Store {
    /// A log that goes on where recovery found its tail.
    pub fn open(disk: Memory, config: LogConfig, tail: Tail) -> Self {
        let lengths = Lengths { first: config.segment_len, most: config.segment_len };
        let preparer = Preparer::new(config.key, lengths, tail.raw.clone(), disk.next_slot());
        let mut store = Self { disk, log: Log::open(config, tail), preparer, time: 0 };
        store.prepare();
        store
    }

    /// Prepares segments until two are ready.
    pub fn prepare(&mut self) {
        while self.log.ready_segments() < 2 {
            self.time += 1_000_000_000;
            match self.preparer.next(self.time, self.log.ready_segments(), self.log.next_generation()) {
                Some(Step::Create(slot, len)) => {
                    self.disk.0.borrow_mut().insert(slot, vec![0; len as usize]);
                    self.preparer.created(Outcome::Done);
                }
                Some(Step::Fill { slot, offset, buffer } | Step::Write { slot, offset, buffer }) => {
                    self.disk.write(slot, offset, buffer.as_slice()).unwrap();
                    let ready = self.preparer.written(buffer, Outcome::Done, self.log.next_generation());
                    ready.into_iter().for_each(|segment| self.log.add_ready(segment));
                }
                None => {}
            }
        }
    }

    /// Seals the open batch: its write.
    ///
    /// # Panics
    /// If it may not be sealed.
    pub fn seal(&mut self, replica: &mut impl Replica) -> LogWrite {
        self.prepare();
        self.log.seal(replica).expect("another write may be in flight")
    }

    /// The write of a batch reaches the disk as a whole.
    pub fn land(&mut self, write: LogWrite) {
        self.disk.write(write.slot, write.offset, write.buffer.as_slice()).unwrap();
        self.log.written(write.lsn, write.buffer);
    }
}
