//! What the log says of itself: how it was found, what it holds, what is damaged.

use std::fmt;
use std::path::PathBuf;

/// How a log was found when it was opened, and what was done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The outcome in one word.
    pub outcome: RecoveryOutcome,
    /// What was dropped at the end: bytes that were never acknowledged.
    pub torn: Option<TornTail>,
    /// Segments whose index was missing or damaged and has been derived anew.
    pub rebuilt_indexes: Vec<u64>,
    /// Events that were whole but not provably on the disk, and have been written again.
    pub rewritten_events: u64,
    /// Bytes of frames that were read to find the end of the log: those behind the last checkpoint.
    pub scanned_bytes: u64,
    /// Damage to acknowledged data; empty unless the outcome is [`RecoveryOutcome::Damaged`].
    pub damages: Vec<Damage>,
}

/// How a log was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryOutcome {
    /// There was none; it has been created.
    #[default]
    Created,
    /// It had been closed.
    Clean,
    /// It had not been closed; its tail was scanned and is now proven.
    Recovered,
    /// Opened read-only: it had not been closed, nobody writes to it, and it was left as it is.
    NeedsRecovery,
    /// Opened read-only while another process has it open for writing.
    InUse,
    /// Opened read-only: acknowledged data is damaged.
    Damaged,
}

impl fmt::Display for RecoveryOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Created => "created",
            Self::Clean => "clean",
            Self::Recovered => "recovered",
            Self::NeedsRecovery => "needs_recovery",
            Self::InUse => "in_use",
            Self::Damaged => "damaged",
        })
    }
}

/// The unacknowledged end of a segment that a crash cut short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub path: PathBuf,
    /// Where the last whole frame ends.
    pub offset: u64,
    /// Bytes behind it up to the last that is not zero.
    pub bytes: u64,
    /// The file that keeps those bytes; `None` when the log was opened read-only.
    pub quarantine: Option<PathBuf>,
}

/// Damage found in a file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// First position that may be affected.
    pub first: u64,
    /// Last position that may be affected; below `first` when no event is (a derived file).
    pub last: u64,
    /// What was found.
    pub what: String,
}

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events.
    pub events: u64,
    /// Aggregates that have events.
    pub aggregates: u64,
    /// Segments that hold frames.
    pub segments: u64,
    /// Segments that are sealed.
    pub sealed_segments: u64,
    /// Bytes of the log up to its last frame, and of all derived files.
    pub bytes: u64,
    /// Bytes of the log up to its last frame.
    pub log_bytes: u64,
    /// Bytes of derived files.
    pub index_bytes: u64,
    /// First retained position.
    pub first_position: u64,
    /// Last position; 0 when there are no events.
    pub last_position: u64,
    /// Format version this build writes.
    pub format_version: u16,
    /// Bytes of files held in memory by [`ReadIo::Pread`](crate::ReadIo::Pread), views included; 0 with maps.
    pub held_bytes: u64,
}

/// What [`Log::verify`](crate::Log::verify) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Segments read.
    pub segments: u64,
    /// Events that verified.
    pub events: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Everything that is not as it should be; empty for a sound log.
    pub damages: Vec<Damage>,
}
