//! Following a recorder's notifications: catch-up, then live.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Notification, PersistenceError};

/// Blocking iterator over notifications, without end until it is stopped or the recorder is closed.
///
/// An error does not end it: the next item follows.
#[derive(Debug)]
pub struct Subscription {
    pub(super) source: Box<dyn Follow>,
}

impl Subscription {
    /// For those who write a recorder.
    pub fn new(source: impl Follow + 'static) -> Self {
        Self {
            source: Box::new(source),
        }
    }

    /// The next notification; `None` when none came within `timeout`, or it is
    /// [stopped](Subscription::is_stopped).
    pub fn next_timeout(
        &mut self,
        timeout: Duration,
    ) -> Option<Result<Notification, PersistenceError>> {
        self.source.next_within(Some(timeout))
    }

    /// The next notification, or how far it has looked without finding one; `None` when there was nothing to tell
    /// within `timeout` (without end when there is none), or it is [stopped](Subscription::is_stopped).
    ///
    /// For a follower that records its place although nothing concerned it.
    pub fn next_update(
        &mut self,
        timeout: Option<Duration>,
    ) -> Option<Result<Update, PersistenceError>> {
        self.source.next_update(timeout)
    }

    /// Every position up to this one has been looked at, whether its topic matched or not: a follower
    /// that subscribes again behind it misses nothing.
    pub fn position(&self) -> u64 {
        self.source.position()
    }

    /// Whether it has been stopped, or its recorder closed.
    pub fn is_stopped(&self) -> bool {
        self.source.is_stopped()
    }

    /// Stops it from any thread.
    pub fn stop_handle(&self) -> StopHandle {
        self.source.stop_handle()
    }
}

impl Iterator for Subscription {
    type Item = Result<Notification, PersistenceError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.source.next_within(None)
    }
}

/// What a follower is told by [`Subscription::next_update`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// A notification that it asked for.
    Notification(Notification),
    /// Everything up to this position has been looked at, and nothing that it asked for was there.
    LookedAt(u64),
}

/// What a recorder implements to be [subscribed](super::ApplicationRecorder::subscribe) to.
pub trait Follow: fmt::Debug + Send {
    /// The next notification. Blocks for at most `timeout`, without end when there is none. `None` when
    /// nothing came in time, and always once it is stopped.
    fn next_within(
        &mut self,
        timeout: Option<Duration>,
    ) -> Option<Result<Notification, PersistenceError>>;

    /// As [`Follow::next_within`] for a task, which is woken when there is more. `None`, as by default, when this source
    /// can only be waited for; it is then asked no more.
    #[cfg(feature = "async")]
    fn poll_next(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> Option<std::task::Poll<Option<Result<Notification, PersistenceError>>>> {
        let _ = context;
        None
    }

    /// See [`Subscription::next_update`]. A source that does not implement this tells how far it has looked every
    /// 20 ms; one that can, tells it at once.
    fn next_update(
        &mut self,
        timeout: Option<Duration>,
    ) -> Option<Result<Update, PersistenceError>> {
        let before = self.position();
        let mut left = timeout;
        loop {
            let slice = left.map_or(TELL_EVERY, |left| left.min(TELL_EVERY));
            match self.next_within(Some(slice)) {
                Some(notification) => return Some(notification.map(Update::Notification)),
                None if self.is_stopped() => return None,
                None if self.position() > before => {
                    return Some(Ok(Update::LookedAt(self.position())));
                }
                None => {}
            }
            left = left.map(|left| left - slice);
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
        }
    }

    /// See [`Subscription::position`].
    fn position(&self) -> u64;

    /// See [`Subscription::is_stopped`].
    fn is_stopped(&self) -> bool;

    /// See [`Subscription::stop_handle`].
    fn stop_handle(&self) -> StopHandle;
}

/// Stops a [`Subscription`] from any thread.
#[derive(Clone)]
pub struct StopHandle {
    stop: Arc<dyn Fn() + Send + Sync>,
}

impl StopHandle {
    /// For those who write a recorder: `stop` must wake a thread that waits, and be harmless when repeated.
    pub fn new(stop: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            stop: Arc::new(stop),
        }
    }

    /// Ends the iteration; a thread that waits in it is woken. Stopping again does nothing.
    pub fn stop(&self) {
        (self.stop)();
    }
}

impl fmt::Debug for StopHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StopHandle").finish_non_exhaustive()
    }
}

/// How often a source tells how far it has looked that cannot be woken for that.
const TELL_EVERY: Duration = Duration::from_millis(20);
