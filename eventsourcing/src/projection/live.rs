//! A projection that is made anew beside the one in use, and takes its place.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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
        loop {
            let current = self.current();
            match current.wait(position, timeout) {
                // The old one may have gone on for a moment: what it has reached says nothing of the new one.
                Ok(()) | Err(ProjectionError::Stopped { .. })
                    if !Arc::ptr_eq(&current, &self.current()) => {}
                outcome => return outcome,
            }
        }
    }

    /// Waits until `next` has come as far as the one in use, then puts it in its place, and stops and answers the old
    /// one, whose view can be dropped. No reader sees the view go back: at the moment of the change the old one is kept
    /// from going further, and readers wait.
    ///
    /// # Errors
    /// Those of [`Follower::wait`](crate::Follower::wait) of `next`; the one in use goes on.
    pub fn replace(
        &self,
        next: Arc<ProjectionRunner<V>>,
        timeout: Duration,
    ) -> Result<Arc<ProjectionRunner<V>>, ProjectionError> {
        // Nearly there while everything goes on; the rest, which is little, while readers wait.
        next.wait(self.current().reached(), timeout)?;
        let mut current = self.current.write();
        current.pause(|reached| next.wait(reached, timeout))?;
        let old = std::mem::replace(&mut *current, next);
        drop(current);
        // It may have failed before: that is why it is replaced.
        let _ = old.stop();
        Ok(old)
    }
}

impl<V: View> fmt::Debug for LiveProjection<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LiveProjection")
            .field("current", &self.current())
            .finish()
    }
}
