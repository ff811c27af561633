//! Values of the command line: what would make no sense is refused with a sentence.

/// A number above 0.
///
/// # Errors
/// If it is not.
pub fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("a number above 0 is wanted".into()),
    }
}

/// How many: at least one.
///
/// # Errors
/// If it is not.
pub fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "a whole number above 0 is wanted".into())
}

/// Messages in flight a pair: as many as the server allows.
///
/// # Errors
/// If it is not.
pub fn depth(text: &str) -> Result<u64, String> {
    let window = u64::from(tidings_wire::limits::WINDOW);
    let depth = text.parse().ok().filter(|depth| (1..=window).contains(depth));
    depth.ok_or_else(|| format!("a whole number from 1 to {window} is wanted"))
}

/// Messages of a page: as many as a FETCH may ask for.
///
/// # Errors
/// If it is not.
pub fn page(text: &str) -> Result<u32, String> {
    let most = tidings_wire::limits::FETCH_MAX;
    let page = text.parse().ok().filter(|page| (1..=most).contains(page));
    page.ok_or_else(|| format!("a whole number from 1 to {most} is wanted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(["0", "-1", "inf", "NaN", "x", ""].into_iter().all(|text| positive(text).is_err()));
        assert!(["0", "-1", "1.5", ""].into_iter().all(|text| count(text).is_err()));
        assert_eq!((positive("0.5"), count("7"), depth("64"), page("256")), (Ok(0.5), Ok(7), Ok(64), Ok(256)));
        assert!(depth("65").is_err() && page("257").is_err() && page("0").is_err());
    }
}
