//! Backups of damaged logs: what an earlier backup has brought sound is in every later one, whatever the log has lost
//! meanwhile, and what is damaged is told.
//!
//! Method: segments taken away, spoiled and put back between backups.

use std::collections::BTreeMap;
use std::path::Path;

use annals_engine::{BackupMode, BackupReport, Batch, Direction, Log, Query};
use annals_segments::{Disk, MemoryDisk, OpenMode};
use annals_tests::log_files::{DIR, SECOND_SEGMENT, exists, remove, write};
use annals_tests::{event, small_log};

const TO: &str = "/backup";
const RESTORED: &str = "/restored";

fn open(disk: &MemoryDisk, seed: u64) -> Log {
    small_log(disk.clone(), seed).open(DIR).unwrap()
}

fn fill(log: &Log, events: u64) {
    while log.head() < events {
        let number = log.head() + 1;
        let aggregate = format!("a{}", number % 5);
        let payload = format!("{number}-{}", "x".repeat(700));
        let _ = log
            .append(Batch::from(event(&aggregate, "Was", payload)))
            .unwrap();
    }
}

/// Every event; `None` where there is an error.
fn found(log: &Log) -> Vec<Option<Vec<u8>>> {
    let events = log.read(.., &Query::all(), Direction::Forward);
    events
        .map(|event| event.ok().map(|event| event.payload))
        .collect()
}

fn back_up(log: &Log, mode: BackupMode) -> BackupReport {
    log.backup(TO, mode, |_, _| {}).unwrap()
}

/// The segments of a backup.
fn kept(disk: &MemoryDisk) -> BTreeMap<String, Vec<u8>> {
    let entries = disk.list(Path::new(TO)).unwrap().into_iter();
    let entries = entries.filter(|entry| entry.name.ends_with(".seg"));
    entries
        .map(|entry| (entry.name.clone(), kept_file(disk, &entry.name)))
        .collect()
}

fn kept_file(disk: &MemoryDisk, name: &str) -> Vec<u8> {
    let file = disk.open(&Path::new(TO).join(name), OpenMode::Read);
    file.unwrap().read_up_to(u64::MAX).unwrap()
}

fn repair(disk: &MemoryDisk, seed: u64) {
    let repair = small_log(disk.clone(), seed).repair(DIR, |_, _| {});
    let _ = repair.unwrap().run().unwrap();
}

/// The events of a log that is restored from the backup.
fn restored(disk: &MemoryDisk) -> Vec<Option<Vec<u8>>> {
    let disk = disk.fork();
    let options = || small_log(disk.clone(), 21);
    let _ = options().restore(TO, RESTORED, |_, _| {}).unwrap();
    found(&options().open(RESTORED).unwrap())
}

fn put_back(disk: &MemoryDisk, name: &str, bytes: &[u8]) {
    if exists(disk, name) {
        remove(disk, name);
    }
    write(disk, name, bytes, 0);
}

#[test]
fn a_segment_that_the_log_goes_on_without_stays_in_its_backup() {
    for mode in [BackupMode::Link, BackupMode::Copy] {
        let disk = MemoryDisk::default();
        let log = open(&disk, 1);
        fill(&log, 250);
        let expected = found(&log);
        let _ = back_up(&log, mode);
        let before = kept(&disk);
        log.close().unwrap();
        drop(log);
        remove(&disk, SECOND_SEGMENT);
        repair(&disk, 2);
        let log = open(&disk, 3);
        assert!(found(&log).contains(&None));
        for _ in 0..2 {
            let report = back_up(&log, mode);
            assert_ne!(report.damages, [], "{mode:?}");
            assert_eq!(kept(&disk)[SECOND_SEGMENT], before[SECOND_SEGMENT]);
        }
        assert_eq!(restored(&disk)[..250], expected[..]);
        log.close().unwrap();
        drop(log);
        // And it can be put back.
        put_back(&disk, SECOND_SEGMENT, &before[SECOND_SEGMENT]);
        repair(&disk, 4);
        let log = open(&disk, 5);
        assert_eq!(found(&log)[..250], expected[..]);
        let verified = log.verify(|_, _| {}).unwrap();
        assert_eq!((verified.damages, verified.quarantined), (vec![], vec![]));
        assert_eq!(back_up(&log, mode).damages, []);
    }
}
