//! An event as followers see it.

use std::time::SystemTime;

use super::StoredEvent;
use crate::domain::system_time;

/// A stored event with its place in the sequence of all events.
///
/// For other programs it serializes field by field, bytes as Base64; what is absent is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Place in the sequence: from 1, strictly increasing in commit order. Who has seen a position will
    /// never later find a new event below it.
    pub position: u64,
    /// When it was stored, microseconds since the Unix epoch; never runs backwards along positions.
    pub time_us: u64,
    /// The event.
    pub event: StoredEvent,
}

impl Notification {
    /// When it was stored.
    pub fn time(&self) -> SystemTime {
        system_time(self.time_us)
    }
}

/// Where and when an event was stored: what an insert answers, one for each event, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// See [`Notification::position`].
    pub position: u64,
    /// See [`Notification::time_us`]; `None` when the store does not tell at once.
    pub time_us: Option<u64>,
}
