//! How a log is opened: each option with its unit, default, range, and what a wrong value costs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annals_segments::format::{FRAME_LEN_MAX, SEGMENT_LEN_MAX, SEGMENT_LEN_MIN};
use annals_segments::planted::{Bug, is_planted};
use annals_segments::{
    Clock, Disk, MemoryDisk, PreadDisk, Random, RealDisk, SystemClock, SystemRandom,
};

use crate::backup::RestoreReport;
use crate::error::Error;
use crate::log::Log;
use crate::repair::Repair;

/// How the files of a log are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadIo {
    /// Through read-only maps: nothing is copied, and the system keeps in memory what it likes. What it
    /// cannot read, because a device or a network file system fails or another program has cut a file
    /// short, ends the process with the signal SIGBUS. Within the last page of a file that was cut, zeros are read:
    /// an event there is an error, and what an index says there is not found.
    #[default]
    Mapped,
    /// By positioned reads into memory of the log's own, 64 KiB at a time; no segment and no index file is
    /// ever mapped. What cannot be read is an [`Error::Io`] in the place of the event, and is tried again
    /// when it is asked for again.
    ///
    /// What was read is held: by the log up to [`LogOptions::read_cache_len`], and by each [`View`] as long as it
    /// lives, since events are borrowed from it; iterators of owned events keep to the bound as the log does.
    /// Index files of segments in use, and the table over all of them, are held whole. Reads of what is held
    /// cost about what they cost mapped; others cost a system call for each block, and an index file is read
    /// whole at the first lookup in its segment.
    ///
    /// [`View`]: crate::View
    Pread,
}

/// Options of a log; [`LogOptions::open`] checks them.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a log is opened with them"]
pub struct LogOptions {
    pub(crate) segment_len: u64,
    pub(crate) payload_len_max: usize,
    pub(crate) batch_len_max: usize,
    pub(crate) background: bool,
    pub(crate) jobs_wait: bool,
    pub(crate) buffered_sync_after: Duration,
    pub(crate) retry_window: u64,
    pub(crate) read_io: ReadIo,
    pub(crate) read_cache_len: u64,
    pub(crate) create: bool,
    pub(crate) snapshots_kept: Option<usize>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_len: 64 << 20,
            payload_len_max: 16 << 20,
            batch_len_max: 32 << 20,
            background: true,
            jobs_wait: false,
            buffered_sync_after: Duration::from_millis(100),
            retry_window: 1_000_000,
            read_io: ReadIo::Mapped,
            read_cache_len: 256 << 20,
            create: true,
            snapshots_kept: None,
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom::default()),
        }
    }
}

impl LogOptions {
    /// Bytes of a segment file. Default 64 MiB, at least 64 KiB, at most 2 GiB.
    ///
    /// Smaller segments make more files and more lookups for an aggregate spread over them; larger ones
    /// make opening after a crash slower and prepare more zeros ahead. A log may change it at every open.
    pub fn segment_len(mut self, bytes: u64) -> Self {
        self.segment_len = bytes;
        self
    }

    /// Greatest payload of one event in bytes. Default 16 MiB.
    pub fn payload_len_max(mut self, bytes: usize) -> Self {
        self.payload_len_max = bytes;
        self
    }

    /// Greatest batch in bytes as stored. Default 32 MiB; never more than a quarter of a segment.
    pub fn batch_len_max(mut self, bytes: usize) -> Self {
        self.batch_len_max = bytes;
        self
    }

    /// Whether preparing segments, sealing and folding indexes run on a thread of the log's own. Default
    /// true. When false the appending thread does them, at the very same places in every run: for tests.
    ///
    /// In a log opened read-only: whether a thread of its own follows what another process writes. When
    /// false the log shows one moment, until [`Log::refresh`] is called.
    pub fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    /// Has the work of the background wait until [`Log::housekeep`] is called: for tests that play the part of its
    /// threads, and choose when they run.
    #[doc(hidden)]
    pub fn housekeeping_when_asked(mut self) -> Self {
        self.background = false;
        self.jobs_wait = true;
        self
    }

    /// How long a [buffered](crate::Durability::Buffered) append may stay without a sync. Default 100 ms. Sooner when a
    /// follower waits for it, which is shown nothing that is not durable: then syncs follow each other, with pauses as
    /// long as they are.
    pub fn buffered_sync_after(mut self, after: Duration) -> Self {
        self.buffered_sync_after = after;
        self
    }

    /// Within how many of the newest events a repeated append is recognised by ids that are not UUIDs of
    /// version 7. Default 1,000,000; 0 for not at all. Repeats with versions, and with version 7 ids, are
    /// recognised at any age. A larger window makes appends with such ids look into more segments.
    pub fn retry_window(mut self, events: u64) -> Self {
        self.retry_window = events;
        self
    }

    /// How files are read. Default [`ReadIo::Mapped`].
    pub fn read_io(mut self, read_io: ReadIo) -> Self {
        self.read_io = read_io;
        self
    }

    /// Bytes of the log that [`ReadIo::Pread`] holds in memory, at which sealed segments that nobody looks at
    /// are let go of. Default 256 MiB; the segment being written is held on top. An open file counts as
    /// 512 KiB, so that this bounds open files too. Maps hold nothing and need no bound.
    pub fn read_cache_len(mut self, bytes: u64) -> Self {
        self.read_cache_len = bytes;
        self
    }

    /// Whether a missing log is created. Default true.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How many [snapshots](Log::snapshots) of an aggregate are kept: those with the greatest versions. Default
    /// all; at least one. The others are still found until their room is given back, which puts do now and then.
    pub fn snapshots_kept(mut self, count: usize) -> Self {
        self.snapshots_kept = Some(count);
        self
    }

    /// The disk. Default the real one.
    pub fn disk(mut self, disk: impl Disk + 'static) -> Self {
        self.disk = Arc::new(disk);
        self
    }

    /// The clock. Default the system's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The source of randomness. Default the system's.
    pub fn random(mut self, random: impl Random + 'static) -> Self {
        self.random = Arc::new(random);
        self
    }

    /// Opens the log in `dir` for writing, and creates it when it is missing.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::NotALog`], [`Error::UnsupportedFormat`], [`Error::Corrupt`],
    /// [`Error::InvalidOption`], [`Error::Full`], [`Error::Io`].
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Log, Error> {
        self.check()?;
        Log::open_with(dir.as_ref(), self.with_read_io())
    }

    /// Opens the log in `dir` for reading: no lock is kept and nothing is written.
    ///
    /// The log follows whoever writes to it, in this process or another, now or later: what becomes durable
    /// there becomes visible here within milliseconds, in order and whole, to views made from then on and
    /// to subscriptions. It survives the end of a writer, however sudden, and the next one's recovery. When
    /// following fails, the log shows what it had, subscriptions answer the error, and so does
    /// [`Log::refresh`]; it is tried again until it succeeds.
    ///
    /// A damaged log opens too; reading what is damaged answers [`Error::Corrupt`].
    ///
    /// # Errors
    /// [`Error::NotALog`], [`Error::UnsupportedFormat`], [`Error::InvalidOption`], [`Error::Io`].
    pub fn open_read_only(self, dir: impl AsRef<Path>) -> Result<Log, Error> {
        self.check()?;
        Log::open_read_only_with(dir.as_ref(), self.with_read_io())
    }

    /// Makes a log in `dir`, which is new or empty, of the [backup](Log::backup) in `backup`: each file is checked as it is
    /// copied, and the log is opened once, and closed. `progress` is told the bytes done and the bytes of all. Cut short,
    /// it leaves a directory that nobody opens, and can be done again.
    ///
    /// The log is the one that was backed up, at that moment, and has its id: what was appended since is not there, and
    /// its positions will be given again. So only one of the two may be written to, and followers that have seen more than the
    /// restored one holds start again.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a file is not as the backup says; [`Error::NotALog`] when there is no whole backup, or
    /// `dir` holds something; [`Error::InvalidOption`], [`Error::Io`].
    pub fn restore(
        self,
        backup: impl AsRef<Path>,
        dir: impl AsRef<Path>,
        progress: impl FnMut(u64, u64),
    ) -> Result<RestoreReport, Error> {
        self.check()?;
        let options = self.with_read_io();
        crate::backup::restore(options, backup.as_ref(), dir.as_ref(), progress)
    }

    /// Looks at a damaged log in `dir`, to go on with what is left of it: takes the lock, reads and checks every byte,
    /// and says what [running](Repair::run) the repair would do. `progress` is told the bytes done and the bytes of all.
    /// Nothing is changed before it is run.
    ///
    /// # Errors
    /// [`Error::Locked`] while somebody writes to the log; [`Error::NotALog`], [`Error::UnsupportedFormat`],
    /// [`Error::InvalidOption`], [`Error::NotWritable`], [`Error::Io`]; [`Error::Corrupt`] when more is missing than
    /// can be gone around.
    pub fn repair(
        self,
        dir: impl AsRef<Path>,
        progress: impl FnMut(u64, u64),
    ) -> Result<Repair, Error> {
        self.check()?;
        Repair::open(dir.as_ref(), self.with_read_io(), progress)
    }

    /// A log in memory, gone when it is dropped. For tests.
    pub fn open_in_memory(self) -> Result<Log, Error> {
        self.disk(MemoryDisk::default())
            .background(false)
            .open("/memory")
    }

    /// Whatever disk was given is read as was asked for.
    fn with_read_io(mut self) -> Self {
        if self.read_io == ReadIo::Pread && !is_planted(Bug::IgnoreReadIo) {
            self.disk = Arc::new(PreadDisk::new(self.disk, self.read_cache_len));
        }
        self
    }

    fn check(&self) -> Result<(), Error> {
        let in_range = |option, found, min, max| match (min..=max).contains(&found) {
            true => Ok(()),
            false => Err(Error::InvalidOption {
                option,
                found,
                min,
                max,
            }),
        };
        in_range(
            "segment_len",
            self.segment_len,
            SEGMENT_LEN_MIN,
            SEGMENT_LEN_MAX,
        )?;
        if let Some(kept) = self.snapshots_kept {
            in_range("snapshots_kept", kept as u64, 1, u64::MAX)?;
        }
        in_range(
            "batch_len_max",
            self.batch_len_max as u64,
            4096,
            FRAME_LEN_MAX as u64,
        )?;
        in_range(
            "payload_len_max",
            self.payload_len_max as u64,
            0,
            FRAME_LEN_MAX as u64,
        )
    }

    /// Greatest batch that a segment of this log takes.
    pub(crate) fn frame_len_max(&self) -> usize {
        self.batch_len_max.min((self.segment_len / 4) as usize)
    }
}
