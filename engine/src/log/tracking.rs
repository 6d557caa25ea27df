//! How far upstreams have been processed: the positions recorded with batches, and waiting for them.

use std::time::Duration;

use super::{Inner, Log};
use crate::error::Error;

impl Log {
    /// Position recorded for an upstream by [`Batch::tracking`](crate::Batch::tracking); `None` when there is none.
    pub fn tracking(&self, name: &str) -> Option<u64> {
        self.handle.inner.tracked(name)
    }

    /// Blocks until the position recorded for an upstream is at least `position`, for at most `timeout`; answers what is
    /// recorded then. Whoever records it through this log, by whichever handle, wakes who waits. In a log that was
    /// opened read-only it is seen when something looks for what is new: a subscription, or [`Log::refresh`].
    ///
    /// # Errors
    /// [`Error::Closed`] when it was not reached before the log was closed.
    pub fn wait_tracking(
        &self,
        name: &str,
        position: u64,
        timeout: Duration,
    ) -> Result<Option<u64>, Error> {
        let inner = &self.handle.inner;
        let is_reached = || {
            inner
                .tracked(name)
                .is_some_and(|reached| reached >= position)
        };
        let is_over = || is_reached() || inner.is_closed();
        if !is_over() {
            inner.tracking_changed.wait(Some(timeout), is_over);
        }
        match inner.is_closed() && !is_reached() {
            true => Err(Error::Closed),
            false => Ok(inner.tracked(name)),
        }
    }
}

impl Inner {
    pub(super) fn tracked(&self, name: &str) -> Option<u64> {
        self.tracking.read().get(name).copied()
    }

    pub(crate) fn advance_tracking(&self, advanced: &mut Vec<(Box<str>, u64)>) {
        if !advanced.is_empty() {
            self.tracking.write().extend(advanced.drain(..));
            self.tracking_changed.notify();
        }
    }

    /// Bytes that the tracking positions take in a dictionary, at most.
    pub(crate) fn tracking_len(&self) -> usize {
        crate::writer::tracking_len(&self.tracking.read())
    }
}
