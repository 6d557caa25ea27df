//! An event as a recorder keeps it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Limit, PersistenceError};
use crate::domain::{AggregateId, Metadata};

/// An event as fields and bytes.
///
/// A recorder gives back exactly what it was given, but for the order of the tags: they come back
/// ascending, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Aggregate and version; `None` for an event that belongs to no aggregate, which is found by position,
    /// topic, tags and id.
    pub origin: Option<Origin>,
    /// Stored name of the event type, 1..=1024 bytes.
    pub topic: String,
    /// The event's own id, unique by construction. An insert made again is recognised by it.
    pub event_id: Uuid,
    /// Tags: 0..=64 of 1..=255 bytes each.
    pub tags: Vec<Vec<u8>>,
    /// Correlation id, causation id, user: keys of 1..=255 bytes, 0..=255 entries.
    pub metadata: Metadata,
    /// How the payload was compressed and encrypted; `None` when it is plain.
    pub encoding: Option<Encoding>,
    /// Keyed digest of the payload before encryption, by which a retry is recognised; `None` when plain.
    pub digest: Option<u64>,
    /// The content, as bytes.
    pub payload: Vec<u8>,
}

/// Where an event stands in its aggregate. (Aggregate, version) is unique in a recorder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The aggregate.
    pub aggregate_id: AggregateId,
    /// The version, 0..=[`i64::MAX`]: above those the aggregate has; gaps are legal here.
    pub version: u64,
}

/// How a payload was compressed and encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoding {
    /// Compression and cipher, numbered by the [`Mapper`](crate::Mapper); 0 = none.
    pub codec: u8,
    /// Which key the payload is sealed with; 0 = none.
    pub key_id: u32,
    /// Bytes of the payload before compression and encryption.
    pub plain_len: u32,
}

impl StoredEvent {
    /// An event of no aggregate with a plain payload, and without tags and metadata.
    pub fn new(event_id: Uuid, topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            origin: None,
            topic: topic.into(),
            event_id,
            tags: Vec::new(),
            metadata: Metadata::new(),
            encoding: None,
            digest: None,
            payload: payload.into(),
        }
    }

    /// Puts the event into an aggregate.
    #[must_use]
    pub fn of(mut self, aggregate_id: impl Into<AggregateId>, version: u64) -> Self {
        self.origin = Some(Origin {
            aggregate_id: aggregate_id.into(),
            version,
        });
        self
    }

    /// The aggregate it belongs to.
    pub fn aggregate_id(&self) -> Option<&AggregateId> {
        self.origin.as_ref().map(|origin| &origin.aggregate_id)
    }

    /// Its version in that aggregate.
    pub fn version(&self) -> Option<u64> {
        self.origin.as_ref().map(|origin| origin.version)
    }

    /// Checks the limits that every recorder has, so that an event one of them takes is taken by all.
    /// For those who write a recorder; the payload's limit is the recorder's own.
    ///
    /// # Errors
    /// [`PersistenceError::Limit`].
    pub fn check(&self) -> Result<(), PersistenceError> {
        Limit::Version.check(self.version().unwrap_or(0))?;
        Limit::Topic.check(self.topic.len() as u64)?;
        Limit::Tags.check(self.tags.len() as u64)?;
        for tag in &self.tags {
            Limit::Tag.check(tag.len() as u64)?;
        }
        Limit::Metadata.check(self.metadata.len() as u64)?;
        for key in self.metadata.keys() {
            Limit::MetadataKey.check(key.len() as u64)?;
        }
        Ok(())
    }
}
