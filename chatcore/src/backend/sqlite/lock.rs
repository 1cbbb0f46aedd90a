//! One store at a time on a database file.
//!
//! The lock (`flock`) is on the file itself, so it holds by whatever name the file is opened. The
//! system frees it with the process.
//!
//! SQLite's own locks (`fcntl`) are on the same file, and a process loses all of these as soon as
//! it closes any descriptor of it. So this module opens no file that a store of this process has,
//! and closes one after the connections.

use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Reason, Result};

/// The files that stores of this process have.
static HELD: Mutex<BTreeSet<FileId>> = Mutex::new(BTreeSet::new());

fn held() -> MutexGuard<'static, BTreeSet<FileId>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names a file of this machine, whatever its path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FileId {
    device: u64,
    inode: u64,
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// Opens the file at `path`, which is created if there is none.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// The right to use a database file. To be dropped after the connections to it.
pub(super) struct FileLock {
    /// Locked until it is closed. Taken out only to be closed.
    file: Option<File>,
    id: FileId,
    /// Absolute, and without symbolic links.
    path: PathBuf,
}

impl FileLock {
    /// Takes the lock of the file at `path`, which is created if there is none.
    pub(super) fn acquire(path: &Path) -> Result<Self> {
        let cannot = |e: io::Error| {
            let text = format!("{}: {e}", path.display());
            Error::Open(Reason::with_cause(text, e))
        };
        let in_use =
            |holder: String| Error::InUse(format!("{holder} holds {}", path.display()).into());

        // Until the end, so that of two stores of this process only one opens the file.
        let mut held = held();
        if std::fs::metadata(path).is_ok_and(|found| held.contains(&FileId::from(&found))) {
            return Err(in_use(this_process()));
        }

        let (file, metadata) = open(path).map_err(cannot)?;
        let id = FileId::from(&metadata);

        if held.contains(&id) {
            // The path was turned to it just now. To close it would cost that store SQLite's locks.
            std::mem::forget(file);
            return Err(in_use(this_process()));
        }

        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(holder(id))),
            Err(TryLockError::Error(e)) => return Err(cannot(e)),
        }

        if metadata.nlink() > 1 {
            tracing::warn!(
                path = %path.display(),
                "the file has more than one name; SQLite keeps its log beside the name in use, so use only one"
            );
        }

        let lock = Self {
            file: Some(file),
            id,
            path: path.canonicalize().map_err(cannot)?,
        };
        held.insert(id);

        // The lock takes itself out again if it is dropped.
        drop(held);
        lock.check()?;
        Ok(lock)
    }

    /// Returns the path of the file: absolute, and without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if the file was removed or another one has its path.
    pub(super) fn check(&self) -> Result<()> {
        let path = self.path.display();
        match std::fs::metadata(&self.path) {
            Ok(found) if FileId::from(&found) == self.id => Ok(()),
            Ok(_) => Err(Error::Unavailable(
                format!("the file at {path} was replaced").into(),
            )),
            Err(e) => {
                let text = format!("the file at {path} was removed: {e}");
                Err(Error::Unavailable(Reason::with_cause(text, e)))
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let mut held = held();
        if self.file.take().is_some() {
            held.remove(&self.id);
        }
    }
}

fn this_process() -> String {
    format!("this process, {},", std::process::id())
}

/// Returns words for the process that has the lock on a file, if the system tells.
fn holder(file: FileId) -> String {
    let pid = std::fs::read_to_string("/proc/locks")
        .ok()
        .and_then(|locks| holder_in(&locks, file));
    pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
}

/// Finds the holder in Linux's table of locks.
fn holder_in(locks: &str, file: FileId) -> Option<u32> {
    let major = file.device >> 8 & 0xfff;
    let minor = file.device & 0xff | file.device >> 12 & 0xfff00;
    let wanted = format!("{major:02x}:{minor:02x}:{}", file.inode);
    locks.lines().find_map(|line| {
        // A number, the kind, "ADVISORY", "WRITE", the process, the file. Who waits has "->" before
        // the kind.
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, found, ..] = fields[..] else {
            return None;
        };
        // 0 is a process that cannot be seen from here.
        pid.parse().ok().filter(|pid| found == wanted && *pid != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_found_in_the_table_of_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fe:00:7 0 EOF\n\
            2: FLOCK  ADVISORY  WRITE 12 fe:01:7 0 EOF\n\
            3: FLOCK  ADVISORY  WRITE 0 fe:00:8 0 EOF\n\
            4: FLOCK  ADVISORY  WRITE 13 fe:00:7 0 EOF\n\
            4: -> FLOCK  ADVISORY  WRITE 14 fe:00:9 0 EOF\n\
            rubbish\n";
        let holder = |inode| {
            holder_in(
                locks,
                FileId {
                    device: 0xfe00,
                    inode,
                },
            )
        };
        assert_eq!((holder(7), holder(8), holder(9)), (Some(13), None, None));
    }
}
