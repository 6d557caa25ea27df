//! What a follower holds, seen from inside; what it shows stands in the tests of the promises.

use annals_segments::MemoryDisk;

use super::*;
use crate::{AggregateId, Direction, Log, NewEvent, Query};

fn options(disk: &MemoryDisk) -> crate::LogOptions {
    let options = Log::options().segment_len(64 << 10).background(false);
    options.disk(disk.clone())
}

fn append(log: &Log, count: usize) {
    for _ in 0..count {
        let _ = log.append(NewEvent::new("Was", vec![1; 3000])).unwrap();
    }
}

/// Segments of a log, and how many of them have their index in memory.
fn indexes(log: &Log) -> (usize, usize) {
    let set = log.inner().set();
    let in_memory = set
        .segments
        .iter()
        .filter(|segment| segment.has_index_in_memory());
    (set.segments.len(), in_memory.count())
}

#[test]
fn memory_is_bounded_by_the_tail() {
    for commits_a_look in [1, 7, 100] {
        let disk = MemoryDisk::default();
        let log = options(&disk).open("/log").unwrap();
        let follower = options(&disk).open_read_only("/log").unwrap();
        for _ in 0..400 / commits_a_look {
            append(&log, commits_a_look);
            assert_eq!(follower.refresh().unwrap(), log.head());
            let read = follower.read(.., &Query::all(), Direction::Forward);
            assert_eq!(read.map(Result::unwrap).count() as u64, log.head());
            let (_, in_memory) = indexes(&follower);
            assert!(in_memory <= 1, "{in_memory} indexes in memory");
        }
        let (segments, _) = indexes(&follower);
        assert!(segments > 15, "only {segments} segments");
        let covers = |log: &Log| log.inner().set().heads().map(|heads| heads.covers());
        assert!(covers(&follower).is_some());
        assert_eq!(covers(&follower), covers(&log));
    }
}

#[test]
fn an_index_file_that_comes_late_is_adopted() {
    let disk = MemoryDisk::default();
    let log = options(&disk).open("/log").unwrap();
    let follower = options(&disk).open_read_only("/log").unwrap();
    append(&log, 30);
    let path = std::path::Path::new("/log/0000000001.idx");
    let later = std::path::Path::new("/log/later");
    let disk: &dyn annals_segments::Disk = &disk;
    disk.rename(path, later).unwrap();
    assert_eq!(follower.refresh().unwrap(), 30);
    let read = follower.read(.., &Query::all(), Direction::Forward);
    assert_eq!(read.map(Result::unwrap).count(), 30);
    assert_eq!(indexes(&follower), (2, 2));
    assert_eq!(follower.refresh().unwrap(), 30);
    assert_eq!(indexes(&follower), (2, 2));
    disk.rename(later, path).unwrap();
    assert_eq!(follower.refresh().unwrap(), 30);
    assert_eq!(indexes(&follower), (2, 1));
}

/// Drops the first `count` segments that the manifest names, and answers the first position left. When the
/// files stay, it is as if their removal was cut short.
fn truncate(disk: &MemoryDisk, log: &Log, count: usize, removes_files: bool) -> u64 {
    use annals_segments::{Disk, OpenMode};
    let mut dropped = log.inner().manifest.lock().segments.clone();
    dropped.truncate(count);
    let paths = dropped
        .iter()
        .map(|entry| log.inner().directory.segment(entry.number));
    let files: Vec<_> = paths
        .map(|path| {
            let file = disk.open(&path, OpenMode::Read).unwrap();
            (path, file.read_all(u64::MAX).unwrap())
        })
        .collect();
    let first = dropped[count - 1].next_position();
    let truncated = log.truncate_before(first).unwrap();
    assert_eq!(
        (truncated.segments, log.first_position()),
        (count as u64, first)
    );
    for (path, bytes) in files.iter().filter(|_| !removes_files) {
        let file = disk.open(path, OpenMode::CreateNew).unwrap();
        file.write_all_at(bytes, 0).unwrap();
    }
    first
}

#[test]
fn segments_that_are_dropped_go_from_a_follower_too() {
    for removes_files in [false, true] {
        let disk = MemoryDisk::default();
        let log = options(&disk).open("/log").unwrap();
        let follower = options(&disk).open_read_only("/log").unwrap();
        // One that sees none of the segments before they are gone.
        let late = options(&disk).open_read_only("/log").unwrap();
        let old = AggregateId::text("old").unwrap();
        let _ = log
            .append(NewEvent::new("Was", "x").aggregate(old.clone()))
            .unwrap();
        append(&log, 99);
        assert_eq!(follower.refresh().unwrap(), 100);
        let view = follower.view();
        let first = view.read(1..2, &Query::all(), Direction::Forward);
        assert_eq!(first.map(Result::unwrap).count(), 1);
        let named = log.inner().manifest.lock().segments.len();
        for count in [2, named - 2] {
            let first = truncate(&disk, &log, count, removes_files);
            for follower in [&follower, &late] {
                assert_eq!(follower.refresh().unwrap(), log.head());
                assert_eq!(follower.first_position(), first);
                let read = follower.read(first.., &Query::all(), Direction::Forward);
                let positions = read.map(|event| event.unwrap().position);
                assert!(positions.eq(first..=log.head()));
                let mut missing = follower.read(first - 1.., &Query::all(), Direction::Forward);
                let missing = missing.next().unwrap().unwrap_err();
                assert!(matches!(missing, Error::Expired { first: told } if told == first));
                assert_eq!(follower.version(&old).unwrap(), Some(1), "of the table");
            }
            append(&log, 1);
            assert_eq!(follower.refresh().unwrap(), log.head());
        }
        let first = view.read(1..2, &Query::all(), Direction::Forward);
        assert_eq!(first.map(Result::unwrap).count(), 1, "a view pins");
        // All that it has seen is gone.
        let behind = options(&disk).open_read_only("/log").unwrap();
        let mut subscription = behind.subscribe(behind.head(), Query::all());
        append(&log, 60);
        let named = log.inner().manifest.lock().segments.len();
        let first = truncate(&disk, &log, named, removes_files);
        assert_eq!(behind.refresh().unwrap(), log.head());
        assert_eq!(behind.first_position(), first);
        let missed = subscription.next_timeout(Duration::ZERO).unwrap();
        assert!(matches!(missed, Err(Error::Expired { first: told }) if told == first));
        assert_eq!(behind.version(&old).unwrap(), Some(1));
    }
}

#[test]
fn named_followers_are_followed() {
    let disk = MemoryDisk::default();
    let log = options(&disk).open("/log").unwrap();
    append(&log, 3);
    let follower = options(&disk).open_read_only("/log").unwrap();
    log.set_follower("mirror", 2).unwrap();
    let _ = follower.refresh().unwrap();
    assert_eq!(follower.followers(), [("mirror".to_owned(), 2)]);
    log.set_follower("mirror", 3).unwrap();
    let _ = follower.refresh().unwrap();
    assert_eq!(follower.followers(), [("mirror".to_owned(), 3)]);
}

#[test]
fn a_table_that_cannot_be_read_hides_no_event() {
    use annals_segments::{Disk, OpenMode};
    let disk = MemoryDisk::default();
    let log = options(&disk).open("/log").unwrap();
    let follower = options(&disk).open_read_only("/log").unwrap();
    append(&log, 100);
    let first = truncate(&disk, &log, 3, true);
    let path = annals_segments::format::versions_file_name(first);
    let path = log.inner().directory.file(&path);
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    file.write_all_at(&[0xff; 40], 0).unwrap();
    assert_eq!(follower.refresh().unwrap(), log.head());
    let read = follower.read(first.., &Query::all(), Direction::Forward);
    assert_eq!(
        read.map(Result::unwrap).count() as u64,
        log.head() + 1 - first
    );
    let unknown = follower.version(&AggregateId::text("old").unwrap());
    assert!(unknown.unwrap_err().is_corrupt());
    // With the next one all is well again.
    let _ = truncate(&disk, &log, 1, true);
    assert_eq!(follower.refresh().unwrap(), log.head());
    let unknown = follower.version(&AggregateId::text("old").unwrap());
    assert_eq!(unknown.unwrap(), None);
}

#[test]
fn a_panic_of_the_thread_is_told() {
    let disk = MemoryDisk::default();
    let log = options(&disk).open("/log").unwrap();
    let follower = options(&disk).open_read_only("/log").unwrap();
    let mut subscription = follower.subscribe(0, Query::all());
    std::thread::scope(|scope| {
        let panics = scope.spawn(|| {
            let _guard = FailOnPanic(follower.inner());
            panic!("as a bug of ours would");
        });
        assert!(panics.join().is_err());
    });
    let told = subscription.next_timeout(Duration::ZERO).unwrap();
    assert!(matches!(told, Err(Error::Io { .. })), "{told:?}");
    drop(log);
}
