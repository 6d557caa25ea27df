//! Aggregates saved and loaded, and followed by others.
//!
//! What holds here:
//! - A save is one insert: the pending events of all its aggregates, or none of them.
//! - After a save that failed the events are still pending; after one that succeeded none are.
//! - Nothing here knows which recorder is behind it.

mod builder;
mod error;
mod notification_log;
mod recording;
mod repository;
mod roots;

pub use builder::ApplicationBuilder;
pub use error::Error;
pub use notification_log::{NotificationLog, Section, SectionId};
pub use recording::Recording;
pub use repository::Repository;
pub use roots::{AnyRoot, Roots};

use std::sync::Arc;

use annals_segments::{Clock, Random};
use uuid::Uuid;

use crate::domain::AggregateId;
use crate::persistence::{ApplicationRecorder, Durability, Mapper, Recorded, Subscription};

/// Aggregates on a recorder: what a program holds. All of it can be used from many threads at once.
#[derive(Debug)]
pub struct Application {
    recorder: Arc<dyn ApplicationRecorder>,
    mapper: Mapper,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    durability: Durability,
    section_size: usize,
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
    /// keep their ids.
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

        let mut events = Vec::new();
        for root in &mut all {
            root.store(&self.mapper, &|| self.new_event_id(), &mut events)
                .map_err(Error::persistence("save"))?;
        }
        let receipts: Vec<_> = events.iter().map(Recording::of).collect();
        let recorded = self
            .recorder
            .insert_events(events, durability)
            .map_err(Error::persistence("save"))?;

        let mut rest = recorded.as_slice();
        for root in all {
            rest = root.saved(rest);
        }
        let at = |(recording, at): (Recording, Recorded)| recording.at(at);
        Ok(receipts.into_iter().zip(recorded).map(at).collect())
    }

    /// Loads aggregates.
    pub fn repository(&self) -> Repository<'_> {
        Repository::new(&*self.recorder, &self.mapper)
    }

    /// The sequence of all events, in sections that others can fetch.
    pub fn notification_log(&self) -> NotificationLog<'_> {
        NotificationLog::new(&*self.recorder, self.section_size)
    }

    /// Follows all events behind position `after` (0: from the beginning) that have one of these topics
    /// (none given: any): catch-up, then live. [`Mapper::decode`] gives back the events.
    ///
    /// # Errors
    /// [`Error::Persistence`].
    pub fn subscribe(&self, after: u64, topics: &[&str]) -> Result<Subscription, Error> {
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

    /// The mapper it stores events with.
    pub fn mapper(&self) -> &Mapper {
        &self.mapper
    }

    /// The recorder it stores events in.
    pub fn recorder(&self) -> &Arc<dyn ApplicationRecorder> {
        &self.recorder
    }

    /// Closes the recorder: later saves answer an error, subscriptions end. Closing again does nothing.
    ///
    /// # Errors
    /// [`Error::Persistence`] when what was saved with [`Durability::Buffered`] may be lost.
    pub fn close(&self) -> Result<(), Error> {
        self.recorder.close().map_err(Error::persistence("close"))
    }

    /// UUID version 7: events saved together have ids near each other, which keeps lookups by id cheap.
    fn new_event_id(&self) -> Uuid {
        let mut bytes = [0; 10];
        self.random.fill(&mut bytes);
        uuid::Builder::from_unix_timestamp_millis(self.clock.now_us() / 1000, &bytes).into_uuid()
    }
}
