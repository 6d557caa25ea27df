//! A projection that is made anew beside the one in use, and takes its place.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annals_segments::Clock;
use parking_lot::RwLock;

use super::{ProjectionError, ProjectionRunner};
use crate::persistence::View;

/// The projection that is in use, which another one can replace while it is read.
///
/// To change what a view holds, start the changed projection into an empty view and hand it to
/// [`LiveProjection::replace`]: readers see the old view until the new one is as far.
pub struct LiveProjection<V: View> {
    current: RwLock<Arc<ProjectionRunner<V>>>,
}

impl<V: View> LiveProjection<V> {
    /// Begins with this one.
    pub fn new(runner: ProjectionRunner<V>) -> Self {
        Self {
            current: RwLock::new(Arc::new(runner)),
        }
    }

    /// The projection in use. Keep it for as long as one answer is made, no longer: it may be replaced.
    pub fn current(&self) -> Arc<ProjectionRunner<V>> {
        self.current.read().clone()
    }

    /// The view in use; as [`LiveProjection::current`].
    pub fn view(&self) -> Arc<V> {
        self.current.read().view().clone()
    }

    /// As [`Follower::wait`](crate::Follower::wait). What was waited for is in the view that is in use from then on, also when it is
    /// replaced meanwhile.
    ///
    /// # Errors
    /// As [`Follower::wait`](crate::Follower::wait).
    pub fn wait(&self, position: u64, timeout: Duration) -> Result<(), ProjectionError> {
        let limit = Limit::new(self.current().clock(), timeout);
        loop {
            let current = self.current();
            let outcome = current.wait(position, limit.left());
            // What has become of the one that was replaced says nothing of the new one: it may have gone on for a
            // moment, or have failed, for which it is replaced.
            if Arc::ptr_eq(&current, &self.current()) {
                return limit.told(outcome);
            }
        }
    }

    /// Waits until `next` has come as far as the one in use, then puts it in its place, and stops and answers the old
    /// one, whose view can be dropped. No reader sees the view go back: at the moment of the change the old one is kept
    /// from going further, and readers wait. Should `next` not get there at once, that is given up and tried again, so
    /// that readers are never kept for long.
    ///
    /// # Errors
    /// Those of [`Follower::wait`](crate::Follower::wait) of `next`, and [`ProjectionError::WaitTimeout`] of the one in
    /// use when it is at one batch all the time; it goes on.
    pub fn replace(
        &self,
        next: Arc<ProjectionRunner<V>>,
        timeout: Duration,
    ) -> Result<Arc<ProjectionRunner<V>>, ProjectionError> {
        let limit = Limit::new(next.clock(), timeout);
        let mut locked = LOCKED_FIRST;
        let old = loop {
            // Nearly there while everything goes on; the rest, which is little, while readers wait.
            let reached = self.current().reached();
            limit.told(next.wait(reached, limit.left()))?;
            let mut current = self.current.write();
            let within = locked.min(limit.left());
            let outcome = current.pause(within, |reached| next.wait(reached, within));
            let failure = match outcome {
                Some(Ok(())) => break std::mem::replace(&mut *current, next),
                Some(Err(error)) => error,
                None => ProjectionError::WaitTimeout {
                    follower: current.name().to_owned(),
                    position: reached + 1,
                    reached,
                    timeout,
                },
            };
            let is_late = matches!(failure, ProjectionError::WaitTimeout { .. });
            if !is_late || limit.left().is_zero() {
                limit.told(Err(failure))?;
            }
            // For one whose batches take their time.
            locked = locked.saturating_mul(2);
        };
        // It may have failed before: that is why it is replaced.
        let _ = old.stop();
        Ok(old)
    }
}

/// One time limit for several waits.
struct Limit {
    clock: Arc<dyn Clock>,
    deadline_ns: u64,
    timeout: Duration,
}

impl Limit {
    fn new(clock: Arc<dyn Clock>, timeout: Duration) -> Self {
        let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let deadline_ns = clock.monotonic_ns().saturating_add(timeout_ns);
        Self {
            clock,
            deadline_ns,
            timeout,
        }
    }

    fn left(&self) -> Duration {
        Duration::from_nanos(self.deadline_ns.saturating_sub(self.clock.monotonic_ns()))
    }

    /// The outcome of a wait that may have been the last of several.
    fn told(&self, mut outcome: Result<(), ProjectionError>) -> Result<(), ProjectionError> {
        if let Err(ProjectionError::WaitTimeout { timeout, .. }) = &mut outcome {
            *timeout = self.timeout;
        }
        outcome
    }
}

/// How long readers may be kept at the first attempt to replace a projection; twice as long at each further one.
const LOCKED_FIRST: Duration = Duration::from_millis(100);

impl<V: View> fmt::Debug for LiveProjection<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LiveProjection")
            .field("current", &self.current())
            .finish()
    }
}
