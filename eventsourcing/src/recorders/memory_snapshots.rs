//! Snapshots in memory, of anything: what their versions count is not looked at.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;

use crate::domain::AggregateId;
use crate::persistence::{PersistenceError, Recorder, SnapshotRecorder, StoredEvent};

/// Keeps snapshots in memory, those of decision models too, whose versions are positions. Gone when it is dropped.
#[derive(Debug, Default)]
pub struct MemorySnapshots {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By what they are of, and version.
    snapshots: HashMap<AggregateId, BTreeMap<u64, StoredEvent>>,
    closed: bool,
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
        snapshot.check()?;
        let Some(origin) = snapshot.origin.clone() else {
            let topic = snapshot.topic;
            return Err(PersistenceError::NoAggregate { topic });
        };
        let mut state = self.state.lock();
        if state.closed {
            return Err(PersistenceError::Closed);
        }
        let of_one = state.snapshots.entry(origin.aggregate_id).or_default();
        of_one.insert(origin.version, snapshot);
        Ok(())
    }

    fn latest_snapshot(
        &self,
        aggregate_id: &AggregateId,
        at_most_version: u64,
    ) -> Result<Option<StoredEvent>, PersistenceError> {
        let state = self.state.lock();
        let of_one = state.snapshots.get(aggregate_id);
        let latest = of_one.and_then(|of_one| of_one.range(..=at_most_version).next_back());
        Ok(latest.map(|(_, snapshot)| snapshot.clone()))
    }

    fn delete_snapshots(&self, aggregate_id: &AggregateId) -> Result<(), PersistenceError> {
        self.state.lock().snapshots.remove(aggregate_id);
        Ok(())
    }
}
