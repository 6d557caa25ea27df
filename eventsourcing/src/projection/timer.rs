//! How a timer is stored: with the event it is set for, encoded as it will be recorded.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{AggregateId, DomainError};
use crate::persistence::{PersistenceError, StoredEvent};

/// An event that is to be recorded at a time.
pub(crate) struct Timer {
    /// Microseconds since the Unix epoch.
    pub(crate) due_us: u64,
    pub(crate) event: StoredEvent,
}

/// What the stored timer says about its event, in its metadata. The payload, compressed and encrypted as it may be, is
/// the event's own; its tags are not the timer's, or queries would find it in the event's place.
#[derive(Serialize, Deserialize)]
struct Notes {
    due_us: u64,
    topic: String,
    event_id: Uuid,
    tags: Vec<Vec<u8>>,
}

impl Timer {
    /// The timer as an event of its own.
    pub(crate) fn write(self, event_id: Uuid) -> Result<StoredEvent, PersistenceError> {
        let Self { due_us, mut event } = self;
        let notes = Notes {
            due_us,
            topic: std::mem::replace(&mut event.topic, SET.to_owned()),
            event_id: std::mem::replace(&mut event.event_id, event_id),
            tags: std::mem::take(&mut event.tags),
        };
        let notes = serde_json::to_string(&notes).map_err(|source| PersistenceError::Encode {
            topic: SET,
            source: source.into(),
        })?;
        event.metadata.insert(NOTES.to_owned(), notes);
        Ok(event)
    }

    /// A stored timer.
    pub(crate) fn read(mut stored: StoredEvent) -> Result<Self, PersistenceError> {
        let notes = stored.metadata.remove(NOTES).unwrap_or_default();
        let notes: Notes =
            serde_json::from_str(&notes).map_err(|source| PersistenceError::Decode {
                topic: SET.to_owned(),
                source: source.into(),
            })?;
        let event = StoredEvent {
            origin: None,
            topic: notes.topic,
            event_id: notes.event_id,
            tags: notes.tags,
            ..stored
        };
        Ok(Self {
            due_us: notes.due_us,
            event,
        })
    }
}

/// The aggregate that a timer is.
pub(crate) fn timer_id(name: &str) -> Result<AggregateId, DomainError> {
    AggregateId::text(format!("$timer/{name}"))
}

/// Topic of a timer that was set.
pub(crate) const SET: &str = "$timer-set";
/// Topic of a timer that was cancelled.
pub(crate) const CANCELLED: &str = "$timer-cancelled";
/// Topic of a timer that has fired; its event is recorded behind it.
pub(crate) const FIRED: &str = "$timer-fired";
/// Metadata of a timer.
const NOTES: &str = "$timer";
