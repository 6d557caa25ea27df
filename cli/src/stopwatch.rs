//! Measured time, for the rates that are printed. Nothing is decided by it but how long a benchmark lasts.

use std::time::{Duration, Instant};

/// Runs from the moment it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one room of this crate that reads a clock, to print rates"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Time since the start or the last lap, and a new lap: the clock is read once.
    pub(crate) fn lap(&mut self) -> Duration {
        let now = Self::start();
        let lap = now.0.duration_since(self.0);
        *self = now;
        lap
    }

    /// From the start of another one to the start or last lap of this one.
    pub(crate) fn since(&self, other: &Self) -> Duration {
        self.0.duration_since(other.0)
    }
}
