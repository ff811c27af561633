//! What users must feel at least, for a rate to count.

use std::{str::FromStr, time::Duration};

use super::measure::Run;

/// Limits of latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slo {
    sent_p99: Duration,
    delivered_p99: Duration,
}

/// The share of what was due that must be served, for it to count as served.
const SERVED: f64 = 0.98;

impl Default for Slo {
    fn default() -> Self {
        Self { sent_p99: Duration::from_millis(50), delivered_p99: Duration::from_millis(200) }
    }
}

impl Slo {
    /// Whether a run of an open loop keeps it, with nothing lost, wrong or left over.
    pub fn holds(&self, run: &Run) -> bool {
        let within = |us: u64, limit: Duration| Duration::from_micros(us) <= limit;
        within(run.sent_us.p99, self.sent_p99)
            && within(run.delivered_us.p99, self.delivered_p99)
            && run.rate_per_s >= SERVED * run.due_per_s
            && (run.wrong, run.unfinished) == (0, 0)
    }
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut slo = Self::default();
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not NAME=TIME"))?;
            let number = value.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
            let number: u64 = number.parse().map_err(|_| format!("{value:?} is not a time"))?;
            let time = match &value[number.to_string().len()..] {
                "us" => Duration::from_micros(number),
                "ms" => Duration::from_millis(number),
                "s" => Duration::from_secs(number),
                _ => return Err(format!("{value:?} has no unit: us, ms or s")),
            };
            match name {
                "sent_p99" => slo.sent_p99 = time,
                "delivered_p99" => slo.delivered_p99 = time,
                _ => return Err(format!("{name:?} is neither sent_p99 nor delivered_p99")),
            }
        }
        Ok(slo)
    }
}

impl std::fmt::Display for Slo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sent_p99={}ms,delivered_p99={}ms", self.sent_p99.as_millis(), self.delivered_p99.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_units() {
        let slo: Slo = "sent_p99=5ms,delivered_p99=1s".parse().unwrap();
        assert_eq!(slo, Slo { sent_p99: Duration::from_millis(5), delivered_p99: Duration::from_secs(1) });
        assert_eq!("sent_p99=50ms".parse(), Ok(Slo::default()));
        for wrong in ["sent_p99", "sent_p99=5", "sent_p50=5ms", "sent_p99=xms", ""] {
            assert!(wrong.parse::<Slo>().is_err(), "{wrong:?}");
        }
    }
}
