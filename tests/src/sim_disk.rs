//! A simulated disk: it knows what a power cut at any call would leave, fails as it is told to, and can be read back
//! call by call.
//!
//! What a process sees is a [`MemoryDisk`], its page cache. Beside it stands a [`Snapshot`]: for each file what is
//! durable and, in order, what no sync has covered yet; the same for names. From that any state is made that a
//! power cut may leave ([`Spared`]), or a kill, after which the next process goes on over the same cache
//! ([`SimDisk::restarted`]). [`Fault`]s and a [`Hook`] say which calls fail.
//!
//! - A run over it is a pure function of its inputs as long as one thread calls it; [`SimDisk::trace`] is a
//!   fingerprint of all calls and their outcomes, to be compared between two runs.
//! - It is strict: no sync of a file covers its name, or another file. Directories are durable once made.
//! - Bytes beside a torn write stay as they were.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals_segments::{DirEntry, Disk, DiskFile, DiskLock, Mapping, MemoryDisk, OpenMode};
use parking_lot::Mutex;

mod crash;
mod faults;
mod image;
mod pending;

pub use crash::Spared;
pub use faults::{EDQUOT, EIO, EMFILE, ENOSPC, EROFS, FailedSync, Failing, Fault, Step};
pub use image::{FileImage, Image, PAGE_LEN};
pub use pending::{Fate, PendingOp, Snapshot, Tear};

use image::IN_MEMORY;
use pending::Inode;

/// Called before each step: it may wait, change things, or refuse.
pub type Hook = dyn Fn(Step, &Path) -> io::Result<()> + Send + Sync;

/// See the module. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    /// What a process sees.
    pub memory: MemoryDisk,
    state: Arc<Mutex<State>>,
    hook: Arc<Mutex<Option<Arc<Hook>>>>,
    changes: Arc<AtomicU64>,
    syncs: Arc<AtomicU64>,
    sync_pause: Option<Duration>,
    failed_sync: FailedSync,
}

#[derive(Default)]
struct State {
    now: Snapshot,
    /// What a process sees of each file.
    seen: Vec<Arc<dyn DiskFile>>,
    faults: Vec<Fault>,
    struck: u64,
    /// One before each change so far, if asked for.
    recording: Option<Vec<Snapshot>>,
    trace: u64,
    /// All calls so far.
    calls: u64,
    /// More calls are a loop without an end.
    calls_max: Option<u64>,
    /// Whether its process is gone: what still calls finds nothing.
    is_dead: bool,
    /// How often each step was called.
    counts: [u64; Step::ALL.len()],
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

impl SimDisk {
    /// A disk on which everything in `memory` is durable.
    pub fn over(memory: MemoryDisk) -> Self {
        let image = Image::of(&memory, Path::new("/"));
        Self::with(memory, Snapshot::of(&image))
    }

    /// A disk on which everything in `image` is durable.
    pub fn of(image: &Image) -> Self {
        Self::with(image.to_memory(), Snapshot::of(image))
    }

    fn with(memory: MemoryDisk, now: Snapshot) -> Self {
        let mut state = State {
            now,
            ..State::default()
        };
        // A file without a name is out of reach.
        state.seen = vec![nothing(); state.now.files.len()];
        let mut first_names: BTreeMap<Inode, &Path> = BTreeMap::new();
        for (path, inode) in &state.now.names {
            // In memory, too, names of one file are names of one file.
            if let Some(first) = first_names.get(inode) {
                memory.remove(path).expect(IN_MEMORY);
                memory.hard_link(first, path).expect(IN_MEMORY);
                continue;
            }
            first_names.insert(*inode, path);
            state.seen[*inode] = memory
                .open(path, OpenMode::ReadWrite)
                .expect("it has a name");
        }
        Self {
            memory,
            state: Arc::new(Mutex::new(state)),
            ..Self::default()
        }
    }

    /// A disk that shows what a process sees before each change of it: every state that a kill can leave behind.
    pub fn watched(
        memory: MemoryDisk,
        watch: impl Fn(&MemoryDisk) + Send + Sync + 'static,
    ) -> Self {
        let disk = Self::over(memory);
        let memory = disk.memory.clone();
        disk.set_hook(move |step, _| {
            if step.is_change() && !matches!(step, Step::OpenToWrite | Step::SyncDir) {
                watch(&memory);
            }
            Ok(())
        });
        disk
    }

    /// Has failed syncs do this.
    #[must_use]
    pub fn on_failed_sync(mut self, failed_sync: FailedSync) -> Self {
        self.failed_sync = failed_sync;
        self
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

    /// Calls so far that may have changed something: a clock for what was acknowledged when.
    pub fn change_count(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Has `hook` called before each step from here on, in place of the one before.
    pub fn set_hook(&self, hook: impl Fn(Step, &Path) -> io::Result<()> + Send + Sync + 'static) {
        *self.hook.lock() = Some(Arc::new(hook));
    }

    /// Has no hook called any more.
    pub fn clear_hook(&self) {
        *self.hook.lock() = None;
    }

    /// Adds a fault.
    pub fn add_fault(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// Makes every such call fail from here on.
    pub fn fail(&self, step: Step, kind: io::ErrorKind) {
        self.add_fault(Fault {
            step: Some(step),
            skip: 0,
            count: u64::MAX,
            failing: Failing::Kind(kind),
        });
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.state.lock().faults.clear();
    }

    /// Whether there are faults by which reads answer something else than what is there.
    pub fn reads_wrong(&self) -> bool {
        let is_wrong = |fault: &Fault| {
            matches!(
                fault.failing,
                Failing::BitFlip(_) | Failing::Stale(_) | Failing::Misdirected
            )
        };
        self.state.lock().faults.iter().any(is_wrong)
    }

    /// Whether there are faults that have struck or may strike.
    pub fn has_faults(&self) -> bool {
        !self.state.lock().faults.is_empty()
    }

    /// How many calls were struck by a fault.
    pub fn struck(&self) -> u64 {
        self.state.lock().struck
    }

    /// Keeps, from here on, what the disk was before each change.
    pub fn record(&self) {
        self.state.lock().recording = Some(Vec::new());
    }

    /// What the disk was before each change since [`SimDisk::record`], and what it is now.
    pub fn recorded(&self) -> Vec<Snapshot> {
        let mut state = self.state.lock();
        let mut recorded = state.recording.take().unwrap_or_default();
        recorded.push(state.now.clone());
        recorded
    }

    /// What is durable at this instant, and what is not.
    pub fn snapshot(&self) -> Snapshot {
        self.state.lock().now.clone()
    }

    /// What a power cut at this instant leaves.
    pub fn power_cut(&self, spared: Spared<'_>) -> MemoryDisk {
        self.snapshot().power_cut(spared).to_memory()
    }

    /// Makes a name one that no sync of its directory has covered.
    pub fn forget_name(&self, path: &Path) {
        let mut state = self.state.lock();
        if let Some(inode) = state.now.durable_names.remove(path) {
            state.push_name(inode, PendingOp::Create(path.to_owned()));
        }
    }

    /// The same disk, apart from this one, when the process has died and another begins: what was seen is
    /// still seen, what was not durable is still not, locks are gone, and no fault and no hook is set.
    #[must_use]
    pub fn restarted(&self) -> Self {
        Self::restarted_at(self.snapshot()).on_failed_sync(self.failed_sync)
    }

    /// The end of the process: every later call fails and is not noted. Answers the disk that the next process
    /// finds: [restarted](SimDisk::restarted), or `left` by a power cut. It goes on counting and recording.
    #[must_use]
    pub fn end(&self, left: Option<&Image>) -> Self {
        let next = match left {
            None => self.restarted(),
            Some(image) => Self::of(image).on_failed_sync(self.failed_sync),
        };
        let mut state = self.state.lock();
        state.is_dead = true;
        {
            let mut next = next.state.lock();
            next.recording = state.recording.take();
            (next.calls, next.trace, next.struck) = (state.calls, state.trace, state.struck);
            next.calls_max = state.calls_max;
            (next.counts, next.faults) = (state.counts, std::mem::take(&mut state.faults));
        }
        next.changes.store(self.change_count(), Ordering::Relaxed);
        drop(state);
        next
    }

    /// Takes more calls than this for a loop without an end, and panics.
    pub fn limit_calls(&self, calls_max: u64) {
        self.state.lock().calls_max = Some(calls_max);
    }

    /// Calls so far, of any kind.
    pub fn call_count(&self) -> u64 {
        self.state.lock().calls
    }

    /// Calls so far of one kind.
    pub fn count_of(&self, step: Step) -> u64 {
        self.state.lock().counts[step as usize]
    }

    /// The same at an earlier instant.
    pub fn restarted_at(snapshot: Snapshot) -> Self {
        Self::with(snapshot.seen().to_memory(), snapshot)
    }

    /// A fingerprint of all calls so far and of their outcomes.
    pub fn trace(&self) -> u64 {
        self.state.lock().trace
    }

    /// What a call is to do instead, if anything; to be asked once a call.
    fn before(&self, step: Step, path: &Path) -> io::Result<Option<Failing>> {
        // Not under the lock: a hook may take long, or use the disk.
        let hook = self.hook.lock().clone();
        let hooked = hook.map_or(Ok(()), |hook| hook(step, path));
        let mut state = self.state.lock();
        if state.is_dead {
            return Err(io::Error::other("the process has ended"));
        }
        state.calls += 1;
        assert!(
            state.calls_max.is_none_or(|most| state.calls <= most),
            "call {} is one of a loop without an end",
            state.calls
        );
        state.counts[step as usize] += 1;
        if step.is_change() {
            self.changes.fetch_add(1, Ordering::Relaxed);
            let State { now, recording, .. } = &mut *state;
            if let Some(recording) = recording {
                recording.push(now.clone());
            }
        }
        let mut faults = state.faults.iter_mut();
        let failing = faults.find_map(|fault| fault.strikes(step));
        state.struck += u64::from(failing.is_some());
        state.note(step as u64);
        state.note_bytes(path.as_os_str().as_encoded_bytes());
        state.note(u64::from(failing.is_some()) * 2 + u64::from(hooked.is_err()));
        hooked.map(|()| failing)
    }

    /// As `before`, for a call that is done whole or not at all.
    fn check(&self, step: Step, path: &Path) -> io::Result<()> {
        match self.before(step, path)? {
            None
            | Some(
                Failing::Short | Failing::BitFlip(_) | Failing::Stale(_) | Failing::Misdirected,
            ) => Ok(()),
            Some(failing) => Err(failing.error()),
        }
    }
}

impl State {
    /// FNV-1a: a fingerprint that is the same everywhere.
    fn note_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn note(&mut self, number: u64) {
        self.note_bytes(&number.to_le_bytes());
    }

    fn push(&mut self, inode: Inode, op: PendingOp) {
        let time = self.now.next_time();
        self.now.files[inode].push(time, op);
    }

    fn push_name(&mut self, inode: Inode, op: PendingOp) {
        let time = self.now.next_time();
        self.now.pending_names.push((time, inode, op));
    }

    fn new_file(&mut self, path: &Path, seen: Arc<dyn DiskFile>) -> Inode {
        let inode = self.seen.len();
        self.seen.push(seen);
        self.now.files.push(Default::default());
        self.now.names.insert(path.to_owned(), inode);
        self.push_name(inode, PendingOp::Create(path.to_owned()));
        inode
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let step = match mode {
            OpenMode::Read => Step::OpenToRead,
            OpenMode::ReadWrite => Step::OpenToWrite,
            OpenMode::CreateNew => Step::Create,
        };
        self.check(step, path)?;
        let mut state = self.state.lock();
        let seen = self.memory.open(path, mode)?;
        let inode = match state.now.names.get(path) {
            Some(inode) => *inode,
            None => state.new_file(path, seen.clone()),
        };
        Ok(Arc::new(SimFile {
            seen,
            inode,
            path: path.to_owned(),
            disk: self.clone(),
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Step::CreateDir, path)?;
        let mut state = self.state.lock();
        self.memory.create_dir(path)?;
        let made = path.ancestors().filter(|dir| dir.parent().is_some());
        state.now.dirs.extend(made.map(Path::to_owned));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Step::SyncDir, path)?;
        self.memory.sync_dir(path)?;
        self.state.lock().now.sync_dir(path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Step::Rename, to)?;
        let mut state = self.state.lock();
        let inode = state.now.names.get(from);
        if inode.is_some() && inode == state.now.names.get(to) {
            // Of two names of one file neither goes.
            return Ok(());
        }
        self.memory.rename(from, to)?;
        if let Some(inode) = state.now.names.remove(from) {
            state.now.names.insert(to.to_owned(), inode);
            state.push_name(inode, PendingOp::Rename(from.to_owned(), to.to_owned()));
        }
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Step::Link, to)?;
        let mut state = self.state.lock();
        self.memory.hard_link(from, to)?;
        if let Some(inode) = state.now.names.get(from).copied() {
            state.now.names.insert(to.to_owned(), inode);
            state.push_name(inode, PendingOp::Create(to.to_owned()));
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(Step::Remove, path)?;
        let mut state = self.state.lock();
        self.memory.remove(path)?;
        if let Some(inode) = state.now.names.remove(path) {
            state.push_name(inode, PendingOp::Remove(path.to_owned()));
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.check(Step::List, path)?;
        self.memory.list(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.check(Step::Lock, path)?;
        self.memory.try_lock(path)
    }
}

#[derive(Debug)]
struct SimFile {
    seen: Arc<dyn DiskFile>,
    inode: Inode,
    path: PathBuf,
    disk: SimDisk,
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut buffer = buffer;
        match self.disk.before(Step::Read, &self.path)? {
            None => self.seen.read_at(buffer, offset),
            Some(Failing::Short) => {
                let half = buffer.len().div_ceil(2);
                self.seen.read_at(&mut buffer[..half], offset)
            }
            Some(Failing::Misdirected) => self.seen.read_at(buffer, offset + SECTOR_LEN as u64),
            Some(Failing::BitFlip(which)) => {
                let read = self.seen.read_at(buffer, offset)?;
                if read > 0 {
                    let bit = which % (read as u64 * 8);
                    buffer[(bit / 8) as usize] ^= 1 << (bit % 8);
                }
                Ok(read)
            }
            Some(Failing::Stale(which)) => {
                let read = self.seen.read_at(buffer, offset)?;
                buffer = &mut buffer[..read];
                let sectors = buffer.len().div_ceil(SECTOR_LEN).max(1) as u64;
                let sector = buffer
                    .chunks_mut(SECTOR_LEN)
                    .nth((which % sectors) as usize);
                if let Some(sector) = sector {
                    sector.fill(0);
                }
                Ok(read)
            }
            Some(failing) => Err(failing.error()),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let failing = self.disk.before(Step::Write, &self.path)?;
        let bytes = match failing {
            None | Some(Failing::BitFlip(_) | Failing::Stale(_) | Failing::Misdirected) => bytes,
            Some(Failing::Short | Failing::Half(_)) => &bytes[..bytes.len().div_ceil(2)],
            Some(failing) => return Err(failing.error()),
        };
        let mut state = self.disk.state.lock();
        let written = self.seen.write_at(bytes, offset)?;
        state.note(offset);
        state.note_bytes(bytes);
        if written > 0 {
            state.push(
                self.inode,
                PendingOp::Write(offset, bytes[..written].into()),
            );
        }
        match failing {
            Some(failing @ Failing::Half(_)) => Err(failing.error()),
            _ => Ok(written),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.syncs.fetch_add(1, Ordering::Relaxed);
        if let Some(pause) = self.disk.sync_pause {
            std::thread::sleep(pause);
        }
        let refused = self.disk.check(Step::Sync, &self.path);
        let mut state = self.disk.state.lock();
        let file = &mut state.now.files[self.inode];
        if refused.is_ok() {
            file.synced();
            return Ok(());
        }
        if refused
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::Interrupted)
        {
            return refused;
        }
        match self.disk.failed_sync {
            FailedSync::KeepsCache => file.forget_writes(),
            FailedSync::RevertsCache => {
                file.revert();
                let durable = file.durable.bytes();
                let seen = &self.seen;
                seen.set_len(durable.len() as u64).expect(IN_MEMORY);
                seen.write_all_at(&durable, 0).expect(IN_MEMORY);
            }
        }
        refused
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.disk.check(Step::Allocate, &self.path)?;
        let mut state = self.disk.state.lock();
        self.seen.allocate(len)?;
        state.note(len);
        state.push(self.inode, PendingOp::Extend(len));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.check(Step::SetLen, &self.path)?;
        let mut state = self.disk.state.lock();
        self.seen.set_len(len)?;
        state.note(len);
        state.push(self.inode, PendingOp::SetLen(len));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.check(Step::Len, &self.path)?;
        self.seen.len()
    }

    fn map(&self, len: usize) -> io::Result<Arc<dyn Mapping>> {
        self.disk.check(Step::Map, &self.path)?;
        self.seen.map(len)
    }
}

/// An empty file nobody can reach.
fn nothing() -> Arc<dyn DiskFile> {
    let memory = MemoryDisk::default();
    memory
        .open(Path::new("/x"), OpenMode::CreateNew)
        .expect(IN_MEMORY)
}

const SECTOR_LEN: usize = 512;

#[cfg(test)]
mod tests;
