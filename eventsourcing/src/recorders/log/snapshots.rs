//! Snapshots beside a log, in its own store of them.

use annals_engine::{NewEvent, Snapshot};

use super::{LogRecorder, encoding, engine_encoding, engine_id, failure, library_id};
use crate::domain::AggregateId;
use crate::persistence::{Origin, PersistenceError, SnapshotRecorder, StoredEvent};

/// The events that a snapshot rests on are made durable with it: with [buffered](crate::Durability::Buffered) saves a
/// snapshot costs a sync.
impl SnapshotRecorder for LogRecorder {
    fn insert_snapshot(&self, snapshot: StoredEvent) -> Result<(), PersistenceError> {
        let (id, version, new) = new_snapshot(snapshot)?;
        let snapshots = self.log.snapshots();
        let put = snapshots.put(id, version, new);
        put.map_err(|error| failure("store a snapshot", error))
    }

    fn latest_snapshot(
        &self,
        aggregate_id: &AggregateId,
        at_most_version: u64,
    ) -> Result<Option<StoredEvent>, PersistenceError> {
        let snapshots = self.log.snapshots();
        let latest = snapshots.latest(&engine_id(aggregate_id), Some(at_most_version));
        let latest = latest.map_err(|error| failure("read a snapshot", error))?;
        latest.map(stored).transpose()
    }

    fn delete_snapshots(&self, aggregate_id: &AggregateId) -> Result<(), PersistenceError> {
        let deleted = self.log.snapshots().delete(&engine_id(aggregate_id));
        deleted.map_err(|error| failure("delete snapshots", error))
    }
}

/// What it is of, at which version, and the rest.
pub(super) fn new_snapshot(
    snapshot: StoredEvent,
) -> Result<(annals_engine::AggregateId, u64, NewEvent), PersistenceError> {
    snapshot.check()?;
    let Some(origin) = snapshot.origin else {
        let topic = snapshot.topic;
        return Err(PersistenceError::NoAggregate { topic });
    };
    let mut new = NewEvent::new(snapshot.topic, snapshot.payload);
    if let Some(encoding) = snapshot.encoding {
        new = new.encoding(engine_encoding(encoding));
    }
    if let Some(digest) = snapshot.digest {
        new = new.digest(digest);
    }
    for (key, value) in snapshot.metadata {
        new = new.metadata(key, value);
    }
    Ok((engine_id(&origin.aggregate_id), origin.version, new))
}

pub(super) fn stored(snapshot: Snapshot) -> Result<StoredEvent, PersistenceError> {
    let mut stored = StoredEvent::new(uuid::Uuid::nil(), snapshot.topic, snapshot.payload);
    stored.origin = Some(Origin {
        aggregate_id: library_id(snapshot.aggregate_id)?,
        version: snapshot.version,
    });
    stored.metadata = snapshot.metadata.into_iter().collect();
    stored.encoding = snapshot.encoding.map(encoding);
    stored.digest = snapshot.digest;
    Ok(stored)
}
