//! Subscriptions as streams: polled where the recorder can be, else followed by a thread of their own.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_core::Stream;
use parking_lot::{Condvar, Mutex};

use super::{Follow, Notification, PersistenceError, StopHandle, Subscription};

/// A [`Subscription`] as a stream, for async code; ends when it is stopped or the recorder closed.
///
/// On the log nothing stands behind it: events are read while it is polled, from memory mostly. A recorder that can only
/// be waited for is followed by a thread, one notification ahead; it ends with the stream.
#[must_use = "streams do nothing until they are polled"]
pub struct NotificationStream(Source);

enum Source {
    Polled(Box<dyn Follow>),
    Threaded(Thread),
    /// A thread could not be started: that is told, and nothing more comes.
    Ended,
}

impl Subscription {
    /// As a stream.
    pub fn into_stream(self) -> NotificationStream {
        NotificationStream(Source::Polled(self.source))
    }
}

impl Stream for NotificationStream {
    type Item = Result<Notification, PersistenceError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let source = &mut self.get_mut().0;
        loop {
            match source {
                Source::Polled(follow) => match follow.poll_next(context) {
                    Some(polled) => return polled,
                    None => {
                        let Source::Polled(follow) = std::mem::replace(source, Source::Ended)
                        else {
                            return Poll::Ready(None);
                        };
                        match Thread::start(follow) {
                            Ok(thread) => *source = Source::Threaded(thread),
                            Err(error) => return Poll::Ready(Some(Err(error))),
                        }
                    }
                },
                Source::Threaded(thread) => return thread.poll_next(context),
                Source::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl fmt::Debug for NotificationStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match &self.0 {
            Source::Polled(_) => "polled",
            Source::Threaded(_) => "threaded",
            Source::Ended => "ended",
        };
        formatter
            .debug_tuple("NotificationStream")
            .field(&how)
            .finish()
    }
}

/// A thread that follows, and the place where it leaves what it finds.
struct Thread {
    place: Arc<Place>,
    stop: StopHandle,
}

#[derive(Default)]
struct Place {
    left: Mutex<Left>,
    taken: Condvar,
}

#[derive(Default)]
struct Left {
    item: Option<Result<Notification, PersistenceError>>,
    is_over: bool,
    waker: Option<Waker>,
}

impl Thread {
    fn start(follow: Box<dyn Follow>) -> Result<Self, PersistenceError> {
        let (place, stop) = (Arc::<Place>::default(), follow.stop_handle());
        let of_thread = place.clone();
        thread::Builder::new()
            .name("annals-stream".into())
            .spawn(move || of_thread.fill(follow))
            .map_err(|source| PersistenceError::Store {
                doing: "be followed by a thread",
                source: source.into(),
            })?;
        Ok(Self { place, stop })
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Notification, PersistenceError>>> {
        let mut left = self.place.left.lock();
        if let Some(item) = left.item.take() {
            self.place.taken.notify_one();
            return Poll::Ready(Some(item));
        }
        if left.is_over {
            return Poll::Ready(None);
        }
        left.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.place.left.lock().is_over = true;
        self.place.taken.notify_one();
        self.stop.stop();
    }
}

impl Place {
    /// What the thread does: one item after the other, each once the one before was taken.
    fn fill(&self, mut follow: Box<dyn Follow>) {
        loop {
            let item = follow.next_within(None);
            let mut left = self.left.lock();
            let is_last = item.is_none();
            left.item = item;
            left.is_over |= is_last;
            let waker = left.waker.take();
            drop(left);
            if let Some(waker) = waker {
                waker.wake();
            }
            let mut left = self.left.lock();
            self.taken
                .wait_while(&mut left, |left| left.item.is_some() && !left.is_over);
            if left.is_over {
                return;
            }
        }
    }
}
