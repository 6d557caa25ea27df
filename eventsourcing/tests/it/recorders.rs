//! The contract of the recorder traits, on every recorder that comes with the library.

use std::sync::{Arc, Mutex};

use annals::{
    AggregateId, AggregateRecorder, Durability, LogRecorder, MemoryRecorder, MemorySnapshots,
    MemoryView, Notification, PersistenceError, Recorded, Recorder, SelectEvents, SnapshotRecorder,
    StoredEvent, conformance,
};

#[test]
fn memory_keeps_the_contract() {
    conformance::process_recorder(|| Arc::new(MemoryRecorder::new()));
}

#[test]
fn memory_keeps_the_contract_of_decisions() {
    conformance::dcb_recorder(|| Arc::new(MemoryRecorder::new()));
    conformance::one_store(|| Arc::new(MemoryRecorder::new()));
}

#[test]
fn snapshots_in_memory_and_in_a_log_keep_the_contract() {
    conformance::snapshot_recorder(|| Arc::new(MemoryRecorder::new()));
    conformance::snapshot_recorder(|| {
        Arc::new(LogRecorder::from(annals_engine::Log::in_memory().unwrap()))
    });
    let dirs = Dirs::default();
    conformance::snapshot_recorder(|| Arc::new(dirs.log()));
}

#[test]
fn snapshots_of_models_keep_the_contract() {
    conformance::snapshot_recorder(|| {
        Arc::new(Beside {
            events: MemoryRecorder::new(),
            snapshots: MemorySnapshots::new(),
        })
    });
    let dirs = Dirs::default();
    for on_disk in [false, true] {
        conformance::snapshot_recorder(|| {
            let log = match on_disk {
                true => dirs.log(),
                false => log_in_memory(),
            };
            Arc::new(Beside {
                snapshots: log.model_snapshots(),
                events: log,
            })
        });
    }
}

/// Events, and snapshots beside them.
#[derive(Debug)]
struct Beside<E, S> {
    events: E,
    snapshots: S,
}

impl<E: Recorder, S: Recorder> Recorder for Beside<E, S> {
    fn close(&self) -> Result<(), PersistenceError> {
        self.events.close()?;
        self.snapshots.close()
    }
}

impl<E: AggregateRecorder, S: Recorder> AggregateRecorder for Beside<E, S> {
    fn insert_events(
        &self,
        events: Vec<StoredEvent>,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        self.events.insert_events(events, durability)
    }

    fn select_events(
        &self,
        aggregate_id: &AggregateId,
        select: SelectEvents,
    ) -> Result<Vec<Notification>, PersistenceError> {
        self.events.select_events(aggregate_id, select)
    }
}

impl<E: Recorder, S: SnapshotRecorder> SnapshotRecorder for Beside<E, S> {
    fn insert_snapshot(&self, snapshot: StoredEvent) -> Result<(), PersistenceError> {
        self.snapshots.insert_snapshot(snapshot)
    }

    fn latest_snapshot(
        &self,
        aggregate_id: &AggregateId,
        at_most_version: u64,
    ) -> Result<Option<StoredEvent>, PersistenceError> {
        self.snapshots
            .latest_snapshot(aggregate_id, at_most_version)
    }

    fn delete_snapshots(&self, aggregate_id: &AggregateId) -> Result<(), PersistenceError> {
        self.snapshots.delete_snapshots(aggregate_id)
    }
}

#[test]
fn a_log_in_memory_keeps_the_contract() {
    conformance::process_recorder(|| Arc::new(log_in_memory()));
}

#[test]
fn a_log_in_memory_keeps_the_contract_of_decisions() {
    conformance::dcb_recorder(|| Arc::new(log_in_memory()));
    conformance::one_store(|| Arc::new(log_in_memory()));
}

#[test]
fn a_log_on_disk_keeps_the_contract() {
    let dirs = Dirs::default();
    conformance::process_recorder(|| Arc::new(dirs.log()));
}

#[test]
fn a_log_on_disk_keeps_the_contract_of_decisions() {
    let dirs = Dirs::default();
    conformance::dcb_recorder(|| Arc::new(dirs.log()));
    conformance::one_store(|| Arc::new(dirs.log()));
}

fn log_in_memory() -> LogRecorder {
    LogRecorder::from(annals_engine::Log::in_memory().unwrap())
}

/// Directories of logs, which stay until all are done.
#[derive(Default)]
struct Dirs(Mutex<Vec<tempfile::TempDir>>);

impl Dirs {
    fn log(&self) -> LogRecorder {
        let dir = tempfile::tempdir().unwrap();
        // Small segments, or preparing them would be most of the work.
        let log = annals_engine::Log::options()
            .segment_len(1 << 20)
            .open(dir.path())
            .unwrap();
        self.0.lock().unwrap().push(dir);
        LogRecorder::from(log)
    }
}

#[test]
fn a_view_in_memory_keeps_the_contract() {
    conformance::view(
        || Arc::new(MemoryView::<u64, ()>::new()),
        |rows, number| rows.insert(number, ()),
        |view| view.read(|rows| rows.len() as u64),
    );
}
