//! What the SQLite recorder adds: files of its own, several writers, and who follows them.
//!
//! Two recorders on one file share nothing but the file, as those of two processes do.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use annals::rusqlite::{Connection, TransactionBehavior};
use annals::{
    AggregateId, AggregateRecorder, ApplicationRecorder, ConditionalAppend, DcbRecorder,
    Durability, Encoding, Metadata, PersistenceError, ProcessRecorder, Query, QueryItem, Recorder,
    SelectEvents, SelectNotifications, SnapshotRecorder, SqliteError, SqliteRecorder, StoredEvent,
    Tracking, TrackingRecorder, conformance,
};
use tempfile::TempDir;
use uuid::Uuid;

#[test]
fn a_database_in_memory_keeps_the_contract() {
    let make = || Arc::new(SqliteRecorder::in_memory().unwrap());
    conformance::process_recorder(|| make());
    conformance::dcb_recorder(|| make());
    conformance::one_store(make);
    conformance::snapshot_recorder(make);
}

#[test]
fn a_database_on_disk_keeps_the_contract() {
    let dirs = Mutex::new(Vec::new());
    let make = || {
        let (dir, path) = new_path();
        dirs.lock().unwrap().push(dir);
        Arc::new(open(&path))
    };
    conformance::process_recorder(|| make());
    conformance::dcb_recorder(|| make());
    conformance::one_store(make);
    conformance::snapshot_recorder(make);
}

/// The same but for its id: what somebody else would store.
fn other(event: StoredEvent) -> StoredEvent {
    let event_id = Uuid::from_u128(!event.event_id.as_u128());
    StoredEvent { event_id, ..event }
}

#[test]
fn everything_is_there_when_the_database_is_opened_again() {
    let (_dir, path) = new_path();
    let recorder = open(&path);
    let events = vec![
        event("a", 1),
        StoredEvent::new(Uuid::from_u128(9), "Alone", "x"),
    ];
    recorder
        .insert_events_tracked(events.clone(), Tracking::new("up", 7), Durability::Sync)
        .unwrap();
    recorder
        .insert_events(vec![event("a", 2)], Durability::Buffered)
        .unwrap();
    recorder.insert_snapshot(event("a", 2)).unwrap();
    recorder.close().unwrap();

    let recorder = open(&path);
    let found = all(&recorder);
    assert_eq!(positions(&found), [1, 2, 3]);
    assert_eq!([&found[0].event, &found[1].event], [&events[0], &events[1]]);
    assert_eq!(recorder.max_tracking("up").unwrap(), Some(7));
    assert!(recorder.latest_snapshot(&id("a"), 2).unwrap().is_some());
    assert!(
        insert(&recorder, other(event("a", 2)))
            .unwrap_err()
            .is_conflict()
    );
    // An insert made again is known after another open, too.
    let tracking = Tracking::new("up", 7);
    let again = recorder.insert_events_tracked(events, tracking, Durability::Sync);
    let again = again.unwrap();
    assert_eq!(
        again.iter().map(|at| at.position).collect::<Vec<_>>(),
        [1, 2]
    );
}

#[test]
fn a_file_of_another_program_is_refused_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE mine (x)")
        .unwrap();
    let text = dir.path().join("notes.txt");
    write(
        &text,
        "no database, but long enough to be looked at "
            .repeat(20)
            .as_bytes(),
    );
    for path in [foreign, text] {
        let before = read(&path);
        let refused = SqliteRecorder::open(&path).unwrap_err();
        assert!(
            matches!(cause(&refused), SqliteError::UnknownFile { .. }),
            "{refused:?}"
        );
        assert_eq!(read(&path), before);
    }
}

#[test]
fn a_later_format_is_refused() {
    let (_dir, path) = new_path();
    open(&path).close().unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA user_version = 2")
        .unwrap();
    let refused = SqliteRecorder::open(&path).unwrap_err();
    assert!(
        matches!(cause(&refused), SqliteError::FormatVersion { found: 2, .. }),
        "{refused:?}"
    );
}

#[test]
fn tables_that_are_not_to_be_created_must_be_there() {
    let (_dir, path) = new_path();
    let existing = |prefix| {
        SqliteRecorder::options()
            .create_tables(false)
            .table_prefix(prefix)
            .open(&path)
    };
    assert!(existing("annals_").is_err());
    assert!(!path.exists());
    open(&path).close().unwrap();
    existing("annals_").unwrap();
    let refused = existing("other_").unwrap_err();
    assert!(
        matches!(cause(&refused), SqliteError::NoTables { table, .. } if table == "other_events"),
        "{refused:?}"
    );
}

#[test]
fn sequences_with_prefixes_of_their_own_share_a_file() {
    let (_dir, path) = new_path();
    let with = |prefix| {
        SqliteRecorder::options()
            .table_prefix(prefix)
            .open(&path)
            .unwrap()
    };
    let (orders, stock) = (with("orders_"), with("stock_"));
    insert(&orders, event("a", 1)).unwrap();
    insert(&orders, event("a", 2)).unwrap();
    assert_eq!(insert(&stock, event("a", 1)).unwrap(), 1);
    assert_eq!(orders.max_position().unwrap(), Some(2));
    assert_eq!(stock.max_position().unwrap(), Some(1));
}

#[test]
fn what_another_process_stores_is_followed_and_waited_for() {
    let (_dir, path) = new_path();
    let (here, there) = (open(&path), open(&path));
    let mut subscription = here.subscribe(0, &[]).unwrap();
    assert!(subscription.next_timeout(Duration::ZERO).is_none());
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(30));
            insert(&there, event("a", 1)).unwrap();
            let tracking = Tracking::new("up", 3);
            there.insert_tracking(tracking).unwrap();
        });
        let next = subscription.next_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(next.position, 1);
        here.wait("up", 3, PATIENCE).unwrap();
    });
    // Versions and positions are those of the file.
    assert!(
        insert(&here, other(event("a", 1)))
            .unwrap_err()
            .is_conflict()
    );
    assert_eq!(insert(&here, event("a", 2)).unwrap(), 2);
}

#[test]
fn many_processes_store_without_gaps_or_losses() {
    const EVENTS: u64 = 40;
    let (_dir, path) = new_path();
    let recorders = [open(&path), open(&path), open(&path)];
    thread::scope(|scope| {
        for (recorder, aggregate) in recorders.iter().zip(["a", "b", "c"]) {
            scope.spawn(move || {
                for version in 1..=EVENTS {
                    insert(recorder, event(aggregate, version)).unwrap();
                }
            });
        }
    });
    let expected: Vec<u64> = (1..=3 * EVENTS).collect();
    assert_eq!(positions(&all(&recorders[0])), expected);
}

#[test]
fn a_new_file_can_be_opened_by_many_at_once() {
    let (_dir, path) = new_path();
    let recorders: Vec<_> = thread::scope(|scope| {
        let opening: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&path))).collect();
        opening
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for (recorder, version) in recorders.iter().zip(1..) {
        insert(recorder, event("a", version)).unwrap();
    }
}

#[test]
fn a_buffered_event_is_marked_until_it_is_synced() {
    let (_dir, path) = new_path();
    let recorder = open(&path);
    let marked = || {
        let connection = Connection::open(&path).unwrap();
        let sql = "SELECT max(first_position) FROM annals_buffered";
        let first: Option<i64> = connection.query_row(sql, [], |row| row.get(0)).unwrap();
        first
    };
    insert(&recorder, event("a", 1)).unwrap();
    assert_eq!(marked(), None);
    for version in [2, 3] {
        recorder
            .insert_events(vec![event("a", version)], Durability::Buffered)
            .unwrap();
        assert_eq!(marked(), Some(2));
    }
    // Who decides sees them; the mark stays.
    let found = recorder
        .select_events(&id("a"), SelectEvents::all())
        .unwrap();
    assert_eq!((found.len(), marked()), (3, Some(2)));
    // Who follows has them synced first.
    assert_eq!(recorder.max_position().unwrap(), Some(3));
    assert_eq!(marked(), None);

    recorder
        .insert_events(vec![event("a", 4)], Durability::Buffered)
        .unwrap();
    insert(&recorder, event("a", 5)).unwrap();
    assert_eq!(marked(), None);
}

#[test]
fn what_a_process_that_died_has_left_is_synced_when_it_is_opened() {
    let (_dir, path) = new_path();
    let recorder = open(&path);
    insert(&recorder, event("a", 1)).unwrap();
    recorder.close().unwrap();
    // A commit is what syncs, and what another connection sees of it is that there was one.
    let other = Connection::open(&path).unwrap();
    let commits = || -> i64 {
        other
            .query_row("PRAGMA data_version", [], |row| row.get(0))
            .unwrap()
    };
    let before = commits();
    let recorder = open(&path);
    assert_ne!(commits(), before);
    assert_eq!(recorder.max_position().unwrap(), Some(1));
}

#[test]
fn followers_see_what_is_durable_while_nothing_can_be_synced() {
    let (_dir, path) = new_path();
    let recorder = SqliteRecorder::options()
        .lock_timeout(Duration::from_millis(20))
        .open(&path)
        .unwrap();
    insert(&recorder, event("a", 1)).unwrap();
    recorder
        .insert_events(vec![event("a", 2)], Durability::Buffered)
        .unwrap();
    let mut other = Connection::open(&path).unwrap();
    let writing = other
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    assert_eq!(recorder.max_position().unwrap(), Some(1));
    assert_eq!(positions(&all(&recorder)), [1]);
    // Who decides sees what conditions count.
    let found = DcbRecorder::read(&recorder, &Query::all(), 0, None).unwrap();
    assert_eq!(found.head, Some(2));
    let mut subscription = recorder.subscribe(0, &[]).unwrap();
    assert_eq!(
        subscription
            .next_timeout(PATIENCE)
            .unwrap()
            .unwrap()
            .position,
        1
    );
    assert!(
        subscription
            .next_timeout(Duration::from_millis(50))
            .is_none()
    );

    let refused = insert(&recorder, event("a", 3)).unwrap_err();
    assert!(cause(&refused).is_locked(), "{refused:?}");
    writing.rollback().unwrap();
    assert_eq!(
        subscription
            .next_timeout(PATIENCE)
            .unwrap()
            .unwrap()
            .position,
        2
    );
    assert_eq!(insert(&recorder, event("a", 3)).unwrap(), 3);
}

#[test]
fn a_buffered_event_is_followed_without_another_insert() {
    let (_dir, path) = new_path();
    let recorder = open(&path);
    let mut subscription = recorder.subscribe(0, &[]).unwrap();
    recorder
        .insert_events(vec![event("a", 1)], Durability::Buffered)
        .unwrap();
    assert_eq!(
        subscription
            .next_timeout(PATIENCE)
            .unwrap()
            .unwrap()
            .position,
        1
    );
}

#[test]
fn a_damaged_row_is_told_in_its_place() {
    let (_dir, path) = new_path();
    let recorder = open(&path);
    for version in 1..=3 {
        insert(&recorder, event("a", version)).unwrap();
    }
    for damage in [
        "metadata = '{'",
        "aggregate_id = x'00'",
        "tags = x'ff'",
        "event_id = x'00'",
        "codec = 1",
        "codec = 256, key_id = 1, plain_len = 1",
    ] {
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(&format!(
                "CREATE TEMP TABLE kept AS SELECT * FROM annals_events WHERE position = 2;
                 UPDATE annals_events SET {damage} WHERE position = 2"
            ))
            .unwrap();
        let refused = recorder
            .select_notifications(&SelectNotifications::first(9))
            .unwrap_err();
        let PersistenceError::Damaged { source } = &refused else {
            panic!("{damage}: {refused:?}")
        };
        assert!(source.to_string().contains("row 2"), "{source}");

        let mut subscription = recorder.subscribe(0, &[]).unwrap();
        let mut next = || subscription.next_timeout(PATIENCE).unwrap();
        assert_eq!(next().unwrap().position, 1);
        assert!(matches!(next(), Err(PersistenceError::Damaged { .. })));
        assert_eq!(next().unwrap().position, 3);
        connection
            .execute_batch("REPLACE INTO annals_events SELECT * FROM kept; DROP TABLE kept")
            .unwrap();
    }
    assert_eq!(all(&recorder).len(), 3);
}

#[test]
fn a_condition_is_checked_where_the_events_are_stored() {
    const STUDENTS: u8 = 6;
    let (_dir, path) = new_path();
    let recorders = [open(&path), open(&path)];
    let join = |recorder: &SqliteRecorder, student: u8| {
        let tags = vec![b"course:1".to_vec(), vec![b's', student]];
        let joined = StoredEvent {
            tags,
            ..StoredEvent::new(Uuid::from_u128(student.into()), "Joined", "")
        };
        let course = Query::from(QueryItem::new().tag("course:1"));
        loop {
            let found = DcbRecorder::read(recorder, &course, 0, None).unwrap();
            if found.notifications.len() == 4 {
                return false;
            }
            let append = ConditionalAppend::new(vec![joined.clone()])
                .fail_if_match(course.clone(), found.head.unwrap_or(0));
            match recorder.append(append, Durability::Sync) {
                Ok(_) => return true,
                Err(error) => assert!(error.is_conflict(), "{error:?}"),
            }
        }
    };
    let joined: usize = thread::scope(|scope| {
        let spawn = |student: u8| {
            let recorder = &recorders[usize::from(student % 2)];
            scope.spawn(move || join(recorder, student))
        };
        let threads: Vec<_> = (0..STUDENTS).map(spawn).collect();
        threads
            .into_iter()
            .map(|thread| usize::from(thread.join().unwrap()))
            .sum()
    });
    assert_eq!((joined, all(&recorders[0]).len()), (4, 4));
}

#[test]
fn a_snapshot_comes_back_as_it_was_given() {
    let recorder = SqliteRecorder::in_memory().unwrap();
    let snapshot = |version| StoredEvent {
        metadata: Metadata::from([("k".to_owned(), "v".to_owned())]),
        encoding: Some(Encoding {
            codec: 1,
            key_id: u32::MAX,
            plain_len: u32::MAX,
        }),
        digest: Some(u64::MAX),
        ..event("a", version)
    };
    let latest = |upto| recorder.latest_snapshot(&id("a"), upto).unwrap();
    for version in [5, 2, 9] {
        recorder.insert_snapshot(snapshot(version)).unwrap();
    }
    assert_eq!(latest(1), None);
    assert_eq!(latest(4), Some(snapshot(2)));
    assert_eq!(latest(u64::MAX), Some(snapshot(9)));
    let newer = StoredEvent {
        payload: b"newer".to_vec(),
        ..snapshot(9)
    };
    recorder.insert_snapshot(newer.clone()).unwrap();
    assert_eq!(latest(9), Some(newer));
    recorder.delete_snapshots(&id("a")).unwrap();
    assert_eq!(latest(9), None);
    let of_none = StoredEvent::new(Uuid::nil(), "State", "");
    let refused = recorder.insert_snapshot(of_none).unwrap_err();
    assert!(matches!(refused, PersistenceError::NoAggregate { .. }));
}

#[test]
fn a_closed_recorder_answers_closed() {
    let (_dir, path) = new_path();
    for recorder in [open(&path), SqliteRecorder::in_memory().unwrap()] {
        recorder.close().unwrap();
        let is_closed = |error| matches!(error, PersistenceError::Closed);
        assert!(is_closed(recorder.max_position().unwrap_err()));
        assert!(is_closed(
            recorder.insert_snapshot(event("a", 1)).unwrap_err()
        ));
        assert!(recorder.subscribe(0, &[]).unwrap().is_stopped());
    }
}

fn new_path() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.db");
    (dir, path)
}

fn open(path: &Path) -> SqliteRecorder {
    SqliteRecorder::open(path).unwrap()
}

fn id(aggregate: &str) -> AggregateId {
    AggregateId::text(aggregate).unwrap()
}

fn event(aggregate: &str, version: u64) -> StoredEvent {
    StoredEvent::new(Uuid::from_u128(version.into()), "Happened", "{}").of(id(aggregate), version)
}

fn insert(recorder: &SqliteRecorder, event: StoredEvent) -> Result<u64, PersistenceError> {
    let recorded = recorder.insert_events(vec![event], Durability::Sync)?;
    Ok(recorded[0].position)
}

fn all(recorder: &SqliteRecorder) -> Vec<annals::Notification> {
    recorder
        .select_notifications(&SelectNotifications::first(usize::MAX))
        .unwrap()
}

fn positions(found: &[annals::Notification]) -> Vec<u64> {
    found.iter().map(|found| found.position).collect()
}

fn cause(error: &PersistenceError) -> &SqliteError {
    match error {
        PersistenceError::Store { source, .. } => source.downcast_ref().unwrap(),
        error => panic!("{error:?}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a file that is no database")]
fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a file that is no database")]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

const PATIENCE: Duration = Duration::from_secs(20);
