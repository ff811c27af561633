//! What processes use, from the operating system's accounting.

use std::io;

/// What a process, or several, used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time, microseconds, of children that are gone, too.
    pub cpu_us: u64,
    /// Bytes that were sent towards the disk.
    pub written_bytes: u64,
    /// Resident memory.
    pub rss_bytes: u64,
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// This thread gives way to all others on its core.
pub fn give_way() {
    // Without it the figures are worse, not wrong.
    let _worse = rustix::process::nice(19);
}

/// The fields of a process's line behind its name, which may hold anything (proc(5)).
fn stat(pid: u32) -> io::Result<Vec<u64>> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = line.rsplit_once(')').ok_or_else(invalid)?.1.split_whitespace();
    Ok(fields.map(|text| text.parse().unwrap_or(0)).collect())
}

/// What one process used.
///
/// # Errors
/// If it is gone, or not ours to look at.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let fields = stat(pid)?;
    let field = |at: usize| fields.get(at).copied().ok_or_else(invalid);
    let ticks = field(11)? + field(12)? + field(13)? + field(14)?;
    let written = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
    let written = written.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
    Ok(Usage {
        cpu_us: ticks * 1_000_000 / rustix::param::clock_ticks_per_second(),
        written_bytes: written.ok_or_else(invalid)?,
        rss_bytes: field(21)? * rustix::param::page_size() as u64,
    })
}

/// What a process and all its descendants used. Of memory that they share the largest part that one of them sees is counted once.
///
/// # Errors
/// If it is gone, or not ours to look at.
#[cfg(feature = "peers")]
pub fn usage_of_tree(root: u32) -> io::Result<Usage> {
    let mut all = usage(root)?;
    let (mut own, mut shared) = memory(root)?;
    let processes = std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // A process that ends while it is looked at has told its parent what it used.
    let parents: Vec<(u32, u64)> = processes.filter_map(|pid| Some((pid, *stat(pid).ok()?.get(1)?))).collect();
    let mut family = vec![root];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        at += 1;
        for (pid, _) in parents.iter().filter(|(_, of)| *of == u64::from(parent)) {
            family.push(*pid);
            if let (Ok(one), Ok(memory)) = (usage(*pid), memory(*pid)) {
                all.cpu_us += one.cpu_us;
                all.written_bytes += one.written_bytes;
                own += memory.0;
                shared = memory.1.max(shared);
            }
        }
    }
    all.rss_bytes = own + shared;
    Ok(all)
}

/// Resident memory of a process: its own, and what it may share; bytes.
#[cfg(feature = "peers")]
fn memory(pid: u32) -> io::Result<(u64, u64)> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let mut pages = statm.split_whitespace().skip(1).map(|text| text.parse::<u64>().map_err(|_| invalid()));
    let (resident, shared) = (pages.next().ok_or_else(invalid)??, pages.next().ok_or_else(invalid)??);
    let page = rustix::param::page_size() as u64;
    Ok((resident.saturating_sub(shared) * page, shared * page))
}

/// Memory of a process that is its own: resident and anonymous, in bytes.
pub fn anonymous(pid: u32) -> io::Result<u64> {
    // Walked, not counted: the counters in `status` lag behind by a batch of pages a core.
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib =
        rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Pins the calling thread to a core.
pub fn pin(core: usize) {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        eprintln!("tidings-bench: could not pin to core {core}; figures will be noisier");
    }
}
