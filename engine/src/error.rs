//! What can go wrong, in the terms of what a caller does about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use annals_segments::format::FormatError;
use uuid::Uuid;

use crate::aggregate_id::AggregateId;
use crate::batch::Expected;

/// Everything the log can answer instead of a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An aggregate is not in the state the writer expected. Nothing was written: read again, decide again.
    #[error(
        "aggregate {aggregate}: last version is {found}, expected {expected}; read it again and decide again",
        found = OrNone(*found)
    )]
    VersionConflict {
        /// The aggregate.
        aggregate: AggregateId,
        /// What the batch demanded.
        expected: ExpectedVersion,
        /// Its last version; `None` when it has no events.
        found: Option<u64>,
    },

    /// Events that a clause of the batch forbids are there. Nothing was written: read what is new up to
    /// `head`, decide again, and append with `head` as the position behind which nothing may match.
    #[error(
        "clause {clause} of the condition: events match at positions {positions:?}, expected none; \
         read on up to position {head} and decide again"
    )]
    ConditionConflict {
        /// Which clause, from 0 in the order given.
        clause: usize,
        /// The first positions that match, ascending; at most 16.
        positions: Vec<u64>,
        /// Last position when the clause was checked.
        head: u64,
    },

    /// Events with the ids of this batch are there, and it is not the same batch. Nothing was written.
    #[error(
        "event {event_id} {what} (position {position}); \
         give a new batch ids of its own, and repeat an old one unchanged"
    )]
    RetryConflict {
        /// The event.
        event_id: Uuid,
        /// Position of it, or of another of its batch.
        position: u64,
        /// The difference.
        what: &'static str,
    },

    /// A tracking position is not above the one recorded. Nothing was written: this upstream event has
    /// already been processed.
    #[error(
        "tracking of {name:?}: position {given} is not above the recorded {found}; \
         it has been processed already, skip it"
    )]
    TrackingConflict {
        /// The upstream.
        name: String,
        /// Position the batch gave.
        given: u64,
        /// Position recorded.
        found: u64,
    },

    /// What is asked for lies, or may lie, below the first position that is retained: it was truncated away.
    /// An append was not written.
    #[error(
        "events below position {first} have been dropped, and the answer rests on them; \
         start at position {first}"
    )]
    Expired {
        /// First position that is retained.
        first: u64,
    },

    /// A follower has not seen all that is to be dropped. Nothing was dropped.
    #[error(
        "follower {name:?} has seen positions up to {position} and needs those behind, \
         asked to drop everything before {asked}; wait for it, remove it, or force it"
    )]
    FollowerBehind {
        /// Name of the follower that is furthest behind.
        name: String,
        /// Its position.
        position: u64,
        /// The position before which everything was to be dropped.
        asked: u64,
    },

    /// The position of a follower would go back. Nothing was changed.
    #[error(
        "follower {name:?}: position {given} is below the recorded {found}; \
         reset it if it is to start again from there"
    )]
    FollowerConflict {
        /// The follower.
        name: String,
        /// Position given.
        given: u64,
        /// Position recorded.
        found: u64,
    },

    /// A snapshot is of a version that its aggregate has not got yet. It was not stored.
    #[error(
        "snapshot of aggregate {aggregate} at version {version}: its last version is {last}, expected that \
         or an earlier one; append the events first",
        last = OrNone(*last)
    )]
    SnapshotAhead {
        /// The aggregate.
        aggregate: AggregateId,
        /// Version of the snapshot.
        version: u64,
        /// Last version of the aggregate; `None` when it has no events.
        last: Option<u64>,
    },

    /// Something in the batch is longer or more than it may be. Nothing was written.
    #[error("{limit}: {found}, expected {min}..={max}; {advice}", advice = limit.advice(*found))]
    Limit {
        /// What is out of range.
        limit: Limit,
        /// Its size.
        found: usize,
        /// Least size.
        min: usize,
        /// Greatest size.
        max: usize,
    },

    /// An option is outside its range.
    #[error("option {option}: {found}, expected {min}..={max}")]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// Value given.
        found: u64,
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
    },

    /// Another process, or another handle in this one, has the log open for writing.
    #[error("{dir}: in use{holder}; close it there, or open it read-only here", dir = dir.display(), holder = Holder(holder))]
    Locked {
        /// The log.
        dir: PathBuf,
        /// What the holder wrote into the lock file.
        holder: String,
    },

    /// The directory cannot be written. Nothing was changed.
    #[error("{dir}: cannot be written; open it read-only, or give write permission", dir = dir.display())]
    NotWritable {
        /// The log.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The path holds something that is no log.
    #[error("{path}: {found}, expected {expected}", path = path.display())]
    NotALog {
        /// What was opened.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be there, and what to do.
        expected: &'static str,
    },

    /// The log was written by a later release.
    #[error("{path}: {fault}", path = path.display())]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// What is unknown.
        fault: FormatError,
    },

    /// Acknowledged data is damaged. Nothing was changed: restore the file, or read the rest read-only.
    #[error(
        "{path}: damaged at offset {offset}, {positions}: {fault}; \
         restore this file from a backup, or have it repaired (the rest can be read: open the log read-only)",
        path = path.display(), positions = Positions(*first, *last)
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// First position that may be affected.
        first: u64,
        /// Last position that may be affected.
        last: u64,
        /// What was found.
        fault: FormatError,
    },

    /// The event was lost to damage that somebody has decided to go on without (see
    /// [`LogOptions::repair`](crate::LogOptions::repair)). Its position stays its own; the damaged bytes are kept.
    #[error(
        "{path}: {positions} lost to damage that was quarantined{kept}; go on behind, or restore this file from a backup",
        path = path.display(), positions = Positions(*first, *last), kept = Kept(quarantine.as_deref())
    )]
    Quarantined {
        /// The file that is damaged or missing.
        path: PathBuf,
        /// First position of those asked for that is lost.
        first: u64,
        /// Last position of those asked for that is lost.
        last: u64,
        /// The file that keeps the damaged bytes; `None` when there were none.
        quarantine: Option<PathBuf>,
    },

    /// The disk refused something while nothing was at stake: opening, listing, reading.
    #[error("{path}: cannot {doing}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The step.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },

    /// There is no room for the next segment. Nothing was written: appending works again once there is.
    #[error("{path}: no room to prepare {needed} bytes; free some and append again", path = path.display())]
    Full {
        /// The file that could not be prepared.
        path: PathBuf,
        /// Bytes it needs.
        needed: u64,
        /// What the system said.
        source: io::Error,
    },

    /// As many bytes as may be are waiting to be committed. Nothing was taken: wait for a ticket, try again.
    #[error("64 MiB are under way; wait for some of them and try again")]
    Busy,

    /// A write or sync failed while this append was under way: it may or may not survive.
    /// Reopen the log and look the events up by id; or append the batch again, when all of its events have ids.
    #[error("unknown outcome: {reason}; reopen the log and look the events up by their ids")]
    Indeterminate {
        /// What failed.
        reason: String,
    },

    /// A write or sync failed earlier, so this log takes no more appends. Reads go on.
    #[error("closed to appends since a failure ({reason}); reopen the log to learn what survived")]
    Poisoned {
        /// What failed.
        reason: String,
    },

    /// What a read-only log was opened on is no longer in its directory: another log is, or an earlier
    /// state of this one. What had been shown can still be read.
    #[error("{dir}: holds {found}, expected the log that was opened, grown; open it again", dir = dir.display())]
    Replaced {
        /// The log.
        dir: PathBuf,
        /// What is there now.
        found: &'static str,
    },

    /// The log was opened read-only.
    #[error("{dir}: opened read-only; open it for writing to append", dir = dir.display())]
    ReadOnly {
        /// The log.
        dir: PathBuf,
    },

    /// The log was opened by the process that this one was forked from, and is that one's: nothing was written. Reads go
    /// on, of what was there.
    #[error("{dir}: opened by process {process}, used in a child of it; open it in the child, once the parent has closed it", dir = dir.display())]
    Forked {
        /// The log.
        dir: PathBuf,
        /// The process that opened it.
        process: u32,
    },

    /// The log has been closed.
    #[error("the log is closed; open it again")]
    Closed,
}

impl Error {
    /// Whether something else is there already: read again, decide again, append again.
    ///
    /// True of [`Error::VersionConflict`] and [`Error::ConditionConflict`]; and of [`Error::RetryConflict`] and
    /// [`Error::TrackingConflict`], where the same event ids or tracking position are refused for ever: a loop
    /// that gives its own makes new ones, or tells these two apart.
    pub fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::VersionConflict { .. }
                | Self::ConditionConflict { .. }
                | Self::RetryConflict { .. }
                | Self::TrackingConflict { .. }
        )
    }

    /// Whether the answer rests on events that have been truncated away.
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Expired { .. })
    }

    /// Whether acknowledged data is damaged, [quarantined](Error::is_quarantined) or not.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Quarantined { .. })
    }

    /// Whether acknowledged data is lost to damage that somebody has decided to go on without: a log with such
    /// damage is written to, and who reads it may pass over.
    pub fn is_quarantined(&self) -> bool {
        matches!(self, Self::Quarantined { .. })
    }

    pub(crate) fn io(
        path: impl Into<PathBuf>,
        doing: &'static str,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            path,
            doing,
            source,
        }
    }
}

/// What a batch demanded of an aggregate, in a [conflict](Error::VersionConflict).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// No events at all.
    NoEvents,
    /// Exactly this version.
    Exactly(u64),
    /// Any version below this one, which an event was given.
    Below(u64),
}

impl ExpectedVersion {
    pub(crate) fn of(expected: Expected) -> Option<Self> {
        match expected {
            Expected::Any => None,
            Expected::NoEvents => Some(Self::NoEvents),
            Expected::Exactly(version) => Some(Self::Exactly(version)),
        }
    }
}

impl fmt::Display for ExpectedVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEvents => write!(formatter, "none"),
            Self::Exactly(version) => write!(formatter, "{version}"),
            Self::Below(version) => write!(formatter, "one below {version}"),
        }
    }
}

/// What can be too long, or too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "Display says each in words")]
pub enum Limit {
    AggregateId,
    Topic,
    TagCount,
    Tag,
    MetadataCount,
    MetadataKey,
    Metadata,
    Payload,
    TrackingName,
    EventCount,
    Batch,
    TrackingTable,
    Version,
    FollowerName,
    FollowerCount,
    FollowerPosition,
}

impl Limit {
    pub(crate) fn check(self, found: usize, min: usize, max: usize) -> Result<(), Error> {
        match (min..=max).contains(&found) {
            true => Ok(()),
            false => Err(Error::Limit {
                limit: self,
                found,
                min,
                max,
            }),
        }
    }

    /// The greatest number stands for "without an end" in ranges, so no event has it.
    pub(crate) fn check_version(version: u64) -> Result<(), Error> {
        match version < u64::MAX {
            true => Ok(()),
            false => Err(Error::Limit {
                limit: Self::Version,
                found: usize::MAX,
                min: 0,
                max: usize::MAX - 1,
            }),
        }
    }

    fn advice(self, found: usize) -> &'static str {
        match self {
            Self::Topic
            | Self::Tag
            | Self::AggregateId
            | Self::MetadataKey
            | Self::TrackingName
            | Self::FollowerName
                if found == 0 =>
            {
                "give at least one byte"
            }
            Self::Payload => {
                "raise `payload_len_max`, or store the content elsewhere and a reference here"
            }
            Self::Batch => "split it into several appends",
            Self::EventCount => "give at least one event, or a tracking position",
            Self::TrackingTable => "use fewer names, or a greater `segment_len`",
            Self::Version => "count from a lower number",
            Self::FollowerCount => "remove those that are gone",
            Self::FollowerPosition => "give the last position it has seen",
            Self::TagCount => "tag only what decisions ask for",
            _ => "shorten it",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::AggregateId => "bytes of an aggregate id",
            Self::Topic => "bytes of a topic",
            Self::TagCount => "tags of an event",
            Self::Tag => "bytes of a tag",
            Self::MetadataCount => "metadata entries of an event",
            Self::MetadataKey => "bytes of a metadata key",
            Self::Metadata => "bytes of an event's metadata",
            Self::Payload => "bytes of a payload",
            Self::TrackingName => "bytes of a tracking name",
            Self::EventCount => "events in a batch",
            Self::Batch => "bytes of a batch",
            Self::TrackingTable => "bytes of all tracking names",
            Self::Version => "version of an event",
            Self::FollowerName => "bytes of the name of a follower",
            Self::FollowerCount => "followers",
            Self::FollowerPosition => "position of a follower",
        })
    }
}

/// Positions from the first to the last; none when the first lies behind the last.
struct Positions(u64, u64);

impl fmt::Display for Positions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self(first, last) if first > last => formatter.write_str("no event affected"),
            Self(first, last) if first == last => write!(formatter, "position {first}"),
            Self(first, u64::MAX) => write!(formatter, "positions from {first} on"),
            Self(first, last) => write!(formatter, "positions {first} to {last}"),
        }
    }
}

/// Where damaged bytes are kept.
struct Kept<'a>(Option<&'a Path>);

impl fmt::Display for Kept<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(path) => write!(formatter, " (its bytes are kept in {})", path.display()),
            None => Ok(()),
        }
    }
}

struct OrNone(Option<u64>);

impl fmt::Display for OrNone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(version) => version.fmt(formatter),
            None => formatter.write_str("none"),
        }
    }
}

struct Holder<'a>(&'a str);

impl fmt::Display for Holder<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trim() {
            "" => Ok(()),
            holder => write!(formatter, " by {holder}"),
        }
    }
}
