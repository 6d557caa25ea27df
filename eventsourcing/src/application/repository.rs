//! Loading aggregates.

use std::time::{Duration, SystemTime};

use super::cache::Change;
use super::loading::Until;
use super::{Application, Error};
use crate::domain::{Aggregate, AggregateId, Root};

/// Loads aggregates by replaying their events, and the events themselves.
#[derive(Clone, Copy, Debug)]
pub struct Repository<'a> {
    pub(super) application: &'a Application,
}

impl<'a> Repository<'a> {
    pub(super) fn new(application: &'a Application) -> Self {
        Self { application }
    }

    /// The aggregate as it is, read from the store.
    ///
    /// # Errors
    /// [`Error::AggregateNotFound`] when it has no events; [`Error::Replay`] when its events are not those
    /// of an `A`; [`Error::Persistence`].
    pub fn get<A: Aggregate>(&self, id: &AggregateId) -> Result<Root<A>, Error> {
        self.application.load(id, Until::Last).map(|root| *root)
    }

    /// A copy of the cached aggregate, once it is up to date; as [`Repository::get`] when there is no
    /// [cache](crate::ApplicationBuilder::cache).
    ///
    /// # Errors
    /// As [`Repository::get`].
    pub fn get_cached<A: Aggregate + Clone>(&self, id: &AggregateId) -> Result<Root<A>, Error> {
        self.read(id, Root::copy)
    }

    /// Shows the aggregate as it is to `look`, and answers what that answers: the cached one without copying it,
    /// else one read from the store.
    ///
    /// # Errors
    /// As [`Repository::get`].
    pub fn read<A: Aggregate, T>(
        &self,
        id: &AggregateId,
        look: impl FnOnce(&Root<A>) -> T,
    ) -> Result<T, Error> {
        let current = self.application.current::<A>(id)?;
        let seen = look(&current.root);
        current.give_back(Change::None);
        Ok(seen)
    }

    /// The aggregate as it was after the last event at or below `version`. Saving it with new events
    /// is a conflict unless that is its last.
    ///
    /// # Errors
    /// As [`Repository::get`].
    pub fn get_at<A: Aggregate>(&self, id: &AggregateId, version: u64) -> Result<Root<A>, Error> {
        self.application
            .load(id, Until::Version(version))
            .map(|root| *root)
    }

    /// The aggregate as it was at `time`: after the last event that was stored then or before, to the microsecond.
    /// Saving it with new events is a conflict unless that is its last.
    ///
    /// # Errors
    /// As [`Repository::get`]; [`Error::AggregateNotThen`] when it had no events at that time.
    pub fn get_as_of<A: Aggregate>(
        &self,
        id: &AggregateId,
        time: SystemTime,
    ) -> Result<Root<A>, Error> {
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH);
        let micros = since_epoch.unwrap_or(Duration::ZERO).as_micros();
        let time_us = u64::try_from(micros).unwrap_or(u64::MAX);
        self.application
            .load(id, Until::Time(time_us))
            .map(|root| *root)
    }

    /// Whether the aggregate has events.
    ///
    /// # Errors
    /// [`Error::Persistence`].
    pub fn contains(&self, id: &AggregateId) -> Result<bool, Error> {
        let doing = "look for an aggregate";
        self.application.check_open(doing)?;
        let last = self.application.recorder.last_version(id);
        Ok(last.map_err(Error::persistence(doing))?.is_some())
    }
}
