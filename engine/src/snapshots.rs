//! Snapshots: states of aggregates at some version, so that reading one costs fewer events.
//!
//! They are a cache, kept in a second, small log beside the first, appended without waiting for a sync. To
//! lose them is legal: a store that is damaged is thrown away and started anew, and never keeps the log
//! itself from anything. What is not legal is a state that the events do not lead to. So a snapshot is taken only of
//! events that are durable: none outlives the events it was made of. And one that is ahead of its
//! aggregate all the same is not shown.
//!
//! Versions in that log only count the snapshots of an aggregate; the version of the state, which may come
//! in any order, stands at the head of the payload, with the greatest of those before it, so that a
//! search knows where to end.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use annals_segments::format::record::Encoding;
use annals_segments::format::snapshot::{DELETION_TAG, SNAPSHOT_HEAD_LEN, SnapshotHead};
use annals_segments::format::{FRAME_LEN_MAX, SNAPSHOTS_DIR};
use annals_segments::sync::Mutex;

use crate::aggregate_id::AggregateId;
use crate::batch::{Batch, Durability, NewEvent, Version};
use crate::directory::Directory;
use crate::error::Error;
use crate::event::{Event, RecordedEvent};
use crate::live_snapshots::LiveSnapshots;
use crate::log::{Inner, Log};
use crate::query::{Direction, Query};
use crate::view::View;

/// The snapshots of a log; see [`Log::snapshots`].
#[derive(Clone)]
pub struct Snapshots {
    inner: Arc<Inner>,
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Snapshots")
            .field("dir", &self.directory().path)
            .finish_non_exhaustive()
    }
}

/// The state of an aggregate at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The aggregate.
    pub aggregate_id: AggregateId,
    /// Version of the last event that the state rests on.
    pub version: u64,
    /// When it was stored, microseconds since the Unix epoch.
    pub time_us: u64,
    /// Stored name of its type.
    pub topic: String,
    /// Its metadata, ascending by key.
    pub metadata: Vec<(String, String)>,
    /// How the payload was compressed and encrypted; `None` when it is as given.
    pub encoding: Option<Encoding>,
    /// Keyed digest of the payload before encryption, when one was given.
    pub digest: Option<u64>,
    /// The payload as stored.
    pub payload: Vec<u8>,
}

impl Snapshot {
    /// When it was stored.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.time_us)
    }

    fn new(version: u64, event: RecordedEvent) -> Option<Self> {
        Some(Self {
            aggregate_id: event.aggregate_id?,
            version,
            time_us: event.time_us,
            topic: event.topic,
            metadata: event.metadata,
            encoding: event.encoding,
            digest: event.digest,
            payload: SnapshotHead::decode(&event.payload)?.1.to_vec(),
        })
    }
}

impl Snapshots {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Stores the state of an aggregate at `version`: topic, metadata, encoding, digest and payload of
    /// `snapshot`; what else an event has is left aside. Versions may come in any order; of two snapshots at one
    /// version the later counts.
    ///
    /// Makes the events up to `version` durable first, when they are not. The snapshot itself is only
    /// buffered: a loss of power may take it. With [`LogOptions::snapshots_kept`] a put gives back, now and
    /// then, the room of those beyond: it then reads all of them, as the first put after an open may.
    ///
    /// [`LogOptions::snapshots_kept`]: crate::LogOptions::snapshots_kept
    ///
    /// # Errors
    /// [`Error::SnapshotAhead`] when the aggregate is not at that version yet; [`Error::Limit`] as for an
    /// event; [`Error::Full`], [`Error::Io`], [`Error::Indeterminate`]: it may not be stored.
    /// [`Error::Poisoned`], [`Error::ReadOnly`], [`Error::Closed`].
    pub fn put(
        &self,
        aggregate: impl Into<AggregateId>,
        version: u64,
        snapshot: NewEvent,
    ) -> Result<(), Error> {
        if let Some(refusal) = self.inner.refusal() {
            return Err(refusal);
        }
        let aggregate = aggregate.into();
        self.prove(&aggregate, version)?;
        self.store(&aggregate, version, snapshot)
    }

    /// As [`Snapshots::put`], of a state that the events up to a position add up to, whatever aggregates they belong to:
    /// the state is kept under a name, which no aggregate may have, and its version is that position.
    ///
    /// Makes the events up to `position` durable first, when they are not.
    ///
    /// # Errors
    /// As [`Snapshots::put`]; [`Error::SnapshotAhead`] when `position` is beyond the [head](Log::head).
    pub fn put_at(
        &self,
        name: impl Into<AggregateId>,
        position: u64,
        snapshot: NewEvent,
    ) -> Result<(), Error> {
        if let Some(refusal) = self.inner.refusal() {
            return Err(refusal);
        }
        let name = name.into();
        let head = self.inner.view().head();
        if position > head {
            return Err(Error::SnapshotAhead {
                aggregate: name,
                version: position,
                last: Some(head),
            });
        }
        self.inner.rest_on(position, Durability::Sync)?;
        self.store(&name, position, snapshot)
    }

    /// The snapshot of a name with the greatest position that is at most `at_most_position`, and at most the head of the
    /// log. `None` when there is none. See [`Snapshots::put_at`].
    ///
    /// A damaged snapshot is passed over. A log that was put back to an older state, and went on from there, shows what
    /// was put before: whoever does that deletes the directory of the snapshots.
    ///
    /// # Errors
    /// As [`Snapshots::latest`].
    pub fn latest_at(
        &self,
        name: &AggregateId,
        at_most_position: Option<u64>,
    ) -> Result<Option<Snapshot>, Error> {
        let head = self.inner.view().head();
        self.newest(
            name,
            at_most_position.map_or(head, |position| position.min(head)),
        )
    }

    /// The snapshot with the greatest version that is at most `at_most_version`, and at most the last version of
    /// the aggregate: what is ahead of it is not shown. `None` when there is none.
    ///
    /// A damaged snapshot is passed over.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses to be read; [`Error::Corrupt`] when the last version of the
    /// aggregate cannot be told; [`Error::UnsupportedFormat`]; [`Error::Closed`].
    pub fn latest(
        &self,
        aggregate: &AggregateId,
        at_most_version: Option<u64>,
    ) -> Result<Option<Snapshot>, Error> {
        let Some(last) = self.inner.view().version(aggregate)? else {
            return Ok(None);
        };
        self.newest(
            aggregate,
            at_most_version.map_or(last, |version| version.min(last)),
        )
    }

    /// Forgets all snapshots of an aggregate. Their room is given back by [`Snapshots::prune`], or by puts.
    ///
    /// # Errors
    /// As [`Snapshots::put`].
    pub fn delete(&self, aggregate: &AggregateId) -> Result<(), Error> {
        if let Some(refusal) = self.inner.refusal() {
            return Err(refusal);
        }
        let _writing = self.inner.snapshots.writing.lock();
        if self.open(Creating::No)?.is_none() {
            return Ok(());
        }
        let deletion = NewEvent::new(DELETION_TOPIC, Vec::new()).tag(DELETION_TAG);
        self.append(aggregate, None, deletion)
    }

    /// Gives back the room of snapshots that were deleted or replaced, or are beyond
    /// [`LogOptions::snapshots_kept`](crate::LogOptions::snapshots_kept): the others are written anew, and the
    /// segments before dropped. Reads all of them. Does nothing when more than half would stay.
    ///
    /// # Errors
    /// As [`Snapshots::put`].
    pub fn prune(&self) -> Result<(), Error> {
        if let Some(refusal) = self.inner.refusal() {
            return Err(refusal);
        }
        let _writing = self.inner.snapshots.writing.lock();
        let kept = self.inner.options.snapshots_kept.unwrap_or(usize::MAX);
        match self.open(Creating::No)? {
            Some(log) => self.reclaim(&log, kept).map(drop),
            None => Ok(()),
        }
    }

    /// The snapshot with the greatest version up to `bound`.
    fn newest(&self, aggregate: &AggregateId, bound: u64) -> Result<Option<Snapshot>, Error> {
        let Some(log) = self.open(Creating::No)? else {
            return Ok(None);
        };
        let view = log.view();
        let found = newest(&view, aggregate, bound)?;
        Ok(found.and_then(|(version, event)| Snapshot::new(version, event.to_owned())))
    }

    /// Stores a snapshot of events that are there for good.
    fn store(
        &self,
        aggregate: &AggregateId,
        version: u64,
        snapshot: NewEvent,
    ) -> Result<(), Error> {
        let mut writing = self.inner.snapshots.writing.lock();
        self.append(aggregate, Some(version), snapshot)?;
        match self.inner.options.snapshots_kept {
            Some(kept) => self.reclaim_when_due(&mut writing, kept),
            None => Ok(()),
        }
    }

    /// Makes sure that the events up to `version` are there for good.
    fn prove(&self, aggregate: &AggregateId, version: u64) -> Result<(), Error> {
        let view = self.inner.view();
        let last = view.version(aggregate)?;
        if last.is_none_or(|last| last < version) {
            return Err(Error::SnapshotAhead {
                aggregate: aggregate.clone(),
                version,
                last,
            });
        }
        let newest = view
            .read_aggregate(aggregate, ..=version, Direction::Backward)
            .next();
        match newest {
            Some(Ok(event)) => self.inner.rest_on(event.position(), Durability::Sync),
            // What was dropped was durable.
            None | Some(Err(Error::Expired { .. })) => Ok(()),
            Some(Err(error)) => Err(error),
        }
    }

    /// Appends a snapshot, or without a version a deletion. A store that is damaged is started anew.
    fn append(
        &self,
        aggregate: &AggregateId,
        version: Option<u64>,
        snapshot: NewEvent,
    ) -> Result<(), Error> {
        let append = |snapshot: NewEvent| {
            let log = self.open(Creating::Yes)?.ok_or(Error::Closed)?;
            append_to(&log, aggregate, version, snapshot)
        };
        match append(snapshot.clone()) {
            Err(error) if error.is_corrupt() => {
                self.throw_away(&error)?;
                append(snapshot)
            }
            Err(error @ (Error::Poisoned { .. } | Error::Indeterminate { .. })) => {
                // Opened again by who comes next, and recovered by that.
                *self.inner.snapshots.log.lock() = None;
                Err(error)
            }
            appended => appended,
        }
    }

    fn reclaim_when_due(&self, writing: &mut Writing, kept: usize) -> Result<(), Error> {
        let log = self.open(Creating::Yes)?.ok_or(Error::Closed)?;
        let count = |log: &Log| (log.head() + 1).saturating_sub(log.first_position());
        if count(&log) >= writing.check_at {
            let live = self.reclaim(&log, kept)?;
            // So what is read, and written anew, is paid for by as many puts.
            writing.check_at = count(&log) + live.max(CHECK_MIN);
        }
        Ok(())
    }

    /// Writes the live snapshots anew and drops the segments before, unless more than half are live.
    /// Answers how many are.
    fn reclaim(&self, log: &Log, kept: usize) -> Result<u64, Error> {
        // A read of everything ends at what is durable.
        let _ = log.sync()?;
        let view = log.view();
        let mut live = LiveSnapshots::new(kept);
        let mut count = 0;
        for event in view.read(.., &Query::all(), Direction::Forward) {
            count += 1;
            match event {
                Ok(event) => live.note(&event),
                Err(error) if is_passed_over(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let live_count = live.len();
        if live_count > count / 2 {
            return Ok(live_count);
        }
        let copies_start = log.head() + 1;
        for (aggregate, version, position) in live.into_ascending() {
            let original = view.read(position..=position, &Query::all(), Direction::Forward);
            for event in original.flatten() {
                let event = event.to_owned();
                let decoded = SnapshotHead::decode(&event.payload);
                let payload = decoded.map_or(&[][..], |(_, payload)| payload);
                let copy = NewEvent {
                    metadata: event.metadata,
                    encoding: event.encoding,
                    digest: event.digest,
                    ..NewEvent::new(event.topic, payload)
                };
                append_to(log, &aggregate, Some(version), copy)?;
            }
        }
        let truncated = log.truncate_before(copies_start)?;
        tracing::debug!(?truncated, live_count, "snapshots pruned");
        Ok(live_count)
    }

    fn directory(&self) -> Directory {
        Directory::new(
            self.inner.directory.disk.clone(),
            self.inner.directory.file(SNAPSHOTS_DIR),
        )
    }

    /// The log of snapshots, opened at first use; `None` when there is none and none is to be made.
    fn open(&self, creating: Creating) -> Result<Option<Log>, Error> {
        let mut open = self.inner.snapshots.log.lock();
        if self.inner.is_closed() {
            return Err(Error::Closed);
        }
        if open.is_none() {
            *open = self.open_log(creating)?;
        }
        Ok(open.clone())
    }

    fn open_log(&self, creating: Creating) -> Result<Option<Log>, Error> {
        let directory = self.directory();
        let main = &self.inner.options;
        let options = main
            .clone()
            .payload_len_max((main.payload_len_max + SNAPSHOT_HEAD_LEN).min(FRAME_LEN_MAX))
            .create(creating == Creating::Yes);
        let opened = match self.inner.read_only {
            true => options.clone().open_read_only(&directory.path),
            false => options.clone().open(&directory.path),
        };
        match opened {
            Ok(log) => Ok(Some(log)),
            Err(Error::NotALog { .. }) if creating == Creating::No => Ok(None),
            Err(error) if error.is_corrupt() && self.inner.read_only => {
                tracing::warn!(%error, "the snapshots cannot be read; the log can");
                Ok(None)
            }
            Err(error) if error.is_corrupt() => {
                discard(&directory, &error)?;
                match creating {
                    Creating::Yes => options.open(&directory.path).map(Some),
                    Creating::No => Ok(None),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Throws the store away, which was found damaged while it was open.
    fn throw_away(&self, error: &Error) -> Result<(), Error> {
        let mut open = self.inner.snapshots.log.lock();
        if let Some(log) = open.take()
            && let Err(error) = log.close()
        {
            tracing::warn!(%error, "the damaged snapshots were not closed");
        }
        discard(&self.directory(), error)
    }
}

/// Removes the files of a damaged store: under the lock of the log beside it, which nobody else has.
fn discard(directory: &Directory, error: &Error) -> Result<(), Error> {
    tracing::warn!(%error, "the snapshots are damaged; they are thrown away and started anew");
    let foreign = directory.list()?.foreign;
    let entries = directory.disk.list(&directory.path);
    let entries = entries.map_err(Error::io(&directory.path, "list the snapshots"))?;
    for entry in entries
        .iter()
        .filter(|entry| !foreign.contains(&entry.name))
    {
        let path = directory.file(&entry.name);
        let removed = directory.disk.remove(&path);
        removed.map_err(Error::io(path, "remove the damaged snapshots"))?;
    }
    directory.sync()
}

/// Appends a snapshot, or without a version a deletion.
fn append_to(
    log: &Log,
    aggregate: &AggregateId,
    version: Option<u64>,
    snapshot: NewEvent,
) -> Result<(), Error> {
    let mut payload = Vec::with_capacity(SNAPSHOT_HEAD_LEN + snapshot.payload.len());
    let mut tags = snapshot.tags;
    if let Some(version) = version {
        let view = log.view();
        let newest = view
            .read_aggregate(aggregate, .., Direction::Backward)
            .next();
        let before = match newest {
            None => 0,
            Some(Ok(event)) => head_of(&event).map_or(0, |head| head.version.max(head.before)),
            // Then a search goes on to the end.
            Some(Err(error)) if is_passed_over(&error) => u64::MAX,
            Some(Err(error)) => return Err(error),
        };
        payload.extend_from_slice(&SnapshotHead { version, before }.encode());
        tags.clear();
    }
    payload.extend_from_slice(&snapshot.payload);
    let event = NewEvent {
        aggregate: Some(aggregate.clone()),
        version: Version::Next,
        event_id: None,
        tags,
        payload,
        ..snapshot
    };
    let batch = Batch::from(event).durability(Durability::Buffered);
    log.append(batch).map(drop)
}

/// The snapshot with the greatest version up to `bound`, and of several the one stored last.
fn newest<'v>(
    view: &'v View,
    aggregate: &AggregateId,
    bound: u64,
) -> Result<Option<(u64, Event<'v>)>, Error> {
    let mut best: Option<(u64, Event<'v>)> = None;
    for event in view.read_aggregate(aggregate, .., Direction::Backward) {
        let event = match event {
            Ok(event) => event,
            Err(error) if is_passed_over(&error) => continue,
            Err(error) => return Err(error),
        };
        let Some(head) = head_of(&event) else { break };
        let found = best.as_ref().map(|(version, _)| *version);
        if head.version <= bound && found.is_none_or(|found| found < head.version) {
            best = Some((head.version, event));
        }
        // Nothing further back is greater, or nothing greater is asked for.
        let is_enough = |found: u64| found == bound || head.before <= found;
        if best
            .as_ref()
            .is_some_and(|(version, _)| is_enough(*version))
        {
            break;
        }
    }
    Ok(best)
}

/// Whether a snapshot that cannot be read counts as one that is not there.
fn is_passed_over(error: &Error) -> bool {
    error.is_corrupt() || error.is_expired()
}

/// The head of a snapshot; `None` when it is a deletion.
pub(crate) fn head_of(event: &Event<'_>) -> Option<SnapshotHead> {
    let is_deletion = event.tags().any(|tag| tag == DELETION_TAG);
    let head = SnapshotHead::decode(event.payload()).filter(|_| !is_deletion);
    head.map(|(head, _)| head)
}

/// What an open log has of its snapshots.
#[derive(Debug, Default)]
pub(crate) struct SnapshotStore {
    /// Their log, once it was asked for.
    log: Mutex<Option<Log>>,
    /// Held by who adds to them.
    writing: Mutex<Writing>,
}

impl SnapshotStore {
    /// Closes it; the log beside it is marked as closed already.
    pub(crate) fn close(&self) {
        // Whoever adds to them has done so, or finds the log closed.
        let _writing = self.writing.lock();
        if let Some(log) = self.log.lock().take()
            && let Err(error) = log.close()
        {
            tracing::warn!(%error, "closing the snapshots failed; some may be lost");
        }
    }
}

#[derive(Debug)]
struct Writing {
    /// The count of snapshots at which to look for room to give back.
    check_at: u64,
}

impl Default for Writing {
    fn default() -> Self {
        Self {
            check_at: CHECK_MIN,
        }
    }
}

/// Whether a log of snapshots is made when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Creating {
    No,
    Yes,
}

const DELETION_TOPIC: &str = "Deletion";
/// Fewer snapshots than this are not worth a look.
const CHECK_MIN: u64 = 1024;
