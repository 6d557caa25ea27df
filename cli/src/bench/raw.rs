//! What the disk does at most: plain writes into space that holds zeros already, and the system's sync.
//!
//! The zeros are written in pieces of 64 KiB, as the log prepares its own space: the page cache keeps what was
//! written in one piece in one folio where it can, and small writes into large folios cost more.

#![expect(
    clippy::disallowed_methods,
    reason = "the limit of the system is measured beside the log's disk, not through it"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bench::error::BenchError;
use crate::bench::measure::Slice;

/// A file of zeros, written over from the start, and synced.
#[derive(Debug)]
pub struct RawFile {
    path: PathBuf,
    file: File,
    /// Where the next write goes.
    next: u64,
    /// Up to here there may be something else than zeros.
    used: u64,
}

impl RawFile {
    /// Makes a new file of [`RAW_LEN`] zeros, which are on the disk when this returns.
    ///
    /// # Errors
    /// [`BenchError::Raw`], also when the name is taken.
    pub fn create(path: &Path) -> Result<Self, BenchError> {
        let made = OpenOptions::new().write(true).create_new(true).open(path);
        let mut raw = Self {
            file: made.map_err(|source| failed(path, "create", source))?,
            path: path.to_owned(),
            next: 0,
            used: RAW_LEN,
        };
        raw.renew()?;
        Ok(raw)
    }

    /// Writes zeros again and starts at the front.
    ///
    /// # Errors
    /// [`BenchError::Raw`].
    pub fn renew(&mut self) -> Result<(), BenchError> {
        let zeros = vec![0; ZEROS_LEN];
        let write = |at| self.file.write_all_at(&zeros, at);
        (0..self.used)
            .step_by(ZEROS_LEN)
            .try_for_each(write)
            .and_then(|()| self.file.sync_all())
            .map_err(|source| failed(&self.path, "prepare", source))?;
        (self.next, self.used) = (0, 0);
        Ok(())
    }

    /// One write behind the last one, and a sync of the data when it is to be `durable`. Starts again at the
    /// front when the file is full; answers whether it has room for another write like this one.
    ///
    /// # Errors
    /// [`BenchError::Raw`].
    pub fn write(&mut self, bytes: &[u8], durable: bool) -> Result<bool, BenchError> {
        let len = bytes.len() as u64;
        if self.next + len > RAW_LEN {
            self.next = 0;
        }
        let written = self.file.write_all_at(bytes, self.next);
        let synced = written.and_then(|()| match durable {
            true => self.file.sync_data(),
            false => Ok(()),
        });
        synced.map_err(|source| failed(&self.path, "write to", source))?;
        self.next += len;
        self.used = self.used.max(self.next);
        Ok(self.next + len <= RAW_LEN)
    }

    /// Writes of `len` bytes for `limit`, each with a sync.
    ///
    /// # Errors
    /// [`BenchError::Raw`].
    pub fn durable_slice(&mut self, len: usize, limit: Duration) -> Result<Slice, BenchError> {
        let bytes = vec![b'r'; len];
        Slice::run(limit, || self.write(&bytes, true).map(|_| true))
    }

    /// Writes of `len` bytes into fresh zeros for `limit`, without a sync; less when the file is full before.
    ///
    /// # Errors
    /// [`BenchError::Raw`].
    pub fn buffered_slice(&mut self, len: usize, limit: Duration) -> Result<Slice, BenchError> {
        let bytes = vec![b'r'; len];
        self.renew()?;
        let slice = Slice::run(limit, || self.write(&bytes, false))?;
        // Not timed: what is not written back yet would burden the next slice.
        let synced = self.file.sync_data();
        synced.map_err(|source| failed(&self.path, "sync", source))?;
        Ok(slice)
    }
}

fn failed(path: &Path, doing: &'static str, source: io::Error) -> BenchError {
    BenchError::Raw {
        path: path.to_owned(),
        doing,
        source,
    }
}

/// Bytes of a raw file: as many as a segment has.
pub const RAW_LEN: u64 = 64 << 20;
const ZEROS_LEN: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_ends_with_the_file_and_the_next_one_finds_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raw");
        let mut raw = RawFile::create(&path).unwrap();
        let writes = |slice: Slice| slice.operations();
        let long = Duration::from_secs(600);
        assert_eq!(raw.buffered_slice(1 << 20, long).map(writes).unwrap(), 64);
        assert_eq!(raw.buffered_slice(1 << 20, long).map(writes).unwrap(), 64);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), RAW_LEN);
        assert!(RawFile::create(&path).is_err(), "nothing is written over");
    }
}
