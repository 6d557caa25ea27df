//! What others do to the same directory and at the same time: readers beside a writer, views that outlive
//! their log, threads that meet on one file, files that are not ours.
//!
//! What would kill the process, or counts what the whole process holds, runs in a child: the test binary
//! executes itself with one ignored test and a directory in the environment.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use annals_engine::{Batch, Direction, Durability, Error, Log, Query, RecoveryOutcome};
use annals_segments::{DirEntry, Disk, DiskFile, DiskLock, Mapping, OpenMode, RealDisk};
use annals_tests::log_files::{DIR, exists};
use annals_tests::sim_disk::{SimDisk, Step};
use annals_tests::{event, id, small_log};

fn buffered(len: usize) -> Batch {
    Batch::from(event("a", "Was", vec![1; len])).durability(Durability::Buffered)
}

fn append(log: &Log, count: usize) {
    for _ in 0..count {
        let _ = log.append(event("a", "Was", vec![1; 3000])).unwrap();
    }
}

fn new_disk() -> SimDisk {
    SimDisk::default()
}

/// Has `then` done once, before the first step that `is_it`.
fn once_before(
    disk: &SimDisk,
    is_it: impl Fn(Step, &Path) -> bool + Send + Sync + 'static,
    then: impl Fn() + Send + Sync + 'static,
) {
    let is_done = AtomicBool::new(false);
    disk.set_hook(move |step, path| {
        if is_it(step, path) && !is_done.swap(true, Ordering::SeqCst) {
            then();
        }
        Ok(())
    });
}

#[test]
fn a_reader_that_opens_while_a_writer_rolls_sees_no_damage() {
    // The writer goes on between any two looks of the reader: a little, or over several segments.
    let is_manifest = |path: &Path| path.to_string_lossy().contains("MANIFEST");
    for count in [3, 40] {
        for step in [Step::List, Step::OpenToRead] {
            let disk = new_disk();
            let log = small_log(disk.memory.clone(), 1).open(DIR).unwrap();
            append(&log, 18);
            let writer = log.clone();
            once_before(
                &disk,
                move |found, path| found == step && (step == Step::List || is_manifest(path)),
                move || append(&writer, count),
            );
            let reader = small_log(disk.clone(), 2).open_read_only(DIR).unwrap();
            assert_eq!(reader.recovery().outcome, RecoveryOutcome::InUse);
            assert_eq!(reader.recovery().damages, []);
            let read = reader.read(.., &Query::all(), Direction::Forward);
            let read = read.map(Result::unwrap).count() as u64;
            assert_eq!(read, reader.head(), "{step:?}, {count} more");
            assert!(read >= 18, "{read} events");
        }
    }
}

#[test]
fn no_job_is_under_way_once_close_has_returned() {
    let disk = new_disk();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    append(&log, 18);
    let (is_inside, may_go) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (inside, go) = (is_inside.clone(), may_go.clone());
    disk.set_hook(move |step, path| {
        let is_manifest = path.to_string_lossy().contains("MANIFEST");
        let is_appender = std::thread::current().name() == Some("appender");
        if step == Step::OpenToWrite && is_manifest && is_appender {
            inside.store(true, Ordering::SeqCst);
            wait_until(|| go.load(Ordering::SeqCst));
        }
        Ok(())
    });
    let appending = log.clone();
    let appender = std::thread::Builder::new().name("appender".into());
    let appender = appender
        .spawn(move || while appending.append(event("a", "Was", vec![1; 3000])).is_ok() {})
        .unwrap();
    wait_until(|| is_inside.load(Ordering::SeqCst));
    let (sender, closed) = mpsc::channel();
    let closing = log.clone();
    let closer = std::thread::spawn(move || sender.send(closing.close()).unwrap());
    let early = closed.recv_timeout(Duration::from_millis(300));
    let other = small_log(disk.clone(), 2).open(DIR);
    may_go.store(true, Ordering::SeqCst);
    appender.join().unwrap();
    closer.join().unwrap();
    assert!(early.is_err(), "closed under a job: {early:?}");
    assert!(matches!(other, Err(Error::Locked { .. })), "{other:?}");
    closed.recv().unwrap().unwrap();
}

#[test]
fn a_leader_and_the_housekeeper_do_not_prepare_the_same_segment() {
    let disk = new_disk();
    let log = small_log(disk.clone(), 1)
        .background(true)
        .buffered_sync_after(Duration::from_millis(1))
        .open(DIR)
        .unwrap();
    let is_leading = Arc::new(AtomicBool::new(false));
    let memory = disk.memory.clone();
    disk.set_hook(move |step, path| {
        let is_housekeeper = std::thread::current().name() == Some("annals");
        if is_housekeeper && step == Step::Rename {
            // Late with its work, so that the leader has to prepare the next segment alone.
            wait_a_while_for(|| is_leading.load(Ordering::SeqCst));
        }
        if !is_housekeeper && step == Step::Create && path.ends_with("0000000003.seg") {
            is_leading.store(true, Ordering::SeqCst);
            wait_a_while_for(|| exists(&memory, "0000000003.seg"));
        }
        Ok(())
    });
    append(&log, 60);
    log.close().unwrap();
    assert_eq!(log.head(), 60);
}

#[test]
fn a_segment_is_named_in_the_manifest_although_an_index_is_being_written() {
    let disk = new_disk();
    let log = small_log(disk.clone(), 1)
        .background(true)
        .open(DIR)
        .unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let until_over = is_over.clone();
    disk.set_hook(move |step, _| {
        // Which the index of the first segment takes long enough for.
        if std::thread::current().name() == Some("annals") && step == Step::Rename {
            wait_until(|| until_over.load(Ordering::SeqCst));
        }
        Ok(())
    });
    append(&log, 90);
    wait_a_while_for(|| {
        let left = small_log(disk.memory.fork(), 2).open(DIR).unwrap();
        left.recovery().scanned_bytes < 64 << 10
    });
    let left = small_log(disk.memory.fork(), 2).open(DIR).unwrap();
    assert!(
        left.recovery().scanned_bytes < 64 << 10,
        "{:?}",
        left.recovery()
    );
    assert_eq!(left.head(), 90);
    is_over.store(true, Ordering::SeqCst);
    log.close().unwrap();
}

#[test]
fn a_file_of_somebody_else_is_left_alone() {
    for is_log in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        if is_log {
            Log::open(dir.path()).unwrap().close().unwrap();
        }
        let thesis = dir.path().join("thesis.tmp");
        fs::write(&thesis, "mine").unwrap();
        assert_eq!(Log::open(dir.path()).is_ok(), is_log);
        assert_eq!(fs::read(&thesis).unwrap(), b"mine");
    }
}

#[test]
fn a_view_of_a_poisoned_log_outlives_the_recovery_of_the_next_open() {
    in_child("two_processes::child_reads_a_view_of_a_poisoned_log");
}

/// Not a test: see the one above.
#[test]
#[ignore = "a child process of a_view_of_a_poisoned_log_outlives_the_recovery_of_the_next_open"]
fn child_reads_a_view_of_a_poisoned_log() {
    let Some(dir) = child_dir() else { return };
    let fails = Arc::new(AtomicBool::new(false));
    let log = Log::options()
        .segment_len(1 << 20)
        .background(false)
        .disk(FailingSyncs(fails.clone()))
        .open(&dir)
        .unwrap();
    append(&log, 1);
    for _ in 0..10 {
        let _ = log.append(buffered(5000)).unwrap();
    }
    let view = log.view();
    fails.store(true, Ordering::SeqCst);
    assert!(log.sync().is_err());
    drop(log);
    fails.store(false, Ordering::SeqCst);
    let log = Log::options().background(false).open(&dir).unwrap();
    append(&log, 1);
    let read = view.read_aggregate(&id("a"), .., Direction::Forward);
    assert_eq!(read.map(Result::unwrap).count(), 11);
}

#[test]
fn a_reader_outlives_the_recovery_by_a_writer() {
    in_child("two_processes::child_reads_across_a_recovery");
}

/// Not a test: see the one above.
#[test]
#[ignore = "a child process of a_reader_outlives_the_recovery_by_a_writer"]
fn child_reads_across_a_recovery() {
    let Some(dir) = child_dir() else { return };
    let log = Log::options().segment_len(1 << 20).background(false);
    let log = log.open(dir.join("killed")).unwrap();
    append(&log, 1);
    for _ in 0..10 {
        let _ = log.append(buffered(5000)).unwrap();
    }
    // What a kill at this instant would leave.
    let left = dir.join("left");
    fs::create_dir(&left).unwrap();
    for entry in fs::read_dir(log.dir()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), left.join(entry.file_name())).unwrap();
    }
    let reader = Log::open_read_only(&left).unwrap();
    assert_eq!(reader.recovery().outcome, RecoveryOutcome::NeedsRecovery);
    let view = reader.view();
    let writer = Log::options().background(false).open(&left).unwrap();
    assert_eq!(writer.head(), 11);
    append(&writer, 1);
    let read = view.read(.., &Query::all(), Direction::Forward);
    assert_eq!(read.map(Result::unwrap).count() as u64, view.head());
    assert_eq!(reader.verify(|_, _| {}).unwrap().damages, []);
}

#[test]
#[cfg(target_os = "linux")]
fn a_reader_of_many_segments_keeps_few_files_open() {
    in_child("two_processes::child_counts_open_files");
}

/// Not a test: see the one above.
#[test]
#[cfg(target_os = "linux")]
#[ignore = "a child process of a_reader_of_many_segments_keeps_few_files_open"]
fn child_counts_open_files() {
    let Some(dir) = child_dir() else { return };
    let log = Log::options().segment_len(64 << 10).open(&dir).unwrap();
    for _ in 0..19 * 60 {
        let _ = log.append(buffered(3000)).unwrap();
    }
    log.close().unwrap();
    drop(log);
    let open_files = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open_files();
    let log = Log::open_read_only(&dir).unwrap();
    let read = log.read(.., &Query::all(), Direction::Forward);
    assert_eq!(read.map(Result::unwrap).count(), 19 * 60);
    let more = open_files() - before;
    assert!(
        more < 10,
        "{more} more files open after reading 60 segments"
    );
}

/// Runs one ignored test, named with its module, in a process and a directory of its own.
#[track_caller]
pub(super) fn in_child(test: &str) {
    let dir = tempfile::tempdir().unwrap();
    let run = run_child(test, dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{}: {text}", run.status);
    assert!(text.contains("1 passed"), "no such test: {text}");
}

/// The process that runs one ignored test in `dir`, not started yet.
pub(super) fn run_child(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env(CHILD_DIR, dir);
    command
}

pub(super) fn child_dir() -> Option<PathBuf> {
    std::env::var_os(CHILD_DIR).map(PathBuf::from)
}

fn wait_until(is_so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// For what a sound log never does: then going on is right.
fn wait_a_while_for(is_so: impl Fn() -> bool) {
    for _ in 0..200 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The real disk, whose syncs fail while the flag is up.
#[derive(Clone, Debug)]
struct FailingSyncs(Arc<AtomicBool>);

#[derive(Debug)]
struct FailingSyncsFile {
    file: Arc<dyn DiskFile>,
    fails: Arc<AtomicBool>,
}

impl Disk for FailingSyncs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FailingSyncsFile {
            file: RealDisk.open(path, mode)?,
            fails: self.0.clone(),
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        RealDisk.list(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        RealDisk.try_lock(path)
    }
}

impl DiskFile for FailingSyncsFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::Other.into()),
            false => self.file.sync_data(),
        }
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
        self.file.map(len)
    }
}

const CHILD_DIR: &str = "ANNALS_TEST_CHILD_DIR";
