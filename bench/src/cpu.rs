//! Processor time of a process, from the operating system's accounting.

use std::io;

/// User and system time of a process so far, in microseconds, and its resident memory in bytes.
pub fn usage(pid: u32) -> io::Result<(u64, u64)> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; fields are counted behind it (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or_else(invalid)?.1.split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).ok_or_else(invalid);
    let (user, system, pages) = (field(11)?, field(12)?, field(21)?);
    let ticks = rustix::param::clock_ticks_per_second();
    Ok(((user + system) * 1_000_000 / ticks, pages * rustix::param::page_size() as u64))
}

/// Memory of a process that is its own: resident and anonymous, in bytes.
pub fn anonymous(pid: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Pins the calling thread to a core.
pub fn pin(core: usize) {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        eprintln!("tidings-bench: could not pin to core {core}; figures will be noisier");
    }
}
