//! Full segments, crowded dictionaries, options that change, numbers at their ends: a log that took an
//! append can be closed, opened and appended to, and one that refuses says so before it writes.

use annals_engine::{Batch, Direction, Durability, Error, Limit, Log, LogOptions, Version};
use annals_segments::MemoryDisk;
use annals_tests::log_files::{DIR, FIRST_SEGMENT, SECOND_SEGMENT, count, exists, written_len};
use annals_tests::{event, id, small_log};

const SEGMENT_LEN: usize = 64 << 10;

fn open(disk: &MemoryDisk, seed: u64) -> Log {
    small_log(disk.clone(), seed).open(DIR).unwrap()
}

fn large(disk: &MemoryDisk, seed: u64) -> LogOptions {
    small_log(disk.clone(), seed).segment_len(4 << 20)
}

/// `count` topics of a thousand bytes each, in one batch.
fn long_topics(count: usize) -> Batch {
    let mut batch = Batch::new();
    for number in 0..count {
        batch.push(event("a", &format!("{number}{}", "x".repeat(1000)), ""));
    }
    batch
}

/// Appends until the first segment has less than `room` bytes left.
fn fill_up_to(log: &Log, disk: &MemoryDisk, room: usize) {
    loop {
        let left = SEGMENT_LEN - written_len(disk, FIRST_SEGMENT);
        if left < room {
            break;
        }
        let len = if left > room + 3500 { 3000 } else { 10 };
        let _ = log.append(event("a", "Was", vec![1; len])).unwrap();
        assert!(
            !exists(disk, SECOND_SEGMENT),
            "rolled with {left} bytes left"
        );
    }
}

#[test]
fn opening_and_closing_a_full_log_goes_on_for_ever() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1);
    fill_up_to(&log, &disk, 700);
    log.close().unwrap();
    let head = log.head();
    for cycle in 2..52 {
        open(&disk, cycle).close().unwrap();
    }
    // Closing again takes no room: at most one segment was left behind, a full one.
    let segments = count(&disk, ".seg");
    assert!(segments <= 2, "{segments} segments");
    let log = open(&disk, 99);
    let appended = log.append(event("a", "Was", vec![1; 3000])).unwrap();
    assert_eq!(appended.first, head + 1);
    log.close().unwrap();
}

#[test]
fn a_batch_whose_topics_would_leave_no_room_to_close_is_refused() {
    for topics in [5, 10, 15, 40, 80] {
        let disk = MemoryDisk::default();
        let log = open(&disk, 1);
        match log.append(long_topics(topics)) {
            Ok(appended) => assert_eq!(appended.last, topics as u64),
            Err(Error::Limit { limit, .. }) => {
                assert_eq!((limit, log.head()), (Limit::Batch, 0));
                assert!(topics > 10, "{topics} topics fit");
            }
            Err(error) => panic!("{topics} topics: {error}"),
        }
        log.close().unwrap();
        drop(log);
        let _ = open(&disk, 2).append(event("a", "Was", "x")).unwrap();
    }
}

#[test]
fn a_new_topic_near_the_end_leaves_room_to_close() {
    for payload_len in (0..3000).step_by(8) {
        let disk = MemoryDisk::default();
        let log = open(&disk, 1);
        fill_up_to(&log, &disk, 4000);
        let topic = "t".repeat(900);
        let _ = log
            .append(event("a", &topic, vec![1; payload_len]))
            .unwrap();
        let log = if payload_len % 16 == 0 {
            log.close().unwrap();
            drop(log);
            open(&disk, 2)
        } else {
            log
        };
        let _ = log.append(event("a", "Was", vec![1; 2900])).unwrap();
        log.close().unwrap();
    }
}

#[test]
fn a_smaller_segment_len_takes_over_what_larger_segments_held() {
    for is_closed in [true, false] {
        let disk = MemoryDisk::default();
        let log = large(&disk, 1).open(DIR).unwrap();
        for number in 0..600 {
            let name = format!("{number}{}", "n".repeat(200));
            let _ = log.append(Batch::new().tracking(name, 1)).unwrap();
        }
        let _ = log.append(event("a", "Was", "x")).unwrap();
        if is_closed {
            log.close().unwrap();
        }
        let log = open(&disk.fork(), 2);
        // Past the end of the large segment, so that small ones have to hold the tracking positions.
        for _ in 0..1500 {
            let batch = Batch::from(event("a", "Was", vec![0; 3000]));
            let _ = log.append(batch.durability(Durability::Buffered)).unwrap();
        }
        assert_eq!(log.tracking(&format!("599{}", "n".repeat(200))), Some(1));
        log.close().unwrap();
    }
}

#[test]
fn recovery_finds_room_for_the_topics_of_what_it_writes_anew() {
    let disk = MemoryDisk::default();
    let log = large(&disk, 1).open(DIR).unwrap();
    let _ = log.append(long_topics(200)).unwrap();
    let _ = log
        .append(long_topics(200).durability(Durability::Buffered))
        .unwrap();
    let log = open(&disk.fork(), 2);
    assert_eq!((log.head(), log.recovery().rewritten_events), (400, 200));
    assert_eq!(log.verify(|_, _| {}).unwrap().damages, []);
}

#[test]
fn a_batch_that_fits_no_segment_uses_none_up() {
    let disk = MemoryDisk::default();
    let log = open(&disk, 1);
    for _ in 0..5 {
        let refused = log.append(long_topics(80));
        assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
    }
    assert_eq!(count(&disk, ".seg"), 1);
}

#[test]
fn the_greatest_version_is_one_that_can_be_read() {
    let log = Log::in_memory().unwrap();
    let given = |version| event("a", "Was", "x").version(Version::Given(version));
    let refused = log.append(given(u64::MAX));
    let is_refused = matches!(
        refused,
        Err(Error::Limit {
            limit: Limit::Version,
            ..
        })
    );
    assert!(is_refused, "{refused:?}");
    let _ = log.append(given(u64::MAX - 1)).unwrap();
    assert_eq!(log.version(&id("a")).unwrap(), Some(u64::MAX - 1));
    let read = log.read_aggregate(&id("a"), .., Direction::Forward);
    assert_eq!(read.map(Result::unwrap).count(), 1);
    // There is no version behind it that could be counted.
    let refused = log.append(event("a", "Was", "x"));
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(log.head(), 1);
}
