//! An empty store of each kind that comes with the library, for tests of what is above them.

#[cfg(feature = "sqlite")]
use std::cell::RefCell;
use std::sync::Arc;

use annals::{
    DcbRecorder, LogRecorder, MemoryRecorder, MemorySnapshots, ProcessRecorder, SnapshotRecorder,
};

/// Keeps whatever there is to be kept.
pub(crate) trait Everything: ProcessRecorder + DcbRecorder + SnapshotRecorder {}

impl<R: ProcessRecorder + DcbRecorder + SnapshotRecorder> Everything for R {}

pub(crate) struct Store {
    pub(crate) recorder: Arc<dyn Everything>,
    /// Beside it, for decision models.
    pub(crate) model_snapshots: Arc<dyn SnapshotRecorder>,
}

/// In memory, in a log, and in SQLite where that is built in.
pub(crate) fn stores() -> Vec<Store> {
    let log = LogRecorder::from(annals_engine::Log::in_memory().unwrap());
    let model_snapshots = Arc::new(log.model_snapshots());
    let memory = Store {
        recorder: Arc::new(MemoryRecorder::new()),
        model_snapshots: Arc::new(MemorySnapshots::new()),
    };
    let log = Store {
        recorder: Arc::new(log),
        model_snapshots,
    };
    [memory, log].into_iter().chain(in_sqlite()).collect()
}

/// The recorders of [`stores`] only.
pub(crate) fn recorders() -> impl Iterator<Item = Arc<dyn Everything>> {
    stores().into_iter().map(|store| store.recorder)
}

#[cfg(feature = "sqlite")]
fn in_sqlite() -> [Store; 2] {
    use annals::SqliteRecorder;

    let dir = tempfile::tempdir().unwrap();
    let file = SqliteRecorder::open(dir.path().join("events.db")).unwrap();
    DIRS.with_borrow_mut(|dirs| dirs.push(dir));
    [file, SqliteRecorder::in_memory().unwrap()].map(|recorder| {
        let recorder = Arc::new(recorder);
        Store {
            model_snapshots: recorder.clone(),
            recorder,
        }
    })
}

#[cfg(not(feature = "sqlite"))]
fn in_sqlite() -> [Store; 0] {
    []
}

#[cfg(feature = "sqlite")]
thread_local! {
    /// They stay until the thread of the test ends.
    static DIRS: RefCell<Vec<tempfile::TempDir>> = const { RefCell::new(Vec::new()) };
}
