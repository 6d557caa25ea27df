//! Aggregates saved and loaded, and followed by others.
//!
//! What holds here:
//! - A save is one insert: the pending events of all its aggregates, or none of them.
//! - After a save that failed the events are still pending; after one that succeeded none are.
//! - What is cached is as it was stored: nothing that was not saved gets there.
//! - Nothing here knows which recorder is behind it.

#[cfg(feature = "async")]
mod async_application;
mod builder;
mod cache;
mod edit;
mod error;
mod event_log;
mod event_subscription;
mod loading;
mod lru;
mod notification_log;
mod recording;
mod repository;
mod roots;
mod snapshots;

#[cfg(feature = "async")]
pub use async_application::{AsyncApplication, EventStream};
pub use builder::ApplicationBuilder;
pub use cache::CacheOptions;
pub use edit::{Decide, Edited, Retries};
pub use error::Error;
pub use event_log::EventLog;
pub use event_subscription::{EventSubscription, Followed};
pub use notification_log::{NotificationLog, Section, SectionId};
pub use recording::Recording;
pub use repository::Repository;
pub use roots::{AnyRoot, Roots};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals_segments::{Clock, Random};
use uuid::Uuid;

use crate::domain::AggregateId;
use crate::persistence::{
    ApplicationRecorder, Durability, Mapper, PersistenceError, Recorded, StoredEvent, Subscription,
};
use cache::Cache;
use snapshots::Snapshots;

/// Aggregates on a recorder: what a program holds. All of it can be used from many threads at once.
#[derive(Debug)]
pub struct Application {
    recorder: Arc<dyn ApplicationRecorder>,
    mapper: Mapper,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    durability: Durability,
    section_size: usize,
    cache: Option<Cache>,
    snapshots: Snapshots,
    retries: Retries,
    closed: AtomicBool,
}

impl Application {
    /// An application on a recorder of your choice.
    pub fn builder(recorder: Arc<dyn ApplicationRecorder>) -> ApplicationBuilder {
        ApplicationBuilder::new(recorder)
    }

    /// Saves the pending events of aggregates of any types, all of them or none.
    ///
    /// `roots`: one `&mut Root<A>`, a tuple of up to six, an array or vector of them, or of
    /// `&mut dyn` [`AnyRoot`]. Events are stored root by root in the order given. Answers a [`Recording`]
    /// for each event; without pending events nothing happens.
    ///
    /// # Errors
    /// [`Error::Persistence`] with the recorder's answer; [`Error::is_conflict`] when somebody else has saved
    /// one of the aggregates since it was loaded. The events stay pending: saving again is safe, they
    /// keep their ids. Of what is [cached](ApplicationBuilder::cache) those aggregates are forgotten.
    ///
    /// Blocks until the events are as durable as the application was built to make them.
    pub fn save<'a>(&self, roots: impl Roots<'a>) -> Result<Vec<Recording>, Error> {
        self.save_with(roots, self.durability)
    }

    /// As [`Application::save`], with a durability for this save.
    ///
    /// # Errors
    /// As [`Application::save`].
    pub fn save_with<'a>(
        &self,
        roots: impl Roots<'a>,
        durability: Durability,
    ) -> Result<Vec<Recording>, Error> {
        let mut all = Vec::new();
        roots.collect_into(&mut all);
        let outcome = self.store(&mut all, durability);
        if let Some(cache) = &self.cache {
            // Whatever the outcome: it may not be known.
            all.iter().for_each(|root| cache.forget(&root.key()));
        }
        outcome
    }

    /// Stores the pending events of all roots in one insert, and leaves the cache as it is.
    fn store(
        &self,
        roots: &mut [&mut dyn AnyRoot],
        durability: Durability,
    ) -> Result<Vec<Recording>, Error> {
        let mut events = self.prepare(roots)?;
        if events.is_empty() {
            return Ok(Vec::new());
        }
        self.mapper
            .link(&*self.recorder, &mut events)
            .map_err(Error::persistence("save"))?;
        let receipts = events.iter().map(Recording::of).collect();
        let recorded = self
            .recorder
            .insert_events(events, durability)
            .map_err(Error::persistence("save"))?;
        let mut snapshots = Vec::new();
        let recordings = self.complete(roots, receipts, recorded, &mut snapshots);
        self.keep_snapshots(snapshots);
        Ok(recordings)
    }

    /// The pending events as they are stored, but for their [links](Mapper::link).
    fn prepare(&self, roots: &mut [&mut dyn AnyRoot]) -> Result<Vec<StoredEvent>, Error> {
        self.check_open("save")?;
        let mut events = Vec::new();
        for root in roots {
            root.store(&self.mapper, &|| self.new_event_id(), &mut events)
                .map_err(Error::persistence("save"))?;
        }
        Ok(events)
    }

    /// Tells the roots that their events are stored, and takes the snapshots that are due.
    fn complete(
        &self,
        roots: &mut [&mut dyn AnyRoot],
        receipts: Vec<Recording>,
        recorded: Vec<Recorded>,
        snapshots: &mut Vec<StoredEvent>,
    ) -> Vec<Recording> {
        let mut rest = recorded.as_slice();
        for root in roots {
            rest = root.saved(rest, self, snapshots);
        }
        let at = |(recording, at): (Recording, Recorded)| recording.at(at);
        receipts.into_iter().zip(recorded).map(at).collect()
    }

    /// Loads aggregates.
    pub fn repository(&self) -> Repository<'_> {
        Repository::new(self)
    }

    /// Checks the [hash chain](Mapper::hash_chain) of an aggregate, over all of its events.
    ///
    /// That events are missing at its end shows only by the [head](crate::HashChain::head), compared with one that was kept
    /// elsewhere.
    ///
    /// # Errors
    /// [`Error::Persistence`], with [`PersistenceError::BrokenChain`](crate::PersistenceError::BrokenChain) where an event does not fit to those
    /// before it.
    #[cfg(feature = "hash-chain")]
    pub fn verify_chain(&self, id: &AggregateId) -> Result<crate::persistence::HashChain, Error> {
        crate::persistence::verify_chain(&*self.recorder, id)
            .map_err(Error::persistence("verify the hash chain"))
    }

    /// The sequence of all events, in sections that others can fetch.
    pub fn notification_log(&self) -> NotificationLog<'_> {
        NotificationLog::new(self)
    }

    /// Follows all events behind position `after` (0: from the beginning) that have one of these topics
    /// (none given: any): catch-up, then live. [`Mapper::decode`] gives back the events;
    /// [`Application::subscribe_events`] follows those of one type, decoded.
    ///
    /// # Errors
    /// [`Error::Persistence`].
    pub fn subscribe(&self, after: u64, topics: &[&str]) -> Result<Subscription, Error> {
        self.check_open("subscribe")?;
        self.recorder
            .subscribe(after, topics)
            .map_err(Error::persistence("subscribe"))
    }

    /// A random id (UUID version 4) for a new aggregate.
    pub fn new_id(&self) -> AggregateId {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().into()
    }

    /// As [`Application::new_id`], of version 7: ids made one after the other ascend, and lie near each other in an index
    /// that sorts them. They tell when they were made.
    pub fn new_ordered_id(&self) -> AggregateId {
        self.new_event_id().into()
    }

    /// The mapper it stores events with.
    pub fn mapper(&self) -> &Mapper {
        &self.mapper
    }

    /// The recorder it stores events in.
    pub fn recorder(&self) -> &Arc<dyn ApplicationRecorder> {
        &self.recorder
    }

    /// Closes the recorder: subscriptions end, and whatever is asked of the application from then on answers an error
    /// that [says so](Error::is_closed), what is cached included. Closing again does nothing.
    ///
    /// An application that is dropped without this closes its recorder too, if nobody else holds that; only that then
    /// nobody is told of an error.
    ///
    /// # Errors
    /// [`Error::Persistence`] when what was saved with [`Durability::Buffered`] may be lost.
    pub fn close(&self) -> Result<(), Error> {
        self.closed.store(true, Ordering::Release);
        let snapshots = self.snapshots.recorder.as_ref();
        let of_snapshots = snapshots.map_or(Ok(()), |recorder| recorder.close());
        let of_events = self.recorder.close();
        of_events
            .and(of_snapshots)
            .map_err(Error::persistence("close"))
    }

    fn check_open(&self, doing: &'static str) -> Result<(), Error> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(Error::persistence(doing)(PersistenceError::Closed)),
            false => Ok(()),
        }
    }

    /// What its saves survive unless they say otherwise.
    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    /// UUID version 7: events saved together have ids near each other, which keeps lookups by id cheap.
    pub(crate) fn new_event_id(&self) -> Uuid {
        let mut bytes = [0; 10];
        self.random.fill(&mut bytes);
        uuid::Builder::from_unix_timestamp_millis(self.clock.now_us() / 1000, &bytes).into_uuid()
    }
}
