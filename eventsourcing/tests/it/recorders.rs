//! The contract of the recorder traits, on every recorder that comes with the library.

use std::sync::{Arc, Mutex};

use annals::{LogRecorder, MemoryRecorder, MemoryView, conformance};

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
