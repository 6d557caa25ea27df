//! What can go wrong when decisions are made.

use crate::domain::DomainError;
use crate::persistence::PersistenceError;

/// What a [`DcbApplication`](super::DcbApplication) answers instead of a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DcbError {
    /// There is no such object: no event with its tag begins one.
    #[error("object {tag:?}: does not exist; check its id, or create it")]
    NotFound {
        /// Its tag.
        tag: String,
    },

    /// An id or event does not fit.
    #[error("refused by the domain")]
    Domain(#[from] DomainError),

    /// Events cannot be stored or read.
    #[error("cannot {doing}")]
    Persistence {
        /// The step.
        doing: &'static str,
        /// The answer of the recorder or mapper.
        source: PersistenceError,
    },

    /// Others were faster at every attempt. Nothing was saved.
    #[error(
        "a decision was overtaken {attempts} times; draw its boundary narrower, or try again later"
    )]
    Contended {
        /// How often it was made.
        attempts: u32,
        /// The last conflict.
        source: PersistenceError,
    },

    /// A perspective cannot be brought up to date.
    #[error(
        "a perspective known up to position {position} cannot be advanced, {because}; load its models again"
    )]
    CannotAdvance {
        /// Up to where it is known.
        position: u64,
        /// Why.
        because: &'static str,
    },

    /// An option is outside its range.
    #[error("option {option}: {found}, expected at least {min}")]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// Value given.
        found: u32,
        /// Least value.
        min: u32,
    },
}

impl DcbError {
    /// Whether somebody else was faster: load again, decide again, save again.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Persistence { source, .. } => source.is_conflict(),
            Self::Contended { .. } => true,
            _ => false,
        }
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    pub(crate) fn persistence(doing: &'static str) -> impl Fn(PersistenceError) -> Self {
        move |source| Self::Persistence { doing, source }
    }
}
