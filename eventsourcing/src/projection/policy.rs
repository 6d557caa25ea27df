//! What is to be done when something has happened.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::{Failure, Incoming, Notified, Work};
use crate::persistence::{Mapper, Notification};

/// Reacts to events of others with events of its own.
///
/// It must be ready to see an event again: when storing its effects failed, or another writer was faster, everything it
/// did is dropped and the event is processed anew. So effects beyond its [`Work`] may happen more than once; what has to
/// happen exactly once is recorded in the work.
pub trait Policy: Send + Sync + 'static {
    /// What it reacts to: an event type, or [one of several](crate::one_of). No other events reach it.
    type Event: Incoming;

    /// Reacts to an event.
    ///
    /// # Errors
    /// Any: nothing is stored, and the event is tried again, as [`FollowOptions`](crate::FollowOptions) say. Errors of the
    /// application should be passed on as they are (`?`): a store that failed is no fault of the event's, which is then
    /// tried again or stopped at, and never given up.
    fn process(&self, event: &Notified<Self::Event>, work: &mut Work<'_>) -> Result<(), Failure>;
}

/// A policy that is a function.
///
/// ```
/// # use annals::{Event, Notified, Policy, policy};
/// # #[derive(serde::Serialize, serde::Deserialize)] enum DogEvent { Registered { name: String } }
/// # impl Event for DogEvent {}
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Greeted { name: String }
/// # impl Event for Greeted {}
/// let greet = policy(|event: &Notified<DogEvent>, work| {
///     let DogEvent::Registered { name } = &event.event;
///     work.record(&Greeted { name: name.clone() })?;
///     Ok(())
/// });
/// # fn is_policy(_: impl Policy) {}
/// # is_policy(greet);
/// ```
pub fn policy<E, F>(process: F) -> PolicyFn<E, F>
where
    E: Incoming,
    F: Fn(&Notified<E>, &mut Work<'_>) -> Result<(), Failure> + Send + Sync + 'static,
{
    PolicyFn {
        process,
        event: PhantomData,
    }
}

/// See [`policy`].
pub struct PolicyFn<E, F> {
    process: F,
    event: PhantomData<fn(E)>,
}

impl<E, F> fmt::Debug for PolicyFn<E, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PolicyFn").finish_non_exhaustive()
    }
}

impl<E, F> Policy for PolicyFn<E, F>
where
    E: Incoming,
    F: Fn(&Notified<E>, &mut Work<'_>) -> Result<(), Failure> + Send + Sync + 'static,
{
    type Event = E;

    fn process(&self, event: &Notified<E>, work: &mut Work<'_>) -> Result<(), Failure> {
        (self.process)(event, work)
    }
}

/// A policy of whatever type.
pub(crate) trait AnyPolicy: Send + Sync {
    fn topics(&self) -> Vec<&'static str>;

    /// Decodes a notification with the mapper of where it comes from, and reacts to it.
    fn process_any(
        &self,
        notification: &Notification,
        mapper: &Mapper,
        work: &mut Work<'_>,
    ) -> Result<(), Failure>;
}

impl<P: Policy> AnyPolicy for P {
    fn topics(&self) -> Vec<&'static str> {
        P::Event::topics()
    }

    fn process_any(
        &self,
        notification: &Notification,
        mapper: &Mapper,
        work: &mut Work<'_>,
    ) -> Result<(), Failure> {
        let event = Notified::<P::Event>::decode(mapper, notification)?;
        self.process(&event, work)
    }
}

pub(crate) type SharedPolicy = Arc<dyn AnyPolicy>;
