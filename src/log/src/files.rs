//! The real disk: one directory a log, one file a slot.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::storage::{SlotId, Storage};

/// Modes of what is made here: messages are nobody else's business.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// How a write to a log becomes durable. Which is faster is the disk's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteMethod {
    /// Files are open with O_DSYNC: a write that has ended is durable.
    #[default]
    Dsync,
    /// The write, and an fdatasync that begins when it has ended.
    Fdatasync,
}

/// The files of one log in a directory.
#[derive(Debug, Clone)]
pub struct Files {
    dir: PathBuf,
    method: WriteMethod,
}

impl Files {
    /// The log in `dir`, which is created if it is missing.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn open(dir: &Path) -> io::Result<Self> {
        make_dir(dir)?;
        if let Some(parent) = dir.parent() {
            sync_dir(parent)?;
        }
        Ok(Self { dir: dir.to_path_buf(), method: WriteMethod::default() })
    }

    /// The same, written in some way.
    pub fn written_by(self, method: WriteMethod) -> Self {
        Self { method, ..self }
    }

    /// How what is opened for appending is to be written.
    pub fn write_method(&self) -> WriteMethod {
        self.method
    }

    fn path(&self, slot: SlotId) -> PathBuf {
        self.dir.join(format!("{:06}.seg", slot.0))
    }

    /// Creates a slot's file of `len` bytes: allocated, not yet written.
    ///
    /// # Errors
    /// For example if the disk is full.
    pub fn create(&self, slot: SlotId, len: u64) -> io::Result<()> {
        let file = private_file(&self.path(slot))?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len)?;
        file.sync_all()?;
        sync_dir(&self.dir)
    }

    /// Opens a slot for appending: direct, and every write durable when it completes, or when the fdatasync behind it does.
    ///
    /// # Errors
    /// For example if the file system has no direct I/O.
    pub fn open_for_append(&self, slot: SlotId) -> io::Result<File> {
        let flags = match self.method {
            WriteMethod::Dsync => rustix::fs::OFlags::DIRECT | rustix::fs::OFlags::DSYNC,
            WriteMethod::Fdatasync => rustix::fs::OFlags::DIRECT,
        };
        OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(self.path(slot))
    }

    /// Opens a slot for being written through before it is used: direct, and durable only once its header is, which is
    /// written after it through [`Self::open_for_append`]. A flush of the device for every stretch of zeros would hold the log up.
    ///
    /// # Errors
    /// For example if the file system has no direct I/O.
    pub fn open_for_fill(&self, slot: SlotId) -> io::Result<File> {
        let flags = rustix::fs::OFlags::DIRECT;
        OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(self.path(slot))
    }

    /// Opens a slot for reading history.
    ///
    /// # Errors
    /// If it is gone.
    pub fn open_for_read(&self, slot: SlotId) -> io::Result<File> {
        File::open(self.path(slot))
    }

    /// Deletes a slot for good.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn remove(&self, slot: SlotId) -> io::Result<()> {
        match fs::remove_file(self.path(slot)) {
            // It was there before, and whether that is on the disk was not known.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        sync_dir(&self.dir)
    }
}

impl Storage for Files {
    fn slots(&self) -> io::Result<Vec<SlotId>> {
        let mut slots = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".seg")).and_then(|stem| stem.parse().ok());
            slots.extend(number.map(SlotId));
        }
        Ok(slots)
    }

    fn len(&self, slot: SlotId) -> io::Result<u64> {
        Ok(fs::metadata(self.path(slot))?.len())
    }

    fn sync(&self, slot: SlotId) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path(slot))?.sync_all()
    }

    fn read(&self, slot: SlotId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let file = File::open(self.path(slot))?;
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        buffer[filled..].fill(0);
        Ok(())
    }

    fn write(&self, slot: SlotId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path(slot))?;
        file.write_all_at(bytes, offset)?;
        file.sync_all()
    }
}

/// Makes a directory's entries durable.
///
/// # Errors
/// If the file system refuses.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

/// Makes a directory that only its owner may use, whatever the umask; one that is there is left as it is.
///
/// # Errors
/// If the file system refuses.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    DirBuilder::new().mode(DIR_MODE).create(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(DIR_MODE))
}

/// An empty file that only its owner may use, whatever the umask.
///
/// # Errors
/// If the file system refuses.
pub fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(file)
}

/// Replaces `path` by a file with `bytes`, so that a crash leaves either the old or the new content.
///
/// # Errors
/// If the file system refuses; the old content is still there then.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = private_file(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}
