//! Events in an Annals log: durable, in one directory, by one process.
//!
//! The only room of the library that knows the engine. It turns the library's words into the engine's
//! and back, moves payloads without copying, and keeps no state of its own.

mod model_snapshots;
mod snapshots;
mod subscription;

pub use model_snapshots::LogModelSnapshots;

use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::time::Duration;

use annals_engine::{Appended, Batch, Direction, Event, Log, NewEvent, RecordedEvent, Version};
use uuid::Uuid;

use subscription::LogSubscription;

use crate::domain::AggregateId;
#[cfg(feature = "async")]
use crate::persistence::Submission;
use crate::persistence::{
    AggregateRecorder, AppendCondition, ApplicationRecorder, ConditionalAppend, DcbRecorder,
    Durability, Encoding, Found, Notification, Origin, PersistenceError, ProcessRecorder, Query,
    QueryItem, Recorded, Recorder, SelectEvents, SelectNotifications, StoredEvent, Subscription,
    Tracking, TrackingRecorder,
};

/// Keeps events in an Annals log.
///
/// Versions of an aggregate must ascend in the order they are inserted: 1, 5, 7 is legal; 1, 5, 3 is refused
/// at 3 as a conflict, since the log counts a version that is not above the last as taken.
#[derive(Debug)]
pub struct LogRecorder {
    log: Log,
}

impl LogRecorder {
    /// Opens the log in `dir` for writing, and creates it when it is missing.
    ///
    /// # Errors
    /// [`PersistenceError::Store`] when it is in use, cannot be written, or is no log this release reads;
    /// [`PersistenceError::Damaged`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, PersistenceError> {
        Log::open(dir)
            .map(Self::from)
            .map_err(|error| failure("be opened", error))
    }

    /// The log, for what a recorder does not offer: verification, figures, conditions.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Whether it has been closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.log.is_closed()
    }

    fn insert(
        &self,
        append: ConditionalAppend,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        let ConditionalAppend {
            events,
            conditions,
            tracking,
        } = append;
        tracking.iter().try_for_each(Tracking::check)?;
        let mut batch = batch_of(events, durability)?;
        let reaches: Vec<_> = conditions.iter().map(|condition| condition.after).collect();
        for AppendCondition {
            fail_if_match,
            after,
        } in &conditions
        {
            batch = batch.fail_if_match(engine_query(fail_if_match), *after);
        }
        if let Some(Tracking { name, position }) = tracking {
            batch = batch.tracking(name, position);
        }
        let appended = self.log.append(batch);
        appended
            .map(recorded)
            .map_err(|error| append_failure(error, &reaches))
    }

    fn follow(&self, query: annals_engine::Query, after: u64) -> Subscription {
        // Each position is told, for who keeps a place where nothing concerned it.
        let followed = self.log.subscribe(after, query).progress_every(1);
        Subscription::new(LogSubscription::new(followed))
    }
}

/// A recorder on a log that was opened with options of its own.
impl From<Log> for LogRecorder {
    fn from(log: Log) -> Self {
        Self { log }
    }
}

impl Recorder for LogRecorder {
    fn close(&self) -> Result<(), PersistenceError> {
        self.log
            .close()
            .map_err(|error| failure("be closed", error))
    }

    /// Reads are of mapped files, which are in memory mostly, and inserts can be awaited.
    fn blocks(&self) -> bool {
        false
    }
}

impl AggregateRecorder for LogRecorder {
    fn insert_events(
        &self,
        events: Vec<StoredEvent>,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        match events.is_empty() {
            true => Ok(Vec::new()),
            false => self.insert(ConditionalAppend::new(events), durability),
        }
    }

    /// The log's own thread commits what was submitted, many batches to a sync.
    #[cfg(feature = "async")]
    fn submit_events(&self, events: Vec<StoredEvent>, durability: Durability) -> Submission {
        if events.is_empty() {
            return Submission::under_way(std::future::ready(Ok(Vec::new())));
        }
        let doing = "store events";
        let submitted = batch_of(events, durability).and_then(|batch| {
            let ticket = self.log.try_submit(batch);
            ticket.map_err(|error| failure(doing, error))
        });
        Submission::under_way(async move {
            let appended = submitted?.await;
            appended
                .map(recorded)
                .map_err(|error| failure(doing, error))
        })
    }

    fn select_events(
        &self,
        aggregate_id: &AggregateId,
        select: SelectEvents,
    ) -> Result<Vec<Notification>, PersistenceError> {
        self.log
            .view()
            .read_aggregate(
                &engine_id(aggregate_id),
                versions(select),
                direction(select),
            )
            .take(select.limit.unwrap_or(usize::MAX))
            .map(|event| {
                event
                    .map_err(read_failure)
                    .and_then(|event| notification(&event))
            })
            .collect()
    }

    /// All events are shown in one notification, whose memory serves the next: an event costs a copy of its bytes
    /// and no allocation.
    fn for_each_event(
        &self,
        aggregate_id: &AggregateId,
        select: SelectEvents,
        visit: &mut dyn FnMut(&Notification) -> ControlFlow<()>,
    ) -> Result<(), PersistenceError> {
        let view = self.log.view();
        let events = view
            .read_aggregate(
                &engine_id(aggregate_id),
                versions(select),
                direction(select),
            )
            .take(select.limit.unwrap_or(usize::MAX));
        let mut shown = Notification {
            position: 0,
            time_us: 0,
            event: StoredEvent::new(Uuid::nil(), "", Vec::new()).of(aggregate_id.clone(), 0),
        };
        for event in events {
            fill(&mut shown, &event.map_err(read_failure)?);
            if visit(&shown).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last_version(&self, aggregate_id: &AggregateId) -> Result<Option<u64>, PersistenceError> {
        self.log
            .version(&engine_id(aggregate_id))
            .map_err(read_failure)
    }
}

impl ApplicationRecorder for LogRecorder {
    fn select_notifications(
        &self,
        select: &SelectNotifications,
    ) -> Result<Vec<Notification>, PersistenceError> {
        let Some((first, last)) = select.positions() else {
            return Ok(Vec::new());
        };
        let topics = select.topics.iter().map(String::as_str);
        self.log
            .view()
            .read(first..=last, &topic_query(topics), Direction::Forward)
            .take(select.limit)
            .map(|event| {
                event
                    .map_err(read_failure)
                    .and_then(|event| notification(&event))
            })
            .collect()
    }

    fn max_position(&self) -> Result<Option<u64>, PersistenceError> {
        Ok(Some(self.log.durable_head()).filter(|head| *head > 0))
    }

    fn subscribe(&self, after: u64, topics: &[&str]) -> Result<Subscription, PersistenceError> {
        Ok(self.follow(topic_query(topics.iter().copied()), after))
    }
}

impl TrackingRecorder for LogRecorder {
    fn insert_tracking(&self, tracking: Tracking) -> Result<(), PersistenceError> {
        let append = ConditionalAppend::default().tracking(tracking);
        self.insert(append, Durability::Sync).map(drop)
    }

    fn max_tracking(&self, name: &str) -> Result<Option<u64>, PersistenceError> {
        Ok(self.log.tracking(name))
    }

    fn wait(&self, name: &str, position: u64, timeout: Duration) -> Result<(), PersistenceError> {
        let reached = self.log.wait_tracking(name, position, timeout);
        match reached.map_err(|error| failure("wait for a position", error))? {
            Some(reached) if reached >= position => Ok(()),
            reached => Err(PersistenceError::WaitTimeout {
                name: name.to_owned(),
                position,
                reached,
                timeout,
            }),
        }
    }
}

impl ProcessRecorder for LogRecorder {
    fn insert_events_tracked(
        &self,
        events: Vec<StoredEvent>,
        tracking: Tracking,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        let append = ConditionalAppend::new(events).tracking(tracking);
        self.insert(append, durability)
    }
}

impl DcbRecorder for LogRecorder {
    fn append(
        &self,
        append: ConditionalAppend,
        durability: Durability,
    ) -> Result<Vec<Recorded>, PersistenceError> {
        match append.events.is_empty() {
            true => Err(PersistenceError::NoEvents),
            false => self.insert(append, durability),
        }
    }

    fn read(
        &self,
        query: &Query,
        after: u64,
        limit: Option<usize>,
    ) -> Result<Found, PersistenceError> {
        // What a view shows is that of one moment, and a condition counts what it shows.
        let view = self.log.view();
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        let notifications = view
            .read_visible(behind, &engine_query(query), Direction::Forward)
            .take(limit.unwrap_or(usize::MAX))
            .map(|event| {
                event
                    .map_err(read_failure)
                    .and_then(|event| notification(&event))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let head = match limit {
            None => Some(view.head()).filter(|head| *head > 0),
            Some(_) => notifications.last().map(|last| last.position),
        };
        Ok(Found {
            notifications,
            head,
        })
    }

    fn subscribe_query(&self, query: &Query, after: u64) -> Result<Subscription, PersistenceError> {
        Ok(self.follow(engine_query(query), after))
    }
}

/// A batch of these events, once they are within the limits.
fn batch_of(events: Vec<StoredEvent>, durability: Durability) -> Result<Batch, PersistenceError> {
    events.iter().try_for_each(StoredEvent::check)?;
    let mut batch = Batch::new().durability(match durability {
        Durability::Sync => annals_engine::Durability::Sync,
        Durability::Buffered => annals_engine::Durability::Buffered,
    });
    events
        .into_iter()
        .for_each(|event| batch.push(new_event(event)));
    Ok(batch)
}

fn recorded(appended: Appended) -> Vec<Recorded> {
    let time_us = Some(appended.time_us);
    (appended.first..=appended.last)
        .map(|position| Recorded { position, time_us })
        .collect()
}

fn versions(select: SelectEvents) -> (Bound<u64>, Bound<u64>) {
    (
        select.gt.map_or(Bound::Unbounded, Bound::Excluded),
        select.lte.map_or(Bound::Unbounded, Bound::Included),
    )
}

fn direction(select: SelectEvents) -> Direction {
    match select.desc {
        true => Direction::Backward,
        false => Direction::Forward,
    }
}

fn topic_query<'a>(topics: impl Iterator<Item = &'a str>) -> annals_engine::Query {
    topics
        .fold(annals_engine::QueryItem::new(), |item, topic| {
            item.topic(topic)
        })
        .into()
}

fn engine_query(query: &Query) -> annals_engine::Query {
    let engine_item = |QueryItem { topics, tags }: &QueryItem| {
        let item = annals_engine::QueryItem::new();
        let item = topics.iter().fold(item, |item, topic| item.topic(topic));
        tags.iter().fold(item, |item, tag| item.tag(tag.as_slice()))
    };
    query
        .items
        .iter()
        .map(engine_item)
        .fold(annals_engine::Query::all(), annals_engine::Query::or)
}

fn engine_id(id: &AggregateId) -> annals_engine::AggregateId {
    match (id.as_uuid(), id.as_text()) {
        (Some(uuid), _) => uuid.into(),
        (None, text) => annals_engine::AggregateId::Text(text.unwrap_or_default().into()),
    }
}

fn library_id(id: annals_engine::AggregateId) -> Result<AggregateId, PersistenceError> {
    match id {
        annals_engine::AggregateId::Uuid(uuid) => Ok(uuid.into()),
        annals_engine::AggregateId::Text(text) => {
            AggregateId::text(text).map_err(|error| PersistenceError::Damaged {
                source: error.into(),
            })
        }
    }
}

fn new_event(event: StoredEvent) -> NewEvent {
    let mut new = NewEvent::new(event.topic, event.payload)
        .event_id(event.event_id)
        .tags(event.tags);
    if let Some(Origin {
        aggregate_id,
        version,
    }) = event.origin
    {
        new = new
            .aggregate(engine_id(&aggregate_id))
            .version(Version::Given(version));
    }
    if let Some(encoding) = event.encoding {
        new = new.encoding(engine_encoding(encoding));
    }
    if let Some(digest) = event.digest {
        new = new.digest(digest);
    }
    event
        .metadata
        .into_iter()
        .fold(new, |new, (key, value)| new.metadata(key, value))
}

fn notification(event: &Event<'_>) -> Result<Notification, PersistenceError> {
    // One copy of everything, which the next step moves.
    owned_notification(event.to_owned())
}

/// Makes `shown`, which is of the same aggregate, that of this event.
fn fill(shown: &mut Notification, event: &Event<'_>) {
    shown.position = event.position();
    shown.time_us = event.time_us();
    let stored = &mut shown.event;
    if let (Some(origin), Some(version)) = (&mut stored.origin, event.version()) {
        origin.version = version;
    }
    stored.event_id = event.event_id();
    stored.encoding = event.encoding().map(encoding);
    stored.digest = event.digest();
    // Often that of the event before.
    if stored.topic != event.topic() {
        event.topic().clone_into(&mut stored.topic);
    }
    stored.tags.clear();
    stored.tags.extend(event.tags().map(<[u8]>::to_vec));
    stored.metadata.clear();
    let metadata = event.metadata();
    let owned = metadata.map(|(key, value)| (key.into_owned(), value.into_owned()));
    stored.metadata.extend(owned);
    event.payload().clone_into(&mut stored.payload);
}

fn engine_encoding(encoding: Encoding) -> annals_engine::Encoding {
    annals_engine::Encoding {
        codec: encoding.codec,
        key_id: encoding.key_id,
        plain_len: encoding.plain_len,
    }
}

fn encoding(encoding: annals_engine::Encoding) -> Encoding {
    Encoding {
        codec: encoding.codec,
        key_id: encoding.key_id,
        plain_len: encoding.plain_len,
    }
}

fn owned_notification(event: RecordedEvent) -> Result<Notification, PersistenceError> {
    let aggregate_id = event.aggregate_id.map(library_id).transpose()?;
    let origin = aggregate_id.zip(event.version);
    let stored = StoredEvent {
        origin: origin.map(|(aggregate_id, version)| Origin {
            aggregate_id,
            version,
        }),
        topic: event.topic,
        event_id: event.event_id,
        tags: event.tags,
        metadata: event.metadata.into_iter().collect(),
        encoding: event.encoding.map(encoding),
        digest: event.digest,
        payload: event.payload,
    };
    Ok(Notification {
        position: event.position,
        time_us: event.time_us,
        event: stored,
    })
}

fn read_failure(error: annals_engine::Error) -> PersistenceError {
    failure("read events", error)
}

/// As [`failure`], for an append whose conditions begin behind `reaches`.
fn append_failure(error: annals_engine::Error, reaches: &[u64]) -> PersistenceError {
    match error {
        annals_engine::Error::ConditionConflict {
            clause,
            positions,
            head,
        } => PersistenceError::ConditionConflict {
            condition: clause,
            after: reaches.get(clause).copied().unwrap_or_default(),
            positions,
            head,
        },
        error => failure("store events", error),
    }
}

/// The engine's answer in the library's words, with the engine's own as source where it says more.
fn failure(doing: &'static str, error: annals_engine::Error) -> PersistenceError {
    use annals_engine::{Error, ExpectedVersion};
    match error {
        Error::VersionConflict {
            aggregate,
            expected: ExpectedVersion::Below(version),
            found,
        } => match library_id(aggregate) {
            Ok(aggregate_id) => PersistenceError::VersionConflict {
                aggregate_id,
                version,
                last: found,
            },
            Err(error) => error,
        },
        Error::RetryConflict {
            event_id,
            position,
            what,
        } => PersistenceError::RetryConflict {
            event_id,
            position,
            what,
        },
        Error::TrackingConflict { name, given, found } => PersistenceError::TrackingConflict {
            name,
            position: given,
            recorded: found,
        },
        Error::Expired { first } => PersistenceError::Expired { first },
        Error::Closed => PersistenceError::Closed,
        Error::Busy => PersistenceError::Busy,
        error @ Error::Limit { .. } => PersistenceError::TooLarge {
            source: error.into(),
        },
        error @ Error::Indeterminate { .. } => PersistenceError::Indeterminate {
            source: error.into(),
        },
        error @ (Error::Corrupt { .. } | Error::Quarantined { .. }) => PersistenceError::Damaged {
            source: error.into(),
        },
        error => PersistenceError::Store {
            doing,
            source: error.into(),
        },
    }
}
