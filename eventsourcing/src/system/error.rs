//! What can go wrong with systems.

use super::{PARTITIONS_MAX, Role};
use crate::persistence::PersistenceError;
use crate::projection::{Failure, ProjectionError};

/// What a system or its runner answers instead of a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemError {
    /// A system without pipes.
    #[error("a system without pipes, expected at least one; say who follows whom")]
    NoPipes,

    /// A pipe of fewer than two applications.
    #[error(
        "a pipe of {found} applications, expected at least 2; name a leader and those who follow"
    )]
    ShortPipe {
        /// How many there are.
        found: usize,
    },

    /// An application's name is empty, too long, or has a character that is reserved.
    #[error(
        "application name {name:?}: expected 1..=100 bytes without '#' and '/'; choose another"
    )]
    Name {
        /// The name.
        name: String,
    },

    /// Two applications with one name.
    #[error(
        "application {name:?} is defined twice, expected once; choose another name for one of them"
    )]
    DefinedTwice {
        /// The name.
        name: String,
    },

    /// A name that no application of the system has.
    #[error("no application {name:?} in the system; define it, or check the name")]
    Unknown {
        /// The name.
        name: String,
    },

    /// An application in no pipe.
    #[error("application {name:?} is in no pipe; connect it, or leave it out")]
    Unconnected {
        /// The name.
        name: String,
    },

    /// A pipe leads out of an application that cannot be followed.
    #[error(
        "application {name:?} is a {role}, expected one that can be followed; define it with `process`"
    )]
    NotALeader {
        /// The name.
        name: String,
        /// What it is.
        role: Role,
    },

    /// A pipe leads into an application that follows nobody.
    #[error(
        "application {name:?} is a {role}, expected one with a policy; define it with `process` or `follower`"
    )]
    NotAFollower {
        /// The name.
        name: String,
        /// What it is.
        role: Role,
    },

    /// An application that follows others was opened as one that cannot.
    #[error(
        "application {name:?} follows others, expected a process application; open it on a recorder that tracks"
    )]
    NotAProcess {
        /// The name.
        name: String,
    },

    /// Two applications on one recorder: a follower would take its own events for those of its leader.
    #[error(
        "applications {first:?} and {second:?} share a recorder, expected one each; open another"
    )]
    SharedRecorder {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },

    /// An application could not be opened.
    #[error("application {name:?} cannot be opened")]
    Open {
        /// The name.
        name: String,
        /// Why.
        source: Failure,
    },

    /// A follower is to run in none or too many parts.
    #[error("application {name:?}: {found} partitions, expected 1..={PARTITIONS_MAX}")]
    Partitions {
        /// The name.
        name: String,
        /// How many were asked for.
        found: usize,
    },

    /// A store failed.
    #[error("application {name:?}: cannot {doing}")]
    Store {
        /// The application.
        name: String,
        /// The step.
        doing: &'static str,
        /// What the store said.
        source: PersistenceError,
    },

    /// A follower has stopped, or did not come as far as it should have in time.
    #[error("a follower does not go on")]
    Follower(#[from] ProjectionError),

    /// Timers cannot be read or fired any more: the runner has stopped firing them. None is lost.
    #[error("timers have stopped; start them again when the store works, none is lost")]
    Timers {
        /// Why.
        source: std::sync::Arc<SystemError>,
    },

    /// It did not come to rest in time: applications went on causing each other's events.
    #[error("not at rest after {timeout:?}; wait longer, or look for a loop without end")]
    NotAtRest {
        /// How long was waited.
        timeout: std::time::Duration,
    },
}
