//! Random schedules of a whole log on a disk in memory: with shuttle, which also knows where bugs like to hide.
//!
//! Each run opens a log, has threads append, sync, follow, submit and close, and checks what they were told. Syncs
//! and writes give others a turn, so that what overlaps on a real disk overlaps here.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals_segments::sync::thread;
use annals_segments::{
    Clock, DirEntry, Disk, DiskFile, DiskLock, Mapping, MemoryDisk, OpenMode, Random,
};

use crate::{
    AggregateId, Appended, Batch, Direction, Durability, Error, Expected, Log, NewEvent, Query,
};

/// Runs a scenario in as many schedules as `ANNALS_SCHEDULES` says, half of them random, half by priorities that
/// change at few places.
/// Source: Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010.
fn check(scenario: fn()) {
    let schedules = std::env::var("ANNALS_SCHEDULES").ok();
    let schedules = schedules.map_or(500, |count| count.parse().expect("a number of schedules"));
    let config = || {
        let mut config = shuttle::Config::new();
        config.stack_size = 1 << 20;
        config
    };
    let random = shuttle::scheduler::RandomScheduler::new(schedules / 2);
    shuttle::Runner::new(random, config()).run(scenario);
    let priorities = shuttle::scheduler::PctScheduler::new(3, schedules / 2);
    shuttle::Runner::new(priorities, config()).run(scenario);
}

#[test]
fn appends_syncs_and_followers_agree() {
    check(|| {
        let log = open(&MemoryDisk::default());
        let follower = {
            let log = log.clone();
            thread::spawn(move || {
                let mut seen = 0;
                for event in log.subscribe(0, Query::all()).take(6) {
                    let position = event.unwrap().position;
                    assert_eq!(position, seen + 1);
                    assert!(log.durable_head() >= position, "{position} is not durable");
                    seen = position;
                }
            })
        };
        let appenders: Vec<_> = (0..3)
            .map(|number| {
                let log = log.clone();
                thread::spawn(move || {
                    let first = append(&log, number, Durability::Sync);
                    assert!(log.durable_head() >= first.last);
                    let second = append(&log, number, Durability::Buffered);
                    assert!(second.first > first.last);
                    read_back(&log, &[first, second]);
                    [first.first, second.first]
                })
            })
            .collect();
        let syncing = {
            let log = log.clone();
            thread::spawn(move || log.inner().sync_behind().unwrap())
        };
        let joined = appenders
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        let mut positions: Vec<u64> = joined.collect();
        syncing.join().unwrap();
        assert_eq!(log.sync().unwrap(), 6);
        follower.join().unwrap();
        positions.sort_unstable();
        assert_eq!(positions, [1, 2, 3, 4, 5, 6]);
    });
}

#[test]
fn one_of_those_who_expect_the_same_version_gets_it() {
    check(|| {
        let log = open(&MemoryDisk::default());
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let log = log.clone();
                thread::spawn(move || {
                    let batch = Batch::from(event(7)).expect(id(7), Expected::NoEvents);
                    match log.append(batch) {
                        Ok(_) => 1,
                        Err(Error::VersionConflict { found, .. }) => {
                            // A rejection rests on what is durable.
                            assert_eq!((found, log.durable_head()), (Some(1), 1));
                            0
                        }
                        Err(error) => panic!("{error}"),
                    }
                })
            })
            .collect();
        let accepted: u32 = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        assert_eq!((accepted, log.head()), (1, 1));
    });
}

#[test]
fn every_ticket_gets_an_outcome_although_the_log_is_closed() {
    check(|| {
        let disk = MemoryDisk::default();
        let log = open(&disk);
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut threads: Vec<_> = (0..2)
            .map(|number| {
                let (log, acknowledged) = (log.clone(), acknowledged.clone());
                thread::spawn(move || {
                    for _ in 0..2 {
                        match log.submit(event(number)).and_then(crate::Ticket::wait) {
                            Ok(_) => drop(acknowledged.fetch_add(1, Ordering::SeqCst)),
                            Err(Error::Closed) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        let (appending, counted) = (log.clone(), acknowledged.clone());
        threads.push(thread::spawn(move || match appending.append(event(9)) {
            Ok(_) => drop(counted.fetch_add(1, Ordering::SeqCst)),
            Err(Error::Closed) => {}
            Err(error) => panic!("{error}"),
        }));
        log.close().unwrap();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        drop(log);
        let again = open(&disk);
        assert_eq!(again.head(), acknowledged.load(Ordering::SeqCst));
    });
}

#[test]
fn a_failed_sync_ends_all_acknowledgements() {
    check(|| {
        let disk = YieldingDisk {
            memory: MemoryDisk::default(),
            syncs_left: Arc::new(AtomicU64::new(u64::MAX)),
        };
        let log = options().disk(disk.clone()).open("/log").unwrap();
        disk.syncs_left.store(1, Ordering::SeqCst);
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let log = log.clone();
                thread::spawn(move || {
                    let mut has_failed = false;
                    for _ in 0..2 {
                        match log.append(event(number)) {
                            Ok(_) => assert!(!has_failed, "acknowledged after a failure"),
                            Err(Error::Indeterminate { .. } | Error::Poisoned { .. }) => {
                                has_failed = true;
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        let durable = log.durable_head();
        let read = log.read(.., &Query::all(), Direction::Forward);
        assert_eq!(read.map(Result::unwrap).count() as u64, durable);
        assert!(matches!(log.append(event(1)), Err(Error::Poisoned { .. })));
    });
}

fn options() -> crate::LogOptions {
    Log::options()
        .segment_len(64 << 10)
        .background(false)
        .clock(Ticks::default())
        .random(Ticks::default())
}

fn open(memory: &MemoryDisk) -> Log {
    let disk = YieldingDisk {
        memory: memory.clone(),
        syncs_left: Arc::new(AtomicU64::new(u64::MAX)),
    };
    options().disk(disk).open("/log").unwrap()
}

fn id(number: u64) -> AggregateId {
    AggregateId::text(format!("aggregate-{number}")).unwrap()
}

fn event(number: u64) -> NewEvent {
    NewEvent::new("Happened", "x").aggregate(id(number))
}

fn append(log: &Log, number: u64, durability: Durability) -> Appended {
    log.append(Batch::from(event(number)).durability(durability))
        .unwrap()
}

/// Whoever appended sees it at once, as the aggregate has it.
fn read_back(log: &Log, appended: &[Appended]) {
    for appended in appended {
        let view = log.view();
        let position = appended.first;
        let is_there = position > view.durable_head()
            || view
                .read(position..=position, &Query::all(), Direction::Forward)
                .all(|event| event.is_ok_and(|event| event.position() == position));
        assert!(is_there, "{position}");
    }
}

/// Time and randomness that are the same in every run.
#[derive(Debug, Default)]
struct Ticks(AtomicU64);

impl Clock for Ticks {
    fn now_us(&self) -> u64 {
        1_700_000_000_000_000 + self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn monotonic_ns(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Random for Ticks {
    fn fill(&self, bytes: &mut [u8]) {
        let mixed = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = mixed
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(place as u32) as u8;
        }
    }
}

/// A disk in memory that gives others a turn in the midst of writes and syncs.
#[derive(Clone, Debug)]
struct YieldingDisk {
    memory: MemoryDisk,
    /// Syncs that succeed before all fail.
    syncs_left: Arc<AtomicU64>,
}

#[derive(Debug)]
struct YieldingFile {
    file: Arc<dyn DiskFile>,
    syncs_left: Arc<AtomicU64>,
}

impl Disk for YieldingDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(YieldingFile {
            file: self.memory.open(path, mode)?,
            syncs_left: self.syncs_left.clone(),
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.memory.create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.memory.sync_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.memory.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.memory.remove(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.memory.list(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.memory.try_lock(path)
    }
}

impl DiskFile for YieldingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        thread::yield_now();
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        thread::yield_now();
        let left = self.syncs_left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::other("no more syncs"));
        }
        if left < u64::MAX {
            self.syncs_left.store(left - 1, Ordering::Relaxed);
        }
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
        self.file.map(len)
    }
}
