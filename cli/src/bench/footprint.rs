//! W7: what a load takes, on the disk and on the heap.

use annals_engine::Log;

use crate::bench::error::BenchError;
use crate::bench::heap::peak_heap;
use crate::bench::line::{Line, rounded};
use crate::bench::loaded::{EVENTS_PER_COMMIT, load};
use crate::bench::machine::bytes_of_other_files;
use crate::bench::session::Session;

pub(crate) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    if session.begins("W7bytes", "bytes on the disk") {
        let many = bytes_per_event(session, EVENTS_PER_COMMIT)?;
        let single = bytes_per_event(session, 1)?;
        session.emit(bytes_line("W7bytes", many).with("commits_of_1", rounded(single)))?;
    }
    if session.begins("W7heap", "bytes on the heap") {
        let (dir, events) = (session.new_dir("w7")?, session.events());
        let bar = session.loading(events);
        let peak = counted_load(|| {
            let log = session.open(dir.path())?;
            load(
                &log,
                session.generator(),
                (0, events),
                EVENTS_PER_COMMIT,
                &bar,
            )
        })?;
        session.emit(heap_line("W7heap", peak))?;
    }
    Ok(())
}

/// Bytes of the log up to its last frame and of all derived files, after a load in commits of 100.
pub(crate) fn bytes_line(name: &str, bytes_per_event: f64) -> Line {
    Line::less_is_better(name, bytes_per_event, "bytes/event")
        .with("events_per_commit", EVENTS_PER_COMMIT)
}

/// Greatest growth of the heap during a load.
pub(crate) fn heap_line(name: &str, peak: u64) -> Line {
    Line::less_is_better(name, peak as f64 / f64::from(1 << 20), "MiB").with("bytes", peak)
}

/// Runs a load and answers how far the heap grew at most.
pub(crate) fn counted_load(
    load: impl FnOnce() -> Result<(), BenchError>,
) -> Result<u64, BenchError> {
    let (loaded, peak) = peak_heap(load);
    loaded?;
    peak.ok_or(BenchError::NothingCounts)
}

fn bytes_per_event(session: &Session<'_>, per_commit: u64) -> Result<f64, BenchError> {
    let (dir, events) = (session.new_dir("w7")?, session.events());
    let log = session.open(dir.path())?;
    let bar = session.loading(events);
    load(&log, session.generator(), (0, events), per_commit, &bar)?;
    log.close()?;
    stored_bytes_per_event(dir.path(), events)
}

/// Of a closed log of so many events: the log up to its last frame, and every file that is not a segment. What is
/// prepared ahead does not count.
pub(crate) fn stored_bytes_per_event(
    dir: &std::path::Path,
    events: u64,
) -> Result<f64, BenchError> {
    let stats = Log::open_read_only(dir)?.stats()?;
    BenchError::check("W7bytes", "events", stats.events, events)?;
    let others = bytes_of_other_files(dir, ".seg").map_err(|source| BenchError::Directory {
        dir: dir.to_owned(),
        doing: "list it",
        source,
    })?;
    Ok((stats.log_bytes + others) as f64 / events as f64)
}
