//! W4, W5: reads of a loaded store that has been opened again.

use std::time::Duration;

use annals_cli::bench::{Slice, mix};

use super::{meter, open};
use crate::engine::{Durability, Engine, Failure, Kind, Seen};
use crate::job::{Figures, Job};
use crate::source::{Glance, Source};

/// W4.
pub(crate) fn aggregates(job: &Job, kind: &Kind) -> Result<Figures, Failure> {
    let engine = open(job, kind, Durability::Durable)?;
    let mut readers = Aggregates::of_about_ten(job.events);
    // What is cold here is a cache of the engine's own, and the first touch of mapped pages.
    let _ = Slice::run(job.slice / 2, || readers.read_next(&*engine))?;
    let meter = meter();
    let slice = Slice::run(job.slice, || readers.read_next(&*engine))?;
    let figures = Figures::of_slice(slice, 1.0, meter);
    engine.close()?;
    Ok(latency(figures, 1.0, "aggregates_per_s"))
}

/// W4hot.
pub(crate) fn hot_aggregate(job: &Job, kind: &Kind) -> Result<Figures, Failure> {
    let engine = open(job, kind, Durability::Durable)?;
    let source = Source::loaded(job.events);
    let hot = source.aggregate_count(job.events) - 1;
    let expected = Glance::of_aggregates(&source, job.events)[hot];
    let mut read = || read_aggregate(&*engine, source.aggregate(hot), expected).map(|()| true);
    let _ = Slice::run(job.slice / 4, &mut read)?;
    let meter = meter();
    let slice = Slice::run(job.slice, &mut read)?;
    let figures = Figures::of_slice(slice, 1.0, meter).with("events", expected.events as f64);
    engine.close()?;
    Ok(latency(figures, 1e-3, "aggregates_per_s"))
}

/// The median latency becomes the figure.
fn latency(figures: Figures, scale: f64, rate: &str) -> Figures {
    let (value, per_second) = (figures.p50_us.unwrap_or(0.0) * scale, figures.value);
    Figures { value, ..figures }.with(rate, per_second)
}

/// W5: at least three replays; the figure is the median one.
pub(crate) fn replay(job: &Job, kind: &Kind) -> Result<Figures, Failure> {
    let engine = open(job, kind, Durability::Durable)?;
    let expected = Glance::of_all(&Glance::of_aggregates(
        &Source::loaded(job.events),
        job.events,
    ));
    let meter = meter();
    let mut replays = 0;
    let start = std::time::Instant::now();
    let slice = Slice::run(Duration::MAX, || {
        let (mut read, mut is_ours) = (Glance::default(), true);
        engine.replay(&mut |seen: Seen<'_>| {
            is_ours &= read.add(seen.version, seen.payload) & (seen.position == read.events);
        })?;
        check("a replay", read, expected, is_ours)?;
        replays += 1;
        Ok::<_, Failure>(replays < 3 || start.elapsed() < job.slice)
    })?;
    let figures = Figures::of_slice(slice, 1.0, meter);
    engine.close()?;
    let seconds = figures.p50_us.unwrap_or(0.0) / 1e6;
    Ok(Figures {
        value: expected.events as f64 / seconds,
        ..figures
    })
}

/// Aggregates of about ten events each, in no order, over and over.
pub(super) struct Aggregates {
    source: Source,
    chosen: Vec<(usize, Glance)>,
    next: usize,
}

impl Aggregates {
    pub(super) fn of_about_ten(events: u64) -> Self {
        let source = Source::loaded(events);
        let glances = Glance::of_aggregates(&source, events);
        let mut chosen: Vec<_> = glances
            .into_iter()
            .enumerate()
            .filter(|(_, glance)| (8..=12).contains(&glance.events))
            .collect();
        chosen.sort_unstable_by_key(|(number, _)| mix(*number as u64));
        assert!(
            !chosen.is_empty(),
            "no aggregate has about ten of {events} events"
        );
        Self {
            source,
            chosen,
            next: 0,
        }
    }

    /// Starts elsewhere, so that several readers do not follow each other.
    pub(super) fn from(mut self, place: usize) -> Self {
        self.next = place % self.chosen.len();
        self
    }

    /// Reads the next one and checks what it reads.
    pub(super) fn read_next(&mut self, engine: &dyn Engine) -> Result<bool, Failure> {
        let (number, expected) = self.chosen[self.next];
        self.next = (self.next + 1) % self.chosen.len();
        read_aggregate(engine, self.source.aggregate(number), expected)?;
        Ok(true)
    }
}

fn read_aggregate(
    engine: &dyn Engine,
    aggregate: [u8; 16],
    expected: Glance,
) -> Result<(), Failure> {
    let (mut read, mut is_ours) = (Glance::default(), true);
    engine.read_aggregate(aggregate, &mut |seen: Seen<'_>| {
        is_ours &= read.add(seen.version, seen.payload) & (seen.version == read.events);
        is_ours &= seen.aggregate == aggregate;
    })?;
    check("an aggregate", read, expected, is_ours)
}

fn check(what: &str, read: Glance, expected: Glance, is_ours: bool) -> Result<(), Failure> {
    match is_ours && read == expected {
        true => Ok(()),
        false => Err(Failure::broken(format!(
            "{what} is not what was written: {} of {} events, or others",
            read.events, expected.events
        ))),
    }
}
