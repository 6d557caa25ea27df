//! Loading aggregates.

use super::Error;
use crate::domain::{Aggregate, AggregateId, Root};
use crate::persistence::{
    ApplicationRecorder, Mapper, Notification, Origin, PersistenceError, SelectEvents,
};

/// Loads aggregates by replaying their events.
#[derive(Clone, Copy, Debug)]
pub struct Repository<'a> {
    recorder: &'a dyn ApplicationRecorder,
    mapper: &'a Mapper,
}

impl<'a> Repository<'a> {
    pub(super) fn new(recorder: &'a dyn ApplicationRecorder, mapper: &'a Mapper) -> Self {
        Self { recorder, mapper }
    }

    /// The aggregate as it is.
    ///
    /// # Errors
    /// [`Error::AggregateNotFound`] when it has no events; [`Error::Replay`] when its events are not those
    /// of an `A`; [`Error::Persistence`].
    pub fn get<A: Aggregate>(&self, id: &AggregateId) -> Result<Root<A>, Error> {
        self.load(id, None)
    }

    /// The aggregate as it was after the last event at or below `version`. Saving it with new events
    /// is a conflict unless that is its last.
    ///
    /// # Errors
    /// As [`Repository::get`].
    pub fn get_at<A: Aggregate>(&self, id: &AggregateId, version: u64) -> Result<Root<A>, Error> {
        self.load(id, Some(version))
    }

    /// Whether the aggregate has events.
    ///
    /// # Errors
    /// [`Error::Persistence`].
    pub fn contains(&self, id: &AggregateId) -> Result<bool, Error> {
        let select = SelectEvents::all().limit(1);
        let found = self
            .recorder
            .select_events(id, select)
            .map_err(Error::persistence("look for an aggregate"))?;
        Ok(!found.is_empty())
    }

    fn load<A: Aggregate>(&self, id: &AggregateId, version: Option<u64>) -> Result<Root<A>, Error> {
        let select = SelectEvents {
            lte: version,
            ..SelectEvents::all()
        };
        let stored = self
            .recorder
            .select_events(id, select)
            .map_err(Error::persistence("load an aggregate"))?;
        let mut root = None;
        for notification in stored {
            self.replay(&mut root, notification)?;
        }
        root.ok_or_else(|| Error::AggregateNotFound {
            id: id.clone(),
            version,
        })
    }

    /// Adds the next stored event to an aggregate. Nothing is made of it but the event itself, which is moved into the state.
    fn replay<A: Aggregate>(
        &self,
        root: &mut Option<Root<A>>,
        Notification { time_us, event, .. }: Notification,
    ) -> Result<(), Error> {
        let unreadable = Error::persistence("load an aggregate");
        let Some(Origin {
            aggregate_id: id,
            version,
        }) = &event.origin
        else {
            let topic = event.topic;
            return Err(unreadable(PersistenceError::NoAggregate { topic }));
        };
        let replayed = match root {
            None => {
                let first = self.mapper.decode(&event).map_err(unreadable)?;
                Root::begin_stored(id.clone(), *version, Some(time_us), &first)
                    .map(|begun| *root = Some(begun))
            }
            Some(root) => {
                let next = self.mapper.decode_known(&event).map_err(unreadable)?;
                root.advance_by(id, *version, Some(time_us), next)
            }
        };
        replayed.map_err(|source| Error::Replay {
            id: id.clone(),
            source,
        })
    }
}
