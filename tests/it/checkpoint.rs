//! Tail checkpoints: they save an open its scan, and never change an answer.

use std::path::{Path, PathBuf};

use annals_engine::{
    Batch, Direction, Durability, Error, Log, Query, QueryItem, RecordedEvent, RecoveryOutcome,
};
use annals_segments::{Disk, MemoryDisk, OpenMode};
use annals_tests::{event, id, small_log};

const DIR: &str = "/log";

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn has(disk: &MemoryDisk, name: &str) -> bool {
    disk.open(&path(name), OpenMode::Read).is_ok()
}

fn all(log: &Log) -> Vec<RecordedEvent> {
    log.read(.., &Query::all(), Direction::Forward)
        .map(Result::unwrap)
        .collect()
}

/// Appends `count` events of 1 KiB, numbered from `first`, with tracking now and then.
fn append(log: &Log, first: u64, count: u64, durability: Durability) {
    for number in first..first + count {
        let topic = format!("Topic{}", number % 3);
        let new = event(
            &format!("aggregate-{}", number % 5),
            &topic,
            vec![b'x'; 1 << 10],
        );
        let mut batch = Batch::from(new.tag(format!("tag:{}", number % 4))).durability(durability);
        if number % 4 == 0 {
            batch = batch.tracking("upstream", number + 1);
        }
        let _ = log.append(batch).unwrap();
    }
}

/// Every answer that an index gives.
fn answers(log: &Log) -> Vec<Vec<u64>> {
    let positions =
        |events: Vec<RecordedEvent>| events.iter().map(|event| event.position).collect();
    let mut found = vec![positions(all(log))];
    for number in 0..5 {
        let events =
            log.read_aggregate(&id(&format!("aggregate-{number}")), .., Direction::Backward);
        found.push(positions(events.map(Result::unwrap).collect()));
        let by_tag = Query::all().or(QueryItem::new().tag(format!("tag:{number}")));
        let by_topic = Query::all().or(QueryItem::new().topic(format!("Topic{number}")));
        for query in [by_tag, by_topic] {
            let events = log.read(.., &query, Direction::Forward);
            found.push(positions(events.map(Result::unwrap).collect()));
        }
    }
    for event in all(log) {
        assert_eq!(
            log.get(event.event_id).unwrap().map(|found| found.position),
            Some(event.position)
        );
    }
    found
}

/// A log whose only segment is closed, 30 events of it behind a checkpoint that was written under way.
fn closed() -> (MemoryDisk, Vec<Vec<u64>>) {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    append(&log, 0, 30, Durability::Sync);
    let found = answers(&log);
    log.close().unwrap();
    (disk, found)
}

#[test]
fn an_open_after_a_close_reads_no_event() {
    let (disk, found) = closed();
    assert!(has(&disk, "0000000001.tail"));
    let log = small_log(disk.clone(), 2).open(DIR).unwrap();
    assert_eq!(log.recovery().outcome, RecoveryOutcome::Clean);
    assert!(
        log.recovery().scanned_bytes < 1 << 10,
        "{:?}",
        log.recovery()
    );
    assert_eq!(answers(&log), found);
    assert_eq!(log.tracking("upstream"), Some(29));
    // And it goes on behind it: in the same segment, and over the roll.
    append(&log, 30, 60, Durability::Sync);
    let found = answers(&log);
    assert!(has(&disk, "0000000001.idx") && !has(&disk, "0000000001.tail"));
    log.close().unwrap();
    let again = small_log(disk, 3).open(DIR).unwrap();
    assert_eq!(answers(&again), found);
    assert!(again.verify(|_, _| {}).unwrap().damages.is_empty());
}

#[test]
fn an_open_after_a_kill_reads_what_lies_behind_the_last_checkpoint() {
    for durability in [Durability::Sync, Durability::Buffered] {
        let disk = MemoryDisk::default();
        let log = small_log(disk.clone(), 1).open(DIR).unwrap();
        append(&log, 0, 45, durability);
        let left = disk.fork();
        log.sync().unwrap();
        let found = answers(&log);
        assert!(has(&left, "0000000001.tail"), "{durability:?}");
        let without = left.fork();
        without.remove(&path("0000000001.tail")).unwrap();
        let [read, read_all] = [left, without].map(|disk| {
            let log = small_log(disk, 2).open(DIR).unwrap();
            assert_eq!(log.recovery().outcome, RecoveryOutcome::Recovered);
            assert_eq!(answers(&log), found);
            assert_eq!(log.tracking("upstream"), Some(45));
            assert!(log.verify(|_, _| {}).unwrap().damages.is_empty());
            log.recovery().scanned_bytes
        });
        assert!(
            read < 25 << 10,
            "{durability:?}: {read} of {read_all} bytes"
        );
        assert!(read_all > 45 << 10);
    }
}

#[test]
fn a_checkpoint_that_is_not_sound_is_not_believed() {
    let (disk, found) = closed();
    let checkpoint = path("0000000001.tail");
    let bytes = disk
        .open(&checkpoint, OpenMode::Read)
        .and_then(|file| file.read_all(1 << 20))
        .unwrap();
    let rewrite = |bytes: &[u8]| {
        let disk = disk.fork();
        disk.remove(&checkpoint).unwrap();
        let file = disk.open(&checkpoint, OpenMode::CreateNew).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        disk
    };
    let mut spoiled: Vec<Vec<u8>> = vec![Vec::new(), vec![0; bytes.len()]];
    for place in (0..bytes.len()).step_by(7) {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1 << (place % 8);
        spoiled.push(bytes);
    }
    spoiled.push(bytes[..bytes.len() / 2].to_vec());
    for bytes in spoiled {
        let log = small_log(rewrite(&bytes), 2).open(DIR).unwrap();
        assert!(log.recovery().scanned_bytes > 30 << 10);
        assert_eq!(answers(&log), found);
    }
}

#[test]
fn a_checkpoint_of_another_segment_is_not_believed() {
    let (disk, found) = closed();
    let (other, _) = {
        let disk = MemoryDisk::default();
        let log = small_log(disk.clone(), 77).open(DIR).unwrap();
        append(&log, 0, 30, Durability::Sync);
        log.close().unwrap();
        (disk, ())
    };
    let checkpoint = path("0000000001.tail");
    let bytes = other
        .open(&checkpoint, OpenMode::Read)
        .and_then(|file| file.read_all(1 << 20))
        .unwrap();
    disk.remove(&checkpoint).unwrap();
    let file = disk.open(&checkpoint, OpenMode::CreateNew).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    let log = small_log(disk, 2).open(DIR).unwrap();
    assert!(log.recovery().scanned_bytes > 30 << 10);
    assert_eq!(answers(&log), found);
}

#[test]
fn events_that_the_disk_has_lost_are_not_believed_to_a_checkpoint() {
    // Buffered events, a checkpoint of them on the disk, and then a loss of power that took the events.
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    append(&log, 0, 3, Durability::Sync);
    let before = disk.fork();
    append(&log, 3, 30, Durability::Sync);
    let checkpoint = path("0000000001.tail");
    let bytes = disk
        .open(&checkpoint, OpenMode::Read)
        .and_then(|file| file.read_all(1 << 20))
        .unwrap();
    let file = before.open(&checkpoint, OpenMode::CreateNew).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    let log = small_log(before, 2).open(DIR).unwrap();
    assert_eq!((log.head(), all(&log).len()), (3, 3));
    append(&log, 3, 5, Durability::Sync);
    assert_eq!(answers(&log)[0], (1..=8).collect::<Vec<_>>());
}

#[test]
fn damage_behind_a_checkpoint_is_told_in_its_place() {
    let (disk, _) = closed();
    let segment = disk
        .open(&path("0000000001.seg"), OpenMode::ReadWrite)
        .unwrap();
    let bytes = segment.read_all(1 << 20).unwrap();
    let spoiled = bytes
        .windows(8)
        .position(|window| window == [b'x'; 8])
        .unwrap() as u64
        + 5000;
    segment.write_all_at(b"y", spoiled).unwrap();
    let log = small_log(disk, 2).open(DIR).unwrap();
    let read: Vec<_> = log.read(.., &Query::all(), Direction::Forward).collect();
    assert_eq!(read.iter().filter(|event| event.is_ok()).count(), 29);
    let error = read.into_iter().find_map(Result::err).unwrap();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert_eq!(log.verify(|_, _| {}).unwrap().damages.len(), 1);
    // It is no reason to stop: what is appended is safe.
    append(&log, 30, 2, Durability::Sync);
    assert_eq!(log.head(), 32);
}

#[test]
fn a_time_leads_to_an_event_before_a_checkpoint_that_nothing_proven_follows() {
    let (disk, _) = closed();
    let log = small_log(disk.clone(), 2).open(DIR).unwrap();
    append(&log, 30, 1, Durability::Buffered);
    // Killed: the event behind the checkpoint is written anew, and the segment is sealed before it.
    let log = small_log(disk.fork(), 3).open(DIR).unwrap();
    assert_eq!(log.recovery().rewritten_events, 1);
    let events = all(&log);
    for event in &events {
        let first = events.iter().find(|other| other.time() >= event.time());
        assert_eq!(
            log.view().position_at(event.time()).unwrap(),
            first.map(|first| first.position)
        );
    }
}
