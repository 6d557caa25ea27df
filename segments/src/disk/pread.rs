//! A disk whose files are never mapped: what would be a map is read into memory, block by block.
//!
//! For those who prefer an error to a signal. A read of a map that the system cannot serve (a failing
//! device, a network file system that is gone, a file that was cut short by another) ends the process
//! with SIGBUS; a `pread` answers an error, which [`Mapping::fetch`] passes on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::blocks::{Blocks, Held};
use super::{DirEntry, Disk, DiskFile, DiskLock, HeldBytes, Mapping, OpenMode};

/// Another disk, read without maps. Clones share what they count.
#[derive(Clone, Debug)]
pub struct PreadDisk {
    disk: Arc<dyn Disk>,
    held: Arc<Held>,
    fetched_max: u64,
}

impl PreadDisk {
    /// Reads `disk` without maps. What is read is held as long as its mapping lives; `fetched_max` is for
    /// who [drops](Disk::held_bytes) them.
    pub fn new(disk: Arc<dyn Disk>, fetched_max: u64) -> Self {
        Self {
            disk,
            held: Arc::default(),
            fetched_max,
        }
    }
}

impl Disk for PreadDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(PreadFile {
            file: self.disk.open(path, mode)?,
            held: self.held.clone(),
            mappings: Mutex::default(),
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.list(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.disk.try_lock(path)
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        self.disk.resolve(path)
    }

    fn held_bytes(&self) -> Option<HeldBytes> {
        Some(HeldBytes {
            len: self.held.len.load(Ordering::Relaxed),
            fetched: self.held.fetched.load(Ordering::Relaxed),
            fetched_max: self.fetched_max,
        })
    }
}

#[derive(Debug)]
struct PreadFile {
    file: Arc<dyn DiskFile>,
    held: Arc<Held>,
    /// Those that have to learn of writes.
    mappings: Mutex<Vec<Weak<Blocks>>>,
}

impl DiskFile for PreadFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let written = self.file.write_at(bytes, offset)?;
        // After the file: a block that is read from here on has these bytes already.
        for blocks in self.mappings.lock().iter().filter_map(Weak::upgrade) {
            blocks.write(&bytes[..written], offset);
        }
        Ok(written)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn map(&self, len: usize) -> io::Result<Arc<dyn Mapping>> {
        if len as u64 > self.len()? {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let blocks = Arc::new(Blocks::new(self.file.clone(), len, self.held.clone())?);
        let mut mappings = self.mappings.lock();
        mappings.retain(|mapping| mapping.strong_count() > 0);
        mappings.push(Arc::downgrade(&blocks));
        Ok(blocks)
    }
}
