//! Rot, lost files and hostile numbers: acknowledged data is never lost in silence, derived files never
//! change an answer, and nothing found on a disk makes the log panic.

use std::path::Path;
use std::time::{Duration, Instant};

use annals_engine::{Batch, Direction, Durability, Error, Expected, Log, Query};
use annals_segments::format::segment_header::{SEGMENT_HEADER_LEN, SegmentHeader};
use annals_segments::format::watermark::Watermark;
use annals_segments::{Disk, MemoryDisk, OpenMode};
use annals_tests::log_files::{
    DIR, FIRST_SEGMENT, SECOND_SEGMENT, content, exists, flip, names, remove, write, written_len,
};
use annals_tests::sim_disk::{SimDisk, Step};
use annals_tests::{event, id, small_log};

const MANIFESTS: [&str; 2] = ["MANIFEST-a", "MANIFEST-b"];
const WATERMARK: &str = "WATERMARK";

fn open(disk: &MemoryDisk, seed: u64) -> Result<Log, Error> {
    small_log(disk.clone(), seed).open(DIR)
}

fn payloads(log: &Log) -> Vec<Vec<u8>> {
    log.read(.., &Query::all(), Direction::Forward)
        .map(|event| event.unwrap().payload)
        .collect()
}

fn count_of(log: &Log, aggregate: &str) -> usize {
    log.read_aggregate(&id(aggregate), .., Direction::Forward)
        .map(Result::unwrap)
        .count()
}

/// A closed log over more segments than the heads cover; answers how many events aggregate `a` has.
fn long_log(disk: &MemoryDisk) -> usize {
    let log = open(disk, 1).unwrap();
    let mut count = 0;
    let has_heads = || names(disk).iter().any(|name| name.starts_with("heads-"));
    while count % 250 != 0 || !has_heads() {
        let _ = log.append(event("a", "Was", vec![1; 3000])).unwrap();
        count += 1;
    }
    log.close().unwrap();
    count
}

fn remove_indexes(disk: &MemoryDisk) {
    for name in names(disk).iter().filter(|name| name.ends_with(".idx")) {
        remove(disk, name);
    }
}

#[test]
pub(super) fn rot_in_an_acknowledged_batch_without_events_is_refused() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    let _ = log.append(event("a", "Was", "x")).unwrap();
    let _ = log.append(Batch::new().tracking("t", 7)).unwrap();
    let left = disk.fork();
    flip(&left, FIRST_SEGMENT, written_len(&left, FIRST_SEGMENT) - 1);
    let opened = open(&left, 2);
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
}

#[test]
fn one_lost_index_changes_no_answer_read_only() {
    let disk = MemoryDisk::default();
    let count = long_log(&disk);
    remove(&disk, "0000000008.idx");
    let log = small_log(disk, 2).open_read_only(DIR).unwrap();
    assert_eq!(count_of(&log, "a"), count);
}

#[test]
fn indexes_derived_anew_link_as_the_lost_ones_did() {
    let disk = MemoryDisk::default();
    let count = long_log(&disk);
    remove_indexes(&disk);
    // Once when they are derived, once when they are read.
    for seed in [2, 3] {
        let log = open(&disk, seed).unwrap();
        assert_eq!(count_of(&log, "a"), count);
        assert_eq!(log.verify(|_, _| {}).unwrap().damages, []);
        log.close().unwrap();
    }
}

#[test]
pub(super) fn a_rotten_index_changes_no_answer() {
    let disk = MemoryDisk::default();
    let count = long_log(&disk);
    flip(&disk, "0000000008.idx", 200);
    assert_eq!(count_of(&open(&disk, 2).unwrap(), "a"), count);
}

#[test]
pub(super) fn rot_under_a_lost_index_is_told_and_decides_nothing() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    let _ = log.append(event("x", "Was", "one")).unwrap();
    let _ = log.append(event("x", "Was", "two")).unwrap();
    for _ in 0..40 {
        let _ = log.append(event("a", "Was", vec![1; 3000])).unwrap();
    }
    log.close().unwrap();
    drop(log);
    let bytes = content(&disk, FIRST_SEGMENT);
    let place = bytes.windows(3).position(|window| window == b"two");
    flip(&disk, FIRST_SEGMENT, place.unwrap());
    for is_index_lost in [false, true] {
        let disk = disk.fork();
        if is_index_lost {
            remove(&disk, "0000000001.idx");
        }
        let log = open(&disk, 2).unwrap();
        let mut read = log.read_aggregate(&id("x"), .., Direction::Forward);
        assert!(
            read.any(|event| matches!(event, Err(Error::Corrupt { .. }))),
            "index lost: {is_index_lost}"
        );
        let stale = Batch::from(event("x", "Was", "again")).expect(id("x"), Expected::Exactly(1));
        let decided = log.append(stale);
        assert!(decided.is_err(), "version 2 was acknowledged: {decided:?}");
    }
}

#[test]
pub(super) fn whatever_files_are_lost_an_open_answers_and_does_not_panic() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    while !exists(&disk, SECOND_SEGMENT) {
        let _ = log.append(event("a", "Was", vec![1; 3000])).unwrap();
    }
    let files = [
        MANIFESTS[0],
        MANIFESTS[1],
        WATERMARK,
        FIRST_SEGMENT,
        SECOND_SEGMENT,
    ];
    for lost in 0..1 << files.len() {
        let left = disk.fork();
        for (number, name) in files.iter().enumerate() {
            if lost >> number & 1 == 1 && exists(&left, name) {
                remove(&left, name);
            }
        }
        let read_only = small_log(left.clone(), 2).open_read_only(DIR);
        drop(read_only.map(|log| log.read(.., &Query::all(), Direction::Forward).count()));
        if let Ok(log) = open(&left, 3) {
            let _ = log.append(event("a", "After", "x")).unwrap();
        }
    }
}

#[test]
fn both_manifests_lost_behind_a_recovery_that_proved_nothing_lose_no_event() {
    // Of several lengths: a frame ends in as many zeros as align it.
    for len in 0..16 {
        let disk = MemoryDisk::default();
        let log = open(&disk, 1).unwrap();
        let buffered = Batch::from(event("a", "Was", vec![b'x'; len]));
        let _ = log
            .append(buffered.durability(Durability::Buffered))
            .unwrap();
        let left = disk.fork();
        let log = open(&left, 2).unwrap();
        let _ = log.append(event("a", "Was", "y")).unwrap();
        log.close().unwrap();
        drop(log);
        MANIFESTS
            .iter()
            .filter(|name| exists(&left, name))
            .for_each(|name| remove(&left, name));
        let log = open(&left, 3).unwrap_or_else(|error| panic!("payload of {len} bytes: {error}"));
        assert_eq!(payloads(&log), [vec![b'x'; len], b"y".to_vec()]);
    }
}

#[test]
fn a_watermark_with_numbers_beyond_the_format_is_no_witness() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    let _ = log.append(event("a", "Was", "x")).unwrap();
    log.close().unwrap();
    drop(log);
    let honest = Watermark::decode_newest(&content(&disk, WATERMARK)).unwrap();
    let hostile = [
        Watermark {
            generation: u64::MAX,
            ..honest
        },
        Watermark {
            position: u64::MAX,
            ..honest
        },
        Watermark {
            generation: u64::MAX,
            position: u64::MAX,
            segment: u64::MAX,
            end: u64::MAX,
            ..honest
        },
    ];
    for watermark in hostile {
        let left = disk.fork();
        write(
            &left,
            WATERMARK,
            &watermark.encode(),
            watermark.slot_offset(),
        );
        let read_only = small_log(left.clone(), 2).open_read_only(DIR).unwrap();
        assert_eq!(read_only.head(), 1, "{watermark:?}");
        let log = open(&left, 3).unwrap();
        assert_eq!(log.append(event("a", "Was", "x")).unwrap().last, 2);
    }
}

#[test]
fn a_segment_number_beyond_the_format_is_refused() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    let _ = log.append(event("a", "Was", "x")).unwrap();
    let left = disk.fork();
    let mut bytes = content(&left, FIRST_SEGMENT);
    let mut header = SegmentHeader::decode(&bytes).unwrap();
    header.number = 5_000_000_000;
    bytes[..SEGMENT_HEADER_LEN].copy_from_slice(&header.encode());
    for name in names(&left).iter().filter(|name| *name != "LOCK") {
        remove(&left, name);
    }
    let path = Path::new(DIR).join(format!("{}.seg", header.number));
    let file = left.open(&path, OpenMode::CreateNew).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    let opened = open(&left, 2);
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
}

#[test]
fn both_manifests_lost_behind_a_recovery_lose_no_tracking() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    let _ = log.append(event("a", "Was", "x")).unwrap();
    let tracking = |position| Batch::new().tracking("t", position);
    let _ = log
        .append(tracking(1).durability(Durability::Buffered))
        .unwrap();
    let left = disk.fork();
    let log = open(&left, 2).unwrap();
    let _ = log.append(tracking(2)).unwrap();
    log.close().unwrap();
    drop(log);
    MANIFESTS
        .iter()
        .filter(|name| exists(&left, name))
        .for_each(|name| remove(&left, name));
    assert_eq!(open(&left, 3).unwrap().tracking("t"), Some(2));
}

#[test]
fn rot_right_behind_a_close_is_told_by_what_lies_far_behind() {
    let disk = MemoryDisk::default();
    let open = |disk: &MemoryDisk, seed| {
        let options = small_log(disk.clone(), seed).segment_len(16 << 20);
        options.open(DIR)
    };
    let log = open(&disk, 1).unwrap();
    let _ = log.append(event("a", "Was", [1])).unwrap();
    log.close().unwrap();
    let closed_len = written_len(&disk, FIRST_SEGMENT);
    let log = open(&disk, 2).unwrap();
    let watermark = content(&disk, WATERMARK);
    let _ = log.append(event("a", "Was", vec![1; 3 << 20])).unwrap();
    let _ = log.append(event("a", "Was", [1])).unwrap();
    // A loss of power takes the watermark back: no sync covers it before the close.
    let left = disk.fork();
    write(&left, WATERMARK, &watermark, 0);
    assert_eq!(open(&left.fork(), 3).unwrap().head(), 3);
    flip(&left, FIRST_SEGMENT, closed_len + 8);
    let error = open(&left, 3).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

#[test]
fn heads_folded_while_a_log_is_verified_are_no_damage() {
    // Found by killing writers: the next open folds in the background, and `verify` ran beside it.
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    let _ = log.append(event("a", "Was", "x")).unwrap();
    let has_heads = || names(&disk).iter().any(|name| name.starts_with("heads-"));
    let report = log.verify(|_, _| {
        while !has_heads() {
            let _ = log.append(event("a", "Was", vec![1; 3000])).unwrap();
        }
    });
    assert_eq!(report.unwrap().damages, []);
}

#[test]
fn a_disk_that_changes_what_recovery_writes_is_an_error_and_no_panic() {
    // Found by having each write in turn answer that it was done when it was not.
    let disk = MemoryDisk::default();
    let log = open(&disk, 1).unwrap();
    for _ in 0..5 {
        let batch = Batch::from(event("a", "Was", "x")).durability(Durability::Buffered);
        let _ = log.append(batch).unwrap();
    }
    let left = SimDisk::over(disk.fork());
    let memory = left.memory.clone();
    left.set_hook(move |step, path| {
        if step == Step::Sync
            && path.ends_with(SECOND_SEGMENT)
            && written_len(&memory, SECOND_SEGMENT) > SEGMENT_HEADER_LEN
        {
            flip(&memory, SECOND_SEGMENT, SEGMENT_HEADER_LEN + 8);
        }
        Ok(())
    });
    let opened = small_log(left.clone(), 2).open(DIR);
    assert!(matches!(opened, Err(Error::Io { .. })), "{opened:?}");
    assert_eq!(open(&left.memory.fork(), 3).unwrap().head(), 5);
}

#[test]
fn derived_files_of_absurd_length_are_not_read_into_memory() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Log::options().segment_len(64 << 10).background(false);
    let log = options().open(dir.path()).unwrap();
    let files = || {
        let entries = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names
            .filter(|name| name.ends_with(".idx") || name.starts_with("heads-"))
            .collect::<Vec<_>>()
    };
    while files().len() < 10 || !files().iter().any(|name| name.starts_with("heads-")) {
        let _ = log.append(event("a", "Was", vec![1; 3000])).unwrap();
    }
    let head = log.head();
    log.close().unwrap();
    drop(log);
    // Sparse, and more than any memory. What a read would take shows in how long it takes.
    for name in files() {
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).open(dir.path().join(name)).unwrap();
        file.set_len(1 << 42).unwrap();
    }
    let pread = || options().read_io(annals_engine::ReadIo::Pread);
    for log in [pread().open_read_only(dir.path()), pread().open(dir.path())] {
        let log = log.unwrap();
        assert_eq!(count_of(&log, "a") as u64, head);
        assert_eq!(log.version(&id("b")).unwrap(), None);
        drop(log);
    }
}

/// What each lost event of a batch is told costs no reading of the whole batch again: that would take hours for a large one.
#[test]
fn a_large_batch_that_is_damaged_is_told_event_by_event_in_no_more_than_a_few_readings() {
    const EVENTS: u64 = 20_000;
    let disk = MemoryDisk::default();
    let options = |seed| small_log(disk.clone(), seed).segment_len(64 << 20);
    let log = options(1).open(DIR).unwrap();
    let batch = (0..EVENTS).fold(Batch::new(), |batch, _| {
        batch.event(event("a", "Was", vec![1; 100]))
    });
    let _ = log.append(batch).unwrap();
    let _ = log.append(event("b", "Other", "behind")).unwrap();
    log.close().unwrap();
    drop(log);
    let sound = Instant::now();
    let log = options(2).open_read_only(DIR).unwrap();
    assert_eq!(log.verify(|_, _| {}).unwrap().lost, 0);
    let sound = sound.elapsed();
    // The topic of all of them, and the length of the first record.
    write(
        &disk,
        FIRST_SEGMENT,
        &[0xff; 64],
        SEGMENT_HEADER_LEN as u64 + 48,
    );
    let damaged = Instant::now();
    let log = options(3).open_read_only(DIR).unwrap();
    let verified = log.verify(|_, _| {}).unwrap();
    assert_eq!(verified.lost, EVENTS);
    let damaged = damaged.elapsed();
    assert!(
        damaged < sound * 50 + Duration::from_secs(2),
        "{damaged:?}, sound {sound:?}"
    );
}
