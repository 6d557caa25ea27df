//! Faults that a disk is told to have: errors, short transfers, and reads that answer with something else.

use std::io;

/// A call of a disk or a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// `open` for reading.
    OpenToRead,
    /// `open` for writing.
    OpenToWrite,
    /// `open` of a new file.
    Create,
    /// `read_at`.
    Read,
    /// `write_at`.
    Write,
    /// `sync_data`.
    Sync,
    /// `allocate`.
    Allocate,
    /// `set_len`.
    SetLen,
    /// `len`.
    Len,
    /// `map`.
    Map,
    /// `create_dir`.
    CreateDir,
    /// `sync_dir`.
    SyncDir,
    /// `rename`; the path is the new one.
    Rename,
    /// `remove`.
    Remove,
    /// `list`.
    List,
    /// `try_lock`.
    Lock,
    /// `hard_link`; the path is the new one.
    Link,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::OpenToRead,
        Self::OpenToWrite,
        Self::Create,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::Allocate,
        Self::SetLen,
        Self::Len,
        Self::Map,
        Self::CreateDir,
        Self::SyncDir,
        Self::Rename,
        Self::Remove,
        Self::List,
        Self::Lock,
        Self::Link,
    ];

    /// Whether the call may change anything.
    pub fn is_change(self) -> bool {
        match self {
            Self::OpenToRead | Self::Read | Self::Len | Self::Map | Self::List | Self::Lock => {
                false
            }
            Self::OpenToWrite
            | Self::Create
            | Self::Write
            | Self::Sync
            | Self::Allocate
            | Self::SetLen
            | Self::CreateDir
            | Self::SyncDir
            | Self::Rename
            | Self::Remove
            | Self::Link => true,
        }
    }
}

/// What a call does instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// It fails with this number of an error of the system, and has done nothing.
    Errno(i32),
    /// It fails with this kind of error, and has done nothing.
    Kind(io::ErrorKind),
    /// Half of a write is done; then it fails with this number.
    Half(i32),
    /// Half of a read or write is done, and it says so.
    Short,
    /// It is interrupted before it does anything.
    Interrupted,
    /// A read has one bit changed; which one is told by the number.
    BitFlip(u64),
    /// A sector of a read is zeros, as it was before anything was written there.
    Stale(u64),
    /// A read answers what stands a sector further on.
    Misdirected,
}

/// `EIO`.
pub const EIO: i32 = 5;
/// `EMFILE`.
pub const EMFILE: i32 = 24;
/// `ENOSPC`.
pub const ENOSPC: i32 = 28;
/// `EROFS`.
pub const EROFS: i32 = 30;
/// `EDQUOT`.
pub const EDQUOT: i32 = 122;

impl Failing {
    pub(super) fn error(self) -> io::Error {
        match self {
            Self::Errno(number) | Self::Half(number) => io::Error::from_raw_os_error(number),
            Self::Kind(kind) => kind.into(),
            Self::Interrupted => io::ErrorKind::Interrupted.into(),
            Self::Short | Self::BitFlip(_) | Self::Stale(_) | Self::Misdirected => {
                unreachable!("it is no error")
            }
        }
    }
}

/// When a fault strikes: the `skip`-th matching call from here on, and as many as `count` from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Only such calls; any when `None`.
    pub step: Option<Step>,
    /// Matching calls that pass before.
    pub skip: u64,
    /// Matching calls that are struck then; `u64::MAX` for all.
    pub count: u64,
    /// What they do.
    pub failing: Failing,
}

impl Fault {
    /// What this call is struck with, if it is; counts it.
    pub(super) fn strikes(&mut self, step: Step) -> Option<Failing> {
        if self.step.is_some_and(|wanted| wanted != step) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.count = self.count.checked_sub(1)?;
        Some(self.failing)
    }
}

/// What a failed sync leaves in the cache of the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailedSync {
    /// What was written is seen, is taken for clean, and is never on the disk unless it is written again. As ext4
    /// and XFS do. Source: Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020.
    #[default]
    KeepsCache,
    /// What was written is seen no more. As Btrfs does.
    RevertsCache,
}
