//! W8: one durable writer beside four readers, on a loaded log.
//!
//! Readers that never sleep would measure the scheduler, not the log: on few cores the writer waits for a slice of
//! time whenever its sync returns. So each reader is capped: twenty aggregates at once, every millisecond.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annals_engine::{Durability, Log};

use crate::bench::appends::Target;
use crate::bench::error::BenchError;
use crate::bench::line::{Line, rounded};
use crate::bench::measure::{Laps, Measured, Slice};
use crate::bench::reads::Readers;
use crate::bench::session::Session;
use crate::stopwatch::Stopwatch;

pub(crate) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    if !session.begins("W8", "a durable writer beside four readers") {
        return Ok(());
    }
    let log = session.open_loaded()?;
    let (generator, events) = (session.generator(), session.events());
    let target = Target::new(&log, generator, log.head());
    let all = 0..generator.aggregate_count(events);
    let readers = || {
        let readers = Readers::of_about_ten(generator, events, all.clone());
        (0..READERS).map(move |place| readers.clone().starting_at(place, READERS))
    };
    let mut readers: Vec<Readers> = readers().collect();
    let (pace, bar) = (session.pace(), session.slices(2));
    let mut reads = Measured::default();
    let (beside, alone) = pace.in_turns(
        |limit| {
            bar.inc(1);
            let (writes, slice) = beside_readers(&log, &target, &mut readers, limit)?;
            reads.push(slice);
            Ok::<_, BenchError>(writes)
        },
        |limit| {
            bar.inc(1);
            target.slice(1, Durability::Sync, limit, u64::MAX)
        },
    )?;
    let line = Line::more_is_better("W8", beside.rate(), "commits/s")
        .latency(&beside)
        .beside("W1", &beside, &alone)
        .with(
            "p99_to_base",
            rounded(beside.p99_us() / alone.p99_us().max(1e-3)),
        )
        .with("readers", READERS)
        .with("reads_per_s", rounded(reads.rate()))
        .with("reader_p50_us", rounded(reads.p50_us()))
        .with("reader_p99_us", rounded(reads.p99_us()))
        .with("runs", beside.runs());
    session.emit(line)
}

fn beside_readers(
    log: &Log,
    target: &Target<'_>,
    readers: &mut [Readers],
    limit: Duration,
) -> Result<(Slice, Slice), BenchError> {
    let (is_over, start) = (AtomicBool::new(false), Stopwatch::start());
    let (writes, laps) = std::thread::scope(|scope| {
        let threads: Vec<_> = readers
            .iter_mut()
            .map(|readers| scope.spawn(|| read_capped(log, readers, &is_over)))
            .collect();
        let writes = target.slice(1, Durability::Sync, limit, u64::MAX);
        is_over.store(true, Ordering::Relaxed);
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .expect("a thread of a benchmark does not panic")
        };
        let laps: Vec<Result<Laps, BenchError>> = threads.into_iter().map(join).collect();
        (writes, laps)
    });
    let mut all = Laps::default();
    for laps in laps {
        all.append(laps?);
    }
    Ok((writes?, all.into_slice(start.elapsed())))
}

/// Reads [`READS_PER_TICK`] aggregates every [`TICK`] and never more, also when it is late.
fn read_capped(log: &Log, readers: &mut Readers, is_over: &AtomicBool) -> Result<Laps, BenchError> {
    let mut laps = Laps::default();
    while !is_over.load(Ordering::Relaxed) {
        let tick = Stopwatch::start();
        let mut clock = tick;
        for _ in 0..READS_PER_TICK {
            let _ = readers.read_next(&log.view())?;
            laps.push(clock.lap());
        }
        std::thread::sleep(TICK.saturating_sub(clock.since(&tick)));
    }
    Ok(laps)
}

const READERS: usize = 4;
const TICK: Duration = Duration::from_millis(1);
const READS_PER_TICK: u32 = 20;
