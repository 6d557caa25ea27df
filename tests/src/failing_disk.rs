//! A disk that refuses on demand and counts: the faults a test names, on top of a [`MemoryDisk`].
//!
//! It knows nothing of crashes and lost writes; it fails calls and passes the rest through.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals_segments::{DirEntry, Disk, DiskFile, DiskLock, Mapping, MemoryDisk, OpenMode};
use parking_lot::Mutex;

/// A call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `try_lock`.
    Lock,
    /// `read_at`.
    Read,
    /// `allocate`.
    Allocate,
    /// `write_at`.
    Write,
    /// `sync_data`.
    Sync,
}

type Faults = Arc<Mutex<Vec<(Call, io::ErrorKind)>>>;

/// Called with the state before each call that changes the disk.
pub type Watch = Arc<dyn Fn(&MemoryDisk) + Send + Sync>;

/// See the module. Clones are the same disk.
#[derive(Clone, Default)]
pub struct FailingDisk {
    /// What holds the bytes.
    pub memory: MemoryDisk,
    faults: Faults,
    syncs: Arc<AtomicU64>,
    sync_pause: Option<Duration>,
    watch: Option<Watch>,
}

impl fmt::Debug for FailingDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FailingDisk")
            .finish_non_exhaustive()
    }
}

impl FailingDisk {
    /// A disk that shows its state before each change: every state a killed process can leave behind.
    pub fn watched(memory: MemoryDisk, watch: Watch) -> Self {
        Self {
            memory,
            watch: Some(watch),
            ..Self::default()
        }
    }

    fn changing(&self) {
        if let Some(watch) = &self.watch {
            watch(&self.memory);
        }
    }

    /// A disk whose every sync takes at least `pause`, as real ones do.
    pub fn with_slow_sync(pause: Duration) -> Self {
        Self {
            sync_pause: Some(pause),
            ..Self::default()
        }
    }

    /// Syncs of files so far, failed ones included.
    pub fn sync_count(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Makes every such call fail from here on.
    pub fn fail(&self, call: Call, kind: io::ErrorKind) {
        self.faults.lock().push((call, kind));
    }

    /// Makes every call succeed again.
    pub fn heal(&self) {
        self.faults.lock().clear();
    }
}

fn check(faults: &Faults, call: Call) -> io::Result<()> {
    let faults = faults.lock();
    let fault = faults.iter().find(|(failing, _)| *failing == call);
    fault.map_or(Ok(()), |(_, kind)| Err((*kind).into()))
}

impl Disk for FailingDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        if mode == OpenMode::CreateNew {
            self.changing();
        }
        let file = self.memory.open(path, mode)?;
        Ok(Arc::new(FailingFile {
            file,
            disk: self.clone(),
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.changing();
        self.memory.create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.memory.sync_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changing();
        self.memory.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.changing();
        self.memory.remove(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.memory.list(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        check(&self.faults, Call::Lock)?;
        self.memory.try_lock(path)
    }
}

#[derive(Debug)]
struct FailingFile {
    file: Arc<dyn DiskFile>,
    disk: FailingDisk,
}

impl DiskFile for FailingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        check(&self.disk.faults, Call::Read)?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.changing();
        check(&self.disk.faults, Call::Write)?;
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.changing();
        self.disk.syncs.fetch_add(1, Ordering::Relaxed);
        if let Some(pause) = self.disk.sync_pause {
            std::thread::sleep(pause);
        }
        check(&self.disk.faults, Call::Sync)?;
        self.file.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.changing();
        check(&self.disk.faults, Call::Allocate)?;
        self.file.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.changing();
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn map(&self, len: usize) -> io::Result<Arc<dyn Mapping>> {
        self.file.map(len)
    }
}
