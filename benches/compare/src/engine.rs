//! What a workload asks of an engine: the contract that every adapter fulfils.
//!
//! - A commit is all or nothing. It is refused as a [`Failure::Conflict`] when an aggregate has events that
//!   its writer does not know of.
//! - Positions are global, start at 1 and have no gaps, refused commits or not.
//! - When [`Engine::append`] returns, the commit is as durable as the engine was opened for.
//! - A read shows events whole and in order, and only committed ones.
//!
//! `conformance.rs` holds each adapter to it.

use std::error::Error;
use std::fmt;
use std::path::Path;

/// An event to append, with what its writer knows of the aggregate.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    /// The aggregate it belongs to.
    pub(crate) aggregate: [u8; 16],
    /// Its version, 1 for the first.
    pub(crate) version: u64,
    /// What its writer knows of the event before it.
    pub(crate) known: Known,
    /// Name of its type.
    pub(crate) topic: &'static str,
    /// Tags beside the aggregate; only conditional workloads have them.
    pub(crate) tags: Vec<String>,
    /// Its content.
    pub(crate) payload: Vec<u8>,
}

/// The last event of an aggregate, as a writer knows it. Engines with versions demand the version before the
/// new one; engines with conditions demand that nothing of the aggregate lies behind the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// There is none.
    Nothing,
    /// It lies at this position.
    At(u64),
    /// It is in the same commit, so there is nothing to demand.
    InThisCommit,
}

impl Known {
    /// The position behind which nothing of the aggregate may lie.
    pub(crate) fn after(self) -> u64 {
        match self {
            Self::At(position) => position,
            Self::Nothing | Self::InThisCommit => 0,
        }
    }
}

/// Events that are stored together or not at all.
pub(crate) type Commit = Vec<NewEvent>;

/// An event as it is read, borrowed for the length of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    /// Its position.
    pub(crate) position: u64,
    /// The aggregate it belongs to.
    pub(crate) aggregate: [u8; 16],
    /// Its version.
    pub(crate) version: u64,
    /// Name of its type.
    pub(crate) topic: &'a str,
    /// Its content.
    pub(crate) payload: &'a [u8],
}

/// How durable an acknowledged commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It survives a loss of power.
    Durable,
    /// It survives the end of the process, where the engine has such a mode; its adapter says so.
    Buffered,
}

/// An open store.
pub(crate) trait Engine: Send + Sync {
    /// Commits and answers the position of the first event.
    fn append(&self, commit: Commit) -> Result<u64, Failure>;

    /// Shows the events of an aggregate by ascending version.
    fn read_aggregate(
        &self,
        aggregate: [u8; 16],
        visit: &mut dyn FnMut(Seen<'_>),
    ) -> Result<(), Failure>;

    /// Shows every event by ascending position.
    fn replay(&self, visit: &mut dyn FnMut(Seen<'_>)) -> Result<(), Failure>;

    /// The last position, 0 when there are no events.
    fn head(&self) -> Result<u64, Failure>;

    /// Makes what was buffered as durable as the engine can without closing.
    fn settle(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// Closes in the orderly way.
    fn close(self: Box<Self>) -> Result<(), Failure>;

    /// Commits that are handed over without waiting for the outcome, where the engine has that.
    fn pipeline(&self) -> Option<Box<dyn Pipeline + '_>> {
        None
    }

    /// Appends under a condition on tags, where the engine has that.
    fn conditional(&self) -> Option<&dyn Conditional> {
        None
    }

    /// Several commits in one transaction, where the engine has a single writer that an application may put
    /// a group commit in front of.
    fn group(&self) -> Option<&dyn GroupCommit> {
        None
    }
}

/// Commits under way, from one thread; their outcomes are asked for in the order they were handed over.
pub(crate) trait Pipeline {
    /// Hands a commit over.
    fn submit(&mut self, commit: Commit) -> Result<(), Failure>;

    /// Waits for the oldest one under way and answers the position of its first event.
    fn wait_oldest(&mut self) -> Result<u64, Failure>;
}

/// Appends under a condition.
pub(crate) trait Conditional: Sync {
    /// Commits `event`, unless one of its type that has all of `tags` lies behind position `after`.
    fn append_if(&self, event: NewEvent, tags: &[String], after: u64) -> Result<u64, Failure>;
}

/// Several commits, each with an outcome of its own, made durable together.
pub(crate) trait GroupCommit: Sync {
    /// Commits those that are not in conflict, each seeing those before it.
    fn append_group(&self, commits: &[Commit]) -> Result<Vec<Result<u64, Failure>>, Failure>;

    /// One commit, a group of its own.
    fn append_alone(&self, commit: &Commit) -> Result<u64, Failure> {
        let mut outcomes = self.append_group(std::slice::from_ref(commit))?;
        outcomes.remove(0)
    }
}

/// An engine that can be opened.
pub(crate) struct Kind {
    /// Its name on the command line and in tables.
    pub(crate) name: &'static str,
    /// Crate and version, as in the lock file.
    pub(crate) package: &'static str,
    /// What it was made for.
    pub(crate) form: Form,
    /// What its buffered mode survives.
    pub(crate) buffered: Buffered,
    /// Opens the store in a directory, or creates it there, with room for so many events.
    pub(crate) open: Open,
}

/// Opens a store.
pub(crate) type Open = fn(&Path, Durability, u64) -> Result<Box<dyn Engine>, Failure>;

/// What an engine was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Events: it commits in groups by itself, takes appends without waiting, and checks conditions on tags.
    EventStore,
    /// Anything, with one writer: an event store is built on it, and a group commit may be put in front.
    Database,
}

/// What an engine offers to those who can wait for their sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buffered {
    /// Acknowledged commits survive `kill -9`.
    SurvivesKill,
    /// They are gone with the process until a durable commit follows.
    LostOnKill,
    /// There is no such mode: every commit is durable.
    Never,
}

/// Why a commit or a read did not happen.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Somebody else has written behind what the writer knows.
    Conflict,
    /// Anything else; it ends the run.
    Broken(Box<dyn Error + Send + Sync>),
}

impl Failure {
    /// A failure with this text.
    pub(crate) fn broken(text: impl Into<String>) -> Self {
        Self::Broken(text.into().into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict => formatter.write_str("refused: the aggregate has newer events"),
            Self::Broken(cause) => cause.fmt(formatter),
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(cause: E) -> Self {
        Self::Broken(Box::new(cause))
    }
}
