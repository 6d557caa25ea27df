//! W1, W2, W3: appends.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use annals_cli::bench::{Laps, Slice};

use super::{audit, meter, open};
use crate::engine::{Buffered, Commit, Durability, Engine, Failure, Kind};
use crate::job::{Figures, Job};
use crate::source::{Source, Tally, Writer};

/// W2.submit: commits that one thread has in flight.
pub(crate) const IN_FLIGHT: u64 = 1_000;

/// W3b: events to a commit.
pub(crate) const EVENTS_PER_COMMIT: u64 = 100;

/// W1.
pub(crate) fn durable(job: &Job, kind: &Kind) -> Result<Figures, Failure> {
    one_by_one(job, kind, Durability::Durable)
}

/// W3a.
pub(crate) fn buffered(job: &Job, kind: &Kind) -> Result<Figures, Failure> {
    one_by_one(job, kind, Durability::Buffered)
}

fn one_by_one(job: &Job, kind: &Kind, durability: Durability) -> Result<Figures, Failure> {
    let source = Source::of_writer(0, 1, job.events);
    let mut writer = Writer::new(&source, job.events);
    let engine = open(job, kind, durability)?;
    for _ in 0..WARM_UP.min(job.events / 10) {
        append_next(&*engine, &mut writer)?;
    }
    let meter = meter();
    let slice = Slice::run(job.slice, || {
        append_next(&*engine, &mut writer)?;
        Ok::<_, Failure>(writer.count() < job.events)
    })?;
    let figures = Figures::of_slice(slice, 1.0, meter);
    engine.settle()?;
    close_and_audit(job, kind, engine, Tally::of_source(&source, writer.count()))?;
    Ok(figures)
}

/// Opened again, so that what is read is what the engine keeps.
fn close_and_audit(
    job: &Job,
    kind: &Kind,
    engine: Box<dyn Engine>,
    written: Tally,
) -> Result<(), Failure> {
    engine.close()?;
    let engine = open(job, kind, Durability::Durable)?;
    audit(&*engine, 0, written)?;
    engine.close()
}

pub(super) fn append_next(engine: &dyn Engine, writer: &mut Writer<'_>) -> Result<(), Failure> {
    let (aggregate, event) = writer.event();
    let position = engine.append(vec![event])?;
    writer.landed(aggregate, position);
    Ok(())
}

/// W2: every thread waits for its own commits, and has aggregates of its own.
pub(crate) fn threads(job: &Job, kind: &Kind, threads: u64) -> Result<Figures, Failure> {
    let sources: Vec<_> = (0..threads)
        .map(|thread| Source::of_writer(thread, threads, job.events))
        .collect();
    let engine = open(job, kind, Durability::Durable)?;
    let meter = meter();
    let (slice, counts) = in_threads(&sources, job.slice, |source, goes_on, timed| {
        let most = job.events / threads;
        let mut writer = Writer::new(source, most);
        while goes_on() && writer.count() < most {
            timed.time(|| append_next(&*engine, &mut writer))?;
        }
        Ok(writer.count())
    })?;
    let figures = Figures::of_slice(slice, 1.0, meter);
    close_and_audit(
        job,
        kind,
        engine,
        Tally::of_sources(sources.iter().zip(counts)),
    )?;
    Ok(figures)
}

/// Latencies of the operations of one thread, and when the last one ended.
pub(super) struct Timed {
    laps: Laps,
    end: Instant,
}

impl Timed {
    /// Does and times an operation.
    pub(super) fn time<T>(&mut self, operation: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let answer = operation();
        self.end = Instant::now();
        self.laps.push(self.end - start);
        answer
    }
}

/// Runs a thread for each of `sources` for the length of `slice`, and answers how many events each has written.
pub(super) fn in_threads<S: Sync>(
    sources: &[S],
    slice: Duration,
    work: impl Fn(&S, &dyn Fn() -> bool, &mut Timed) -> Result<u64, Failure> + Sync,
) -> Result<(Slice, Vec<u64>), Failure> {
    let start = Instant::now();
    let run = |source| {
        let goes_on = || start.elapsed() < slice;
        let mut timed = Timed {
            laps: Laps::default(),
            end: start,
        };
        let count = work(source, &goes_on, &mut timed)?;
        Ok::<_, Failure>((timed, count))
    };
    let (mut laps, mut counts, mut end) = (Laps::default(), Vec::new(), start);
    let ended: Vec<_> = std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = sources
            .iter()
            .map(|source| scope.spawn(move || run(source)))
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    for thread in ended {
        let (timed, count) = thread.map_err(|_| Failure::broken("a thread panicked"))??;
        laps.append(timed.laps);
        end = end.max(timed.end);
        counts.push(count);
    }
    Ok((laps.into_slice(end - start), counts))
}

/// W2.submit.
pub(crate) fn in_flight(job: &Job, kind: &Kind) -> Result<Figures, Failure> {
    let source = Source::in_turn(job.events);
    let mut writer = Writer::new(&source, job.events);
    let engine = open(job, kind, Durability::Durable)?;
    let meter = meter();
    let start = Instant::now();
    let slice = pipelined(&*engine, &mut writer, IN_FLIGHT, |writer| {
        start.elapsed() < job.slice && writer.count() < job.events
    })?;
    let figures = Figures::of_slice(slice, 1.0, meter);
    close_and_audit(job, kind, engine, Tally::of_source(&source, writer.count()))?;
    Ok(figures)
}

/// Commits of one event each, so many in flight. Nothing of an aggregate is handed over before its last event has
/// landed: its writer could not say where that lies.
fn pipelined(
    engine: &dyn Engine,
    writer: &mut Writer<'_>,
    in_flight: u64,
    goes_on: impl Fn(&Writer<'_>) -> bool,
) -> Result<Slice, Failure> {
    let none = || Failure::broken("the engine takes nothing without waiting");
    let mut pipeline = engine.pipeline().ok_or_else(none)?;
    let mut under_way = VecDeque::new();
    let (start, mut laps) = (Instant::now(), Laps::default());
    let mut is_over = false;
    while !is_over || !under_way.is_empty() {
        let has_room = under_way.len() < in_flight as usize;
        is_over = is_over || !goes_on(writer);
        if !is_over && has_room && !writer.waits() {
            let (aggregate, event) = writer.event();
            pipeline.submit(vec![event])?;
            under_way.push_back((aggregate, Instant::now()));
        } else if let Some((aggregate, submitted)) = under_way.pop_front() {
            writer.landed(aggregate, pipeline.wait_oldest()?);
            laps.push(submitted.elapsed());
        }
    }
    Ok(laps.into_slice(start.elapsed()))
}

/// W3b: fills a store, which stays open to be killed. An engine that is always durable may have as many commits in
/// flight as the others have events in a commit.
pub(crate) fn load(job: &Job, kind: &Kind) -> Result<Figures, Failure> {
    let source = Source::loaded(job.events);
    let mut writer = Writer::new(&source, job.events);
    let engine = open(job, kind, Durability::Buffered)?;
    let meter = meter();
    let figures = if kind.buffered == Buffered::Never {
        let goes_on = |writer: &Writer<'_>| writer.count() < job.events;
        let slice = pipelined(&*engine, &mut writer, EVENTS_PER_COMMIT, goes_on)?;
        Figures::of_slice(slice, 1.0, meter)
    } else {
        let slice = Slice::run(Duration::MAX, || {
            let len = EVENTS_PER_COMMIT.min(job.events - writer.count());
            let (aggregates, commit): (Vec<_>, Commit) = (0..len).map(|_| writer.event()).unzip();
            let first = engine.append(commit)?;
            for (aggregate, position) in aggregates.into_iter().zip(first..) {
                writer.landed(aggregate, position);
            }
            Ok::<_, Failure>(writer.count() < job.events)
        })?;
        Figures::of_slice(slice, EVENTS_PER_COMMIT as f64, meter)
    };
    engine.settle()?;
    // Neither closed nor dropped: the end comes from outside.
    std::mem::forget(engine);
    Ok(figures)
}

/// Commits that are not measured: the first ones make files.
const WARM_UP: u64 = 200;
