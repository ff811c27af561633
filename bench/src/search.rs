//! The highest rate that holds: doubled until it does not, then halved in between.

/// Rates that are told apart, as a ratio.
const PRECISION: f64 = 1.05;
/// Steps at most.
const STEPS: usize = 24;

/// Searches from `first`. `holds` tries a rate.
///
/// # Errors
/// What `holds` fails with.
pub fn highest<E>(first: f64, mut holds: impl FnMut(f64) -> Result<bool, E>) -> Result<Option<f64>, E> {
    let (mut good, mut bad): (Option<f64>, Option<f64>) = (None, None);
    let mut rate = first;
    for _ in 0..STEPS {
        if holds(rate)? {
            good = Some(rate);
        } else {
            bad = Some(rate);
        }
        rate = match (good, bad) {
            (Some(good), Some(bad)) if bad / good <= PRECISION => break,
            (Some(good), Some(bad)) => (good * bad).sqrt(),
            (Some(good), None) => 2.0 * good,
            (None, Some(bad)) if bad < 2.0 => break,
            (None, Some(bad)) => bad / 2.0,
            (None, None) => break,
        };
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_found_from_below_and_from_above() {
        for limit in [3.0, 150.0, 99_000.0] {
            let mut tried = 0;
            let found = highest(1000.0, |rate| {
                tried += 1;
                Ok::<_, ()>(rate <= limit)
            });
            let found = found.unwrap().unwrap();
            assert!(found <= limit && found * PRECISION >= limit && tried <= STEPS, "{found} of {limit}");
        }
        assert_eq!(highest(10.0, |_| Ok::<_, ()>(false)), Ok(None));
        assert_eq!(highest(10.0, |_| Err("gone")), Err("gone"));
    }
}
