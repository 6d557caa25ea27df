//! How often each size occurred, in buckets that grow with the size: no lock, no allocation, and a
//! percentile is at most a sixteenth above the value it stands for.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts values below 2^32; greater ones count as the greatest.
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    max: AtomicU64,
}

/// What a [`Stats`](crate::Stats) says of many values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Distribution {
    /// How many values.
    pub count: u64,
    /// Half of them are no greater; up to a sixteenth too high.
    pub p50: u64,
    /// All but a hundredth of them are no greater; up to a sixteenth too high.
    pub p99: u64,
    /// The greatest, exactly.
    pub max: u64,
}

impl Histogram {
    /// Counts a value, from any thread.
    pub(crate) fn record(&self, value: u64) {
        let value = value.min(u64::from(u32::MAX));
        self.buckets[bucket(value)].fetch_add(1, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
    }

    /// Counts a value where no other thread counts at the same time: without the price of an atomic change.
    pub(crate) fn record_alone(&self, value: u64) {
        let value = value.min(u64::from(u32::MAX));
        add_alone(&self.buckets[bucket(value)], 1);
        if value > self.max.load(Ordering::Relaxed) {
            self.max.store(value, Ordering::Relaxed);
        }
    }

    /// What has been counted. A value that is just being counted may be missing.
    pub(crate) fn distribution(&self) -> Distribution {
        let max = self.max.load(Ordering::Relaxed);
        let counts = self
            .buckets
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed));
        let count: u64 = counts.iter().sum();
        let percentile = |percent: u64| {
            let mut left = (count * percent).div_ceil(100);
            let place = counts.iter().position(|count| {
                let is_reached = left <= *count;
                left = left.saturating_sub(*count);
                is_reached
            });
            place.map_or(0, upper_end).min(max)
        };
        Distribution {
            count,
            p50: percentile(50),
            p99: percentile(99),
            max,
        }
    }
}

/// Adds where no other thread does.
pub(crate) fn add_alone(counter: &AtomicU64, added: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(added),
        Ordering::Relaxed,
    );
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            max: AtomicU64::new(0),
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.distribution().fmt(formatter)
    }
}

/// The bucket of a value: itself below 16, then sixteen buckets for each power of two.
fn bucket(value: u64) -> usize {
    match value.checked_ilog2() {
        None | Some(..4) => value as usize,
        Some(log) => (log as usize - 3) * PARTS + (value >> (log - 4)) as usize % PARTS,
    }
}

/// The greatest value of a bucket.
fn upper_end(bucket: usize) -> u64 {
    match (bucket / PARTS, (bucket % PARTS) as u64) {
        (0, value) => value,
        (row, part) => ((PARTS as u64 + part + 1) << (row - 1)) - 1,
    }
}

/// Buckets of one power of two.
const PARTS: usize = 16;
const BUCKETS: usize = (32 - 3) * PARTS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_bucket_that_ends_a_sixteenth_above_it_at_most() {
        let mut before = 0;
        for value in (0..5_000).chain((0..32).flat_map(|log| [(1 << log) - 1, 1 << log])) {
            let end = upper_end(bucket(value));
            assert!(value <= end && end <= value + value / 16, "{value}: {end}");
        }
        for place in 0..BUCKETS {
            let end = upper_end(place);
            assert_eq!(bucket(end), place);
            assert!(place == 0 || end > before);
            before = end;
        }
        assert_eq!(before, u64::from(u32::MAX));
    }

    #[test]
    fn percentiles_are_those_of_what_was_counted() {
        let histogram = Histogram::default();
        assert_eq!(histogram.distribution(), Distribution::default());
        for value in 1..=10 {
            histogram.record(value);
            histogram.record_alone(value);
        }
        let found = histogram.distribution();
        assert_eq!((found.count, found.p50, found.p99), (20, 5, 10));
        histogram.record(u64::MAX);
        assert_eq!(histogram.distribution().max, u64::from(u32::MAX));
        assert_eq!(histogram.distribution().p50, 6);
    }

    #[test]
    fn threads_that_count_lose_nothing() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|value| histogram.record(value)));
            }
        });
        assert_eq!(histogram.distribution().count, 4_000);
        assert_eq!(histogram.distribution().max, 999);
    }
}
