//! Where the events of a workload come from, and what of them has to be found again.
//!
//! The events are those of `annals bench`. A store that is loaded also has one hot aggregate, which gets every
//! hundredth event. A writer knows of each aggregate what somebody would know who has read it.

use annals_cli::bench::{Generator, PAYLOAD_LEN, SEED, Sample, mix};
use uuid::Uuid;

use crate::engine::{Known, NewEvent, Seen};

/// Events by number.
#[derive(Debug)]
pub(crate) struct Source {
    generator: Generator,
    order: Order,
}

/// Which aggregate is next.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// The generator's choice.
    Skewed,
    /// The same, and the hot aggregate, which has this number, in between.
    SkewedAndHot(u64),
    /// One of this many after the other.
    InTurn(u64),
}

impl Source {
    /// The events that a store is loaded with: over a tenth as many aggregates, and the hot one.
    pub(crate) fn loaded(events: u64) -> Self {
        let generator = Generator::new(SEED, events);
        let order = Order::SkewedAndHot(generator.aggregate_count(events));
        Self { generator, order }
    }

    /// The events of one of several writers, whose aggregates are its own; `events` are those of all.
    pub(crate) fn of_writer(writer: u64, writers: u64, events: u64) -> Self {
        Self {
            generator: Generator::new(mix(SEED ^ (writer + 1)), events / writers),
            order: Order::Skewed,
        }
    }

    /// Events of which no two near each other belong to one aggregate, for those who write on before they know
    /// where the last one lies.
    pub(crate) fn in_turn(events: u64) -> Self {
        let generator = Generator::new(SEED, events);
        let order = Order::InTurn(generator.aggregate_count(events));
        Self { generator, order }
    }

    /// Aggregates that the first `events` may belong to, the hot one last.
    pub(crate) fn aggregate_count(&self, events: u64) -> usize {
        let count = match self.order {
            Order::Skewed => self.generator.aggregate_count(events),
            Order::SkewedAndHot(hot) => hot + 1,
            Order::InTurn(count) => count,
        };
        count as usize
    }

    /// Id of an aggregate.
    pub(crate) fn aggregate(&self, number: usize) -> [u8; 16] {
        match self.order {
            Order::SkewedAndHot(hot) if hot == number as u64 => HOT.into_bytes(),
            _ => self.generator.aggregate(number as u64).into_bytes(),
        }
    }

    fn sample(&self, number: u64) -> Sample<'_> {
        let mut sample = self.generator.sample(number);
        match self.order {
            Order::SkewedAndHot(hot) if number % HOT_EVERY == HOT_EVERY / 2 => {
                (sample.aggregate, sample.id) = (hot, HOT);
            }
            Order::InTurn(count) => {
                sample.aggregate = number % count;
                sample.id = self.generator.aggregate(sample.aggregate);
            }
            Order::Skewed | Order::SkewedAndHot(_) => {}
        }
        sample
    }
}

/// One of this many events of a loaded store belongs to the hot aggregate.
pub(crate) const HOT_EVERY: u64 = 100;

const HOT: Uuid = Uuid::from_u128(0x0c0f_fee0_0000_0000_0000_0000_0c0f_fee0);

/// Makes the events of a source one by one.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    source: &'a Source,
    next: u64,
    last: Vec<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    version: u64,
    known: Known,
}

impl<'a> Writer<'a> {
    /// A writer of a source's events from the first one on, of `events` at most.
    pub(crate) fn new(source: &'a Source, events: u64) -> Self {
        let nothing = Last {
            version: 0,
            known: Known::Nothing,
        };
        let last = vec![nothing; source.aggregate_count(events)];
        Self {
            source,
            next: 0,
            last,
        }
    }

    /// The next event, with the number of its aggregate. The writer takes it for written.
    pub(crate) fn event(&mut self) -> (usize, NewEvent) {
        let sample = self.source.sample(self.next);
        let aggregate = sample.aggregate as usize;
        self.next += 1;
        let last = &mut self.last[aggregate];
        let known = std::mem::replace(&mut last.known, Known::InThisCommit);
        last.version += 1;
        let event = NewEvent {
            aggregate: sample.id.into_bytes(),
            version: last.version,
            known,
            topic: sample.topic,
            tags: Vec::new(),
            payload: sample.payload.to_vec(),
        };
        (aggregate, event)
    }

    /// Notes where the last event of an aggregate lies.
    pub(crate) fn landed(&mut self, aggregate: usize, position: u64) {
        self.last[aggregate].known = Known::At(position);
    }

    /// Whether the last event of the next one's aggregate has not landed yet.
    pub(crate) fn waits(&self) -> bool {
        let aggregate = self.source.sample(self.next).aggregate as usize;
        self.last[aggregate].known == Known::InThisCommit
    }

    /// Events made so far.
    pub(crate) fn count(&self) -> u64 {
        self.next
    }
}

/// What was written or read, so that the one can be compared with the other: the count, and a sum over everything
/// that each event is made of. The order does not matter to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Events.
    pub(crate) events: u64,
    sum: u64,
}

impl Tally {
    /// The first `events` of a source.
    pub(crate) fn of_source(source: &Source, events: u64) -> Self {
        let (mut writer, mut tally) = (Writer::new(source, events), Self::default());
        for _ in 0..events {
            let (_, event) = writer.event();
            tally.add(event.aggregate, event.version, event.topic, &event.payload);
        }
        tally
    }

    /// The first so many of each of several sources.
    pub(crate) fn of_sources<'s>(sources: impl IntoIterator<Item = (&'s Source, u64)>) -> Self {
        let tallies = sources
            .into_iter()
            .map(|(source, events)| Self::of_source(source, events));
        tallies.fold(Self::default(), |all, one| Self {
            events: all.events + one.events,
            sum: all.sum.wrapping_add(one.sum),
        })
    }

    /// Adds an event that was read.
    pub(crate) fn add_seen(&mut self, seen: &Seen<'_>) {
        self.add(seen.aggregate, seen.version, seen.topic, seen.payload);
    }

    fn add(&mut self, aggregate: [u8; 16], version: u64, topic: &str, payload: &[u8]) {
        let parts = [
            aggregate.as_slice(),
            &version.to_le_bytes(),
            topic.as_bytes(),
            payload,
        ];
        self.events += 1;
        self.sum = self.sum.wrapping_add(parts.into_iter().fold(0, digest));
    }
}

/// Continues the digest of what came before with a part of any length.
fn digest(before: u64, part: &[u8]) -> u64 {
    let (words, rest) = part.as_chunks();
    let start = mix(before ^ part.len() as u64);
    let sum = words
        .iter()
        .fold(start, |sum, word| mix(sum ^ u64::from_le_bytes(*word)));
    rest.iter()
        .fold(sum, |sum, byte| mix(sum ^ u64::from(*byte)))
}

/// What is compared while a read is timed: it costs every engine the same two or three nanoseconds an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Glance {
    /// Events.
    pub(crate) events: u64,
    sum: u64,
}

impl Glance {
    /// Adds an event: its version and its payload's own number; `false` when it cannot be one of ours.
    #[inline]
    pub(crate) fn add(&mut self, version: u64, payload: &[u8]) -> bool {
        let number = payload
            .get(ORDER_NUMBER)
            .and_then(|bytes| bytes.try_into().ok());
        let number = u64::from_le_bytes(number.unwrap_or_default());
        self.events += 1;
        self.sum = self
            .sum
            .wrapping_add((number ^ version).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        payload.len() == PAYLOAD_LEN
    }

    /// The glance at each aggregate, by number, among the first `events` of a source.
    pub(crate) fn of_aggregates(source: &Source, events: u64) -> Vec<Self> {
        let mut glances = vec![Self::default(); source.aggregate_count(events)];
        for number in 0..events {
            let sample = source.sample(number);
            let glance = &mut glances[sample.aggregate as usize];
            glance.add(glance.events + 1, sample.payload);
        }
        glances
    }

    /// The glance at everything, from those at its aggregates.
    pub(crate) fn of_all(aggregates: &[Self]) -> Self {
        aggregates.iter().fold(Self::default(), |all, one| Self {
            events: all.events + one.events,
            sum: all.sum.wrapping_add(one.sum),
        })
    }
}

/// Where a payload has the first eight digits of its random order number.
const ORDER_NUMBER: std::ops::Range<usize> = 12..20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_counts_versions_and_knows_what_has_landed() {
        let source = Source::loaded(1_000);
        let mut writer = Writer::new(&source, 1_000);
        let mut versions = std::collections::HashMap::new();
        let mut tally = Tally::default();
        for position in 1..=1_000 {
            assert!(!writer.waits());
            let (aggregate, event) = writer.event();
            let version = versions.entry(event.aggregate).or_insert((0, 0));
            assert_eq!(event.version, version.0 + 1);
            assert_eq!(event.known.after(), version.1);
            *version = (event.version, position);
            writer.landed(aggregate, position);
            tally.add(event.aggregate, event.version, event.topic, &event.payload);
        }
        assert_eq!(versions[HOT.as_bytes()].0, 1_000 / HOT_EVERY);
        assert_eq!(tally, Tally::of_source(&source, 1_000));
        let aggregates = Glance::of_aggregates(&source, 1_000);
        assert_eq!(aggregates[source.aggregate_count(1_000) - 1].events, 10);
        assert_eq!(Glance::of_all(&aggregates).events, 1_000);
    }

    #[test]
    fn a_tally_tells_what_is_another_event_and_not_what_is_another_order() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.add([1; 16], 1, "topic", b"payload");
        one.add([1; 16], 2, "topic", b"payload");
        other.add([1; 16], 2, "topic", b"payload");
        other.add([1; 16], 1, "topic", b"payload");
        assert_eq!(one, other);
        for change in [
            ([2; 16], 2, "topic", b"payload"),
            ([1; 16], 2, "topic", b"payLoad"),
        ] {
            let mut changed = Tally::default();
            changed.add([1; 16], 1, "topic", b"payload");
            changed.add(change.0, change.1, change.2, change.3);
            assert_ne!(one, changed);
        }
    }
}
