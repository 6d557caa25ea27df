//! A segment on disk: preallocated, written at its end, read through a map up to a published end.
//!
//! Invariants, on which the one `unsafe` block here rests:
//! - bytes below the published end are never written again through this type;
//! - writes go at or behind the published end, which only ever grows;
//! - the file is never cut below the published end;
//! - a path is open for writing at most once in a process, under the exclusive lock of the log, so
//!   that there is no other published end to write behind.
//!
//! The last is the caller's to keep. The others are kept here, whoever calls from how many threads:
//! `write`, `publish` and `cut` check and act under one lock. Readers take none.
//!
//! It does not know what a frame is, and it decides nothing about syncs.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, Mapping, OpenMode};

/// One open segment file.
#[derive(Debug)]
pub struct SegmentFile {
    file: Arc<dyn DiskFile>,
    mapping: Arc<dyn Mapping>,
    published: AtomicUsize,
    /// Held from the check of the published end to the end of what was checked for.
    changing: Mutex<()>,
    writable: bool,
}

impl SegmentFile {
    /// Creates a file of `len` zeros. Neither synced nor headed yet, and its name not durable.
    pub fn create(disk: &dyn Disk, path: &Path, len: u64) -> io::Result<Self> {
        let file = disk.open(path, OpenMode::CreateNew)?;
        file.allocate(len)?;
        let mapping = file.map(map_len(len)?)?;
        Ok(Self {
            file,
            mapping,
            published: AtomicUsize::new(0),
            changing: Mutex::new(()),
            writable: true,
        })
    }

    /// Opens an existing file whose first `published` bytes nobody writes any more.
    ///
    /// For writing: at most once at a time, under the exclusive lock of the log.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file is shorter than `published`.
    pub fn open(disk: &dyn Disk, path: &Path, mode: OpenMode, published: u64) -> io::Result<Self> {
        let file = disk.open(path, mode)?;
        let len = file.len()?;
        if len < published {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mapping = file.map(map_len(len)?)?;
        let published = AtomicUsize::new(map_len(published)?);
        Ok(Self {
            file,
            mapping,
            published,
            changing: Mutex::new(()),
            writable: mode != OpenMode::Read,
        })
    }

    /// Bytes that are mapped: the file's length when it was opened.
    pub fn mapped_len(&self) -> usize {
        self.mapping.len()
    }

    /// The published bytes.
    pub fn bytes(&self) -> &[u8] {
        let published = self.published.load(Ordering::Acquire);
        // SAFETY:
        // - No one writes these bytes: `write` asserts that it writes at or behind the published end and
        //   holds `changing` until it has, so that no `publish` comes in between; the end never shrinks
        //   (`publish` asserts it). No other `SegmentFile` writes this path, nor another process: the
        //   invariant of this module, under the exclusive lock of the log.
        // - No one cuts the file below: `cut` cuts at the published end it reads under `changing`.
        // - Earlier writes happen before: `publish` takes `changing` after the write has released it,
        //   and its release store is what the acquire load above has read.
        #[expect(unsafe_code, reason = "the room where published bytes become a slice")]
        unsafe {
            self.mapping.bytes(0..published)
        }
    }

    /// Writes at `offset`, at or behind the published end and within the mapped length.
    pub fn write(&self, bytes: &[u8], offset: usize) -> io::Result<()> {
        assert!(self.writable, "this segment was opened for reading");
        let _changing = self.changing.lock();
        let published = self.published.load(Ordering::Acquire);
        assert!(
            offset >= published,
            "offset {offset} is below the published end {published}"
        );
        assert!(
            offset + bytes.len() <= self.mapping.len(),
            "roll before append, never beyond the map"
        );
        self.file.write_all_at(bytes, offset as u64)
    }

    /// Makes what was written durable.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Lets readers see the bytes up to `end`, which were all written.
    pub fn publish(&self, end: usize) {
        let _changing = self.changing.lock();
        let before = self.published.load(Ordering::Acquire);
        assert!(
            before <= end && end <= self.mapping.len(),
            "publish {end} after {before}"
        );
        self.published.store(end, Ordering::Release);
    }

    /// The published end.
    pub fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// Cuts the prepared zeros behind the published end off, once, when the segment is sealed.
    pub fn cut(&self) -> io::Result<()> {
        assert!(self.writable, "this segment was opened for reading");
        let _changing = self.changing.lock();
        let published = self.published.load(Ordering::Acquire);
        if self.file.len()? > published as u64 {
            self.file.set_len(published as u64)?;
            self.file.sync_data()?;
        }
        Ok(())
    }
}

fn map_len(len: u64) -> io::Result<usize> {
    usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

#[cfg(test)]
mod tests;
