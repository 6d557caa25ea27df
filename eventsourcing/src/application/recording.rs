//! What a save answers.

use std::time::SystemTime;

use uuid::Uuid;

use crate::domain::{AggregateId, system_time};
use crate::persistence::{Recorded, StoredEvent};

/// An event that was saved, and where it lies: wait for a follower to reach its position to read what
/// you wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recording {
    /// See [`Notification::position`](crate::Notification::position).
    pub position: u64,
    /// When it was stored, microseconds since the Unix epoch; `None` when the store does not tell at once.
    pub time_us: Option<u64>,
    /// The aggregate; `None` for an event of no aggregate.
    pub aggregate_id: Option<AggregateId>,
    /// Its version in the aggregate.
    pub version: Option<u64>,
    /// Stored name of its type.
    pub topic: String,
    /// Its own id.
    pub event_id: Uuid,
}

impl Recording {
    /// When it was stored.
    pub fn time(&self) -> Option<SystemTime> {
        self.time_us.map(system_time)
    }

    /// Of an event about to be stored; [`Recording::at`] completes it.
    pub(crate) fn of(event: &StoredEvent) -> Self {
        Self {
            position: 0,
            time_us: None,
            aggregate_id: event.aggregate_id().cloned(),
            version: event.version(),
            topic: event.topic.clone(),
            event_id: event.event_id,
        }
    }

    pub(crate) fn at(self, Recorded { position, time_us }: Recorded) -> Self {
        Self {
            position,
            time_us,
            ..self
        }
    }
}
