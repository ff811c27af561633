//! Tests of the whole server, over real sockets and real files: in this process where counters are looked at, in a process
//! of its own where it is killed. What they share is here.
#![forbid(unsafe_code)]

pub mod binary;
pub mod raw;
pub mod serving;

pub use raw::Raw;
pub use serving::Serving;
