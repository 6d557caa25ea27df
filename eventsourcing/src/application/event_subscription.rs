//! Following the events of one type, decoded.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::{Application, Error};
use crate::domain::{DomainEvent, Event, topics_of};
use crate::persistence::{Mapper, Notification, PersistenceError, StopHandle, Subscription};

/// An event of an aggregate as a follower sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Followed<E> {
    /// Its place in the sequence of all events; what a follower notes as processed.
    pub position: u64,
    /// The event with its aggregate, version, time and metadata.
    pub event: DomainEvent<E>,
}

/// Blocking iterator over the events of type `E`, without end until it is stopped or the application is closed.
///
/// An event that cannot be decoded is an [`Error::Undecodable`] with its position, in its place; the next item follows.
pub struct EventSubscription<E> {
    subscription: Subscription,
    decoding: Decoding<E>,
}

/// From a notification to an event of one type.
pub(super) struct Decoding<E> {
    mapper: Mapper,
    event: PhantomData<fn() -> E>,
}

impl<E: Event> Decoding<E> {
    pub(super) fn decode(
        &self,
        found: Result<Notification, PersistenceError>,
    ) -> Result<Followed<E>, Error> {
        let notification = found.map_err(Error::persistence("follow events"))?;
        let position = notification.position;
        let event = self.mapper.to_domain(notification);
        let event = event.map_err(|source| Error::Undecodable { position, source })?;
        Ok(Followed { position, event })
    }
}

impl Application {
    /// Follows the events of type `E` behind position `after` (0: from the beginning): those that are there, then those
    /// to come. Chosen by the topics that `E` reads, so that other events are passed over in the store; a variant that
    /// stands for every unknown topic is not asked for.
    ///
    /// ```
    /// # use annals::{Aggregate, Application, Event, Root};
    /// # #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    /// # enum Counted { Zero, More { by: u32 } }
    /// # impl Event for Counted {}
    /// # struct Counter;
    /// # impl Aggregate for Counter {
    /// #     type Event = Counted;
    /// #     fn start(_: &Counted) -> Option<Self> { Some(Counter) }
    /// #     fn apply(&mut self, _: &Counted) {}
    /// # }
    /// # let app = Application::in_memory();
    /// app.add(Root::<Counter>::new(app.new_id(), Counted::Zero)?)?;
    /// let mut counted = app.subscribe_events::<Counted>(0)?;
    /// let first = counted.next().expect("it goes on until it is stopped")?;
    /// assert_eq!((first.position, first.event.event), (1, Counted::Zero));
    /// # Ok::<(), annals::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Persistence`]; [`PersistenceError::NoTopic`] in it when `E` names no topics.
    pub fn subscribe_events<E: Event>(&self, after: u64) -> Result<EventSubscription<E>, Error> {
        let (topics, decoding) = self.decoding::<E>("subscribe")?;
        Ok(EventSubscription {
            subscription: self.subscribe(after, &topics)?,
            decoding,
        })
    }

    pub(super) fn decoding<E: Event>(
        &self,
        doing: &'static str,
    ) -> Result<(Vec<&'static str>, Decoding<E>), Error> {
        let topics: Vec<_> = topics_of::<E>().iter().collect();
        if topics.is_empty() {
            // Without a topic everything would be followed.
            let type_name = std::any::type_name::<E>();
            return Err(Error::persistence(doing)(PersistenceError::NoTopic {
                type_name,
            }));
        }
        let decoding = Decoding {
            mapper: self.mapper.clone(),
            event: PhantomData,
        };
        Ok((topics, decoding))
    }
}

impl<E: Event> EventSubscription<E> {
    /// The next event; `None` when none came within `timeout`, or it is [stopped](EventSubscription::is_stopped).
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<Followed<E>, Error>> {
        let found = self.subscription.next_timeout(timeout)?;
        Some(self.decoding.decode(found))
    }

    /// See [`Subscription::position`].
    pub fn position(&self) -> u64 {
        self.subscription.position()
    }

    /// See [`Subscription::is_stopped`].
    pub fn is_stopped(&self) -> bool {
        self.subscription.is_stopped()
    }

    /// See [`Subscription::stop_handle`].
    pub fn stop_handle(&self) -> StopHandle {
        self.subscription.stop_handle()
    }
}

impl<E: Event> Iterator for EventSubscription<E> {
    type Item = Result<Followed<E>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.subscription.next()?;
        Some(self.decoding.decode(found))
    }
}

impl<E> fmt::Debug for EventSubscription<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EventSubscription")
            .field("subscription", &self.subscription)
            .finish_non_exhaustive()
    }
}
