//! Work that no append waits for: preparing the next segment, and after a segment is sealed its
//! manifest entry, its cut, its index, and now and then the heads.
//!
//! It runs on two threads that the log owns and [`Log::close`](crate::Log::close) joins, one for short jobs, so
//! that neither buffered events nor the manifest ever wait for an index to be written; or, when asked for, in the
//! appending thread at fixed places. A failure here is never a failure of an append: it is logged, and made up for
//! at the next open, because everything it writes can be derived again.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use annals_index::{HeadsIdentity, SealedIndex, fold_heads};
use annals_segments::format::manifest::Manifest;
use annals_segments::format::segment_header::{Layout, SEGMENT_HEADER_LEN, SegmentHeader};
use annals_segments::format::{self, align_up};
use annals_segments::planted::{Bug, is_planted};
use annals_segments::sync::{Condvar, Mutex, MutexGuard};
use annals_segments::{FrozenFile, OpenMode, Room, SegmentFile, write_finished};

use crate::checkpoint;
use crate::directory::Directory;
use crate::error::Error;
use crate::heads_file::HeadsFile;
use crate::log::Inner;
use crate::options::LogOptions;
use crate::segment::{LogIdentity, Segment};

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Job {
    /// Segment of this number is sealed.
    Sealed(u64),
    /// Name what is sealed in the manifest: an open after a kill then need not read it. Not behind an index
    /// being written.
    NameSealed,
    /// Make up for what a crash has kept from being done to the sealed segment of this number.
    Finish(u64),
    /// Write a checkpoint of segment of this number.
    Checkpoint(u64),
    /// Have segment of this number ready.
    PrepareSpare(u64),
    /// Sync buffered events once they have waited for as long as the options say.
    SyncSoon,
    /// Sync buffered events: a follower waits for them.
    SyncAwaited,
    /// Sync buffered events: there are many.
    SyncNow,
    /// Fold into the heads what is not folded yet: there is nothing else to do.
    Fold,
    /// End the thread.
    Stop,
}

impl Job {
    /// Whether it is one for the thread whose jobs are short.
    fn is_short(self) -> bool {
        self.waits_to_sync() || matches!(self, Self::SyncNow | Self::NameSealed)
    }

    /// Whether it is a sync that comes later.
    fn waits_to_sync(self) -> bool {
        matches!(self, Self::SyncSoon | Self::SyncAwaited)
    }
}

/// A thread, and where it is told what to do.
#[derive(Debug)]
struct Worker {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

impl Worker {
    fn start(inner: &Arc<Inner>, name: &str, run: fn(&Inner, &Receiver<Job>)) -> Option<Self> {
        let (jobs, receiver) = channel();
        let worker = inner.clone();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || run(&worker, &receiver));
        match thread {
            Ok(thread) => Some(Self { jobs, thread }),
            // Without the thread the appending threads do the work.
            Err(error) => {
                tracing::warn!(%error, name, "no thread for housekeeping");
                None
            }
        }
    }

    fn stop(self) {
        let _ = self.jobs.send(Job::Stop);
        if self.thread.join().is_err() {
            tracing::error!("a housekeeping thread panicked");
        }
    }
}

/// The threads and what they have ready.
#[derive(Debug, Default)]
pub(crate) struct Housekeeper {
    worker: Mutex<Option<Worker>>,
    /// For short jobs.
    syncer: Mutex<Option<Worker>>,
    /// Jobs asked for and not finished; each is queued once.
    requested: Mutex<HashSet<Job>>,
    spare: Mutex<Spare>,
    spare_changed: Condvar,
    /// Without a thread, jobs wait here until the appending thread has the time.
    inline: Mutex<Vec<Job>>,
    /// Held while a job is done: jobs follow each other even when several threads do them.
    working: Mutex<Working>,
}

/// Whether jobs are still done: not once the lock of the log is released.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Working {
    #[default]
    Open,
    Over,
}

#[derive(Debug, Default)]
enum Spare {
    #[default]
    None,
    Preparing,
    Ready(PreparedSegment),
}

impl Housekeeper {
    /// Starts the threads.
    pub(crate) fn start(inner: &Arc<Inner>) {
        *inner.housekeeper.worker.lock() = Worker::start(inner, "annals", run);
        *inner.housekeeper.syncer.lock() = Worker::start(inner, "annals-sync", run_short);
    }

    /// Asks for a job, once.
    pub(crate) fn request(&self, job: Job) {
        if !self.requested.lock().insert(job) {
            return;
        }
        let worker = match job.is_short() {
            true => &self.syncer,
            false => &self.worker,
        };
        match &*worker.lock() {
            Some(worker) => {
                // The receiver lives until the thread is joined.
                let _ = worker.jobs.send(job);
            }
            None => self.inline.lock().push(job),
        }
    }

    /// Does what was asked for when there is no thread to do it. The writer is not locked by the caller.
    pub(crate) fn run_inline(&self, inner: &Inner) {
        if inner.options.jobs_wait {
            return;
        }
        loop {
            let jobs = std::mem::take(&mut *self.inline.lock());
            if jobs.is_empty() {
                return;
            }
            for job in jobs {
                // Preparing ahead and syncing later are only for a thread; both happen when needed.
                if matches!(job, Job::Sealed(_) | Job::Finish(_) | Job::Checkpoint(_)) {
                    do_job(inner, job);
                }
                self.requested.lock().remove(&job);
            }
        }
    }

    /// Does the first job that waits, as a thread would once it comes to it; when none does, what a thread does in
    /// quiet times. Answers whether one did.
    pub(crate) fn run_one(&self, inner: &Inner) -> bool {
        let mut waiting = self.inline.lock();
        let job = (!waiting.is_empty()).then(|| waiting.remove(0));
        drop(waiting);
        take_up(
            inner,
            match job {
                Some(job) if job.waits_to_sync() => Job::SyncNow,
                Some(job) => job,
                None => Job::Fold,
            },
        );
        if let Some(job) = job.filter(|job| job.waits_to_sync()) {
            self.requested.lock().remove(&job);
        }
        job.is_some()
    }

    /// Has no job begin as long as the guard lives.
    ///
    /// # Errors
    /// [`Error::Closed`] when the log is.
    pub(crate) fn work(&self) -> Result<MutexGuard<'_, Working>, Error> {
        let working = self.working.lock();
        match *working {
            Working::Open => Ok(working),
            Working::Over => Err(Error::Closed),
        }
    }

    /// Waits for the job that is being done, and has no other begin.
    pub(crate) fn end(&self) {
        *self.working.lock() = Working::Over;
    }

    /// Ends the threads and waits for them.
    pub(crate) fn stop(&self) {
        let workers = [self.worker.lock().take(), self.syncer.lock().take()];
        workers.into_iter().flatten().for_each(Worker::stop);
    }

    /// The next segment, of at least `len` bytes, prepared now when it is not ready.
    pub(crate) fn take_spare(
        &self,
        inner: &Inner,
        number: u64,
        len: u64,
    ) -> Result<PreparedSegment, Error> {
        let mut spare = self.spare.lock();
        if !matches!(*spare, Spare::Ready(_)) && inner.options.background {
            inner.meter.waited_for_spare();
        }
        while matches!(*spare, Spare::Preparing) {
            self.spare_changed.wait(&mut spare);
        }
        // Nobody else prepares one meanwhile.
        let found = std::mem::replace(&mut *spare, Spare::Preparing);
        drop(spare);
        let prepared = match found {
            Spare::Ready(prepared) if prepared.fits(number, len) => Ok(prepared),
            found => {
                let unfit = match found {
                    Spare::Ready(prepared) => Some(prepared.header.number),
                    Spare::None | Spare::Preparing => None,
                };
                PreparedSegment::replace(&inner.directory, unfit).and_then(|()| {
                    PreparedSegment::create(
                        &inner.directory,
                        &inner.log,
                        &inner.options,
                        number,
                        len,
                        Made::AHEAD,
                    )
                })
            }
        };
        *self.spare.lock() = Spare::None;
        self.spare_changed.notify_all();
        prepared
    }

    /// Keeps a prepared segment that was found when the log was opened.
    pub(crate) fn keep_spare(&self, prepared: PreparedSegment) {
        *self.spare.lock() = Spare::Ready(prepared);
    }

    fn prepare_spare(&self, inner: &Inner, number: u64) {
        {
            let mut spare = self.spare.lock();
            match &*spare {
                Spare::None => *spare = Spare::Preparing,
                // One is ready, or the writer was faster and is past this number.
                Spare::Preparing | Spare::Ready(_) => return,
            }
        }
        let is_needed = inner.newest_segment() < number;
        let prepared = is_needed.then(|| {
            let len = PreparedSegment::len_for(&inner.options, inner.tracking_len());
            PreparedSegment::create(
                &inner.directory,
                &inner.log,
                &inner.options,
                number,
                len,
                Made::AHEAD,
            )
        });
        let mut spare = self.spare.lock();
        *spare = match prepared {
            Some(Ok(prepared)) => Spare::Ready(prepared),
            Some(Err(error)) => {
                tracing::warn!(%error, "the next segment is not prepared; the append that needs it will try again");
                Spare::None
            }
            None => Spare::None,
        };
        self.spare_changed.notify_all();
    }
}

/// Does the jobs that may take long, and folds once there has been none for a while.
fn run(inner: &Inner, jobs: &Receiver<Job>) {
    let mut is_folded = false;
    loop {
        let job = match is_folded {
            true => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => jobs.recv_timeout(QUIET),
        };
        let job = match job {
            Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => Job::Fold,
        };
        is_folded = job == Job::Fold;
        take_up(inner, job);
    }
}

/// Does the short jobs.
fn run_short(inner: &Inner, jobs: &Receiver<Job>) {
    let now_ns = || inner.options.clock.monotonic_ns();
    let mut due_ns: Option<u64> = None;
    // A follower waits for a sync only as long again as the one before it took: more to a sync, and half of the device
    // and of this processor for those who write. Where syncs are slow they come seldom.
    let mut rested_ns = 0;
    loop {
        let job = match due_ns {
            Some(due) => jobs.recv_timeout(Duration::from_nanos(due.saturating_sub(now_ns()))),
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let job = match job {
            Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(job) if job.waits_to_sync() => {
                inner.housekeeper.requested.lock().remove(&job);
                let at = match job {
                    Job::SyncAwaited => rested_ns,
                    _ => now_ns().saturating_add(nanos(inner.options.buffered_sync_after)),
                };
                due_ns = Some(due_ns.map_or(at, |due| due.min(at)));
                continue;
            }
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => Job::SyncNow,
        };
        if job != Job::SyncNow {
            take_up(inner, job);
            continue;
        }
        due_ns = None;
        let start_ns = now_ns();
        take_up(inner, job);
        let end_ns = now_ns();
        rested_ns = end_ns.saturating_add(end_ns.saturating_sub(start_ns));
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn take_up(inner: &Inner, job: Job) {
    // Off the list first: what is asked for from here on is a new job.
    inner.housekeeper.requested.lock().remove(&job);
    do_job(inner, job);
}

fn do_job(inner: &Inner, job: Job) {
    // A short one waits for no other job. Its thread is joined before the lock of the log is released.
    let working = (!job.is_short()).then(|| inner.housekeeper.working.lock());
    if working
        .as_ref()
        .is_some_and(|working| **working == Working::Over)
    {
        return;
    }
    let done = match job {
        Job::Sealed(number) => finish_sealed(inner, number),
        Job::PrepareSpare(number) => {
            inner.housekeeper.prepare_spare(inner, number);
            Ok(())
        }
        Job::Finish(number) => inner.set().segment(number).map_or(Ok(()), |segment| {
            cut_zeros(inner, segment)?;
            if segment.open_index().is_none() {
                write_index(inner, segment)?;
            }
            fold_when_due(inner, false)
        }),
        Job::Checkpoint(number) => write_checkpoint(inner, number),
        Job::NameSealed => name_sealed(inner),
        Job::SyncNow => inner.sync_behind(),
        Job::Fold => {
            write_missing_indexes(inner);
            fold_when_due(inner, true)
        }
        Job::SyncSoon | Job::SyncAwaited | Job::Stop => Ok(()),
    };
    if let Err(error) = done {
        tracing::warn!(?job, %error, "housekeeping failed; the next open makes up for it");
    }
}

/// Everything that follows the sealing of a segment, in this order: its end becomes known, then it is
/// cut, then its index takes the place of the one in memory.
pub(crate) fn finish_sealed(inner: &Inner, number: u64) -> Result<(), Error> {
    let set = inner.set();
    let Some(segment) = set.segment(number) else {
        return Ok(());
    };
    name_sealed(inner)?;
    let file = segment.file()?;
    // Finished before, it may have been let go of since, and opened again for reading.
    if !file.is_finished() {
        file.cut()
            .map_err(Error::io(&segment.path, "cut the segment"))?;
    }
    write_index(inner, segment)?;
    fold_when_due(inner, false)
}

/// Names every sealed segment in the manifest.
pub(crate) fn name_sealed(inner: &Inner) -> Result<(), Error> {
    let mut manifest = inner.manifest.lock();
    // Asked for under the lock, under which a truncation changes both.
    let set = inner.set();
    let named = manifest.segments.last().map_or(0, |last| last.number);
    let sealed = set.segments.iter().filter_map(|one| one.sealed_entry());
    let new: Vec<_> = sealed
        .filter(|entry| entry.number > named)
        .copied()
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    inner.write_locked_manifest(&mut manifest, |manifest| manifest.segments.extend(&new))
}

/// Gives back the zeros behind a sealed segment. Whatever else lies there stays: a reader that opened the log
/// before it was recovered may have it mapped.
fn cut_zeros(inner: &Inner, segment: &Segment) -> Result<(), Error> {
    let Some(entry) = segment.sealed_entry() else {
        return Ok(());
    };
    let disk = &*inner.directory.disk;
    let cut = || {
        let file = match disk.open(&segment.path, OpenMode::Read) {
            // Missing, which is told where it is read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        if file.len()? <= entry.end {
            return Ok(());
        }
        let written = file.written_end(entry.end)?;
        // The file may have been cut in the middle of its last bytes.
        let kept = (align_up(written as usize) as u64).min(file.len()?);
        SegmentFile::open(disk, &segment.path, OpenMode::ReadWrite, kept)?.cut()
    };
    cut().map_err(Error::io(&segment.path, "cut the segment"))
}

/// Derives and writes the index of a sealed segment and puts it to use.
pub(crate) fn write_index(inner: &Inner, segment: &Arc<Segment>) -> Result<(), Error> {
    let set = inner.set();
    let mut failed = None;
    let bytes = segment.encode_index(|key| {
        set.newest_before(key, segment.number)
            .unwrap_or_else(|error| {
                failed.get_or_insert(error);
                None
            })
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let Some(bytes) = bytes else { return Ok(()) };
    let directory = &inner.directory;
    let path = directory.index(segment.number);
    write_finished(
        &*directory.disk,
        &directory.path,
        &format::index_file_name(segment.number),
        &bytes,
    )
    .map_err(Error::io(&path, "write the index"))?;
    if let Some(sealed) = segment.open_index() {
        segment.use_sealed_index(sealed);
    }
    checkpoint::remove(directory, segment.number);
    Ok(())
}

/// Writes the indexes of sealed segments that were found to have none that is sound, and so were derived. One that cannot
/// be written keeps none of the others from it.
fn write_missing_indexes(inner: &Inner) {
    let set = inner.set();
    let segments = set.segments.iter();
    for segment in
        segments.filter(|segment| segment.sealed_entry().is_some() && segment.has_index_in_memory())
    {
        if let Err(error) = write_index(inner, segment) {
            if error.is_corrupt() {
                segment.note_unindexable();
            }
            let number = segment.number;
            tracing::warn!(number, %error, "the index is not written; what it holds stays in memory");
        }
    }
}

/// Writes a checkpoint of the segment being written, once what it covers is durable.
fn write_checkpoint(inner: &Inner, number: u64) -> Result<(), Error> {
    let set = inner.set();
    let Some(segment) = set.segment(number) else {
        return Ok(());
    };
    // The writer may be past it: then its index is next.
    let Some(end) = segment
        .checkpoint_end()
        .filter(|_| segment.sealed_entry().is_none())
    else {
        return Ok(());
    };
    inner.sync_behind()?;
    checkpoint::write(inner, segment, end)
}

/// Folds sealed segments into the heads, several at a time; fewer when it `is_quiet` and the heads to be written
/// are small, or take no more than the segments folded did, so that folding at most doubles what is written.
fn fold_when_due(inner: &Inner, is_quiet: bool) -> Result<(), Error> {
    let set = inner.set();
    let covers = set.heads().map_or(0, |heads| heads.covers());
    let due: Vec<&Arc<Segment>> = set
        .segments
        .iter()
        .filter(|segment| segment.number > covers && segment.sealed_entry().is_some())
        .collect();
    let entries = due.iter().filter_map(|segment| segment.sealed_entry());
    let due_bytes: u64 = entries.map(|entry| entry.end).sum();
    let heads_bytes = set.heads.as_ref().map_or(0, |heads| heads.file_len());
    let is_cheap = is_quiet && heads_bytes as u64 <= due_bytes.max(SMALL_HEADS);
    if due.is_empty() || (due.len() < FOLD_AFTER && !is_cheap) {
        return Ok(());
    }
    let mut indexes: Vec<(u64, u64, SealedIndex<FrozenFile>)> = Vec::new();
    for segment in &due {
        match segment.open_index() {
            Some(index) => indexes.push((segment.number, segment.base_position, index)),
            // Its index comes first; the fold waits for it.
            None => break,
        }
    }
    let Some((newest, ..)) = indexes.last() else {
        return Ok(());
    };
    let identity = HeadsIdentity {
        log_id: inner.log.id,
        covers: *newest,
    };
    let sealed: Vec<(u64, u64, &SealedIndex<FrozenFile>)> = indexes
        .iter()
        .map(|(number, base, index)| (*number, *base, index))
        .collect();
    let bytes = fold_heads(identity, set.heads(), &sealed, |number, ordinal| {
        let segment = set.segment(number);
        let segment = segment.expect("the segments folded are in the set");
        match segment.event(ordinal) {
            Err(Error::Quarantined { .. }) => Ok(0),
            event => Ok::<u64, FoldError>(event?.version().unwrap_or(0)),
        }
    });
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(FoldError::Log(error)) => return Err(error),
        Err(FoldError::Index(error)) => {
            tracing::warn!(%error, "an index could not be folded");
            return Ok(());
        }
    };
    let directory = &inner.directory;
    let path = directory.heads(identity.covers);
    write_finished(
        &*directory.disk,
        &directory.path,
        &format::heads_file_name(identity.covers),
        &bytes,
    )
    .map_err(Error::io(&path, "write the heads"))?;
    let Some(heads) = HeadsFile::open(directory, &inner.log, identity.covers, set.sealed_len())
    else {
        return Ok(());
    };
    // Both in one: whoever finds them named and not in use takes them for damaged.
    let mut manifest = inner.manifest.lock();
    inner.write_locked_manifest(&mut manifest, |manifest| manifest.heads = identity.covers)?;
    inner.update_set(|set| set.heads = Some(Arc::new(heads)));
    drop(manifest);
    if covers > 0 {
        // Still mapped by views that are alive; only the name goes.
        let _ = directory.disk.remove(&directory.heads(covers));
    }
    Ok(())
}

/// What may stop a fold.
enum FoldError {
    Log(Error),
    Index(annals_index::Error),
}

impl From<Error> for FoldError {
    fn from(error: Error) -> Self {
        Self::Log(error)
    }
}

impl From<annals_index::Error> for FoldError {
    fn from(error: annals_index::Error) -> Self {
        Self::Index(error)
    }
}

/// How a segment is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    /// Flags of its header.
    pub(crate) compatible: u32,
    pub(crate) room: Room,
}

impl Made {
    /// An ordinary segment, made before it is needed.
    const AHEAD: Self = Self {
        compatible: 0,
        room: Room::Written,
    };
}

/// A segment with a header and zeros behind it, durable under its name.
#[derive(Debug)]
pub(crate) struct PreparedSegment {
    pub(crate) header: SegmentHeader,
    pub(crate) file: SegmentFile,
}

impl PreparedSegment {
    /// Bytes of a segment that starts with tracking positions of this length: what the options say, or
    /// more when those would take a good part of it.
    pub(crate) fn len_for(options: &LogOptions, tracking_len: usize) -> u64 {
        let least = SEGMENT_HEADER_LEN + 8 * tracking_len;
        options.segment_len.max(align_up(least) as u64)
    }

    /// Whether it is segment `number` and has `len` bytes or more.
    pub(crate) fn fits(&self, number: u64, len: u64) -> bool {
        self.header.number == number && self.file.mapped_len() as u64 >= len
    }

    /// Makes the name of a prepared segment that does not fit free.
    pub(crate) fn replace(directory: &Directory, unfit: Option<u64>) -> Result<(), Error> {
        let Some(number) = unfit else { return Ok(()) };
        let path = directory.segment(number);
        directory
            .disk
            .remove(&path)
            .map_err(Error::io(path, "remove the prepared segment"))
    }

    /// Creates the file of `len` bytes, headed, zero-filled and synced.
    ///
    /// # Errors
    /// [`Error::Full`] when there is no room; nothing is left behind then.
    pub(crate) fn create(
        directory: &Directory,
        log: &LogIdentity,
        options: &LogOptions,
        number: u64,
        len: u64,
        made: Made,
    ) -> Result<Self, Error> {
        let mut salt = [0; 8];
        options.random.fill(&mut salt);
        let header = SegmentHeader {
            layout: Layout::Plain,
            compatible: made.compatible,
            log_id: log.id,
            number,
            salt: u64::from_le_bytes(salt),
            created_us: options.clock.now_us(),
        };
        let path = directory.segment(number);
        let create = || -> io::Result<SegmentFile> {
            let file = SegmentFile::create(&*directory.disk, &path, len, made.room)?;
            file.write(&header.encode(), 0)?;
            file.sync()?;
            file.publish(SEGMENT_HEADER_LEN);
            if !is_planted(Bug::SkipDirectorySync) {
                directory.disk.sync_dir(&directory.path)?;
            }
            Ok(file)
        };
        match create() {
            Ok(file) => Ok(Self { header, file }),
            Err(source) => {
                // A file that was there before is not ours to remove.
                if source.kind() != io::ErrorKind::AlreadyExists {
                    let _ = directory.disk.remove(&path);
                }
                match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Err(Error::Full {
                        path,
                        needed: len,
                        source,
                    }),
                    _ => Err(Error::io(path, "prepare the segment")(source)),
                }
            }
        }
    }

    pub(crate) fn into_segment(self, inner: &Inner, base_position: u64) -> Segment {
        Segment::tail(
            &inner.directory,
            &inner.log,
            &self.header,
            base_position,
            self.file,
        )
    }
}

/// A manifest that names no segment yet.
pub(crate) fn first_manifest(log: &LogIdentity) -> Manifest {
    Manifest {
        log_id: log.id,
        generation: 0,
        first_retained_position: 1,
        durable_position: 0,
        heads: 0,
        segments: Vec::new(),
        quarantined: Vec::new(),
        followers: BTreeMap::new(),
    }
}

/// Sealed segments that are folded at a time while there are other jobs. Until then their own tables answer, newest
/// first.
const FOLD_AFTER: usize = 8;
/// Heads that are folded whenever it is quiet, in bytes.
const SMALL_HEADS: u64 = 8 << 20;
/// Without a job for so long, the log counts as quiet.
const QUIET: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Log, NewEvent};

    #[test]
    fn a_segment_that_was_finished_and_let_go_of_may_be_finished_again() {
        let log = Log::options()
            .segment_len(64 << 10)
            .background(false)
            .read_io(crate::ReadIo::Pread)
            .disk(annals_segments::MemoryDisk::default())
            .open("/log")
            .unwrap();
        for _ in 0..40 {
            let _ = log.append(NewEvent::new("Was", vec![1; 3000])).unwrap();
        }
        // Two jobs may come to the same segment, and a reader may let go of it in between.
        let inner = log.inner();
        assert!(inner.newest_segment() > 1);
        inner.update_set(|set| *set = set.let_go());
        finish_sealed(inner, 1).unwrap();
    }
}
