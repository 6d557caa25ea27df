//! The log: the handle that programs hold, and what its parts share.

mod tracking;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use annals_segments::format::manifest::Manifest;
use annals_segments::planted::{Bug, is_planted};
use annals_segments::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use annals_segments::sync::{Mutex, RwLock, thread};
use annals_segments::{DiskLock, ForkGuard};
use uuid::Uuid;

use crate::aggregate_id::AggregateId;
use crate::backup::{BackupMode, BackupReport};
use crate::batch::{Batch, Durability};
use crate::changed::Changed;
use crate::checkpoint;
use crate::commit::{CommitQueue, Refused, Submission};
use crate::directory::Directory;
use crate::error::Error;
use crate::event::RecordedEvent;
use crate::follow::Follower;
use crate::housekeeping::Housekeeper;
use crate::meter::Meter;
use crate::options::{LogOptions, ReadIo};
use crate::prepared::PreparedBatch;
use crate::query::{Direction, Query};
use crate::recovery;
use crate::report::{RecoveryReport, Stats, VerifyReport};
use crate::retention::{self, Force, Going, Truncated};
use crate::retry::{Search, recognise};
use crate::segment::{LogIdentity, Segment};
use crate::segment_set::SegmentSet;
use crate::snapshots::{SnapshotStore, Snapshots};
use crate::subscription::{Subscription, Visibility};
use crate::ticket::Ticket;
use crate::view::{Events, View};
use crate::writer::Writer;

/// An open log. Clones are handles to the same log; dropping the last one closes it.
#[derive(Clone)]
pub struct Log {
    handle: Arc<Handle>,
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Log")
            .field("dir", &self.dir())
            .field("head", &self.head())
            .finish_non_exhaustive()
    }
}

/// Closes the log when the last [`Log`] goes. Subscriptions and the housekeeping thread hold the inner
/// part only, and so do not keep a log open.
#[derive(Debug)]
struct Handle {
    inner: Arc<Inner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.inner.close() {
            tracing::warn!(%error, "closing the log failed; the next open recovers it");
        }
    }
}

/// Where the events of a batch lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position of the first event.
    pub first: u64,
    /// Position of the last event; one below `first` for a batch without events.
    pub last: u64,
    /// When they were stored, microseconds since the Unix epoch.
    pub time_us: u64,
}

impl Log {
    /// Opens the log in `dir` for writing, and creates it when it is missing.
    ///
    /// # Errors
    /// As [`LogOptions::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        LogOptions::default().open(dir)
    }

    /// Opens the log in `dir` for reading; see [`LogOptions::open_read_only`].
    ///
    /// # Errors
    /// As [`LogOptions::open_read_only`].
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<Self, Error> {
        LogOptions::default().open_read_only(dir)
    }

    /// A log in memory, gone when it is dropped. For tests.
    ///
    /// # Errors
    /// [`Error::Full`] when there is no memory for it.
    pub fn in_memory() -> Result<Self, Error> {
        LogOptions::default().open_in_memory()
    }

    /// Options to open a log with.
    pub fn options() -> LogOptions {
        LogOptions::default()
    }

    pub(crate) fn open_with(dir: &Path, options: LogOptions) -> Result<Self, Error> {
        recovery::open(dir, options).map(Self::from_inner)
    }

    pub(crate) fn open_read_only_with(dir: &Path, options: LogOptions) -> Result<Self, Error> {
        recovery::open_read_only(dir, options).map(Self::from_inner)
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &Inner {
        &self.handle.inner
    }

    fn from_inner(inner: Arc<Inner>) -> Self {
        Self {
            handle: Arc::new(Handle { inner }),
        }
    }

    /// Appends a batch and returns once it is what its [`Durability`](crate::Durability) promises.
    ///
    /// A batch whose events were all given ids may be appended again when its outcome is not known: it is
    /// recognised, answers the positions it has, and is not written twice. By its versions and by version 7
    /// ids it is recognised at any age, by other ids within [`LogOptions::retry_window`].
    ///
    /// All of it becomes visible together or, after a crash, none does. Its events get consecutive
    /// positions in the order given. Blocks for one write and, when durable, one sync, both shared with
    /// whoever appends at the same time.
    ///
    /// # Errors
    /// [`Error::VersionConflict`], [`Error::ConditionConflict`], [`Error::TrackingConflict`], [`Error::Limit`],
    /// [`Error::RetryConflict`], [`Error::Expired`], [`Error::Full`]: nothing
    /// was written. [`Error::Indeterminate`]: the disk failed under way. [`Error::Poisoned`],
    /// [`Error::ReadOnly`], [`Error::Closed`]: this log takes no appends.
    pub fn append(&self, batch: impl Into<Batch>) -> Result<Appended, Error> {
        self.handle.inner.append(batch.into())
    }

    /// Hands a batch over without waiting for its outcome: the ticket tells it, to a thread that waits or a
    /// task that awaits. Batches are committed in the order in which one thread submits them, many to a
    /// sync. Waits only while 64 MiB are under way.
    ///
    /// # Errors
    /// Those of [`Log::append`] that are known before the batch is in the queue; the ticket tells the others.
    pub fn submit(&self, batch: impl Into<Batch>) -> Result<Ticket, Error> {
        self.handle.inner.submit(batch.into(), true)
    }

    /// As [`Log::submit`], and never waits for room. It waits for a sync only when the answer is known at once
    /// and rests on events that are not durable yet.
    ///
    /// # Errors
    /// [`Error::Busy`] when 64 MiB are under way; those of [`Log::submit`].
    pub fn try_submit(&self, batch: impl Into<Batch>) -> Result<Ticket, Error> {
        self.handle.inner.submit(batch.into(), false)
    }

    /// Waits until everything up to `position` is durable, and makes it so. Returns the durable head.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::ReadOnly`], [`Error::Closed`].
    pub fn wait_durable(&self, position: u64) -> Result<u64, Error> {
        match self.durable_head() {
            durable if durable >= position.min(self.head()) => Ok(durable),
            _ => self.sync(),
        }
    }

    /// Makes [buffered](crate::Durability::Buffered) events durable and returns the durable head.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::ReadOnly`], [`Error::Closed`].
    pub fn sync(&self) -> Result<u64, Error> {
        self.handle.inner.sync()
    }

    /// The log as it is now, for reading without copying. Cheap: it pins, it does not copy.
    pub fn view(&self) -> View {
        self.handle.inner.view()
    }

    /// Reads events into copies of their own; [`View::read`] does the same without copying.
    pub fn read(
        &self,
        positions: impl RangeBounds<u64>,
        query: &Query,
        direction: Direction,
    ) -> Events {
        Events::by_position(self.view(), &positions, query, direction)
    }

    /// Reads the events of one aggregate into copies of their own; see [`View::read_aggregate`].
    pub fn read_aggregate(
        &self,
        id: &AggregateId,
        versions: impl RangeBounds<u64>,
        direction: Direction,
    ) -> Events {
        Events::by_aggregate(self.view(), id, &versions, direction)
    }

    /// The event with this id; see [`View::get`].
    ///
    /// # Errors
    /// [`Error::Corrupt`] and [`Error::Io`] when what has to be read cannot be.
    pub fn get(&self, event_id: Uuid) -> Result<Option<RecordedEvent>, Error> {
        Ok(self.view().get(event_id)?.map(|event| event.to_owned()))
    }

    /// Last version of an aggregate, `None` when it has no events.
    ///
    /// # Errors
    /// As [`Log::get`].
    pub fn version(&self, id: &AggregateId) -> Result<Option<u64>, Error> {
        self.view().version(id)
    }

    /// Last visible position, of buffered events too; 0 when there are no events. [`Log::durable_head`] is how far
    /// reads by query see.
    pub fn head(&self) -> u64 {
        self.handle.inner.visible.load(Ordering::Acquire)
    }

    /// Last position that survives a loss of power.
    pub fn durable_head(&self) -> u64 {
        self.handle.inner.durable_head()
    }

    /// Follows the events behind position `after` that match `query`: those that are there, then those
    /// to come, without a gap and without a duplicate, each only once it is durable, unless
    /// [asked otherwise](Subscription::visibility). A query goes through the indexes and costs its matches.
    ///
    /// Any number of them follow at once; each holds a place in the log and no events. 0 follows from the start,
    /// unless the log was truncated: [`Error::Expired`] then comes first. An `after` beyond the head is legal;
    /// events up to it are not shown when they come.
    ///
    /// In a log that was opened read-only, what another process appends comes too; should that become
    /// impossible, the subscription answers why, once, and goes on when it is possible again.
    pub fn subscribe(&self, after: u64, query: Query) -> Subscription {
        Subscription::new(self.handle.inner.clone(), after, query)
    }

    /// Drops the oldest segments: those that are sealed and hold nothing but events below `position`. So
    /// events below it may stay, those from it on stay always, and so does the segment being written.
    ///
    /// What is dropped is gone for good, but for the last versions of its aggregates: an aggregate never
    /// gets a version twice. Views and iterators that are there already read on. From then on
    /// - reads and subscriptions that start below the first retained position, and reads of an aggregate that
    ///   ask for versions which were dropped, answer [`Error::Expired`] in the place of what is missing;
    /// - a condition that reaches below it answers [`Error::Expired`] too: nobody can tell any more;
    /// - a repeated append whose versions were dropped answers [`Error::Expired`]; by ids alone the events
    ///   are not found any more ([`Log::get`] answers `None`, an append with these ids is a new one).
    ///
    /// Reads every event that is dropped once. Doing it again drops nothing more. Safe to be cut short at
    /// any point: it is then done whole or not at all.
    ///
    /// # Errors
    /// [`Error::FollowerBehind`]: a [follower](Log::set_follower) has not seen everything below `position`.
    /// [`Error::Corrupt`]: what is to be dropped is damaged. Nothing was dropped then. [`Error::Io`]: do it
    /// again. [`Error::Poisoned`], [`Error::ReadOnly`], [`Error::Closed`].
    pub fn truncate_before(&self, position: u64) -> Result<Truncated, Error> {
        retention::truncate(&self.handle.inner, position, Force::No)
    }

    /// As [`Log::truncate_before`], without regard to followers: one that is behind finds
    /// [`Error::Expired`] where it goes on.
    ///
    /// # Errors
    /// Those of [`Log::truncate_before`] but [`Error::FollowerBehind`].
    pub fn force_truncate_before(&self, position: u64) -> Result<Truncated, Error> {
        retention::truncate(&self.handle.inner, position, Force::Yes)
    }

    /// First position that is retained; 1 unless the log was truncated.
    pub fn first_position(&self) -> u64 {
        self.handle.inner.set().first_position()
    }

    /// Notes that the follower `name` has seen everything up to `position`, and needs what lies behind: no
    /// [truncation](Log::truncate_before) goes past it. 0 keeps everything. A follower that is not known yet
    /// is known from then on, also after the log was closed.
    ///
    /// Durable when it returns: one write and sync of the manifest, two for a new name. So tell it now and
    /// then, not for every event. Should the newer copy of the manifest rot, the position before counts:
    /// that only keeps more. Whoever must not process an event twice uses [`Batch::tracking`].
    ///
    /// # Errors
    /// [`Error::FollowerConflict`] when `position` is below the recorded one; [`Error::Limit`] for a name that
    /// has not 1..=255 bytes, a position above the durable head, more than 256 followers; [`Error::Io`].
    /// [`Error::Poisoned`], [`Error::ReadOnly`], [`Error::Closed`].
    pub fn set_follower(&self, name: &str, position: u64) -> Result<(), Error> {
        retention::set_follower(&self.handle.inner, name, position, Going::Forward)
    }

    /// As [`Log::set_follower`], and lets it go back: it is to follow again from there.
    ///
    /// # Errors
    /// Those of [`Log::set_follower`] but [`Error::FollowerConflict`].
    pub fn reset_follower(&self, name: &str, position: u64) -> Result<(), Error> {
        retention::set_follower(&self.handle.inner, name, position, Going::Anywhere)
    }

    /// Forgets a follower, so that nothing is kept for it any more. Answers whether there was one.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Poisoned`], [`Error::ReadOnly`], [`Error::Closed`].
    pub fn remove_follower(&self, name: &str) -> Result<bool, Error> {
        retention::remove_follower(&self.handle.inner, name)
    }

    /// The followers and their positions, ascending by name. A log that is open for reading follows them
    /// as it follows the events.
    pub fn followers(&self) -> Vec<(String, u64)> {
        let manifest = self.handle.inner.manifest.lock();
        let followers = manifest.followers.iter();
        followers
            .map(|(name, position)| (name.to_string(), *position))
            .collect()
    }

    /// The snapshots of this log: states of aggregates, to be read instead of their first events. A cache, opened
    /// at first use and closed with the log; to lose it costs time and nothing else. It belongs to these events:
    /// whoever replaces the log by an older copy removes `snapshots/`, or replaces it too.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(self.handle.inner.clone())
    }

    /// Looks at once for what another process has made durable in a log that was opened
    /// [read-only](LogOptions::open_read_only), and returns the durable head. The log does so by itself
    /// every 1 to 20 ms, unless [`LogOptions::background`] is off. A log open for writing knows already.
    ///
    /// # Errors
    /// Why the log cannot be followed at the moment; what had been shown before stays readable.
    /// [`Error::Corrupt`] and [`Error::UnsupportedFormat`]: what follows the head cannot be read.
    /// [`Error::Replaced`]: another log is in the directory. [`Error::Io`], [`Error::Closed`].
    pub fn refresh(&self) -> Result<u64, Error> {
        self.handle.inner.refresh()
    }

    /// How the log was found when it was opened.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.handle.inner.recovery
    }

    /// What the log holds, and what it has done since it was opened. Lists the directory and reads nothing else;
    /// appends and reads do not wait for it.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be listed.
    pub fn stats(&self) -> Result<Stats, Error> {
        crate::stats::stats(&self.handle.inner)
    }

    /// How many aggregates have events. Takes time and memory proportional to the keys in the indexes.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Corrupt`] when an index has to be derived and cannot be.
    pub fn count_aggregates(&self) -> Result<u64, Error> {
        crate::stats::count_aggregates(&self.handle.inner)
    }

    /// Reads every byte and checks every checksum, position and version, and the indexes against the
    /// log. `progress` is told the bytes done and the bytes of all.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses to be read. Damage is no error: it is in the report.
    pub fn verify(&self, progress: impl FnMut(u64, u64)) -> Result<VerifyReport, Error> {
        crate::verify::verify(&self.handle.inner, progress)
    }

    /// Makes a backup in `to`, while appends go on: every event that is durable now, and nothing half of a batch. `to` is
    /// new, empty, or holds an earlier backup of this log, which is then brought up to date and takes what is new. A backup
    /// is opened and verified like a log, read-only; [`LogOptions::restore`] makes a log of it. `progress` is told the bytes
    /// done and the bytes of all. In a log opened read-only: what it shows.
    ///
    /// Cut short at any point, it leaves the backup that was there, or one that says it is not whole; made again, it goes
    /// on from there. Snapshots and indexes are not in it: they are made anew.
    ///
    /// # Errors
    /// [`Error::NotALog`] when `to` holds something else, or a backup of another log or of a later state of it;
    /// [`Error::Locked`] while another backup is made there; [`Error::Io`], [`Error::Closed`]. Damage is no error: it is
    /// in the report, and in the backup as it is in the log.
    pub fn backup(
        &self,
        to: impl AsRef<Path>,
        mode: BackupMode,
        progress: impl FnMut(u64, u64),
    ) -> Result<BackupReport, Error> {
        crate::backup::backup(&self.handle.inner, to.as_ref(), mode, progress)
    }

    /// Does one job that waits, and answers whether there was one; see
    /// [`LogOptions::housekeeping_when_asked`].
    #[doc(hidden)]
    pub fn housekeep(&self) -> bool {
        let inner = &self.handle.inner;
        inner.housekeeper.run_one(inner)
    }

    /// The directory of the log.
    pub fn dir(&self) -> &Path {
        &self.handle.inner.directory.path
    }

    /// Whether it has been closed, by whichever handle.
    pub fn is_closed(&self) -> bool {
        self.handle.inner.is_closed()
    }

    /// Syncs everything, marks the log as closed in an orderly way and releases it. Later appends answer
    /// [`Error::Closed`], subscriptions end; closing again does nothing.
    ///
    /// # Errors
    /// [`Error::Indeterminate`] when the last sync failed: what was acknowledged as buffered may be lost.
    /// [`Error::Forked`] in a child: the log stays its parent's.
    pub fn close(&self) -> Result<(), Error> {
        self.handle.inner.close()
    }
}

/// What the parts of an open log share.
pub(crate) struct Inner {
    pub(crate) directory: Directory,
    pub(crate) log: LogIdentity,
    pub(crate) options: LogOptions,
    pub(crate) recovery: RecoveryReport,
    pub(crate) housekeeper: Housekeeper,
    pub(crate) meter: Meter,
    /// Idle in a log that is open for writing.
    pub(crate) follower: Follower,
    /// `None` in a read-only log, and once it is closed.
    pub(crate) writer: Mutex<Option<Writer>>,
    pub(crate) manifest: Mutex<Manifest>,
    pub(crate) read_only: bool,
    fork_guard: ForkGuard,
    set: RwLock<Arc<SegmentSet>>,
    tracking: RwLock<BTreeMap<Box<str>, u64>>,
    visible: AtomicU64,
    durable: AtomicU64,
    queue: CommitQueue,
    poison: OnceLock<String>,
    closed: AtomicBool,
    lock: Mutex<Option<Box<dyn DiskLock>>>,
    durable_changed: Changed,
    visible_changed: Changed,
    tracking_changed: Changed,
    pub(crate) snapshots: SnapshotStore,
    /// The thread that leads for tickets, once there was one.
    committer: Mutex<Option<thread::JoinHandle<()>>>,
}

/// An append before it joins the queue.
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved on at once; a box would be one more allocation an append"
)]
enum Prepared {
    New(PreparedBatch),
    /// It repeats one that is there.
    There(Appended),
}

/// What [`Inner`] is made of when a log has been opened.
pub(crate) struct Opened {
    pub(crate) directory: Directory,
    pub(crate) log: LogIdentity,
    pub(crate) options: LogOptions,
    pub(crate) recovery: RecoveryReport,
    pub(crate) writer: Option<Writer>,
    pub(crate) manifest: Manifest,
    pub(crate) set: SegmentSet,
    pub(crate) tracking: BTreeMap<Box<str>, u64>,
    /// Last position that is there; all of it is durable.
    pub(crate) head: u64,
    pub(crate) lock: Option<Box<dyn DiskLock>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Followers hold it too: a log prints as its place, not as its insides.
        formatter
            .debug_struct("Inner")
            .field("dir", &self.directory.path)
            .finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn new(opened: Opened) -> Self {
        Self {
            directory: opened.directory,
            log: opened.log,
            options: opened.options,
            recovery: opened.recovery,
            housekeeper: Housekeeper::default(),
            meter: Meter::default(),
            follower: Follower::default(),
            read_only: opened.writer.is_none(),
            fork_guard: ForkGuard::default(),
            writer: Mutex::new(opened.writer),
            manifest: Mutex::new(opened.manifest),
            set: RwLock::new(Arc::new(opened.set)),
            tracking: RwLock::new(opened.tracking),
            visible: AtomicU64::new(opened.head),
            durable: AtomicU64::new(opened.head),
            queue: CommitQueue::default(),
            poison: OnceLock::new(),
            closed: AtomicBool::new(false),
            lock: Mutex::new(opened.lock),
            durable_changed: Changed::default(),
            visible_changed: Changed::default(),
            tracking_changed: Changed::default(),
            snapshots: SnapshotStore::default(),
            committer: Mutex::new(None),
        }
    }

    fn append(&self, batch: Batch) -> Result<Appended, Error> {
        let prepared = match self.prepare(batch)? {
            Prepared::New(prepared) => prepared,
            Prepared::There(there) => return Ok(there),
        };
        let _wake = WakeTasks(self);
        let outcome = self
            .queue
            .commit(Submission::new(prepared), |group| self.commit(group));
        self.housekeeper.run_inline(self);
        outcome
    }

    /// Commits a group as its leader.
    fn commit(&self, group: &[Arc<Submission>]) {
        let mut writer = self.writer.lock();
        // Dropped before the lock is: nobody takes a writer that a panic has left half way.
        let _guard = PoisonOnPanic(self);
        match &mut *writer {
            Some(writer) => writer.commit(self, group),
            None => group
                .iter()
                .for_each(|submission| submission.complete(Err(Error::Closed))),
        }
    }

    fn submit(self: &Arc<Self>, batch: Batch, waits: bool) -> Result<Ticket, Error> {
        let prepared = match self.prepare(batch)? {
            Prepared::New(prepared) => prepared,
            Prepared::There(there) => return Ok(Ticket::done(there)),
        };
        self.start_committer()?;
        let submission = Submission::ticketed(prepared);
        match self.queue.submit(&submission, waits) {
            Ok(()) => Ok(Ticket::new(submission)),
            Err(Refused::Full) => Err(Error::Busy),
            Err(Refused::Closing) => Err(Error::Closed),
        }
    }

    /// Starts the thread that leads for tickets, at the first of them.
    fn start_committer(self: &Arc<Self>) -> Result<(), Error> {
        let mut committer = self.committer.lock();
        if self.queue.is_closing() {
            return Err(Error::Closed);
        }
        if committer.is_some() {
            return Ok(());
        }
        let inner = self.clone();
        let lead = move || {
            inner.queue.lead_for_tickets(|group| {
                inner.commit(group);
                inner.wake_tasks();
                inner.housekeeper.run_inline(&inner);
            });
        };
        let thread = thread::Builder::new()
            .name("annals-commit".into())
            .spawn(lead);
        *committer = Some(thread.map_err(Error::io(
            &self.directory.path,
            "start the committing thread",
        ))?);
        Ok(())
    }

    /// Everything about an append that needs no place in the queue.
    fn prepare(&self, batch: Batch) -> Result<Prepared, Error> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let mut prepared = PreparedBatch::new(batch, &self.log, &self.options)?;
        let there = self.look_ahead(&mut prepared);
        if let Err(Error::RetryConflict { position, .. }) = &there {
            self.rest_on(*position, prepared.durability)?;
        }
        match there? {
            Some(there) => self.acknowledge_again(there, prepared.durability),
            None => Ok(Prepared::New(prepared)),
        }
    }

    /// Checks what can be told up to the head there is now, in the caller's thread; answers where the batch
    /// lies when it is there already.
    fn look_ahead(&self, prepared: &mut PreparedBatch) -> Result<Option<Appended>, Error> {
        if !prepared.conditions.is_empty()
            && let Some(there) = self.check_conditions(prepared)?
        {
            return Ok(Some(there));
        }
        if !prepared.has_given_ids {
            return Ok(None);
        }
        let view = self.view();
        let is_tracked = prepared
            .tracking
            .as_ref()
            .is_some_and(|(name, given)| self.tracked(name) >= Some(*given));
        let search = match is_tracked {
            true => Search::EVERYWHERE,
            false if prepared.own_versions.is_some() || prepared.ids_may_recur => return Ok(None),
            false => Search::window(view.head(), self.options.retry_window),
        };
        let there = recognise(&view, prepared, search, |name| self.tracked(name))?;
        prepared.searched = view.head();
        Ok(there)
    }

    /// Waits until what an answer rests on is durable, when the batch asked for that.
    pub(crate) fn rest_on(&self, position: u64, durability: Durability) -> Result<(), Error> {
        if durability == Durability::Sync && position > self.durable_head() {
            self.sync()?;
        }
        Ok(())
    }

    /// Acknowledges a batch that is there already, once it is as durable as it is to be now.
    fn acknowledge_again(
        &self,
        there: Appended,
        durability: Durability,
    ) -> Result<Prepared, Error> {
        self.rest_on(there.last, durability)?;
        Ok(Prepared::There(there))
    }

    /// Checks the conditions up to the head there is now, in the caller's thread. A batch that fails here
    /// never joins the queue; when it is its own repetition that it fails on, that is answered.
    fn check_conditions(&self, prepared: &mut PreparedBatch) -> Result<Option<Appended>, Error> {
        let view = self.view();
        let Err(error) = prepared.conditions.check(&view) else {
            return Ok(None);
        };
        if (error.is_conflict() || error.is_expired())
            && prepared.has_given_ids
            && let Some(there) = recognise(&view, prepared, Search::EVERYWHERE, |name| {
                self.tracked(name)
            })?
        {
            return Ok(Some(there));
        }
        if let Error::ConditionConflict { positions, .. } = &error {
            // What a loss of power may take back decides nothing before it is durable.
            self.rest_on(positions.last().copied().unwrap_or(0), prepared.durability)?;
        }
        Err(error)
    }

    pub(crate) fn sync(&self) -> Result<u64, Error> {
        if let Some(refusal) = self.refusal() {
            // Before anything is waited for: in a forked child whoever holds the lock is not there.
            return Err(refusal);
        }
        let _wake = WakeTasks(self);
        let mut writer = self.writer.lock();
        // Whoever held it may have failed, or closed the log.
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let Some(writer) = &mut *writer else {
            return Err(Error::Closed);
        };
        match writer.sync_all(self) {
            Ok(()) => Ok(self.durable_head()),
            Err(error) => Err(Error::Poisoned {
                reason: self.poison(&writer.segment.path, error),
            }),
        }
    }

    /// Makes buffered events durable without holding up the appends: the writer is locked before and
    /// after the sync, not while it runs. A sync covers what was written before it began.
    pub(crate) fn sync_behind(&self) -> Result<(), Error> {
        if self.refusal().is_some() {
            return Ok(());
        }
        let _wake = WakeTasks(self);
        let part = self.writer.lock().as_mut().and_then(Writer::unsynced_part);
        let Some(part) = part else { return Ok(()) };
        let synced = self.sync_segment(&part.segment).map(drop);
        let mut writer = self.writer.lock();
        let noted = synced.and_then(|()| match &mut *writer {
            Some(writer) => writer.synced_part(self, &part),
            None => Ok(()),
        });
        noted.map_err(|error| Error::Poisoned {
            reason: self.poison(&part.segment.path, error),
        })
    }

    /// Syncs a segment. Answers how long it took, in microseconds.
    pub(crate) fn sync_segment(&self, segment: &Segment) -> io::Result<u64> {
        let clock = &self.options.clock;
        let start_ns = clock.monotonic_ns();
        let file = segment.file().expect("a segment that was written is open");
        file.sync()?;
        let micros = clock.monotonic_ns().saturating_sub(start_ns) / 1_000;
        self.meter.synced(micros);
        Ok(micros)
    }

    /// Waits for the thread that leads for tickets. Whoever closes at the same time waits too.
    fn join_committer(&self) {
        let mut committer = self.committer.lock();
        let is_own =
            |thread: &thread::JoinHandle<()>| thread.thread().id() == thread::current().id();
        // A waker may hold the last handle of the log: then that thread itself closes it, and ends after.
        if let Some(thread) = committer.take_if(|thread| !is_own(thread))
            && thread.join().is_err()
        {
            tracing::error!("the committing thread panicked");
        }
    }

    pub(crate) fn close(&self) -> Result<(), Error> {
        if self.fork_guard.is_forked() {
            // Before anything is locked or waited for: who would let go of it is not there.
            return Err(self.forked());
        }
        // What was submitted is committed first.
        self.queue.close();
        self.join_committer();
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.snapshots.close();
        self.housekeeper.stop();
        self.follower.stop();
        let writer = self.writer.lock().take();
        // A tracking position alone moves no head.
        let is_unsynced = writer.as_ref().is_some_and(|writer| writer.unsynced > 0);
        let closed = match writer {
            Some(mut writer) if !self.is_poisoned() => {
                let closed = writer.close(self);
                if let (Ok(()), Some(end)) = (&closed, writer.closing_checkpoint())
                    && let Err(error) = checkpoint::write(self, &writer.segment, end)
                {
                    tracing::warn!(%error, "no checkpoint; the next open reads the whole tail");
                }
                closed.map_err(|error| self.poison(&writer.segment.path, error))
            }
            _ => Ok(()),
        };
        // Behind the lock another process may write: no job may.
        self.housekeeper.end();
        self.wake_all();
        // Not while the manifest is written; and it is not written without the lock.
        let manifest = self.manifest.lock();
        *self.lock.lock() = None;
        drop(manifest);
        let is_lost = is_unsynced || self.visible.load(Ordering::Acquire) > self.durable_head();
        match (closed, self.poison.get()) {
            (Err(reason), _) => Err(Error::Indeterminate { reason }),
            (Ok(()), Some(reason)) if is_lost => Err(Error::Indeterminate {
                reason: reason.clone(),
            }),
            (Ok(()), _) => Ok(()),
        }
    }

    /// Why the log takes no appends, if so.
    pub(crate) fn refusal(&self) -> Option<Error> {
        if self.fork_guard.is_forked() {
            return Some(self.forked());
        }
        if self.read_only {
            let dir = self.directory.path.clone();
            return Some(Error::ReadOnly { dir });
        }
        if self.is_closed() {
            return Some(Error::Closed);
        }
        self.poison.get().map(|reason| Error::Poisoned {
            reason: reason.clone(),
        })
    }

    fn forked(&self) -> Error {
        Error::Forked {
            dir: self.directory.path.clone(),
            process: self.fork_guard.process(),
        }
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poison.get().is_some()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Refuses appends from here on. Returns the reason, the first one when there are several.
    pub(crate) fn poison(&self, path: &Path, error: io::Error) -> String {
        if is_planted(Bug::NoPoison) {
            return error.to_string();
        }
        let reason = self
            .poison
            .get_or_init(|| format!("{}: {error}", path.display()))
            .clone();
        tracing::error!(%reason, "the log takes no more appends");
        reason
    }

    pub(crate) fn view(&self) -> View {
        if self.options.read_io == ReadIo::Pread && self.set().is_crowded() {
            self.update_set(|set| {
                // Somebody else may have been faster.
                if set.is_crowded() {
                    *set = set.let_go();
                }
            });
        }
        // In this order: what is durable is visible, and what is visible is in the set.
        let durable = self.durable_head();
        let visible = self.visible.load(Ordering::Acquire);
        View {
            set: self.set(),
            log: self.log.clone(),
            visible,
            durable,
        }
    }

    pub(crate) fn set(&self) -> Arc<SegmentSet> {
        self.set.read().clone()
    }

    pub(crate) fn update_set(&self, change: impl FnOnce(&mut SegmentSet)) {
        let mut set = self.set.write();
        let mut changed = (**set).clone();
        change(&mut changed);
        *set = Arc::new(changed);
    }

    pub(crate) fn newest_segment(&self) -> u64 {
        self.set
            .read()
            .segments
            .last()
            .map_or(0, |segment| segment.number)
    }

    pub(crate) fn durable_head(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn set_visible(&self, position: u64) {
        if self.visible.fetch_max(position, Ordering::AcqRel) < position {
            self.visible_changed.notify();
        }
    }

    pub(crate) fn set_durable(&self, position: u64) {
        if self.durable.fetch_max(position, Ordering::AcqRel) < position {
            self.durable_changed.notify();
        }
    }

    /// Writes the manifest with a change in it, for whoever has locked it.
    pub(crate) fn write_locked_manifest(
        &self,
        manifest: &mut Manifest,
        change: impl FnOnce(&mut Manifest),
    ) -> Result<(), Error> {
        if self.lock.lock().is_none() {
            // Another process may have the log by now.
            return Err(Error::Closed);
        }
        let mut changed = manifest.clone();
        change(&mut changed);
        changed.generation += 1;
        changed.durable_position = self.durable_head();
        self.directory
            .write_manifest(&changed)
            .map_err(Error::io(&self.directory.path, "write the manifest"))?;
        *manifest = changed;
        Ok(())
    }

    /// Last position that followers see.
    pub(crate) fn head_for(&self, visibility: Visibility) -> u64 {
        match visibility {
            Visibility::Durable => self.durable_head(),
            Visibility::Buffered => self.visible.load(Ordering::Acquire),
        }
    }

    /// Where those who follow with this visibility wait.
    pub(crate) fn changed(&self, visibility: Visibility) -> &Changed {
        match visibility {
            Visibility::Durable => &self.durable_changed,
            Visibility::Buffered => &self.visible_changed,
        }
    }

    /// Wakes every follower, to look again. The caller holds no lock.
    pub(crate) fn wake_all(&self) {
        self.durable_changed.notify();
        self.visible_changed.notify();
        self.tracking_changed.notify();
        self.wake_tasks();
    }

    /// Wakes the tasks that follow what has changed. The caller holds no lock.
    pub(crate) fn wake_tasks(&self) {
        self.durable_changed.wake_tasks();
        self.visible_changed.wake_tasks();
    }
}

/// Wakes tasks when it is dropped: declared before the writer is locked, it does so once that is free.
struct WakeTasks<'a>(&'a Inner);

impl Drop for WakeTasks<'_> {
    fn drop(&mut self) {
        self.0.wake_tasks();
    }
}

/// A panic while committing leaves the writer in an unknown state: nothing may follow.
struct PoisonOnPanic<'a>(&'a Inner);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison(
                &self.0.directory.path,
                io::Error::other("a committing thread panicked"),
            );
        }
    }
}
