//! What can go wrong when aggregates are saved and loaded.

use std::time::SystemTime;

use super::loading::Until;
use crate::domain::{AggregateId, DomainError, system_time};
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

    /// The aggregate had no events at that time.
    #[error(
        "aggregate {id}: no events stored at or before {micros} us after the epoch, expected at least one; \
         ask for a later time, or check its id", micros = micros(*time)
    )]
    AggregateNotThen {
        /// The aggregate.
        id: AggregateId,
        /// The time asked for.
        time: SystemTime,
    },

    /// Every attempt to change an aggregate was overtaken by somebody else. Nothing was stored.
    #[error(
        "aggregate {id}: each of {attempts} attempts to change it was overtaken; try again later, let fewer change it \
         at once, or allow more `retries`"
    )]
    Contended {
        /// The aggregate.
        id: AggregateId,
        /// How many attempts there were.
        attempts: u32,
        /// The last conflict.
        source: PersistenceError,
    },

    /// An aggregate was added twice to the same work.
    #[error("aggregate {id}: added already, expected once; get it, and trigger the events on it")]
    AlreadyAdded {
        /// The aggregate.
        id: AggregateId,
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

    /// An event that was followed cannot be decoded. What follows it can be.
    #[error("the event at position {position} cannot be decoded; skip it, or keep it for later")]
    Undecodable {
        /// Its position.
        position: u64,
        /// What the mapper said.
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

    /// Snapshots of an aggregate that the application was not built for.
    #[error(
        "no snapshots of {type_name}; build the application with `snapshots` and `snapshot_every` of this type"
    )]
    NoSnapshots {
        /// The type of the aggregate.
        type_name: &'static str,
    },

    /// An option needs another one.
    #[error("option {needed_by}: needs {option} beside it, expected both or none")]
    MissingOption {
        /// The option that is missing.
        option: &'static str,
        /// The one that was given.
        needed_by: &'static str,
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
        match self {
            Self::Persistence { source, .. } => source.is_conflict(),
            Self::Contended { .. } => true,
            _ => false,
        }
    }

    /// Whether a follower has processed this position before: skip it.
    pub fn is_processed(&self) -> bool {
        matches!(self, Self::Persistence { source, .. } if source.is_processed())
    }

    /// Whether there is no such aggregate, or was none at the time asked for.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::AggregateNotFound { .. } | Self::AggregateNotThen { .. }
        )
    }

    /// Whether the application has been closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Persistence { source, .. } if source.is_closed())
    }

    pub(super) fn not_found(id: &AggregateId, until: Until) -> Self {
        let id = id.clone();
        let version = match until {
            Until::Time(time_us) => {
                let time = system_time(time_us);
                return Self::AggregateNotThen { id, time };
            }
            Until::Version(version) => Some(version),
            Until::Last => None,
        };
        Self::AggregateNotFound { id, version }
    }

    pub(crate) fn persistence(doing: &'static str) -> impl Fn(PersistenceError) -> Self {
        move |source| Self::Persistence { doing, source }
    }
}

fn micros(time: SystemTime) -> u128 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.map_or(0, |duration| duration.as_micros())
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
