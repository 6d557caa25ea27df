//! What the disk refuses: a typed error each, nothing acknowledged is lost, and it is said what to do.

use std::io::ErrorKind;
use std::path::Path;

use annals_engine::{Batch, Direction, Durability, Error, Log, Query};
use annals_segments::Disk;
use annals_tests::sim_disk::{SimDisk, Step};
use annals_tests::{event, small_log};

const DIR: &str = "/log";

fn segment_files(disk: &SimDisk) -> usize {
    let names = disk.list(Path::new(DIR)).unwrap();
    names
        .iter()
        .filter(|entry| entry.name.ends_with(".seg"))
        .count()
}

fn append_until_error(log: &Log) -> (u64, Error) {
    loop {
        let before = log.head();
        if let Err(error) = log.append(event("a", "Was", vec![b'x'; 1000])) {
            return (before, error);
        }
    }
}

#[test]
fn a_full_disk_refuses_the_first_segment_and_leaves_nothing_behind() {
    let disk = SimDisk::default();
    disk.fail(Step::Allocate, ErrorKind::StorageFull);
    let refused = small_log(disk.clone(), 1).open(DIR).unwrap_err();
    assert!(
        matches!(refused, Error::Full { needed: 65536, .. }),
        "{refused}"
    );
    assert_eq!(segment_files(&disk), 0);
    disk.heal();
    assert_eq!(small_log(disk, 2).open(DIR).unwrap().head(), 0);
}

#[test]
fn a_full_disk_at_the_roll_writes_nothing_and_appending_works_again_with_room() {
    let disk = SimDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    disk.fail(Step::Allocate, ErrorKind::StorageFull);
    let (head, refused) = append_until_error(&log);
    assert!(matches!(refused, Error::Full { .. }), "{refused}");
    assert!(
        refused.to_string().ends_with("free some and append again"),
        "{refused}"
    );
    assert!(matches!(
        log.append(event("a", "Was", vec![b'x'; 1000])),
        Err(Error::Full { .. })
    ));
    assert_eq!(
        log.read(.., &Query::all(), Direction::Forward).count() as u64,
        head
    );
    disk.heal();
    let appended = log.append(event("a", "Was", vec![b'x'; 1000])).unwrap();
    assert_eq!(appended.first, head + 1);
    assert_eq!(log.verify(|_, _| {}).unwrap().damages, []);
    drop(log);
    assert_eq!(small_log(disk, 2).open(DIR).unwrap().head(), head + 1);
}

#[test]
fn a_failed_sync_poisons_whatever_it_says_and_reopening_tells_what_survived() {
    for kind in [
        ErrorKind::StorageFull,
        ErrorKind::Other,
        ErrorKind::QuotaExceeded,
    ] {
        for call in [Step::Sync, Step::Write] {
            let disk = SimDisk::default();
            let log = small_log(disk.clone(), 1).open(DIR).unwrap();
            let _ = log.append(event("a", "Before", "")).unwrap();
            disk.fail(call, kind);
            let first = log.append(event("a", "During", "")).unwrap_err();
            assert!(matches!(first, Error::Indeterminate { .. }), "{first}");
            disk.heal();
            // The next sync would succeed, and prove nothing.
            let later = log.append(event("a", "After", "")).unwrap_err();
            assert!(matches!(later, Error::Poisoned { .. }), "{later}");
            assert!(matches!(log.sync(), Err(Error::Poisoned { .. })));
            assert_eq!(
                log.head(),
                1,
                "what is not known to be durable is not shown"
            );
            assert_eq!(log.read(.., &Query::all(), Direction::Forward).count(), 1);
            drop(log);
            let log = small_log(disk, 2).open(DIR).unwrap();
            let survived = if call == Step::Sync { 2 } else { 1 };
            assert_eq!(
                log.head(),
                survived,
                "a whole frame that was written is kept, and proven anew"
            );
            assert_eq!(log.recovery().rewritten_events, survived - 1);
            let _ = log.append(event("a", "After", "")).unwrap();
        }
    }
}

#[test]
fn a_buffered_append_is_not_acknowledged_with_a_write_that_failed() {
    let disk = SimDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    disk.fail(Step::Write, ErrorKind::Other);
    let batch = Batch::from(event("a", "Was", "")).durability(Durability::Buffered);
    assert!(matches!(
        log.append(batch),
        Err(Error::Indeterminate { .. })
    ));
    assert_eq!(log.head(), 0);
}

#[test]
fn a_read_only_directory_is_refused_for_writing_and_opens_for_reading() {
    let disk = SimDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    let _ = log.append(event("a", "Was", "")).unwrap();
    drop(log);
    for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
        disk.heal();
        disk.fail(Step::Lock, kind);
        let refused = small_log(disk.clone(), 2).open(DIR).unwrap_err();
        assert!(matches!(refused, Error::NotWritable { .. }), "{refused}");
        assert!(
            refused
                .to_string()
                .contains("open it read-only, or give write permission"),
            "{refused}"
        );
        assert_eq!(
            small_log(disk.clone(), 2)
                .open_read_only(DIR)
                .unwrap()
                .head(),
            1
        );
    }
}
