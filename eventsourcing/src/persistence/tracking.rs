//! How far an upstream sequence has been processed.

use super::{Limit, PersistenceError};

/// The last position of an upstream sequence that has been processed, stored together with its effects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracking {
    /// The upstream: 1..=255 bytes.
    pub name: String,
    /// Position in it.
    pub position: u64,
}

impl Tracking {
    /// Everything of `name` up to `position` has been processed.
    pub fn new(name: impl Into<String>, position: u64) -> Self {
        Self {
            name: name.into(),
            position,
        }
    }

    /// Checks the limits that every recorder has.
    ///
    /// # Errors
    /// [`PersistenceError::Limit`].
    pub fn check(&self) -> Result<(), PersistenceError> {
        Limit::TrackingName.check(self.name.len() as u64)
    }
}
