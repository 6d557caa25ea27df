//! How a follower goes about it: batches, checkpoints, and what happens to an event that it cannot process.

use std::time::Duration;

use super::ProjectionError;

/// How a projection or the follower of a system works through its upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "options do nothing until something is started with them"]
pub struct FollowOptions {
    pub(crate) batch_events_max: usize,
    pub(crate) batch_delay: Duration,
    pub(crate) checkpoint_positions: u64,
    pub(crate) checkpoint_delay: Duration,
    pub(crate) retry: Retry,
    pub(crate) on_failure: OnFailure,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            batch_events_max: 1_000,
            batch_delay: Duration::ZERO,
            checkpoint_positions: 10_000,
            checkpoint_delay: Duration::from_millis(100),
            retry: Retry::default(),
            on_failure: OnFailure::default(),
        }
    }
}

impl FollowOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Most events processed in one transaction. Default 1,000, at least 1. More make catching up faster, and hold
    /// the store's lock and memory for longer.
    pub fn batch_events_max(mut self, events: usize) -> Self {
        self.batch_events_max = events;
        self
    }

    /// How long each further event is waited for before a batch that is not full is processed. Default 0: what is
    /// there is processed at once. More makes fewer transactions out of a trickle, and everything later.
    pub fn batch_delay(mut self, delay: Duration) -> Self {
        self.batch_delay = delay;
        self
    }

    /// After how many positions in which nothing concerned the follower its place is stored nevertheless.
    /// Default 10,000, at least 1. A restart looks at as many again, at most.
    pub fn checkpoint_positions(mut self, positions: u64) -> Self {
        self.checkpoint_positions = positions;
        self
    }

    /// After how long without an event such a place is stored, however near it is. Default 100 ms.
    pub fn checkpoint_delay(mut self, delay: Duration) -> Self {
        self.checkpoint_delay = delay;
        self
    }

    /// How often and how soon an event that failed is tried again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// What happens when an event has failed each time. Default [`OnFailure::Stop`].
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    pub(crate) fn check(&self) -> Result<(), ProjectionError> {
        let smallest = [
            ("batch_events_max", self.batch_events_max as u64),
            ("checkpoint_positions", self.checkpoint_positions),
            ("retry attempts", u64::from(self.retry.attempts)),
        ];
        match smallest.into_iter().find(|(_, found)| *found == 0) {
            Some((option, found)) => Err(ProjectionError::InvalidOption {
                option,
                found,
                min: 1,
            }),
            None => Ok(()),
        }
    }
}

/// How often and how soon an event is tried again that could not be processed, or a store that failed.
///
/// Conflicts with others who write the same aggregates are no failures: they are tried again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often it is tried in all; at least 1.
    pub attempts: u32,
    /// How long the first pause is; each is twice the one before.
    pub first_delay: Duration,
    /// How long a pause is at most.
    pub delay_max: Duration,
}

impl Default for Retry {
    /// Five attempts within a second and a half: 100, 200, 400 and 800 ms apart.
    fn default() -> Self {
        Self {
            attempts: 5,
            first_delay: Duration::from_millis(100),
            delay_max: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// One attempt.
    pub fn never() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }

    /// How long to pause after so many attempts; `None` when that was the last.
    pub fn delay_after(&self, attempts: u32) -> Option<Duration> {
        let doublings = attempts.saturating_sub(1).min(31);
        let delay = self.first_delay.saturating_mul(1 << doublings);
        (attempts < self.attempts).then(|| delay.min(self.delay_max))
    }
}

/// What happens when an event could not be processed, however often it was tried. Either way no place is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The follower stops in front of it, and tells why. Started again it goes on there.
    #[default]
    Stop,
    /// The event is kept as a [`DeadLetter`](crate::DeadLetter), and the follower goes on behind it. Events that
    /// depend on it are not held back: choose this where each event can be processed alone.
    DeadLetter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_maximum() {
        let retry = Retry {
            attempts: 6,
            first_delay: Duration::from_millis(10),
            delay_max: Duration::from_millis(50),
        };
        let delays = (1..=6).map(|attempts| retry.delay_after(attempts));
        let expected = [Some(10), Some(20), Some(40), Some(50), Some(50), None];
        assert!(delays.eq(expected.map(|ms| ms.map(Duration::from_millis))));
        assert_eq!(Retry::never().delay_after(1), None);
        let long = Retry {
            attempts: u32::MAX,
            ..retry
        };
        assert_eq!(long.delay_after(u32::MAX - 1), Some(retry.delay_max));
    }

    #[test]
    fn options_out_of_range_are_refused_by_name() {
        for (options, name) in [
            (FollowOptions::new().batch_events_max(0), "batch_events_max"),
            (
                FollowOptions::new().checkpoint_positions(0),
                "checkpoint_positions",
            ),
            (
                FollowOptions::new().retry(Retry {
                    attempts: 0,
                    ..Retry::default()
                }),
                "retry attempts",
            ),
        ] {
            let refused = options.check().unwrap_err().to_string();
            assert!(refused.contains(name), "{refused}");
        }
        assert!(FollowOptions::new().check().is_ok());
    }
}
