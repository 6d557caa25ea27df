//! Snapshots in memory, of anything: what their versions count is not looked at.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;

use crate::domain::AggregateId;
use crate::persistence::{Origin, PersistenceError, Recorder, SnapshotRecorder, StoredEvent};

/// Keeps snapshots in memory, those of decision models too, whose versions are positions. Gone when it is dropped.
#[derive(Debug, Default)]
pub struct MemorySnapshots {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    snapshots: SnapshotMap,
    closed: bool,
}

/// Snapshots by what they are of, and version.
#[derive(Debug, Default)]
pub(super) struct SnapshotMap(HashMap<AggregateId, BTreeMap<u64, StoredEvent>>);

impl SnapshotMap {
    /// That it can be stored, and where.
    pub(super) fn check(snapshot: &StoredEvent) -> Result<Origin, PersistenceError> {
        snapshot.check()?;
        snapshot.origin.clone().ok_or_else(|| {
            let topic = snapshot.topic.clone();
            PersistenceError::NoAggregate { topic }
        })
    }

    pub(super) fn insert(&mut self, origin: Origin, snapshot: StoredEvent) {
        let of_one = self.0.entry(origin.aggregate_id).or_default();
        of_one.insert(origin.version, snapshot);
    }

    pub(super) fn latest(&self, id: &AggregateId, at_most_version: u64) -> Option<StoredEvent> {
        let (_, latest) = self.0.get(id)?.range(..=at_most_version).next_back()?;
        Some(latest.clone())
    }

    pub(super) fn remove(&mut self, id: &AggregateId) {
        self.0.remove(id);
    }
}

impl MemorySnapshots {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Recorder for MemorySnapshots {
    fn close(&self) -> Result<(), PersistenceError> {
        self.state.lock().closed = true;
        Ok(())
    }
}

impl SnapshotRecorder for MemorySnapshots {
    fn insert_snapshot(&self, snapshot: StoredEvent) -> Result<(), PersistenceError> {
        let origin = SnapshotMap::check(&snapshot)?;
        let mut state = self.state.lock();
        if state.closed {
            return Err(PersistenceError::Closed);
        }
        state.snapshots.insert(origin, snapshot);
        Ok(())
    }

    fn latest_snapshot(
        &self,
        aggregate_id: &AggregateId,
        at_most_version: u64,
    ) -> Result<Option<StoredEvent>, PersistenceError> {
        let state = self.state.lock();
        Ok(state.snapshots.latest(aggregate_id, at_most_version))
    }

    fn delete_snapshots(&self, aggregate_id: &AggregateId) -> Result<(), PersistenceError> {
        self.state.lock().snapshots.remove(aggregate_id);
        Ok(())
    }
}
