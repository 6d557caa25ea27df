//! Inserts that are awaited.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::{PersistenceError, Recorded, StoredEvent};

/// What a recorder makes of events that it was [handed](super::AggregateRecorder::submit_events).
#[must_use = "the events may be refused, which only the outcome tells"]
pub enum Submission {
    /// They are under way. Dropping this does not take them back.
    UnderWay(Outcome),
    /// The recorder can only be waited for: here they are again, to be inserted where that may block.
    Blocks(Vec<StoredEvent>),
}

/// What an insert will answer; see [`AggregateRecorder::insert_events`](super::AggregateRecorder::insert_events).
pub type Outcome = Pin<Box<dyn Future<Output = Result<Vec<Recorded>, PersistenceError>> + Send>>;

impl Submission {
    /// Events whose outcome `outcome` tells.
    pub fn under_way(
        outcome: impl Future<Output = Result<Vec<Recorded>, PersistenceError>> + Send + 'static,
    ) -> Self {
        Self::UnderWay(Box::pin(outcome))
    }
}

impl fmt::Debug for Submission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnderWay(_) => formatter.write_str("UnderWay"),
            Self::Blocks(events) => formatter
                .debug_tuple("Blocks")
                .field(&events.len())
                .finish(),
        }
    }
}
