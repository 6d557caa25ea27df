//! What survives a close, a kill, and the loss of every derived file.

use std::path::Path;

use annals_engine::{
    AggregateId, Batch, Direction, Durability, Error, Expected, Log, Query, QueryItem,
    RecordedEvent, RecoveryOutcome,
};
use annals_segments::{Disk, MemoryDisk, OpenMode};
use annals_tests::{SeededRandom, event, id, small_log};
use proptest::prelude::*;

const DIR: &str = "/log";

fn all(log: &Log) -> Vec<RecordedEvent> {
    log.read(.., &Query::all(), Direction::Forward)
        .map(Result::unwrap)
        .collect()
}

/// A log over several segments, some of it tracked, tagged and in batches.
fn fill(log: &Log, seed: u64, batches: usize) {
    let random = SeededRandom::new(seed);
    for number in 0..batches as u64 {
        let mut batch = Batch::new();
        for _ in 0..=random.next_u64() % 3 {
            let aggregate = format!("aggregate-{}", random.next_u64() % 40);
            let topic = format!("Topic{}", random.next_u64() % 5);
            let payload = vec![b'p'; (random.next_u64() % 400) as usize];
            batch.push(
                event(&aggregate, &topic, payload).tag(format!("tag:{}", random.next_u64() % 7)),
            );
        }
        if number % 10 == 0 {
            batch = batch.tracking("upstream", number + 1);
        }
        if number % 7 == 0 {
            batch = batch.durability(Durability::Buffered);
        }
        let _ = log.append(batch).unwrap();
    }
}

/// Every answer that the indexes give, to be compared.
fn answers(log: &Log) -> Vec<Vec<RecordedEvent>> {
    let mut answers = vec![all(log)];
    for number in 0..40 {
        let aggregate = id(&format!("aggregate-{number}"));
        let forward: Vec<_> = log
            .read_aggregate(&aggregate, .., Direction::Forward)
            .map(Result::unwrap)
            .collect();
        let mut backward: Vec<_> = log
            .read_aggregate(&aggregate, .., Direction::Backward)
            .map(Result::unwrap)
            .collect();
        backward.reverse();
        assert_eq!(forward, backward);
        assert_eq!(
            log.version(&aggregate).unwrap(),
            forward.last().and_then(|event| event.version)
        );
        answers.push(forward);
    }
    for number in 0..7 {
        let tagged = QueryItem::new().tag(format!("tag:{number}"));
        let both = tagged.clone().topic("Topic1").topic("Topic2");
        for query in [
            Query::from(tagged),
            Query::from(both).or(QueryItem::new().topic("Topic4")),
        ] {
            let found: Vec<_> = log
                .read(.., &query, Direction::Forward)
                .map(Result::unwrap)
                .collect();
            let mut backward: Vec<_> = log
                .read(.., &query, Direction::Backward)
                .map(Result::unwrap)
                .collect();
            backward.reverse();
            assert_eq!(found, backward);
            answers.push(found);
        }
    }
    for event in answers[0].clone().iter().step_by(37) {
        assert_eq!(log.get(event.event_id).unwrap().as_ref(), Some(event));
    }
    answers
}

/// A full scan, the twin that uses no index.
fn scanned(events: &[RecordedEvent], aggregate: &AggregateId) -> Vec<RecordedEvent> {
    events
        .iter()
        .filter(|event| event.aggregate_id.as_ref() == Some(aggregate))
        .cloned()
        .collect()
}

#[test]
pub(super) fn indexes_answer_as_a_full_scan_over_many_segments() {
    let log = small_log(MemoryDisk::default(), 1).open(DIR).unwrap();
    fill(&log, 1, 4000);
    let stats = log.stats().unwrap();
    assert!(stats.sealed_segments > 10, "{stats:?}");
    assert_eq!(log.count_aggregates().unwrap(), 40);
    let answers = answers(&log);
    for number in 0..40 {
        assert_eq!(
            answers[number + 1],
            scanned(&answers[0], &id(&format!("aggregate-{number}")))
        );
    }
    let report = log.verify(|_, _| {}).unwrap();
    assert_eq!(report.damages, []);
    assert_eq!(report.events, stats.events);
}

#[test]
pub(super) fn a_time_leads_to_the_first_event_stored_then_or_later() {
    let log = small_log(MemoryDisk::default(), 60).open(DIR).unwrap();
    let view = log.view();
    assert_eq!(
        view.position_at(std::time::SystemTime::UNIX_EPOCH).unwrap(),
        None
    );
    fill(&log, 60, 2000);
    let _ = log.sync().unwrap();
    let events = all(&log);
    let view = log.view();
    assert_eq!(
        view.position_at(std::time::SystemTime::UNIX_EPOCH).unwrap(),
        Some(1)
    );
    for event in events.iter().step_by(97) {
        let time = event.time();
        let expected = events
            .iter()
            .find(|other| other.time() >= time)
            .unwrap()
            .position;
        assert_eq!(view.position_at(time).unwrap(), Some(expected));
        let later = time + std::time::Duration::from_micros(1);
        let expected = events
            .iter()
            .find(|other| other.time() >= later)
            .map(|other| other.position);
        assert_eq!(view.position_at(later).unwrap(), expected);
    }
}

#[test]
pub(super) fn a_clean_close_loses_nothing_and_appending_goes_on() {
    let disk = MemoryDisk::default();
    let mut expected = Vec::new();
    for round in 0..6 {
        let log = small_log(disk.clone(), round).open(DIR).unwrap();
        let outcome = if round == 0 {
            RecoveryOutcome::Created
        } else {
            RecoveryOutcome::Clean
        };
        assert_eq!(log.recovery().outcome, outcome);
        assert_eq!(answers(&log).first(), Some(&expected));
        fill_untracked(&log, round);
        expected = all(&log);
        log.close().unwrap();
    }
    let log = small_log(disk, 9).open(DIR).unwrap();
    assert_eq!(log.verify(|_, _| {}).unwrap().damages, []);
}

fn fill_untracked(log: &Log, seed: u64) {
    let random = SeededRandom::new(seed);
    for _ in 0..300 {
        let aggregate = format!("aggregate-{}", random.next_u64() % 40);
        let _ = log
            .append(
                event(
                    &aggregate,
                    "Topic1",
                    vec![b'q'; (random.next_u64() % 500) as usize],
                )
                .tag("tag:1"),
            )
            .unwrap();
    }
}

#[test]
fn a_kill_loses_nothing_acknowledged_buffered_or_not() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 3).open(DIR).unwrap();
    for round in 0..40 {
        fill_untracked(&log, round);
        let acknowledged = all_visible(&log);
        // What a killed process leaves behind.
        let left = disk.fork();
        let recovered = small_log(left, 100 + round).open(DIR).unwrap();
        assert_eq!(recovered.recovery().outcome, RecoveryOutcome::Recovered);
        assert_eq!(all(&recovered), acknowledged);
        assert_eq!(recovered.recovery().torn, None);
        let _ = recovered.append(event("after", "Again", "")).unwrap();
        assert_eq!(recovered.head(), acknowledged.len() as u64 + 1);
        assert_eq!(recovered.verify(|_, _| {}).unwrap().damages, []);
    }
}

fn all_visible(log: &Log) -> Vec<RecordedEvent> {
    let view = log.view();
    assert_eq!(view.head(), view.durable_head());
    all(log)
}

#[test]
pub(super) fn buffered_events_survive_a_kill_and_are_written_anew() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 4).open(DIR).unwrap();
    let _ = log.append(event("a", "Durable", "1")).unwrap();
    for _ in 0..10 {
        let _ = log
            .append(Batch::from(event("a", "Buffered", "2")).durability(Durability::Buffered))
            .unwrap();
    }
    assert_eq!((log.head(), log.durable_head()), (11, 1));
    assert_eq!(
        log.read(.., &Query::all(), Direction::Forward).count(),
        1,
        "followers wait for durability"
    );
    assert_eq!(
        log.read_aggregate(&id("a"), .., Direction::Forward).count(),
        11,
        "decisions do not"
    );
    let recovered = small_log(disk.fork(), 5).open(DIR).unwrap();
    assert_eq!(recovered.recovery().rewritten_events, 10);
    assert_eq!((recovered.head(), recovered.durable_head()), (11, 11));
    assert_eq!(recovered.version(&id("a")).unwrap(), Some(11));
    assert_eq!(recovered.verify(|_, _| {}).unwrap().damages, []);
    // And once more: recovery is a normal state to recover from.
    drop(log);
    let again = small_log(disk, 6).open(DIR).unwrap();
    assert_eq!(again.head(), 11);
}

#[test]
pub(super) fn deleting_every_derived_file_changes_no_answer() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 7).open(DIR).unwrap();
    fill(&log, 7, 3000);
    log.close().unwrap();
    let before = answers(&small_log(disk.fork(), 8).open(DIR).unwrap());
    let mut removed = 0;
    for entry in disk.list(Path::new(DIR)).unwrap() {
        if entry.name.ends_with(".idx") || entry.name.starts_with("heads-") {
            disk.remove(&Path::new(DIR).join(entry.name)).unwrap();
            removed += 1;
        }
    }
    assert!(removed > 8, "{removed} derived files");
    let reader = small_log(disk.fork(), 8).open_read_only(DIR).unwrap();
    assert_eq!(answers(&reader), before);
    let log = small_log(disk.clone(), 8).open(DIR).unwrap();
    assert!(!log.recovery().rebuilt_indexes.is_empty());
    assert_eq!(answers(&log), before);
    assert_eq!(log.tracking("upstream"), Some(2991));
    log.close().unwrap();
    let again = small_log(disk, 9).open(DIR).unwrap();
    assert_eq!(again.recovery().rebuilt_indexes, Vec::<u64>::new());
    assert_eq!(answers(&again), before);
}

#[test]
fn a_lost_watermark_and_a_lost_manifest_copy_change_no_answer() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 10).open(DIR).unwrap();
    fill(&log, 10, 1500);
    let _ = log.sync();
    let before = answers(&log);
    for lost in [
        &["WATERMARK"][..],
        &["MANIFEST-a"],
        &["MANIFEST-b"],
        &["WATERMARK", "MANIFEST-a", "MANIFEST-b"],
    ] {
        let left = disk.fork();
        for name in lost {
            let _ = left.remove(&Path::new(DIR).join(name));
        }
        let log = small_log(left.clone(), 11).open(DIR).unwrap();
        assert_eq!(answers(&log), before, "without {lost:?}");
        let _ = log.append(event("after", "Again", "")).unwrap();
        drop(log);
        let again = small_log(left, 12).open(DIR).unwrap();
        assert_eq!(
            again.head() as usize,
            before[0].len() + 1,
            "without {lost:?}"
        );
        assert_eq!(
            again.verify(|_, _| {}).unwrap().damages,
            [],
            "without {lost:?}"
        );
    }
}

#[test]
fn a_log_in_use_is_refused_with_the_holder_and_readable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = Log::options().segment_len(1 << 20).open(&path).unwrap();
    let _ = log.append(event("a", "Was", "")).unwrap();
    let refused = Log::open(&path).unwrap_err();
    assert!(matches!(refused, Error::Locked { .. }));
    let text = refused.to_string();
    assert!(
        text.contains(&format!("in use by process {}", std::process::id())),
        "{text}"
    );
    let reader = Log::open_read_only(&path).unwrap();
    assert_eq!(reader.recovery().outcome, RecoveryOutcome::InUse);
    assert_eq!(reader.head(), 1);
    assert!(matches!(
        reader.append(event("a", "Was", "")),
        Err(Error::ReadOnly { .. })
    ));
    let _ = log.append(event("a", "Was", "")).unwrap();
    assert_eq!(Log::open_read_only(&path).unwrap().head(), 2);
    drop(log);
    let reader = Log::open_read_only(&path).unwrap();
    assert_eq!(
        (reader.recovery().outcome, reader.head()),
        (RecoveryOutcome::Clean, 2)
    );
    assert_eq!(Log::open(&path).unwrap().head(), 2);
}

#[test]
fn what_is_no_log_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "text").unwrap();
    assert!(matches!(Log::open(&file), Err(Error::NotALog { .. })));
    assert!(matches!(
        Log::open_read_only(&file),
        Err(Error::NotALog { .. })
    ));
    let refused = Log::open(dir.path()).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("no log, but file, expected an empty or new directory"),
        "{refused}"
    );
    let missing = Log::open_read_only(dir.path().join("nowhere")).unwrap_err();
    assert!(
        missing.to_string().contains("nothing is there"),
        "{missing}"
    );
    assert!(
        Log::options()
            .create(false)
            .open(dir.path().join("nowhere"))
            .is_err()
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
}

#[test]
pub(super) fn a_flipped_bit_in_acknowledged_data_is_reported_never_shortened() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 20).open(DIR).unwrap();
    for number in 0..20 {
        let _ = log
            .append(event("a", "Was", format!("payload number {number}")))
            .unwrap();
    }
    log.close().unwrap();
    let whole = all(&log);
    // With a checkpoint an open would believe these frames, and find the damage when it reads them.
    disk.remove(&Path::new(DIR).join("0000000001.tail"))
        .unwrap();
    let segment = Path::new(DIR).join("0000000001.seg");
    let len = 4096 + 20 * 140;
    for offset in (4096..len).step_by(61) {
        let spoiled = disk.fork();
        let file = spoiled
            .open(&segment, annals_segments::OpenMode::ReadWrite)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
        match small_log(spoiled.fork(), 21).open(DIR) {
            Err(Error::Corrupt { .. }) => {}
            // The frames that mark the close hold no event: what is bad there costs a scan, no data.
            Ok(log) => {
                assert_eq!(all(&log), whole, "offset {offset}");
                assert!(log.recovery().torn.is_some(), "offset {offset}");
                continue;
            }
            Err(other) => panic!("offset {offset}: {other}"),
        }
        let reader = small_log(spoiled, 22).open_read_only(DIR).unwrap();
        assert_eq!(
            reader.recovery().outcome,
            RecoveryOutcome::Damaged,
            "offset {offset}"
        );
        assert_eq!(reader.head(), 20);
        let mut damaged = 0;
        for (expected, read) in whole
            .iter()
            .zip(reader.read(.., &Query::all(), Direction::Forward))
        {
            match read {
                Ok(read) => assert_eq!(&read, expected),
                Err(error) => {
                    assert!(error.is_corrupt(), "{error}");
                    damaged += 1;
                }
            }
        }
        assert!(damaged <= 1, "offset {offset}: {damaged} events");
        let report = reader.verify(|_, _| {}).unwrap();
        assert!(!report.damages.is_empty(), "offset {offset}");
    }
}

#[test]
pub(super) fn a_torn_tail_is_quarantined_and_everything_acknowledged_stays() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 30).open(DIR).unwrap();
    for _ in 0..10 {
        let _ = log.append(event("a", "Was", "payload")).unwrap();
    }
    let _ = log
        .append(Batch::from(event("a", "Torn", "payload")).durability(Durability::Buffered))
        .unwrap();
    let left = disk.fork();
    let segment = Path::new(DIR).join("0000000001.seg");
    let file = left
        .open(&segment, annals_segments::OpenMode::ReadWrite)
        .unwrap();
    let bytes = file.read_all(1 << 20).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    file.write_all_at(&[0; 8], last - 7).unwrap();
    let reader = small_log(left.clone(), 31).open_read_only(DIR).unwrap();
    assert_eq!(
        (reader.recovery().outcome, reader.head()),
        (RecoveryOutcome::NeedsRecovery, 10)
    );
    let recovered = small_log(left.clone(), 32).open(DIR).unwrap();
    assert_eq!(
        (recovered.recovery().outcome, recovered.head()),
        (RecoveryOutcome::Recovered, 10)
    );
    let torn = recovered.recovery().torn.clone().unwrap();
    assert!(torn.bytes > 0);
    let kept = left
        .open(&torn.quarantine.unwrap(), annals_segments::OpenMode::Read)
        .unwrap();
    assert_eq!(kept.len().unwrap(), torn.bytes);
    let _ = recovered
        .append(Batch::from(event("a", "After", "")).expect(id("a"), Expected::Exactly(10)))
        .unwrap();
}

#[test]
fn a_newer_format_is_refused_and_untouched() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 40).open(DIR).unwrap();
    let _ = log.append(event("a", "Was", "")).unwrap();
    log.close().unwrap();
    let path = Path::new(DIR).join("0000000001.seg");
    let file = disk
        .open(&path, annals_segments::OpenMode::ReadWrite)
        .unwrap();
    let mut block = vec![0; annals_segments::format::segment_header::SEGMENT_HEADER_LEN];
    file.read_exact_at(&mut block, 0).unwrap();
    block[8] = 2;
    // The checksum stands behind the last field; resealing it is what a newer release would do.
    let crc_offset = block.iter().rposition(|byte| *byte != 0).unwrap() & !3;
    let crc = crc32fast::hash(&block[..crc_offset]);
    block[crc_offset..crc_offset + 4].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&block, 0).unwrap();
    let refused = small_log(disk.clone(), 41).open(DIR).unwrap_err();
    assert!(
        matches!(refused, Error::UnsupportedFormat { .. }),
        "{refused}"
    );
    assert!(
        refused
            .to_string()
            .contains("format version 2, this build reads up to 1; use a newer release"),
        "{refused}"
    );
    assert!(small_log(disk, 42).open_read_only(DIR).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Kill after any batch, open, go on: the log is always what was acknowledged.
    #[test]
    fn many_kills_in_a_row_lose_nothing(rounds in prop::collection::vec((1_usize..80, any::<bool>(), any::<u64>()), 1..8)) {
        let mut disk = MemoryDisk::default();
        let mut expected: Vec<RecordedEvent> = Vec::new();
        for (batches, close, seed) in rounds {
            let log = small_log(disk.clone(), seed).open(DIR).unwrap();
            prop_assert_eq!(&all(&log), &expected);
            let random = SeededRandom::new(seed);
            for _ in 0..batches {
                let aggregate = format!("aggregate-{}", random.next_u64() % 9);
                let buffered = random.next_u64().is_multiple_of(2);
                let durability = if buffered { Durability::Buffered } else { Durability::Sync };
                let batch = Batch::from(event(&aggregate, "Topic", vec![1; (random.next_u64() % 3000) as usize]));
                let _ = log.append(batch.durability(durability)).unwrap();
            }
            let _ = log.sync().unwrap();
            expected = all(&log);
            if close {
                log.close().unwrap();
            } else {
                disk = disk.fork();
            }
        }
    }
}

#[test]
fn a_closed_segment_without_room_is_named_before_it_is_cut() {
    let first = Path::new("/log/0000000001.seg");
    let mut was_cut = false;
    // Closed at other places each time, until one leaves no room to go on.
    for len in (1..400).step_by(40) {
        let disk = MemoryDisk::default();
        let is_cut = || disk.open(first, OpenMode::Read).unwrap().len().unwrap() < 64 << 10;
        let mut log = small_log(disk.clone(), 1).open(DIR).unwrap();
        while !is_cut() {
            let _ = log.append(event("a", "Was", vec![1; len])).unwrap();
            log.close().unwrap();
            if is_cut() {
                break;
            }
            log = small_log(disk.clone(), 2).open(DIR).unwrap();
            was_cut |= is_cut();
        }
        let reader = small_log(disk.clone(), 3).open_read_only(DIR).unwrap();
        assert_eq!(reader.stats().unwrap().sealed_segments, 1, "{len}");
    }
    assert!(was_cut);
}
