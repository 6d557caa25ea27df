//! Snapshots of decision models beside a log, in its own store of snapshots.

use annals_engine::{Log, NewEvent, Snapshot};

use super::{LogRecorder, engine_id, failure, library_id};
use crate::domain::AggregateId;
use crate::persistence::{
    Encoding, Origin, PersistenceError, Recorder, SnapshotRecorder, StoredEvent,
};

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
        snapshot.check()?;
        let Some(origin) = snapshot.origin else {
            let topic = snapshot.topic;
            return Err(PersistenceError::NoAggregate { topic });
        };
        let mut new = NewEvent::new(snapshot.topic, snapshot.payload);
        if let Some(encoding) = snapshot.encoding {
            new = new.encoding(annals_engine::Encoding {
                codec: encoding.codec,
                key_id: encoding.key_id,
                plain_len: encoding.plain_len,
            });
        }
        if let Some(digest) = snapshot.digest {
            new = new.digest(digest);
        }
        let new = snapshot
            .metadata
            .into_iter()
            .fold(new, |new, (key, value)| new.metadata(key, value));
        self.log
            .snapshots()
            .put_at(engine_id(&origin.aggregate_id), origin.version, new)
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

fn stored(snapshot: Snapshot) -> Result<StoredEvent, PersistenceError> {
    let origin = Origin {
        aggregate_id: library_id(snapshot.aggregate_id)?,
        version: snapshot.version,
    };
    Ok(StoredEvent {
        origin: Some(origin),
        metadata: snapshot.metadata.into_iter().collect(),
        encoding: snapshot.encoding.map(|encoding| Encoding {
            codec: encoding.codec,
            key_id: encoding.key_id,
            plain_len: encoding.plain_len,
        }),
        digest: snapshot.digest,
        ..StoredEvent::new(uuid::Uuid::nil(), snapshot.topic, snapshot.payload)
    })
}
