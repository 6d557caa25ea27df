//! Logs that hold the events of a generator, from its first one on.

use std::path::Path;

use annals_engine::{Batch, Durability, Log};
use indicatif::ProgressBar;

use crate::bench::error::BenchError;
use crate::bench::generator::Generator;

/// Opens a log to be used with about so many events, or makes it: as anybody does without options, but for small
/// numbers with small segments, so that a quick look does not consist of zeros prepared for events that never come.
///
/// # Errors
/// What the log says.
pub fn open(dir: &Path, events: u64) -> Result<Log, BenchError> {
    let options = match events {
        50_000.. => Log::options(),
        _ => Log::options().segment_len(4 << 20),
    };
    Ok(options.open(dir)?)
}

/// A batch of the generator's events `first..first + events`.
pub fn batch(generator: &Generator, first: u64, events: u64, durability: Durability) -> Batch {
    (first..first + events)
        .map(|number| generator.event(number))
        .fold(Batch::new().durability(durability), Batch::event)
}

/// Appends the events `from..to` in buffered commits of `per_commit`, and syncs them. The log must hold the events
/// before them and nothing else, so that the event of number n lies at position n + 1.
///
/// # Errors
/// What the log says; [`BenchError::Wrong`] when the positions are others.
pub fn load(
    log: &Log,
    generator: &Generator,
    (from, to): (u64, u64),
    per_commit: u64,
    progress: &ProgressBar,
) -> Result<(), BenchError> {
    let mut first = from;
    while first < to {
        let events = per_commit.min(to - first);
        let appended = log.append(batch(generator, first, events, Durability::Buffered))?;
        BenchError::check(
            "load",
            "first position of a commit",
            appended.first,
            first + 1,
        )?;
        first += events;
        progress.inc(events);
    }
    let durable = log.sync()?;
    BenchError::check("load", "durable head", durable, to)
}

/// Makes a new log of the generator's first `events` in `dir`, in commits of 100, and closes it.
///
/// # Errors
/// As [`load`].
pub fn load_new(
    dir: &Path,
    generator: &Generator,
    events: u64,
    progress: &ProgressBar,
) -> Result<(), BenchError> {
    let log = open(dir, events)?;
    load(&log, generator, (0, events), EVENTS_PER_COMMIT, progress)?;
    Ok(log.close()?)
}

/// Events to a commit of a load.
pub const EVENTS_PER_COMMIT: u64 = 100;
