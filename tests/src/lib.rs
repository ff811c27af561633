//! Tests of the whole server, over real sockets and real files: in this process where counters are looked at, in a process
//! of its own where it is killed. What they share is here.
#![forbid(unsafe_code)]

pub mod binary;
pub mod commands;
pub mod raw;
pub mod serving;

pub use raw::Raw;
pub use serving::Serving;

/// Letters that no compression makes shorter.
pub fn noise(len: usize) -> String {
    let mut state = 1u32;
    let letter = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'0' + (state >> 26) as u8 % 64)
    };
    (0..len).map(letter).collect()
}
