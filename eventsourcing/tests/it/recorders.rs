//! The contract of the recorder traits, on every recorder that comes with the library.

use std::sync::{Arc, Mutex};

use annals::{LogRecorder, MemoryRecorder, conformance};

#[test]
fn memory_keeps_the_contract() {
    conformance::process_recorder(|| Arc::new(MemoryRecorder::new()));
}

#[test]
fn a_log_in_memory_keeps_the_contract() {
    conformance::process_recorder(|| {
        let log = annals_engine::Log::in_memory().unwrap();
        Arc::new(LogRecorder::from(log))
    });
}

#[test]
fn a_log_on_disk_keeps_the_contract() {
    let dirs = Mutex::new(Vec::new());
    conformance::process_recorder(|| {
        let dir = tempfile::tempdir().unwrap();
        // Small segments, or preparing them would be most of the work.
        let log = annals_engine::Log::options()
            .segment_len(1 << 20)
            .open(dir.path())
            .unwrap();
        let recorder = LogRecorder::from(log);
        dirs.lock().unwrap().push(dir);
        Arc::new(recorder)
    });
}
