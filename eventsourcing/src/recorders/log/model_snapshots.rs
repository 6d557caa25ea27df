//! Snapshots of decision models beside a log, in its own store of snapshots.

use annals_engine::Log;

use super::snapshots::{new_snapshot, stored};
use super::{LogRecorder, engine_id, failure};
use crate::domain::AggregateId;
use crate::persistence::{PersistenceError, Recorder, SnapshotRecorder, StoredEvent};

/// Keeps snapshots whose versions are positions of a log: those of decision models, which are no aggregates.
///
/// A snapshot is kept of durable events only: with [buffered](crate::Durability::Buffered) events it costs a sync.
#[derive(Clone, Debug)]
pub struct LogModelSnapshots {
    log: Log,
}

impl LogRecorder {
    /// Snapshots of decision models beside this log, which closes them; see
    /// [`DcbApplicationBuilder::snapshots`](crate::DcbApplicationBuilder::snapshots).
    pub fn model_snapshots(&self) -> LogModelSnapshots {
        LogModelSnapshots {
            log: self.log.clone(),
        }
    }
}

impl Recorder for LogModelSnapshots {
    /// Does nothing: they are closed with the log.
    fn close(&self) -> Result<(), PersistenceError> {
        Ok(())
    }
}

impl SnapshotRecorder for LogModelSnapshots {
    fn insert_snapshot(&self, snapshot: StoredEvent) -> Result<(), PersistenceError> {
        let (name, position, new) = new_snapshot(snapshot)?;
        self.log
            .snapshots()
            .put_at(name, position, new)
            .map_err(|error| failure("store a snapshot", error))
    }

    fn latest_snapshot(
        &self,
        aggregate_id: &AggregateId,
        at_most_version: u64,
    ) -> Result<Option<StoredEvent>, PersistenceError> {
        self.log
            .snapshots()
            .latest_at(&engine_id(aggregate_id), Some(at_most_version))
            .map_err(|error| failure("read a snapshot", error))?
            .map(stored)
            .transpose()
    }

    fn delete_snapshots(&self, aggregate_id: &AggregateId) -> Result<(), PersistenceError> {
        self.log
            .snapshots()
            .delete(&engine_id(aggregate_id))
            .map_err(|error| failure("delete snapshots", error))
    }
}
