//! What a view in SQLite adds to the contract of views: files, and tables of its own.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use annals::rusqlite::Transaction;
use annals::{
    Durability, PersistenceError, SqliteError, SqliteOptions, SqliteRecorder, SqliteView, Step,
    StoredEvent, Tracking, TrackingRecorder, View, conformance,
};
use tempfile::TempDir;
use uuid::Uuid;

#[test]
fn a_view_keeps_the_contract() {
    conformance::view(
        || Arc::new(SqliteView::in_memory(SCHEMA).unwrap()),
        put,
        count,
    );
    let dirs = Mutex::new(Vec::new());
    conformance::view(
        || {
            let (dir, path) = new_path();
            dirs.lock().unwrap().push(dir);
            Arc::new(SqliteView::open(path, SCHEMA).unwrap())
        },
        put,
        count,
    );
}

#[test]
fn rows_and_position_are_there_when_it_is_opened_again() {
    for durability in [Durability::Buffered, Durability::Sync] {
        let (_dir, path) = new_path();
        let open = || {
            SqliteOptions::default()
                .view_durability(durability)
                .open_view(&path, SCHEMA)
                .unwrap()
        };
        advance(&open(), 7, 1).unwrap();
        let view = open();
        assert_eq!(
            (count(&view), view.max_tracking("up").unwrap()),
            (1, Some(7))
        );
        assert!(advance(&view, 7, 2).is_err());
        assert_eq!(count(&view), 1);
    }
}

#[test]
fn a_view_fits_beside_its_events_and_other_views() {
    let (_dir, path) = new_path();
    let recorder = SqliteRecorder::open(&path).unwrap();
    let view = SqliteView::open(&path, SCHEMA).unwrap();
    let other = SqliteOptions::default()
        .table_prefix("other_")
        .open_view(&path, "CREATE TABLE other (number INTEGER PRIMARY KEY)")
        .unwrap();
    advance(&view, 7, 1).unwrap();
    recorder.insert_tracking(Tracking::new("up", 3)).unwrap();
    annals::AggregateRecorder::insert_events(
        &recorder,
        vec![StoredEvent::new(Uuid::nil(), "Happened", "")],
        Durability::Sync,
    )
    .unwrap();
    let tracked = |recorder: &dyn TrackingRecorder| recorder.max_tracking("up").unwrap();
    assert_eq!(
        [tracked(&view), tracked(&recorder), tracked(&other)],
        [Some(7), Some(3), None]
    );
}

#[test]
fn a_view_stored_by_another_process_is_waited_for_and_read() {
    let (_dir, path) = new_path();
    let (here, there) = (
        SqliteView::open(&path, SCHEMA).unwrap(),
        SqliteView::open(&path, SCHEMA).unwrap(),
    );
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(30));
            advance(&there, 7, 1).unwrap();
        });
        here.wait("up", 7, Duration::from_secs(20)).unwrap();
        assert_eq!(count(&here), 1);
    });
}

#[test]
fn rows_are_read_while_others_are_stored() {
    let (_dir, path) = new_path();
    let view = SqliteView::open(path, SCHEMA).unwrap();
    advance(&view, 1, 1).unwrap();
    let step = Tracking::new("up", 2);
    let stored: Result<_, PersistenceError> = view.transact(Step::Advance(&step), |rows| {
        put(rows, 2);
        let seen = thread::scope(|scope| scope.spawn(|| count(&view)).join().unwrap());
        Ok(seen)
    });
    assert_eq!((stored.unwrap(), count(&view)), (1, 2));
}

#[test]
fn a_change_that_ends_its_transaction_is_told() {
    let view = SqliteView::in_memory(SCHEMA).unwrap();
    let step = Tracking::new("up", 2);
    let refused: Result<(), PersistenceError> = view.transact(Step::Advance(&step), |rows| {
        Ok(rows.execute_batch("ROLLBACK")?)
    });
    let Err(PersistenceError::Store { source, .. }) = refused else {
        panic!("{refused:?}")
    };
    let told = source.downcast_ref::<SqliteError>();
    assert!(
        matches!(told, Some(SqliteError::TransactionEnded)),
        "{source}"
    );
    assert_eq!(view.max_tracking("up").unwrap(), None);
    advance(&view, 2, 1).unwrap();
}

#[test]
fn reading_changes_nothing() {
    let (_dir, path) = new_path();
    let view = SqliteView::open(path, SCHEMA).unwrap();
    let refused = view.read(|rows| rows.execute("INSERT INTO numbers VALUES (1)", []));
    assert!(
        matches!(refused, Err(PersistenceError::Store { .. })),
        "{refused:?}"
    );
    let in_memory = SqliteView::in_memory(SCHEMA).unwrap();
    let _ = in_memory.read(|rows| rows.execute("INSERT INTO numbers VALUES (1)", []));
    assert_eq!((count(&view), count(&in_memory)), (0, 0));
}

fn put(rows: &mut Transaction<'_>, number: u64) {
    rows.execute("INSERT INTO numbers VALUES (?1)", [number.cast_signed()])
        .unwrap();
}

fn count(view: &SqliteView) -> u64 {
    let count = |row: &annals::rusqlite::Row<'_>| row.get::<_, i64>(0);
    let rows = view.read(|rows| rows.query_one("SELECT count(*) FROM numbers", [], count));
    rows.unwrap().cast_unsigned()
}

fn advance(view: &SqliteView, position: u64, number: u64) -> Result<(), PersistenceError> {
    view.transact(Step::Advance(&Tracking::new("up", position)), |rows| {
        put(rows, number);
        Ok(())
    })
}

fn new_path() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("view.db");
    (dir, path)
}

const SCHEMA: &str = "CREATE TABLE numbers (number INTEGER PRIMARY KEY)";
