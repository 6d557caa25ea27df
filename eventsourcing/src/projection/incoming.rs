//! Events as a follower gets them: decoded, with their place.

use std::time::SystemTime;

use uuid::Uuid;

use crate::domain::{AggregateId, Event, Metadata, system_time, topics_of};
use crate::persistence::{Mapper, Notification, PersistenceError, StoredEvent};

/// What a projection or a policy reads: one event type, or [one of several](crate::one_of).
pub trait Incoming: Sized + Send + 'static {
    /// Topics that it reads; no other events reach it.
    fn topics() -> Vec<&'static str>;

    /// Whether `topic` is one of them.
    fn reads(topic: &str) -> bool;

    /// The event.
    ///
    /// # Errors
    /// As [`Mapper::decode`].
    fn decode(mapper: &Mapper, stored: &StoredEvent) -> Result<Self, PersistenceError>;
}

impl<E: Event> Incoming for E {
    fn topics() -> Vec<&'static str> {
        topics_of::<E>().iter().collect()
    }

    fn reads(topic: &str) -> bool {
        topics_of::<E>().contains(topic)
    }

    fn decode(mapper: &Mapper, stored: &StoredEvent) -> Result<Self, PersistenceError> {
        mapper.decode(stored)
    }
}

/// Declares an enum of event types, for a follower that reads several: an [`Incoming`].
///
/// A topic that two of them have is read as the first.
///
/// ```
/// # use annals::Event;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] enum DogEvent { Registered }
/// # impl Event for DogEvent {}
/// # #[derive(Serialize, Deserialize)] enum CourseEvent { Opened }
/// # impl Event for CourseEvent {}
/// annals::one_of! {
///     /// What the timetable shows.
///     enum Shown {
///         Dog(DogEvent),
///         Course(CourseEvent),
///     }
/// }
/// assert_eq!(<Shown as annals::Incoming>::topics(), ["Registered", "Opened"]);
/// ```
#[macro_export]
macro_rules! one_of {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident {
            $(#[$first_meta:meta])* $first:ident($first_event:ty)
            $(, $(#[$variant_meta:meta])* $variant:ident($event:ty))* $(,)?
        }
    ) => {
        $(#[$meta])*
        $visibility enum $name {
            $(#[$first_meta])* $first($first_event),
            $($(#[$variant_meta])* $variant($event),)*
        }

        impl $crate::Incoming for $name {
            fn topics() -> ::std::vec::Vec<&'static str> {
                #[allow(unused_mut, reason = "there may be one event type only")]
                let mut topics = <$first_event as $crate::Incoming>::topics();
                $(topics.extend(<$event as $crate::Incoming>::topics());)*
                topics
            }

            fn reads(topic: &str) -> bool {
                <$first_event as $crate::Incoming>::reads(topic)
                    $(|| <$event as $crate::Incoming>::reads(topic))*
            }

            fn decode(
                mapper: &$crate::Mapper,
                stored: &$crate::StoredEvent,
            ) -> ::std::result::Result<Self, $crate::PersistenceError> {
                if <$first_event as $crate::Incoming>::reads(&stored.topic) {
                    return <$first_event as $crate::Incoming>::decode(mapper, stored).map(Self::$first);
                }
                $(if <$event as $crate::Incoming>::reads(&stored.topic) {
                    return <$event as $crate::Incoming>::decode(mapper, stored).map(Self::$variant);
                })*
                // None of them reads it; the first says so.
                <$first_event as $crate::Incoming>::decode(mapper, stored).map(Self::$first)
            }
        }
    };
}

/// An event that a follower was notified of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notified<E> {
    /// See [`Notification::position`].
    pub position: u64,
    /// See [`Notification::time_us`].
    pub time_us: u64,
    /// The aggregate it belongs to; `None` when to none.
    pub aggregate_id: Option<AggregateId>,
    /// Its version in the aggregate.
    pub version: Option<u64>,
    /// Its own id.
    pub event_id: Uuid,
    /// See [`Metadata`].
    pub metadata: Metadata,
    /// What happened.
    pub event: E,
}

impl<E: Incoming> Notified<E> {
    /// Decodes a notification.
    ///
    /// # Errors
    /// As [`Incoming::decode`].
    pub fn decode(mapper: &Mapper, notification: &Notification) -> Result<Self, PersistenceError> {
        let Notification {
            position,
            time_us,
            event: stored,
        } = notification;
        Ok(Self {
            position: *position,
            time_us: *time_us,
            aggregate_id: stored.aggregate_id().cloned(),
            version: stored.version(),
            event_id: stored.event_id,
            metadata: stored.metadata.clone(),
            event: E::decode(mapper, stored)?,
        })
    }
}

impl<E> Notified<E> {
    /// When it was stored.
    pub fn time(&self) -> SystemTime {
        system_time(self.time_us)
    }
}
