//! Snapshots: a cache that is never ahead of the events, may be lost, and gives back its room.

use std::path::Path;

use annals_engine::{Batch, Durability, Error, Log, NewEvent, Snapshot};
use annals_segments::{Disk, MemoryDisk, OpenMode};
use annals_tests::log_files::DIR;
use annals_tests::sim_disk::{SimDisk, Spared};
use annals_tests::{event, id, small_log};

fn open(disk: &MemoryDisk) -> Log {
    small_log(disk.clone(), 1).open(DIR).unwrap()
}

/// Appends `count` events of an aggregate.
fn advance(log: &Log, aggregate: &str, count: u64) {
    for _ in 0..count {
        let _ = log.append(event(aggregate, "Was", "x")).unwrap();
    }
}

fn state(version: u64) -> NewEvent {
    NewEvent::new("State", format!("state at {version}"))
}

fn put(log: &Log, aggregate: &str, version: u64) {
    log.snapshots()
        .put(id(aggregate), version, state(version))
        .unwrap();
}

fn latest(log: &Log, aggregate: &str, at_most: Option<u64>) -> Option<Snapshot> {
    log.snapshots().latest(&id(aggregate), at_most).unwrap()
}

/// The version of the latest snapshot, whose payload is the one of that version.
fn latest_version(log: &Log, aggregate: &str, at_most: Option<u64>) -> Option<u64> {
    let found = latest(log, aggregate, at_most)?;
    assert_eq!(
        found.payload,
        format!("state at {}", found.version).as_bytes()
    );
    Some(found.version)
}

/// The files of the snapshots, with their lengths.
fn files(disk: &MemoryDisk) -> Vec<(String, u64)> {
    let listed = disk
        .list(&Path::new(DIR).join("snapshots"))
        .unwrap_or_default();
    listed
        .into_iter()
        .map(|entry| (entry.name, entry.len))
        .collect()
}

#[test]
fn a_snapshot_of_a_name_is_kept_at_a_position_of_the_log() {
    let disk = MemoryDisk::default();
    let log = open(&disk);
    advance(&log, "a", 3);
    advance(&log, "b", 3);
    let snapshots = log.snapshots();
    for position in [4, 2, 6] {
        snapshots
            .put_at(id("model"), position, state(position))
            .unwrap();
    }
    let ahead = snapshots.put_at(id("model"), 7, state(7));
    assert!(
        matches!(
            ahead,
            Err(Error::SnapshotAhead {
                version: 7,
                last: Some(6),
                ..
            })
        ),
        "{ahead:?}"
    );
    let at = |name: &str, at_most| {
        let found = snapshots.latest_at(&id(name), at_most).unwrap()?;
        assert_eq!(
            found.payload,
            format!("state at {}", found.version).as_bytes()
        );
        Some(found.version)
    };
    for (at_most, expected) in [
        (None, Some(6)),
        (Some(9), Some(6)),
        (Some(5), Some(4)),
        (Some(3), Some(2)),
        (Some(1), None),
    ] {
        assert_eq!(at("model", at_most), expected);
    }
    assert_eq!(at("other", None), None);
    // No aggregate of that name, so it has no snapshots.
    assert_eq!(latest(&log, "model", None), None);
    snapshots.delete(&id("model")).unwrap();
    assert_eq!(at("model", None), None);
}

#[test]
fn what_a_snapshot_of_a_name_rests_on_is_durable() {
    let log = open(&MemoryDisk::default());
    let buffered = Batch::from(event("a", "Was", "x")).durability(Durability::Buffered);
    let _ = log.append(buffered).unwrap();
    log.snapshots().put_at(id("model"), 1, state(1)).unwrap();
    assert_eq!(log.durable_head(), 1);
}

#[test]
fn the_latest_snapshot_is_the_greatest_version_in_whatever_order_they_came() {
    let disk = MemoryDisk::default();
    let log = open(&disk);
    advance(&log, "a", 50);
    advance(&log, "b", 50);
    assert_eq!(latest(&log, "a", None), None);
    assert_eq!(files(&disk), [], "nothing is made before the first");
    for version in [20, 10, 40, 30, 5] {
        put(&log, "a", version);
        put(&log, "b", 3);
    }
    // A reader sees what a sync has covered: after a close, all of it.
    log.close().unwrap();
    let reader = small_log(disk.clone(), 2).open_read_only(DIR).unwrap();
    let log = open(&disk);
    for log in [&log, &reader] {
        let expected = [
            (None, Some(40)),
            (Some(50), Some(40)),
            (Some(40), Some(40)),
            (Some(39), Some(30)),
            (Some(29), Some(20)),
            (Some(19), Some(10)),
            (Some(9), Some(5)),
            (Some(4), None),
        ];
        for (at_most, expected) in expected {
            assert_eq!(latest_version(log, "a", at_most), expected, "{at_most:?}");
        }
        assert_eq!(latest_version(log, "b", None), Some(3));
        assert_eq!(latest(log, "never", None), None);
    }
    // Of two at one version the later counts.
    log.snapshots()
        .put(
            id("a"),
            40,
            NewEvent::new("Other", "better").metadata("user", "ann"),
        )
        .unwrap();
    let found = latest(&log, "a", None).unwrap();
    assert_eq!(
        (found.topic.as_str(), &found.payload[..]),
        ("Other", &b"better"[..])
    );
    assert_eq!(
        (found.version, found.metadata),
        (40, vec![("user".to_owned(), "ann".to_owned())])
    );
    log.snapshots().delete(&id("a")).unwrap();
    assert_eq!(latest(&log, "a", None), None);
    assert_eq!(latest_version(&log, "b", None), Some(3));
    put(&log, "a", 7);
    assert_eq!(latest_version(&log, "a", None), Some(7));
    log.close().unwrap();
    assert!(matches!(
        log.snapshots().latest(&id("a"), None),
        Err(Error::Closed)
    ));
    assert!(matches!(
        log.snapshots().put(id("a"), 1, state(1)),
        Err(Error::Closed)
    ));
    let log = open(&disk);
    assert_eq!(latest_version(&log, "a", None), Some(7));
    assert_eq!(latest_version(&log, "b", None), Some(3));
    let reader = small_log(disk, 2).open_read_only(DIR).unwrap();
    assert!(matches!(
        reader.snapshots().put(id("a"), 1, state(1)),
        Err(Error::ReadOnly { .. })
    ));
}

#[test]
fn no_snapshot_is_ahead_of_its_aggregate() {
    let disk = MemoryDisk::default();
    let log = open(&disk);
    advance(&log, "a", 3);
    let ahead = log.snapshots().put(id("a"), 4, state(4));
    assert!(
        matches!(
            ahead,
            Err(Error::SnapshotAhead {
                version: 4,
                last: Some(3),
                ..
            })
        ),
        "{ahead:?}"
    );
    let none = log.snapshots().put(id("b"), 1, state(1));
    assert!(
        matches!(none, Err(Error::SnapshotAhead { last: None, .. })),
        "{none:?}"
    );
    advance(&log, "a", 3);
    put(&log, "a", 2);
    put(&log, "a", 6);
    log.close().unwrap();
    // Snapshots beside an older copy of the log.
    let older = MemoryDisk::default();
    let log = open(&older);
    advance(&log, "a", 5);
    log.close().unwrap();
    older.create_dir(&Path::new(DIR).join("snapshots")).unwrap();
    copy_snapshots(&disk, &older);
    let log = open(&older);
    for at_most in [None, Some(6), Some(9)] {
        assert_eq!(latest_version(&log, "a", at_most), Some(2));
    }
}

fn copy_snapshots(from: &MemoryDisk, to: &MemoryDisk) {
    for (name, _) in files(from) {
        let path = Path::new(DIR).join("snapshots").join(name);
        let bytes = from
            .open(&path, OpenMode::Read)
            .unwrap()
            .read_up_to(u64::MAX)
            .unwrap();
        let file = to.open(&path, OpenMode::CreateNew).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
    }
}

#[test]
fn a_loss_of_power_takes_no_events_from_under_a_snapshot() {
    let disk = SimDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    for _ in 0..5 {
        let buffered = Batch::from(event("a", "Was", "x")).durability(Durability::Buffered);
        let _ = log.append(buffered).unwrap();
    }
    assert_eq!(log.durable_head(), 0);
    put(&log, "a", 4);
    assert!(log.durable_head() >= 4);
    // The snapshot itself may be gone: all of its files are.
    let left = open(&disk.power_cut(Spared::Nothing));
    assert_eq!(left.version(&id("a")).unwrap(), Some(5));
    assert!(matches!(latest_version(&left, "a", None), None | Some(4)));
    put(&left, "a", 5);
    assert_eq!(latest_version(&left, "a", None), Some(5));
}

#[test]
fn damaged_snapshots_are_started_anew_and_never_keep_the_log_from_opening() {
    let disk = MemoryDisk::default();
    let log = open(&disk);
    advance(&log, "a", 100);
    for version in 1..=60 {
        log.snapshots()
            .put(id("a"), version, NewEvent::new("State", vec![7; 3000]))
            .unwrap();
    }
    log.close().unwrap();
    let segments: Vec<_> = files(&disk)
        .into_iter()
        .filter(|(name, _)| name.ends_with(".seg"))
        .collect();
    assert!(segments.len() > 2);
    for (name, len) in files(&disk) {
        for offset in [0, len / 3, len / 2, len.saturating_sub(1)] {
            let disk = disk.fork();
            let path = Path::new(DIR).join("snapshots").join(&name);
            let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
            file.write_all_at(&[0x5a; 9], offset).unwrap();
            check_goes_on(&disk);
        }
        let disk = disk.fork();
        disk.remove(&Path::new(DIR).join("snapshots").join(&name))
            .unwrap();
        check_goes_on(&disk);
    }
}

/// The log opens, and so do its snapshots, whatever is left of them.
fn check_goes_on(disk: &MemoryDisk) {
    let reader = small_log(disk.clone(), 2).open_read_only(DIR).unwrap();
    assert!(latest(&reader, "a", None).is_none_or(|found| found.payload == [7; 3000]));
    let log = open(disk);
    assert_eq!(log.head(), 100);
    assert!(latest(&log, "a", None).is_none_or(|found| found.payload == [7; 3000]));
    put(&log, "a", 99);
    assert_eq!(latest_version(&log, "a", None), Some(99));
    log.close().unwrap();
    assert_eq!(latest_version(&open(disk), "a", None), Some(99));
}

#[test]
fn room_beyond_the_snapshots_kept_is_given_back() {
    let disk = MemoryDisk::default();
    let open = |kept| {
        small_log(disk.clone(), 1)
            .snapshots_kept(kept)
            .open(DIR)
            .unwrap()
    };
    let log = open(2);
    advance(&log, "a", 5000);
    advance(&log, "b", 10);
    put(&log, "b", 9);
    let total = |disk: &MemoryDisk| files(disk).iter().map(|(_, len)| len).sum::<u64>();
    let mut greatest = 0;
    for version in 1..=4000 {
        let state = NewEvent::new("State", vec![version as u8; 400]);
        log.snapshots().put(id("a"), version, state).unwrap();
        greatest = total(&disk).max(greatest);
    }
    // All of them are two megabytes.
    assert!(greatest < 1_500_000, "{greatest}");
    assert_eq!(latest_version(&log, "b", None), Some(9), "written anew");
    assert_eq!(latest(&log, "a", None).unwrap().version, 4000);
    log.close().unwrap();
    let log = open(2);
    assert_eq!(latest(&log, "a", None).unwrap().version, 4000);
    log.snapshots().prune().unwrap();
    assert!(total(&disk) < 300_000, "{}", total(&disk));
    assert_eq!(latest(&log, "a", Some(3999)).unwrap().version, 3999);
    assert_eq!(latest_version(&log, "b", None), Some(9));
    let refused = small_log(disk.clone(), 1)
        .snapshots_kept(0)
        .open_in_memory();
    assert!(matches!(refused, Err(Error::InvalidOption { .. })));
}

#[test]
fn pruning_forgets_what_was_deleted_and_keeps_all_else() {
    let disk = MemoryDisk::default();
    let log = open(&disk);
    advance(&log, "a", 100);
    advance(&log, "b", 100);
    for version in 1..=100 {
        log.snapshots()
            .put(id("a"), version, NewEvent::new("State", vec![7; 3000]))
            .unwrap();
        if version % 25 == 0 {
            put(&log, "b", version);
        }
    }
    let before = files(&disk).len();
    log.snapshots().prune().unwrap();
    assert_eq!(files(&disk).len(), before, "everything is kept by default");
    log.snapshots().delete(&id("a")).unwrap();
    log.snapshots().prune().unwrap();
    assert!(files(&disk).len() < before);
    assert_eq!(latest(&log, "a", None), None);
    for version in [25, 50, 75, 100] {
        assert_eq!(latest_version(&log, "b", Some(version)), Some(version));
    }
    log.close().unwrap();
    assert_eq!(latest(&open(&disk), "a", None), None);
}

#[test]
fn snapshots_outlive_the_events_they_stand_for() {
    let disk = MemoryDisk::default();
    let log = open(&disk);
    for _ in 0..100 {
        let _ = log.append(event("a", "Was", vec![1; 3000])).unwrap();
    }
    put(&log, "a", 100);
    let first = log.truncate_before(80).unwrap().first_position;
    assert!(first > 20);
    let found = latest_version(&log, "a", None).unwrap();
    let direction = annals_engine::Direction::Forward;
    assert_eq!(
        log.read_aggregate(&id("a"), found + 1.., direction).count(),
        0
    );
    put(&log, "a", 3);
    assert_eq!(latest_version(&log, "a", Some(90)), Some(3));
}
