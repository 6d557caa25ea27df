//! What can go wrong when aggregates are saved and loaded.

use crate::domain::{AggregateId, DomainError};
use crate::persistence::PersistenceError;

/// What an application answers instead of a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such aggregate, or it did not exist yet.
    #[error("aggregate {id}: no events{up_to}, expected at least one; check its id, or create it", up_to = UpTo(*version))]
    AggregateNotFound {
        /// The aggregate.
        id: AggregateId,
        /// The version asked for; `None` when any would do.
        version: Option<u64>,
    },

    /// An id or event does not fit.
    #[error("refused by the domain")]
    Domain(#[from] DomainError),

    /// The stored events of an aggregate do not add up.
    #[error(
        "aggregate {id}: its stored events cannot be replayed; read them as notifications to see why"
    )]
    Replay {
        /// The aggregate.
        id: AggregateId,
        /// What does not fit.
        source: DomainError,
    },

    /// Events cannot be stored or read.
    #[error("cannot {doing}")]
    Persistence {
        /// The step.
        doing: &'static str,
        /// The answer of the recorder or mapper.
        source: PersistenceError,
    },

    /// More notifications were asked for than a section holds.
    #[error(
        "{found} notifications asked for, expected at most {max}; ask for fewer, or raise `section_size`"
    )]
    SectionSize {
        /// How many were asked for.
        found: usize,
        /// The size of a section.
        max: usize,
    },

    /// The name of a section is none.
    #[error("section id {found:?}: expected two positions such as \"1,10\"; start with that one")]
    SectionId {
        /// What was given.
        found: String,
    },

    /// An option is outside its range.
    #[error("option {option}: {found}, expected at least {min}")]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// Value given.
        found: usize,
        /// Least value.
        min: usize,
    },
}

impl Error {
    /// Whether somebody else was faster: load again, decide again, save again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Persistence { source, .. } if source.is_conflict())
    }

    /// Whether there is no such aggregate.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::AggregateNotFound { .. })
    }

    pub(crate) fn persistence(doing: &'static str) -> impl Fn(PersistenceError) -> Self {
        move |source| Self::Persistence { doing, source }
    }
}

struct UpTo(Option<u64>);

impl std::fmt::Display for UpTo {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(version) => write!(formatter, " up to version {version}"),
            None => Ok(()),
        }
    }
}
