//! Numbers in smaller types than they are counted in. Nothing is cut off in silence: what does not fit is a bug, and ends the node.

/// A count or place that is kept or stored in 32 bits.
///
/// # Panics
/// If it does not fit.
pub(crate) fn to_u32(count: usize) -> u32 {
    u32::try_from(count).expect("counts stay below 2^32")
}

/// A difference of numbers that things in memory have.
///
/// # Panics
/// If it does not fit.
pub(crate) fn to_usize(count: u64) -> usize {
    usize::try_from(count).expect("what is in memory can be counted")
}
