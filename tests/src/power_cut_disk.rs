//! A disk that knows what a power cut would leave: pages, lengths and names that no sync has covered.
//!
//! What a process sees is a [`MemoryDisk`], its page cache. Beside it stands what is durable, in whole
//! pages. A power cut leaves what is durable and, of the rest, whatever the randomness handed in picks:
//! each page, each name and each length on its own, so that writes come out of order and torn.
//!
//! - A failed sync marks its pages clean: they are never written again unless changed again, while
//!   the process goes on to see them. Source: Rebello et al., "Can Applications Recover from fsync
//!   Failures?", ATC 2020.
//! - The process may be restarted in between; the page cache stays and with it what is lost in it.
//! - Which calls fail, and who waits for whom, is said by a [`Hook`].
//!
//! The directory itself counts as durable, and a page is never torn in itself: a frame that crosses two
//! is. One directory is watched; files elsewhere survive nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_segments::{DirEntry, Disk, DiskFile, DiskLock, Mapping, MemoryDisk, OpenMode};
use parking_lot::Mutex;

use crate::SeededRandom;

/// A call about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `open` for reading.
    OpenToRead,
    /// `open` for writing.
    OpenToWrite,
    /// `open` of a new file.
    Create,
    /// `write_at`.
    Write,
    /// `sync_data`.
    Sync,
    /// `allocate`.
    Allocate,
    /// `set_len`.
    SetLen,
    /// `sync_dir`.
    SyncDir,
    /// `rename`; the path is the new one.
    Rename,
    /// `remove`.
    Remove,
    /// `list`.
    List,
}

impl Step {
    /// Whether the call may change anything.
    pub fn is_change(self) -> bool {
        !matches!(self, Self::OpenToRead | Self::List)
    }
}

/// Called before each step: it may wait, change things, or refuse.
pub type Hook = dyn Fn(Step, &Path) -> io::Result<()> + Send + Sync;

/// What a power cut spares of that which no sync has covered.
#[derive(Clone, Copy, Debug)]
pub enum Spared<'a> {
    /// Nothing.
    Nothing,
    /// Each thing by the toss of a coin.
    Some(&'a SeededRandom),
}

impl Spared<'_> {
    fn toss(self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Some(random) => random.next_u64().is_multiple_of(2),
        }
    }
}

/// See the module. Clones are the same disk.
#[derive(Clone)]
pub struct PowerCutDisk {
    /// What the process sees.
    pub memory: MemoryDisk,
    dir: PathBuf,
    state: Arc<Mutex<State>>,
    hook: Arc<Mutex<Option<Arc<Hook>>>>,
}

impl fmt::Debug for PowerCutDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PowerCutDisk")
            .finish_non_exhaustive()
    }
}

/// Number of a file, whatever its name is.
type Inode = usize;

#[derive(Default)]
struct State {
    files: Vec<FileState>,
    names: BTreeMap<PathBuf, Inode>,
    durable_names: BTreeMap<PathBuf, Inode>,
}

#[derive(Clone)]
struct FileState {
    /// What the process sees of it.
    file: Arc<dyn DiskFile>,
    durable_pages: BTreeMap<u64, Vec<u8>>,
    durable_len: u64,
    /// Pages written since the last sync, a failed one included.
    dirty_pages: BTreeSet<u64>,
}

impl FileState {
    fn new(file: Arc<dyn DiskFile>) -> Self {
        Self {
            file,
            durable_pages: BTreeMap::new(),
            durable_len: 0,
            dirty_pages: BTreeSet::new(),
        }
    }

    fn seen(&self) -> Vec<u8> {
        self.file
            .read_up_to(u64::MAX)
            .expect("a file in memory can be read")
    }

    /// What a power cut leaves of it.
    fn left(&self, spared: Spared<'_>) -> Vec<u8> {
        let seen = self.seen();
        let mut len = self.durable_len as usize;
        let mut pages = self.durable_pages.clone();
        for number in &self.dirty_pages {
            if let Some(page) = page_of(&seen, *number)
                && spared.toss()
            {
                pages.insert(*number, page.to_vec());
                len = len.max(page_start(*number) + page.len());
            }
        }
        if seen.len() < len && spared.toss() {
            len = seen.len();
        }
        let mut left = vec![0; len];
        for (number, page) in pages {
            if let Some(room) = left.get_mut(page_start(number)..) {
                let len = room.len().min(page.len());
                room[..len].copy_from_slice(&page[..len]);
            }
        }
        left
    }
}

impl PowerCutDisk {
    /// A disk on which everything in `memory` is durable, whose directory `dir` is watched.
    pub fn new(memory: MemoryDisk, dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        let mut state = State::default();
        for entry in memory.list(&dir).unwrap_or_default() {
            let path = dir.join(entry.name);
            let file = memory
                .open(&path, OpenMode::ReadWrite)
                .expect("it was listed");
            let mut file = FileState::new(file);
            let seen = file.seen();
            file.durable_len = seen.len() as u64;
            file.durable_pages = (0..)
                .zip(seen.chunks(PAGE_LEN))
                .map(|(number, page)| (number, page.to_vec()))
                .collect();
            state.names.insert(path, state.files.len());
            state.files.push(file);
        }
        state.durable_names = state.names.clone();
        Self {
            memory,
            dir,
            state: Arc::new(Mutex::new(state)),
            hook: Arc::default(),
        }
    }

    /// Has `hook` called before each step from here on, in place of the one before.
    pub fn set_hook(&self, hook: impl Fn(Step, &Path) -> io::Result<()> + Send + Sync + 'static) {
        *self.hook.lock() = Some(Arc::new(hook));
    }

    /// Has no hook called any more.
    pub fn clear_hook(&self) {
        *self.hook.lock() = None;
    }

    /// Makes the name of a file one that no sync of the directory has covered.
    pub fn forget_name(&self, name: &str) {
        let path = self.dir.join(name);
        self.state.lock().durable_names.remove(&path);
    }

    /// What a power cut at this instant leaves.
    pub fn power_cut(&self, spared: Spared<'_>) -> MemoryDisk {
        let state = self.state.lock();
        let mut names = state.durable_names.clone();
        for (path, inode) in &state.names {
            if names.get(path) != Some(inode) && spared.toss() {
                names.insert(path.clone(), *inode);
            }
        }
        for path in state.durable_names.keys() {
            if !state.names.contains_key(path) && spared.toss() {
                names.remove(path);
            }
        }
        let left = MemoryDisk::default();
        left.create_dir(&self.dir).expect("the disk is empty");
        for (path, inode) in names {
            if let Some(dir) = path.parent() {
                left.create_dir(dir).expect(IN_MEMORY);
            }
            let bytes = state.files[inode].left(spared);
            let file = left.open(&path, OpenMode::CreateNew).expect(IN_MEMORY);
            file.set_len(bytes.len() as u64).expect(IN_MEMORY);
            file.write_all_at(&bytes, 0).expect(IN_MEMORY);
        }
        left
    }

    /// The same disk, apart from this one, when the process has died and another begins: what was seen is
    /// still seen, what was not durable is still not, locks are gone, no hook is set.
    #[must_use]
    pub fn restarted(&self) -> Self {
        let state = self.state.lock();
        let memory = self.memory.fork();
        // Files without a name are out of reach for everyone but those who have them open.
        let mut files = state.files.clone();
        for (path, inode) in &state.names {
            files[*inode].file = memory
                .open(path, OpenMode::ReadWrite)
                .expect("a fork has the same names");
        }
        let state = State {
            files,
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
        };
        Self {
            memory,
            dir: self.dir.clone(),
            state: Arc::new(Mutex::new(state)),
            hook: Arc::default(),
        }
    }

    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        // Not under the lock: a hook may take long, or use the disk.
        let hook = self.hook.lock().clone();
        hook.map_or(Ok(()), |hook| hook(step, path))
    }
}

impl Disk for PowerCutDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let step = match mode {
            OpenMode::Read => Step::OpenToRead,
            OpenMode::ReadWrite => Step::OpenToWrite,
            OpenMode::CreateNew => Step::Create,
        };
        self.before(step, path)?;
        let mut state = self.state.lock();
        let seen = self.memory.open(path, mode)?;
        let known = state.names.get(path).copied();
        let inode = known.unwrap_or_else(|| {
            state.files.push(FileState::new(seen.clone()));
            let inode = state.files.len() - 1;
            state.names.insert(path.to_owned(), inode);
            inode
        });
        Ok(Arc::new(PowerCutFile {
            seen,
            inode,
            path: path.to_owned(),
            disk: self.clone(),
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.memory.create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.before(Step::SyncDir, path)?;
        self.memory.sync_dir(path)?;
        if path == self.dir {
            let mut state = self.state.lock();
            state.durable_names = state.names.clone();
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before(Step::Rename, to)?;
        let mut state = self.state.lock();
        self.memory.rename(from, to)?;
        if let Some(inode) = state.names.remove(from) {
            state.names.insert(to.to_owned(), inode);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.before(Step::Remove, path)?;
        let mut state = self.state.lock();
        self.memory.remove(path)?;
        state.names.remove(path);
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.before(Step::List, path)?;
        self.memory.list(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.memory.try_lock(path)
    }
}

#[derive(Debug)]
struct PowerCutFile {
    seen: Arc<dyn DiskFile>,
    inode: Inode,
    path: PathBuf,
    disk: PowerCutDisk,
}

impl DiskFile for PowerCutFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.seen.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.before(Step::Write, &self.path)?;
        let mut state = self.disk.state.lock();
        let written = self.seen.write_at(bytes, offset)?;
        if written > 0 {
            let last = offset + written as u64 - 1;
            let pages = offset / PAGE_LEN as u64..=last / PAGE_LEN as u64;
            state.files[self.inode].dirty_pages.extend(pages);
        }
        Ok(written)
    }

    fn sync_data(&self) -> io::Result<()> {
        let refused = self.disk.before(Step::Sync, &self.path);
        let mut state = self.disk.state.lock();
        let file = &mut state.files[self.inode];
        let dirty_pages = std::mem::take(&mut file.dirty_pages);
        refused?;
        let seen = file.seen();
        for number in dirty_pages {
            if let Some(page) = page_of(&seen, number) {
                file.durable_pages.insert(number, page.to_vec());
            }
        }
        file.durable_len = seen.len() as u64;
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.before(Step::Allocate, &self.path)?;
        self.seen.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.before(Step::SetLen, &self.path)?;
        self.seen.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.seen.len()
    }

    fn map(&self, len: usize) -> io::Result<Arc<dyn Mapping>> {
        self.seen.map(len)
    }
}

fn page_start(number: u64) -> usize {
    number as usize * PAGE_LEN
}

/// A page of the bytes; `None` behind their end.
fn page_of(bytes: &[u8], number: u64) -> Option<&[u8]> {
    let rest = bytes.get(page_start(number)..)?;
    (!rest.is_empty()).then(|| &rest[..rest.len().min(PAGE_LEN)])
}

/// Bytes that the disk writes whole or not at all.
const PAGE_LEN: usize = 4096;
const IN_MEMORY: &str = "a new disk in memory refuses nothing";
