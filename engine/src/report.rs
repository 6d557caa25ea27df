//! What the log says of itself: how it was found, what it holds, what is damaged.

use std::fmt;
use std::path::PathBuf;

use crate::histogram::Distribution;

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

/// What a log holds, and what it has done since it was opened. Read while others work, its parts may differ by what
/// is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events.
    pub events: u64,
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
    /// What has been written since the log was opened.
    pub writes: WriteStats,
    /// What is held in memory or mapped for it.
    pub memory: MemoryStats,
}

/// What has been written since the log was opened; nothing when it is read-only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteStats {
    /// Batches that were appended; repetitions and refusals apart.
    pub batches: u64,
    /// Their events.
    pub events: u64,
    /// Bytes written to segments.
    pub bytes: u64,
    /// Batches written together; as many values as there were groups.
    pub group_batches: Distribution,
    /// Events written together.
    pub group_events: Distribution,
    /// How long each sync of a segment took, in microseconds.
    pub sync_us: Distribution,
    /// How often the next segment was needed and not ready, so that appends waited for it.
    pub spare_waits: u64,
    /// How often buffered appends waited for a device that did not keep up.
    pub device_waits: u64,
}

/// What is held in memory or mapped for a log, in bytes but where it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Aggregates in the cache of last versions.
    pub version_cache_entries: u64,
    /// The cache of last versions, without ids that are text.
    pub version_cache_bytes: u64,
    /// Indexes in memory: of the segment being written, and of those whose file is not there yet; estimated.
    pub tail_index_bytes: u64,
    /// Index files of the sealed segments that were looked at, mapped.
    pub sealed_index_bytes: u64,
    /// The table over all sealed segments, mapped.
    pub heads_bytes: u64,
    /// Bytes of files held by [`ReadIo::Pread`](crate::ReadIo::Pread) in place of maps, by views too, an open file
    /// counted as 512 KiB; 0 with maps.
    pub held_bytes: u64,
}

/// What [`Log::verify`](crate::Log::verify) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Segments read.
    pub segments: u64,
    /// Events that can be read.
    pub events: u64,
    /// Events that cannot, quarantined or not.
    pub lost: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Everything that is not as it should be; empty for a sound log.
    pub damages: Vec<Damage>,
    /// Damage that somebody has decided to go on without, and that is still there.
    pub quarantined: Vec<Damage>,
}
