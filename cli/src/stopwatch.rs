//! Measured time, for the rates that are printed. Nothing is decided by it.

use std::time::{Duration, Instant};

/// Runs from the moment it is made.
#[derive(Debug)]
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
}
