//! Process managers: what several applications do for one purpose, and what is done when one of them does not.

use std::fmt;
use std::marker::PhantomData;
use std::time::SystemTime;

use crate::application::Error;
use crate::domain::{Aggregate, AggregateId, Event, Root};
use crate::projection::{Failure, Incoming, Notified, Policy, Work};

/// An aggregate that reacts to events of others, over a time: each of its states says what it waits for.
///
/// What it decides is stored as its own events, with what it has others do, in one insert. What it waits for in vain it
/// hears of from timers that it sets: their events reach it as any other does.
pub trait Saga: Aggregate {
    /// What it reacts to; the events of its timers among them.
    type Incoming: Incoming;

    /// The saga that an event concerns; `None` when it concerns none.
    fn id_of(event: &Notified<Self::Incoming>) -> Option<AggregateId>;

    /// Its first event, when it begins with this one. An event that begins none, of a saga that has not begun, is passed
    /// over.
    fn begin(event: &Notified<Self::Incoming>) -> Option<Self::Event>;

    /// What is to be done. Also called for the event that it began with, after [`Saga::begin`].
    ///
    /// # Errors
    /// Any; see [`Policy::process`].
    fn react(
        event: &Notified<Self::Incoming>,
        step: &mut SagaStep<'_, '_, Self>,
    ) -> Result<(), Failure>;
}

/// The policy that runs a [`Saga`].
pub struct SagaPolicy<S>(PhantomData<fn(S)>);

impl<S: Saga> SagaPolicy<S> {
    /// The policy.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<S: Saga> Default for SagaPolicy<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> fmt::Debug for SagaPolicy<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SagaPolicy").finish_non_exhaustive()
    }
}

impl<S: Saga> Policy for SagaPolicy<S> {
    type Event = S::Incoming;

    fn process(&self, event: &Notified<S::Incoming>, work: &mut Work<'_>) -> Result<(), Failure> {
        let Some(id) = S::id_of(event) else {
            return Ok(());
        };
        if work.find::<S>(&id)?.is_none() {
            let Some(first) = S::begin(event) else {
                return Ok(());
            };
            work.add(Root::<S>::new(id.clone(), first)?)?;
        }
        let saga = PhantomData;
        S::react(event, &mut SagaStep { id, work, saga })
    }
}

/// What a saga does when something has happened.
pub struct SagaStep<'s, 'w, S: Saga> {
    id: AggregateId,
    work: &'s mut Work<'w>,
    saga: PhantomData<S>,
}

impl<'w, S: Saga> SagaStep<'_, 'w, S> {
    /// The id of the saga.
    pub fn id(&self) -> &AggregateId {
        &self.id
    }

    /// The saga as it is, with what this step has done.
    ///
    /// # Errors
    /// As [`Repository::get`](crate::Repository::get).
    pub fn saga(&mut self) -> Result<&mut Root<S>, Error> {
        self.work.get::<S>(&self.id)
    }

    /// Lets an event of the saga happen.
    ///
    /// # Errors
    /// As [`SagaStep::saga`].
    pub fn trigger(&mut self, event: S::Event) -> Result<(), Error> {
        self.saga()?.trigger(event);
        Ok(())
    }

    /// What else is done: other aggregates of the application, events of none.
    pub fn work(&mut self) -> &mut Work<'w> {
        self.work
    }

    /// As [`Work::set_timer`], with a name that is the saga's own.
    ///
    /// # Errors
    /// As [`Work::set_timer`].
    pub fn set_timer<E: Event>(
        &mut self,
        name: &str,
        due: SystemTime,
        event: &E,
    ) -> Result<(), Error> {
        let name = self.timer_name(name);
        self.work.set_timer(&name, due, event)
    }

    /// As [`Work::cancel_timer`], with a name that is the saga's own.
    ///
    /// # Errors
    /// As [`Work::cancel_timer`].
    pub fn cancel_timer(&mut self, name: &str) -> Result<bool, Error> {
        let name = self.timer_name(name);
        self.work.cancel_timer(&name)
    }

    fn timer_name(&self, name: &str) -> String {
        format!("{}/{name}", self.id)
    }
}

impl<S: Saga> fmt::Debug for SagaStep<'_, '_, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SagaStep")
            .field("id", &self.id)
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}
