//! Snapshots in memory.

use super::MemoryRecorder;
use crate::domain::AggregateId;
use crate::persistence::{PersistenceError, SnapshotRecorder, StoredEvent};

impl SnapshotRecorder for MemoryRecorder {
    fn insert_snapshot(&self, snapshot: StoredEvent) -> Result<(), PersistenceError> {
        snapshot.check()?;
        let Some(origin) = snapshot.origin.clone() else {
            let topic = snapshot.topic;
            return Err(PersistenceError::NoAggregate { topic });
        };
        let mut state = self.shared.state.lock();
        state.check_open()?;
        let of_aggregate = state.snapshots.entry(origin.aggregate_id).or_default();
        of_aggregate.insert(origin.version, snapshot);
        Ok(())
    }

    fn latest_snapshot(
        &self,
        aggregate_id: &AggregateId,
        at_most_version: u64,
    ) -> Result<Option<StoredEvent>, PersistenceError> {
        let state = self.shared.state.lock();
        let bound = state.last_version(aggregate_id).unwrap_or(0);
        let of_aggregate = state.snapshots.get(aggregate_id);
        let latest = of_aggregate
            .and_then(|snapshots| snapshots.range(..=bound.min(at_most_version)).next_back());
        Ok(latest.map(|(_, snapshot)| snapshot.clone()))
    }

    fn delete_snapshots(&self, aggregate_id: &AggregateId) -> Result<(), PersistenceError> {
        let mut state = self.shared.state.lock();
        state.check_open()?;
        state.snapshots.remove(aggregate_id);
        Ok(())
    }
}
