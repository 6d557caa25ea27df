//! Which aggregates are stored as states too, and when.
//!
//! Snapshots are a cache: to store one may fail without harm to the save that it follows, and one that cannot be used
//! is passed over. Both are told to `tracing`.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::loading::Until;
use super::{Application, Error};
use crate::domain::{Aggregate, AggregateId, Root, Snapshot};
use crate::persistence::{Mapper, PersistenceError, SnapshotRecorder, StoredEvent};

/// Where snapshots are kept, and of which types.
#[derive(Default)]
pub(super) struct Snapshots {
    pub(super) recorder: Option<Arc<dyn SnapshotRecorder>>,
    /// Neither kept nor used.
    pub(super) is_off: bool,
    /// A [`Kind`] for each type of aggregate.
    kinds: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

/// What is done with aggregates of one type: asked for where the type is known to be an aggregate only.
struct Kind<A: Aggregate> {
    /// 0: only when asked for.
    every: u64,
    take: fn(&Mapper, &Root<A>, Uuid) -> Result<StoredEvent, PersistenceError>,
    restore: fn(&Mapper, &StoredEvent) -> Result<Root<A>, PersistenceError>,
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Snapshots")
            .field("recorder", &self.recorder)
            .field("kinds", &self.kinds.len())
            .finish()
    }
}

impl Snapshots {
    pub(super) fn register<A: Snapshot>(&mut self, every: u64) {
        let kind = Kind::<A> {
            every,
            take: Mapper::to_snapshot,
            restore: Mapper::open_snapshot,
        };
        self.kinds.insert(TypeId::of::<A>(), Box::new(kind));
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        match self.recorder.is_none() && !self.kinds.is_empty() && !self.is_off {
            true => Err(Error::MissingOption {
                option: "snapshots",
                needed_by: "snapshot_every",
            }),
            false => Ok(()),
        }
    }

    fn of<A: Aggregate>(&self) -> Option<(&dyn SnapshotRecorder, &Kind<A>)> {
        let kinds = Some(&self.kinds).filter(|_| !self.is_off)?;
        let kind = kinds.get(&TypeId::of::<A>())?.downcast_ref()?;
        Some((&**self.recorder.as_ref()?, kind))
    }
}

impl Application {
    /// Stores a snapshot of an aggregate, as it is or as it was at a version, and answers its version.
    ///
    /// With [`ApplicationBuilder::snapshot_every`](crate::ApplicationBuilder::snapshot_every) this happens by itself,
    /// too.
    ///
    /// # Errors
    /// [`Error::NoSnapshots`] when the application was not built for it; [`Error::Persistence`]; and as
    /// [`Repository::get_at`](crate::Repository::get_at).
    pub fn take_snapshot<A: Snapshot>(
        &self,
        id: &AggregateId,
        version: Option<u64>,
    ) -> Result<u64, Error> {
        let Some((recorder, kind)) = self.snapshots.of::<A>() else {
            return Err(Error::NoSnapshots {
                type_name: type_name::<A>(),
            });
        };
        let until = version.map_or(Until::Last, Until::Version);
        let root = self.load::<A>(id, until)?;
        (kind.take)(&self.mapper, &root, self.new_event_id())
            .and_then(|stored| recorder.insert_snapshot(stored))
            .map_err(Error::persistence("take a snapshot"))?;
        Ok(root.version())
    }

    /// A snapshot of an aggregate that has just been saved with `added` events, if one is due.
    pub(super) fn due_snapshot<A: Aggregate>(
        &self,
        root: &Root<A>,
        added: u64,
    ) -> Option<StoredEvent> {
        let (_, kind) = self.snapshots.of::<A>()?;
        let count_at = |version: u64| version.checked_div(kind.every).unwrap_or(0);
        if count_at(root.version()) == count_at(root.version() - added) {
            return None;
        }
        let taken = (kind.take)(&self.mapper, root, self.new_event_id());
        taken.map_err(|error| no_snapshot(root.id(), &error)).ok()
    }

    /// Stores snapshots of what has been saved.
    pub(super) fn keep_snapshots(&self, snapshots: Vec<StoredEvent>) {
        let Some(recorder) = &self.snapshots.recorder else {
            return;
        };
        for snapshot in snapshots {
            let id = snapshot.aggregate_id().cloned();
            if let (Err(error), Some(id)) = (recorder.insert_snapshot(snapshot), id) {
                no_snapshot(&id, &error);
            }
        }
    }

    /// The state that a snapshot has of an aggregate, not beyond `until`.
    pub(super) fn restore<A: Aggregate>(&self, id: &AggregateId, until: Until) -> Option<Root<A>> {
        let (recorder, kind) = self.snapshots.of::<A>()?;
        let at_most = match until {
            Until::Version(version) => version,
            Until::Last | Until::Time(_) => u64::MAX,
        };
        let restored = recorder.latest_snapshot(id, at_most).and_then(|found| {
            let restored = found.map(|stored| (kind.restore)(&self.mapper, &stored));
            restored.transpose()
        });
        let root = match restored {
            Ok(root) => root?,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%id, error, "a snapshot is passed over; the events are replayed");
                return None;
            }
        };
        let is_within = match until {
            Until::Time(time_us) => root.modified_us().is_some_and(|last| last <= time_us),
            Until::Last => true,
            Until::Version(version) => root.version() <= version,
        };
        // It may be kept elsewhere than the events, and know what those have lost.
        let is_reached = || {
            let last = self.recorder.last_version(id).ok().flatten();
            last.is_some_and(|last| last >= root.version())
        };
        (root.id() == id && is_within && is_reached()).then_some(root)
    }
}

fn no_snapshot(id: &AggregateId, error: &PersistenceError) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(%id, error, "no snapshot was taken; the events are saved");
}
