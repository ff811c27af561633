//! How long a write takes, for a reactor that sees its end only when it looks.

/// What is believed of it, and whether input gathered since the reactor looked last.
///
/// The time between a write's beginning and the moment when its end was seen holds whatever was done meanwhile, the gathering itself included: an average of it
/// climbs to the longest gathering that is allowed. What is known is whether it had ended when the gathering was over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WriteTime {
    ns: u64,
    gathered: bool,
}

impl WriteTime {
    /// The belief, in nanoseconds; 0: none yet.
    pub(crate) fn ns(self) -> u64 {
        self.ns
    }

    /// Input gathers until the reactor looks again, or not.
    pub(crate) fn set_gathering(&mut self, gathers: bool) {
        self.gathered = gathers;
    }

    /// A write has ended, which was seen so long after it began.
    pub(crate) fn ended(&mut self, seen_after_ns: u64) {
        let step = self.ns / 16;
        self.ns = match self.ns {
            0 => seen_after_ns,
            ns if self.gathered => seen_after_ns.min(ns - step),
            ns => seen_after_ns.min(ns + step),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many writes, of a reactor that gathers again and again for three quarters of what it believes to be left, 200 us at most, needs 5 us in between, and looks
    /// every 20 us where nothing is left. Gives how long it gathered last.
    fn write(belief: &mut WriteTime, takes_ns: u64, writes: usize) -> u64 {
        let mut gathered_ns = 0;
        for _ in 0..writes {
            let mut now_ns = 0;
            gathered_ns = 0;
            loop {
                let gather_ns = (belief.ns().saturating_sub(now_ns) / 4 * 3).min(200_000);
                belief.set_gathering(gather_ns > 0);
                now_ns += if gather_ns > 0 { gather_ns } else { 20_000 };
                gathered_ns += gather_ns;
                if now_ns >= takes_ns {
                    break;
                }
                belief.set_gathering(false);
                now_ns += 5_000;
            }
            belief.ended(now_ns + 5_000);
        }
        gathered_ns
    }

    #[test]
    fn the_belief_comes_near_to_what_a_write_takes_and_follows_it() {
        let mut belief = WriteTime::default();
        for takes_ns in [120_000, 1_500_000, 90_000, 130_000, 40_000] {
            let gathered_ns = write(&mut belief, takes_ns, 100);
            assert!(gathered_ns <= takes_ns + takes_ns / 8, "{gathered_ns} of {takes_ns}");
            assert!(belief.ns() >= takes_ns * 3 / 4, "{} of {takes_ns}", belief.ns());
        }
    }

    #[test]
    fn one_that_took_unusually_long_says_little() {
        let mut belief = WriteTime::default();
        write(&mut belief, 100_000, 100);
        let before = belief.ns();
        belief.set_gathering(false);
        belief.ended(50_000_000);
        assert!(belief.ns() <= before + before / 16);
    }
}
