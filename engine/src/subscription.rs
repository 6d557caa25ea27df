//! Following the log: catch-up, then live, by notification.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::event::RecordedEvent;
use crate::log::Inner;
use crate::query::{Direction, Query};
use crate::view::Events;

/// Blocking iterator over matching events, without end until it is stopped or the log is closed.
///
/// It shows durable events only. It holds no buffer: a slow follower costs nothing but its own delay.
#[derive(Debug)]
pub struct Subscription {
    inner: Arc<Inner>,
    query: Query,
    /// What is being shown, up to the durable head of its view.
    events: Option<Events>,
    /// Everything up to here has been looked at, but for what `events` still holds.
    looked_at: u64,
    /// Last position shown.
    shown: u64,
    stop: StopHandle,
}

impl Subscription {
    pub(crate) fn new(inner: Arc<Inner>, after: u64, query: Query) -> Self {
        let stop = StopHandle {
            inner: inner.clone(),
            stopped: Arc::new(AtomicBool::new(false)),
        };
        Self {
            inner,
            query,
            events: None,
            looked_at: after,
            shown: after,
            stop,
        }
    }

    /// The next matching event; `None` when none came within `timeout`, or the subscription is stopped.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<RecordedEvent, Error>> {
        self.next_within(Some(timeout))
    }

    /// Stops the subscription from any thread.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Everything up to this position has been looked at, whether it matched or not: a follower that
    /// restarts behind it misses nothing.
    pub fn position(&self) -> u64 {
        if self.events.is_some() {
            self.shown
        } else {
            self.looked_at
        }
    }

    /// Whether it has been stopped, or the log closed.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_stopped() || self.inner.is_closed()
    }

    fn next_within(&mut self, timeout: Option<Duration>) -> Option<Result<RecordedEvent, Error>> {
        loop {
            if self.is_stopped() {
                return None;
            }
            if let Some(events) = &mut self.events {
                match events.next() {
                    Some(event) => {
                        if let Ok(event) = &event {
                            self.shown = event.position;
                        }
                        return Some(event);
                    }
                    None => {
                        self.looked_at = events.view().durable_head().max(self.looked_at);
                        self.shown = self.looked_at;
                        self.events = None;
                    }
                }
            }
            if self.inner.durable_head() <= self.looked_at {
                let stop = &self.stop;
                // Matching events are rarer than events: a wake-up for one that does not match starts
                // the timeout anew, so a timeout is a least time, not an exact one.
                if !self
                    .inner
                    .wait_for_durable(self.looked_at, timeout, || stop.is_stopped())
                {
                    return None;
                }
                continue;
            }
            let positions = self.looked_at.saturating_add(1)..;
            self.events = Some(Events::by_position(
                self.inner.view(),
                &positions,
                &self.query,
                Direction::Forward,
            ));
        }
    }
}

impl Iterator for Subscription {
    type Item = Result<RecordedEvent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_within(None)
    }
}

/// Stops a [`Subscription`] from any thread.
#[derive(Clone, Debug)]
pub struct StopHandle {
    inner: Arc<Inner>,
    stopped: Arc<AtomicBool>,
}

impl StopHandle {
    /// Ends the iteration; a thread that waits in it is woken. Stopping again does nothing.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.inner.wake();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}
