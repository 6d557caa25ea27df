//! The disk as the engine sees it: the only door to files, their order and their faults.
//!
//! Everything that touches a file system goes through [`Disk`] and [`DiskFile`], so that a run over
//! [`MemoryDisk`] (or a disk that injects faults) is a pure function of its inputs. The traits offer
//! what the log needs and promise what POSIX promises, no more:
//!
//! - a write is durable only after [`DiskFile::sync_data`] on the same file returned `Ok`;
//! - a name (created, renamed, removed) is durable only after [`Disk::sync_dir`] of its directory;
//! - nothing is ordered between two syncs, and a failed sync proves nothing about any byte.
//!
//! There is no buffering here, no retry of a failed sync, and no knowledge of what the bytes mean.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

mod blocks;
mod memory;
mod pread;
mod real;
mod region;

pub use memory::MemoryDisk;
pub use pread::PreadDisk;
pub use real::RealDisk;

/// How [`Disk::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A new, empty file, for reading and writing; fails with `AlreadyExists` when the name is taken.
    CreateNew,
}

/// One name in a directory, as [`Disk::list`] returns it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// File name without its directory. Names that are not UTF-8 are listed lossily: no file of ours has one.
    pub name: String,
    /// Length in bytes; 0 for a directory.
    pub len: u64,
    /// Whether the entry is a directory.
    pub is_dir: bool,
}

/// A file system, or a stand-in for one.
pub trait Disk: Debug + Send + Sync {
    /// Opens one file. The parent directory must exist.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a directory and its missing parents, and syncs the parent of each one created.
    /// An existing directory is fine; an existing file of that name is `AlreadyExists` or `NotADirectory`.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// As [`Disk::create_dir`]; if it is created, nobody but its owner can list it and open what is in it, on systems that
    /// know owners. The parents are as others are.
    fn create_private_dir(&self, path: &Path) -> io::Result<()> {
        self.create_dir(path)
    }

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Renames a file, replacing what `to` named. Both lie in one directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, in another directory of the same file system maybe; the names are equals.
    ///
    /// # Errors
    /// `Unsupported` or `CrossesDevices` where that cannot be, and whatever else the system says: who asks copies then.
    /// `AlreadyExists` when the new name is taken.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The entries of a directory, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Takes an exclusive advisory lock on a file, creating the file when missing, without waiting.
    ///
    /// `Ok(None)` when another holder (another process, or another lock in this one) has it.
    /// The lock ends when the returned guard is dropped or the process dies.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>>;

    /// The one way to write a path, so that it can be told what lies inside of what: absolute, without `..`, and without
    /// links as far as this disk has any. What is not there yet is resolved as far as it is.
    fn resolve(&self, path: &Path) -> PathBuf {
        let mut resolved = PathBuf::new();
        for part in path.components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir => drop(resolved.pop()),
                part => resolved.push(part),
            }
        }
        resolved
    }

    /// What its mappings hold in memory of their own; `None` when they are maps, which hold nothing.
    fn held_bytes(&self) -> Option<HeldBytes> {
        None
    }
}

/// What the mappings of a disk hold in memory. An open file counts as 512 KiB beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBytes {
    /// Bytes at the moment.
    pub len: u64,
    /// Bytes read into memory so far.
    pub fetched: u64,
    /// Bytes that may be fetched before mappings nobody uses should be dropped.
    pub fetched_max: u64,
}

/// An open file: positioned reads and writes, no cursor.
pub trait DiskFile: Debug + Send + Sync {
    /// Reads up to `buffer.len()` bytes at `offset`; returns how many, 0 at or past the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes up to `bytes.len()` bytes at `offset`, growing the file when needed; returns how many.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes all bytes written so far through this file, and its length, durable (`fdatasync`).
    ///
    /// After an error nothing is known about any byte written since the last success, and calling
    /// again may answer `Ok` without having written them: treat the file as lost for writing.
    /// Source: Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020.
    fn sync_data(&self) -> io::Result<()>;

    /// Fills the file with real zeros up to `len` bytes, so that later overwrites neither allocate
    /// blocks nor fail for want of room. Never shortens. Not durable before [`DiskFile::sync_data`].
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes room up to `len` bytes, all of which read as zero, as fast as the file system can: blocks that it
    /// only notes as unwritten will do. Syncs of what is written there later take longer now and then than in
    /// [allocated](DiskFile::allocate) room. Never shortens. Not durable before [`DiskFile::sync_data`].
    fn reserve(&self, len: u64) -> io::Result<()> {
        self.allocate(len)
    }

    /// Cuts or extends the file to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The current length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Maps the first `len` bytes for reading, or what stands for a map. `len` may not exceed the current
    /// length.
    ///
    /// The mapping sees later writes through this opening of the file below `len`; it stays valid when the
    /// file is renamed or removed.
    fn map(&self, len: usize) -> io::Result<Arc<dyn Mapping>>;

    /// Reads exactly `buffer.len()` bytes at `offset`, going on after short and interrupted reads.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends first.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buffer = &mut buffer[read..];
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes` at `offset`, going on after short and interrupted writes.
    ///
    /// # Errors
    /// `WriteZero` when the disk takes no more bytes. How much was written is then unknown.
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The first `len_max` bytes of the file, or all when it is shorter. It may be cut meanwhile: what is
    /// read then ends where the file does.
    fn read_up_to(&self, len_max: u64) -> io::Result<Vec<u8>> {
        let len = self.len()?.min(len_max);
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read_at(&mut bytes[filled..], filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// The whole file, when it is no longer than `len_max` bytes.
    ///
    /// # Errors
    /// `FileTooLarge` for a longer file, checked before anything is allocated.
    fn read_all(&self, len_max: u64) -> io::Result<Vec<u8>> {
        let len = self.len()?;
        if len > len_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// The end of what is not zero at or behind `offset`; `offset` itself when all is zero. Prepared zeros are
    /// megabytes: read through a small buffer they take a fifth of the time that faulting in a map of them does.
    fn written_end(&self, offset: u64) -> io::Result<u64> {
        let mut buffer = vec![0; 256 << 10];
        let (mut at, mut end) = (offset, offset);
        loop {
            match self.read_at(&mut buffer, at) {
                Ok(0) => return Ok(end),
                Ok(read) => {
                    if let Some(last) = crate::scan::last_written_byte(&buffer[..read], 0) {
                        end = at + last as u64 + 1;
                    }
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A read-only view of the first bytes of a file.
pub trait Mapping: Debug + Send + Sync {
    /// The mapped length in bytes.
    fn len(&self) -> usize;

    /// Whether nothing is mapped.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all bytes can be had without [fetching](Mapping::fetch) them first: those of a map are
    /// brought by the system.
    fn is_resident(&self) -> bool {
        true
    }

    /// Brings the bytes of `range` into memory, where they stay as long as the mapping lives.
    ///
    /// Bytes behind it may be brought along up to `settled`, and none from there on: those another opening
    /// of the file, in this process or another, may still write, and what is in memory would not follow.
    ///
    /// # Errors
    /// Those of reading; `UnexpectedEof` when the file has become shorter. Trying again is fine.
    ///
    /// # Panics
    /// When `range` reaches past [`Mapping::len`] or `settled`.
    fn fetch(&self, range: Range<usize>, settled: usize) -> io::Result<()> {
        let _ = (range, settled);
        Ok(())
    }

    /// The bytes of `range`.
    ///
    /// # Safety
    /// While the returned slice lives:
    /// - no one writes to these bytes of the file, through this process or another;
    /// - no one cuts the file below `range.end`;
    /// - earlier writes to these bytes happen before the call (the caller has learnt of them by
    ///   acquire/release).
    ///
    /// [`SegmentFile`](crate::SegmentFile) and files that are never written again after they were
    /// synced under their final name meet all three.
    ///
    /// # Panics
    /// When `range` reaches past [`Mapping::len`], or is not resident and was never fetched.
    #[allow(
        unsafe_code,
        reason = "the contract is the caller's: only it knows who writes the file"
    )]
    unsafe fn bytes(&self, range: Range<usize>) -> &[u8];
}

/// Holds a lock taken by [`Disk::try_lock`] until dropped.
pub trait DiskLock: Debug + Send + Sync {
    /// Replaces the content of the lock file: a message for whoever finds it locked, nothing else.
    fn set_message(&self, message: &str) -> io::Result<()>;
}

#[cfg(test)]
mod tests;
