//! W4, W5: aggregates and replays of a loaded log that has been opened again.

use std::ops::RangeInclusive;
use std::time::Duration;

use annals_engine::{
    AggregateId, Batch, Direction, Durability, Event, Log, NewEvent, Query, QueryItem, View,
};

use crate::bench::error::BenchError;
use crate::bench::generator::{Generator, PAYLOAD_LEN, RARE, RARE_TAG, RARE_TOPIC, mix};
use crate::bench::line::Line;
use crate::bench::measure::{Measured, Slice};
use crate::bench::session::Session;
use crate::stopwatch::Stopwatch;

pub(crate) fn run(session: &mut Session<'_>) -> Result<(), BenchError> {
    if session.begins("W4", "reads of aggregates of about ten events") {
        w4(session)?;
    }
    if session.begins("W4hot", "reads of one large aggregate") {
        w4_hot(session)?;
    }
    if session.begins("W5", "replays") {
        replays(session, "W5", &Query::all(), session.events())?;
    }
    let rare = |place| (session.events() + RARE - 1 - place) / RARE;
    let (topics, tags) = (rare(750), rare(250));
    if session.begins("W5.topic", "replays of a rare topic") {
        replays(
            session,
            "W5.topic",
            &QueryItem::new().topic(RARE_TOPIC).into(),
            topics,
        )?;
    }
    if session.begins("W5.tag", "replays of a rare tag") {
        replays(
            session,
            "W5.tag",
            &QueryItem::new().tag(RARE_TAG).into(),
            tags,
        )?;
    }
    Ok(())
}

/// Aggregates to be read, in no order, with the events that each has.
#[derive(Clone, Debug)]
pub struct Readers {
    aggregates: Vec<(AggregateId, u64)>,
    next: usize,
}

impl Readers {
    /// Those aggregates `among` the first `events` of a generator that have about ten; all when there are none
    /// such.
    ///
    /// # Panics
    /// When none of the aggregates `among` has an event.
    pub fn of_about_ten(generator: &Generator, events: u64, among: std::ops::Range<u64>) -> Self {
        Self::of(generator, events, among.clone(), ABOUT_TEN)
            .or_else(|| Self::of(generator, events, among, 1..=u32::MAX))
            .expect("there is an event, so there is an aggregate")
    }

    fn of(
        generator: &Generator,
        events: u64,
        among: std::ops::Range<u64>,
        sizes: RangeInclusive<u32>,
    ) -> Option<Self> {
        let counts = generator.counts(events);
        let mut numbers: Vec<u64> = among
            .filter(|number| sizes.contains(&counts[*number as usize]))
            .collect();
        numbers.sort_unstable_by_key(|number| mix(*number));
        numbers.truncate(AGGREGATES_READ);
        let with_count = |number: &u64| {
            let id = AggregateId::from(generator.aggregate(*number));
            (id, counts[*number as usize].into())
        };
        let aggregates: Vec<_> = numbers.iter().map(with_count).collect();
        (!aggregates.is_empty()).then_some(Self {
            aggregates,
            next: 0,
        })
    }

    /// Starts elsewhere, so that several readers do not follow each other.
    #[must_use]
    pub fn starting_at(mut self, share: usize, of: usize) -> Self {
        self.next = self.aggregates.len() * share / of;
        self
    }

    /// Reads the next aggregate whole and checks every event of it. Answers how many it had.
    ///
    /// # Errors
    /// What the log says; [`BenchError::Wrong`] when it is not what was written.
    pub fn read_next(&mut self, view: &View) -> Result<u64, BenchError> {
        let (id, count) = &self.aggregates[self.next];
        self.next = (self.next + 1) % self.aggregates.len();
        read_aggregate(view, id, *count)?;
        Ok(*count)
    }

    /// Reads for `limit`, each aggregate through a view of its own.
    ///
    /// # Errors
    /// As [`Readers::read_next`].
    pub fn slice(&mut self, log: &Log, limit: Duration) -> Result<Slice, BenchError> {
        Slice::run(limit, || self.read_next(&log.view()).map(|_| true))
    }

    /// Leaves out what is beyond this number of aggregates.
    #[must_use]
    pub fn at_most(mut self, aggregates: usize) -> Self {
        self.aggregates.truncate(aggregates.max(1));
        self.next = 0;
        self
    }

    /// Number of aggregates; never 0.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.aggregates.len()
    }

    /// Mean number of events.
    pub fn mean_events(&self) -> f64 {
        let events: u64 = self.aggregates.iter().map(|(_, count)| count).sum();
        events as f64 / self.aggregates.len() as f64
    }

    /// The aggregates.
    pub fn ids(&self) -> impl Iterator<Item = &AggregateId> {
        self.aggregates.iter().map(|(id, _)| id)
    }
}

/// Reads an aggregate whole, and checks versions and payloads.
fn read_aggregate(view: &View, id: &AggregateId, count: u64) -> Result<(), BenchError> {
    let mut version = 0;
    for event in view.read_aggregate(id, .., Direction::Forward) {
        let event = event?;
        version += 1;
        if event.version() != Some(version) || !is_whole(&event) {
            return Err(wrong("read of an aggregate", &event));
        }
    }
    BenchError::check("read", "events of an aggregate", version, count)
}

/// Whether a payload is one of the generator's. Its bytes were all read already, to verify the event.
#[inline]
fn is_whole(event: &Event<'_>) -> bool {
    let payload = event.payload();
    payload.len() == PAYLOAD_LEN && payload.starts_with(b"{\"") && payload.ends_with(b"\"}")
}

fn wrong(workload: &str, event: &Event<'_>) -> BenchError {
    BenchError::WrongEvent {
        workload: workload.to_owned(),
        position: event.position(),
    }
}

fn w4(session: &mut Session<'_>) -> Result<(), BenchError> {
    let log = session.open_loaded()?;
    let (generator, events) = (session.generator(), session.events());
    let all = 0..generator.aggregate_count(events);
    let mut readers = Readers::of_about_ten(generator, events, all);
    let progress = session.slices(1);
    let mut own = Measured::default();
    // Once through what is to be read, so that the page cache and the maps are as warm as they get.
    let _ = readers.slice(&log, session.pace().slice)?;
    for _ in 0..session.pace().rounds {
        own.push(readers.slice(&log, session.pace().slice)?);
        progress.inc(1);
    }
    let line = Line::more_is_better("W4", own.rate(), "aggregates/s")
        .latency(&own)
        .with(
            "mean_events",
            crate::bench::line::rounded(readers.mean_events()),
        )
        .with("runs", own.runs());
    session.emit(line)
}

/// A log of its own: the aggregate has been written in one go, in the middle of others.
fn w4_hot(session: &mut Session<'_>) -> Result<(), BenchError> {
    let dir = session.new_dir("w4hot")?;
    let count = (session.events() / 10).clamp(100, 10_000);
    let (generator, id) = (session.generator(), AggregateId::from(HOT));
    let log = session.open(dir.path())?;
    let progress = session.loading(3 * count);
    crate::bench::load(&log, generator, (0, count), 100, &progress)?;
    for first in (0..count).step_by(100) {
        let event = |number| {
            let sample = generator.sample(number);
            NewEvent::new(sample.topic, sample.payload.as_slice()).aggregate(id.clone())
        };
        let events = (first..count.min(first + 100)).map(event);
        let _ =
            log.append(events.fold(Batch::new().durability(Durability::Buffered), Batch::event))?;
    }
    log.close()?;
    drop(progress);

    let log = session.open(dir.path())?;
    let mut own = Measured::default();
    let progress = session.slices(1);
    for _ in 0..session.pace().rounds {
        own.push(Slice::run(session.pace().slice, || {
            read_aggregate(&log.view(), &id, count).map(|()| true)
        })?);
        progress.inc(1);
    }
    let line = Line::less_is_better("W4hot", own.p50_us() / 1e3, "ms")
        .latency(&own)
        .with("aggregate_events", count)
        .with("runs", own.runs());
    session.emit(line)
}

fn replays(
    session: &mut Session<'_>,
    name: &str,
    query: &Query,
    expected: u64,
) -> Result<(), BenchError> {
    let log = session.open_loaded()?;
    let (mut own, progress) = (Measured::default(), session.slices(1));
    for _ in 0..session.pace().rounds {
        let (view, clock) = (log.view(), Stopwatch::start());
        let (mut count, mut last) = (0, 0);
        for event in view.read(..=session.events(), query, Direction::Forward) {
            let event = event?;
            count += 1;
            if event.position() <= last || !is_whole(&event) {
                return Err(wrong(name, &event));
            }
            last = event.position();
        }
        own.push(Slice::of_whole(count, clock.elapsed()));
        BenchError::check(name, "events of a replay", count, expected)?;
        progress.inc(1);
    }
    let line = Line::more_is_better(name, own.rate(), "events/s")
        .with("matches", expected)
        .with(
            "ms",
            crate::bench::line::rounded(expected as f64 / own.rate() * 1e3),
        )
        .with("runs", own.runs());
    session.emit(line)
}

/// What counts as about ten events.
pub(crate) const ABOUT_TEN: RangeInclusive<u32> = 8..=12;

/// So many aggregates are read over and over: more than any cache of a processor holds.
const AGGREGATES_READ: usize = 50_000;

/// The aggregate of W4hot.
const HOT: uuid::Uuid = uuid::Uuid::from_u128(0x0c0f_fee0);

#[cfg(test)]
mod tests {
    use annals_engine::Version;
    use indicatif::ProgressBar;

    use super::*;

    fn loaded(generator: &Generator, events: u64) -> Log {
        let log = Log::in_memory().unwrap();
        crate::bench::load(&log, generator, (0, events), 100, &ProgressBar::hidden()).unwrap();
        log
    }

    #[test]
    fn what_was_written_is_read_and_anything_else_is_an_error() {
        let generator = Generator::new(7, 2_000);
        let log = loaded(&generator, 2_000);
        let readers = Readers::of_about_ten(&generator, 2_000, 0..200);
        let sizes = 8.0..=12.0;
        assert!(
            sizes.contains(&readers.mean_events()),
            "{}",
            readers.mean_events()
        );
        let read_all = || {
            let mut readers = readers.clone();
            (0..readers.len()).try_for_each(|_| readers.read_next(&log.view()).map(drop))
        };
        read_all().unwrap();

        // One event more than is known.
        let id = readers.ids().next().unwrap().clone();
        let _ =
            log.append(NewEvent::new("t", generator.sample(0).payload.as_slice()).aggregate(id));
        assert!(matches!(read_all(), Err(BenchError::Wrong { .. })));
    }

    #[test]
    fn a_gap_in_the_versions_or_a_foreign_payload_is_an_error() {
        let log = Log::in_memory().unwrap();
        let sample = Generator::new(7, 1_000);
        let payload = sample.sample(0).payload.as_slice();
        let (gap, foreign) = (
            AggregateId::from(HOT),
            AggregateId::text("foreign").unwrap(),
        );
        let event =
            |id: &AggregateId, payload: &[u8]| NewEvent::new("t", payload).aggregate(id.clone());
        let _ = log.append(event(&gap, payload).version(Version::Given(2)));
        let _ = log.append(event(&foreign, b"{\"\"}"));
        for id in [gap, foreign] {
            let read = read_aggregate(&log.view(), &id, 1);
            assert!(
                matches!(read, Err(BenchError::WrongEvent { .. })),
                "{read:?}"
            );
        }
    }

    #[test]
    #[should_panic(expected = "so there is an aggregate")]
    fn readers_of_nothing_are_refused() {
        let _ = Readers::of_about_ten(&Generator::new(7, 1_000), 1_000, 0..0);
    }
}
