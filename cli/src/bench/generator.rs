//! The events that every workload uses: a function of seed and number, the same for every engine.
//!
//! An event belongs to the aggregate of a UUID (16 bytes), has a topic of 24 bytes and a payload of 200
//! bytes of JSON. Which aggregate it belongs to follows a power law: the share of an aggregate falls with the
//! square root of its rank, so of a million events over 100,000 aggregates the first gets some 3,000, half
//! of them ten or more, and none less than five on the average. One event in [`RARE`] has the topic
//! [`RARE_TOPIC`], another one the tag [`RARE_TAG`]; no other event has a tag.
//!
//! A generator keeps no state between events: any thread may ask for any number. Making an event copies two
//! small buffers, which is what an application does too.

use annals_engine::NewEvent;
use uuid::Uuid;

/// Bytes of a payload.
pub const PAYLOAD_LEN: usize = 200;

/// Of this many events one has the rare topic, and one the rare tag.
pub const RARE: u64 = 1_000;

/// Topic of one event in [`RARE`].
pub const RARE_TOPIC: &str = "sales.order.WasContested";

/// Tag of one event in [`RARE`].
pub const RARE_TAG: &str = "inspection:pending";

/// Events to a mean aggregate.
pub const EVENTS_PER_AGGREGATE: u64 = 10;

/// Makes events by number.
#[derive(Clone, Debug)]
pub struct Generator {
    seed: u64,
    /// Events after which other aggregates take over.
    window: u64,
    /// Aggregates of a window.
    aggregates: u64,
    /// Aggregates that have one event in a hundred, wherever it lies.
    scattered: u64,
    payloads: Vec<[u8; PAYLOAD_LEN]>,
}

/// An event in its parts, for engines that take them one by one.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Number of its aggregate, below [`Generator::aggregate_count`].
    pub aggregate: u64,
    /// Id of its aggregate.
    pub id: Uuid,
    /// Name of its type, 24 bytes.
    pub topic: &'static str,
    /// One tag at most.
    pub tag: Option<&'static str>,
    /// JSON text.
    pub payload: &'a [u8; PAYLOAD_LEN],
}

impl Generator {
    /// Events over a tenth as many aggregates (at least one): 100,000 for a million.
    pub fn new(seed: u64, events: u64) -> Self {
        Self::windowed(seed, events, 0)
    }

    /// As [`Generator::new`], and whatever lies `window` events further belongs to other aggregates: each of
    /// them lives within a window. One event in a hundred belongs to one of `scattered` aggregates, which
    /// live everywhere; 0 for none.
    pub fn windowed(seed: u64, window: u64, scattered: u64) -> Self {
        let aggregates = (window / EVENTS_PER_AGGREGATE).max(1);
        Self {
            seed,
            window: window.max(1),
            aggregates,
            scattered,
            payloads: (0..PAYLOAD_VARIANTS)
                .map(|variant| payload(seed ^ variant))
                .collect(),
        }
    }

    /// The event of this number, from 0.
    pub fn sample(&self, number: u64) -> Sample<'_> {
        let chance = mix(self.seed.wrapping_add(number.wrapping_mul(GOLDEN)));
        let aggregate = self.choose(number, chance);
        let (topic, tag) = match number % RARE {
            250 => (TOPICS[0], Some(RARE_TAG)),
            750 => (RARE_TOPIC, None),
            _ => (TOPICS[(chance >> 8) as usize % TOPICS.len()], None),
        };
        Sample {
            aggregate,
            id: self.aggregate(aggregate),
            topic,
            tag,
            payload: &self.payloads[(chance % PAYLOAD_VARIANTS) as usize],
        }
    }

    /// The event of this number for Annals, which makes its id.
    pub fn event(&self, number: u64) -> NewEvent {
        let sample = self.sample(number);
        let event = NewEvent::new(sample.topic, sample.payload.as_slice()).aggregate(sample.id);
        match sample.tag {
            Some(tag) => event.tag(tag),
            None => event,
        }
    }

    /// Id of the aggregate of this number; neighbours are far apart, as random ids are.
    pub fn aggregate(&self, number: u64) -> Uuid {
        let high = mix(self.seed ^ number);
        Uuid::from_u64_pair(high, mix(high ^ number))
    }

    /// Aggregates that the events below number `events` may belong to; the scattered ones come first.
    pub fn aggregate_count(&self, events: u64) -> u64 {
        self.scattered + self.aggregates * events.div_ceil(self.window)
    }

    /// Events after which other aggregates take over.
    pub fn window(&self) -> u64 {
        self.window
    }

    /// How many of the aggregates, the first ones, are scattered.
    pub fn scattered_count(&self) -> u64 {
        self.scattered
    }

    /// Events of each aggregate among the first `events`.
    pub fn counts(&self, events: u64) -> Vec<u32> {
        let mut counts = vec![0; self.aggregate_count(events) as usize];
        for number in 0..events {
            let chance = mix(self.seed.wrapping_add(number.wrapping_mul(GOLDEN)));
            counts[self.choose(number, chance) as usize] += 1;
        }
        counts
    }

    fn choose(&self, number: u64, chance: u64) -> u64 {
        if self.scattered > 0 && number % 100 == 33 {
            return scale(chance >> 32, self.scattered);
        }
        // The square of an even number is a power law, and costs a multiplication.
        let even = chance >> 32;
        let skewed = (even * even) >> 32;
        self.scattered + number / self.window * self.aggregates + scale(skewed, self.aggregates)
    }
}

/// An even 64-bit number out of another: the finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A number below 2^32, scaled to below `bound`.
fn scale(number: u64, bound: u64) -> u64 {
    ((u128::from(number) * u128::from(bound)) >> 32) as u64
}

/// JSON, two fifths of it random: an order line with a note.
fn payload(seed: u64) -> [u8; PAYLOAD_LEN] {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut text = format!(
        r#"{{"order":"o-{:016x}","line":{},"article":"a-{:08x}","quantity":{},"unit_price_cents":{},"currency":"EUR","note":""#,
        mix(seed),
        seed % 9 + 1,
        mix(seed ^ 1) as u32,
        seed % 7 + 1,
        10_000 + mix(seed ^ 2) % 90_000,
    )
    .into_bytes();
    for place in text.len() as u64..PAYLOAD_LEN as u64 - 2 {
        text.push(LETTERS[(mix(seed ^ (place << 20)) % 32) as usize]);
    }
    text.extend_from_slice(b"\"}");
    text.try_into()
        .expect("the text before the note is shorter")
}

const TOPICS: [&str; 8] = [
    "sales.order.LineWasAdded",
    "sales.order.LineIsVoided",
    "sales.order.WasConfirmed",
    "sales.order.WasDelivered",
    "sales.order.InvoiceWasIn",
    "sales.order.AddressMoved",
    "sales.order.WasCancelled",
    "sales.order.PaymentTaken",
];
const PAYLOAD_VARIANTS: u64 = 256;
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_size_that_is_said_and_is_json() {
        let generator = Generator::new(7, 10_000);
        for number in 0..3_000 {
            let sample = generator.sample(number);
            assert_eq!(sample.topic.len(), 24, "{}", sample.topic);
            let json: serde_json::Value = serde_json::from_slice(sample.payload).unwrap();
            assert_eq!(json["currency"], "EUR");
        }
    }

    #[test]
    fn a_seed_makes_the_same_events_and_another_one_others() {
        let ids = |seed| {
            let generator = Generator::new(seed, 1_000);
            (0..100)
                .map(move |number| generator.sample(number).id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1), ids(2));
    }

    #[test]
    fn the_choice_of_aggregates_is_skewed_and_leaves_none_out() {
        let generator = Generator::new(7, 1_000_000);
        let counts = generator.counts(1_000_000);
        assert_eq!(counts.len(), 100_000);
        assert_eq!(counts.iter().sum::<u32>(), 1_000_000);
        assert!((2_500..4_000).contains(&counts[0]), "{}", counts[0]);
        let about_ten = counts
            .iter()
            .filter(|count| (8..=12).contains(*count))
            .count();
        assert!(about_ten > 10_000, "{about_ten}");
    }

    #[test]
    fn aggregates_live_within_their_window_but_for_the_scattered() {
        let generator = Generator::windowed(7, 1_000, 5);
        assert_eq!(generator.aggregate_count(10_000), 1_005);
        for number in 0..10_000 {
            let aggregate = generator.sample(number).aggregate;
            match number % 100 {
                33 => assert!(aggregate < 5, "{aggregate}"),
                _ => assert_eq!((aggregate - 5) / 100, number / 1_000),
            }
        }
    }

    #[test]
    fn one_in_a_thousand_is_rare() {
        let generator = Generator::new(7, 10_000);
        let samples = || (0..10_000).map(|number| generator.sample(number));
        assert_eq!(
            samples()
                .filter(|sample| sample.topic == RARE_TOPIC)
                .count(),
            10
        );
        assert_eq!(
            samples()
                .filter(|sample| sample.tag == Some(RARE_TAG))
                .count(),
            10
        );
    }
}
