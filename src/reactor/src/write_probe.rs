//! Which way of making a write durable is faster on a disk: measured as a log writes, on a ring, to blocks that were written before.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use tidings_log::{
    AlignedBuf, BLOCK, SlotId, Storage,
    files::{Files, WriteMethod},
};
use tidings_ring::{Completion, Ring, RingConfig, Token, Wait, Waker};

/// Writes of each kind, by turns.
const WRITES: usize = 32;
/// Bytes of a write: a small batch.
pub const LEN: usize = 4 * BLOCK;
/// Bytes of the file.
const FILE: usize = 64 * LEN;
/// How long all writes may take; what was measured until then decides.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one may.
const LONGEST: Duration = Duration::from_secs(10);
/// An fdatasync costs a thread of the kernel's and a second completion, and begins only when the reactor looks at its ring: with 500 pairs at 20,000 messages a
/// second a message took 41 us of processor with it and 36 without, on a disk that has both ways alike. It must be faster than this share of O_DSYNC.
const WORTH: f64 = 0.8;

/// What a write takes in each way, the median: microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// With O_DSYNC.
    pub dsync_us: u64,
    /// With an fdatasync behind it.
    pub fdatasync_us: u64,
}

impl Measured {
    /// The way that is faster, by enough to matter.
    pub fn better(self) -> WriteMethod {
        let is_worth_it = (self.fdatasync_us as f64) < WORTH * self.dsync_us as f64;
        if is_worth_it { WriteMethod::Fdatasync } else { WriteMethod::Dsync }
    }
}

/// Measures, with a file in a directory that is made for it and goes with it.
///
/// # Errors
/// If there is no room, or a write fails.
pub fn measure(dir: &Path) -> Result<Measured, Box<dyn std::error::Error>> {
    let measured = measure_in(dir);
    // What cannot be removed is in nobody's way.
    let _left = fs::remove_dir_all(dir);
    measured
}

fn measure_in(dir: &Path) -> Result<Measured, Box<dyn std::error::Error>> {
    let (files, slot) = (Files::open(dir)?, SlotId(0));
    files.create(slot, FILE as u64)?;
    files.write(slot, 0, &vec![0; FILE])?;
    let open = |method| files.clone().written_by(method).open_for_append(slot);
    let (dsync, fdatasync) = (open(WriteMethod::Dsync)?, open(WriteMethod::Fdatasync)?);
    let config = RingConfig { submissions: 8, completions: 16, buffers: 2, buffer_len: 64 };
    let mut ring = Ring::new(&config, Waker::new()?)?;
    let mut buffer = AlignedBuf::new(LEN);
    buffer.zero_to(LEN);
    let (mut bytes, start) = buffer.into_parts();
    let (mut took, until) = ([Vec::new(), Vec::new()], Instant::now() + PATIENCE);
    for nth in 0..2 * WRITES {
        if nth >= 2 && Instant::now() > until {
            break;
        }
        let offset = (nth * LEN % FILE) as u64;
        bytes[start] = nth as u8;
        let begun = Instant::now();
        match nth % 2 {
            0 => ring.write(&dsync, Token(0), offset, bytes, start),
            _ => ring.write_and_sync(&fdatasync, Token(0), offset, bytes, start),
        }
        bytes = end_of_write(&mut ring)?;
        took[nth % 2].push(begun.elapsed().as_micros() as u64);
    }
    let [dsync_us, fdatasync_us] = took.map(|mut took| {
        took.sort_unstable();
        took[took.len() / 2]
    });
    Ok(Measured { dsync_us, fdatasync_us })
}

fn end_of_write(ring: &mut Ring) -> std::io::Result<Vec<u8>> {
    let (until, mut completions) = (Instant::now() + LONGEST, Vec::with_capacity(8));
    while Instant::now() < until {
        ring.turn(Wait::Upto(LONGEST), &mut completions);
        for completion in completions.drain(..) {
            if let Completion::Written { buffer, start, result, .. } = completion {
                let whole = result? == buffer.len() - start;
                return if whole { Ok(buffer) } else { Err(std::io::ErrorKind::WriteZero.into()) };
            }
        }
    }
    Err(std::io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_way_is_taken_only_where_it_is_faster_by_enough() {
        let of = |dsync_us, fdatasync_us| Measured { dsync_us, fdatasync_us }.better();
        assert_eq!(
            [of(100, 90), of(100, 79), of(100, 300), of(0, 0)],
            [WriteMethod::Dsync, WriteMethod::Fdatasync, WriteMethod::Dsync, WriteMethod::Dsync]
        );
    }
}
