//! The disk of the operating system: `std::fs`, `pread`/`pwrite`, `fdatasync`, `flock`, `mmap`.
//!
//! Invariants:
//! - Errors come back as the system gave them; nothing is retried and nothing is cleaned up.
//! - No reference to mapped bytes exists but the slices that [`Mapping::bytes`] hands out: a
//!   mapping is a raw pointer, because the bytes beside a slice may change at any time.
//! - A lock file is written only by the holder of its lock.
//!
//! Unix only: positioned reads, `flock` and syncing a directory have no equal elsewhere. There is no
//! `O_DIRECT` and no `O_DSYNC` here: both were measured, and `fdatasync` over written zeros is as
//! fast or faster.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the room of the file system"
)]

#[cfg(not(unix))]
compile_error!(
    "annals-segments needs a Unix: positioned reads and writes, flock, fsync of directories"
);

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use parking_lot::Mutex;

use super::{DirEntry, Disk, DiskFile, DiskLock, Mapping, OpenMode};
use crate::process::ForkGuard;

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    fn create_dir_by(self, builder: &DirBuilder, path: &Path) -> io::Result<()> {
        let created = match builder.create(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The root exists and the empty path never can; neither has a parent to make.
                let Some(parent) = path
                    .parent()
                    .filter(|parent| !parent.as_os_str().is_empty())
                else {
                    return Err(error);
                };
                self.create_dir(parent)?;
                builder.create(path)
            }
            created => created,
        };
        match created {
            Ok(()) => self.sync_dir(parent(path)),
            // Whatever the reason (it exists, a read-only file system), there is nothing to do.
            Err(_) if path.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        match mode {
            OpenMode::Read => options.read(true),
            OpenMode::ReadWrite => options.read(true).write(true),
            OpenMode::CreateNew => options.read(true).write(true).create_new(true),
        };
        let file = options.open(path)?;
        // Linux opens a directory for reading and fails only at the first read. To write, it
        // refuses by itself.
        if mode == OpenMode::Read && file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Arc::new(RealFile { file }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.create_dir_by(&DirBuilder::new(), path)
    }

    fn create_private_dir(&self, path: &Path) -> io::Result<()> {
        self.create_dir_by(DirBuilder::new().mode(0o700), path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let directory = File::open(path)?;
        if !directory.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        directory.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        // Across directories, one sync of one directory would not make both names durable.
        debug_assert_eq!(
            from.parent(),
            to.parent(),
            "a rename stays in its directory"
        );
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        for there in absolute.ancestors() {
            if let (Ok(resolved), Ok(rest)) =
                (fs::canonicalize(there), absolute.strip_prefix(there))
            {
                return resolved.join(rest);
            }
        }
        absolute
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // Through links, so that the entry tells what `open` would find.
            let metadata = match fs::metadata(entry.path()) {
                Ok(metadata) => metadata,
                // Removed since it was listed (or a link to nothing): not there for `open` either.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let is_dir = metadata.is_dir();
            entries.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                len: if is_dir { 0 } else { metadata.len() },
                is_dir,
            });
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        // Not truncated: until the lock is ours, the message in the file is another's.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        // `flock` belongs to this opening of the file, so that a second one in this process is refused too. But where
        // a file system makes a POSIX record lock of it, that belongs to the process and is granted twice, and let go of
        // when any opening of the file is closed: so the process keeps a list of its own.
        let metadata = file.metadata()?;
        let Some(listed) = Listed::enter((metadata.dev(), metadata.ino())) else {
            return Ok(None);
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(RealLock {
                file,
                guard: ForkGuard::default(),
                _listed: listed,
            }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        // The system takes offsets as `i64` and calls greater ones an invalid argument. To the
        // caller they are past the end like any other.
        if offset.saturating_add(buffer.len() as u64) > i64::MAX as u64 {
            return Ok(0);
        }
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Not atomic: bytes that another thread appends meanwhile may be overwritten with zeros. On
    /// error the file stays as long as it got.
    //
    // Written rather than `fallocate`d: overwriting written zeros syncs in 89 us at p50 where
    // extending takes 142, and unwritten extents cost 205 us instead of 148 at p99.
    #[cfg(target_os = "linux")]
    fn reserve(&self, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        match fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            // Not every file system can.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.allocate(len),
            made => Ok(made?),
        }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut end = self.len()?;
        if end >= len {
            return Ok(());
        }
        let chunk_len = |end: u64| (len - end).min(ALLOCATE_CHUNK_BYTES as u64) as usize;
        let zeros = vec![0; chunk_len(end)];
        while end < len {
            let chunk = &zeros[..chunk_len(end)];
            self.write_all_at(chunk, end)?;
            end += chunk.len() as u64;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn map(&self, len: usize) -> io::Result<Arc<dyn Mapping>> {
        // The system would map more than there is, and kill the process at the first read of it.
        if len as u64 > self.len()? {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // Nor does it map nothing.
        let map = if len == 0 {
            None
        } else {
            Some(MmapOptions::new().len(len).map_raw_read_only(&self.file)?)
        };
        Ok(Arc::new(RealMapping { map }))
    }
}

/// The first bytes of a file, mapped shared and for reading. `None` when there are none.
#[derive(Debug)]
struct RealMapping {
    map: Option<MmapRaw>,
}

#[expect(
    unsafe_code,
    reason = "mapped bytes are reached through a raw pointer, see the file's invariants"
)]
impl Mapping for RealMapping {
    fn len(&self) -> usize {
        self.map.as_ref().map_or(0, MmapRaw::len)
    }

    unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        let Range { start, end } = range;
        let len = self.len();
        assert!(start <= end, "range {start}..{end} runs backwards");
        assert!(
            end <= len,
            "range {start}..{end} reaches past the {len} mapped bytes"
        );
        let Some(map) = &self.map else { return &[] };
        // SAFETY: the range is in order and inside the mapping, asserted above; the mapping lives
        // as long as `&self`. `map` checked that the file had these bytes, and the caller promises
        // that they are neither cut off nor written while the slice lives.
        unsafe { slice::from_raw_parts(map.as_ptr().add(start), end - start) }
    }
}

/// The lock files that this process holds, by device and inode.
static LOCKED: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

/// A place in the list of this process.
#[derive(Debug)]
struct Listed((u64, u64));

impl Listed {
    /// `None` when it is taken.
    fn enter(file: (u64, u64)) -> Option<Self> {
        let is_new = LOCKED.lock().insert(file);
        // Not made when it is taken: dropping it would take it off the list.
        is_new.then(|| Self(file))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        LOCKED.lock().remove(&self.0);
    }
}

#[derive(Debug)]
struct RealLock {
    file: File,
    guard: ForkGuard,
    /// Let go of after the lock itself.
    _listed: Listed,
}

impl DiskLock for RealLock {
    fn set_message(&self, message: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(message.as_bytes(), 0)
    }
}

impl Drop for RealLock {
    fn drop(&mut self) {
        // A child shares the lock with its parent, whose it is.
        if self.guard.is_forked() {
            return;
        }
        // Closing would not do: a child that another thread has forked but that has not yet called
        // exec shares the opening, and with it the lock. Should unlocking fail, closing remains.
        let _ = self.file.unlock();
    }
}

/// The directory that holds `path`, for the system to open.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        // Only the root has none; it is its own.
        None => path,
    }
}

/// Zeros of one write. The page cache keeps a write of this kind as one folio, and each later small write
/// into it walks all of the folio's blocks: 1.1 us at 1 MiB, 0.6 us at 64 KiB and below, measured on ext4.
const ALLOCATE_CHUNK_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_on_the_list_once_and_until_it_is_let_go_of() {
        let file = (u64::MAX, 1);
        let listed = Listed::enter(file);
        assert!(listed.is_some() && Listed::enter(file).is_none());
        assert!(Listed::enter(file).is_none() && Listed::enter((u64::MAX, 2)).is_some());
        drop(listed);
        assert!(Listed::enter(file).is_some());
    }
}
