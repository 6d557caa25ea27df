//! Following a log: by threads that wait, and by tasks that are woken.

use std::time::Duration;

use super::{owned_notification, read_failure};
use crate::persistence::{Follow, Notification, PersistenceError, StopHandle, Update};

#[derive(Debug)]
pub(super) struct LogSubscription {
    source: Source,
    stop: annals_engine::StopHandle,
}

#[derive(Debug)]
enum Source {
    Waiting(annals_engine::Subscription),
    /// From the first time a task has asked.
    #[cfg(feature = "async")]
    Polled(annals_engine::EventStream),
    /// With the position it had reached.
    #[cfg(feature = "async")]
    Ended(u64),
}

impl LogSubscription {
    pub(super) fn new(subscription: annals_engine::Subscription) -> Self {
        Self {
            stop: subscription.stop_handle(),
            source: Source::Waiting(subscription),
        }
    }
}

impl Follow for LogSubscription {
    fn next_within(
        &mut self,
        timeout: Option<Duration>,
    ) -> Option<Result<Notification, PersistenceError>> {
        let event = match (&mut self.source, timeout) {
            (Source::Waiting(subscription), Some(timeout)) => subscription.next_timeout(timeout),
            (Source::Waiting(subscription), None) => subscription.next(),
            // What is polled cannot be waited for any more.
            #[cfg(feature = "async")]
            _ => None,
        };
        Some(event?.map_err(read_failure).and_then(owned_notification))
    }

    fn next_update(
        &mut self,
        timeout: Option<Duration>,
    ) -> Option<Result<Update, PersistenceError>> {
        use annals_engine::Update as Told;
        let before = self.position();
        loop {
            let told = match &mut self.source {
                Source::Waiting(subscription) => subscription.next_update(timeout)?,
                // As above.
                #[cfg(feature = "async")]
                _ => return None,
            };
            return Some(match told {
                Ok(Told::Event(event)) => owned_notification(event).map(Update::Notification),
                // It has caught up where it began: nothing new.
                Ok(told) if told.position() == before => continue,
                Ok(told) => Ok(Update::LookedAt(told.position())),
                Err(error) => Err(read_failure(error)),
            });
        }
    }

    #[cfg(feature = "async")]
    fn poll_next(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> Option<std::task::Poll<Option<Result<Notification, PersistenceError>>>> {
        use std::pin::Pin;
        use std::task::Poll;

        use futures_core::Stream;

        let position = self.position();
        self.source = match std::mem::replace(&mut self.source, Source::Ended(position)) {
            Source::Waiting(subscription) => Source::Polled(subscription.into_stream()),
            source => source,
        };
        let Source::Polled(stream) = &mut self.source else {
            return Some(Poll::Ready(None));
        };
        let polled = Pin::new(stream).poll_next(context);
        if let Poll::Ready(None) = polled {
            self.source = Source::Ended(self.position());
        }
        Some(polled.map(|event| Some(event?.map_err(read_failure).and_then(owned_notification))))
    }

    fn position(&self) -> u64 {
        match &self.source {
            Source::Waiting(subscription) => subscription.position(),
            #[cfg(feature = "async")]
            Source::Polled(stream) => stream.position(),
            #[cfg(feature = "async")]
            Source::Ended(position) => *position,
        }
    }

    fn is_stopped(&self) -> bool {
        match &self.source {
            Source::Waiting(subscription) => subscription.is_stopped(),
            // A stream tells by its end.
            #[cfg(feature = "async")]
            Source::Polled(_) => false,
            #[cfg(feature = "async")]
            Source::Ended(_) => true,
        }
    }

    fn stop_handle(&self) -> StopHandle {
        let handle = self.stop.clone();
        StopHandle::new(move || handle.stop())
    }
}
