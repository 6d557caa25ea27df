//! Rows made of events, stored together with how far the events have been processed.
//!
//! A view is what a projection writes to. What makes it one is that rows and tracking position change in one
//! transaction: after a crash, or a failure, both are what they were, so each event takes effect exactly once.
//!
//! Every rule stated here is a case of [`conformance::view`](crate::conformance::view).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{PersistenceError, Tracking, TrackingRecorder};

/// A store of rows and of tracking positions.
///
/// What is not in this trait is how rows are read: that is the view's own, and its user's.
///
/// [`TrackingRecorder::insert_tracking`] records that positions were passed over in which nothing concerned the
/// view: a checkpoint. [`TrackingRecorder::wait`] is woken by each of the functions here that advances the position.
pub trait View: TrackingRecorder + 'static {
    /// The door to the rows while a transaction lasts: a `rusqlite::Transaction<'t>`, a [`MemoryRows`](crate::MemoryRows).
    type Rows<'t>;

    /// Lets `change` change the rows and, if it succeeds, does what `step` says, in one transaction.
    ///
    /// `change` runs at most once. If it fails or panics, or the commit fails, rows and positions are what they were
    /// before. A step that is in conflict is refused before or after `change` has run: it leaves no trace either way.
    ///
    /// # Errors
    /// What `change` answered. [`PersistenceError::TrackingConflict`] when the position of an
    /// [`Advance`](Step::Advance) is not above the one recorded, [`PersistenceError::NoDeadLetter`] when there is none
    /// to [`Resolve`](Step::Resolve), [`PersistenceError::Limit`], [`PersistenceError::Store`],
    /// [`PersistenceError::Closed`].
    fn transact<T, E: From<PersistenceError>>(
        &self,
        step: Step<'_>,
        change: impl FnOnce(&mut Self::Rows<'_>) -> Result<T, E>,
    ) -> Result<T, E>;

    /// Keeps a dead letter, and records its position as processed, in one transaction.
    ///
    /// # Errors
    /// As [`TrackingRecorder::insert_tracking`].
    fn insert_dead_letter(&self, letter: DeadLetter) -> Result<(), PersistenceError>;

    /// The dead letters of an upstream, ascending by position.
    ///
    /// # Errors
    /// [`PersistenceError::Store`].
    fn dead_letters(&self, name: &str) -> Result<Vec<DeadLetter>, PersistenceError>;
}

/// What a transaction of a [`View`] records beside the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Everything of the upstream up to the position has been processed. It must be above the one recorded.
    Advance(&'a Tracking),
    /// The dead letter of the upstream at the position has been processed after all: it is removed.
    Resolve(&'a Tracking),
}

impl Step<'_> {
    /// Upstream and position.
    pub fn tracking(&self) -> &Tracking {
        match self {
            Self::Advance(tracking) | Self::Resolve(tracking) => tracking,
        }
    }
}

/// An event that could not be processed and was passed over, with the reason. Its content stays where it is: at its
/// position in the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The upstream, as in [`Tracking::name`].
    pub name: String,
    /// Position in it.
    pub position: u64,
    /// Topic of the event.
    pub topic: String,
    /// Id of the event.
    pub event_id: Uuid,
    /// Why it could not be processed, with all causes.
    pub error: String,
    /// How often it was tried, at least 1.
    pub attempts: u32,
    /// When it was given up, microseconds since the Unix epoch.
    pub time_us: u64,
}

impl DeadLetter {
    /// The position that it counts as processed.
    pub fn tracking(&self) -> Tracking {
        Tracking::new(self.name.clone(), self.position)
    }
}
