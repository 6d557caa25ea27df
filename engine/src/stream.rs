//! Subscriptions as streams, for any executor: no thread stands behind one and nothing polls.
//!
//! A task that finds nothing leaves its waker with the log, looks once more, and is woken when the log
//! goes on. Dropping the stream takes the waker back.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::changed::TaskId;
use crate::error::Error;
use crate::event::RecordedEvent;
use crate::subscription::{Look, Subscription, Update, Updates};

/// A [`Subscription`] as a stream of its matching events; see [`Subscription::into_stream`].
#[derive(Debug)]
#[must_use = "streams do nothing until they are polled"]
pub struct EventStream(Following);

/// A [`Subscription`] as a stream of [`Update`]s; see [`Updates::into_stream`].
#[derive(Debug)]
#[must_use = "streams do nothing until they are polled"]
pub struct UpdateStream(Following);

impl Subscription {
    /// As a stream, for async code. It ends when it is [stopped](Subscription::stop_handle) or the log is closed.
    ///
    /// Events are read while it is polled, from memory mostly, from the disk when they are not there.
    pub fn into_stream(self) -> EventStream {
        EventStream(Following::new(self))
    }
}

impl Updates {
    /// As a stream; see [`Subscription::into_stream`].
    pub fn into_stream(self) -> UpdateStream {
        UpdateStream(Following::new(self.0))
    }
}

impl EventStream {
    /// See [`Subscription::position`].
    pub fn position(&self) -> u64 {
        self.0.subscription.position()
    }
}

impl Stream for EventStream {
    type Item = Result<RecordedEvent, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let following = &mut self.get_mut().0;
        loop {
            match following.poll(context) {
                Poll::Ready(Some(Ok(Update::Event(event)))) => {
                    return Poll::Ready(Some(Ok(event)));
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Stream for UpdateStream {
    type Item = Result<Update, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().0.poll(context)
    }
}

/// A subscription, and the waker it has left.
#[derive(Debug)]
struct Following {
    subscription: Subscription,
    left: Option<TaskId>,
}

impl Following {
    fn new(subscription: Subscription) -> Self {
        Self {
            subscription,
            left: None,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Update, Error>>> {
        loop {
            match self.subscription.look() {
                Look::Found(update) => return Poll::Ready(Some(update)),
                Look::Ended => return Poll::Ready(None),
                Look::Waiting => {}
            }
            let changed = self.subscription.changed();
            self.left = Some(changed.leave_waker(self.left, context.waker()));
            // What came before the waker was left, nobody wakes it for.
            if !self.subscription.has_more() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(id) = self.left {
            self.subscription.changed().take_waker(id);
        }
    }
}
