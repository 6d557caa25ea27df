//! Slices of time: many short ones, of this and of that in turns, so that what else happens on the machine meets
//! both.

use std::time::Duration;

use crate::stopwatch::Stopwatch;

/// One slice: so many operations in so much time.
#[derive(Clone, Debug)]
pub struct Slice {
    operations: u64,
    elapsed: Duration,
    p50_ns: f64,
    p99_ns: f64,
}

impl Slice {
    /// Runs `operation` until it has run for `limit`, or answers `false`, at least once.
    ///
    /// The clock is read once an operation, which costs 25 ns or so.
    ///
    /// # Errors
    /// The first one of `operation`.
    pub fn run<E>(
        limit: Duration,
        mut operation: impl FnMut() -> Result<bool, E>,
    ) -> Result<Self, E> {
        let mut laps = Laps::default();
        let whole = Stopwatch::start();
        let mut clock = whole;
        loop {
            let goes_on = operation()?;
            laps.push(clock.lap());
            if !goes_on || clock.since(&whole) >= limit {
                return Ok(laps.into_slice(clock.since(&whole)));
            }
        }
    }

    /// A slice of which only the whole is known.
    pub fn of_whole(operations: u64, elapsed: Duration) -> Self {
        let each = elapsed.as_nanos() as f64 / operations.max(1) as f64;
        Self {
            operations,
            elapsed,
            p50_ns: each,
            p99_ns: each,
        }
    }

    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// How many there were.
    pub fn operations(&self) -> u64 {
        self.operations
    }
}

/// Latencies of single operations.
#[derive(Clone, Debug, Default)]
pub struct Laps(Vec<u32>);

impl Laps {
    /// Adds one; what lasts longer than four seconds counts as four seconds.
    #[inline]
    pub fn push(&mut self, lap: Duration) {
        self.0.push(lap.as_nanos().try_into().unwrap_or(u32::MAX));
    }

    /// Adds those of another thread.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// Makes a slice that lasted `elapsed` of them.
    pub fn into_slice(mut self, elapsed: Duration) -> Slice {
        Slice {
            operations: self.0.len() as u64,
            elapsed,
            p50_ns: self.percentile(50),
            p99_ns: self.percentile(99),
        }
    }

    fn percentile(&mut self, percent: usize) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        let place = (self.0.len() * percent / 100).min(self.0.len() - 1);
        f64::from(*self.0.select_nth_unstable(place).1)
    }
}

/// The slices of one workload. Its figures are medians over them.
#[derive(Clone, Debug, Default)]
pub struct Measured(Vec<Slice>);

impl Measured {
    /// Adds a slice.
    pub fn push(&mut self, slice: Slice) {
        self.0.push(slice);
    }

    /// Number of slices.
    pub fn runs(&self) -> usize {
        self.0.len()
    }

    /// Operations of all slices.
    pub fn operations(&self) -> u64 {
        self.0.iter().map(|slice| slice.operations).sum()
    }

    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.median_of(Slice::rate)
    }

    /// Median latency, microseconds.
    pub fn p50_us(&self) -> f64 {
        self.median_of(|slice| slice.p50_ns / 1e3)
    }

    /// 99th percentile of the latency, microseconds.
    pub fn p99_us(&self) -> f64 {
        self.median_of(|slice| slice.p99_ns / 1e3)
    }

    /// Median of the ratios of the rates of slices that were run one beside the other.
    pub fn paired_ratio(&self, other: &Self) -> f64 {
        let pairs = self.0.iter().zip(&other.0);
        median(
            pairs
                .map(|(own, other)| own.rate() / other.rate())
                .collect(),
        )
    }

    fn median_of(&self, figure: impl Fn(&Slice) -> f64) -> f64 {
        median(self.0.iter().map(figure).collect())
    }
}

/// The middle one, or the mean of the two in the middle; 0 of none.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => 0.0,
        len if len % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

/// How long a slice lasts and how many there are.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Length of a slice.
    pub slice: Duration,
    /// Slices of each kind.
    pub rounds: usize,
}

impl Pace {
    /// What suits this many events: half a second seven times for a million, hardly anything for a few thousand.
    pub fn of(events: u64) -> Self {
        let (millis, rounds) = match events {
            500_000.. => (500, 7),
            50_000.. => (150, 5),
            _ => (15, 3),
        };
        Self {
            slice: Duration::from_millis(millis),
            rounds,
        }
    }

    /// Lets what still runs in the background come to an end, so that it burdens no other slice.
    pub fn rest(&self) {
        std::thread::sleep(self.slice / 5);
    }

    /// Runs two kinds of slices in turns, the other one first in every other round.
    ///
    /// # Errors
    /// The first one of either.
    pub fn in_turns<E>(
        &self,
        mut one: impl FnMut(Duration) -> Result<Slice, E>,
        mut other: impl FnMut(Duration) -> Result<Slice, E>,
    ) -> Result<(Measured, Measured), E> {
        let (mut ones, mut others) = (Measured::default(), Measured::default());
        for round in 0..self.rounds {
            if round % 2 == 0 {
                ones.push(one(self.slice)?);
                self.rest();
                others.push(other(self.slice)?);
            } else {
                others.push(other(self.slice)?);
                self.rest();
                ones.push(one(self.slice)?);
            }
            self.rest();
        }
        Ok((ones, others))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_counts_and_ends() {
        let mut left = 10;
        let slice = Slice::run::<()>(Duration::from_secs(60), || {
            left -= 1;
            Ok(left > 0)
        });
        assert_eq!(slice.unwrap().operations(), 10);
        let slice = Slice::run::<()>(Duration::ZERO, || Ok(true));
        assert_eq!(slice.unwrap().operations(), 1);
        assert_eq!(Slice::run(Duration::ZERO, || Err("no")).unwrap_err(), "no");
    }

    #[test]
    fn percentiles_are_of_the_laps() {
        let mut laps = Laps::default();
        (1..=100)
            .rev()
            .for_each(|nanos| laps.push(Duration::from_nanos(nanos)));
        let slice = laps.into_slice(Duration::from_secs(2));
        assert_eq!((slice.p50_ns, slice.p99_ns), (51.0, 100.0));
        assert_eq!(slice.rate(), 50.0);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![]), 0.0);
    }

    #[test]
    fn turns_alternate() {
        let order = std::cell::RefCell::new(String::new());
        let pace = Pace {
            slice: Duration::ZERO,
            rounds: 2,
        };
        let turn = |name| {
            let order = &order;
            move |_| {
                order.borrow_mut().push(name);
                Ok::<_, ()>(Slice::of_whole(1, Duration::from_secs(1)))
            }
        };
        let (ones, others) = pace.in_turns(turn('a'), turn('b')).unwrap();
        assert_eq!(*order.borrow(), "abba");
        assert_eq!((ones.runs(), others.runs()), (2, 2));
        assert_eq!(ones.paired_ratio(&others), 1.0);
    }
}
