//! Snapshots in memory.

use super::super::memory_snapshots::SnapshotMap;
use super::MemoryRecorder;
use crate::domain::AggregateId;
use crate::persistence::{PersistenceError, SnapshotRecorder, StoredEvent};

impl SnapshotRecorder for MemoryRecorder {
    fn insert_snapshot(&self, snapshot: StoredEvent) -> Result<(), PersistenceError> {
        let origin = SnapshotMap::check(&snapshot)?;
        let mut state = self.shared.state.lock();
        state.check_open()?;
        state.snapshots.insert(origin, snapshot);
        Ok(())
    }

    fn latest_snapshot(
        &self,
        aggregate_id: &AggregateId,
        at_most_version: u64,
    ) -> Result<Option<StoredEvent>, PersistenceError> {
        let state = self.shared.state.lock();
        let bound = state.last_version(aggregate_id).unwrap_or(0);
        Ok(state
            .snapshots
            .latest(aggregate_id, bound.min(at_most_version)))
    }

    fn delete_snapshots(&self, aggregate_id: &AggregateId) -> Result<(), PersistenceError> {
        let mut state = self.shared.state.lock();
        state.check_open()?;
        state.snapshots.remove(aggregate_id);
        Ok(())
    }
}
