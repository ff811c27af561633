//! Messages, keys and the checksums' nonce are nobody else's business: a data directory is its owner's alone.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What members of the group and others may do: nothing.
const OTHERS: u32 = 0o077;
/// Directories below the data directory: those of the logs.
const DEPTH: usize = 2;

/// The first of `dir`, its files, and the files of its logs that others may read, write or list, and its mode.
///
/// # Errors
/// If they cannot be looked at.
pub(super) fn open_to_others(dir: &Path) -> io::Result<Option<(PathBuf, u32)>> {
    let mut waiting = vec![(dir.to_path_buf(), 0)];
    while let Some((path, depth)) = waiting.pop() {
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            // A link that leads nowhere, or a file that another server has just replaced.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mode = found.mode() & 0o7777;
        if mode & OTHERS != 0 {
            return Ok(Some((path, mode)));
        }
        if found.is_dir() && depth < DEPTH {
            for entry in fs::read_dir(&path)? {
                waiting.push((entry?.path(), depth + 1));
            }
        }
    }
    Ok(None)
}
