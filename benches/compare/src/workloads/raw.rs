//! What the disk does at most with the same bytes, without checks, indexes or reads.

use annals_cli::bench::RawFile;

use super::meter;
use crate::engine::Failure;
use crate::job::{Figures, Job};

/// Writes with a sync each, of `events` events.
pub(crate) fn durable(job: &Job, events: u64) -> Result<Figures, Failure> {
    let mut file = RawFile::create(&job.dir.join("raw"))?;
    let _ = file.durable_slice(EVENT_LEN, job.slice / 10)?;
    let meter = meter();
    let slice = file.durable_slice(EVENT_LEN * events as usize, job.slice)?;
    Ok(Figures::of_slice(slice, events as f64, meter))
}

/// Writes without a sync, of `events` events.
pub(crate) fn buffered(job: &Job, events: u64) -> Result<Figures, Failure> {
    let mut file = RawFile::create(&job.dir.join("raw"))?;
    let meter = meter();
    let slice = file.buffered_slice(EVENT_LEN * events as usize, job.slice)?;
    Ok(Figures::of_slice(slice, events as f64, meter))
}

/// What an event is made of: id, version, topic, payload.
pub(crate) fn bytes(_job: &Job) -> Result<Figures, Failure> {
    Ok(Figures::of((16 + 8 + 24 + 200) as f64, meter()))
}

/// Of one write, as `annals bench` has it: the event, rounded up.
const EVENT_LEN: usize = 256;
