//! What a reactor measured, apart: how long records waited for a batch, how long the device took, how large batches were.

use hdrhistogram::Histogram;
use tidings_log::LogEnd;
use tidings_wire::LogId;

/// Histograms of one reactor's log.
#[derive(Debug, Clone)]
pub struct Report {
    /// Microseconds from handing a batch to the ring to its completion.
    pub batch_us: Histogram<u64>,
    /// Microseconds that the first record of a batch waited before it was sealed.
    pub queue_us: Histogram<u64>,
    /// Bytes of a batch, padding included.
    pub batch_bytes: Histogram<u64>,
    /// Where logs end.
    pub ends: Vec<(LogId, LogEnd)>,
}

fn histogram(highest: u64) -> Histogram<u64> {
    Histogram::new_with_bounds(1, highest, 3).expect("the bounds are valid")
}

impl Default for Report {
    fn default() -> Self {
        const MINUTE_US: u64 = 60_000_000;
        Self {
            batch_us: histogram(MINUTE_US),
            queue_us: histogram(MINUTE_US),
            batch_bytes: histogram(crate::config::BATCH_MAX as u64 * 2),
            ends: Vec::new(),
        }
    }
}

impl Report {
    /// Adds another reactor's.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.batch_us, &other.batch_us),
            (&mut self.queue_us, &other.queue_us),
            (&mut self.batch_bytes, &other.batch_bytes),
        ];
        for (sum, more) in pairs {
            sum.add(more).expect("the bounds are the same");
        }
        self.ends.extend(&other.ends);
    }
}
