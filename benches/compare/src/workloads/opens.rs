//! W6, W7: how long an open takes, and what the store takes on the disk.

use std::time::{Duration, Instant};

use super::reads::Aggregates;
use super::{audit, meter, open};
use crate::disk_use::DiskUse;
use crate::engine::{Durability, Failure, Kind};
use crate::job::{Figures, Job};
use crate::source::{Source, Tally};

/// W6killed. Everything is read afterwards: what was acknowledged has to be there.
pub(crate) fn after_kill(job: &Job, kind: &Kind) -> Result<Figures, Failure> {
    timed_open(job, kind, true)
}

/// W6clean.
pub(crate) fn after_close(job: &Job, kind: &Kind) -> Result<Figures, Failure> {
    timed_open(job, kind, false)
}

/// From nothing to the first aggregate that was read.
fn timed_open(job: &Job, kind: &Kind, audits: bool) -> Result<Figures, Failure> {
    let mut aggregates = Aggregates::of_about_ten(job.events);
    let meter = meter();
    // An open is too short to see in the system's ticks what else was going on.
    std::thread::sleep(AROUND);
    let start = Instant::now();
    let engine = open(job, kind, Durability::Durable)?;
    let opened = start.elapsed();
    aggregates.read_next(&*engine)?;
    let elapsed = start.elapsed();
    std::thread::sleep(AROUND);
    let figures = Figures::of(elapsed.as_secs_f64() * 1e3, meter);
    if audits {
        let source = Source::loaded(job.events);
        audit(&*engine, 0, Tally::of_source(&source, job.events))?;
    }
    engine.close()?;
    Ok(figures.with("open_ms", opened.as_secs_f64() * 1e3))
}

/// W7bytes, of a store that is closed.
pub(crate) fn bytes(job: &Job, _kind: &Kind) -> Result<Figures, Failure> {
    let meter = meter();
    let disk = DiskUse::of(&job.dir)?;
    let per_event = |bytes: u64| bytes as f64 / job.events as f64;
    Ok(Figures::of(per_event(disk.used), meter).with("allocated", per_event(disk.allocated)))
}

const AROUND: Duration = Duration::from_millis(150);
