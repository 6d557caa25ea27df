//! Decisions loaded, made and saved.

use std::fmt::Display;
use std::sync::Arc;

use annals_segments::{Clock, Random};
use uuid::Uuid;

use super::{
    DcbApplicationBuilder, DcbError, DecisionSubscription, EnduringObject, Models, Object,
    Perspective, Perspectives,
};
use crate::application::{Recording, Retries};
use crate::domain::{AggregateId, DomainError, Event, topic_of};
use crate::persistence::{
    ConditionalAppend, DcbRecorder, Durability, Mapper, Query, Recorded, SnapshotRecorder, Tracking,
};

/// Decisions on a recorder: what a program holds. All of it can be used from many threads at once.
#[derive(Debug)]
pub struct DcbApplication {
    pub(super) recorder: Arc<dyn DcbRecorder>,
    pub(super) snapshots: Option<Arc<dyn SnapshotRecorder>>,
    pub(super) mapper: Mapper,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) durability: Durability,
    pub(super) retries: Retries,
}

/// What a decision answered, and what it saved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decided<T> {
    /// What the decision answered.
    pub value: T,
    /// A recording for each new event; empty when nothing had to happen.
    pub recordings: Vec<Recording>,
}

impl DcbApplication {
    /// An application on a recorder of your choice.
    pub fn builder(recorder: Arc<dyn DcbRecorder>) -> DcbApplicationBuilder {
        DcbApplicationBuilder::new(recorder)
    }

    /// Loads models, decides, and saves: until nobody else was faster, or the [limit](Retries)
    /// is reached.
    ///
    /// `models` makes the models before any event; `decide` triggers events on what it sees, or refuses. Both are called
    /// once for each attempt. A decision that triggers nothing saves nothing.
    ///
    /// # Errors
    /// What `decide` answers: nothing was saved then. [`DcbError::Contended`] when every attempt was overtaken;
    /// [`DcbError::Persistence`].
    ///
    /// Blocks until the events are as durable as the application was built to make them.
    pub fn decide<M: Models, T, E: From<DcbError>>(
        &self,
        models: impl Fn() -> M,
        mut decide: impl FnMut(&mut Perspective<M>) -> Result<T, E>,
    ) -> Result<Decided<T>, E> {
        let mut attempts = 0;
        loop {
            let mut seen = self.load(models())?;
            let value = decide(&mut seen)?;
            attempts += 1;
            match self.save(&mut seen) {
                Ok(recordings) => return Ok(Decided { value, recordings }),
                Err(DcbError::Persistence { source, .. }) if source.is_conflict() => {
                    if attempts >= self.retries.attempts {
                        return Err(DcbError::Contended { attempts, source }.into());
                    }
                    self.retries.back_off(attempts, &*self.random);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Saves the events pending in perspectives, all of them or none: on the condition that nothing has come into any
    /// of their boundaries since each was loaded, those without pending events included.
    ///
    /// `perspectives`: one `&mut Perspective<M>`, a tuple of up to six, an array or vector of them. Events are stored in
    /// that order. Answers a [`Recording`] for each; without pending events nothing happens.
    ///
    /// When an event of one lies in the boundary of another, the other has not seen it: it can be saved no more, and has
    /// to be loaded again. Objects that such events concern are better loaded as one perspective.
    ///
    /// # Errors
    /// [`DcbError::Persistence`] with the recorder's answer; [`DcbError::is_conflict`] when somebody else was faster. The
    /// events stay pending: saving again is safe, they keep their ids.
    ///
    /// Blocks until the events are as durable as the application was built to make them.
    pub fn save<'a>(
        &self,
        perspectives: impl Perspectives<'a>,
    ) -> Result<Vec<Recording>, DcbError> {
        self.store(perspectives, None)
    }

    /// As [`DcbApplication::save`], and records in the same commit how far an upstream has been processed with it: so a
    /// policy that decides upon the events of another store takes effect once.
    ///
    /// # Errors
    /// As [`DcbApplication::save`]; [`PersistenceError::TrackingConflict`](crate::PersistenceError::TrackingConflict) when
    /// the position has been processed, [`PersistenceError::NoEvents`](crate::PersistenceError::NoEvents) when nothing is
    /// pending: what has no effect is recorded by [`TrackingRecorder::insert_tracking`](crate::TrackingRecorder).
    pub fn save_tracked<'a>(
        &self,
        perspectives: impl Perspectives<'a>,
        tracking: Tracking,
    ) -> Result<Vec<Recording>, DcbError> {
        self.store(perspectives, Some(tracking))
    }

    fn store<'a>(
        &self,
        perspectives: impl Perspectives<'a>,
        tracking: Option<Tracking>,
    ) -> Result<Vec<Recording>, DcbError> {
        let mut outboxes = Vec::new();
        perspectives.collect_into(&mut outboxes);
        if tracking.is_none() && outboxes.iter().all(|outbox| outbox.pending().is_empty()) {
            return Ok(Vec::new());
        }
        let mut append = ConditionalAppend {
            tracking,
            ..ConditionalAppend::default()
        };
        for outbox in &mut outboxes {
            outbox
                .identify(&self.mapper, || self.new_event_id())
                .map_err(DcbError::persistence("save"))?;
            outbox.add_to(&mut append);
        }
        let events = append.events.clone();
        let recorded = self
            .recorder
            .append(append, self.durability)
            .map_err(DcbError::persistence("save"))?;
        let last = recorded.last().map_or(0, |recorded| recorded.position);
        for outbox in outboxes {
            outbox.saved(&events, last);
        }
        let receipts = events.iter().map(Recording::of);
        let at = |(recording, at): (Recording, Recorded)| recording.at(at);
        Ok(receipts.zip(recorded).map(at).collect())
    }

    /// A new object with its first event, which is pending. That there is no other with this id shows when it is saved.
    ///
    /// # Errors
    /// [`DcbError::Domain`] when [`Aggregate::start`](crate::Aggregate::start) does not accept the event, or the id is too
    /// long; [`DcbError::Persistence`] when it cannot be encoded.
    pub fn create<A: EnduringObject>(
        &self,
        id: impl Display,
        event: A::Event,
    ) -> Result<Perspective<Object<A>>, DcbError> {
        let topic = topic_of(&event).unwrap_or_default();
        let mut object = Perspective::new(Object::<A>::new(id), self.mapper.clone());
        let id = AggregateId::text(object.tag())?;
        object.trigger(event)?;
        match object.exists() {
            true => Ok(object),
            false => Err(DomainError::NotAFirstEvent { id, topic }.into()),
        }
    }

    /// An object as it is.
    ///
    /// # Errors
    /// [`DcbError::NotFound`], [`DcbError::Persistence`].
    pub fn get<A: EnduringObject>(
        &self,
        id: impl Display,
    ) -> Result<Perspective<Object<A>>, DcbError> {
        let object = self.load(Object::<A>::new(id))?;
        object.state()?;
        Ok(object)
    }

    /// Objects of one kind as they are at one moment, in the order of the ids. An event triggered on them concerns all.
    ///
    /// # Errors
    /// [`DcbError::NotFound`] for the first that does not exist; [`DcbError::Persistence`].
    pub fn get_many<A: EnduringObject, I: Display>(
        &self,
        ids: impl IntoIterator<Item = I>,
    ) -> Result<Perspective<Vec<Object<A>>>, DcbError> {
        let objects: Vec<_> = ids.into_iter().map(Object::<A>::new).collect();
        let objects = self.load(objects)?;
        objects
            .iter()
            .try_for_each(|object| object.state().map(drop))?;
        Ok(objects)
    }

    /// Follows the events of a query behind position `after` (0: from the beginning): catch-up, then live, without a gap
    /// and without a duplicate.
    ///
    /// # Errors
    /// [`DcbError::Persistence`].
    pub fn subscribe<E: Event>(
        &self,
        query: impl Into<Query>,
        after: u64,
    ) -> Result<DecisionSubscription<E>, DcbError> {
        let notifications = self
            .recorder
            .subscribe_query(&query.into(), after)
            .map_err(DcbError::persistence("subscribe"))?;
        Ok(DecisionSubscription::new(
            notifications,
            self.mapper.clone(),
        ))
    }

    /// The mapper it stores events with.
    pub fn mapper(&self) -> &Mapper {
        &self.mapper
    }

    /// The recorder it stores events in.
    pub fn recorder(&self) -> &Arc<dyn DcbRecorder> {
        &self.recorder
    }

    /// Closes the recorder: later saves answer an error, subscriptions end. Closing again does nothing.
    ///
    /// # Errors
    /// [`DcbError::Persistence`] when what was saved with [`Durability::Buffered`] may be lost.
    pub fn close(&self) -> Result<(), DcbError> {
        self.recorder
            .close()
            .map_err(DcbError::persistence("close"))
    }

    /// UUID version 7, as those of aggregates.
    fn new_event_id(&self) -> Uuid {
        let mut bytes = [0; 10];
        self.random.fill(&mut bytes);
        uuid::Builder::from_unix_timestamp_millis(self.clock.now_us() / 1000, &bytes).into_uuid()
    }
}
