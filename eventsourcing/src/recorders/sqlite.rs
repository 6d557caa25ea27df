//! Events in a SQLite database: for those who want rows beside their events, or a file that every tool reads.
//!
//! All traits of recorders are here, on five tables (`tables.rs`). Several processes may use one file: one writes at a
//! time, and who follows sees what others store.
//!
//! # Durability
//! - An insert with [`Durability::Sync`] returns when the write-ahead log was synced.
//! - One with [`Durability::Buffered`] returns when the system has it: it survives the process, and the next sync by
//!   anybody covers it. SQLite itself syncs after about 4 MiB.
//! - To open a file costs a sync: what a process that died has left unsynced is made durable before it is shown.
//! - Followers see durable events only. No thread syncs in the background: who asks for notifications, or follows, has
//!   what is buffered synced first. So buffered events are shown, at the latest, when the next look is due
//!   ([`SqliteOptions::poll_interval_max`]), and cost one sync for all that came until then.
//! - Snapshots are always buffered.
//!
//! What goes wrong beyond a process (a failing disk, a file system that lies) is as SQLite has it: it does not tell damage
//! to the content of a row. Where that matters, use a [`LogRecorder`](crate::LogRecorder).

mod changes;
mod database;
mod error;
mod follow;
mod insert;
mod options;
mod rows;
mod select;
mod tables;
mod view;

pub use error::SqliteError;
pub use options::SqliteOptions;
pub use view::SqliteView;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::database::Database;
use self::error::failure;
use self::follow::SqliteSubscription;
use self::rows::{Id, bind_content, clamped};
use self::select::{READ_EVENTS, last_version};
use crate::domain::AggregateId;
use crate::persistence::{
    AggregateRecorder, AppendCondition, ApplicationRecorder, ConditionalAppend, DcbRecorder,
    Durability, Found, Notification, PersistenceError, ProcessRecorder, Query, QueryItem, Recorded,
    Recorder, SelectEvents, SelectNotifications, SnapshotRecorder, StoredEvent, Subscription,
    Tracking, TrackingRecorder,
};

/// Keeps events in a SQLite database, together with tracking and snapshots.
///
/// Versions of an aggregate must ascend in the order they are inserted, as in the other recorders of the library. After
/// it is closed, reads answer [`PersistenceError::Closed`] too. What its errors have as source is a [`SqliteError`].
#[derive(Debug)]
pub struct SqliteRecorder {
    database: Arc<Database>,
}

impl SqliteRecorder {
    /// Opens the database at `path`, and creates it when it is missing.
    ///
    /// # Errors
    /// As [`SqliteOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, PersistenceError> {
        Self::options().open(path)
    }

    /// A new database in memory, gone with the recorder: for tests.
    ///
    /// # Errors
    /// As [`SqliteOptions::open_in_memory`].
    pub fn in_memory() -> Result<Self, PersistenceError> {
        Self::options().open_in_memory()
    }

    /// Options to open one with.
    pub fn options() -> SqliteOptions {
        SqliteOptions::default()
    }

    fn new(database: Database) -> Self {
        Self {
            database: Arc::new(database),
        }
    }

    fn insert(
        &self,
        events: &[StoredEvent],
        conditions: &[AppendCondition],
        tracking: Option<&Tracking>,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        events.iter().try_for_each(StoredEvent::check)?;
        tracking.into_iter().try_for_each(Tracking::check)?;
        let recorded = self.database.write(STORE_EVENTS, durability, |writing| {
            let now_us = self.database.clock.now_us();
            writing.insert(events, conditions, tracking, now_us)
        })?;
        // Nobody waits for what is only buffered: to be woken would be to have each insert synced.
        if durability == Durability::Sync || tracking.is_some() || self.database.is_in_memory() {
            self.database.changes.tell();
        }
        Ok(recorded)
    }

    fn follow(&self, query: Query, after: u64) -> Subscription {
        Subscription::new(SqliteSubscription::new(self.database.clone(), query, after))
    }
}

impl Recorder for SqliteRecorder {
    fn close(&self) -> Result<(), PersistenceError> {
        self.database.close()
    }
}

impl AggregateRecorder for SqliteRecorder {
    fn insert_events(
        &self,
        events: Vec<StoredEvent>,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        match events.is_empty() {
            true => Ok(Vec::new()),
            false => self.insert(&events, &[], None, durability),
        }
    }

    fn select_events(
        &self,
        aggregate_id: &AggregateId,
        select: SelectEvents,
    ) -> Result<Vec<Notification>, PersistenceError> {
        self.database.read(READ_EVENTS, |reading| {
            let mut events = Vec::new();
            reading.visit_events_of(aggregate_id, select, |event| {
                events.push(event);
                ControlFlow::Continue(())
            })?;
            Ok(events)
        })
    }

    fn for_each_event(
        &self,
        aggregate_id: &AggregateId,
        select: SelectEvents,
        visit: &mut dyn FnMut(&Notification) -> ControlFlow<()>,
    ) -> Result<(), PersistenceError> {
        self.database.read(READ_EVENTS, |reading| {
            reading.visit_events_of(aggregate_id, select, |event| visit(&event))
        })
    }

    fn last_version(&self, aggregate_id: &AggregateId) -> Result<Option<u64>, PersistenceError> {
        self.database.read(READ_EVENTS, |reading| {
            last_version(&reading.transaction, reading.statements, aggregate_id)
        })
    }
}

impl ApplicationRecorder for SqliteRecorder {
    fn select_notifications(
        &self,
        select: &SelectNotifications,
    ) -> Result<Vec<Notification>, PersistenceError> {
        let Some((first, last)) = select.positions() else {
            return Ok(Vec::new());
        };
        let query = of_topics(select.topics.iter().cloned());
        self.database.read_durable(READ_EVENTS, |reading| {
            let last = last.min(reading.extent()?.durable);
            let mut found = Ok(Vec::new());
            reading.visit(&query, first..=last, |_, next| {
                collect(&mut found, next, Some(select.limit))
            })?;
            found
        })
    }

    fn max_position(&self) -> Result<Option<u64>, PersistenceError> {
        let durable = |reading: &database::Reading<'_>| Ok(reading.extent()?.durable);
        let last = self
            .database
            .read_durable("read the last position", durable)?;
        Ok(Some(last).filter(|last| *last > 0))
    }

    fn subscribe(&self, after: u64, topics: &[&str]) -> Result<Subscription, PersistenceError> {
        let topics = topics.iter().map(|topic| (*topic).to_owned());
        Ok(self.follow(of_topics(topics), after))
    }
}

impl TrackingRecorder for SqliteRecorder {
    fn insert_tracking(&self, tracking: Tracking) -> Result<(), PersistenceError> {
        self.insert(&[], &[], Some(&tracking), Durability::Sync)
            .map(drop)
    }

    fn max_tracking(&self, name: &str) -> Result<Option<u64>, PersistenceError> {
        self.database.tracking(name)
    }

    fn wait(&self, name: &str, position: u64, timeout: Duration) -> Result<(), PersistenceError> {
        self.database.wait_for_tracking(name, position, timeout)
    }
}

impl ProcessRecorder for SqliteRecorder {
    fn insert_events_tracked(
        &self,
        events: Vec<StoredEvent>,
        tracking: Tracking,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        self.insert(&events, &[], Some(&tracking), durability)
    }
}

impl DcbRecorder for SqliteRecorder {
    fn append(
        &self,
        append: ConditionalAppend,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        let ConditionalAppend {
            events,
            conditions,
            tracking,
        } = append;
        match events.is_empty() {
            true => Err(PersistenceError::NoEvents),
            false => self.insert(&events, &conditions, tracking.as_ref(), durability),
        }
    }

    fn read(
        &self,
        query: &Query,
        after: u64,
        limit: Option<usize>,
    ) -> Result<Found, PersistenceError> {
        // Buffered events too: a condition counts them.
        self.database.read(READ_EVENTS, |reading| {
            let last = reading.extent()?.last;
            let mut found = Ok(Vec::new());
            if let Some(first) = after.checked_add(1)
                && limit != Some(0)
            {
                reading.visit(query, first..=last, |_, next| {
                    collect(&mut found, next, limit)
                })?;
            }
            let notifications = found?;
            let head = match limit {
                None => Some(last).filter(|last| *last > 0),
                Some(_) => notifications.last().map(|last| last.position),
            };
            Ok(Found {
                notifications,
                head,
            })
        })
    }

    fn subscribe_query(&self, query: &Query, after: u64) -> Result<Subscription, PersistenceError> {
        Ok(self.follow(query.clone(), after))
    }
}

impl SnapshotRecorder for SqliteRecorder {
    fn insert_snapshot(&self, snapshot: StoredEvent) -> Result<(), PersistenceError> {
        snapshot.check()?;
        if snapshot.origin.is_none() {
            return Err(PersistenceError::NoAggregate {
                topic: snapshot.topic,
            });
        }
        let doing = "store a snapshot";
        self.database.write(doing, Durability::Buffered, |writing| {
            let tags: Vec<_> = snapshot.tags.iter().map(Vec::as_slice).collect();
            let put = || {
                let mut statement = writing
                    .transaction
                    .prepare_cached(&writing.statements.put_snapshot)?;
                bind_content(&mut statement, 1, &snapshot, &tags)?;
                statement.raw_execute()
            };
            put().map(drop).map_err(failure(doing))
        })
    }

    fn latest_snapshot(
        &self,
        aggregate_id: &AggregateId,
        at_most_version: u64,
    ) -> Result<Option<StoredEvent>, PersistenceError> {
        let doing = "read a snapshot";
        self.database.read(doing, |reading| {
            let mut statement = reading
                .transaction
                .prepare_cached(&reading.statements.latest_snapshot)
                .map_err(failure(doing))?;
            let mut rows = statement
                .query((Id(aggregate_id), clamped(at_most_version)))
                .map_err(failure(doing))?;
            let row = rows.next().map_err(failure(doing))?;
            row.map(rows::snapshot).transpose()
        })
    }

    fn delete_snapshots(&self, aggregate_id: &AggregateId) -> Result<(), PersistenceError> {
        let doing = "delete snapshots";
        self.database.write(doing, Durability::Buffered, |writing| {
            writing
                .transaction
                .prepare_cached(&writing.statements.delete_snapshots)
                .and_then(|mut statement| statement.execute([Id(aggregate_id)]))
                .map(drop)
                .map_err(failure(doing))
        })
    }
}

/// Events of any of these topics; without topics, every event.
fn of_topics(topics: impl Iterator<Item = String>) -> Query {
    QueryItem {
        topics: topics.collect(),
        tags: Vec::new(),
    }
    .into()
}

/// Takes one more, until there are as many as wanted, or one is an error.
fn collect(
    found: &mut Result<Vec<Notification>, PersistenceError>,
    next: Result<Notification, PersistenceError>,
    limit: Option<usize>,
) -> ControlFlow<()> {
    match (found, next) {
        (Ok(found), Ok(next)) => {
            found.push(next);
            match limit.is_some_and(|limit| found.len() >= limit) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
        (found, Err(error)) => {
            *found = Err(error);
            ControlFlow::Break(())
        }
        (Err(_), Ok(_)) => ControlFlow::Break(()),
    }
}

const STORE_EVENTS: &str = "store events";
