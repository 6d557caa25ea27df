//! W8: one durable writer beside four readers of at most 20,000 aggregates a second each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use annals_cli::bench::{Laps, Measured, Slice};

use super::appends::append_next;
use super::reads::Aggregates;
use super::{audit, meter, open};
use crate::engine::{Durability, Engine, Failure, Kind};
use crate::job::{Figures, Job};
use crate::source::{Source, Tally, Writer};

pub(crate) fn writer_and_readers(job: &Job, kind: &Kind) -> Result<Figures, Failure> {
    let engine = open(job, kind, Durability::Durable)?;
    let before = engine.head()?;
    let readers: Vec<_> = (0..READERS)
        .map(|reader| Aggregates::of_about_ten(job.events).from(reader * 7_919))
        .collect();
    // Those of this round are others than those of the rounds before.
    let source = Source::of_writer(before, 1, job.events);
    let mut writer = Writer::new(&source, job.events);
    let (meter, start, is_over) = (meter(), Instant::now(), AtomicBool::new(false));
    let (written, read): (Result<Slice, Failure>, Vec<_>) = std::thread::scope(|scope| {
        let (engine, is_over) = (&*engine, &is_over);
        let spawn = |reader| scope.spawn(move || read_at_most(engine, reader, is_over));
        let readers: Vec<_> = readers.into_iter().map(spawn).collect();
        let written = Slice::run(job.slice, || {
            append_next(engine, &mut writer)?;
            Ok::<_, Failure>(writer.count() < job.events)
        });
        is_over.store(true, Ordering::Relaxed);
        (
            written,
            readers.into_iter().map(|reader| reader.join()).collect(),
        )
    });
    let elapsed = start.elapsed();
    let mut laps = Laps::default();
    for reader in read {
        laps.append(reader.map_err(|_| Failure::broken("a reader panicked"))??);
    }
    let mut reads = Measured::default();
    reads.push(laps.into_slice(elapsed));
    let figures = Figures::of_slice(written?, 1.0, meter)
        .with("reads_per_s", reads.rate())
        .with("read_p50_us", reads.p50_us())
        .with("read_p99_us", reads.p99_us());
    audit(&*engine, before, Tally::of_source(&source, writer.count()))?;
    engine.close()?;
    Ok(figures)
}

/// Reads in bursts of a millisecond's worth, and sleeps until the next is due. Who is late reads on without
/// catching up.
fn read_at_most(
    engine: &dyn Engine,
    mut aggregates: Aggregates,
    is_over: &AtomicBool,
) -> Result<Laps, Failure> {
    let mut laps = Laps::default();
    let mut due = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        for _ in 0..READS_PER_MILLISECOND {
            let start = Instant::now();
            aggregates.read_next(engine)?;
            laps.push(start.elapsed());
        }
        due = (due + Duration::from_millis(1)).max(Instant::now());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(laps)
}

const READERS: usize = 4;
const READS_PER_MILLISECOND: usize = 20;
