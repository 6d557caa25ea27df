//! What a store must do.
//!
//! The traits build on each other: who only saves and loads aggregates needs [`AggregateRecorder`]; who is
//! followed, [`ApplicationRecorder`]; who follows, [`TrackingRecorder`]; who does both, [`ProcessRecorder`].
//! Decisions without aggregates rest on a [`DcbRecorder`]; snapshots are kept by a [`SnapshotRecorder`].
//! All can be made into objects. Every rule stated here is a case of [`conformance`](crate::conformance).

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::time::Duration;

use super::{
    ConditionalAppend, Found, Notification, PersistenceError, Query, Recorded, SelectEvents,
    SelectNotifications, StoredEvent, Subscription, Tracking,
};
use crate::domain::AggregateId;

/// What every recorder is.
pub trait Recorder: Debug + Send + Sync {
    /// Makes everything durable that is not, and releases the store. Subscriptions end, waits end with
    /// [`PersistenceError::Closed`], and so does every later insert. Closing again does nothing.
    ///
    /// # Errors
    /// [`PersistenceError::Indeterminate`] when the last sync failed.
    fn close(&self) -> Result<(), PersistenceError>;

    /// Whether reads and inserts wait for a disk or a server as a rule, so that async code makes them in a thread. The
    /// default, `true`, is safe.
    fn blocks(&self) -> bool {
        true
    }
}

/// Stores events of aggregates and reads them back.
pub trait AggregateRecorder: Recorder {
    /// Stores events of any aggregates, in the order given, all of them or none.
    ///
    /// Answers position and time of each event, aligned to `events`; the positions of one insert ascend,
    /// and no other insert's events come between them. No events: nothing happens, and the answer is empty.
    ///
    /// (Aggregate, version) is unique, within one insert as well. Versions need not be contiguous, and
    /// may start anywhere, 0 included. A recorder may refuse a version that is not above the aggregate's
    /// last even if it is unused (those of this crate do: 1, 5, 3 is refused at 3).
    ///
    /// A failed insert leaves no trace: no event, and no gap in the positions.
    ///
    /// An insert made again, because its outcome was not known, is recognised: when all of its events are there, one
    /// behind the other, under the same ids and with the same content, it answers what the first one did, and nothing is
    /// stored. Events of aggregates are recognised at any age; of those of no aggregate, a store may look for ids that
    /// are not of UUID version 7 among its newest events only. The content is aggregate, version, topic, tags, metadata
    /// and payload; where there is a [digest](StoredEvent::digest), that in place of the payload.
    ///
    /// # Errors
    /// [`PersistenceError::VersionConflict`], [`PersistenceError::RetryConflict`], [`PersistenceError::Limit`], [`PersistenceError::TooLarge`],
    /// [`PersistenceError::Store`], [`PersistenceError::Closed`]: nothing was stored.
    /// [`PersistenceError::Indeterminate`]: see there.
    fn insert_events(
        &self,
        events: Vec<StoredEvent>,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError>;

    /// As [`AggregateRecorder::insert_events`], without blocking: the outcome is awaited. A recorder that can only be
    /// waited for gives the events back, as by default.
    #[cfg(feature = "async")]
    fn submit_events(&self, events: Vec<StoredEvent>, durability: Durability) -> super::Submission {
        let _ = durability;
        super::Submission::Blocks(events)
    }

    /// The events of an aggregate, by version; none when there is no such aggregate.
    ///
    /// Sees every acknowledged event, [`Buffered`](Durability::Buffered) ones too.
    ///
    /// # Errors
    /// [`PersistenceError::Damaged`], [`PersistenceError::Store`].
    fn select_events(
        &self,
        aggregate_id: &AggregateId,
        select: SelectEvents,
    ) -> Result<Vec<Notification>, PersistenceError>;

    /// Shows the events that [`AggregateRecorder::select_events`] would answer, one after the other, until `visit`
    /// breaks off. Each is lent: a recorder that reads them in place need not copy each into memory of its own.
    ///
    /// # Errors
    /// As [`AggregateRecorder::select_events`]; what was shown before stays true.
    fn for_each_event(
        &self,
        aggregate_id: &AggregateId,
        select: SelectEvents,
        visit: &mut dyn FnMut(&Notification) -> ControlFlow<()>,
    ) -> Result<(), PersistenceError> {
        for notification in self.select_events(aggregate_id, select)? {
            if visit(&notification).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The last version of an aggregate; `None` when there is no such aggregate. Sees what
    /// [`AggregateRecorder::select_events`] sees, and should be cheap: a cached aggregate is compared with it each
    /// time it is used.
    ///
    /// # Errors
    /// As [`AggregateRecorder::select_events`].
    fn last_version(&self, aggregate_id: &AggregateId) -> Result<Option<u64>, PersistenceError> {
        let newest = SelectEvents::all().desc().limit(1);
        let found = self.select_events(aggregate_id, newest)?;
        Ok(found.first().and_then(|found| found.event.version()))
    }
}

/// Gives all events one sequence that others can follow.
pub trait ApplicationRecorder: AggregateRecorder {
    /// Durable notifications, ascending by position.
    ///
    /// # Errors
    /// [`PersistenceError::Damaged`], [`PersistenceError::Store`].
    fn select_notifications(
        &self,
        select: &SelectNotifications,
    ) -> Result<Vec<Notification>, PersistenceError>;

    /// The last durable position; `None` when there are no events.
    ///
    /// # Errors
    /// [`PersistenceError::Store`].
    fn max_position(&self) -> Result<Option<u64>, PersistenceError>;

    /// Follows the durable notifications behind position `after` (0: from the beginning) that have one of
    /// these topics (none given: any): first those that are there, then those to come, without a gap and
    /// without a duplicate.
    ///
    /// # Errors
    /// [`PersistenceError::Store`].
    fn subscribe(&self, after: u64, topics: &[&str]) -> Result<Subscription, PersistenceError>;
}

/// Records how far upstream sequences have been processed. Upstreams do not affect each other.
pub trait TrackingRecorder: Recorder {
    /// Records a position. It must be above the one recorded: what was skipped cannot be filled in later.
    ///
    /// # Errors
    /// [`PersistenceError::TrackingConflict`], and as [`AggregateRecorder::insert_events`].
    fn insert_tracking(&self, tracking: Tracking) -> Result<(), PersistenceError>;

    /// The position recorded for an upstream; `None` when there is none.
    ///
    /// # Errors
    /// [`PersistenceError::Store`].
    fn max_tracking(&self, name: &str) -> Result<Option<u64>, PersistenceError>;

    /// Whether everything of an upstream up to `position` has been processed.
    ///
    /// # Errors
    /// [`PersistenceError::Store`].
    fn has_tracking(&self, name: &str, position: u64) -> Result<bool, PersistenceError> {
        Ok(self
            .max_tracking(name)?
            .is_some_and(|recorded| recorded >= position))
    }

    /// Blocks until `position` of an upstream has been processed; returns at once when it has been.
    /// A waiting thread is woken by the insert that reaches it, provided that goes through this recorder.
    ///
    /// # Errors
    /// [`PersistenceError::WaitTimeout`] after `timeout`, [`PersistenceError::Closed`].
    fn wait(&self, name: &str, position: u64, timeout: Duration) -> Result<(), PersistenceError>;
}

/// Stores events together with the position they are an effect of, so that each upstream event takes
/// effect exactly once.
pub trait ProcessRecorder: ApplicationRecorder + TrackingRecorder {
    /// As [`AggregateRecorder::insert_events`] and [`TrackingRecorder::insert_tracking`] in one: a conflict
    /// of either leaves no trace of both. No events: the position alone is recorded. An insert made again is
    /// recognised by its events when its position is recorded; without events it is a conflict.
    ///
    /// # Errors
    /// Those of both.
    fn insert_events_tracked(
        &self,
        events: Vec<StoredEvent>,
        tracking: Tracking,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError>;
}

/// Appends events on conditions over what has happened, whatever aggregate it belongs to: a dynamic consistency
/// boundary.
///
/// The events are those of the other traits: a recorder that implements several shows each of them all events.
/// Source: <https://dcb.events/specification/>; positions answered, subscriptions and several conditions go beyond it.
pub trait DcbRecorder: Recorder {
    /// Stores events, all of them or none, if every condition holds of what is stored before them: the events
    /// of an append are not in the way of its own conditions.
    ///
    /// Answers as [`AggregateRecorder::insert_events`], whose rules hold for events of aggregates. An append made again is
    /// recognised, although its own events are in the way of its conditions by now.
    ///
    /// # Errors
    /// [`PersistenceError::ConditionConflict`]; [`PersistenceError::NoEvents`] without events; and as
    /// [`ProcessRecorder::insert_events_tracked`].
    fn append(
        &self,
        append: ConditionalAppend,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError>;

    /// The events that match `query` behind position `after` (0: from the beginning), at most `limit`, which counts
    /// what matched.
    ///
    /// They are those of one moment. Sees every acknowledged event, [`Buffered`](Durability::Buffered) ones too:
    /// a condition counts them, so a decision has to have seen them. Who must not be ahead of a loss of power,
    /// [subscribes](DcbRecorder::subscribe_query).
    ///
    /// # Errors
    /// [`PersistenceError::Damaged`], [`PersistenceError::Store`].
    fn read(
        &self,
        query: &Query,
        after: u64,
        limit: Option<usize>,
    ) -> Result<Found, PersistenceError>;

    /// Follows what matches `query` behind position `after`, durable events only, as
    /// [`ApplicationRecorder::subscribe`] does.
    ///
    /// # Errors
    /// [`PersistenceError::Store`].
    fn subscribe_query(&self, query: &Query, after: u64) -> Result<Subscription, PersistenceError>;
}

/// Keeps states of aggregates, so that loading one replays what came behind it only. A cache: all of it may be lost.
pub trait SnapshotRecorder: Recorder {
    /// Stores a snapshot: [`Origin`](super::Origin), topic, metadata, encoding, digest and payload of `snapshot`. Versions
    /// may come in any order; of two snapshots of an aggregate at one version the later counts. It is of events that are
    /// there: a store may refuse one whose version is above the aggregate's last.
    ///
    /// # Errors
    /// [`PersistenceError::NoAggregate`], and as [`AggregateRecorder::insert_events`].
    fn insert_snapshot(&self, snapshot: StoredEvent) -> Result<(), PersistenceError>;

    /// The snapshot of the greatest version that is at most `at_most_version`; `None` when there is none. A damaged one
    /// may be passed over.
    ///
    /// # Errors
    /// [`PersistenceError::Store`].
    fn latest_snapshot(
        &self,
        aggregate_id: &AggregateId,
        at_most_version: u64,
    ) -> Result<Option<StoredEvent>, PersistenceError>;

    /// Forgets all snapshots of an aggregate.
    ///
    /// # Errors
    /// [`PersistenceError::Store`].
    fn delete_snapshots(&self, aggregate_id: &AggregateId) -> Result<(), PersistenceError>;
}

/// What an acknowledged insert survives. A recorder that knows one level only gives that one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A loss of power, on a device that honours a flush.
    #[default]
    Sync,
    /// The end of the process, however sudden. A crash of the system may lose the latest inserts, always a
    /// suffix. Notifications and subscriptions show such events only once they are durable.
    Buffered,
}
