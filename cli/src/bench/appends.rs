//! W1, W2, W3: appends, durable and buffered, beside what the disk does with the same bytes.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals_engine::{Batch, Durability, Log, NewEvent};

use crate::bench::error::BenchError;
use crate::bench::generator::{Generator, mix};
use crate::bench::line::{Line, rounded};
use crate::bench::loaded::batch;
use crate::bench::measure::{Laps, Measured, Slice};
use crate::bench::raw::RawFile;
use crate::bench::session::Session;
use crate::stopwatch::Stopwatch;

pub(crate) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    if session.begins("W1", "durable appends, one thread") {
        w1(session)?;
    }
    for (name, threads) in [("W2.16", 16), ("W2.64", 64)] {
        if session.begins(name, "durable appends, threads") {
            w2(session, name, threads)?;
        }
    }
    if session.begins("W2.submit", "durable appends, tickets") {
        w2_submit(session)?;
    }
    if session.begins("W3a", "buffered appends") {
        w3(session, "W3a", 1)?;
    }
    if session.begins("W3b", "buffered appends, 100 a commit") {
        w3(session, "W3b", 100)?;
    }
    Ok(())
}

/// A log that is appended to, and the number of the next event.
#[derive(Debug)]
pub struct Target<'a> {
    log: &'a Log,
    generator: &'a Generator,
    next: AtomicU64,
}

impl<'a> Target<'a> {
    /// A log that holds the generator's events below `next` and nothing else.
    pub fn new(log: &'a Log, generator: &'a Generator, next: u64) -> Self {
        Self {
            log,
            generator,
            next: AtomicU64::new(next),
        }
    }

    /// The next events as a batch.
    pub fn batch(&self, events: u64, durability: Durability) -> Batch {
        let first = self.next.fetch_add(events, Ordering::Relaxed);
        batch(self.generator, first, events, durability)
    }

    /// Commits of `events` from this thread for `limit`, or up to `most` of them.
    ///
    /// # Errors
    /// What the log says; [`BenchError::Wrong`] when an acknowledged event is not there.
    pub fn slice(
        &self,
        events: u64,
        durability: Durability,
        limit: Duration,
        most: u64,
    ) -> Result<Slice, BenchError> {
        let mut commits = 0;
        let slice = Slice::run(limit, || {
            let _ = self.log.append(self.batch(events, durability))?;
            commits += 1;
            Ok::<_, BenchError>(commits < most)
        })?;
        self.settle()?;
        Ok(slice)
    }

    /// Buffered or durable commits of one event, until something else ends the process or `told` of each position
    /// answers an error. Ends after a while, for whoever was to end it may be gone.
    ///
    /// # Errors
    /// As [`Target::slice`], and those of `told`.
    pub(crate) fn endless(
        &self,
        durability: Durability,
        mut told: impl FnMut(u64) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let start = Stopwatch::start();
        while start.elapsed() < crate::bench::opens::ENDLESS {
            told(self.log.append(self.batch(1, durability))?.last)?;
        }
        Ok(())
    }

    /// Durable commits from many threads, each waiting for its own, and how often one was in conflict and made
    /// again. `make` makes of an event what is appended; it has a number of the thread's own to draw from.
    ///
    /// # Errors
    /// As [`Target::slice`].
    pub fn threads_slice(
        &self,
        threads: usize,
        limit: Duration,
        make: &(dyn Fn(&mut u64, NewEvent) -> Batch + Sync),
    ) -> Result<(Slice, u64), BenchError> {
        let slice = self.threads_slice_unsettled(threads, limit, make)?;
        self.settle()?;
        Ok(slice)
    }

    /// As [`Target::threads_slice`], while others append too.
    pub(crate) fn threads_slice_unsettled(
        &self,
        threads: usize,
        limit: Duration,
        make: &(dyn Fn(&mut u64, NewEvent) -> Batch + Sync),
    ) -> Result<(Slice, u64), BenchError> {
        let start = Stopwatch::start();
        let work = |thread: usize| {
            let (mut laps, mut clock) = (Laps::default(), Stopwatch::start());
            let (mut state, mut conflicts) = (mix(thread as u64), 0);
            while clock.since(&start) < limit {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                loop {
                    match self
                        .log
                        .append(make(&mut state, self.generator.event(number)))
                    {
                        Ok(_) => break,
                        Err(error) if error.is_conflict() => conflicts += 1,
                        Err(error) => return Err(BenchError::from(error)),
                    }
                }
                laps.push(clock.lap());
            }
            Ok((laps, conflicts, clock.since(&start)))
        };
        let work = &work;
        let ended: Vec<_> = std::thread::scope(|scope| {
            let start = |thread| scope.spawn(move || work(thread));
            let threads: Vec<_> = (0..threads).map(start).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread
                    .join()
                    .expect("a thread of a benchmark does not panic")
            };
            threads.into_iter().map(join).collect()
        });
        let (mut laps, mut conflicts, mut elapsed) = (Laps::default(), 0, limit);
        for thread in ended {
            let (its_laps, its_conflicts, its_end) = thread?;
            laps.append(its_laps);
            conflicts += its_conflicts;
            elapsed = elapsed.max(its_end);
        }
        Ok((laps.into_slice(elapsed), conflicts))
    }

    /// Durable commits from this thread with up to `in_flight` tickets under way. Latencies are from handing over to
    /// knowing.
    ///
    /// # Errors
    /// As [`Target::slice`].
    pub fn tickets_slice(&self, in_flight: usize, limit: Duration) -> Result<Slice, BenchError> {
        let (start, mut laps) = (Stopwatch::start(), Laps::default());
        let mut tickets = VecDeque::with_capacity(in_flight);
        let mut is_over = false;
        while !is_over || !tickets.is_empty() {
            if !is_over && tickets.len() < in_flight {
                let ticket = self.log.submit(self.batch(1, Durability::Sync))?;
                tickets.push_back((ticket, Stopwatch::start()));
            } else if let Some((ticket, clock)) = tickets.pop_front() {
                let _ = ticket.wait()?;
                laps.push(clock.elapsed());
                is_over = start.elapsed() >= limit;
            }
        }
        let slice = laps.into_slice(start.elapsed());
        self.settle()?;
        Ok(slice)
    }

    /// Makes everything durable, so that it burdens no other slice, and checks that all is there.
    pub(crate) fn settle(&self) -> Result<(), BenchError> {
        let durable = self.log.sync()?;
        BenchError::check(
            "append",
            "durable head",
            durable,
            self.next.load(Ordering::Relaxed),
        )
    }

    /// Mean bytes that a commit of `events` puts in the segment, over a few hundred commits.
    ///
    /// # Errors
    /// As [`Target::slice`].
    pub fn bytes_per_commit(&self, events: u64) -> Result<usize, BenchError> {
        let before = self.log.stats()?.log_bytes;
        let commits = 200;
        let _ = self.slice(events, Durability::Buffered, Duration::MAX, commits)?;
        Ok(((self.log.stats()?.log_bytes - before) / commits) as usize)
    }
}

fn w1(session: &mut Session<'_>) -> Result<(), BenchError> {
    let (dir, pace) = (session.new_dir("w1")?, session.pace());
    let log = session.open(&dir.path().join("log"))?;
    let mut raw = RawFile::create(&dir.path().join("raw"))?;
    let target = Target::new(&log, session.generator(), 0);
    let len = target.bytes_per_commit(1)?;
    let progress = session.slices(2);
    let (own, limit) = pace.in_turns(
        |limit| {
            progress.inc(1);
            target.slice(1, Durability::Sync, limit, u64::MAX)
        },
        |limit| {
            progress.inc(1);
            raw.durable_slice(len, limit)
        },
    )?;
    let line = Line::more_is_better("W1", own.rate(), "commits/s")
        .latency(&own)
        .beside_raw(&own, &limit)
        .with("bytes_per_commit", len)
        .with("runs", own.runs());
    session.emit(line)
}

fn w2(session: &mut Session<'_>, name: &str, threads: usize) -> Result<(), BenchError> {
    let line = repeated(session, name, |target, limit| {
        let (slice, _) = target.threads_slice(threads, limit, &|_, event| event.into())?;
        Ok(slice)
    })?;
    session.emit(line.with("threads", threads))
}

fn w2_submit(session: &mut Session<'_>) -> Result<(), BenchError> {
    let in_flight = 1_000;
    let line = repeated(session, "W2.submit", |target, limit| {
        target.tickets_slice(in_flight, limit)
    })?;
    session.emit(line.with("in_flight", in_flight))
}

/// Slices of one kind over one new log.
fn repeated(
    session: &Session<'_>,
    name: &str,
    slice: impl Fn(&Target<'_>, Duration) -> Result<Slice, BenchError>,
) -> Result<Line, BenchError> {
    let (dir, pace) = (session.new_dir("w2")?, session.pace());
    let log = session.open(&dir.path().join("log"))?;
    let target = Target::new(&log, session.generator(), 0);
    let progress = session.slices(1);
    let mut own = Measured::default();
    for _ in 0..pace.rounds {
        own.push(slice(&target, pace.slice)?);
        progress.inc(1);
        pace.rest();
    }
    Ok(Line::more_is_better(name, own.rate(), "events/s")
        .latency(&own)
        .with("runs", own.runs()))
}

fn w3(session: &mut Session<'_>, name: &str, events: u64) -> Result<(), BenchError> {
    let (dir, pace) = (session.new_dir("w3")?, session.pace());
    let log = session.open(&dir.path().join("log"))?;
    let mut raw = RawFile::create(&dir.path().join("raw"))?;
    let target = Target::new(&log, session.generator(), 0);
    let len = target.bytes_per_commit(events)?;
    // As many bytes as the raw file takes, so that both roll over as much.
    let most = crate::bench::RAW_LEN / len as u64;
    let raw_len = if events == 1 { RAW_EVENT_LEN } else { len };
    let progress = session.slices(2);
    let (own, limit) = pace.in_turns(
        |limit| {
            progress.inc(1);
            target.slice(events, Durability::Buffered, limit, most)
        },
        |limit| {
            progress.inc(1);
            raw.buffered_slice(raw_len, limit)
        },
    )?;
    let (commits, per_commit) = (own.rate(), events as f64);
    let mut line = Line::more_is_better(name, commits * per_commit, "events/s")
        .latency(&own)
        .beside_raw(&own, &limit)
        .with("bytes_per_commit", len)
        .with("events_per_commit", events)
        .with("generator_ns", rounded(generator_ns(session.generator())))
        .with("raw_bytes_per_write", raw_len)
        .with("runs", own.runs());
    line.raw = line.raw.map(|raw| rounded(raw * per_commit));
    line.ratio_to_raw = line.raw.map(|raw| rounded(line.value / raw));
    session.emit(line)
}

/// What making an event costs, which is part of what an append is measured to cost.
fn generator_ns(generator: &Generator) -> f64 {
    const EVENTS: u64 = 20_000;
    let clock = Stopwatch::start();
    for number in 0..EVENTS {
        black_box(generator.event(number));
    }
    clock.elapsed().as_nanos() as f64 / EVENTS as f64
}

/// Bytes of one raw write beside an event of [`Generator`]: what it carries, rounded up.
const RAW_EVENT_LEN: usize = 256;
