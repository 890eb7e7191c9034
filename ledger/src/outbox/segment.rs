//! Segments as files: their names, how they are written and flushed, and the folder they lie in.

use super::{OutboxError, io_error};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A segment open for appending.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    #[cfg(test)]
    faults: std::sync::Arc<super::tests::Faults>,
}

impl Segment {
    /// Makes the file of a new segment. It must not exist.
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        Ok(Self::of(file, path))
    }

    /// Opens a segment to append to it.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(&path)?;
        Ok(Self::of(file, path))
    }

    fn of(file: File, path: PathBuf) -> Self {
        #[cfg(test)]
        let faults = super::tests::Faults::of(&path);
        Self {
            file,
            path,
            #[cfg(test)]
            faults,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends at the end. After an error some of the bytes may be there.
    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Some((room, error)) = self.faults.write(bytes.len()) {
            (&self.file).write_all(&bytes[..room])?;
            return Err(error);
        }
        (&self.file).write_all(bytes)
    }

    /// Cuts the file.
    pub(super) fn cut(&self, length: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.cut()?;
        self.file.set_len(length)
    }

    /// Returns when all that was appended is on disk.
    pub(super) fn flush(&self) -> io::Result<()> {
        #[cfg(test)]
        if !self.faults.flush()? {
            return Ok(());
        }
        self.file.sync_data()
    }
}

/// The folder of an outbox, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    handle: File,
    lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, and takes its lock.
    pub(super) fn lock(path: &Path) -> Result<Self, OutboxError> {
        std::fs::create_dir_all(path).map_err(io_error("make", path))?;
        let name = path.join("lock");
        let open = OpenOptions::new().write(true).create(true).truncate(false).open(&name);
        let lock = open.map_err(io_error("open", &name))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OutboxError::Locked { dir: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &name)(error)),
        }
        if let Some(kind) = network_file_system(path) {
            tracing::warn!(
                folder = %path.display(),
                kind,
                "the outbox lies on a network file system, where its lock does not prove that no other process uses it"
            );
        }
        let handle = File::open(path).map_err(io_error("open", path))?;
        Ok(Self { path: path.to_owned(), handle, lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a segment.
    pub(super) fn segment(&self, number: u64) -> PathBuf {
        self.path.join(format!("outbox-{number:020}.log"))
    }

    /// The numbers of the segments that are there, ascending.
    pub(super) fn segments(&self) -> Result<Vec<u64>, OutboxError> {
        let listing = |error| io_error("list", &self.path)(error);
        let mut numbers = Vec::new();
        for file in std::fs::read_dir(&self.path).map_err(listing)? {
            numbers.extend(file.map_err(listing)?.file_name().to_str().and_then(number));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Returns when the names in the folder are on disk.
    pub(super) fn flush(&self) -> io::Result<()> {
        #[cfg(test)]
        if !super::tests::Faults::in_folder(&self.path).flushes_really() {
            return Ok(());
        }
        self.handle.sync_all()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing alone is not enough: a process that is being started elsewhere has a copy of the handle until it runs its
        // own program.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(folder = %self.path.display(), %error, "the outbox could not be unlocked");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("outbox-")?.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The kind of network file system that a folder lies on, if it does.
#[cfg(target_os = "linux")]
fn network_file_system(path: &Path) -> Option<&'static str> {
    let found = rustix::fs::statfs(path).ok()?;
    // As in linux/magic.h; the width and the sign of `f_type` differ between processors.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "magic numbers have 32 bits")]
    match found.f_type as u32 {
        0x0000_6969 => Some("NFS"),
        0x0000_517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x6573_5546 => Some("FUSE"),
        0x0102_1997 => Some("9P"),
        0x00c3_6400 => Some("Ceph"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_path: &Path) -> Option<&'static str> {
    None
}
