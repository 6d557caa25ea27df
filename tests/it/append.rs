//! What an append promises while the log is open.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use annals_engine::{
    AggregateId, Batch, Direction, Durability, Error, Expected, Log, NewEvent, Query, QueryItem,
    Version,
};
use annals_segments::{Clock, MemoryDisk};
use annals_tests::log_files::{DIR, exists};
use annals_tests::sim_disk::SimDisk;
use annals_tests::{event, id, small_log};
use uuid::Uuid;

fn versions(log: &Log, aggregate: &AggregateId) -> Vec<u64> {
    log.read_aggregate(aggregate, .., Direction::Forward)
        .map(|event| event.unwrap().version.unwrap())
        .collect()
}

#[test]
pub(super) fn positions_start_at_one_and_have_no_gaps() {
    let log = Log::in_memory().unwrap();
    assert_eq!(log.head(), 0);
    for expected in 1..=10 {
        let appended = log.append(event("a", "Happened", "{}")).unwrap();
        assert_eq!((appended.first, appended.last), (expected, expected));
    }
    let batch = (0..5).fold(Batch::new(), |batch, _| {
        batch.event(event("b", "Happened", "{}"))
    });
    let appended = log.append(batch).unwrap();
    assert_eq!((appended.first, appended.last), (11, 15));
    let positions: Vec<u64> = log
        .read(.., &Query::all(), Direction::Forward)
        .map(|event| event.unwrap().position)
        .collect();
    assert_eq!(positions, (1..=15).collect::<Vec<_>>());
    let back: Vec<u64> = log
        .read(.., &Query::all(), Direction::Backward)
        .map(|event| event.unwrap().position)
        .collect();
    assert_eq!(back, (1..=15).rev().collect::<Vec<_>>());
}

#[test]
pub(super) fn every_field_comes_back_as_given() {
    let log = Log::in_memory().unwrap();
    let (aggregate, event_id) = (Uuid::from_u128(7), Uuid::from_u128(9));
    let given = NewEvent::new("Everything", vec![0, 159, 146, 150])
        .aggregate(aggregate)
        .event_id(event_id)
        .tags(["b", "a", "b"])
        .metadata("user", "u-1")
        .metadata("correlation", "c-1")
        .encoding(annals_engine::Encoding {
            codec: 3,
            key_id: 4,
            plain_len: 5,
        })
        .digest(6);
    let _ = log.append(given).unwrap();
    let read = log.get(event_id).unwrap().unwrap();
    assert_eq!(read.position, 1);
    assert_eq!(read.aggregate_id, Some(AggregateId::Uuid(aggregate)));
    assert_eq!(read.version, Some(1));
    assert_eq!(read.topic, "Everything");
    assert_eq!(read.tags, [b"a".to_vec(), b"b".to_vec()]);
    assert_eq!(
        read.metadata,
        [
            ("correlation".into(), "c-1".into()),
            ("user".into(), "u-1".into())
        ]
    );
    assert_eq!(
        read.encoding,
        Some(annals_engine::Encoding {
            codec: 3,
            key_id: 4,
            plain_len: 5
        })
    );
    assert_eq!(read.digest, Some(6));
    assert_eq!(read.payload, vec![0, 159, 146, 150]);
    assert_eq!(log.get(Uuid::from_u128(1)).unwrap(), None);
}

#[test]
fn an_event_without_an_aggregate_has_no_version_and_is_found_by_tag() {
    let log = Log::in_memory().unwrap();
    let _ = log
        .append(NewEvent::new("Enrolled", "").tags(["student:1", "course:2"]))
        .unwrap();
    let _ = log
        .append(NewEvent::new("Enrolled", "").tags(["student:2", "course:2"]))
        .unwrap();
    let query = Query::from(
        QueryItem::new()
            .topic("Enrolled")
            .tag("course:2")
            .tag("student:2"),
    );
    let found: Vec<_> = log
        .read(.., &query, Direction::Forward)
        .map(Result::unwrap)
        .collect();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].position, found[0].version, &found[0].aggregate_id),
        (2, None, &None)
    );
}

#[test]
fn text_that_spells_a_uuid_is_another_aggregate() {
    let log = Log::in_memory().unwrap();
    let uuid = Uuid::from_u128(5);
    let _ = log.append(NewEvent::new("A", "").aggregate(uuid)).unwrap();
    let text = AggregateId::text(uuid.to_string()).unwrap();
    assert_eq!(log.version(&text).unwrap(), None);
    assert_eq!(log.version(&uuid.into()).unwrap(), Some(1));
    assert_eq!(AggregateId::parse(&uuid.to_string()).unwrap(), uuid.into());
}

#[test]
pub(super) fn an_expectation_holds_or_nothing_is_written() {
    let log = Log::in_memory().unwrap();
    let none = |expected| {
        Batch::new()
            .expect(id("dog"), expected)
            .event(event("dog", "Registered", ""))
    };
    assert!(
        log.append(none(Expected::Exactly(1)))
            .unwrap_err()
            .is_conflict()
    );
    let _ = log.append(none(Expected::NoEvents)).unwrap();
    let conflict = log.append(none(Expected::NoEvents)).unwrap_err();
    assert!(matches!(
        conflict,
        Error::VersionConflict { found: Some(1), .. }
    ));
    assert_eq!(
        conflict.to_string(),
        "aggregate dog: last version is 1, expected none; read it again and decide again"
    );
    let _ = log.append(none(Expected::Exactly(1))).unwrap();
    let _ = log.append(none(Expected::Any)).unwrap();
    assert_eq!(versions(&log, &id("dog")), [1, 2, 3]);
    assert_eq!(log.head(), 3);
}

#[test]
fn one_aggregate_in_conflict_keeps_the_whole_batch_out() {
    let log = Log::in_memory().unwrap();
    let _ = log.append(event("b", "Was", "")).unwrap();
    let batch = Batch::new()
        .event(event("a", "New", ""))
        .event(event("b", "New", ""))
        .expect(id("b"), Expected::NoEvents);
    assert!(log.append(batch).unwrap_err().is_conflict());
    assert_eq!(log.head(), 1);
    assert_eq!(log.version(&id("a")).unwrap(), None);
}

#[test]
fn given_versions_may_be_sparse_and_start_at_zero_but_only_ascend() {
    let log = Log::in_memory().unwrap();
    let given = |version| event("a", "V", "").version(Version::Given(version));
    let _ = log.append(given(0)).unwrap();
    let _ = log
        .append(Batch::new().event(given(5)).event(given(9)))
        .unwrap();
    assert!(log.append(given(9)).unwrap_err().is_conflict());
    assert!(
        log.append(Batch::new().event(given(12)).event(given(11)))
            .unwrap_err()
            .is_conflict()
    );
    let _ = log.append(event("a", "V", "")).unwrap();
    assert_eq!(versions(&log, &id("a")), [0, 5, 9, 10]);
    let range = |range: std::ops::RangeInclusive<u64>| -> Vec<u64> {
        log.read_aggregate(&id("a"), range, Direction::Forward)
            .map(|event| event.unwrap().version.unwrap())
            .collect()
    };
    assert_eq!(range(1..=9), [5, 9]);
    assert_eq!(range(6..=6), Vec::<u64>::new());
}

#[test]
pub(super) fn tracking_advances_with_the_events_or_not_at_all() {
    let log = Log::in_memory().unwrap();
    let _ = log
        .append(
            Batch::new()
                .event(event("a", "Did", ""))
                .tracking("upstream", 4),
        )
        .unwrap();
    assert_eq!(log.tracking("upstream"), Some(4));
    let again = log
        .append(
            Batch::new()
                .event(event("a", "Did", ""))
                .tracking("upstream", 4),
        )
        .unwrap_err();
    assert!(matches!(
        again,
        Error::TrackingConflict {
            given: 4,
            found: 4,
            ..
        }
    ));
    assert_eq!(log.head(), 1);
    let appended = log.append(Batch::new().tracking("upstream", 9)).unwrap();
    assert_eq!((appended.first, appended.last), (2, 1));
    assert_eq!(
        (log.tracking("upstream"), log.tracking("other"), log.head()),
        (Some(9), None, 1)
    );
}

#[test]
fn what_is_too_long_or_too_many_is_refused_by_name() {
    let log = Log::in_memory().unwrap();
    let text = |batch: Batch| log.append(batch).unwrap_err().to_string();
    assert_eq!(
        text(Batch::new()),
        "events in a batch: 0, expected 1..=4294967295; give at least one event, or a tracking position"
    );
    assert_eq!(
        text(NewEvent::new("", "").into()),
        "bytes of a topic: 0, expected 1..=1024; give at least one byte"
    );
    assert_eq!(
        text(NewEvent::new("t".repeat(1025), "").into()),
        "bytes of a topic: 1025, expected 1..=1024; shorten it"
    );
    assert_eq!(
        text(NewEvent::new("t", "").tag("").into()),
        "bytes of a tag: 0, expected 1..=255; give at least one byte"
    );
    let tags = (0..65).map(|number| number.to_string());
    assert_eq!(
        text(NewEvent::new("t", "").tags(tags).into()),
        "tags of an event: 65, expected 0..=64; tag only what decisions ask for"
    );
    assert!(
        text(NewEvent::new("t", vec![0; (16 << 20) + 1]).into())
            .starts_with("bytes of a payload: 16777217, expected 0..=16777216")
    );
    assert!(
        text(
            NewEvent::new("t", "")
                .metadata("k", "v".repeat(70_000))
                .into()
        )
        .starts_with("bytes of an event's metadata")
    );
    assert!(text(Batch::new().tracking("", 1)).starts_with("bytes of a tracking name: 0"));
    assert!(AggregateId::text("").is_err());
    assert!(AggregateId::text("x".repeat(256)).is_err());
    assert_eq!(log.head(), 0);
    let biggest = AggregateId::text("x".repeat(255)).unwrap();
    let _ = log
        .append(
            NewEvent::new("t".repeat(1024), vec![1; 15 << 20])
                .aggregate(biggest)
                .tag("g".repeat(255)),
        )
        .unwrap();
}

#[test]
fn an_unknown_aggregate_has_no_events_and_no_version() {
    let log = Log::in_memory().unwrap();
    assert_eq!(log.version(&id("nobody")).unwrap(), None);
    assert_eq!(
        log.read_aggregate(&id("nobody"), .., Direction::Forward)
            .count(),
        0
    );
}

#[test]
pub(super) fn threads_that_append_share_the_syncs_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::options()
        .segment_len(1 << 20)
        .open(dir.path().join("log"))
        .unwrap();
    const THREADS: usize = 8;
    const EACH: usize = 200;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = log.clone();
            scope.spawn(move || {
                for number in 0..EACH {
                    let durability = if number % 3 == 0 {
                        Durability::Buffered
                    } else {
                        Durability::Sync
                    };
                    let name = format!("thread-{thread}");
                    let batch = Batch::new()
                        .event(event(&name, "Happened", vec![b'x'; 300]))
                        .durability(durability);
                    let _ = log.append(batch).unwrap();
                }
            });
        }
    });
    assert_eq!(log.head(), (THREADS * EACH) as u64);
    for thread in 0..THREADS {
        assert_eq!(
            versions(&log, &id(&format!("thread-{thread}"))),
            (1..=EACH as u64).collect::<Vec<_>>()
        );
    }
    assert_eq!(log.sync().unwrap(), log.head());
    assert!(log.verify(|_, _| {}).unwrap().damages.is_empty());
}

#[test]
fn appends_that_wait_together_share_one_sync_and_one_alone_has_its_own() {
    let disk = SimDisk::with_slow_sync(Duration::from_millis(2));
    let log = small_log(disk.clone(), 1)
        .segment_len(4 << 20)
        .open("/log")
        .unwrap();
    let before = disk.sync_count();
    for _ in 0..10 {
        let _ = log.append(event("alone", "Was", "")).unwrap();
    }
    assert_eq!(disk.sync_count() - before, 10);
    let before = disk.sync_count();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let log = log.clone();
            scope.spawn(move || {
                for _ in 0..20 {
                    let _ = log
                        .append(event(&format!("thread-{thread}"), "Was", ""))
                        .unwrap();
                }
            });
        }
    });
    let syncs = disk.sync_count() - before;
    assert!(syncs <= 80, "160 appends of 8 threads took {syncs} syncs");
    assert_eq!(log.durable_head(), 170);
}

#[test]
fn optimistic_writers_lose_no_update() {
    let log = Log::in_memory().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let log = log.clone();
            scope.spawn(move || {
                let mut done = 0;
                while done < 50 {
                    let version = log.version(&id("counter")).unwrap();
                    let expected = version.map_or(Expected::NoEvents, Expected::Exactly);
                    let batch = Batch::new()
                        .expect(id("counter"), expected)
                        .event(event("counter", "Counted", ""));
                    match log.append(batch) {
                        Ok(_) => done += 1,
                        Err(error) => assert!(error.is_conflict(), "{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(
        versions(&log, &id("counter")),
        (1..=200).collect::<Vec<_>>()
    );
}

#[test]
pub(super) fn a_subscription_catches_up_then_follows_without_gap_or_duplicate() {
    let log = Log::in_memory().unwrap();
    for number in 0..100 {
        let _ = log
            .append(event("a", if number % 2 == 0 { "Even" } else { "Odd" }, ""))
            .unwrap();
    }
    let mut all = log.subscribe(10, Query::all());
    let mut odd = log.subscribe(0, QueryItem::new().topic("Odd").into());
    let stop = odd.stop_handle();
    std::thread::scope(|scope| {
        let everything = scope.spawn(move || {
            all.by_ref()
                .take(190)
                .map(|event| event.unwrap().position)
                .collect::<Vec<_>>()
        });
        let odds = scope.spawn(move || {
            odd.by_ref()
                .map(|event| event.unwrap().position)
                .collect::<Vec<_>>()
        });
        for number in 100..200 {
            let _ = log
                .append(event("a", if number % 2 == 0 { "Even" } else { "Odd" }, ""))
                .unwrap();
        }
        assert_eq!(everything.join().unwrap(), (11..=200).collect::<Vec<_>>());
        while log.head() < 200 {}
        std::thread::sleep(Duration::from_millis(20));
        stop.stop();
        assert_eq!(
            odds.join().unwrap(),
            (1..=100).map(|number| number * 2).collect::<Vec<_>>()
        );
    });
}

#[test]
fn a_closed_log_refuses_appends_and_ends_its_subscriptions() {
    let log = Log::in_memory().unwrap();
    let _ = log.append(event("a", "Was", "")).unwrap();
    let mut following = log.subscribe(0, Query::all());
    assert_eq!(following.next().unwrap().unwrap().position, 1);
    let waiting = std::thread::spawn(move || following.next().is_none());
    log.close().unwrap();
    log.close().unwrap();
    assert!(waiting.join().unwrap());
    assert!(matches!(
        log.append(event("a", "Was", "")),
        Err(Error::Closed)
    ));
    assert_eq!(log.read(.., &Query::all(), Direction::Forward).count(), 1);
}

/// Has the thread that syncs stop at its first look at the clock, between asking what to sync and syncing it,
/// until it is let go on.
#[derive(Debug, Default)]
struct StoppingClock {
    looks: AtomicU64,
    goes_on: AtomicBool,
}

impl Clock for &'static StoppingClock {
    fn now_us(&self) -> u64 {
        1_700_000_000_000_000
    }

    fn monotonic_ns(&self) -> u64 {
        if std::thread::current().name() == Some("annals-sync") {
            self.looks.fetch_add(1, Ordering::AcqRel);
            wait_until(|| self.goes_on.load(Ordering::Acquire));
        }
        0
    }
}

fn wait_until(is_so: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("waited for 10 seconds");
}

#[test]
fn a_sync_that_comes_behind_the_end_of_its_segment_ends_no_thread() {
    let clock: &'static StoppingClock = Box::leak(Box::default());
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1)
        .clock(clock)
        .background(true)
        .buffered_sync_after(Duration::from_millis(1))
        .open(DIR)
        .unwrap();
    let buffered = || Batch::from(event("a", "Was", [1; 3000])).durability(Durability::Buffered);
    let _ = log.append(buffered()).unwrap();
    wait_until(|| clock.looks.load(Ordering::Acquire) > 0);
    // The segment is sealed, cut and indexed meanwhile.
    for _ in 0..30 {
        let _ = log.append(event("a", "Was", [1; 3000])).unwrap();
    }
    wait_until(|| exists(&disk, "0000000001.idx"));
    clock.goes_on.store(true, Ordering::Release);
    // It looks again once it has synced.
    wait_until(|| clock.looks.load(Ordering::Acquire) > 1);
}
