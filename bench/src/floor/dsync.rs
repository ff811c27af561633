//! The disk's own floor: durable writes of a given size at a given pace, to blocks that were written before, on the same kind
//! of ring that the server's log uses.

use std::{
    fs::File,
    io,
    path::Path,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tidings_log::{AlignedBuf, BLOCK, SlotId, Storage, files::Files};
use tidings_ring::{Completion, Ring, Token, Wait, Waker};

use super::relay::RING;
use crate::{Failure, drive::pace::histogram};

/// Bytes of the file that is written round and round.
pub const FILE: u64 = 64 << 20;

/// A file that was written before, open as the log opens its own. Its name is gone already.
fn opened(dir: &Path, open: impl FnOnce(&Files, SlotId) -> io::Result<File>) -> Result<File, Failure> {
    let files = Files::open(&dir.join("dsync"))?;
    let slot = SlotId(0);
    files.create(slot, FILE)?;
    files.write(slot, 0, &vec![0; FILE as usize])?;
    let file = open(&files, slot)?;
    files.remove(slot)?;
    Ok(file)
}

/// A file for durable writes round and round, to blocks that were written before.
///
/// # Errors
/// If it cannot be made.
pub fn file(dir: &Path) -> Result<File, Failure> {
    opened(dir, Files::open_for_append)
}

/// Latency in microseconds of writes of `size` bytes (rounded up to blocks), one in flight, `rate` a second (0: as fast as they
/// complete).
pub fn probe(dir: &Path, size: usize, rate: f64, time: Duration) -> Result<Histogram<u64>, Failure> {
    let size = size.max(1).next_multiple_of(BLOCK);
    let file = file(dir)?;
    let mut ring = Ring::new(&RING, Waker::new()?)?;
    let mut histogram = histogram();
    let mut buffer = AlignedBuf::new(size);
    buffer.zero_to(size);
    let (mut bytes, start) = buffer.into_parts();
    let (begin, mut offset, mut count) = (Instant::now(), 0, 0u64);
    let mut completions = Vec::with_capacity(8);
    while begin.elapsed() < time {
        if rate > 0.0 {
            let due = begin + Duration::from_secs_f64(count as f64 / rate);
            while Instant::now() < due {
                std::hint::spin_loop();
            }
        }
        bytes[start] = count as u8;
        let submitted = Instant::now();
        ring.write(&file, Token(0), offset, bytes, start);
        bytes = 'written: loop {
            ring.turn(Wait::Upto(Duration::from_secs(10)), &mut completions);
            for completion in completions.drain(..) {
                if let Completion::Written { buffer, result, .. } = completion {
                    result?;
                    break 'written buffer;
                }
            }
        };
        histogram.saturating_record(submitted.elapsed().as_micros() as u64);
        count += 1;
        offset = if offset + 2 * size as u64 > FILE { 0 } else { offset + size as u64 };
    }
    Ok(histogram)
}

/// Latency in microseconds of reads of `size` bytes (rounded up to blocks) at places all over a file, as the log reads, one in
/// flight, `rate` a second.
pub fn probe_reads(dir: &Path, size: usize, rate: f64, time: Duration) -> Result<Histogram<u64>, Failure> {
    let size = size.max(1).next_multiple_of(BLOCK);
    let file = opened(dir, Files::open_for_read)?;
    let mut buffer = AlignedBuf::new(size);
    buffer.zero_to(size);
    let (mut bytes, start) = buffer.into_parts();
    let mut histogram = histogram();
    let places = (FILE - size as u64) / BLOCK as u64;
    let (begin, mut count) = (Instant::now(), 0u64);
    while begin.elapsed() < time {
        let due = begin + Duration::from_secs_f64(count as f64 / rate);
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        let offset = count.wrapping_mul(0x9e37_79b9_7f4a_7c15) % places * BLOCK as u64;
        let submitted = Instant::now();
        rustix::io::pread(&file, &mut bytes[start..start + size], offset)?;
        histogram.saturating_record(submitted.elapsed().as_micros() as u64);
        count += 1;
    }
    Ok(histogram)
}

/// Durable writes that were watched for long.
#[derive(Debug)]
pub struct Watched {
    /// All, microseconds.
    pub all: Histogram<u64>,
    /// The slowest of each second, by when it ended.
    pub worst_us: Vec<u64>,
}

/// Durable writes of a block, `rate` a second, for `time` from now on; seconds are counted from `from`. Between them it sleeps.
///
/// # Errors
/// If a write fails.
pub fn probe_by_second(dir: &Path, rate: f64, from: Instant, time: Duration) -> Result<Watched, Failure> {
    let file = file(&dir.join("probe"))?;
    let mut buffer = AlignedBuf::new(BLOCK);
    buffer.zero_to(BLOCK);
    let (begin, mut count) = (Instant::now(), 0u64);
    let mut watched = Watched { all: histogram(), worst_us: vec![0; time.as_secs_f64().ceil() as usize] };
    while begin.elapsed() < time {
        let due = begin + Duration::from_secs_f64(count as f64 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let submitted = Instant::now();
        rustix::io::pwrite(&file, buffer.as_slice(), count * BLOCK as u64 % FILE)?;
        let took = submitted.elapsed().as_micros() as u64;
        watched.all.saturating_record(took);
        let second = Instant::now().checked_duration_since(from).map(|since| since.as_secs() as usize);
        if let Some(worst) = second.and_then(|second| watched.worst_us.get_mut(second)) {
            *worst = took.max(*worst);
        }
        count += 1;
    }
    Ok(watched)
}
