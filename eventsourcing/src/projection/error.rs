//! What can go wrong while events are followed.

use std::any::Any;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use crate::persistence::PersistenceError;

/// Why a projection or policy could not process an event: any error, by `?`.
pub type Failure = Box<dyn StdError + Send + Sync>;

/// What a follower answers instead of a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// An event could not be processed, however often it was tried. The follower has stopped in front of it.
    #[error(
        "{follower}: the event {topic:?} at position {position} could not be processed in {attempts} attempts; mend the \
         cause and start again, it goes on there, or have such events kept as dead letters"
    )]
    Event {
        /// The follower.
        follower: String,
        /// Position of the event in the upstream.
        position: u64,
        /// Its topic.
        topic: String,
        /// How often it was tried.
        attempts: u32,
        /// What the projection or policy said, or why the event cannot be read; a [`Panicked`] when it panicked.
        source: Failure,
    },

    /// The upstream cannot be read further. The follower has stopped in front of the place.
    #[error(
        "{follower}: the upstream cannot be read behind position {position}; start again when it can, nothing is lost"
    )]
    Upstream {
        /// The follower.
        follower: String,
        /// What has been processed.
        position: u64,
        /// What the upstream said.
        source: Box<PersistenceError>,
    },

    /// What was made of the events cannot be stored. The follower has stopped in front of them.
    #[error(
        "{follower}: cannot {doing} behind position {position}; start again when the store works, nothing is lost"
    )]
    Store {
        /// The follower.
        follower: String,
        /// The step.
        doing: &'static str,
        /// What has been processed.
        position: u64,
        /// What the store said.
        source: Box<PersistenceError>,
    },

    /// The follower has stopped on an error before; this is it.
    #[error("{follower} has stopped; see the cause, and start it again")]
    Failed {
        /// The follower.
        follower: String,
        /// Why.
        source: Arc<ProjectionError>,
    },

    /// The follower was stopped, or its upstream closed, before it reached what was waited for.
    #[error("{follower} was stopped at position {position}; start it again")]
    Stopped {
        /// The follower.
        follower: String,
        /// What has been processed.
        position: u64,
    },

    /// A position was not reached in time.
    #[error(
        "{follower}: at position {reached} after {timeout:?}, expected {position}; wait longer, or see its lag"
    )]
    WaitTimeout {
        /// The follower.
        follower: String,
        /// Position waited for.
        position: u64,
        /// What has been processed.
        reached: u64,
        /// How long was waited.
        timeout: Duration,
    },

    /// An option is outside its range.
    #[error("option {option}: {found}, expected at least {min}")]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// Value given.
        found: u64,
        /// Least value.
        min: u64,
    },
}

/// A projection or policy panicked: that is a failure like any other, and loses no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {message}; a panic is a bug, return an error instead")]
pub struct Panicked {
    /// What it said.
    pub message: String,
}

impl Panicked {
    pub(crate) fn of(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned());
        let message = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self {
            message: message.unwrap_or_else(|| "without a message".to_owned()),
        }
    }
}

/// An event that was to be processed later is no longer in the upstream.
#[derive(Debug, thiserror::Error)]
#[error(
    "no event at position {position}, expected one; the upstream has dropped it, or cannot read it"
)]
pub(crate) struct Gone {
    pub(crate) position: u64,
}

/// An error with all of its causes, for where only text can be kept.
pub(crate) fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
