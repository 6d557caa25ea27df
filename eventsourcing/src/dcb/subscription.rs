//! Following what was decided, as events of a type.

use std::marker::PhantomData;
use std::time::Duration;

use super::DcbError;
use crate::domain::Event;
use crate::persistence::{Mapper, Notification, PersistenceError, StopHandle, Subscription};

/// Blocking iterator over events of a query, without end until it is stopped or the recorder is closed.
///
/// An event that cannot be read or decoded is an error in its place, and does not end it.
#[derive(Debug)]
pub struct DecisionSubscription<E> {
    notifications: Subscription,
    mapper: Mapper,
    event: PhantomData<fn() -> E>,
}

/// An event, decoded, and as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Happened<E> {
    /// What happened.
    pub event: E,
    /// Its position, time, tags and metadata.
    pub notification: Notification,
}

impl<E: Event> DecisionSubscription<E> {
    pub(super) fn new(notifications: Subscription, mapper: Mapper) -> Self {
        Self {
            notifications,
            mapper,
            event: PhantomData,
        }
    }

    /// The next event; `None` when none came within `timeout`, or it is stopped.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<Happened<E>, DcbError>> {
        let next = self.notifications.next_timeout(timeout)?;
        Some(self.happened(next))
    }

    /// See [`Subscription::position`].
    pub fn position(&self) -> u64 {
        self.notifications.position()
    }

    /// See [`Subscription::is_stopped`].
    pub fn is_stopped(&self) -> bool {
        self.notifications.is_stopped()
    }

    /// See [`Subscription::stop_handle`].
    pub fn stop_handle(&self) -> StopHandle {
        self.notifications.stop_handle()
    }

    fn happened(
        &self,
        notification: Result<Notification, PersistenceError>,
    ) -> Result<Happened<E>, DcbError> {
        let decode = |notification: Notification| {
            Ok(Happened {
                event: self.mapper.decode(&notification.event)?,
                notification,
            })
        };
        notification
            .and_then(decode)
            .map_err(DcbError::persistence("follow events"))
    }
}

impl<E: Event> Iterator for DecisionSubscription<E> {
    type Item = Result<Happened<E>, DcbError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.notifications.next()?;
        Some(self.happened(next))
    }
}
