//! A segment on disk: preallocated, written at its end, read through a map, or what stands for one, up to a
//! published end.
//!
//! Invariants, on which the one `unsafe` block here rests:
//! - bytes below the published end are never written again through this type;
//! - writes go at or behind the published end, which only ever grows;
//! - the file is never cut below the published end;
//! - a path is open for writing at most once in a process, under the exclusive lock of the log, so
//!   that there is no other published end to write behind;
//! - of a file that somebody else writes, no more is published than its writer never touches again.
//!
//! The last two are the caller's to keep. The others are kept here, whoever calls from how many threads:
//! `write`, `publish` and `cut` check and act under one lock. Readers take none.
//!
//! It does not know what a frame is, and it decides nothing about syncs.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, Mapping, OpenMode};
use crate::planted::{Bug, is_planted};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// One open segment file.
#[derive(Debug)]
pub struct SegmentFile {
    /// `None` when nothing is written any more: what is mapped needs no open file. Held from the check
    /// of the published end to the end of what was checked for.
    file: Mutex<Option<Arc<dyn DiskFile>>>,
    mapping: Arc<dyn Mapping>,
    is_resident: bool,
    published: AtomicUsize,
    /// Held during a sync: two at once could share one error, told to either. Whether one has failed:
    /// then what a later one says proves nothing.
    sync_failed: Mutex<bool>,
    is_writable: bool,
}

/// How the room of a new segment is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Of written zeros: the fastest to be overwritten and synced, and slow to make.
    Written,
    /// As fast as the file system can, for when somebody waits.
    Reserved,
}

impl SegmentFile {
    /// Creates a file of `len` zeros. Neither synced nor headed yet, and its name not durable.
    pub fn create(disk: &dyn Disk, path: &Path, len: u64, room: Room) -> io::Result<Self> {
        let file = disk.open(path, OpenMode::CreateNew)?;
        match room {
            _ if is_planted(Bug::SkipRoom) => file.write_all_at(&[0], len - 1)?,
            Room::Written => file.allocate(len)?,
            Room::Reserved => file.reserve(len)?,
        }
        let mapping = file.map(map_len(len)?)?;
        Ok(Self {
            file: Mutex::new(Some(file)),
            is_resident: mapping.is_resident(),
            mapping,
            published: AtomicUsize::new(0),
            sync_failed: Mutex::new(false),
            is_writable: true,
        })
    }

    /// Opens an existing file whose first `published` bytes nobody writes any more.
    ///
    /// For reading only these bytes are mapped, and the file is not kept open. For writing all of it is:
    /// at most once at a time, under the exclusive lock of the log.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file is shorter than `published`.
    pub fn open(disk: &dyn Disk, path: &Path, mode: OpenMode, published: u64) -> io::Result<Self> {
        let file = disk.open(path, mode)?;
        let len = file.len()?;
        if len < published {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let is_read = mode == OpenMode::Read;
        let mapping = file.map(map_len(if is_read { published } else { len })?)?;
        Ok(Self {
            file: Mutex::new((!is_read).then_some(file)),
            is_resident: mapping.is_resident(),
            mapping,
            published: AtomicUsize::new(map_len(published)?),
            sync_failed: Mutex::new(false),
            is_writable: !is_read,
        })
    }

    /// The published bytes, when having them needs no reading by us: the file is mapped.
    #[inline]
    pub fn resident_bytes(&self) -> Option<&[u8]> {
        self.is_resident.then(|| self.bytes().ok()).flatten()
    }

    /// Whether nothing is written to it any more through this value.
    pub fn is_finished(&self) -> bool {
        self.file.lock().is_none()
    }

    /// Opens a file that somebody else writes, to follow how it grows: its first `published` bytes nobody
    /// writes any more, and [`SegmentFile::publish`] says when there are more. The file is not kept open.
    ///
    /// All of it is mapped, the zeros prepared ahead included. They may be written or cut off meanwhile, so
    /// nothing behind the published end is touched, nor read into memory.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file is shorter than `published`.
    pub fn open_growing(disk: &dyn Disk, path: &Path, published: u64) -> io::Result<Self> {
        let file = disk.open(path, OpenMode::Read)?;
        let map = || {
            let len = file.len()?;
            match len < published {
                true => Err(io::ErrorKind::UnexpectedEof.into()),
                false => file.map(map_len(len)?),
            }
        };
        // A segment is cut once: the second time its length stays.
        let mapping = map().or_else(|error| match error.kind() {
            io::ErrorKind::InvalidInput => map(),
            _ => Err(error),
        })?;
        Ok(Self {
            file: Mutex::new(None),
            is_resident: mapping.is_resident(),
            mapping,
            published: AtomicUsize::new(map_len(published)?),
            sync_failed: Mutex::new(false),
            is_writable: false,
        })
    }

    /// Bytes that are mapped: the file's length when it was opened.
    pub fn mapped_len(&self) -> usize {
        self.mapping.len()
    }

    /// The published bytes.
    ///
    /// # Errors
    /// Those of reading, where the file is not mapped; trying again is fine.
    #[inline]
    pub fn bytes(&self) -> io::Result<&[u8]> {
        self.bytes_in(0..usize::MAX)
    }

    /// The published bytes in `range`, as far as there are any.
    ///
    /// # Errors
    /// As [`SegmentFile::bytes`].
    #[inline]
    pub fn bytes_in(&self, range: Range<usize>) -> io::Result<&[u8]> {
        let published = self.published.load(Ordering::Acquire);
        let end = range.end.min(published);
        let range = range.start.min(end)..end;
        if !self.is_resident {
            self.mapping.fetch(range.clone(), published)?;
        }
        // SAFETY:
        // - No one writes these bytes: `write` asserts that it writes at or behind the published end and
        //   holds `changing` until it has, so that no `publish` comes in between; the end never shrinks
        //   (`publish` asserts it). No other `SegmentFile` writes below it, nor another process: the
        //   invariants of this module, under the exclusive lock of the log.
        // - No one cuts the file below: `cut` cuts at the published end it reads under `changing`.
        // - Earlier writes happen before: `publish` takes `changing` after the write has released it,
        //   and its release store is what the acquire load above has read. Who publishes what another
        //   process wrote has read it from there before.
        #[expect(unsafe_code, reason = "the room where published bytes become a slice")]
        Ok(unsafe { self.mapping.bytes(range) })
    }

    /// Writes at `offset`, at or behind the published end and within the mapped length.
    pub fn write(&self, bytes: &[u8], offset: usize) -> io::Result<()> {
        let file = self.file.lock();
        let file = file.as_ref().expect(NOT_WRITABLE);
        let published = self.published.load(Ordering::Acquire);
        assert!(
            offset >= published,
            "offset {offset} is below the published end {published}"
        );
        assert!(
            offset + bytes.len() <= self.mapping.len(),
            "roll before append, never beyond the map"
        );
        file.write_all_at(bytes, offset as u64)
    }

    /// Makes durable what was written before the call. Writes may go on meanwhile. Once the file is
    /// [cut](SegmentFile::cut) there is nothing left to do.
    ///
    /// # Errors
    /// Those of the disk; and once one sync has failed, every later one.
    pub fn sync(&self) -> io::Result<()> {
        let mut sync_failed = self.sync_failed.lock();
        if *sync_failed {
            return Err(io::Error::other("an earlier sync of this file failed"));
        }
        assert!(self.is_writable, "{NOT_WRITABLE}");
        // Who seals syncs before it cuts; one that runs beside the writer may come behind both.
        let file = self.file.lock().clone();
        file.map_or(Ok(()), |file| file.sync_data())
            .inspect_err(|_| *sync_failed = true)
    }

    /// Lets readers see the bytes up to `end`, which were all written.
    pub fn publish(&self, end: usize) {
        let _file = self.file.lock();
        let before = self.published.load(Ordering::Acquire);
        assert!(
            before <= end && end <= self.mapping.len(),
            "publish {end} after {before}"
        );
        self.published.store(end, Ordering::Release);
    }

    /// The published end.
    #[inline]
    pub fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// Cuts off what lies behind the published end, once, when the segment is sealed and synced. Nothing can be
    /// written to it any more.
    pub fn cut(&self) -> io::Result<()> {
        let mut file = self.file.lock();
        let published = self.published.load(Ordering::Acquire) as u64;
        assert!(self.is_writable, "{NOT_WRITABLE}");
        let Some(open) = &*file else { return Ok(()) };
        if open.len()? > published {
            open.set_len(published)?;
            open.sync_data()?;
        }
        *file = None;
        Ok(())
    }
}

const NOT_WRITABLE: &str = "this segment was opened for reading, or is sealed";

fn map_len(len: u64) -> io::Result<usize> {
    usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

#[cfg(all(test, loom))]
mod schedules;
#[cfg(test)]
mod tests;
